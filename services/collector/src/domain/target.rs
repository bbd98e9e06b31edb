//! The endpoints to scrape, from the configuration and from files in the format of Prometheus's file-based service
//! discovery.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What is known of a target's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetLabels {
    /// Cluster.
    pub cluster: Option<String>,
    /// Rack.
    pub rack: Option<String>,
    /// Datacenter.
    pub datacenter: Option<String>,
    /// The host's name, over what the exporter says.
    pub hostname: Option<String>,
    /// The host in the target's address, where nobody else says a name.
    pub address_host: Option<String>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to ask: also its identity.
    pub url: String,
    /// Its labels.
    pub labels: TargetLabels,
    /// Milliseconds between scrapes.
    pub interval_ms: u64,
    /// Milliseconds until a scrape is given up; below the interval.
    pub timeout_ms: u64,
}

/// What a target has unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Milliseconds between scrapes.
    pub interval_ms: u64,
    /// Milliseconds until a scrape is given up.
    pub timeout_ms: u64,
    /// Labels.
    pub labels: TargetLabels,
}

/// A group of a targets file.
#[derive(Debug, Deserialize)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// A target of the configuration: `http://host:9400/metrics`, or `host:9400` for the same.
pub fn from_config(text: &str, defaults: &Defaults) -> Result<Target, String> {
    let labels = BTreeMap::new();
    target(text, &labels, defaults)
}

/// The targets of a file: `[{"targets": ["host:9400"], "labels": {"cluster": ".."}}]`.
///
/// `cluster`, `rack`, `datacenter` and `hostname` are taken from the labels, and so are `__scheme__`,
/// `__metrics_path__`, `__scrape_interval__` and `__scrape_timeout__`, with Prometheus's meaning. Other labels are not
/// used. A target that comes twice counts once.
pub fn from_file(text: &str, defaults: &Defaults) -> Result<Vec<Target>, String> {
    let groups: Vec<Group> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut targets: BTreeMap<String, Target> = BTreeMap::new();
    for group in &groups {
        for address in &group.targets {
            let target = target(address, &group.labels, defaults)?;
            targets.entry(target.url.clone()).or_insert(target);
        }
    }
    Ok(targets.into_values().collect())
}

fn target(
    text: &str,
    labels: &BTreeMap<String, String>,
    defaults: &Defaults,
) -> Result<Target, String> {
    let label = |name: &str| labels.get(name).filter(|value| !value.is_empty()).cloned();
    let text = text.trim();
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        let scheme = label("__scheme__").unwrap_or_else(|| "http".to_owned());
        let path = label("__metrics_path__").unwrap_or_else(|| "/metrics".to_owned());
        format!("{scheme}://{text}{path}")
    };
    let host = host_of(&url)
        .ok_or_else(|| format!("'{text}' is not a target: host:port, or http://host:port/path"))?;
    let duration = |name: &str, default: u64| {
        label(name).map_or(Ok(default), |value| {
            duration_ms(&value)
                .ok_or_else(|| format!("{name} of {text}: '{value}' is not a duration such as 10s"))
        })
    };
    let interval_ms = duration("__scrape_interval__", defaults.interval_ms)?;
    let timeout_ms = duration("__scrape_timeout__", defaults.timeout_ms.min(interval_ms))?;
    if timeout_ms > interval_ms {
        return Err(format!(
            "__scrape_timeout__ of {text} is longer than its interval"
        ));
    }
    let place = |name: &str, default: &Option<String>| label(name).or_else(|| default.clone());
    Ok(Target {
        labels: TargetLabels {
            cluster: place("cluster", &defaults.labels.cluster),
            rack: place("rack", &defaults.labels.rack),
            datacenter: place("datacenter", &defaults.labels.datacenter),
            hostname: place("hostname", &defaults.labels.hostname),
            address_host: Some(host.to_owned()),
        },
        url,
        interval_ms,
        timeout_ms,
    })
}

/// The host of `http[s]://[user@]host[:port][/path]`; none when there is none.
fn host_of(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let address = authority.rsplit('@').next()?;
    let (host, port) = match address.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => address
            .split_once(':')
            .map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let host_ok = !host.is_empty() && !host.contains(char::is_whitespace);
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    (host_ok && port_ok).then_some(host)
}

/// Prometheus's durations of one unit: `500ms`, `10s`, `1m`, `1h`.
fn duration_ms(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    text[..digits]
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)
        .filter(|ms| *ms > 0)
}

/// Milliseconds into its interval at which a target is asked, so that a thousand targets are not asked at once: by the
/// hash of its URL, hence the same after a restart.
pub fn phase_ms(target: &Target) -> u64 {
    let interval_ms = target.interval_ms.max(1);
    let share = u64::from(schema::murmur2(target.url.as_bytes()));
    (share * interval_ms) >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            interval_ms: 10_000,
            timeout_ms: 5_000,
            labels: TargetLabels {
                cluster: Some("c0".to_owned()),
                ..TargetLabels::default()
            },
        }
    }

    #[test]
    fn a_configured_target_is_an_address_or_a_url() {
        for text in ["node-1:9400", "http://node-1:9400/metrics", " node-1:9400 "] {
            let target = from_config(text, &defaults()).unwrap();
            assert_eq!(target.url, "http://node-1:9400/metrics");
            assert_eq!(target.labels.cluster.as_deref(), Some("c0"));
            assert_eq!(target.labels.address_host.as_deref(), Some("node-1"));
        }
        let v6 = from_config("[::1]:9400", &defaults()).unwrap();
        assert_eq!(v6.labels.address_host.as_deref(), Some("::1"));
        for bad in [
            "",
            ":9400",
            "ftp://node/metrics",
            "node:0",
            "node:99999",
            "a b:1",
        ] {
            assert!(from_config(bad, &defaults()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_gives_labels_paths_and_intervals() {
        let text = r#"[
            {"targets": ["n1:9400", "n2:9400", "n1:9400"], "labels": {"rack": "r1", "cluster": "c1", "team": "x"}},
            {"targets": ["n3:9400"], "labels": {"__metrics_path__": "/host/3/metrics", "__scheme__": "https",
             "__scrape_interval__": "1m", "__scrape_timeout__": "20s", "hostname": "three"}},
            {"targets": ["n4:9400"], "labels": {"__scrape_interval__": "2s"}}
        ]"#;
        let targets = from_file(text, &defaults()).unwrap();
        assert_eq!(targets.len(), 4);
        let by_url = |url: &str| targets.iter().find(|target| target.url == url).unwrap();
        let first = by_url("http://n1:9400/metrics");
        assert_eq!(
            (
                first.labels.rack.as_deref(),
                first.labels.cluster.as_deref()
            ),
            (Some("r1"), Some("c1"))
        );
        let third = by_url("https://n3:9400/host/3/metrics");
        assert_eq!((third.interval_ms, third.timeout_ms), (60_000, 20_000));
        assert_eq!(
            (
                third.labels.cluster.as_deref(),
                third.labels.hostname.as_deref()
            ),
            (Some("c0"), Some("three"))
        );
        assert_eq!(
            by_url("http://n4:9400/metrics").timeout_ms,
            2_000,
            "a timeout is never longer than the interval"
        );
    }

    #[test]
    fn a_wrong_file_is_an_error_that_says_why() {
        for bad in [
            "",
            "{}",
            "[{\"labels\":{}}]",
            "[{\"targets\":[\"\"]}]",
            "[{\"targets\":[\"n:1\"],\"labels\":{\"__scrape_interval__\":\"soon\"}}]",
            "[{\"targets\":[\"n:1\"],\"labels\":{\"__scrape_timeout__\":\"11s\"}}]",
        ] {
            assert!(
                !from_file(bad, &defaults()).unwrap_err().is_empty(),
                "{bad}"
            );
        }
        assert_eq!(from_file("[]", &defaults()).unwrap(), []);
    }

    #[test]
    fn phases_are_spread_over_the_interval() {
        let mut tenths = [0; 10];
        for host in 0..2_000 {
            let target = from_config(&format!("gpu-node-{host}:9400"), &defaults()).unwrap();
            let phase = phase_ms(&target);
            assert!(phase < 10_000);
            tenths[usize::try_from(phase / 1_000).unwrap()] += 1;
        }
        assert!(
            tenths.iter().all(|share| (120..280).contains(share)),
            "{tenths:?}"
        );
    }
}
