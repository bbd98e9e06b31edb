//! Events per CPU-second.

use crate::broker::Broker;
use crate::corpus;
use crate::process::{Service, binary};
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Records in the input.
    #[arg(long, default_value_t = 400_000)]
    records: u64,
    /// GPUs in the input.
    #[arg(long, default_value_t = 10_000)]
    gpus: u32,
    /// Runs of each pair; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Only these stages.
    #[arg(long, value_delimiter = ',')]
    stages: Vec<String>,
}

/// One stage: where it reads, and how it is told.
struct Stage {
    name: &'static str,
    input: &'static str,
    /// Settings by which its topics are named: input, then each output, then the changelog if it has one.
    input_key: &'static str,
    outputs: &'static [(&'static str, &'static str)],
    changelog: bool,
    /// Share of the bare loop that it must reach.
    floor: f64,
    stateless: bool,
}

const STAGES: &[Stage] = &[
    Stage {
        name: "validator",
        input: "gpu-metrics-raw",
        input_key: "RAW",
        outputs: &[
            ("VALIDATED", "gpu-metrics-validated"),
            ("INVALID", "gpu-metrics-invalid"),
        ],
        changelog: true,
        floor: 0.45,
        stateless: false,
    },
    Stage {
        name: "enricher",
        input: "gpu-metrics-validated",
        input_key: "VALIDATED",
        outputs: &[
            ("ENRICHED", "gpu-metrics-enriched"),
            ("INVALID", "gpu-metrics-invalid"),
        ],
        changelog: false,
        floor: 0.65,
        stateless: true,
    },
    Stage {
        name: "aggregator",
        input: "gpu-metrics-enriched",
        input_key: "ENRICHED",
        outputs: &[
            ("ONE_MINUTE", "gpu-metrics-1min"),
            ("FIFTEEN_MINUTES", "gpu-metrics-15min"),
            ("INVALID", "gpu-metrics-invalid"),
        ],
        changelog: true,
        floor: 0.35,
        stateless: false,
    },
    Stage {
        name: "anomaly-detector",
        input: "gpu-metrics-enriched",
        input_key: "ENRICHED",
        outputs: &[
            ("ALERTS", "gpu-alerts"),
            ("CRITICAL", "gpu-critical"),
            ("INVALID", "gpu-metrics-invalid"),
        ],
        changelog: true,
        floor: 0.0,
        stateless: false,
    },
    Stage {
        name: "health-scorer",
        input: "gpu-metrics-enriched",
        input_key: "ENRICHED",
        outputs: &[
            ("HEALTH_SCORES", "gpu-health-scores"),
            ("INVALID", "gpu-metrics-invalid"),
        ],
        changelog: true,
        floor: 0.0,
        stateless: false,
    },
];

/// A stateless service's peak of resident memory, in MB.
const STATELESS_MB: f64 = 100.0;

struct Measured {
    rate: f64,
    peak_mb: f64,
    wall_rate: f64,
}

/// Prints the table; the lines that miss a floor are returned.
pub(crate) fn run(broker: &Broker, options: &Options) -> Vec<String> {
    let kafka = broker.bootstrap();
    let status = Command::new(binary("topics"))
        .args([
            "apply",
            "--bootstrap-servers",
            kafka,
            "--replication-factor",
            "1",
        ])
        .status()
        .unwrap();
    assert!(status.success());
    let size = corpus::fill(kafka, "gpu-metrics-raw", options.gpus, options.records);
    println!(
        "{} records of {:.0} bytes from {} GPUs; events per CPU-second (user + system), median of {} rounds\n",
        options.records, size, options.gpus, options.rounds
    );
    println!(
        "{:<18} {:>10} {:>10} {:>7} {:>7} {:>11} {:>9}",
        "stage", "stage/cpu-s", "bare/cpu-s", "share", "floor", "events/s", "peak MB"
    );
    let mut missed = Vec::new();
    for stage in STAGES {
        // A stage that is left out still has to feed the next one.
        let wanted =
            options.stages.is_empty() || options.stages.iter().any(|name| name == stage.name);
        let rounds = if wanted { options.rounds } else { 1 };
        let mut shares = Vec::new();
        let (mut stages, mut bares) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let bare = wanted.then(|| bare(kafka, stage, round, options.records));
            let measured = measure(kafka, stage, round, options.records);
            if let Some(bare) = bare {
                shares.push(measured.rate / bare.rate);
                bares.push(bare);
                stages.push(measured);
            }
        }
        if !wanted {
            continue;
        }
        let share = median(shares.iter().copied());
        let peak = stages
            .iter()
            .map(|measured| measured.peak_mb)
            .fold(0.0, f64::max);
        println!(
            "{:<18} {:>10.0} {:>10.0} {:>6.1}% {:>6.0}% {:>11.0} {:>9.1}",
            stage.name,
            median(stages.iter().map(|measured| measured.rate)),
            median(bares.iter().map(|measured| measured.rate)),
            share * 100.0,
            stage.floor * 100.0,
            median(stages.iter().map(|measured| measured.wall_rate)),
            peak,
        );
        if share < stage.floor {
            missed.push(format!(
                "{}: {:.1} % of the bare loop, the floor is {:.0} %",
                stage.name,
                share * 100.0,
                stage.floor * 100.0
            ));
        }
        if stage.stateless && peak > STATELESS_MB {
            missed.push(format!(
                "{}: {peak:.1} MB resident, the limit is {STATELESS_MB:.0} MB",
                stage.name
            ));
        }
    }
    println!();
    missed
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn bare(kafka: &str, stage: &Stage, round: u32, records: u64) -> Measured {
    let output = format!("bench-bare-{}-{round}", stage.name);
    testbed::create_topic(kafka, &output, 32, &[("compression.type", "snappy")]);
    let result = Command::new(std::env::current_exe().unwrap())
        // As the services set it for themselves.
        .env("MALLOC_ARENA_MAX", "2")
        .args([
            "bare",
            "--kafka",
            kafka,
            "--input",
            stage.input,
            "--output",
            &output,
            "--group",
            &output,
        ])
        .args(["--records", &records.to_string(), "--compression", "snappy"])
        .output()
        .unwrap();
    assert!(
        result.status.success(),
        "{}",
        String::from_utf8_lossy(&result.stderr)
    );
    let text = String::from_utf8_lossy(&result.stdout);
    let mut numbers = text
        .split_whitespace()
        .map(|number| number.parse::<f64>().unwrap());
    let measured = Measured {
        rate: numbers.next().unwrap(),
        peak_mb: numbers.next().unwrap(),
        wall_rate: 0.0,
    };
    testbed::delete_topic(kafka, &output);
    measured
}

/// The first round writes the topics that the next stage reads; later ones write to topics of their own.
fn measure(kafka: &str, stage: &Stage, round: u32, records: u64) -> Measured {
    let mut settings = vec![
        (
            "KAFKA__GROUP_ID".to_owned(),
            format!("bench-{}-{round}", stage.name),
        ),
        ("KAFKA__INSTANCE_ID".to_owned(), "bench".to_owned()),
        // Ticks would close windows by the wall clock, long after the simulated time of the input.
        ("PIPELINE__IDLE_AFTER_MS".to_owned(), "0".to_owned()),
        (
            format!("TOPICS__{}", stage.input_key),
            stage.input.to_owned(),
        ),
    ];
    let mut scratch = Vec::new();
    for (key, name) in stage.outputs {
        if round == 0 {
            settings.push((format!("TOPICS__{key}"), (*name).to_owned()));
        } else {
            let topic = schema::topic::CATALOGUE
                .iter()
                .find(|topic| topic.name == *name)
                .unwrap();
            let own = format!("bench-{}-{round}-{name}", stage.name);
            testbed::create_topic(
                kafka,
                &own,
                topic.partitions,
                &[("compression.type", "snappy")],
            );
            settings.push((format!("TOPICS__{key}"), own.clone()));
            scratch.push(own);
        }
    }
    if stage.changelog {
        let changelog = format!("bench-{}-{round}-changelog", stage.name);
        testbed::create_topic(kafka, &changelog, 32, &[("cleanup.policy", "compact")]);
        settings.push(("TOPICS__CHANGELOG".to_owned(), changelog.clone()));
        scratch.push(changelog);
    }
    let service = Service::start(stage.name, kafka, &settings);
    let deadline = Instant::now() + Duration::from_mins(5);
    let mut mark: Option<(f64, f64, Instant)> = None;
    let measured = loop {
        std::thread::sleep(Duration::from_millis(100));
        let (consumed, cpu) = (
            service.metric("chassis_records_consumed_total"),
            service.cpu_seconds(),
        );
        if mark.is_none() && consumed * 10.0 >= records as f64 * 3.0 {
            mark = Some((consumed, cpu, Instant::now()));
        }
        if consumed >= records as f64 {
            let (from, cpu_from, since) = mark.unwrap();
            break Measured {
                rate: (consumed - from) / (cpu - cpu_from),
                peak_mb: service.peak_mb(),
                wall_rate: (consumed - from) / since.elapsed().as_secs_f64(),
            };
        }
        assert!(
            Instant::now() < deadline,
            "{} stands at {consumed} of {records}",
            stage.name
        );
    };
    drop(service);
    for topic in scratch {
        testbed::delete_topic(kafka, &topic);
    }
    measured
}
