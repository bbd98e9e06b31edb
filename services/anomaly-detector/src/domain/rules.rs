//! One file a family of rules: its entries in the table, its state, and what it says about a reading.

pub mod absence;
pub mod baseline;
pub mod ecc;
pub mod nvlink;
pub mod pcie;
pub mod prediction;
pub mod remap;
pub mod thermal;
pub mod throttling;
pub mod xid;
