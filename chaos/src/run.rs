//! One run: the fleet under load, the blows, and then the truth.

use crate::ending;
use crate::evidence::Evidence;
use crate::ground::Ground;
use crate::load::{self, Load};
use crate::plan::{Action, Plan};
use crate::report::{self, Summary};
use crate::role::{Role, System};
use crate::supervisor::{Instance, LOOK_EVERY, Supervisor};
use crate::verdict::{Kind, Verdict, Violation};
use crate::{audit, check, plan, progress};
use schema::topic;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    /// Of the load.
    pub(crate) duration: Duration,
    pub(crate) records_per_second: u64,
    pub(crate) brokers: usize,
    /// When stages write their state; the seed chooses, if none.
    pub(crate) state: Option<plan::State>,
    /// Only blows whose description has one of these in it; all, if none.
    pub(crate) only: Vec<String>,
    /// Minutes of event time in a backlog.
    pub(crate) backlog_minutes: u64,
    /// How long the fleet may take, after the load, until nothing is left to read.
    pub(crate) bound: Duration,
    /// The folder stays.
    pub(crate) keep: bool,
    /// Where it is made.
    pub(crate) out: PathBuf,
}

const READY_WITHIN: Duration = Duration::from_mins(2);
/// The share of GPUs that nobody has entered as assets.
const MISSING_ASSETS: f64 = 0.2;
/// So many violations are printed; the folder has them all.
const SHOWN: usize = 10;

/// Runs it. False if anything is wrong.
///
/// # Errors
/// If the suite itself can't do what it has to.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let binaries = binaries()?;
    let evidence = Arc::new(Evidence::new(
        &options.out,
        &format!("seed-{}", options.seed),
    )?);
    evidence.say(&format!("SEED={}", options.seed));
    let plan = plan_of(options, &Role::ALL);
    evidence.keep("plan.txt", &report::plan(&plan));
    evidence.say(&report::rolling(&plan.rolling));

    let ground = Ground::start(options.brokers, &binaries);
    let supervisor = Arc::new(Supervisor::new(
        &binaries,
        &evidence.logs(),
        ground.settings(&Role::ALL, &plan.rolling, System::Ours, &evidence.state()),
    ));
    ending::watch(ending::Scene {
        evidence: Arc::clone(&evidence),
        supervisor: Arc::clone(&supervisor),
        disk: ground.disk(),
        seed: options.seed,
    });
    let scene = Scene {
        options,
        roles: &Role::ALL,
        plan: &plan,
        evidence: &evidence,
        ground: &ground,
        supervisor: &supervisor,
    };
    let outcome = scene.play(Scene::judged);
    supervisor.end();
    let green = match &outcome {
        Ok(green) => *green,
        Err(error) => {
            evidence.say(&format!("the suite itself can't go on: {error}"));
            false
        }
    };
    if green && !options.keep {
        evidence.remove();
    } else {
        ground.testify(&evidence);
        evidence.say(&format!(
            "what there is to see is in {}",
            evidence.folder().display()
        ));
    }
    evidence.say(&format!(
        "{} SEED={}",
        if green { "green" } else { "RED" },
        options.seed
    ));
    outcome
}

/// The plan of a run.
pub(crate) fn plan_of(options: &Options, roles: &[Role]) -> Plan {
    let layout = Ground::layout(
        roles,
        options.brokers,
        options.backlog_minutes,
        &options.only,
    );
    let duration_ms = u64::try_from(options.duration.as_millis()).unwrap_or(u64::MAX);
    Plan {
        rolling: plan::rolling(options.seed, options.state),
        ..plan::plan(options.seed, duration_ms, &layout)
    }
}

/// The folder of the services' binaries: this one's.
pub(crate) fn binaries() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.parent().unwrap_or(Path::new(".")).to_owned();
    let needed = Role::ALL.iter().map(|role| role.name()).chain(["topics"]);
    for name in needed {
        if !folder.join(name).exists() {
            return Err(format!(
                "{name} is not in {}; `make chaos` builds it",
                folder.display()
            ));
        }
    }
    Ok(folder)
}

/// Makes the topics of the catalogue.
pub(crate) fn make_topics(binaries: &Path, bootstrap: &str, replicas: usize) {
    let made = Command::new(binaries.join("topics"))
        .args(["apply", "--bootstrap-servers", bootstrap])
        .args(["--replication-factor", &replicas.to_string()])
        .stdout(Stdio::null())
        .status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "the topics can't be made"
    );
}

/// What strikes what.
pub(crate) struct Scene<'a> {
    pub(crate) options: &'a Options,
    /// What of the fleet there is; the first is asset-lookup.
    pub(crate) roles: &'a [Role],
    pub(crate) plan: &'a Plan,
    pub(crate) evidence: &'a Arc<Evidence>,
    pub(crate) ground: &'a Ground,
    pub(crate) supervisor: &'a Supervisor,
}

impl Scene<'_> {
    /// Does `act` under supervision.
    pub(crate) fn play<T>(
        &self,
        act: impl FnOnce(&Self) -> Result<T, String>,
    ) -> Result<T, String> {
        let watching = AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while watching.load(Ordering::Relaxed) {
                    self.supervisor.look();
                    std::thread::sleep(LOOK_EVERY);
                }
            });
            let outcome = act(self);
            watching.store(false, Ordering::Relaxed);
            outcome
        })
    }

    /// Starts everything, and strikes it under load until the plan is done.
    pub(crate) fn storm(&self, began: Instant) -> Result<Load, String> {
        let gpus = load::gpus(self.options.records_per_second);
        let load = Load::default();
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let fleet = load::simulation(self.options.seed, gpus);
                load.run(
                    self.ground.bootstrap(),
                    fleet,
                    self.options.records_per_second,
                )
            });
            let struck = self.strike(&load, began);
            load.stop();
            let sent = sending
                .join()
                .map_err(|_| "the load broke off".to_owned())
                .flatten();
            struck.and(sent)
        })?;
        Ok(load)
    }

    /// The whole fleet under load and blows, and what came of it.
    fn judged(&self) -> Result<bool, String> {
        self.raise()?;
        let began = Instant::now();
        let began_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
        let load = self.storm(began)?;
        let load_s = began.elapsed().as_secs_f64();

        let mut verdict = Verdict::default();
        self.say(
            began,
            "the blows are over; waiting until nothing is left to read",
        );
        let done = progress::wait_until_done(self.ground, &Role::CONSUMERS, self.options.bound);
        let done_s = match done {
            Ok(took) => Some(took.as_secs_f64()),
            Err(left) => {
                verdict
                    .violations
                    .push(Violation::new(Kind::Stuck, None, left));
                None
            }
        };
        let audited = self.audited();
        self.supervisor.drain();
        self.say(began, "everything has stopped; comparing");
        verdict.add(check::topics(self.ground, &load.sent()));
        let inputs = verdict.counts.get(check::INPUTS).copied();
        match audited {
            Ok(audited) => verdict.add(audited.verdict(inputs.unwrap_or(0))),
            Err(left) => verdict
                .violations
                .push(Violation::new(Kind::Stuck, None, left)),
        }
        self.say(began, "topics compared");
        if done_s.is_some() {
            verdict.add(check::rows(self.ground));
        }
        let endings = self.supervisor.endings();
        for ending in endings.iter().filter(|ending| ending.forbidden) {
            verdict.violations.push(Violation::new(
                Kind::Broken,
                None,
                format!("{} {}", ending.instance, ending.how),
            ));
        }
        let dropped = self.ground.dropped_markers();
        if dropped > 0 {
            verdict.violations.push(Violation::new(
                Kind::Broken,
                None,
                format!("Kafka has dropped the markers of transactions {dropped} times (KAFKA-20734); what else is wrong may follow from it"),
            ));
        }
        self.say(began, "rows compared");
        for ending in &endings {
            self.evidence
                .say(&format!("  {} {}", ending.instance, ending.how));
        }
        self.tell(
            &Summary {
                plan: self.plan,
                verdict: &verdict,
                endings: &endings,
                load_s,
                event_s: load.event_time().as_secs_f64(),
                done_s,
                bound_s: self.options.bound.as_secs(),
                cpu_seconds: &self.supervisor.cpu_seconds(),
            },
            began_ms,
        );
        Ok(verdict.violations.is_empty())
    }

    fn audited(&self) -> Result<audit::Metrics, String> {
        let auditor = instance(Role::Auditor);
        let wanted = self.supervisor.wanted();
        let port = wanted.iter().find(|(wanted, _)| *wanted == auditor);
        port.map_or_else(
            || Err("no auditor runs".to_owned()),
            |(_, port)| audit::wait_until_done(*port, self.options.bound),
        )
    }

    fn tell(&self, summary: &Summary<'_>, began_ms: i64) {
        self.evidence.say(&report::summary(summary));
        let verdict = summary.verdict;
        if verdict.violations.is_empty() {
            return;
        }
        let all = report::violations(verdict, self.plan, began_ms);
        self.evidence.keep("violations.txt", &all);
        for violation in verdict.violations.iter().take(SHOWN) {
            let text: String = violation.what.chars().take(400).collect();
            self.evidence.say(&format!("{}: {text}", violation.kind));
        }
    }

    /// Starts everything, and enters the assets.
    pub(crate) fn raise(&self) -> Result<(), String> {
        let gpus = load::gpus(self.options.records_per_second);
        let began = Instant::now();
        self.supervisor.start(instance(Role::AssetLookup));
        self.supervisor.wait_ready(READY_WITHIN);
        let fleet = load::simulation(self.options.seed, gpus);
        let mut csv = Vec::new();
        fleet_sim::assets::write_csv(fleet.plan().assets(MISSING_ASSETS), &mut csv)
            .map_err(|error| format!("the assets: {error}"))?;
        let entered = fleet.plan().assets(MISSING_ASSETS).count();
        let port = self
            .supervisor
            .wanted()
            .first()
            .map_or(0, |(_, port)| *port);
        let (status, body) = e2e::http_post(port, "/api/v1/assets/import", "text/csv", &csv);
        if status != 200 {
            return Err(format!("the assets were refused: {status} {body}"));
        }
        testbed::wait_until(READY_WITHIN, "every asset to be published", || {
            let records = testbed::consume_committed(
                self.ground.bootstrap(),
                topic::ASSETS.name,
                0,
                READY_WITHIN,
            );
            let keys: BTreeSet<_> = records.into_iter().map(|record| record.key).collect();
            keys.len() == entered
        });
        for role in self.roles {
            self.supervisor.start(instance(*role));
        }
        self.supervisor.wait_ready(READY_WITHIN);
        self.say(
            began,
            &format!(
                "the fleet is ready: {gpus} GPUs, {} records/s, {} broker(s)",
                self.options.records_per_second, self.options.brokers
            ),
        );
        Ok(())
    }

    /// Does every step at its time. What takes time itself (a broker's start) moves the rest.
    fn strike(&self, load: &Load, began: Instant) -> Result<(), String> {
        let mut moved = Duration::ZERO;
        let mut told = BTreeSet::new();
        for step in &self.plan.steps {
            wait_for(began + Duration::from_millis(step.at_ms) + moved);
            if told.insert(step.strike) {
                self.say(began, &self.plan.strikes[step.strike].blow.to_string());
            }
            let acting = Instant::now();
            if !self.ground.strike(step.action)? {
                self.strike_fleet(step.action, load);
            }
            moved += acting.elapsed();
        }
        wait_for(began + self.options.duration + moved);
        Ok(())
    }

    fn strike_fleet(&self, action: Action, load: &Load) {
        let on = |role, number, act: fn(&Supervisor, Instance)| {
            // A blow at everything strikes what there is.
            if self.roles.contains(&role) {
                act(self.supervisor, Instance { role, number });
            }
        };
        match action {
            Action::Start(role, number) => on(role, number, Supervisor::start),
            Action::Kill(role, number) => on(role, number, Supervisor::kill),
            Action::Stop(role, number) => on(role, number, Supervisor::stop),
            Action::Restart(role, number) => on(role, number, Supervisor::restart),
            Action::Sleep(role, number) => on(role, number, Supervisor::sleep),
            Action::Wake(role, number) => on(role, number, Supervisor::wake),
            Action::Flood(event_minutes) => load.flood(event_minutes),
            // The ground's.
            _ => {}
        }
    }

    pub(crate) fn say(&self, began: Instant, text: &str) {
        self.evidence
            .say(&format!("{:>7.1} s  {text}", began.elapsed().as_secs_f64()));
    }
}

pub(crate) const fn instance(role: Role) -> Instance {
    Instance { role, number: 0 }
}

fn wait_for(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}
