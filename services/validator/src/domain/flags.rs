//! What is odd about a valid record, as a set.

use schema::quality_flag;

/// One oddity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Flag {
    /// Event time is behind ingest time by more than `limits.late_after_ms`.
    Late,
    /// A value is outside what its model does, yet possible.
    OutOfRange,
    /// A blank sentinel was made null.
    Blank,
    /// The sequence number skipped.
    SequenceGap,
    /// The collector restarted.
    CollectorRestart,
}

impl Flag {
    /// Every flag, in the order in which they are written.
    pub const ALL: [Self; 5] = [
        Self::Late,
        Self::OutOfRange,
        Self::Blank,
        Self::SequenceGap,
        Self::CollectorRestart,
    ];

    /// Its name on the wire and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => quality_flag::LATE,
            Self::OutOfRange => quality_flag::OUT_OF_RANGE,
            Self::Blank => quality_flag::BLANK,
            Self::SequenceGap => quality_flag::SEQUENCE_GAP,
            Self::CollectorRestart => quality_flag::COLLECTOR_RESTART,
        }
    }
}

/// A set of [`Flag`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// Adds `flag`.
    pub const fn add(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// Adds every flag of `other`.
    pub const fn add_all(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// It holds none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags in it, in the order of [`Flag::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL
            .into_iter()
            .filter(move |flag| self.0 & (1 << *flag as u8) != 0)
    }

    /// Appends the flags as the members of a JSON array: `"late","blank"`.
    pub fn write_json(self, out: &mut Vec<u8>) {
        for (i, flag) in self.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(flag.as_str().as_bytes());
            out.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_once_each_and_in_a_fixed_order() {
        let mut flags = Flags::NONE;
        assert!(flags.is_empty());
        flags.add(Flag::Blank);
        flags.add(Flag::Late);
        flags.add(Flag::Blank);
        let mut out = Vec::new();
        flags.write_json(&mut out);
        assert_eq!(out, br#""late","blank""#);
    }
}
