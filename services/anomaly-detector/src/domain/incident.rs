//! The life of an alert: a condition that lasts fires, one that has gone for long enough resolves.

use super::finding::{Finding, Signal};
use super::limits::{Alerts, ms};
use super::rule::Rule;
use schema::Severity;
use serde::{Deserialize, Serialize};

/// How long a rule's condition must last, and what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// It fires when its condition has held for this long.
    pub hold_ms: i64,
    /// It fires, or becomes graver, when its graver form has held for this long.
    pub urgent_hold_ms: i64,
    /// What ends it.
    pub clear: Clear,
}

/// What ends an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clear {
    /// Its condition has been away for this long.
    After(i64),
    /// The GPU was reset, and its condition has been away for `after_ms` since; or it has been away for `without_ms`.
    Reset {
        /// After a reset that was seen.
        after_ms: i64,
        /// When none was seen.
        without_ms: i64,
    },
    /// Nothing but another GPU in its place.
    Never,
}

/// When something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time that the rule goes by.
    pub now_ms: i64,
    /// Offset of the record.
    pub offset: i64,
    /// The readings before it are near enough that a condition may be said to last.
    pub is_continuous: bool,
    /// When the GPU was last seen to be reset.
    pub last_reset_ms: Option<i64>,
}

/// How an alert changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It began.
    Fired,
    /// It became graver.
    Escalated,
    /// Another Xid came.
    Updated,
    /// It goes on; said again.
    Repeated,
    /// It ended.
    Resolved,
}

/// A change of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub kind: Kind,
    /// How bad it is now, or was when it ended.
    pub severity: Severity,
    /// When its condition was first seen.
    pub first_seen_ms: i64,
    /// How often it was seen.
    pub count: u32,
    /// The last Xid.
    pub xid: Option<u16>,
    /// Offset of the record in which it was first seen.
    pub first_offset: i64,
}

/// The alerts of one GPU that fire, may soon, or did lately. Few, and mostly none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incidents(Vec<Incident>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Incident {
    rule: Rule,
    raised_since_ms: Option<i64>,
    urgent_since_ms: Option<i64>,
    first_offset: i64,
    count: u32,
    firing: Option<Firing>,
    /// Seconds since the epoch of its latest changes, at most `flap_transitions` of them.
    transitions: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Firing {
    first_seen_ms: i64,
    last_seen_ms: i64,
    clear_since_ms: Option<i64>,
    emitted_ms: i64,
    severity: Severity,
    xid: Option<u16>,
    /// It began when its alert had changed too often lately.
    is_flapping: bool,
}

impl Incidents {
    /// Takes in what a rule says, and returns what changed.
    pub fn observe(
        &mut self,
        finding: &Finding,
        timing: &Timing,
        noise: &Alerts,
        moment: &Moment,
    ) -> Option<Change> {
        let at = self.0.iter().position(|i| i.rule == finding.rule);
        let is_raised = matches!(finding.signal, Signal::Raise | Signal::Urgent);
        let at = match at {
            Some(at) => at,
            None if is_raised => {
                self.0.push(Incident::new(finding.rule));
                self.0.len() - 1
            }
            None => return None,
        };
        let incident = &mut self.0[at];
        let change = if is_raised {
            incident.raise(finding, timing, noise, moment)
        } else {
            incident.ease(finding.signal, timing, noise, moment)
        };
        if incident.is_over(noise, moment.now_ms) {
            self.0.remove(at);
        }
        change
    }

    /// Whether `rule` fires.
    pub fn is_firing(&self, rule: Rule) -> bool {
        self.0.iter().any(|i| i.rule == rule && i.firing.is_some())
    }

    /// How bad `rule`'s alert is, if it fires.
    pub fn severity_of(&self, rule: Rule) -> Option<Severity> {
        let incident = self.0.iter().find(|i| i.rule == rule)?;
        incident.firing.as_ref().map(|firing| firing.severity)
    }

    /// The rules that fire.
    pub fn firing(&self) -> impl Iterator<Item = Rule> {
        self.0.iter().filter(|i| i.firing.is_some()).map(|i| i.rule)
    }

    /// Ends everything, since the GPU is forgotten.
    pub fn end_all(&mut self) -> Vec<(Rule, Change)> {
        let ended = self.0.drain(..).filter_map(|incident| {
            let firing = incident.firing.as_ref()?;
            Some((incident.rule, incident.change(Kind::Resolved, firing)))
        });
        ended.collect()
    }
}

impl Incident {
    const fn new(rule: Rule) -> Self {
        Self {
            rule,
            raised_since_ms: None,
            urgent_since_ms: None,
            first_offset: 0,
            count: 0,
            firing: None,
            transitions: Vec::new(),
        }
    }

    fn raise(
        &mut self,
        finding: &Finding,
        timing: &Timing,
        noise: &Alerts,
        moment: &Moment,
    ) -> Option<Change> {
        let now_ms = moment.now_ms;
        if !moment.is_continuous {
            self.urgent_since_ms = None;
            if self.firing.is_none() {
                self.raised_since_ms = None;
            }
        }
        if self.raised_since_ms.is_none() && self.firing.is_none() {
            self.count = 0;
            self.first_offset = moment.offset;
        }
        let raised_since_ms = *self.raised_since_ms.get_or_insert(now_ms);
        self.urgent_since_ms = match finding.signal {
            Signal::Urgent => self.urgent_since_ms.or(Some(now_ms)),
            _ => None,
        };
        self.count = self.count.saturating_add(finding.occurrences);
        let is_urgent = self
            .urgent_since_ms
            .is_some_and(|since_ms| now_ms - since_ms >= timing.urgent_hold_ms);
        let severity = self.rule.severity(is_urgent);

        let Some(mut firing) = self.firing.take() else {
            if !is_urgent && now_ms - raised_since_ms < timing.hold_ms {
                return None;
            }
            self.note_transition(noise, now_ms);
            let firing = Firing {
                first_seen_ms: raised_since_ms,
                last_seen_ms: now_ms,
                clear_since_ms: None,
                emitted_ms: now_ms,
                severity,
                xid: finding.xid,
                is_flapping: self.transitions.len() >= noise.flap_transitions as usize,
            };
            let change = self.change(Kind::Fired, &firing);
            self.firing = Some(firing);
            return Some(change);
        };
        firing.last_seen_ms = now_ms;
        firing.clear_since_ms = None;
        let is_graver = severity > firing.severity;
        firing.severity = firing.severity.max(severity);
        let is_other_xid = finding.xid.is_some() && finding.xid != firing.xid;
        firing.xid = finding.xid.or(firing.xid);
        let kind = if is_graver {
            Some(Kind::Escalated)
        } else if is_other_xid {
            Some(Kind::Updated)
        } else {
            firing.repeat(noise, now_ms)
        };
        let change = kind.map(|kind| {
            firing.emitted_ms = now_ms;
            self.change(kind, &firing)
        });
        self.firing = Some(firing);
        change
    }

    fn ease(
        &mut self,
        signal: Signal,
        timing: &Timing,
        noise: &Alerts,
        moment: &Moment,
    ) -> Option<Change> {
        let now_ms = moment.now_ms;
        if signal != Signal::Unknown || !moment.is_continuous {
            self.raised_since_ms = None;
            self.urgent_since_ms = None;
        }
        let mut firing = self.firing.take()?;
        if signal == Signal::Quiet || !moment.is_continuous {
            firing.clear_since_ms = None;
        }
        if signal == Signal::Clear {
            let clear_since_ms = *firing.clear_since_ms.get_or_insert(now_ms);
            if firing.has_ended(timing.clear, clear_since_ms, moment)
                && !firing.is_held(noise, now_ms)
            {
                self.note_transition(noise, now_ms);
                return Some(self.change(Kind::Resolved, &firing));
            }
        }
        let change = firing.repeat(noise, now_ms).map(|kind| {
            firing.emitted_ms = now_ms;
            self.change(kind, &firing)
        });
        self.firing = Some(firing);
        change
    }

    fn change(&self, kind: Kind, firing: &Firing) -> Change {
        Change {
            kind,
            severity: firing.severity,
            first_seen_ms: firing.first_seen_ms,
            count: self.count,
            xid: firing.xid,
            first_offset: self.first_offset,
        }
    }

    fn note_transition(&mut self, noise: &Alerts, now_ms: i64) {
        self.forget_transitions(noise, now_ms);
        self.transitions.push(super::number::period(now_ms, 1_000));
        if self.transitions.len() > noise.flap_transitions as usize {
            self.transitions.remove(0);
        }
    }

    fn forget_transitions(&mut self, noise: &Alerts, now_ms: i64) {
        let oldest = super::number::period(now_ms - ms(noise.flap_window_s), 1_000);
        self.transitions.retain(|at| *at > oldest);
    }

    /// Nothing about it needs to be kept.
    fn is_over(&mut self, noise: &Alerts, now_ms: i64) -> bool {
        if self.firing.is_some() || self.raised_since_ms.is_some() {
            return false;
        }
        self.forget_transitions(noise, now_ms);
        self.transitions.is_empty()
    }
}

impl Firing {
    fn repeat(&self, noise: &Alerts, now_ms: i64) -> Option<Kind> {
        (now_ms - self.emitted_ms >= ms(noise.repeat_after_s)).then_some(Kind::Repeated)
    }

    fn is_held(&self, noise: &Alerts, now_ms: i64) -> bool {
        self.is_flapping && now_ms - self.last_seen_ms < ms(noise.flap_hold_s)
    }

    fn has_ended(&self, clear: Clear, clear_since_ms: i64, moment: &Moment) -> bool {
        let now_ms = moment.now_ms;
        match clear {
            Clear::After(after_ms) => now_ms - clear_since_ms >= after_ms,
            Clear::Reset {
                after_ms,
                without_ms,
            } => {
                let reset_ms = moment
                    .last_reset_ms
                    .filter(|reset_ms| *reset_ms > self.last_seen_ms);
                reset_ms.is_some_and(|reset_ms| now_ms - reset_ms.max(clear_since_ms) >= after_ms)
                    || now_ms - self.last_seen_ms >= without_ms
            }
            Clear::Never => false,
        }
    }
}

#[cfg(test)]
mod tests;
