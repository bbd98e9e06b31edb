//! Stores telemetry, windows, alerts and scores in TimescaleDB or PostgreSQL, exactly once.

fn main() {}
