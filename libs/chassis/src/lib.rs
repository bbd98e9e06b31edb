//! Exactly-once consume-transform-produce, state, HTTP endpoints, configuration, telemetry and shutdown for small Kafka
//! services.
//!
//! A library like rdkafka: it moves bytes, keys and times, and knows nothing of what they mean.
#![warn(missing_docs)]

mod admin;
mod app;
pub mod config;
pub mod eos;
mod error;
mod health;
pub mod kafka;
mod stage;
mod table;
mod telemetry;
pub mod testing;

pub use app::{App, Service, main};
pub use config::{
    HttpConfig, InvalidConfig, LogConfig, LogFormat, ServiceConfig, ShutdownConfig, comma_separated,
};
pub use eos::PipelineConfig;
pub use error::{Error, ErrorKind};
pub use health::{Gate, Heartbeat};
pub use kafka::KafkaConfig;
pub use librdkafka_guard::{coordinator, resume, stall, standby, watermarks};
pub use stage::{
    Changelog, Headers, Outbox, Output, Record, RestoreError, Stage, StagedRecord, Task,
};
pub use table::{Table, TableValue};
