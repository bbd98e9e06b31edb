//! The auditor as a process, against the real broker and the real database.
#![cfg(test)]

mod alerts;
mod broker;
mod service;
mod tables;
