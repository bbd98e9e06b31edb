//! What can happen next.

use crate::broker::{InstanceId, PartitionId};
use std::fmt;

/// One step of an instance, of the broker, or of fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    // === the instance's loop ===
    /// `init_transactions`: a fresh producer.
    Connect(InstanceId),
    /// Joins the group.
    Join(InstanceId),
    /// Reads the group's offsets and settles a commit in doubt by them.
    Settle(InstanceId),
    /// The callback gives it a partition.
    Assign(InstanceId, PartitionId),
    /// The callback takes a partition, after the open transaction was committed.
    Revoke(InstanceId, PartitionId),
    /// The callback says that all partitions are lost.
    NoticeLost(InstanceId),
    /// The same, and the abort that follows is held back by the network.
    NoticeLostAbortHeld(InstanceId),
    /// Finds that the last committer of a partition is not in the group.
    LookUpCommitter(InstanceId, PartitionId),
    /// Takes the transactional id that it found, which aborts what is open under it.
    Fence(InstanceId),
    /// Reads the start offset.
    FindStart(InstanceId, PartitionId),
    /// Reads the high watermark of the changelog.
    AskChangelog(InstanceId, PartitionId),
    /// Reads the changelog to the last stable offset.
    ReadChangelog(InstanceId, PartitionId),
    /// Processes the next record.
    Process(InstanceId, PartitionId),
    /// What is in the client's queue arrives at the broker.
    Deliver(InstanceId),
    /// Queues the changes of state and reads the group metadata.
    BeginCommit(InstanceId),
    /// Sends the offsets to the transaction.
    SendOffsets(InstanceId),
    /// Ends the transaction, and gets the answer.
    EndTransaction(InstanceId),
    /// Sends a commit without an answer again, and gets the answer.
    RetryEnd(InstanceId),
    /// Gives a commit without an answer up.
    GiveUp(InstanceId),
    /// Commits the offsets by themselves: only the flawed protocol does.
    CommitOffsetsAfter(InstanceId),

    // === the broker ===
    /// All members have joined again: a new generation.
    Rebalance,
    /// The session of a member ends.
    ExpireSession(InstanceId),
    /// The transaction of an instance that is stopped or dead times out.
    TimeOutTransaction(InstanceId),

    // === fate ===
    /// kill -9.
    Kill(InstanceId),
    /// The supervisor starts it again.
    Restart(InstanceId),
    /// SIGSTOP.
    Stop(InstanceId),
    /// SIGCONT.
    Resume(InstanceId),
    /// A commit is sent, and never arrives.
    LoseRequest(InstanceId),
    /// A commit arrives, and its answer does not.
    LoseAnswer(InstanceId),
    /// A commit is sent, and held back by the network.
    HoldRequest(InstanceId),
    /// What was held back arrives.
    DeliverHeld,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Connect(i) => write!(f, "instance {i} calls init_transactions"),
            Self::Join(i) => write!(f, "instance {i} joins the group"),
            Self::Settle(i) => write!(
                f,
                "instance {i} settles its commit in doubt by the group's offsets"
            ),
            Self::Assign(i, p) => write!(f, "instance {i} is assigned partition {p}"),
            Self::Revoke(i, p) => write!(f, "instance {i} gives partition {p} up"),
            Self::NoticeLost(i) => write!(f, "instance {i} learns that it has lost its partitions"),
            Self::NoticeLostAbortHeld(i) => {
                write!(
                    f,
                    "instance {i} learns that it has lost its partitions; its abort is held back"
                )
            }
            Self::LookUpCommitter(i, p) => {
                write!(
                    f,
                    "instance {i} finds that the last committer of partition {p} is not in the group"
                )
            }
            Self::Fence(i) => write!(f, "instance {i} fences the transactional id that it found"),
            Self::FindStart(i, p) => {
                write!(f, "instance {i} reads the start offset of partition {p}")
            }
            Self::AskChangelog(i, p) => {
                write!(f, "instance {i} reads the high watermark of changelog {p}")
            }
            Self::ReadChangelog(i, p) => write!(
                f,
                "instance {i} reads changelog {p} to its last stable offset"
            ),
            Self::Process(i, p) => {
                write!(f, "instance {i} processes the next record of partition {p}")
            }
            Self::Deliver(i) => write!(f, "what instance {i} has queued arrives at the broker"),
            Self::BeginCommit(i) => write!(
                f,
                "instance {i} queues its changes of state and reads its group metadata"
            ),
            Self::SendOffsets(i) => write!(f, "instance {i} sends its offsets to the transaction"),
            Self::EndTransaction(i) => {
                write!(f, "instance {i} ends its transaction and gets the answer")
            }
            Self::RetryEnd(i) => {
                write!(f, "instance {i} sends its commit again and gets the answer")
            }
            Self::GiveUp(i) => write!(f, "instance {i} gives its unanswered commit up"),
            Self::CommitOffsetsAfter(i) => write!(
                f,
                "instance {i} commits its offsets outside the transaction"
            ),
            Self::Rebalance => write!(f, "the group rebalances"),
            Self::ExpireSession(i) => write!(f, "the session of instance {i} ends"),
            Self::TimeOutTransaction(i) => write!(f, "the transaction of instance {i} times out"),
            Self::Kill(i) => write!(f, "FAULT: instance {i} is killed"),
            Self::Restart(i) => write!(f, "instance {i} is started again"),
            Self::Stop(i) => write!(f, "FAULT: instance {i} is stopped"),
            Self::Resume(i) => write!(f, "instance {i} is resumed"),
            Self::LoseRequest(i) => {
                write!(f, "FAULT: instance {i} sends its commit, which is lost")
            }
            Self::LoseAnswer(i) => write!(f, "FAULT: instance {i} commits, and the answer is lost"),
            Self::HoldRequest(i) => write!(
                f,
                "FAULT: instance {i} sends its commit, which is held back"
            ),
            Self::DeliverHeld => write!(f, "the request that was held back arrives"),
        }
    }
}
