//! A deterministic simulator of a GPU fleet, with injected faults and their ground truth.

fn main() {}
