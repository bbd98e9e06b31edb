//! Ends what the suite has started when the suite itself ends early: by a panic, Ctrl-C or SIGTERM. None of them runs a
//! destructor. Brokers and database have a guard of their own.

use crate::evidence::Evidence;
use crate::supervisor::Supervisor;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::signal::unix::{SignalKind, signal};

/// Of the suite that could not go on.
const FAILED: u8 = 2;

/// What there is to end.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) evidence: Arc<Evidence>,
    pub(crate) supervisor: Arc<Supervisor>,
    /// The folder that a file system is mounted on.
    pub(crate) disk: Option<PathBuf>,
    pub(crate) seed: u64,
}

static SCENE: Mutex<Option<Scene>> = Mutex::new(None);

/// From now on this is what there is to end.
pub(crate) fn watch(scene: Scene) {
    *SCENE.lock().unwrap_or_else(PoisonError::into_inner) = Some(scene);
}

/// Ends in good order on a panic and on a signal, from now on.
///
/// # Errors
/// If signals can't be waited for.
pub(crate) fn prepare() -> Result<(), String> {
    std::panic::set_hook(Box::new(|panic| {
        end(&format!("the suite itself can't go on: {panic}"), FAILED);
    }));
    let io = |error: std::io::Error| format!("signals: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(io)?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io)?;
    drop(entered);
    std::thread::spawn(move || {
        let kind = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
            }
        });
        // As a shell tells of a process that a signal has ended.
        let code = 128 + u8::try_from(kind.as_raw_value()).unwrap_or(0);
        end("interrupted", code);
    });
    Ok(())
}

fn end(why: &str, code: u8) -> ! {
    let scene = SCENE.lock().unwrap_or_else(PoisonError::into_inner);
    match &*scene {
        None => drop(writeln!(std::io::stderr().lock(), "chaos: {why}")),
        Some(scene) => {
            scene.supervisor.end_at_once();
            if let Some(disk) = &scene.disk {
                let unmounted = Command::new("umount")
                    .arg("-l")
                    .arg(disk)
                    .stderr(Stdio::null())
                    .status();
                drop(unmounted);
                drop(std::fs::remove_dir(disk));
            }
            scene.evidence.say(&format!(
                "{why}\nwhat there is to see is in {}\nSEED={}",
                scene.evidence.folder().display(),
                scene.seed
            ));
        }
    }
    std::process::exit(code.into());
}
