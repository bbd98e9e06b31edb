//! Scores each GPU's health from 0 to 100, with the reasons.

fn main() {}
