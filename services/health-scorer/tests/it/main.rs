//! The health-scorer from outside: its contract in files, and the process against the real broker.

#[cfg(test)]
mod broker;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod service;
