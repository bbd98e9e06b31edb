use super::*;

const START_MS: i64 = 1_770_805_800_000;

struct Feed {
    state: ThrottlingState,
    at: i64,
}

impl Feed {
    fn new() -> Self {
        Self {
            state: ThrottlingState::default(),
            at: -1,
        }
    }

    fn next(&mut self, health: &Health) -> Vec<Finding> {
        self.at += 1;
        let mut findings = Vec::new();
        self.state.observe(
            health,
            Some(700.0),
            &Throttling::default(),
            START_MS + self.at * 10_000,
            (self.at > 0).then_some(10_000),
            &mut findings,
        );
        findings
    }

    fn mask(&mut self, mask: u64) -> Vec<(Rule, Signal)> {
        let health = Health {
            throttle_reasons: Some(mask),
            power_usage_w: Some(690.0),
            ..Health::default()
        };
        self.next(&health)
            .into_iter()
            .map(|f| (f.rule, f.signal))
            .collect()
    }
}

fn all(signal: Signal) -> Vec<(Rule, Signal)> {
    [
        Rule::ThermalThrottle,
        Rule::HwSlowdown,
        Rule::PowerBrake,
        Rule::PowerCapLow,
    ]
    .map(|rule| (rule, signal))
    .to_vec()
}

#[test]
fn bits_outside_the_concern_mask_are_how_a_healthy_gpu_looks() {
    for reason in ThrottleReason::ALL {
        let mut feed = Feed::new();
        let is_concern = schema::CONCERN_MASK & reason.bit() != 0;
        let mut raised = false;
        for _ in 0..60 {
            let signals = feed.mask(reason.bit());
            raised |= signals
                .iter()
                .any(|(_, s)| *s == Signal::Raise || *s == Signal::Urgent);
        }
        assert_eq!(raised, is_concern, "{}", reason.name());
    }
    let mut feed = Feed::new();
    let benign = !schema::CONCERN_MASK & 0x1ff;
    assert_eq!(feed.mask(benign), all(Signal::Clear));
}

#[test]
fn one_sample_is_no_throttling_and_two_of_five_minutes_are() {
    let mut feed = Feed::new();
    feed.mask(0x1);
    assert_eq!(feed.mask(0x48)[0], (Rule::ThermalThrottle, Signal::Quiet));
    assert_eq!(feed.mask(0x1)[0], (Rule::ThermalThrottle, Signal::Clear));
    assert_eq!(feed.mask(0x48)[0], (Rule::ThermalThrottle, Signal::Raise));
    for _ in 0..40 {
        feed.mask(0x1);
    }
    assert_eq!(
        feed.mask(0x48)[0],
        (Rule::ThermalThrottle, Signal::Quiet),
        "the window has forgotten"
    );
}

#[test]
fn the_umbrella_bit_counts_by_itself_only_where_it_names_nothing() {
    let mut feed = Feed::new();
    for _ in 0..10 {
        assert_eq!(feed.mask(0x48)[1], (Rule::HwSlowdown, Signal::Clear));
    }
    let mut feed = Feed::new();
    feed.mask(0x8);
    feed.mask(0x8);
    assert_eq!(feed.mask(0x8)[1], (Rule::HwSlowdown, Signal::Raise));
}

#[test]
fn half_a_quarter_of_an_hour_at_the_hardware_limit_is_critical() {
    let mut feed = Feed::new();
    let mut first_urgent = None;
    for at in 0..100 {
        let (_, signal) = feed.mask(0x40)[0];
        if signal == Signal::Urgent && first_urgent.is_none() {
            first_urgent = Some(at);
        }
    }
    assert_eq!(first_urgent, Some(45), "after 7.5 minutes");
}

#[test]
fn the_drivers_thermal_slowdown_needs_a_fifth_of_the_time() {
    let mut feed = Feed::new();
    let mut signals = Vec::new();
    for at in 0..30 {
        signals.push(feed.mask(if at % 10 == 0 { 0x20 } else { 0 })[0].1);
    }
    assert!(!signals.contains(&Signal::Raise), "a tenth");
    for at in 0..40 {
        signals.push(feed.mask(if at % 3 == 0 { 0x20 } else { 0 })[0].1);
    }
    assert!(signals.contains(&Signal::Raise), "a third");
    assert!(!signals.contains(&Signal::Urgent));
}

#[test]
fn counters_of_throttled_time_are_exact_where_the_mask_is_a_look_now_and_then() {
    // Throttled for 1 s of each 10 s, never while the mask is sampled: 10 % of the time.
    let mut feed = Feed::new();
    let mut last = Vec::new();
    for at in 0..31 {
        last = feed.next(&Health {
            throttle_reasons: Some(0),
            hw_thermal_slowdown_ns: Some(5_000_000_000 + at * 1_000_000_000),
            ..Health::default()
        });
    }
    assert_eq!(last[0].signal, Signal::Raise);
    let percent = last[0].value.unwrap();
    assert!((8.0..=10.0).contains(&percent), "{percent}");
    assert!(feed.state.percent_by_minute(0, START_MS + 300_000)[1] > 9.9);

    // And the mask may catch what took no time at all.
    let mut feed = Feed::new();
    for at in 0..100 {
        let findings = feed.next(&Health {
            throttle_reasons: Some(0x40),
            hw_thermal_slowdown_ns: Some(1_000 * at),
            ..Health::default()
        });
        assert_ne!(findings[0].signal, Signal::Raise);
    }
}

#[test]
fn a_cap_is_trouble_only_far_below_the_limit_in_force() {
    let capped = |power_w, enforced| {
        let health = Health {
            throttle_reasons: Some(0x4),
            power_usage_w: Some(power_w),
            ..Health::default()
        };
        power_cap(&health, enforced, &Throttling::default()).signal
    };
    assert_eq!(capped(690.0, Some(700.0)), Signal::Clear);
    assert_eq!(capped(300.0, Some(700.0)), Signal::Raise);
    assert_eq!(capped(300.0, None), Signal::Unknown);
    assert_eq!(capped(1_100.0, Some(1_000.0)), Signal::Clear);
}

#[test]
fn without_mask_and_counters_nothing_is_said() {
    let mut feed = Feed::new();
    let findings = feed.next(&Health::default());
    assert!(findings.iter().all(|f| f.signal == Signal::Unknown));
}
