//! Folds enriched GPU telemetry into 1-minute and 15-minute windows.

fn main() {}
