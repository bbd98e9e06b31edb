//! How much is explored.

use crate::broker::PARTITIONS;

/// Whether a restarted instance is the same member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Membership {
    /// It joins as a new one, once the old one has expired.
    Dynamic,
    /// It takes its old place, without a rebalance (`group.instance.id`).
    Static,
}

/// How many faults of each kind may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Of all kinds together.
    pub any: u8,
    /// kill -9, at any point.
    pub kill: u8,
    /// SIGSTOP, at any point, for any time.
    pub stop: u8,
    /// A commit that never arrives, or whose answer never does.
    pub lose: u8,
    /// A commit or abort that the network holds back: it arrives late.
    pub hold: u8,
}

impl Faults {
    /// None at all.
    pub const NONE: Self = Self::at_most(0);

    /// Any `n` faults.
    pub const fn at_most(n: u8) -> Self {
        Self {
            any: n,
            kill: n,
            stop: n,
            lose: n,
            hold: n,
        }
    }
}

/// The size of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Records of each input partition.
    pub records: [u8; PARTITIONS],
    /// Faults.
    pub faults: Faults,
    /// The profile of the group.
    pub membership: Membership,
}

impl Faults {
    pub(crate) const fn may_kill(self) -> bool {
        self.any > 0 && self.kill > 0
    }

    pub(crate) const fn may_stop(self) -> bool {
        self.any > 0 && self.stop > 0
    }

    pub(crate) const fn may_lose(self) -> bool {
        self.any > 0 && self.lose > 0
    }

    pub(crate) const fn may_hold(self) -> bool {
        self.any > 0 && self.hold > 0
    }

    pub(crate) const fn killed(&mut self) {
        self.any -= 1;
        self.kill -= 1;
    }

    pub(crate) const fn stopped(&mut self) {
        self.any -= 1;
        self.stop -= 1;
    }

    pub(crate) const fn lost(&mut self) {
        self.any -= 1;
        self.lose -= 1;
    }

    pub(crate) const fn held(&mut self) {
        self.any -= 1;
        self.hold -= 1;
    }
}
