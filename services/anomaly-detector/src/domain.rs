//! Pure logic: readings in, alerts out. Time is whatever the records say.
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros
)]

pub mod action;
pub mod alerting;
pub mod counter;
pub mod dead_letter;
pub mod detector;
pub mod finding;
pub mod identity;
pub mod incident;
pub mod limits;
pub mod number;
pub mod place;
pub mod reading;
pub mod recent;
pub mod rule;
pub mod rules;
pub mod sku;
pub mod state;
pub mod watch;
pub mod xid_catalogue;
