//! Keeps processes running, as Kubernetes does: what has ended without being told to is started again.

use crate::role::Role;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pause before a process that has ended by itself is started again.
const BACKOFF: Duration = Duration::from_millis(500);
/// How often the supervisor looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A process that drains takes no longer than this (`shutdown.drain_seconds` and a margin); then it is killed, and told of.
const DRAIN_WITHIN: Duration = Duration::from_secs(40);

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instance {
    pub(crate) role: Role,
    pub(crate) number: u32,
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.role, self.number)
    }
}

/// How a role's processes are started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Where it finds Kafka.
    pub(crate) bootstrap: String,
    /// Further settings, as (`DATABASE__URL`, value).
    pub(crate) further: Vec<(String, String)>,
}

#[derive(Debug)]
struct Process {
    port: u16,
    child: Option<Child>,
    wanted: bool,
    /// It was told to end, and since when.
    told: Option<Instant>,
    not_before: Option<Instant>,
}

/// Something that ended without being told to, or otherwise than it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) instance: Instance,
    /// How it ended.
    pub(crate) how: String,
    /// No process may end like this, whatever strikes it.
    pub(crate) forbidden: bool,
}

/// The processes.
#[derive(Debug)]
pub(crate) struct Supervisor {
    binaries: PathBuf,
    logs: PathBuf,
    settings: BTreeMap<Role, Settings>,
    processes: Mutex<BTreeMap<Instance, Process>>,
    endings: Mutex<Vec<Ending>>,
}

impl Supervisor {
    /// None run yet. Logs go to a file each in `logs`.
    pub(crate) fn new(binaries: &Path, logs: &Path, settings: BTreeMap<Role, Settings>) -> Self {
        Self {
            binaries: binaries.to_owned(),
            logs: logs.to_owned(),
            settings,
            processes: Mutex::new(BTreeMap::new()),
            endings: Mutex::new(Vec::new()),
        }
    }

    /// Starts an instance, if it does not run.
    pub(crate) fn start(&self, instance: Instance) {
        self.change(instance, |supervisor, process| {
            process.wanted = true;
            if process.child.is_none() {
                process.child = Some(supervisor.spawn(instance, process.port));
                process.told = None;
            }
        });
    }

    /// kill -9; it stays down until it is started.
    pub(crate) fn kill(&self, instance: Instance) {
        self.change(instance, |_, process| {
            process.wanted = false;
            if let Some(mut child) = process.child.take() {
                // A child that has ended meanwhile is as dead as it should be.
                drop(child.kill());
                drop(child.wait());
            }
        });
    }

    /// SIGTERM; it stays down until it is started.
    pub(crate) fn stop(&self, instance: Instance) {
        self.terminate(instance, false);
    }

    /// SIGTERM, and a start when it has ended.
    pub(crate) fn restart(&self, instance: Instance) {
        self.terminate(instance, true);
    }

    fn terminate(&self, instance: Instance, again: bool) {
        self.change(instance, |_, process| {
            process.wanted = again;
            if let Some(child) = &process.child {
                process.told = Some(Instant::now());
                signal(child.id(), "TERM");
            }
        });
    }

    /// SIGSTOP.
    pub(crate) fn sleep(&self, instance: Instance) {
        self.signal(instance, "STOP");
    }

    /// SIGCONT.
    pub(crate) fn wake(&self, instance: Instance) {
        self.signal(instance, "CONT");
    }

    fn signal(&self, instance: Instance, name: &str) {
        self.change(instance, |_, process| {
            if let Some(child) = &process.child {
                signal(child.id(), name);
            }
        });
    }

    /// Looks at every process: starts what should run and does not, and remembers what ended as it should not.
    pub(crate) fn look(&self) {
        let mut processes = self.lock();
        for (instance, process) in processes.iter_mut() {
            let now = Instant::now();
            if let Some(child) = &mut process.child {
                let late = process
                    .told
                    .is_some_and(|since| now.duration_since(since) > DRAIN_WITHIN);
                if late {
                    self.tell(*instance, "does not drain: killed".to_owned(), true);
                    drop(child.kill());
                }
                if let Ok(Some(status)) = child.try_wait() {
                    process.child = None;
                    process.not_before = None;
                    let told = process.told.take().is_some();
                    if !told {
                        process.not_before = Some(now + BACKOFF);
                    }
                    if !(late || told && status.success()) {
                        self.tell(*instance, how(status, told), is_forbidden(status));
                    }
                }
            }
            let due = process.not_before.is_none_or(|at| now >= at);
            if process.wanted && process.child.is_none() && due {
                process.child = Some(self.spawn(*instance, process.port));
                process.not_before = None;
            }
        }
    }

    /// Ends everything in good order, and waits for it.
    pub(crate) fn drain(&self) {
        let all: Vec<Instance> = self.lock().keys().copied().collect();
        for instance in &all {
            self.stop(*instance);
        }
        while self.lock().values().any(|process| process.child.is_some()) {
            self.look();
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Those that run or should.
    pub(crate) fn wanted(&self) -> Vec<(Instance, u16)> {
        self.lock()
            .iter()
            .filter(|(_, process)| process.wanted)
            .map(|(instance, process)| (*instance, process.port))
            .collect()
    }

    /// What ended otherwise than it was told.
    pub(crate) fn endings(&self) -> Vec<Ending> {
        self.endings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// kill -9 of everything, whatever state this is in.
    pub(crate) fn end(&self) {
        for process in self.lock().values_mut() {
            process.wanted = false;
            if let Some(mut child) = process.child.take() {
                drop(child.kill());
                drop(child.wait());
            }
        }
    }

    /// [`end`](Self::end), from a thread that may have broken off in the middle of a change.
    pub(crate) fn end_at_once(&self) {
        let Ok(mut processes) = self.processes.try_lock() else {
            return;
        };
        for process in processes.values_mut() {
            process.wanted = false;
            if let Some(child) = &mut process.child {
                drop(child.kill());
            }
        }
    }

    fn tell(&self, instance: Instance, how: String, forbidden: bool) {
        self.endings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Ending {
                instance,
                how,
                forbidden,
            });
    }

    fn change(&self, instance: Instance, change: impl FnOnce(&Self, &mut Process)) {
        let mut processes = self.lock();
        let process = processes.entry(instance).or_insert_with(|| Process {
            port: testbed::free_port(),
            child: None,
            wanted: false,
            told: None,
            not_before: None,
        });
        change(self, process);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Instance, Process>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, instance: Instance, port: u16) -> Child {
        let name = instance.role.name();
        let prefix = name.to_uppercase().replace('-', "_");
        let settings = &self.settings[&instance.role];
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.logs.join(format!("{instance}.log")))
            .unwrap_or_else(|error| panic!("the log of {instance}: {error}"));
        Command::new(self.binaries.join(name))
            .env(
                format!("{prefix}__HTTP__LISTEN"),
                format!("127.0.0.1:{port}"),
            )
            .env(
                format!("{prefix}__KAFKA__BOOTSTRAP_SERVERS"),
                &settings.bootstrap,
            )
            .env(
                format!("{prefix}__KAFKA__INSTANCE_ID"),
                instance.to_string(),
            )
            .envs(
                settings
                    .further
                    .iter()
                    .map(|(key, value)| (format!("{prefix}__{key}"), value)),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{name}: {error}; `make chaos` builds it, with --release")
            })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

fn how(status: ExitStatus, told: bool) -> String {
    if told {
        format!("was told to stop, and ended with {status}")
    } else {
        format!("ended by itself with {status}")
    }
}

/// A stage may give up with an exit code that says so, and be restarted. It may not panic (which aborts), nor crash.
fn is_forbidden(status: ExitStatus) -> bool {
    status.signal().is_some() || status.code() == Some(101)
}

/// By the program `kill`: the system call would need unsafe code.
fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
    // A process that ended a moment ago can't be told anything; `look` sees it.
    drop(sent);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_and_a_crash_are_forbidden_and_giving_up_is_not() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        assert!(is_forbidden(exit(101)));
        assert!(is_forbidden(ExitStatus::from_raw(6)), "SIGABRT");
        assert!(!is_forbidden(exit(1)));
        assert!(!is_forbidden(exit(0)));
    }
}
