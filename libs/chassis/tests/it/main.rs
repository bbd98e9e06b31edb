//! The chassis against the real broker. The example service runs as a process of its own, so that it can be killed,
//! stopped and cut off; what it counts must come out exactly once all the same.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that can't go on ends here, and shows what its service logged"
)]

mod exactly_once;
mod life;
mod lost_input;
mod outage;
mod readiness;
mod refused;
mod rights;
mod rolling;
mod support;
