use std::path::Path;
use std::process::Command;

/// Sends a signal (`TERM`, `KILL`, `STOP`, ..) to the process whose pid is the first line of `pidfile`.
///
/// By the program `kill`: the system call would need unsafe code.
pub(crate) fn signal(pidfile: &Path, signal: &str) {
    let text = std::fs::read_to_string(pidfile)
        .unwrap_or_else(|error| panic!("{}: {error}", pidfile.display()));
    let pid = text.lines().next().unwrap_or_default();
    let status = Command::new("kill")
        .args(["-s", signal, pid])
        .status()
        .expect("the program `kill`");
    assert!(status.success(), "kill -s {signal} {pid}: {status}");
}
