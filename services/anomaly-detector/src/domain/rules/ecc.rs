//! Memory errors: corrected ones by rate, uncorrectable ones each.

use super::super::action::Action;
use super::super::counter::{Counter, Increment, Origin};
use super::super::finding::{Detail, Finding, Series, Signal};
use super::super::limits::Ecc;
use super::super::number::period;
use super::super::reading::Memory;
use super::super::rule::{Rule, RuleDef};
use super::super::xid_catalogue::Class;
use super::xid::Occurrence;
use schema::Severity;
use serde::{Deserialize, Serialize};

/// `ecc_dbe`
pub const ECC_DBE: RuleDef = RuleDef {
    rule: Rule::EccDbe,
    id: "ecc_dbe",
    alert_type: "ecc_errors",
    severity: Severity::Critical,
    urgent_severity: Severity::Critical,
    is_repair_class: true,
    condition: "a double-bit error counter rose, it stands above 0 since driver load at the first reading, or Xid 48, 171, 172",
    clears: "GPU reset and 24 h clean; 7 d clean when no reset was seen",
    source: "DCGM's health watch fails a volatile double-bit error; Xid catalogue for 48; 24 h: our choice",
    words: "drain the GPU and reset it; run the field diagnostic if no row remap (Xid 63 or 64) came with it",
    action: Action::ComponentReset,
    urgent_action: Action::ComponentReset,
    message: |finding| match finding.xid {
        Some(xid) => format!("double-bit ECC error: Xid {xid}"),
        None => format!(
            "double-bit ECC error: {} rose to {}",
            finding.metric,
            finding.shown()
        ),
    },
};

/// `uncontained_ecc`
pub const UNCONTAINED_ECC: RuleDef = RuleDef {
    rule: Rule::UncontainedEcc,
    id: "uncontained_ecc",
    alert_type: "ecc_errors",
    severity: Severity::Critical,
    urgent_severity: Severity::Critical,
    is_repair_class: true,
    condition: "Xid 95 or 140",
    clears: "GPU reset and 24 h clean; 7 d clean when no reset was seen",
    source: "Xid catalogue: RESET_GPU; DCGM fails both; 24 h: our choice",
    words: "drain the GPU and reset it: memory of any process on it may be wrong",
    action: Action::ComponentReset,
    urgent_action: Action::ComponentReset,
    message: |finding| format!("uncontained memory error: Xid {}", finding.shown()),
};

/// `contained_ecc`
pub const CONTAINED_ECC: RuleDef = RuleDef {
    rule: Rule::ContainedEcc,
    id: "contained_ecc",
    alert_type: "ecc_errors",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "Xid 94",
    clears: "24 h clean",
    source: "Xid catalogue: RESTART_APP; DCGM warns",
    words: "restart the application that was ended; reset the GPU when convenient",
    action: Action::None,
    urgent_action: Action::None,
    message: |finding| {
        format!(
            "contained memory error: Xid {}, which ended one application",
            finding.shown()
        )
    },
};

/// `ecc_sbe_storm`
pub const ECC_SBE_STORM: RuleDef = RuleDef {
    rule: Rule::EccSbeStorm,
    id: "ecc_sbe_storm",
    alert_type: "ecc_errors",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "1,000 corrected errors an hour for 2 h, 100,000 within an hour, or Xid 92",
    clears: "below 100 an hour for 6 h",
    source: "between GPU Health Index's 100 an hour and the clouds' lifetime limits; DCGM issue 313 (17,700 a second); Xid 92",
    words: "watch it; schedule a reset and a diagnostic; expect the exporter on this host to become slow",
    action: Action::None,
    urgent_action: Action::None,
    message: |finding| match finding.xid {
        Some(xid) => format!("high rate of corrected memory errors: Xid {xid}"),
        None => format!(
            "{} corrected memory errors within an hour, limit {}",
            finding.shown(),
            finding.limit()
        ),
    },
};

/// How finely the hour is divided in which errors are added up.
const SLICE_MS: i64 = 600_000;
/// Slices of an hour.
const SLICES: u32 = 6;

/// What is kept of a GPU's memory errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EccState {
    sbe_volatile: Counter,
    sbe_aggregate: Counter,
    dbe_volatile: Counter,
    dbe_aggregate: Counter,
    /// Corrected errors by slice; only slices that had any.
    corrected: Vec<(u32, u32)>,
}

impl EccState {
    /// Takes in a reading; true when a counter that counts since driver load started again.
    pub fn observe(
        &mut self,
        memory: &Memory,
        xids: &[Occurrence],
        limits: &Ecc,
        now_ms: i64,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let sbe_volatile = self
            .sbe_volatile
            .advance(memory.ecc_sbe_volatile, Origin::DriverLoad);
        let sbe_aggregate = self
            .sbe_aggregate
            .advance(memory.ecc_sbe_aggregate, Origin::Lifetime);
        let dbe_volatile = self.dbe_volatile.advance_from_load(memory.ecc_dbe_volatile);
        let dbe_aggregate = self
            .dbe_aggregate
            .advance(memory.ecc_dbe_aggregate, Origin::Lifetime);

        findings.push(double_bit(dbe_volatile, dbe_aggregate, xids));
        for (rule, class) in [
            (Rule::UncontainedEcc, Class::UncontainedEcc),
            (Rule::ContainedEcc, Class::ContainedEcc),
        ] {
            findings.push(super::xid::of_class(rule, class, xids));
        }
        // The same errors show in both counters.
        let amount = |increment: Option<Increment>| increment.map_or(0, |i| i.amount);
        let corrected = amount(sbe_volatile).max(amount(sbe_aggregate));
        let is_counted = memory.ecc_sbe_volatile.is_some() || memory.ecc_sbe_aggregate.is_some();
        findings.push(self.storm(corrected, is_counted, xids, limits, now_ms));

        [sbe_volatile, dbe_volatile]
            .into_iter()
            .flatten()
            .any(|increment| increment.is_reset)
    }

    fn storm(
        &mut self,
        corrected: u64,
        is_counted: bool,
        xids: &[Occurrence],
        limits: &Ecc,
        now_ms: i64,
    ) -> Finding {
        let by_xid = super::xid::of_class(Rule::EccSbeStorm, Class::SingleBitStorm, xids);
        if by_xid.signal == Signal::Raise {
            return Finding {
                signal: Signal::Urgent,
                ..by_xid
            };
        }
        let slice = period(now_ms, SLICE_MS);
        self.corrected.retain(|(at, _)| at + SLICES > slice);
        if corrected > 0 {
            let corrected = u32::try_from(corrected).unwrap_or(u32::MAX);
            match self.corrected.last_mut() {
                Some((at, count)) if *at == slice => *count = count.saturating_add(corrected),
                _ => self.corrected.push((slice, corrected)),
            }
        }
        let an_hour: u64 = self
            .corrected
            .iter()
            .map(|(_, count)| u64::from(*count))
            .sum();
        let signal = if !is_counted {
            Signal::Unknown
        } else if an_hour >= u64::from(limits.storm_at_once_per_hour) {
            Signal::Urgent
        } else if an_hour >= u64::from(limits.storm_per_hour) {
            Signal::Raise
        } else if an_hour < u64::from(limits.storm_calm_per_hour) {
            Signal::Clear
        } else {
            Signal::Quiet
        };
        let limit = match signal {
            Signal::Urgent => limits.storm_at_once_per_hour,
            _ => limits.storm_per_hour,
        };
        Finding::new(Rule::EccSbeStorm, signal, "ecc_sbe_volatile")
            .against(an_hour as f64, f64::from(limit))
            .detail(Detail::Cause("rate"))
    }
}

fn double_bit(
    volatile: Option<Increment>,
    aggregate: Option<Increment>,
    xids: &[Occurrence],
) -> Finding {
    let counted = [
        ("ecc_dbe_aggregate", aggregate),
        ("ecc_dbe_volatile", volatile),
    ]
    .into_iter()
    .filter_map(|(metric, increment)| Some((metric, increment?)))
    .max_by_key(|(_, increment)| increment.amount)
    .filter(|(_, increment)| increment.amount > 0);
    let by_xid = super::xid::of_class(Rule::EccDbe, Class::DoubleBitEcc, xids);
    match counted {
        None => by_xid,
        Some((metric, increment)) => {
            let occurrences = u32::try_from(increment.amount).unwrap_or(u32::MAX);
            Finding {
                occurrences: occurrences.max(by_xid.occurrences),
                xid: by_xid.xid,
                ..Finding::new(Rule::EccDbe, Signal::Raise, metric)
                    .against(increment.now as f64, 0.0)
                    .series(Series::Before(increment.before as f64))
            }
        }
    }
}
