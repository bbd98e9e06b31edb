//! A deterministic simulator of a GPU fleet, with injected faults and their ground truth.
//!
//! [`Fleet`] steps 1 to 1,000,000 GPUs through time and visits the records that a collector would have produced. The
//! same configuration gives the same bytes. [`Plan`] holds what does not change: who each GPU is, and which fault
//! strikes it when.
#![warn(missing_docs)]

pub mod acme;
pub mod assets;
pub mod cli;
mod climate;
pub mod exposition;
mod fault;
mod fleet;
mod gpu;
mod habit;
mod json;
mod jsonl;
mod kafka;
mod moment;
mod overlay;
mod random;
mod reading;
mod schedule;
pub mod serve;
mod sku;
mod stop;
pub mod targets;
mod topology;
mod truth;

pub use fault::{Expectation, FaultFacts, FaultKind, Needs};
pub use fleet::{
    APPEND_DELAY_MS, Fleet, FleetConfig, HostSim, InvalidFleet, MAX_GPUS, Plan, Record,
};
pub use reading::{Delivery, Job, MAX_XID_COUNTS, Reading};
pub use schedule::{Fault, FaultId, FaultPlan, FaultSpec, GroundTruth, InvalidFault};
pub use sku::{SKUS, Sku};
pub use topology::{
    CLUSTERS_PER_DATACENTER, GPUS_PER_HOST, GpuIdentity, HOSTS_PER_RACK, ModelMix,
    RACKS_PER_CLUSTER, hostname,
};
