//! How long the partitions of a member wait when it dies or is restarted, as a reader of committed records sees it.

use crate::ending;
use crate::evidence::Evidence;
use crate::ground::LOG_FILTER;
use crate::lineage::SOURCE_HEADER;
use crate::load::{self, Load};
use crate::pause::{Arrival, Pause, max_and_median, pauses};
use crate::role::{Role, System};
use crate::run::{binaries, make_topics};
use crate::streams;
use crate::supervisor::{Instance, LOOK_EVERY, Program, Settings, Supervisor};
use clap::ValueEnum;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use schema::topic::{self, Topic};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use testbed::Broker;

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) gpus: u32,
    pub(crate) records_per_second: u64,
    pub(crate) instances: u32,
    pub(crate) rounds: u32,
    /// Which; all if none.
    pub(crate) cases: Vec<Case>,
    pub(crate) keep: bool,
    pub(crate) out: PathBuf,
}

const SEED: u64 = 1;
const READY_WITHIN: Duration = Duration::from_mins(2);
/// After every change: all members have their share, and nothing moves any more.
const SETTLE: Duration = Duration::from_secs(12);
/// How long is looked after a kill.
const LOOK_AFTER_KILL: Duration = Duration::from_secs(20);
/// How long is looked after the restart of one of several members.
const LOOK_AFTER_RESTART: Duration = Duration::from_secs(12);
const POLL: Duration = Duration::from_millis(20);
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// How a member goes, and what is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// kill -9 of a dynamic member that does not come back.
    DynamicKill,
    /// kill -9 of a static member, started again at once.
    StaticKill,
    /// Each dynamic member in turn: SIGTERM, and a start when it has ended.
    DynamicRestart,
    /// Each static member in turn, likewise.
    StaticRestart,
}

impl Case {
    pub(crate) const ALL: [Self; 4] = [
        Self::DynamicKill,
        Self::StaticKill,
        Self::DynamicRestart,
        Self::StaticRestart,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DynamicKill => "dynamic member, kill -9",
            Self::StaticKill => "static member, kill -9 and restart",
            Self::DynamicRestart => "dynamic members, rolling restart",
            Self::StaticRestart => "static members, rolling restart",
        }
    }

    const fn is_static(self) -> bool {
        matches!(self, Self::StaticKill | Self::StaticRestart)
    }

    /// The promise, in milliseconds.
    const fn limit_ms(self) -> u64 {
        match self {
            Self::DynamicKill => 7_000,
            Self::StaticKill => 3_000,
            Self::DynamicRestart | Self::StaticRestart => 2_000,
        }
    }

    const fn is_restart(self) -> bool {
        matches!(self, Self::DynamicRestart | Self::StaticRestart)
    }

    /// What the promise is about: the time from a kill to the first output, the pause in a planned restart.
    fn measured(self, pause: &Pause, looked_ms: u64) -> u64 {
        if self.is_restart() {
            pause.longest_ms
        } else {
            pause.first_ms.unwrap_or(looked_ms)
        }
    }
}

/// Measures all cases. False if a limit is passed.
///
/// # Errors
/// If the suite itself can't do what it has to.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let binaries = binaries()?;
    let evidence = Arc::new(Evidence::new(&options.out, "failover")?);
    evidence.say(&format!(
        "{} GPUs, {} records/s, {} instances of the validator, session timeout 6 s; milliseconds\n\n\
         {:<36} {:>10} {:>8} {:>8} {:>8}  waiting",
        options.gpus,
        options.records_per_second,
        options.instances,
        "",
        "partitions",
        "median",
        "max",
        "limit",
    ));
    let mut green = true;
    let outcome = measure(options, System::Ours, &binaries, &evidence, |found| {
        let case = found.case;
        let kept = found.max_ms <= case.limit_ms();
        green &= kept;
        evidence.say(&format!(
            "{:<36} {:>10} {:>8} {:>8} {:>8}  {}{}",
            case.name(),
            found.partitions,
            found.median_ms,
            found.max_ms,
            case.limit_ms(),
            found.waiting,
            if kept { "" } else { "  OVER THE LIMIT" }
        ));
    });
    let outcome = outcome.map(|()| green);
    match outcome {
        Ok(true) if !options.keep => evidence.remove(),
        _ => evidence.say(&format!(
            "what there is to see is in {}",
            evidence.folder().display()
        )),
    }
    outcome
}

/// What a case has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) case: Case,
    /// Of all partitions and strikes.
    pub(crate) max_ms: u64,
    /// Of those that waited.
    pub(crate) median_ms: u64,
    pub(crate) waiting: usize,
    /// Partitions times strikes.
    pub(crate) partitions: usize,
}

/// Measures all cases with the validator of `system`, and tells of each when it is over.
///
/// # Errors
/// If the suite itself can't do what it has to.
pub(crate) fn measure(
    options: &Options,
    system: System,
    binaries: &Path,
    evidence: &Arc<Evidence>,
    mut tell: impl FnMut(Found),
) -> Result<(), String> {
    let broker = Broker::builder().full_size().start();
    make_topics(binaries, broker.bootstrap(), 1);
    let load = Load::default();
    let watch = Watch::default();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            load.run(
                broker.bootstrap(),
                load::simulation(SEED, options.gpus),
                options.records_per_second,
            )
        });
        scope.spawn(|| watch.run(broker.bootstrap(), &topic::VALIDATED));
        let bench = Bench {
            options,
            system,
            binaries,
            evidence,
            bootstrap: broker.bootstrap(),
            watch: &watch,
        };
        let outcome = bench.measure(&mut tell);
        load.stop();
        watch.stop.store(true, Ordering::Relaxed);
        let sent = sending
            .join()
            .map_err(|_| "the load broke off".to_owned())
            .flatten();
        outcome.and(sent)
    })
}

/// Reads the output as it comes.
#[derive(Debug)]
struct Watch {
    began: Instant,
    stop: AtomicBool,
    arrivals: Mutex<Vec<Arrival>>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            arrivals: Mutex::new(Vec::new()),
        }
    }
}

impl Watch {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn run(&self, bootstrap: &str, topic: &Topic) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "chaos-watch")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "10")
            .create()
            .unwrap_or_else(|error| panic!("the reader of the output: {error}"));
        let mut all = TopicPartitionList::new();
        for partition in 0..topic.partitions {
            all.add_partition_offset(topic.name, partition, Offset::Beginning)
                .unwrap_or_else(|error| panic!("the reader of the output: {error}"));
        }
        consumer
            .assign(&all)
            .unwrap_or_else(|error| panic!("the reader of the output: {error}"));
        while !self.stop.load(Ordering::Relaxed) {
            // A broker that is busy is no concern of this reader.
            let Some(Ok(message)) = consumer.poll(POLL) else {
                continue;
            };
            let source = message.headers().and_then(|headers| {
                let header = headers.iter().find(|header| header.key == SOURCE_HEADER)?;
                let text = std::str::from_utf8(header.value?).ok()?;
                text.rsplit('/').next()?.parse().ok()
            });
            if let Some(source) = source {
                self.arrivals
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(Arrival {
                        partition: message.partition(),
                        at_ms: self.now_ms(),
                        source,
                    });
            }
        }
    }

    fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

struct Bench<'a> {
    options: &'a Options,
    system: System,
    binaries: &'a Path,
    evidence: &'a Arc<Evidence>,
    bootstrap: &'a str,
    watch: &'a Watch,
}

impl Bench<'_> {
    fn measure(&self, tell: &mut impl FnMut(Found)) -> Result<(), String> {
        for case in Case::ALL {
            if self.options.cases.is_empty() || self.options.cases.contains(&case) {
                tell(self.case(case)?);
            }
        }
        Ok(())
    }

    fn program(&self) -> Program {
        match self.system {
            System::Ours => Program::Ours,
            System::KafkaStreams => Program::Streams {
                jar: streams::jar(),
                state: self.evidence.state(),
            },
        }
    }

    fn case(&self, case: Case) -> Result<Found, String> {
        let settings = Settings {
            program: self.program(),
            bootstrap: self.bootstrap.to_owned(),
            is_static: case.is_static(),
            further: [("PIPELINE__IDLE_AFTER_MS", "0"), LOG_FILTER]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        };
        let supervisor = Arc::new(Supervisor::new(
            self.binaries,
            &self.evidence.logs(),
            BTreeMap::from([(Role::Validator, settings)]),
        ));
        ending::watch(ending::Scene {
            evidence: Arc::clone(self.evidence),
            supervisor: Arc::clone(&supervisor),
            disk: None,
            seed: SEED,
        });
        let watching = AtomicBool::new(true);
        let measured = std::thread::scope(|scope| {
            scope.spawn(|| {
                while watching.load(Ordering::Relaxed) {
                    supervisor.look();
                    std::thread::sleep(LOOK_EVERY);
                }
            });
            let measured = self.rounds(case, &supervisor);
            supervisor.drain();
            watching.store(false, Ordering::Relaxed);
            measured
        })?;
        // Only those that were struck tell of a takeover; the rest must go on as if nothing were.
        let mut all: Vec<u64> = measured.clone();
        let waiting = all.iter().filter(|ms| **ms > WAITING_MS).count();
        let mut struck: Vec<u64> = measured.into_iter().filter(|ms| *ms > WAITING_MS).collect();
        let (_, median) = max_and_median(&mut struck);
        let (max, _) = max_and_median(&mut all);
        Ok(Found {
            case,
            max_ms: max,
            median_ms: median,
            waiting,
            partitions: all.len(),
        })
    }

    /// A value for each partition and strike.
    fn rounds(&self, case: Case, supervisor: &Supervisor) -> Result<Vec<u64>, String> {
        let all: Vec<Instance> = (0..self.options.instances)
            .map(|number| Instance {
                role: Role::Validator,
                number,
            })
            .collect();
        for instance in &all {
            supervisor.start(*instance);
        }
        supervisor.wait_ready(READY_WITHIN);
        std::thread::sleep(SETTLE);
        let mut measured = Vec::new();
        let strikes = if case.is_restart() {
            self.options.instances
        } else {
            self.options.rounds
        };
        for strike in 0..strikes {
            let instance = all[usize::try_from(strike).unwrap_or(0) % all.len()];
            let ends = self.ends()?;
            let struck_ms = self.watch.now_ms();
            match case {
                Case::DynamicKill => supervisor.kill(instance),
                Case::StaticKill => {
                    supervisor.kill(instance);
                    supervisor.start(instance);
                }
                Case::DynamicRestart | Case::StaticRestart => supervisor.restart(instance),
            }
            let look = if case.is_restart() {
                LOOK_AFTER_RESTART
            } else {
                LOOK_AFTER_KILL
            };
            std::thread::sleep(look);
            let until_ms = self.watch.now_ms();
            let found = pauses(&self.watch.arrivals(), &ends, struck_ms, until_ms);
            for (partition, pause) in &found {
                let value = case.measured(pause, until_ms - struck_ms);
                if value > WAITING_MS {
                    self.evidence.keep_line(
                        "pauses.txt",
                        &format!(
                            "{}, strike {strike} at {instance}: partition {partition} {value} ms ({pause:?})",
                            case.name()
                        ),
                    );
                }
                measured.push(value);
            }
            supervisor.start(instance);
            supervisor.wait_ready(READY_WITHIN);
            std::thread::sleep(SETTLE);
        }
        Ok(measured)
    }

    fn ends(&self) -> Result<BTreeMap<i32, i64>, String> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap)
            .create()
            .map_err(|error| error.to_string())?;
        (0..topic::RAW.partitions)
            .map(|partition| {
                client
                    .fetch_watermarks(topic::RAW.name, partition, REQUEST_WITHIN)
                    .map(|(_, end)| (partition, end))
                    .map_err(|error| format!("an end that can't be read: {error}"))
            })
            .collect()
    }
}

/// A partition that waits longer than this was touched: between two outputs of an untouched one lie some 200 ms at most.
const WAITING_MS: u64 = 500;
