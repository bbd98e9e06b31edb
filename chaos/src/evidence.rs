//! What a run leaves: a folder with the plan, the logs of all processes, and what was found wrong.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The folder of a run.
#[derive(Debug)]
pub(crate) struct Evidence {
    folder: PathBuf,
    said: Mutex<File>,
}

impl Evidence {
    /// A new folder in `out`.
    ///
    /// # Errors
    /// If it can't be made.
    pub(crate) fn new(out: &Path, name: &str) -> Result<Self, String> {
        let folder = out.join(testbed::unique(name));
        let io = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(folder.join("logs")).map_err(io)?;
        let said = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("run.txt"))
            .map_err(io)?;
        Ok(Self {
            said: Mutex::new(said),
            folder,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Where processes keep local state that nobody wants to see.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Removes that.
    pub(crate) fn forget_state(&self) {
        drop(std::fs::remove_dir_all(self.state()));
    }

    /// Prints a line, and keeps it.
    pub(crate) fn say(&self, line: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed terminal is no reason to end a run.
        drop(writeln!(said, "{line}"));
        drop(writeln!(std::io::stdout().lock(), "{line}"));
    }

    /// Keeps a text.
    pub(crate) fn keep(&self, name: &str, text: &str) {
        if let Err(error) = std::fs::write(self.folder.join(name), text) {
            self.say(&format!("{name} can't be written: {error}"));
        }
    }

    /// Adds a line to a text.
    pub(crate) fn keep_line(&self, name: &str, line: &str) {
        let added = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(name))
            .and_then(|mut file| writeln!(file, "{line}"));
        if let Err(error) = added {
            self.say(&format!("{name} can't be written: {error}"));
        }
    }

    /// Keeps a copy of a log.
    pub(crate) fn copy(&self, name: &str, from: &Path) {
        if let Err(error) = std::fs::copy(from, self.logs().join(name)) {
            self.say(&format!("{name} can't be copied: {error}"));
        }
    }

    /// Nothing of it is needed.
    pub(crate) fn remove(&self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
