//! The same blows, and the same strikes at one member, for our stages and for those on Kafka Streams.

use crate::ending;
use crate::evidence::Evidence;
use crate::failover::{self, Case, Found};
use crate::ground::Ground;
use crate::role::{Role, System};
use crate::run::{Options, Scene, binaries, instance, plan_of};
use crate::supervisor::Supervisor;
use crate::tally::{self, Tally};
use crate::{progress, report, streams};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The part of the fleet that both have; the assets are ours in either.
const ROLES: [Role; 4] = [
    Role::AssetLookup,
    Role::Validator,
    Role::Enricher,
    Role::Aggregator,
];
const READY_WITHIN: Duration = Duration::from_mins(3);
/// Between the last record and a restart: windows that close take their time.
const SETTLE: Duration = Duration::from_secs(3);

/// What one system has shown.
#[derive(Clone, Debug)]
struct Column {
    system: System,
    tally: Tally,
    /// Seconds until nothing was left to read, if that came.
    done_s: Option<f64>,
    bound_s: u64,
    restarts: usize,
    cpu_s: f64,
    /// Seconds from the start of a process that was killed until it works with its state, and records restored.
    restores: BTreeMap<Role, (f64, u64)>,
    takeovers: Vec<Found>,
}

/// Runs both. False if ours has lost or doubled anything.
///
/// # Errors
/// If the suite itself can't do what it has to.
pub(crate) fn run(options: &Options, takeover: &failover::Options) -> Result<bool, String> {
    if !streams::jar().exists() {
        return Err(format!(
            "{} is not there; `make chaos-compare` builds it",
            streams::jar().display()
        ));
    }
    let evidence = Arc::new(Evidence::new(
        &options.out,
        &format!("compare-{}", options.seed),
    )?);
    evidence.say(&format!("SEED={}", options.seed));
    evidence.keep("plan.txt", &report::plan(&plan_of(options, &ROLES)));
    let of = |system| column(options, takeover, system, &evidence);
    let columns = of(System::Ours).and_then(|ours| Ok([ours, of(System::KafkaStreams)?]));
    evidence.forget_state();
    let columns = columns?;
    evidence.say(&format!("\n{}", table(&columns)));
    let green = columns[0].tally.is_whole();
    if green && !options.keep {
        evidence.remove();
    } else {
        evidence.say(&format!(
            "what there is to see is in {}",
            evidence.folder().display()
        ));
    }
    Ok(green)
}

fn column(
    options: &Options,
    takeover: &failover::Options,
    system: System,
    evidence: &Arc<Evidence>,
) -> Result<Column, String> {
    evidence.say(&format!("{system}: the blows"));
    let mut column = storm(options, system, evidence)?;
    evidence.say(&format!("{system}: strikes at one of several members"));
    failover::measure(takeover, system, &binaries()?, evidence, |found| {
        column.takeovers.push(found);
    })?;
    Ok(column)
}

/// The blows of the plan, and what came of the input.
fn storm(options: &Options, system: System, evidence: &Arc<Evidence>) -> Result<Column, String> {
    let binaries = binaries()?;
    let plan = plan_of(options, &ROLES);
    let ground = Ground::start(1, &binaries);
    let supervisor = Arc::new(Supervisor::new(
        &binaries,
        &evidence.logs(),
        ground.settings(&ROLES, &plan.rolling, system, &evidence.state()),
    ));
    ending::watch(ending::Scene {
        evidence: Arc::clone(evidence),
        supervisor: Arc::clone(&supervisor),
        disk: ground.disk(),
        seed: options.seed,
    });
    let scene = Scene {
        options,
        roles: &ROLES,
        plan: &plan,
        evidence,
        ground: &ground,
        supervisor: &supervisor,
    };
    let column = scene.play(|scene| {
        scene.raise()?;
        let began = Instant::now();
        scene.storm(began)?;
        let done = progress::wait_until_done(&ground, &Role::COMPARED, options.bound);
        if let Err(left) = &done {
            evidence.say(&format!("{system}: {left}"));
        }
        let cpu = supervisor.cpu_seconds();
        std::thread::sleep(SETTLE);
        let restores = [Role::Validator, Role::Aggregator]
            .into_iter()
            .map(|role| (role, restore(&supervisor, role)))
            .collect();
        supervisor.drain();
        Ok(Column {
            system,
            tally: tally::tally(&ground, evidence),
            done_s: done.ok().map(|took| took.as_secs_f64()),
            bound_s: options.bound.as_secs(),
            restarts: supervisor.endings().len(),
            cpu_s: Role::COMPARED.iter().filter_map(|role| cpu.get(role)).sum(),
            restores,
            takeovers: Vec::new(),
        })
    });
    supervisor.end();
    let is_to_be_seen = match &column {
        // What Kafka Streams loses does not make a run red.
        Ok(column) => system == System::Ours && (options.keep || !column.tally.is_whole()),
        Err(_) => true,
    };
    if is_to_be_seen {
        ground.testify(evidence);
    }
    column
}

/// kill -9 of the only instance, and its start: how long until it works, with how many records of state.
fn restore(supervisor: &Supervisor, role: Role) -> (f64, u64) {
    let instance = instance(role);
    supervisor.kill(instance);
    let began = Instant::now();
    supervisor.start(instance);
    testbed::wait_until(READY_WITHIN, &format!("{instance} to be ready"), || {
        supervisor.is_ready(instance)
    });
    (began.elapsed().as_secs_f64(), supervisor.restored(instance))
}

fn table(columns: &[Column; 2]) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &dyn Fn(&Column) -> String| {
        let [ours, theirs] = columns.each_ref().map(value);
        // Writing to a string does not fail.
        writeln!(text, "{name:<44} {ours:>16} {theirs:>16}").unwrap_or_default();
    };
    row("", &|column| column.system.to_string());
    row("raw records", &|column| column.tally.raw.to_string());
    row("lost", &|column| column.tally.lost.to_string());
    row("doubled", &|column| column.tally.doubled.to_string());
    row("1-minute windows that were due", &|column| {
        column.tally.windows_due.to_string()
    });
    row("1-minute windows that were skipped", &|column| {
        column.tally.windows_missing.to_string()
    });
    row("1-minute windows that wait for a next record", &|column| {
        column.tally.windows_waiting.to_string()
    });
    row("1-minute windows that came twice", &|column| {
        column.tally.windows_doubled.to_string()
    });
    row("seconds until lag was zero", &|column| {
        column.done_s.map_or_else(
            || format!("not in {}", column.bound_s),
            |seconds| format!("{seconds:.1}"),
        )
    });
    row("CPU seconds of the three stages", &|column| {
        format!("{:.0}", column.cpu_s)
    });
    row("restarts by the supervisor", &|column| {
        column.restarts.to_string()
    });
    for role in [Role::Validator, Role::Aggregator] {
        row(
            &format!("{role}, killed: seconds until it works"),
            &|column| {
                column
                    .restores
                    .get(&role)
                    .map_or_else(String::new, |(seconds, records)| {
                        format!("{seconds:.1} ({records})")
                    })
            },
        );
    }
    for case in Case::ALL {
        let of = |column: &Column| {
            column
                .takeovers
                .iter()
                .find(|found| found.case == case)
                .copied()
        };
        if columns.iter().all(|column| of(column).is_none()) {
            continue;
        }
        row(&format!("{}, s", case.name()), &|column| {
            of(column).map_or_else(String::new, |found| {
                format!(
                    "{:.1} / {:.1}",
                    found.median_ms as f64 / 1_000.0,
                    found.max_ms as f64 / 1_000.0
                )
            })
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_columns_stand_beside_each_other() {
        let column = |system, lost| Column {
            system,
            tally: Tally {
                lost,
                ..Tally::default()
            },
            done_s: None,
            bound_s: 180,
            restarts: 0,
            cpu_s: 1.0,
            restores: BTreeMap::from([(Role::Validator, (1.25, 70))]),
            takeovers: vec![Found {
                case: Case::DynamicKill,
                max_ms: 6_900,
                median_ms: 6_600,
                waiting: 11,
                partitions: 32,
            }],
        };
        let text = table(&[column(System::Ours, 0), column(System::KafkaStreams, 3)]);
        let row = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.map(|line| line[44..].split_whitespace().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(row("lost").as_deref(), Some("0 3"));
        assert_eq!(
            row("dynamic member, kill").as_deref(),
            Some("6.6 / 6.9 6.6 / 6.9")
        );
        assert_eq!(
            row("validator, killed").as_deref(),
            Some("1.2 (70) 1.2 (70)")
        );
        assert!(text.contains("not in 180"));
    }
}
