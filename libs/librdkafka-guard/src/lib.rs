//! Against faults of librdkafka 2.12 that crash or stall a client, most of them when a broker comes back: three are mended here, the
//! others are noticed by [`stall`]. [`resume`] wakes one that oversleeps; [`watermarks`] asks again where it takes
//! an old answer; [`coordinator`] lets it ask again where it forgets to; [`standby`] finds out what it does not tell.
//! [`native`] has the calls that rdkafka leaves out. All unsafe code of the fleet is here.
//!
//! # Entries that nobody has filled
//! A broker that does not lead a partition any more names the new leader in its answer (KIP-951), and librdkafka 2.5 and
//! later take it over at once. Where the answer names a leader for some partitions and none for others, as that of a broker
//! that has just started does, the list that is made of it has as many entries as there are partitions, and only as many
//! are filled as have a leader: the others are whatever was in memory
//! ([confluentinc/librdkafka#5280](https://github.com/confluentinc/librdkafka/issues/5280), not fixed in 2.12.1). Such an
//! entry is read out of bounds (SIGSEGV), or gives a partition an epoch that no broker knows, after which nothing of it is
//! fetched until the process ends. `chaos` has seen both.
//!
//! `rd_kafka_metadata_update_op` applies that list. The linker puts [`__wrap_rd_kafka_metadata_update_op`], which does
//! nothing, in its place (`--wrap`, in `.cargo/config.toml`). Nothing is lost but some milliseconds: with the same answer
//! the client asks for metadata anyway, as older ones do.
//!
//! # Clients that know no broker
//! The cluster's brokers are those that the last answer to a metadata request has named, and a broker that has just
//! started may name none, not even itself. The client then drops all that it knows and asks nobody any more
//! ([confluentinc/librdkafka#5301](https://github.com/confluentinc/librdkafka/issues/5301), open). It should begin again
//! with `bootstrap.servers` as soon as all are down, but that is a timer, and the same answer, being one without an error,
//! stops it. `chaos` has seen consumers and producers end so.
//!
//! `rd_kafka_rebootstrap_tmr_stop` is called once per such answer, when it has been applied.
//! [`bootstrap::__wrap_rd_kafka_rebootstrap_tmr_stop`] gives a client that then knows no broker those of its
//! `bootstrap.servers`.
//!
//! # Partitions that are never started
//! A partition that is paused in the moment in which it starts may not start at all, and one that is resumed while a
//! rebalance begins may stay paused. What keeps the order, and why it needs to, is in `barrier.rs`.
//!
//! All of them are to be removed when rdkafka brings a librdkafka that has them fixed. Whatever uses rdkafka without `chassis`
//! or `testbed` has `use librdkafka_guard as _;`, else it does not link on Linux. Other linkers than Linux's are not told
//! of it.
#![expect(
    unsafe_code,
    reason = "functions of librdkafka's are replaced by their names, and some are called that rdkafka leaves out"
)]

#[cfg(target_os = "linux")]
mod barrier;
#[cfg(target_os = "linux")]
mod bootstrap;
pub mod coordinator;
pub mod native;
pub mod resume;
pub mod stall;
pub mod standby;
pub mod watermarks;

use std::ffi::{c_int, c_void};

/// `RD_KAFKA_OP_RES_HANDLED`: the caller frees what it was about.
const HANDLED: c_int = 1;

/// Takes no notice of `metadata`, a `rd_kafka_metadata_internal_t`.
// SAFETY: no other symbol has this name, and neither pointer is looked at.
#[unsafe(no_mangle)]
pub extern "C" fn __wrap_rd_kafka_metadata_update_op(
    client: *mut c_void,
    metadata: *mut c_void,
) -> c_int {
    let (_, _) = (client, metadata);
    HANDLED
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    // Their addresses are compared; nobody calls them by these declarations.
    unsafe extern "C" {
        fn rd_kafka_metadata_update_op();
        fn rd_kafka_rebootstrap_tmr_stop();
        fn rd_kafka_toppar_op_fetch_start();
        fn rd_kafka_toppar_op_fetch_stop();
        fn rd_kafka_toppar_op_seek();
        fn rd_kafka_toppar_op_pause_resume();
        fn rd_kafka_toppars_pause_resume();
    }

    #[test]
    fn the_linker_has_put_them_in_the_place_of_librdkafkas() {
        macro_rules! pairs {
            ($($theirs:ident: $ours:path,)*) => {
                [$((stringify!($theirs), $theirs as *const (), $ours as *const ())),*]
            };
        }
        for (name, called, ours) in pairs![
            rd_kafka_metadata_update_op: __wrap_rd_kafka_metadata_update_op,
            rd_kafka_rebootstrap_tmr_stop: bootstrap::__wrap_rd_kafka_rebootstrap_tmr_stop,
            rd_kafka_toppar_op_fetch_start: barrier::__wrap_rd_kafka_toppar_op_fetch_start,
            rd_kafka_toppar_op_fetch_stop: barrier::__wrap_rd_kafka_toppar_op_fetch_stop,
            rd_kafka_toppar_op_seek: barrier::__wrap_rd_kafka_toppar_op_seek,
            rd_kafka_toppar_op_pause_resume: barrier::__wrap_rd_kafka_toppar_op_pause_resume,
            rd_kafka_toppars_pause_resume: barrier::__wrap_rd_kafka_toppars_pause_resume,
        ] {
            assert!(
                std::ptr::eq(called, ours),
                "{name} linked without --wrap: RUSTFLAGS in the environment takes the place of .cargo/config.toml"
            );
        }
    }
}
