//! Exactly-once consume-transform-produce, state, HTTP endpoints, configuration, telemetry and shutdown for small Kafka
//! services.
#![warn(missing_docs)]

mod stage;
mod table;
pub mod testing;

pub use stage::{
    Changelog, Headers, Outbox, Output, Record, RestoreError, Stage, StagedRecord, Task,
};
pub use table::{Table, TableValue};
