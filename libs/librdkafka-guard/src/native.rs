//! Calls that rdkafka's safe interface lacks.

use rdkafka::bindings;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use std::ffi::CString;
use std::time::Duration;

/// `rd_kafka_flush`: waits until every queued record is delivered or failed.
///
/// rdkafka's own flush waits in steps of 100 ms, which would become the price of every commit; this one returns as
/// soon as the last delivery report is in.
///
/// # Errors
/// What librdkafka said: `OperationTimedOut` when something is still queued after `timeout`.
pub fn flush<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
) -> Result<(), RDKafkaErrorCode> {
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the pointer is that of a live client, borrowed for the call.
    let result = unsafe { bindings::rd_kafka_flush(client.native_ptr(), millis) };
    match RDKafkaErrorCode::from(result) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(code),
    }
}

/// `rd_kafka_get_watermark_offsets`: the high watermark that came with the last fetch, if one came. No request is sent.
pub fn cached_high_watermark<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1_i64, -1_i64);
    // SAFETY: the client is live, the topic is NUL-terminated, and both results point to locals.
    let result = unsafe {
        bindings::rd_kafka_get_watermark_offsets(
            client.native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (RDKafkaErrorCode::from(result) == RDKafkaErrorCode::NoError && high >= 0).then_some(high)
}

/// Lets the C library keep two heaps instead of eight a core.
///
/// librdkafka allocates a record's buffers on one thread and frees them on another, so that each of its threads' heaps
/// grows to the peak and stays there; at full speed that was half of a stage's resident memory.
pub fn limit_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets a parameter of the allocator; it is called before any other thread is started.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
