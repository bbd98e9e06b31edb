//! The enricher as a process, against the real broker.

#[cfg(test)]
mod broker;
#[cfg(test)]
mod service;
