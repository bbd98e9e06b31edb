//! The binary.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

pub(crate) fn fleet_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fleet-sim"))
        .args(arguments)
        .output()
        .unwrap()
}

/// A running one; killed with the guard.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_fleet-sim"))
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_same_command_prints_the_same_bytes_and_a_ground_truth_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let truth = folder.path().join("truth.jsonl");
    let run = || {
        let output = fleet_sim(&[
            "jsonl",
            "--gpus",
            "32",
            "--duration",
            "5m",
            "--faults",
            "default",
            "--ground-truth",
            truth.to_str().unwrap(),
        ]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        (output.stdout, std::fs::read_to_string(&truth).unwrap())
    };
    let (records, faults) = run();
    assert!((records.clone(), faults.clone()) == run());
    assert!(records.split(|byte| *byte == b'\n').count() > 600);
    let listed = fleet_sim(&[
        "faults",
        "--gpus",
        "32",
        "--duration",
        "5m",
        "--faults",
        "default",
    ]);
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), faults);
    let first: fleet_sim::GroundTruth =
        serde_json::from_str(faults.lines().next().unwrap()).unwrap();
    assert_eq!(first.rules, ["ecc_dbe"]);
}

#[test]
fn a_file_of_faults_is_used_and_a_wrong_one_is_told_with_its_line() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        file,
        "{{\"kind\":\"gpu_silent\",\"gpu\":0,\"from_s\":0,\"for_s\":3600}}"
    )
    .unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let output = fleet_sim(&[
        "jsonl",
        "--gpus",
        "8",
        "--duration",
        "10s",
        "--faults",
        &path,
    ]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 7);
    writeln!(file, "{{\"kind\":\"nothing\",\"from_s\":0}}").unwrap();
    let output = fleet_sim(&["jsonl", "--gpus", "8", "--faults", &path]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2"));
}

#[test]
fn wrong_usage_ends_with_64_and_help_with_0() {
    for arguments in [
        &["jsonl", "--gpus", "0"][..],
        &["jsonl", "--models", "voodoo"],
        &["jsonl", "--interval", "soon"],
        &["kafka", "--rate", "fast"],
        &["kafka", "--speed", "10"],
        &["assets", "--missing", "2"],
        &["jsonl", "--faults", "/no/such/file"],
        &["dance"],
    ] {
        let output = fleet_sim(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(fleet_sim(&["--help"]).status.code(), Some(0));
}
