//! What survives a restart: where everything was judged up to, and the sums.

use serde::{Deserialize, Serialize};

/// The first byte of a snapshot: its layout.
const VERSION: u8 = 1;

/// A moment of the audit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken, in milliseconds since the epoch.
    pub time_ms: i64,
    /// The topics' names: offsets mean nothing in others.
    pub names: Vec<String>,
    /// By topic and partition: read up to here.
    pub read_to: Vec<Vec<i64>>,
    /// By stage.
    pub stages: Vec<StageSnapshot>,
}

/// A stage's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageSnapshot {
    /// Sums of what was judged.
    pub totals: AccountSnapshot,
    /// By input partition: judged below the first offset; absences below the second prove nothing.
    pub settled: Vec<(i64, i64)>,
    /// By output and partition: outcomes of inputs that are not judged lie at and above.
    pub resume: Vec<Vec<i64>>,
}

/// Sums of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSnapshot {
    /// Inputs found right.
    pub audited: u64,
    /// Inputs without an outcome.
    pub lost: u64,
    /// Outcomes too many.
    pub doubled: u64,
    /// Sources that are no input.
    pub phantom: u64,
    /// Inputs that could not be judged.
    pub unaudited: u64,
}

/// A snapshot that this version can't read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl Snapshot {
    /// As bytes.
    pub fn encode(&self) -> Result<Vec<u8>, Unreadable> {
        postcard::to_extend(self, vec![VERSION]).map_err(|error| Unreadable(error.to_string()))
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => {
                postcard::from_bytes(rest).map_err(|error| Unreadable(error.to_string()))
            }
            Some((version, _)) => Err(Unreadable(format!(
                "layout {version}, this version knows {VERSION}"
            ))),
            None => Err(Unreadable("it is empty".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_comes_back_and_another_layout_is_named() {
        let snapshot = Snapshot {
            time_ms: 1,
            names: vec!["a".to_owned()],
            read_to: vec![vec![1, 2]],
            stages: vec![StageSnapshot {
                settled: vec![(5, i64::MIN)],
                ..StageSnapshot::default()
            }],
        };
        let mut bytes = snapshot.encode().unwrap();
        assert_eq!(Snapshot::decode(&bytes), Ok(snapshot));
        bytes[0] = 9;
        let error = Snapshot::decode(&bytes).unwrap_err();
        assert!(error.0.contains("layout 9"), "{error:?}");
        assert!(Snapshot::decode(&[VERSION, 0xff]).is_err());
        assert!(Snapshot::decode(&[]).is_err());
    }
}
