//! The command line against a real broker and over real HTTP.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on ends here and says where"
)]

mod command;
mod kafka;
mod serve;
