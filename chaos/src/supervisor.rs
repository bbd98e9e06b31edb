//! Keeps processes running, as Kubernetes does: what has ended without being told to is started again.

use crate::audit::Metrics;
use crate::role::Role;
use crate::streams;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Pause before a process that has ended by itself is started again.
const BACKOFF: Duration = Duration::from_millis(500);
/// How often the supervisor looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// To end everything while another thread may be changing it, or have broken off in the middle of that.
const ENDING_TRIES: u32 = 20;
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

/// What a role's processes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Program {
    /// Our service.
    #[default]
    Ours,
    /// The same stage on Kafka Streams: the jar of `bench/peers/kafka-streams`, and the folder of its local state.
    Streams { jar: PathBuf, state: PathBuf },
}

/// How a role's processes are started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) program: Program,
    /// Where it finds Kafka.
    pub(crate) bootstrap: String,
    /// A member of its group that keeps its partitions over a quick restart.
    pub(crate) is_static: bool,
    /// Further settings of ours, as (`DATABASE__URL`, value).
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
    /// Clock ticks of CPU that its ended processes have taken, and those of the one that runs, when last looked.
    ended_ticks: u64,
    ticks: u64,
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
                // One that has ended has none any more.
                if let Some(ticks) = cpu_ticks(child.id()) {
                    if ticks < process.ticks {
                        process.ended_ticks += process.ticks;
                    }
                    process.ticks = ticks;
                }
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

    /// Does it do its work?
    pub(crate) fn is_ready(&self, instance: Instance) -> bool {
        let port = match self.lock().get(&instance) {
            Some(process) if process.child.is_some() => process.port,
            _ => return false,
        };
        match self.settings[&instance.role].program {
            Program::Ours => e2e::http_get(port, "/readyz").0 == 200,
            Program::Streams { .. } => streams::is_running(&self.events(instance)),
        }
    }

    /// Waits until every process that should run does its work.
    pub(crate) fn wait_ready(&self, within: Duration) {
        for (instance, _) in self.wanted() {
            testbed::wait_until(within, &format!("{instance} to be ready"), || {
                self.is_ready(instance)
            });
        }
    }

    /// Records that the process has restored since it was started.
    pub(crate) fn restored(&self, instance: Instance) -> u64 {
        match self.settings[&instance.role].program {
            Program::Ours => {
                let port = self.lock().get(&instance).map_or(0, |process| process.port);
                let (_, text) = e2e::http_get(port, "/metrics");
                Metrics::new(text).sum("chassis_restore_records_total")
            }
            Program::Streams { .. } => streams::restored(&self.events(instance)),
        }
    }

    /// What the process of another system has said since it was started.
    fn events(&self, instance: Instance) -> String {
        std::fs::read_to_string(self.events_path(instance)).unwrap_or_default()
    }

    fn events_path(&self, instance: Instance) -> PathBuf {
        self.logs.join(format!("{instance}.events"))
    }

    /// Those that run or should.
    pub(crate) fn wanted(&self) -> Vec<(Instance, u16)> {
        self.lock()
            .iter()
            .filter(|(_, process)| process.wanted)
            .map(|(instance, process)| (*instance, process.port))
            .collect()
    }

    /// Seconds of CPU that each role has taken, all its instances and restarts together.
    pub(crate) fn cpu_seconds(&self) -> BTreeMap<Role, f64> {
        let mut seconds = BTreeMap::new();
        for (instance, process) in self.lock().iter() {
            let ticks = process.ended_ticks + process.ticks;
            *seconds.entry(instance.role).or_default() += ticks as f64 / TICKS_A_SECOND;
        }
        seconds
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
        for _ in 0..ENDING_TRIES {
            let mut processes = match self.processes.try_lock() {
                Ok(processes) => processes,
                Err(TryLockError::Poisoned(processes)) => processes.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(LOOK_EVERY);
                    continue;
                }
            };
            for process in processes.values_mut() {
                process.wanted = false;
                if let Some(child) = &mut process.child {
                    drop(child.kill());
                }
            }
            return;
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
            ended_ticks: 0,
            ticks: 0,
        });
        change(self, process);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Instance, Process>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, instance: Instance, port: u16) -> Child {
        let settings = &self.settings[&instance.role];
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.logs.join(format!("{instance}.log")))
            .unwrap_or_else(|error| panic!("the log of {instance}: {error}"));
        let mut command = match &settings.program {
            Program::Ours => {
                let mut command = ours(
                    &self.binaries,
                    instance,
                    settings,
                    &format!("127.0.0.1:{port}"),
                );
                command.stdout(Stdio::null());
                command
            }
            Program::Streams { jar, state } => {
                let mut command = streams::command(jar, state, instance, settings);
                let events = File::create(self.events_path(instance))
                    .unwrap_or_else(|error| panic!("the events of {instance}: {error}"));
                command.stdout(events);
                command
            }
        };
        command
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{instance}: {error}; `make chaos` builds it"))
    }
}

fn ours(binaries: &Path, instance: Instance, settings: &Settings, listen: &str) -> Command {
    let name = instance.role.name();
    let prefix = name.to_uppercase().replace('-', "_");
    let mut command = Command::new(binaries.join(name));
    let membership = if settings.is_static {
        "static"
    } else {
        "dynamic"
    };
    let own = [
        ("HTTP__LISTEN", listen),
        ("KAFKA__BOOTSTRAP_SERVERS", &settings.bootstrap),
        ("KAFKA__INSTANCE_ID", &instance.to_string()),
        ("KAFKA__MEMBERSHIP", membership),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    for (key, value) in own.iter().chain(&settings.further) {
        command.env(format!("{prefix}__{key}"), value);
    }
    command
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

/// `USER_HZ`, which is the same on every Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// User and system time of a process (proc(5), `/proc/PID/stat`, fields 14 and 15).
fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything, blanks and brackets too.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
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
    fn the_time_of_this_process_is_read() {
        let began = Instant::now();
        let before = cpu_ticks(std::process::id()).expect("ticks");
        while cpu_ticks(std::process::id()) == Some(before) {
            assert!(began.elapsed() < Duration::from_secs(30), "it stands still");
        }
    }

    #[test]
    fn a_panic_and_a_crash_are_forbidden_and_giving_up_is_not() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        assert!(is_forbidden(exit(101)));
        assert!(is_forbidden(ExitStatus::from_raw(6)), "SIGABRT");
        assert!(!is_forbidden(exit(1)));
        assert!(!is_forbidden(exit(0)));
    }
}
