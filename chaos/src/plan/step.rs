use super::Poison;
use crate::role::Role;
use schema::topic::Topic;

/// One thing to do at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Milliseconds since the load began.
    pub(crate) at_ms: u64,
    /// Which strike it belongs to.
    pub(crate) strike: usize,
    pub(crate) action: Action,
}

/// What is done. Instances are counted from 0; instance 0 is the one that always runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start(Role, u32),
    /// kill -9.
    Kill(Role, u32),
    /// SIGTERM.
    Stop(Role, u32),
    /// SIGTERM, and the same again when it has ended.
    Restart(Role, u32),
    /// SIGSTOP.
    Sleep(Role, u32),
    /// SIGCONT.
    Wake(Role, u32),
    KillBroker(usize),
    StartBroker(usize),
    SleepBroker(usize),
    WakeBroker(usize),
    Cut(Role),
    Mend(Role),
    /// Each request takes that many milliseconds longer.
    Delay(Role, u64),
    /// The next request of this API key waits until it is released.
    Hold(Role, i16),
    Release(Role),
    KillDatabase,
    StartDatabase,
    FillDisk,
    EmptyDisk,
    Spoil(&'static Topic, i32, Poison),
    /// So many minutes of event time are sent at full speed.
    Flood(u64),
}
