//! The collector's targets, in the format of Prometheus's file-based service discovery.

use crate::fleet::Plan;
use serde::Serialize;
use std::collections::BTreeMap;

/// Targets with the same labels.
#[derive(Debug, Serialize)]
pub struct TargetGroup {
    /// `address:port`.
    pub targets: Vec<String>,
    /// Their labels.
    pub labels: BTreeMap<&'static str, String>,
}

/// One group a host. `address` is `name:port` of the endpoints, of host 0 where each host has a port.
pub fn file_sd(
    plan: &Plan,
    address: &str,
    port_per_host: bool,
) -> Result<Vec<TargetGroup>, String> {
    let (name, first_port) = address
        .rsplit_once(':')
        .and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)))
        .ok_or_else(|| format!("'{address}' is not name:port"))?;
    (0..plan.hosts())
        .map(|host| {
            let gpu = plan.gpu(host * crate::topology::GPUS_PER_HOST);
            let (target, path) = if port_per_host {
                let port = u16::try_from(u32::from(first_port) + host)
                    .map_err(|_| format!("there is no port for host {host}"))?;
                (format!("{name}:{port}"), "/metrics".to_owned())
            } else {
                (address.to_owned(), format!("/host/{host}/metrics"))
            };
            Ok(TargetGroup {
                targets: vec![target],
                labels: BTreeMap::from([
                    ("__metrics_path__", path),
                    ("cluster", gpu.cluster_name()),
                    ("datacenter", gpu.datacenter_name()),
                    ("rack", gpu.rack_name()),
                ]),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::FleetConfig;

    #[test]
    fn every_host_is_a_target() {
        let plan = Plan::new(FleetConfig {
            gpus: 20,
            ..FleetConfig::default()
        })
        .unwrap();
        let groups = file_sd(&plan, "sim:9400", false).unwrap();
        assert_eq!(groups.len(), 3);
        assert_eq!(groups[2].targets, ["sim:9400"]);
        assert_eq!(groups[2].labels["__metrics_path__"], "/host/2/metrics");
        let groups = file_sd(&plan, "sim:9400", true).unwrap();
        assert_eq!(groups[2].targets, ["sim:9402"]);
        assert!(file_sd(&plan, "sim:65535", true).is_err());
        assert!(file_sd(&plan, "sim", true).is_err());
    }
}
