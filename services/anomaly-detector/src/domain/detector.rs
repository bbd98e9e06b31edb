//! All rules on one GPU: a reading, or the lack of one, in; alerts out.

use super::alerting::{Context, Evidence, alert};
use super::counter::Origin;
use super::finding::{Finding, Signal};
use super::incident::{Moment, Timing};
use super::limits::Limits;
use super::reading::Reading;
use super::recent::Level;
use super::rule::{RULES, Rule};
use super::rules::absence::Clock;
use super::rules::baseline::Sample;
use super::rules::{absence, remap, thermal};
use super::sku;
use super::state::GpuState;
use schema::{Alert, Severity};

/// The rules with their limits.
#[derive(Clone, Debug)]
pub struct Detector {
    limits: Limits,
    timings: [Timing; Rule::COUNT],
    runbook_base: String,
}

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was judged.
    Judged,
    /// Its event time is not after that of the GPU's last reading. Rates and holds go forward only, so that it is a sign of
    /// life and nothing else.
    Late,
}

/// A gap of this many milliseconds or less does not end what must last, even when the GPU reports every second.
const LEAST_GAP_MS: i64 = 30_000;

impl Detector {
    /// With these limits; runbook pages are found below `runbook_base`.
    pub fn new(limits: Limits, runbook_base: &str) -> Self {
        let timings = RULES.map(|def| def.rule.timing(&limits));
        Self {
            limits,
            timings,
            runbook_base: runbook_base.trim_end_matches('/').to_owned(),
        }
    }

    /// The limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Judges a reading. `clock` is the partition's, moved on to it.
    pub fn reading(
        &self,
        gpu_uuid: &str,
        state: &mut GpuState,
        reading: &Reading<'_>,
        clock: &Clock,
        evidence: Evidence<'_>,
        alerts: &mut Vec<Alert>,
    ) -> Applied {
        let now_ms = reading.timestamp.as_millis();
        let since_ms = state.last_event_ms.map(|last_ms| now_ms - last_ms);
        if since_ms.is_some_and(|since_ms| since_ms <= 0) {
            self.late(gpu_uuid, state, reading, clock, evidence, alerts);
            return Applied::Late;
        }
        let gap_ms = state
            .presence
            .patience_ms(&self.limits.absence)
            .max(LEAST_GAP_MS);
        // Over a gap there is no rate, and nothing has lasted.
        let step_ms = since_ms.filter(|since_ms| *since_ms <= gap_ms);
        state.last_event_ms = Some(now_ms);
        state.presence.heard(clock, since_ms, &self.limits.absence);
        state.place.follow(reading);

        let findings = self.findings(state, reading, now_ms, step_ms);
        let mut scene = Scene {
            detector: self,
            gpu_uuid,
            reading: Some(reading),
            evidence,
            is_continuous: step_ms.is_some(),
            event_ms: now_ms,
            stream_ms: clock.stream_ms,
        };
        for finding in &findings {
            scene.observe(state, finding, alerts);
        }
        let lemon = state.prediction.lemon(&self.limits.prediction, now_ms);
        scene.observe(state, &lemon, alerts);
        Applied::Judged
    }

    fn late(
        &self,
        gpu_uuid: &str,
        state: &mut GpuState,
        reading: &Reading<'_>,
        clock: &Clock,
        evidence: Evidence<'_>,
        alerts: &mut Vec<Alert>,
    ) {
        state.presence.heard(clock, None, &self.limits.absence);
        let mut findings = Vec::new();
        absence::observe(&[], state.xid.shows(79), &mut findings);
        let mut scene = Scene {
            reading: Some(reading),
            ..self.silent_scene(gpu_uuid, clock, evidence)
        };
        for finding in &findings {
            scene.observe(state, finding, alerts);
        }
    }

    /// Judges a GPU's silence. Nothing to do when it is not silent.
    pub fn silence(
        &self,
        gpu_uuid: &str,
        state: &mut GpuState,
        clock: &Clock,
        has_living_sibling: bool,
        evidence: Evidence<'_>,
        alerts: &mut Vec<Alert>,
    ) {
        let mut scene = self.silent_scene(gpu_uuid, clock, evidence);
        let [lost, mut gap] =
            state
                .presence
                .silent(clock, has_living_sibling, &self.limits.absence);
        scene.observe(state, &lost, alerts);
        if state.incidents.is_firing(Rule::GpuLost) {
            gap.signal = Signal::Clear;
        }
        scene.observe(state, &gap, alerts);
    }

    /// Ends every alert of a GPU that is to be forgotten.
    pub fn forget(
        &self,
        gpu_uuid: &str,
        state: &mut GpuState,
        clock: &Clock,
        evidence: Evidence<'_>,
        alerts: &mut Vec<Alert>,
    ) {
        let scene = self.silent_scene(gpu_uuid, clock, evidence);
        let [lost, _] = state.presence.silent(clock, false, &self.limits.absence);
        for (rule, change) in state.incidents.end_all() {
            let finding = Finding {
                rule,
                ..lost.clone()
            };
            alerts.push(alert(
                &finding,
                &change,
                &scene.context(state, clock.stream_ms),
            ));
        }
    }

    const fn silent_scene<'a>(
        &'a self,
        gpu_uuid: &'a str,
        clock: &Clock,
        evidence: Evidence<'a>,
    ) -> Scene<'a> {
        Scene {
            detector: self,
            gpu_uuid,
            reading: None,
            evidence,
            is_continuous: true,
            event_ms: clock.stream_ms,
            stream_ms: clock.stream_ms,
        }
    }

    fn findings(
        &self,
        state: &mut GpuState,
        reading: &Reading<'_>,
        now_ms: i64,
        step_ms: Option<i64>,
    ) -> Vec<Finding> {
        let limits = &self.limits;
        let metrics = &reading.metrics;
        let (health, power) = (&metrics.health, &metrics.power);
        let sku = reading.gpu.name.as_deref().and_then(sku::lookup);
        let limit_w = power
            .enforced_limit_w
            .or(power.default_limit_w)
            .or_else(|| sku.map(|sku| sku.power_w))
            .filter(|limit_w| *limit_w > 0.0);
        let is_busy = self.is_busy(reading, limit_w);
        let margin_c = thermal::margin_c(health, sku);
        for (level, value) in [
            (Level::GpuTemp, health.gpu_temp_c),
            (Level::MemoryTemp, health.memory_temp_c),
            (Level::Margin, margin_c),
            (Level::Power, health.power_usage_w),
        ] {
            state.recent.push(level, value);
        }

        let mut findings = Vec::with_capacity(Rule::COUNT);
        let xids = state.xid.occurrences(&metrics.errors, &limits.xid, now_ms);
        let mut is_reset =
            state
                .ecc
                .observe(&metrics.memory, &xids, &limits.ecc, now_ms, &mut findings);
        is_reset |= state
            .energy
            .advance(power.total_energy_mj, Origin::DriverLoad)
            .is_some_and(|increment| increment.is_reset);
        remap::observe(&metrics.memory, &xids, &mut findings);
        is_reset |= state.pcie.observe(
            &metrics.interconnect,
            is_busy,
            &limits.pcie,
            step_ms,
            &mut findings,
        );
        is_reset |= state.nvlink.observe(
            &metrics.interconnect,
            &xids,
            &limits.nvlink,
            now_ms,
            step_ms,
            &mut findings,
        );
        if is_reset {
            state.last_reset_ms = Some(now_ms);
        }
        absence::observe(&xids, state.xid.shows(79), &mut findings);
        state.xid.observe(
            &xids,
            &metrics.errors,
            &reading.workload,
            &limits.xid,
            now_ms,
            &mut findings,
        );
        thermal::observe(health, margin_c, sku, &limits.thermal, &mut findings);
        let sample = match (health.gpu_temp_c, health.power_usage_w, limit_w) {
            (Some(temp_c), Some(power_w), Some(limit_w)) => Some(Sample {
                temp_c,
                power_w,
                limit_w,
                now_ms,
                step_ms,
            }),
            _ => None,
        };
        findings.push(thermal::observe_past(
            &mut state.baseline,
            sample.as_ref(),
            is_busy,
            &limits.thermal,
        ));
        state.throttling.observe(
            health,
            power.enforced_limit_w,
            &limits.throttling,
            now_ms,
            step_ms,
            &mut findings,
        );
        findings.push(
            state
                .prediction
                .observe(&metrics.memory, &limits.prediction, now_ms),
        );
        findings
    }

    /// None when neither utilisation nor power tells.
    fn is_busy(&self, reading: &Reading<'_>, limit_w: Option<f64>) -> Option<bool> {
        let load = &self.limits.load;
        let by_use = reading
            .metrics
            .performance
            .gpu_utilization_pct
            .map(|pct| pct >= load.busy_utilization_pct);
        let by_power = reading
            .metrics
            .health
            .power_usage_w
            .zip(limit_w)
            .map(|(power_w, limit_w)| power_w >= load.busy_power_share * limit_w);
        match (by_use, by_power) {
            (None, None) => None,
            (by_use, by_power) => Some(by_use == Some(true) || by_power == Some(true)),
        }
    }
}

/// One record's circumstances.
struct Scene<'a> {
    detector: &'a Detector,
    gpu_uuid: &'a str,
    reading: Option<&'a Reading<'a>>,
    evidence: Evidence<'a>,
    is_continuous: bool,
    event_ms: i64,
    stream_ms: i64,
}

impl Scene<'_> {
    /// Passes a finding to the GPU's incidents, and tells of what changed.
    fn observe(&mut self, state: &mut GpuState, finding: &Finding, alerts: &mut Vec<Alert>) {
        let limits = &self.detector.limits;
        let rule = finding.rule;
        let is_about_silence = rule.is_about_silence();
        let now_ms = if is_about_silence {
            self.stream_ms
        } else {
            self.event_ms
        };
        let moment = Moment {
            now_ms,
            offset: self.evidence.offset,
            // A gap is what rules about silence are about.
            is_continuous: self.is_continuous || is_about_silence,
            last_reset_ms: state.last_reset_ms,
        };
        let timing = &self.detector.timings[rule as usize];
        let change = state
            .incidents
            .observe(finding, timing, &limits.alerts, &moment);
        // Only a rule's critical form asks for a repair. Each time that it is seen counts, also within one alert: what comes
        // again a week later is another incident, though nobody has reset the GPU in between.
        let is_raised = matches!(finding.signal, Signal::Raise | Signal::Urgent);
        if is_raised
            && rule.def().is_repair_class
            && state.incidents.severity_of(rule) == Some(Severity::Critical)
        {
            state
                .prediction
                .note_repair(&limits.prediction, self.event_ms);
        }
        let Some(change) = change else { return };
        alerts.push(alert(finding, &change, &self.context(state, now_ms)));
    }

    fn context<'s>(&'s self, state: &'s GpuState, now_ms: i64) -> Context<'s> {
        Context {
            gpu_uuid: self.gpu_uuid,
            state,
            reading: self.reading,
            evidence: self.evidence,
            now_ms,
            runbook_base: &self.detector.runbook_base,
        }
    }
}
