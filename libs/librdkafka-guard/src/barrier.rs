//! Keeps what a partition is told in the order in which it was numbered.
//!
//! A partition is started, stopped, paused, resumed and sought by messages to librdkafka's main thread, from the
//! application's threads and from the main thread itself. Each takes the partition's next number, and is then put into the
//! queue; 2.12.1 does so in two steps (`rd_kafka_toppar_version_new_barrier`, `rd_kafka_toppar_op0`), with an allocation
//! between them. A message that finds that a later number has been dealt with is thrown away as outdated. So when a consumer
//! pauses partitions that it has just been given, at the moment in which the main thread starts them with the offsets that
//! the group has told, the start of one may be thrown away: it is never fetched, nobody is told, and no statistics show it,
//! until it is assigned anew ([confluentinc/librdkafka#2190](https://github.com/confluentinc/librdkafka/issues/2190)). A
//! resume that meets the pause of a rebalance may be lost likewise
//! ([#5591](https://github.com/confluentinc/librdkafka/issues/5591)). `chaos failover` has seen
//! a partition stand still after a restart.
//!
//! Here a lock makes one step of the two. What waits for its effect waits after it, for the main thread may need the lock to
//! get there.

use rdkafka::bindings::{
    rd_kafka_subscription, rd_kafka_t, rd_kafka_topic_partition_list_destroy,
    rd_kafka_topic_partition_list_t,
};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

/// `rd_async_t`
const SYNC: c_int = 0;
const ASYNC: c_int = 1;

/// From a number to its place in the queue. One for all clients: it is held for microseconds, at rebalances.
static NUMBERING: Mutex<()> = Mutex::new(());

/// Alone between number and queue. A call within another is part of it: whether librdkafka's own call of a function that
/// stands beside it comes here depends on the linker.
fn in_order<T>(call: impl FnOnce() -> T) -> T {
    thread_local! {
        static NUMBERS: Cell<bool> = const { Cell::new(false) };
    }
    if NUMBERS.get() {
        return call();
    }
    let numbering = NUMBERING.lock().unwrap_or_else(PoisonError::into_inner);
    NUMBERS.set(true);
    let result = call();
    NUMBERS.set(false);
    drop(numbering);
    result
}

/// `rd_kafka_fetch_pos_t`
#[repr(C)]
pub(crate) struct Position {
    offset: i64,
    leader_epoch: i32,
    validated: u8,
}

/// `rd_kafka_replyq_t`
#[repr(C)]
pub(crate) struct ReplyQueue {
    queue: *mut c_void,
    version: i32,
}

unsafe extern "C" {
    // librdkafka's own: the linker gives them these names.
    fn __real_rd_kafka_toppar_op_fetch_start(
        partition: *mut c_void,
        position: Position,
        forward_to: *mut c_void,
        reply: ReplyQueue,
    ) -> c_int;
    fn __real_rd_kafka_toppar_op_fetch_stop(partition: *mut c_void, reply: ReplyQueue) -> c_int;
    fn __real_rd_kafka_toppar_op_seek(
        partition: *mut c_void,
        position: Position,
        reply: ReplyQueue,
    ) -> c_int;
    fn __real_rd_kafka_toppar_op_pause_resume(
        partition: *mut c_void,
        pause: c_int,
        flag: c_int,
        reply: ReplyQueue,
    ) -> c_int;
    fn __real_rd_kafka_toppars_pause_resume(
        client: *mut rd_kafka_t,
        pause: u8,
        asynchronous: c_int,
        flag: c_int,
        partitions: *mut rd_kafka_topic_partition_list_t,
    ) -> c_int;
}

/// # Safety
/// As of librdkafka's function.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_rd_kafka_toppar_op_fetch_start(
    partition: *mut c_void,
    position: Position,
    forward_to: *mut c_void,
    reply: ReplyQueue,
) -> c_int {
    // SAFETY: the caller's arguments, to the function that it has called.
    in_order(|| unsafe {
        __real_rd_kafka_toppar_op_fetch_start(partition, position, forward_to, reply)
    })
}

/// # Safety
/// As of librdkafka's function.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_rd_kafka_toppar_op_fetch_stop(
    partition: *mut c_void,
    reply: ReplyQueue,
) -> c_int {
    // SAFETY: the caller's arguments, to the function that it has called.
    in_order(|| unsafe { __real_rd_kafka_toppar_op_fetch_stop(partition, reply) })
}

/// # Safety
/// As of librdkafka's function.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_rd_kafka_toppar_op_seek(
    partition: *mut c_void,
    position: Position,
    reply: ReplyQueue,
) -> c_int {
    // SAFETY: the caller's arguments, to the function that it has called.
    in_order(|| unsafe { __real_rd_kafka_toppar_op_seek(partition, position, reply) })
}

/// # Safety
/// As of librdkafka's function.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_rd_kafka_toppar_op_pause_resume(
    partition: *mut c_void,
    pause: c_int,
    flag: c_int,
    reply: ReplyQueue,
) -> c_int {
    // SAFETY: the caller's arguments, to the function that it has called.
    in_order(|| unsafe { __real_rd_kafka_toppar_op_pause_resume(partition, pause, flag, reply) })
}

/// Pauses or resumes partitions, one after the other.
///
/// # Safety
/// As of librdkafka's function.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_rd_kafka_toppars_pause_resume(
    client: *mut rd_kafka_t,
    pause: u8,
    asynchronous: c_int,
    flag: c_int,
    partitions: *mut rd_kafka_topic_partition_list_t,
) -> c_int {
    // SAFETY: the caller's arguments but one, to the function that it has called.
    let error = in_order(|| unsafe {
        __real_rd_kafka_toppars_pause_resume(client, pause, ASYNC, flag, partitions)
    });
    if asynchronous == SYNC {
        let mut topics = null_mut();
        // The main thread answers it when it has dealt with what was put into its queue before.
        // SAFETY: the client is alive, and what it has written to the pointer is ours to free.
        unsafe {
            rd_kafka_subscription(client, &raw mut topics);
            if !topics.is_null() {
                rd_kafka_topic_partition_list_destroy(topics);
            }
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use crate::resume;
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
    use rdkafka::message::Message;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
    use std::collections::BTreeSet;
    use std::hint::black_box;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    const TOPIC: &str = "input";
    const PARTITIONS: i32 = 64;
    const PATIENCE: Duration = Duration::from_secs(10);
    /// Without the lock every other run leaves a partition behind, on two cores.
    const ROUNDS: usize = 1_000;
    /// The group's offsets come within that time.
    const STARTING: Duration = Duration::from_millis(5);

    fn list(offset: Offset) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(TOPIC, partition, offset)
                .expect("an offset");
        }
        list
    }

    /// Takes the processors and the allocator's locks away from others.
    fn disturb(until: &AtomicBool) {
        while !until.load(Ordering::Relaxed) {
            black_box(
                (0..64)
                    .map(|n| vec![0_u8; 200 + 37 * n])
                    .collect::<Vec<_>>(),
            );
        }
    }

    #[test]
    fn no_partition_is_left_behind_that_is_paused_while_it_starts() {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic(TOPIC, PARTITIONS, 1).expect("a topic");
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "group")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "5");
        let producer: BaseProducer = config.create().expect("a producer");
        for partition in 0..PARTITIONS {
            let record = BaseRecord::<str, str>::to(TOPIC)
                .partition(partition)
                .payload("x");
            assert!(producer.send(record).is_ok());
        }
        producer.flush(PATIENCE).expect("delivered");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        consumer.assign(&list(Offset::Beginning)).expect("assigned");
        assert!(consumer.poll(PATIENCE).is_some());
        consumer
            .commit(&list(Offset::Offset(0)), CommitMode::Sync)
            .expect("committed");

        let over = AtomicBool::new(false);
        let left_behind = std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| disturb(&over));
            }
            let found = (0..ROUNDS)
                .map(|_| left_behind(&consumer))
                .find(|left| !left.is_empty());
            over.store(true, Ordering::Relaxed);
            found
        });
        assert_eq!(left_behind, None);
    }

    /// Partitions that give no record though they have one, after they were assigned, paused and resumed.
    fn left_behind(consumer: &BaseConsumer) -> BTreeSet<i32> {
        consumer.unassign().expect("unassigned");
        consumer.assign(&list(Offset::Stored)).expect("assigned");
        let assigned = Instant::now();
        while assigned.elapsed() < STARTING {
            consumer.pause(&list(Offset::Invalid)).expect("paused");
        }
        consumer.resume(&list(Offset::Invalid)).expect("resumed");
        resume::wake(consumer, list(Offset::End));
        let mut left: BTreeSet<i32> = (0..PARTITIONS).collect();
        let resumed = Instant::now();
        while !left.is_empty() && resumed.elapsed() < PATIENCE {
            if let Some(Ok(record)) = consumer.poll(Duration::from_millis(50)) {
                left.remove(&record.partition());
            }
        }
        left
    }
}
