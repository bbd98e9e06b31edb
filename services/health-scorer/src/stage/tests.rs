//! The stage as its readers see it, and the law of the loop: however the work is cut, aborted or lost, what is committed is
//! the same.

use super::*;
use crate::domain::fixture::{A100, H100, START_MS, healthy, record};
use chassis::testing::{Emitted, Input, StageDriver, values_of};
use proptest::prelude::*;
use schema::{Grade, HealthScore, HealthState, Timestamp};
use serde_json::{Value, json};

const TOPIC: &str = "gpu-metrics-enriched";
const PARTITION: i32 = 21;
const OUTPUTS: [i32; 2] = [16, 8];

fn scorer() -> Scorer {
    Scorer::new(Arc::new(Rules::default()))
}

fn driver() -> StageDriver<Scorer> {
    StageDriver::new(scorer(), TOPIC, &OUTPUTS)
}

/// Records of one partition, in order.
#[derive(Debug, Default)]
struct Log(Vec<Input>);

impl Log {
    fn push(&mut self, key: Option<&[u8]>, value: Option<Vec<u8>>) {
        self.0.push(Input {
            partition: PARTITION,
            offset: i64::try_from(self.0.len()).unwrap(),
            timestamp_ms: START_MS,
            key: key.map(<[u8]>::to_vec),
            value,
            headers: Vec::new(),
        });
    }

    fn tick(&mut self, at_ms: i64) {
        let tick = Tick::at(Timestamp::from_millis(at_ms));
        self.push(None, Some(serde_json::to_vec(&tick).unwrap()));
    }

    fn reading(&mut self, gpu_uuid: &str, host: &str, at_ms: i64, metrics: &Value) {
        let value = record(H100, host, metrics, at_ms, at_ms, None);
        self.push(Some(gpu_uuid.as_bytes()), Some(value));
    }

    /// Ticks every second.
    fn wait(&mut self, from_ms: i64, seconds: i64) -> i64 {
        for second in 1..=seconds {
            self.tick(from_ms + second * 1_000);
        }
        from_ms + seconds * 1_000
    }
}

fn scores(emitted: &[Emitted]) -> Vec<HealthScore> {
    values_of(emitted, HEALTH_SCORES)
        .into_iter()
        .map(|value| serde_json::from_slice(value).unwrap())
        .collect()
}

/// GPU, seconds since the start, state, score.
fn told(emitted: &[Emitted]) -> Vec<(String, i64, HealthState, Option<f64>)> {
    scores(emitted)
        .into_iter()
        .map(|score| {
            let seconds = (score.timestamp.as_millis() - START_MS) / 1_000;
            (score.gpu_uuid, seconds, score.state, score.overall_score)
        })
        .collect()
}

#[test]
fn a_score_has_the_gpus_key_and_the_partition_of_its_input() {
    let mut log = Log::default();
    log.reading("GPU-a", "node-1", START_MS, &healthy());
    let emitted = driver().run(&log.0);
    assert_eq!(emitted.len(), 1);
    assert_eq!(emitted[0].key.as_deref(), Some(&b"GPU-a"[..]));
    assert_eq!(emitted[0].partition, PARTITION % 16);
    let score = &scores(&emitted)[0];
    assert_eq!(score.gpu_uuid, "GPU-a");
    assert_eq!(score.timestamp.as_millis(), START_MS);
    assert_eq!(score.health_grade, Grade::Excellent);
    assert_eq!(score.scoring_version, "2.0");
}

#[test]
fn ticks_alone_give_a_silent_gpu_its_loss_and_its_heartbeats() {
    let mut log = Log::default();
    log.reading("GPU-a", "node-1", START_MS, &healthy());
    log.wait(START_MS, 2_000);
    let emitted = driver().run(&log.0);
    let ok = HealthState::Ok;
    let lost = HealthState::Lost;
    let row = |seconds, state, overall| ("GPU-a".to_owned(), seconds, state, Some(overall));
    assert_eq!(
        told(&emitted),
        [
            row(0, ok, 100.0),
            row(180, lost, 10.0),
            row(1_080, lost, 10.0),
            row(1_980, lost, 10.0)
        ]
    );
}

#[test]
fn only_a_gpu_whose_host_lives_is_blamed_for_its_silence() {
    let mut log = Log::default();
    let mut at_ms = START_MS;
    for step in 0..60 {
        at_ms = START_MS + step * 10_000;
        log.reading("GPU-a", "node-1", at_ms, &healthy());
        if step < 10 {
            // b stands beside a, c and d on a host that goes away, e on one that only it is known of.
            for (gpu_uuid, host) in [
                ("GPU-b", "node-1"),
                ("GPU-c", "node-2"),
                ("GPU-d", "node-2"),
                ("GPU-e", "node-3"),
            ] {
                log.reading(gpu_uuid, host, at_ms + 1_000, &healthy());
            }
        }
    }
    for gpu_uuid in ["GPU-b", "GPU-c", "GPU-d", "GPU-e"] {
        let host = match gpu_uuid {
            "GPU-b" => "node-1",
            "GPU-e" => "node-3",
            _ => "node-2",
        };
        log.reading(gpu_uuid, host, at_ms + 5_000, &healthy());
    }
    let emitted = driver().run(&log.0);
    let last = |gpu_uuid: &str| {
        let mut of_gpu = scores(&emitted);
        of_gpu.retain(|score| score.gpu_uuid == gpu_uuid);
        assert_eq!(of_gpu.len(), 3, "{gpu_uuid}");
        assert_eq!(of_gpu[1].state, HealthState::Lost, "{gpu_uuid}");
        of_gpu.pop().unwrap()
    };
    let blamed = last("GPU-b");
    assert_eq!(
        blamed.contributing_factors,
        ["gpu_returned", "gpu_lost", "completeness"]
    );
    assert_eq!(blamed.overall_score, Some(50.0));
    for innocent in ["GPU-c", "GPU-d"] {
        assert_eq!(last(innocent).contributing_factors, [""; 0], "{innocent}");
    }
    // Nobody knows about this one: the silence itself counts, and no more.
    assert_eq!(last("GPU-e").contributing_factors, ["completeness"]);
}

#[test]
fn a_gpu_whose_readings_come_late_is_there() {
    let mut log = Log::default();
    let late =
        |at_ms, behind_ms| record(H100, "node-1", &healthy(), at_ms - behind_ms, at_ms, None);
    for step in 0..180 {
        let at_ms = START_MS + step * 10_000;
        // a always comes 50 minutes late, in order. b is in time but for ten minutes, in which it repeats what is long
        // past: out of order. Both arrive, and c of the same host shows that time goes on.
        let b_is_behind_ms = if (60..120).contains(&step) {
            3_000_000
        } else {
            0
        };
        log.push(Some(b"GPU-a"), Some(late(at_ms, 3_000_000)));
        log.push(Some(b"GPU-b"), Some(late(at_ms + 1, b_is_behind_ms)));
        log.reading("GPU-c", "node-1", at_ms + 2, &healthy());
    }
    let emitted = driver().run(&log.0);
    assert!(!emitted.is_empty());
    for score in scores(&emitted) {
        assert_eq!(score.state, HealthState::Ok, "{score:?}");
        assert_eq!(score.contributing_factors, [""; 0], "{score:?}");
    }
}

#[test]
fn after_an_outage_of_the_pipeline_no_gpu_is_lost() {
    let mut log = Log::default();
    let gpus: Vec<_> = (0..20).map(|n| format!("GPU-{n:02}")).collect();
    for step in 0..3 {
        for gpu_uuid in &gpus {
            log.reading(gpu_uuid, gpu_uuid, START_MS + step * 10_000, &healthy());
        }
    }
    for step in 0..3 {
        for gpu_uuid in &gpus {
            log.reading(
                gpu_uuid,
                gpu_uuid,
                START_MS + 3_600_000 + step * 10_000,
                &healthy(),
            );
        }
    }
    let emitted = driver().run(&log.0);
    for score in scores(&emitted) {
        assert_eq!(score.state, HealthState::Ok);
        assert_eq!(score.overall_score, Some(100.0));
    }
    // The first of each, and a heartbeat after the outage.
    assert_eq!(emitted.len(), 40);
}

#[test]
fn whatever_a_collectors_interval_is_its_gpus_are_not_lost() {
    for interval_s in [1, 10, 30, 60, 120] {
        let mut log = Log::default();
        for step in 0..20 {
            let at_ms = START_MS + step * interval_s * 1_000;
            log.reading("GPU-a", "node-1", at_ms, &healthy());
            log.wait(at_ms, interval_s - 1);
        }
        let emitted = driver().run(&log.0);
        let states: Vec<_> = scores(&emitted).iter().map(|score| score.state).collect();
        assert!(
            states.iter().all(|state| *state == HealthState::Ok),
            "{interval_s}: {states:?}"
        );
    }
}

#[test]
fn what_is_due_at_once_is_spread_over_records() {
    let mut log = Log::default();
    for n in 0..600 {
        log.reading(&format!("GPU-{n:03}"), "", START_MS, &healthy());
    }
    let mut driver = driver();
    driver.run(&log.0);
    let mut late = Log::default();
    let mut counts = Vec::new();
    for second in 0..4 {
        late.tick(START_MS + 3_600_000 + second);
        driver.process(late.0.last().unwrap());
        counts.push(driver.commit().len());
    }
    assert_eq!(counts, [256, 256, 88, 0]);
}

#[test]
fn a_gpu_that_nobody_waits_for_any_more_is_forgotten() {
    let mut log = Log::default();
    log.reading("GPU-a", "node-1", START_MS, &healthy());
    let at_ms = log.wait(START_MS, 180);
    let mut driver = driver();
    driver.run(&log.0);
    assert!(driver.task(PARTITION).unwrap().gpu("GPU-a").is_some());
    let mut late = Log::default();
    late.tick(at_ms + 30 * 86_400_000);
    assert_eq!(driver.run(&late.0), []);
    assert!(driver.task(PARTITION).unwrap().gpu("GPU-a").is_none());
    driver.crash(scorer()).unwrap();
    assert_eq!(driver.task(PARTITION).unwrap().entries(), 0);
    // Should it come back, it is new.
    late.reading("GPU-a", "node-1", at_ms + 31 * 86_400_000, &healthy());
    assert_eq!(scores(&driver.run(&late.0[1..])).len(), 1);
}

#[test]
fn what_is_no_record_becomes_a_dead_letter_and_moves_no_time() {
    let mut log = Log::default();
    log.reading("GPU-a", "node-1", START_MS, &healthy());
    log.push(Some(b"GPU-a"), Some(b"{\"timestamp\":1}".to_vec()));
    log.push(Some(b"GPU-a"), None);
    log.push(Some(b""), Some(b"{}".to_vec()));
    log.push(Some(CLOCK_KEY), Some(b"{}".to_vec()));
    log.push(Some(b"\xff"), Some(b"\xff".to_vec()));
    log.push(None, Some(b"{}".to_vec()));
    let mut driver = driver();
    let emitted = driver.run(&log.0);
    let letters: Vec<(i64, String)> = values_of(&emitted, INVALID)
        .into_iter()
        .map(|value| {
            let letter: schema::DeadLetter = serde_json::from_slice(value).unwrap();
            assert_eq!(letter.service, "health-scorer");
            (
                letter.source.offset,
                letter.validation_errors[0].code.clone(),
            )
        })
        .collect();
    let row = |offset, code: &str| (offset, code.to_owned());
    assert_eq!(
        letters,
        [
            row(1, "not_a_reading"),
            row(2, "no_value"),
            row(3, "bad_key"),
            row(4, "bad_key"),
            row(5, "bad_key"),
            row(6, "not_a_tick"),
        ]
    );
    let letter = emitted.iter().find(|e| e.output == INVALID.0).unwrap();
    assert_eq!(letter.partition, PARTITION % 8);
    assert_eq!(driver.task(PARTITION).unwrap().clock().stream_ms, START_MS);
}

#[test]
fn state_of_another_layout_is_refused() {
    let mut task = scorer().open(0);
    let error = task.restore(b"GPU-a", Some(&[9, 0])).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
    let error = task.restore(CLOCK_KEY, Some(&[9, 0])).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
    assert!(task.restore(b"GPU-a", Some(&[1, 0xff])).is_err());
    assert!(task.restore(CLOCK_KEY, Some(&[])).is_err());
}

/// What comes next in a partition's log.
#[derive(Clone, Debug)]
enum Next {
    Reading(usize, Option<(&'static str, i64)>, i64),
    Tick(i64),
    Broken,
}

fn next() -> impl Strategy<Value = Next> {
    let change = prop::option::weighted(
        0.5,
        prop::sample::select(
            &[
                ("memory.ecc_dbe_volatile", 1),
                ("memory.ecc_dbe_volatile", 0),
                ("memory.row_remap_pending", 1),
                ("memory.row_remap_pending", 0),
                ("memory.ecc_sbe_volatile", 900),
                ("errors.last_xid", 79),
                ("errors.last_xid", 119),
                ("errors.recovery_action", 1),
                ("errors.recovery_action", 0),
                ("health.temp_limit_margin_c", 3),
                ("health.temp_limit_margin_c", 30),
                ("health.throttle_reasons", 0x48),
                ("power.total_energy_mj", 0),
            ][..],
        ),
    );
    prop_oneof![
        6 => (0..5_usize, change, -20_000..20_000_i64).prop_map(|(gpu, change, skew)| Next::Reading(gpu, change, skew)),
        4 => prop_oneof![1_000..12_000_i64, Just(400_000), Just(4_000_000)].prop_map(Next::Tick),
        1 => Just(Next::Broken),
    ]
}

fn log(nexts: &[Next]) -> Vec<Input> {
    let (mut log, mut at_ms) = (Log::default(), START_MS);
    let mut gpus = vec![healthy(); 5];
    for next in nexts {
        match next {
            Next::Reading(gpu, change, skew) => {
                at_ms += 2_500;
                if let Some((path, value)) = change {
                    let (group, name) = path.split_once('.').unwrap();
                    gpus[*gpu][group][name] = json!(value);
                }
                let model = if *gpu == 4 { A100 } else { H100 };
                let host = format!("node-{}", gpu / 2);
                let value = record(model, &host, &gpus[*gpu], at_ms + skew, at_ms, None);
                log.push(Some(format!("GPU-{gpu}").as_bytes()), Some(value));
            }
            Next::Tick(passed_ms) => {
                at_ms += passed_ms;
                log.tick(at_ms);
            }
            Next::Broken => log.push(Some(b"GPU-0"), Some(b"{".to_vec())),
        }
    }
    log.0
}

/// What befalls the worker after a record.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Nothing,
    Commit,
    Abort,
    Crash,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Nothing),
        3 => Just(Fate::Commit),
        1 => Just(Fate::Abort),
        1 => Just(Fate::Crash),
    ]
}

/// What is committed when the worker goes through `fates`; an abort or a crash reads again from the last commit.
fn committed(inputs: &[Input], fates: &[Fate]) -> (Vec<Emitted>, Vec<Option<GpuState>>) {
    let mut driver = driver();
    let (mut out, mut at, mut from) = (Vec::new(), 0, 0);
    let mut fates = fates.iter().copied();
    while at < inputs.len() {
        driver.process(&inputs[at]);
        at += 1;
        match fates.next().unwrap_or(Fate::Nothing) {
            Fate::Nothing => {}
            Fate::Commit => {
                out.extend(driver.commit());
                from = at;
            }
            Fate::Abort => {
                driver.abort();
                at = from;
            }
            Fate::Crash => {
                driver.crash(scorer()).unwrap();
                at = from;
            }
        }
    }
    out.extend(driver.commit());
    let task = driver.task(PARTITION);
    let states = (0..5).map(|n| task.and_then(|task| task.gpu(&format!("GPU-{n}"))).cloned());
    (out, states.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn however_the_work_is_cut_aborted_or_lost_the_same_is_committed(
        nexts in prop::collection::vec(next(), 1..120),
        fates in prop::collection::vec(fate(), 0..200),
    ) {
        let inputs = log(&nexts);
        let (expected, states) = committed(&inputs, &[]);
        let (found, found_states) = committed(&inputs, &fates);
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(&found_states, &states);
        // A replay from the start gives the same bytes.
        prop_assert_eq!(committed(&inputs, &[]).0, expected);
    }
}
