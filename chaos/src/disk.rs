//! A disk for the database that can be filled.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Room on it, as long as it is not full: no more memory than is written is taken.
const SIZE: &str = "64g";
/// What is left when it is full.
const REST_KIB: u64 = 256;
/// The server may write more than the rest between the look at what is used and the change.
const FILL_TRIES: u32 = 50;

/// A file system in memory. It ends with this value.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Only root may make one, and not everywhere.
    pub(crate) fn make(owner: u32) -> Option<Self> {
        let folder = std::env::temp_dir().join(testbed::unique("ghm-chaos-disk"));
        std::fs::create_dir(&folder).ok()?;
        let size = format!("size={SIZE}");
        let mounted = run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "tmpfs", folder.to_str()?],
        );
        if !mounted {
            drop(std::fs::remove_dir(&folder));
            return None;
        }
        let disk = Self { folder };
        std::os::unix::fs::chown(&disk.folder, Some(owner), None).ok()?;
        Some(disk)
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves no room but a little.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn fill(&self) -> Result<(), String> {
        let mut filled = Ok(());
        for _ in 0..FILL_TRIES {
            let used = self.used_kib()?;
            filled = self.resize(&format!("{}k", used + REST_KIB));
            if filled.is_ok() {
                break;
            }
        }
        filled
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn empty(&self) -> Result<(), String> {
        self.resize(SIZE)
    }

    fn resize(&self, size: &str) -> Result<(), String> {
        let options = format!("remount,size={size}");
        let folder = self.folder.to_string_lossy();
        if run("mount", &["-o", &options, &folder]) {
            Ok(())
        } else {
            Err(format!("{folder} can't be made {size} large"))
        }
    }

    fn used_kib(&self) -> Result<u64, String> {
        let output = Command::new("df")
            .args(["--output=used", "--block-size=1K"])
            .arg(&self.folder)
            .output()
            .map_err(|error| format!("df: {error}"))?;
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .nth(1)
            .and_then(|line| line.trim().parse().ok())
            .ok_or_else(|| "df does not say how much is used".to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the server still has files open there.
        run("umount", &["-l", &self.folder.to_string_lossy()]);
        drop(std::fs::remove_dir(&self.folder));
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
