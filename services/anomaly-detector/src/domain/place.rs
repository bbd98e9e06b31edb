//! Where a GPU is: what an alert says about it when there is no reading to ask.

use super::reading::Reading;
use schema::Text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The last known place of a GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Host name.
    pub hostname: Option<Box<str>>,
    device_index: Option<u32>,
    model: Option<Box<str>>,
    rack: Option<Box<str>>,
    cluster: Option<Box<str>>,
    datacenter: Option<Box<str>>,
}

impl Place {
    /// Takes over what `reading` says; what it does not say stays.
    pub fn follow(&mut self, reading: &Reading<'_>) {
        let (host, asset) = (&reading.host, &reading.asset);
        set(&mut self.model, reading.gpu.name.as_ref());
        set(
            &mut self.rack,
            asset.rack_id.as_ref().or(host.rack.as_ref()),
        );
        set(
            &mut self.cluster,
            asset.cluster_id.as_ref().or(host.cluster.as_ref()),
        );
        set(
            &mut self.datacenter,
            asset.datacenter.as_ref().or(host.datacenter.as_ref()),
        );
        if reading.gpu.device_index.is_some() {
            self.device_index = reading.gpu.device_index;
        }
        set(&mut self.hostname, host.hostname.as_ref());
    }

    /// The labels of an alert.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let texts = [
            ("hostname", &self.hostname),
            ("model", &self.model),
            ("rack", &self.rack),
            ("cluster", &self.cluster),
            ("datacenter", &self.datacenter),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                labels.insert(name.to_owned(), text.to_string());
            }
        }
        if let Some(index) = self.device_index {
            labels.insert("device_index".to_owned(), index.to_string());
        }
        labels
    }
}

/// Adds to `labels` what only a reading knows: who runs there now, and what was promised.
pub fn add_labels(labels: &mut BTreeMap<String, String>, reading: &Reading<'_>) {
    let texts = [
        ("pci_bus_id", &reading.gpu.pci_bus_id),
        ("serial", &reading.gpu.serial),
        ("namespace", &reading.workload.namespace),
        ("pod", &reading.workload.pod),
        ("job_id", &reading.workload.job_id),
        ("sla_tier", &reading.asset.sla_tier),
        ("warranty_status", &reading.asset.warranty_status),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            labels.insert(name.to_owned(), text.to_string());
        }
    }
}

/// Sets `kept` to `seen` where that is known and another; copies only then.
fn set(kept: &mut Option<Box<str>>, seen: Option<&Text<'_>>) {
    if let Some(seen) = seen
        && kept.as_deref() != Some(seen.as_str())
    {
        *kept = Some(seen.as_str().into());
    }
}
