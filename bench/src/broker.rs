//! A broker for this run, with the heap that `make up` gives it.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Broker {
    folder: PathBuf,
    bootstrap: String,
}

impl Broker {
    pub(crate) fn start() -> Self {
        let folder = std::env::temp_dir().join(testbed::unique("bench"));
        std::fs::create_dir_all(&folder).unwrap();
        let port = testbed::free_port();
        let status = stack(&["kafka-start", folder.to_str().unwrap(), &port.to_string()]);
        assert!(status, "no broker");
        Self {
            folder,
            bootstrap: format!("127.0.0.1:{port}"),
        }
    }

    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        stack(&["kafka-stop", self.folder.to_str().unwrap()]);
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn stack(arguments: &[&str]) -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("deploy/local/stack.sh");
    let output = Command::new(script).args(arguments).output().unwrap();
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}
