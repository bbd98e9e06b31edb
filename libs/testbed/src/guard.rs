//! Ends what a test started when the test's process ends, also by a panic in a thread, `exit`, Ctrl-C or kill -9: none of
//! which runs a destructor of a static.

use crate::stack::script;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// A folder of its own and a process that waits for the end of this one, to stop the service in the folder and remove it.
#[derive(Debug)]
pub(crate) struct Guard {
    folder: PathBuf,
    process: Child,
}

impl Guard {
    /// `kind` is what `stack.sh guard` calls it: `kafka` or `postgres`.
    pub(crate) fn new(kind: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ghm-test.")
            // PostgreSQL runs as another user when tests run as root.
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .expect("a folder for a test's service")
            .keep();
        let process = script()
            .args(["guard", kind])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal to the test's process group is not for the guard.
            .process_group(0)
            .spawn()
            .expect("bash, to guard a test's service");
        Self { folder, process }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            panic!("the guard of {} was lost: {error}", self.folder.display());
        }
    }
}
