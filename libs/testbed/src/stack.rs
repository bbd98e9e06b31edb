//! Runs `deploy/local/stack.sh`, which knows how to start and stop things.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// Runs one of its commands.
///
/// # Errors
/// What it said, if it failed.
pub(crate) fn stack<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
) -> Result<String, String> {
    let output = script()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("bash can't run {STACK}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}

/// The script, to be given a command.
pub(crate) fn script() -> Command {
    let mut command = Command::new("bash");
    command.arg(STACK);
    command
}

const STACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/local/stack.sh");
