//! Against faults of librdkafka 2.12 that crash or stall a client when a broker comes back: one is left out here, the
//! others are noticed by [`stall`].
//!
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
//! To be removed when rdkafka brings a librdkafka that has it fixed. Whatever uses rdkafka without `chassis` or `testbed`
//! has `use librdkafka_guard as _;`, else it does not link on Linux. Other linkers than Linux's are not told of it.
#![expect(
    unsafe_code,
    reason = "a function of librdkafka's is replaced by its name"
)]

pub mod stall;

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

    unsafe extern "C" {
        fn rd_kafka_metadata_update_op(client: *mut c_void, metadata: *mut c_void) -> c_int;
    }

    type Function = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;

    #[test]
    fn the_linker_has_put_it_in_the_place_of_librdkafkas() {
        let called: Function = rd_kafka_metadata_update_op;
        let ours: Function = __wrap_rd_kafka_metadata_update_op;
        assert!(
            std::ptr::fn_addr_eq(called, ours),
            "linked without --wrap: RUSTFLAGS in the environment takes the place of .cargo/config.toml"
        );
    }
}
