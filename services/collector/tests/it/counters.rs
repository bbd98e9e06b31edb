//! The counters file that is shipped for dcgm-exporter.

use collector::domain::fields::{FIELDS, LABEL_FIELDS};
use std::collections::BTreeSet;

const FILE: &str = include_str!("../../dcgm-counters.csv");

/// dcgm-exporter's own defaults (`etc/default-counters.csv`, May 2026) that a reading has a use for.
const DEFAULTS: [&str; 30] = [
    "DCGM_FI_DEV_SM_CLOCK",
    "DCGM_FI_DEV_MEM_CLOCK",
    "DCGM_FI_DEV_MEMORY_TEMP",
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_MEM_COPY_UTIL",
    "DCGM_FI_DEV_ENC_UTIL",
    "DCGM_FI_DEV_DEC_UTIL",
    "DCGM_FI_DEV_XID_ERRORS",
    "DCGM_FI_DEV_FB_FREE",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
    "DCGM_FI_DEV_ROW_REMAP_FAILURE",
    "DCGM_FI_DRIVER_VERSION",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
    "DCGM_FI_PROF_DRAM_ACTIVE",
    "DCGM_FI_PROF_PCIE_TX_BYTES",
    "DCGM_FI_PROF_PCIE_RX_BYTES",
    // Not in the default file, and the reason for ours.
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
    "DCGM_FI_DEV_ROW_REMAP_PENDING",
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS",
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL",
    "DCGM_EXP_XID_ERRORS_COUNT",
    "DCGM_FI_DEV_PCIE_LINK_WIDTH",
];

/// The rows as dcgm-exporter reads them: CSV with comment lines, three columns, spaces around them cut.
fn rows(text: &str) -> Vec<[String; 3]> {
    csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .has_headers(false)
        .flexible(false)
        .from_reader(text.as_bytes())
        .records()
        .map(|row| {
            let row = row.unwrap();
            assert_eq!(row.len(), 3, "{row:?}");
            [0, 1, 2].map(|at| row[at].trim_matches(' ').to_owned())
        })
        .collect()
}

#[test]
fn the_counters_file_is_one_that_dcgm_exporter_reads() {
    for [name, kind, help] in rows(FILE) {
        assert!(
            name.starts_with("DCGM_FI_") || name.starts_with("DCGM_EXP_"),
            "{name}"
        );
        assert!(
            ["gauge", "counter", "label"].contains(&kind.as_str()),
            "{name}: {kind}"
        );
        assert!(!help.is_empty(), "{name}");
    }
}

#[test]
fn the_counters_file_has_every_field_that_the_collector_knows_and_no_other() {
    let active: Vec<_> = rows(FILE).into_iter().map(|[name, _, _]| name).collect();
    // A field with an alternative unit stands there as a comment, ready to be used.
    let uncommented: String = FILE
        .lines()
        .filter_map(|line| line.strip_prefix("# DCGM_"))
        .fold(String::new(), |text, line| {
            if line.matches(',').count() == 2 {
                text + "DCGM_" + line + "\n"
            } else {
                text
            }
        });
    let commented: Vec<_> = rows(&uncommented)
        .into_iter()
        .map(|[name, _, _]| name)
        .collect();
    let all: Vec<_> = active
        .iter()
        .chain(&commented)
        .map(String::as_str)
        .collect();
    let known: BTreeSet<_> = FIELDS
        .iter()
        .map(|def| def.name)
        .chain(LABEL_FIELDS.iter().map(|(name, _)| *name))
        .collect();
    assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), known);
    assert_eq!(all.len(), known.len(), "no field comes twice");
    for name in DEFAULTS {
        assert!(
            active.iter().any(|active| active == name),
            "{name} must be exported"
        );
    }
}

#[test]
fn the_types_in_the_counters_file_are_those_of_the_schema() {
    for [name, kind, _] in rows(FILE) {
        let Some(def) = FIELDS.iter().find(|def| def.name == name) else {
            assert_eq!(kind, "label", "{name}");
            continue;
        };
        let cumulative = schema::metric_index(def.to)
            .is_some_and(|metric| schema::METRICS[metric].kind == schema::MetricKind::Counter);
        // Pages that wait are a number, which dcgm-exporter's own file calls a counter.
        if def.to != "retired_pages_pending" {
            assert_eq!(kind == "counter", cumulative, "{name}");
        }
    }
}
