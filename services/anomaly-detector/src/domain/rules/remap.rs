//! Spare rows of memory: waiting, failed, used up. What stands here is defined by NVIDIA, not estimated.

use super::super::action::Action;
use super::super::finding::{Finding, Series, Signal};
use super::super::reading::Memory;
use super::super::rule::{Rule, RuleDef};
use super::super::xid_catalogue::Class;
use super::xid::Occurrence;
use schema::Severity;

/// `row_remap_pending`
pub const ROW_REMAP_PENDING: RuleDef = RuleDef {
    rule: Rule::RowRemapPending,
    id: "row_remap_pending",
    alert_type: "ecc_errors",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "the flag is set (field 396)",
    clears: "the flag is not set",
    source: "NVSentinel: PENDING_ROW_REMAP is COMPONENT_RESET",
    words: "schedule maintenance: drain the GPU and reset it, so that the remap takes effect",
    action: Action::ComponentReset,
    urgent_action: Action::ComponentReset,
    message: |_| "a row remap waits for a GPU reset".to_owned(),
};

/// `row_remap_failure`
pub const ROW_REMAP_FAILURE: RuleDef = RuleDef {
    rule: Rule::RowRemapFailure,
    id: "row_remap_failure",
    alert_type: "ecc_errors",
    severity: Severity::Critical,
    urgent_severity: Severity::Critical,
    is_repair_class: true,
    condition: "the flag is set (field 395), or Xid 64",
    clears: "never: another GPU takes its place",
    source: "NVIDIA's condition for a replacement (GPU memory error management)",
    words: "take it out of service: reset it, run the field diagnostic, contact support for a replacement",
    action: Action::ContactSupport,
    urgent_action: Action::ContactSupport,
    message: |finding| match finding.xid {
        Some(xid) => format!("a row remap failed: Xid {xid}"),
        None => "a row remap failed: NVIDIA's condition for a replacement".to_owned(),
    },
};

/// `bank_exhausted`
pub const BANK_EXHAUSTED: RuleDef = RuleDef {
    rule: Rule::BankExhausted,
    id: "bank_exhausted",
    alert_type: "ecc_errors",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "a memory bank has no spare row left (field 389)",
    clears: "never: another GPU takes its place",
    source: "NVIDIA: 8 spare rows a bank (fields 385 to 389)",
    words: "plan its replacement: the next fault in that bank can't be repaired",
    action: Action::ContactSupport,
    urgent_action: Action::ContactSupport,
    message: |finding| format!("{} memory banks have no spare row left", finding.shown()),
};

/// `sram_threshold`
pub const SRAM_THRESHOLD: RuleDef = RuleDef {
    rule: Rule::SramThreshold,
    id: "sram_threshold",
    alert_type: "ecc_errors",
    severity: Severity::Critical,
    urgent_severity: Severity::Critical,
    is_repair_class: true,
    condition: "the flag is set (field 346)",
    clears: "never: another GPU takes its place",
    source: "NVIDIA's condition for a replacement (field 346)",
    words: "take it out of service: run the field diagnostic, contact support for a replacement",
    action: Action::ContactSupport,
    urgent_action: Action::ContactSupport,
    message: |_| "uncorrectable SRAM errors passed NVIDIA's threshold for a replacement".to_owned(),
};

/// `memory_unrepairable`
pub const MEMORY_UNREPAIRABLE: RuleDef = RuleDef {
    rule: Rule::MemoryUnrepairable,
    id: "memory_unrepairable",
    alert_type: "ecc_errors",
    severity: Severity::Critical,
    urgent_severity: Severity::Critical,
    is_repair_class: true,
    condition: "the flag is set (field 1507)",
    clears: "never: another GPU takes its place",
    source: "DCGM's health watch fails field 1507",
    words: "take it out of service: contact support for a replacement",
    action: Action::ContactSupport,
    urgent_action: Action::ContactSupport,
    message: |_| "the GPU says that its memory can't be repaired".to_owned(),
};

/// What the flags of a reading say.
pub fn observe(memory: &Memory, xids: &[Occurrence], findings: &mut Vec<Finding>) {
    findings.push(flag(
        Rule::RowRemapPending,
        "row_remap_pending",
        memory.row_remap_pending,
    ));
    let by_flag = flag(
        Rule::RowRemapFailure,
        "row_remap_failure",
        memory.row_remap_failure,
    );
    let by_xid = super::xid::of_class(Rule::RowRemapFailure, Class::RemapFailure, xids);
    findings.push(if by_xid.signal == Signal::Raise {
        by_xid
    } else {
        by_flag
    });
    findings.push(flag(
        Rule::BankExhausted,
        "bank_remap_avail.none",
        memory.bank_remap_avail.none,
    ));
    findings.push(flag(
        Rule::SramThreshold,
        "sram_threshold_exceeded",
        memory.sram_threshold_exceeded,
    ));
    findings.push(flag(
        Rule::MemoryUnrepairable,
        "memory_unrepairable",
        memory.memory_unrepairable,
    ));
}

fn flag(rule: Rule, metric: &'static str, value: Option<u64>) -> Finding {
    let signal = match value {
        None => Signal::Unknown,
        Some(0) => Signal::Clear,
        Some(_) => Signal::Raise,
    };
    let finding = Finding::new(rule, signal, metric).series(Series::Current);
    match value {
        Some(value) => finding.against(value as f64, 0.0),
        None => finding,
    }
}
