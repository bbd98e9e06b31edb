//! The service as a process, against the real PostgreSQL and the real broker.

#[cfg(test)]
mod api;
#[cfg(test)]
mod import;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod service;
#[cfg(test)]
mod start;
