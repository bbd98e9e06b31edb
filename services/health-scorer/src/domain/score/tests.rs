//! One test a factor, with the source of its numbers, then what holds for the score as a whole.

mod factors;
mod laws;
mod original;
mod whole;
