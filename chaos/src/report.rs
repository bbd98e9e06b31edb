//! The tables of a run.

use crate::plan::{Plan, Strike};
use crate::role::Role;
use crate::supervisor::Ending;
use crate::verdict::{Kind, Verdict};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Which stages write their state how.
pub(crate) fn rolling(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let names = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    format!("stages with rolling snapshots: {names}")
}

/// Which stages write their state how, and the plan, a line a strike.
pub(crate) fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    line(&mut text, &rolling(&plan.rolling));
    for (number, strike) in (1..).zip(&plan.strikes) {
        line(&mut text, &self::strike(number, strike));
    }
    text
}

/// One strike.
pub(crate) fn strike(number: usize, strike: &Strike) -> String {
    let seconds = |ms: u64| format!("{:.1}", ms as f64 / 1_000.0);
    format!(
        "{number:>3}  {:>7} s to {:>7} s  {}{}",
        seconds(strike.from_ms),
        seconds(strike.until_ms),
        strike.blow,
        if strike.overlaps {
            "  (with another)"
        } else {
            ""
        }
    )
}

/// What was done, what was counted, and what is wrong.
pub(crate) struct Summary<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) verdict: &'a Verdict,
    pub(crate) endings: &'a [Ending],
    /// Seconds of load, and of event time in it.
    pub(crate) load_s: f64,
    pub(crate) event_s: f64,
    /// Seconds until nothing was left to read, if that came.
    pub(crate) done_s: Option<f64>,
    pub(crate) bound_s: u64,
    /// Of CPU, by role.
    pub(crate) cpu_seconds: &'a BTreeMap<Role, f64>,
}

/// The table at the end.
pub(crate) fn summary(summary: &Summary<'_>) -> String {
    let verdict = summary.verdict;
    let mut text = String::new();
    let mut row = |name: &str, value: String| line(&mut text, &format!("{name:<34} {value:>14}"));
    row("blows", summary.plan.strikes.len().to_string());
    row("seconds of load", format!("{:.0}", summary.load_s));
    row(
        "minutes of event time",
        format!("{:.0}", summary.event_s / 60.0),
    );
    row(
        "restarts by the supervisor",
        summary.endings.len().to_string(),
    );
    for (name, count) in &verdict.counts {
        row(name, count.to_string());
    }
    row(
        "seconds until lag was zero",
        summary.done_s.map_or_else(
            || format!("not in {}", summary.bound_s),
            |seconds| format!("{seconds:.1} of {}", summary.bound_s),
        ),
    );
    let others: f64 = summary
        .cpu_seconds
        .iter()
        .filter(|(role, _)| **role != Role::Auditor)
        .map(|(_, seconds)| seconds)
        .sum();
    for (role, seconds) in summary.cpu_seconds {
        row(&format!("CPU seconds, {role}"), format!("{seconds:.1}"));
    }
    if let Some(auditor) = summary.cpu_seconds.get(&Role::Auditor) {
        row(
            "auditor's CPU, of the others'",
            format!("{:.1} %", 100.0 * auditor / others),
        );
    }
    for kind in [
        Kind::Lost,
        Kind::Doubled,
        Kind::Changed,
        Kind::Invented,
        Kind::Differs,
        Kind::Stuck,
        Kind::Broken,
    ] {
        row(&kind.to_string(), verdict.of(kind).to_string());
    }
    text
}

/// Everything that is wrong, each with the blows that were going on or just over when its record was appended.
pub(crate) fn violations(verdict: &Verdict, plan: &Plan, load_began_ms: i64) -> String {
    let mut text = String::new();
    for violation in &verdict.violations {
        line(
            &mut text,
            &format!("{}: {}", violation.kind, violation.what),
        );
        let Some(at_ms) = violation.at_ms else {
            continue;
        };
        let after_ms = u64::try_from(at_ms - load_began_ms).unwrap_or(0);
        line(
            &mut text,
            &format!(
                "  appended {:.1} s into the load",
                after_ms as f64 / 1_000.0
            ),
        );
        for strike in blows_at(plan, after_ms) {
            line(&mut text, &format!("  near: {}", strike.blow));
        }
    }
    text
}

/// A blow has not stopped to matter when it is over.
const ECHO_MS: u64 = 15_000;

fn blows_at(plan: &Plan, after_ms: u64) -> impl Iterator<Item = &Strike> {
    plan.strikes.iter().filter(move |strike| {
        (strike.from_ms.saturating_sub(1_000)..=strike.until_ms + ECHO_MS).contains(&after_ms)
    })
}

fn line(text: &mut String, line: &str) {
    // Writing to a string does not fail.
    writeln!(text, "{line}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Blow;
    use crate::role::Role;
    use crate::verdict::Violation;

    fn one_strike() -> Plan {
        Plan {
            strikes: vec![Strike {
                blow: Blow::Kill {
                    role: Role::Validator,
                    down_ms: 2_000,
                },
                from_ms: 10_000,
                until_ms: 12_000,
                overlaps: false,
            }],
            ..Plan::default()
        }
    }

    #[test]
    fn a_violation_is_told_with_the_blow_that_was_going_on() {
        let verdict = |at_ms| Verdict {
            violations: vec![Violation::new(
                Kind::Lost,
                Some(at_ms),
                "raw/1/2".to_owned(),
            )],
            ..Verdict::default()
        };
        let near = violations(&verdict(1_011_000), &one_strike(), 1_000_000);
        assert!(
            near.contains("lost: raw/1/2") && near.contains("near: kill -9 validator"),
            "{near}"
        );
        let far = violations(&verdict(1_050_000), &one_strike(), 1_000_000);
        assert!(!far.contains("near:"), "{far}");
    }

    #[test]
    fn the_table_counts_each_kind_of_violation() {
        let mut verdict = Verdict::default();
        verdict
            .violations
            .push(Violation::new(Kind::Doubled, None, String::new()));
        let text = summary(&Summary {
            plan: &one_strike(),
            verdict: &verdict,
            endings: &[],
            load_s: 1.0,
            event_s: 60.0,
            done_s: None,
            bound_s: 180,
            cpu_seconds: &BTreeMap::from([(Role::Validator, 20.0), (Role::Auditor, 1.0)]),
        });
        assert!(text.contains("5.0 %"), "{text}");
        let value = |name: &str| {
            let found = text.lines().find(|line| line.starts_with(name));
            found
                .and_then(|line| line.rsplit(' ').next())
                .map(str::to_owned)
        };
        assert_eq!(value("doubled").as_deref(), Some("1"));
        assert_eq!(value("lost").as_deref(), Some("0"));
        assert!(text.contains("not in 180"));
    }
}
