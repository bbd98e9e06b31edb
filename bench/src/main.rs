//! Events per CPU-second.

fn main() {}
