//! Fencing what a member that is gone has left open.
//!
//! A member that dies in the middle of a transaction leaves it open, and open it holds back every reader of its outputs,
//! its changelog and its offsets until the broker gives it up: `transaction.timeout.ms` after the group has already given
//! its partitions away. Nobody aborts it sooner, since nobody else holds its transactional id. Here the new owner finds
//! that id in the metadata of the offset that the old owner committed last, and takes it for a moment, which aborts what
//! is open under it.
//!
//! A member that leaves in order leaves nothing open, and takes its name out of that metadata: else its successor of the
//! same name could be taken for it, since a member that is only about to join is not in the group yet.
//!
//! Only the wait is shortened: what may be processed when is decided by offsets and changelogs, as without it. A member
//! that is still in the group is left alone, and one that has merely slept past its session is a zombie, whose next
//! commit would be refused in any case.

use super::metadata::Metadata;
use super::producer::Signs;
use super::settings::Settings;
use crate::coordinator::CONNECT_TO_ALL;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::groups::GroupInfo;
use rdkafka::producer::{Producer, ThreadedProducer};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info};

/// For each call: all of it runs beside the loop, and is of no use when it takes longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Transactional ids of committers that are not in the group, this member's own excepted. Metadata of any other form is
/// somebody else's.
fn orphaned<'a>(
    metadata: impl IntoIterator<Item = &'a str>,
    members: &BTreeSet<String>,
    own: &str,
) -> BTreeSet<String> {
    metadata
        .into_iter()
        .filter_map(Metadata::parse)
        .filter(|committer| {
            committer.transactional_id != own && !members.contains(committer.client_id)
        })
        .map(|committer| committer.transactional_id.to_owned())
        .collect()
}

/// Looks, beside the loop, who committed `partitions` last, and fences those that are gone.
pub(super) fn begin(settings: &Arc<Settings>, partitions: Vec<i32>) {
    let settings = Arc::clone(settings);
    let spawned = std::thread::Builder::new()
        .name("takeover".to_owned())
        .spawn(move || {
            if let Err(error) = fence_the_gone(&settings, &partitions) {
                debug!(%error, "predecessors not fenced; their transactions time out");
            }
        });
    if let Err(error) = spawned {
        debug!(%error, "no thread for a takeover");
    }
}

fn fence_the_gone(settings: &Settings, partitions: &[i32]) -> KafkaResult<()> {
    let inspector: BaseConsumer = settings
        .client("takeover")
        .set("group.id", &settings.group)
        // The last committed offset, also while a later one is pending: that one would name the committer too late.
        .set("isolation.level", "read_uncommitted")
        .set("enable.auto.commit", "false")
        .set(CONNECT_TO_ALL.0, CONNECT_TO_ALL.1)
        .create()?;
    let wanted = settings.input_list(partitions.iter().copied());
    let committed = inspector.committed_offsets(wanted, CALL_TIMEOUT)?;
    let elements = committed.elements();
    let metadata: BTreeSet<&str> = elements
        .iter()
        .map(TopicPartitionListElem::metadata)
        .collect();
    let own = settings.transactional_id();
    if orphaned(metadata.iter().copied(), &BTreeSet::new(), &own).is_empty() {
        return Ok(());
    }
    let groups = inspector
        .client()
        .fetch_group_list(Some(&settings.group), CALL_TIMEOUT)?;
    let members: BTreeSet<String> = groups
        .groups()
        .iter()
        .flat_map(GroupInfo::members)
        .map(|member| member.client_id().to_owned())
        .collect();
    // The asking member is in the group; a list without it is that of a protocol which this request does not see.
    if !members.contains(&settings.client_id("consumer")) {
        return Ok(());
    }
    for transactional_id in orphaned(metadata, &members, &own) {
        fence(&settings.producer(), &transactional_id)?;
        info!(
            transactional_id,
            "fenced: its member is gone, and its partitions are here"
        );
    }
    Ok(())
}

fn fence(config: &ClientConfig, transactional_id: &str) -> KafkaResult<()> {
    let mut config = config.clone();
    config.set("transactional.id", transactional_id);
    let producer: ThreadedProducer<Signs> =
        ThreadedProducer::from_config_and_context(&config, Signs::default())?;
    producer.init_transactions(CALL_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_committers_that_are_neither_here_nor_in_the_group_are_fenced() {
        let committers = [
            ("gone", None),
            ("other", None),
            ("own", Some(7)),
            ("late", Some(7)),
        ]
        .map(|(id, applied)| {
            let client_id = format!("{id}-client");
            Metadata {
                transactional_id: id,
                client_id: &client_id,
                applied,
            }
            .encode()
        });
        let mut metadata: Vec<&str> = committers.iter().map(String::as_str).collect();
        metadata.extend(["", "somebody else's"]);
        let members = BTreeSet::from(["other-client".to_owned(), "own-client".to_owned()]);
        let found = orphaned(metadata, &members, "own");
        assert_eq!(found, ["gone", "late"].map(str::to_owned).into());
    }
}
