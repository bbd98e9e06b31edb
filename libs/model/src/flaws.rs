//! Ways to break the protocol on purpose.

/// What the protocol leaves out. The protocol of `docs/spec/exactly-once.md` leaves nothing out: `Flaws::default()`.
///
/// Each flaw is a mistake that somebody has made, and each is caught by a property: `tests/it/flaws.rs` says by which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a sentence of its own, and any set of them makes sense"
)]
pub struct Flaws {
    /// The offsets are committed outside the transaction, before it.
    pub offsets_before_outputs: bool,
    /// The offsets are committed outside the transaction, after it.
    pub offsets_after_outputs: bool,
    /// The broker takes requests of a producer whose epoch is over.
    pub epoch_unchecked: bool,
    /// The group takes offsets of a member that is gone, or that speaks for an older generation.
    pub generation_unchecked: bool,
    /// Work in progress on partitions that were lost is kept, and committed with the metadata of the next generation.
    pub work_kept_when_lost: bool,
    /// A commit without an answer counts as aborted.
    pub doubt_is_abort: bool,
    /// An abort rewinds the position and leaves the state as it is.
    pub state_not_undone: bool,
    /// A producer whose commit was slow goes on with the same epoch.
    pub suspect_reused: bool,
    /// The start offset is read while a transaction that may move it is still open.
    pub start_unstable: bool,
    /// A restore takes the last stable offset for the end, also while an open transaction holds it back.
    pub restore_stops_at_open: bool,
    /// A restore reads changes of transactions that are open or aborted.
    pub restore_uncommitted: bool,
    /// A restore may read the changelog before the start offset is known.
    pub restore_before_start: bool,
}
