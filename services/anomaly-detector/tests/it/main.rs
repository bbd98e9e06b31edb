//! The anomaly-detector from outside: its documents, and the process against the real broker.

#[cfg(test)]
mod broker;
#[cfg(test)]
mod document;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod runbook;
#[cfg(test)]
mod service;
#[cfg(test)]
mod story;
