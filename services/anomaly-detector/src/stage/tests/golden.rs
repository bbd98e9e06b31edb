//! A day in short: the input as a file, and the alerts that it must give, byte by byte.
//!
//! `UPDATE_GOLDEN=1` writes both anew.

use super::script::{Gpu, Script, TOPIC, alerts_of, driver};
use chassis::testing::Input;
use schema::{EnrichedEvent, Tick};
use std::fmt::Write;
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

/// Two GPUs of one host: one is throttled by heat, has a double-bit error and falls off the bus; the other has an
/// application's Xid and ever less margin.
fn story() -> Script {
    let (mut a, mut b) = (Gpu::new(1), Gpu::new(2));
    let mut script = Script::new();
    for at_s in (0..260).step_by(10) {
        if at_s >= 50 {
            let warmer = (at_s - 50) as f64 * 0.025;
            b.set("health.temp_limit_margin_c", 2.0 - warmer)
                .set("health.gpu_temp_c", 85.0 + warmer);
        }
        match at_s {
            30 => {
                a.set("health.throttle_reasons", 0x48);
                b.set("errors.last_xid", 31);
            }
            60 => {
                a.set("health.throttle_reasons", 0)
                    .set("memory.ecc_dbe_volatile", 1)
                    .set("errors.last_xid", 48);
            }
            100 => {
                a.set("errors.last_xid", 79);
            }
            _ => {}
        }
        if at_s <= 100 {
            script.reading(&a, at_s);
        }
        if at_s <= 150 {
            script.reading(&b, at_s + 3);
        } else {
            script.tick(at_s);
        }
    }
    script
}

fn to_text(inputs: &[Input]) -> String {
    let mut text = String::new();
    for input in inputs {
        let value = std::str::from_utf8(input.value.as_ref().unwrap()).unwrap();
        writeln!(text, "{value}").unwrap();
    }
    text
}

fn from_text(text: &str) -> Vec<Input> {
    let inputs = text.lines().zip(1_000..).map(|(line, offset)| {
        let (key, timestamp) = if let Ok(tick) = serde_json::from_str::<Tick>(line) {
            (None, tick.validation_timestamp)
        } else {
            let event: EnrichedEvent<'_> = serde_json::from_str(line).unwrap();
            let key = event.gpu.gpu_uuid.as_bytes().to_vec();
            (Some(key), event.validation_timestamp)
        };
        Input {
            offset,
            timestamp_ms: timestamp.as_millis(),
            key,
            value: Some(line.as_bytes().to_vec()),
            ..Input::default()
        }
    });
    inputs.collect()
}

#[test]
fn a_known_input_gives_known_alerts() {
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if is_update {
        std::fs::write(path("enriched.jsonl"), to_text(&story().inputs)).unwrap();
    }
    let text = std::fs::read_to_string(path("enriched.jsonl")).unwrap();
    assert_eq!(
        text,
        to_text(&story().inputs),
        "UPDATE_GOLDEN=1 writes it anew"
    );
    let alerts = alerts_of(&driver().run(&from_text(&text)));
    let mut lines = String::new();
    for alert in &alerts {
        writeln!(lines, "{}", serde_json::to_string_pretty(alert).unwrap()).unwrap();
    }
    if is_update {
        std::fs::write(path("alerts.json"), &lines).unwrap();
    }
    let expected = std::fs::read_to_string(path("alerts.json")).unwrap();
    assert_eq!(lines, expected, "{TOPIC}: UPDATE_GOLDEN=1 writes it anew");
}
