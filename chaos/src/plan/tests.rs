use super::*;
use std::collections::BTreeSet;
use std::mem::{Discriminant, discriminant};

fn layout() -> Layout {
    Layout {
        roles: Role::ALL.to_vec(),
        brokers: 1,
        network: true,
        database: true,
        backlog_minutes: 60,
        only: Vec::new(),
    }
}

const HALF_AN_HOUR_MS: u64 = 1_800_000;

#[test]
fn a_seed_makes_the_same_plan_again_and_another_seed_another() {
    let plan_of = |seed| plan(seed, 180_000, &layout());
    assert_eq!(plan_of(7), plan_of(7));
    assert_ne!(plan_of(7), plan_of(8));
}

#[test]
fn the_seed_chooses_how_each_stage_keeps_its_state_unless_it_is_said() {
    assert_eq!(rolling(7, None), rolling(7, None));
    assert_eq!(rolling(7, Some(State::EveryCommit)), []);
    assert_eq!(rolling(7, Some(State::Rolling)), Role::STAGES);
    for role in Role::STAGES {
        let chosen = (0..100).filter(|seed| rolling(*seed, None).contains(&role));
        assert!((30..70).contains(&chosen.count()), "{role}");
    }
}

#[test]
fn every_blow_is_over_when_the_load_ends_and_its_steps_are_in_order() {
    for seed in 0..50 {
        let plan = plan(seed, 180_000, &layout());
        assert!(plan.strikes.len() > 5, "seed {seed}");
        assert!(plan.strikes.iter().all(|strike| strike.until_ms <= 180_000));
        assert!(plan.steps.is_sorted_by_key(|step| step.at_ms));
        for strike in &plan.strikes {
            assert!(strike.blow.steps().is_sorted_by_key(|(at_ms, _)| *at_ms));
        }
    }
}

fn three_brokers() -> Layout {
    Layout {
        brokers: 3,
        network: false,
        ..layout()
    }
}

fn strikes_a_broker(strike: &Strike) -> bool {
    strike.blow.target() == Target::Broker
}

#[test]
fn each_kind_of_blow_comes_up_in_a_long_run() {
    let plan = plan(3, HALF_AN_HOUR_MS, &layout());
    let replicated = super::plan(3, HALF_AN_HOUR_MS, &three_brokers());
    let mut seen: Vec<Discriminant<Blow>> = Vec::new();
    for strike in plan.strikes.iter().chain(&replicated.strikes) {
        let kind = discriminant(&strike.blow);
        if !seen.contains(&kind) {
            seen.push(kind);
        }
    }
    assert_eq!(seen.len(), 14);
    let held = plan
        .strikes
        .iter()
        .any(|strike| matches!(strike.blow, Blow::Hold { api_key, .. } if api_key == testbed::api::END_TXN));
    assert!(held, "an EndTxn was held");
}

// Kafka 4.3.1 drops markers there.
#[test]
fn a_broker_that_is_alone_is_struck_only_when_that_is_asked_for() {
    let alone = plan(3, HALF_AN_HOUR_MS, &layout());
    assert!(!alone.strikes.iter().any(strikes_a_broker));
    let asked = Layout {
        only: vec!["SIGSTOP broker".to_owned()],
        ..layout()
    };
    let asked = plan(3, HALF_AN_HOUR_MS, &asked);
    assert!(!asked.strikes.is_empty() && asked.strikes.iter().all(strikes_a_broker));
    let replicated = plan(3, HALF_AN_HOUR_MS, &three_brokers());
    assert!(replicated.strikes.iter().any(strikes_a_broker));
}

#[test]
fn two_blows_at_a_time_strike_two_different_things() {
    for seed in 0..50 {
        let plan = plan(seed, HALF_AN_HOUR_MS, &layout());
        for (at, one) in plan.strikes.iter().enumerate() {
            for two in &plan.strikes[at + 1..] {
                if one.from_ms < two.until_ms && two.from_ms < one.until_ms {
                    assert!(
                        one.blow.can_overlap(&two.blow),
                        "seed {seed}: {one:?} {two:?}"
                    );
                    assert!(one.overlaps && two.overlaps, "seed {seed}: {one:?} {two:?}");
                }
            }
        }
    }
}

#[test]
fn what_was_struck_down_is_set_right_again() {
    for seed in 0..20 {
        let plan = plan(seed, HALF_AN_HOUR_MS, &layout());
        let mut away: BTreeSet<String> = BTreeSet::new();
        for step in &plan.steps {
            let (name, down) = match step.action {
                Action::Kill(role, 0) | Action::Stop(role, 0) => (format!("{role} down"), true),
                Action::Start(role, 0) => (format!("{role} down"), false),
                Action::Sleep(role, 0) => (format!("{role} sleeps"), true),
                Action::Wake(role, 0) => (format!("{role} sleeps"), false),
                Action::Start(role, more) => (format!("{role}-{more}"), true),
                Action::Stop(role, more) => (format!("{role}-{more}"), false),
                Action::KillBroker(node) => (format!("broker {node} down"), true),
                Action::StartBroker(node) => (format!("broker {node} down"), false),
                Action::SleepBroker(node) => (format!("broker {node} sleeps"), true),
                Action::WakeBroker(node) => (format!("broker {node} sleeps"), false),
                Action::Cut(role) => (format!("{role} cut"), true),
                Action::Mend(role) => (format!("{role} cut"), false),
                Action::Delay(role, by_ms) => (format!("{role} slow"), by_ms > 0),
                Action::Hold(role, _) => (format!("{role} held"), true),
                Action::Release(role) => (format!("{role} held"), false),
                Action::KillDatabase => ("database down".to_owned(), true),
                Action::StartDatabase => ("database down".to_owned(), false),
                Action::FillDisk => ("disk full".to_owned(), true),
                Action::EmptyDisk => ("disk full".to_owned(), false),
                Action::Kill(..)
                | Action::Restart(..)
                | Action::Sleep(..)
                | Action::Wake(..)
                | Action::Spoil(..)
                | Action::Flood(_) => continue,
            };
            let changed = if down {
                away.insert(name.clone())
            } else {
                away.remove(&name)
            };
            assert!(changed, "seed {seed}: {name} twice");
        }
        assert!(away.is_empty(), "seed {seed}: {away:?}");
    }
}
