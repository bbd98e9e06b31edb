//! The inventory that belongs to a fleet.

use crate::fleet::Plan;
use crate::json::civil_date;
use crate::random::Key;
use crate::topology::GpuIdentity;
use schema::{Asset, SlaTier};
use std::collections::BTreeMap;
use std::io::{self, Write};

const LANE_ASSET: u64 = 51;

/// 1 January 2019 in days from 1 January 1970, and the year it begins.
const FIRST_DAY: i64 = 17_897;
const FIRST_YEAR: i64 = 2019;
const DAYS_PER_YEAR: i64 = 365;

/// The share of GPUs that an inventory usually does not know.
pub const DEFAULT_MISSING: f64 = 0.02;

/// The columns of the CSV form, in order.
pub const COLUMNS: [&str; 20] = [
    "gpu_uuid",
    "model",
    "architecture",
    "compute_capability",
    "memory_gb",
    "serial",
    "hostname",
    "pci_bus_id",
    "rack_id",
    "cluster_id",
    "datacenter",
    "region",
    "purchase_date",
    "deployment_date",
    "warranty_expiry",
    "expected_eol",
    "sla_tier",
    "priority",
    "tags",
    "notes",
];

impl Plan {
    /// The inventory's rows, in the order of the GPUs; the share `missing` of them is not in it.
    pub fn assets(&self, missing: f64) -> impl Iterator<Item = Asset> + '_ {
        (0..self.config().gpus).filter_map(move |index| {
            let key = self.key(index).with(LANE_ASSET);
            (key.uniform() >= missing).then(|| self.asset(&self.gpu(index)))
        })
    }

    /// Dates and service level go by the rack: it was bought and is used as one.
    fn asset(&self, gpu: &GpuIdentity) -> Asset {
        let rack = self.rack_key(gpu.rack).with(LANE_ASSET);
        let draw = |lane: u64, n: u32| i64::from(rack.with(lane).below(n));
        let purchased =
            FIRST_DAY + (i64::from(gpu.sku.first_year) - FIRST_YEAR) * DAYS_PER_YEAR + draw(1, 700);
        let deployed = purchased + 14 + draw(2, 60);
        let warranty_years = if draw(3, 3) == 0 { 5 } else { 3 };
        let sla_tier = match draw(4, 10) {
            0..6 => SlaTier::Production,
            6..8 => SlaTier::Staging,
            _ => SlaTier::Development,
        };
        let priority = match sla_tier {
            SlaTier::Production => 1 + draw(5, 3),
            SlaTier::Staging => 4 + draw(5, 3),
            SlaTier::Development => 7 + draw(5, 4),
        };
        let region =
            ["us-west", "us-east", "eu-central", "ap-northeast"][gpu.datacenter as usize % 4];
        Asset {
            gpu_uuid: gpu.uuid(),
            model: gpu.sku.name.to_owned(),
            architecture: Some(gpu.sku.architecture.to_owned()),
            compute_capability: Some(gpu.sku.compute_capability.to_owned()),
            memory_gb: Some(gpu.sku.memory_gb),
            serial: Some(gpu.serial()),
            hostname: Some(gpu.hostname()),
            pci_bus_id: Some(gpu.pci_bus_id().to_owned()),
            rack_id: Some(gpu.rack_name()),
            cluster_id: Some(gpu.cluster_name()),
            datacenter: Some(gpu.datacenter_name()),
            region: Some(region.to_owned()),
            purchase_date: Some(date(purchased)),
            deployment_date: Some(date(deployed)),
            warranty_expiry: Some(date(deployed + warranty_years * DAYS_PER_YEAR)),
            expected_eol: Some(date(deployed + 6 * DAYS_PER_YEAR)),
            sla_tier,
            priority: i32::try_from(priority).unwrap_or(10),
            tags: BTreeMap::from([("slot".to_owned(), gpu.slot.to_string())]),
            notes: None,
        }
    }

    fn key(&self, index: u32) -> Key {
        self.seed().with(u64::from(index))
    }

    fn rack_key(&self, rack: u32) -> Key {
        self.seed().with(LANE_ASSET).with(u64::from(rack))
    }
}

/// Writes `assets` as CSV with a header; `tags` is a JSON object.
pub fn write_csv(assets: impl Iterator<Item = Asset>, out: impl Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(COLUMNS)?;
    for asset in assets {
        let text = |value: Option<String>| value.unwrap_or_default();
        let tier = serde_json::to_value(asset.sla_tier)?;
        csv.write_record([
            asset.gpu_uuid,
            asset.model,
            text(asset.architecture),
            text(asset.compute_capability),
            text(asset.memory_gb.map(|gb| gb.to_string())),
            text(asset.serial),
            text(asset.hostname),
            text(asset.pci_bus_id),
            text(asset.rack_id),
            text(asset.cluster_id),
            text(asset.datacenter),
            text(asset.region),
            text(asset.purchase_date),
            text(asset.deployment_date),
            text(asset.warranty_expiry),
            text(asset.expected_eol),
            tier.as_str().unwrap_or_default().to_owned(),
            asset.priority.to_string(),
            serde_json::to_string(&asset.tags)?,
            text(asset.notes),
        ])?;
    }
    csv.flush()
}

/// Writes `assets` as a JSON array, one asset a line.
pub fn write_json(assets: impl Iterator<Item = Asset>, mut out: impl Write) -> io::Result<()> {
    out.write_all(b"[")?;
    for (at, asset) in assets.enumerate() {
        out.write_all(if at == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut out, &asset)?;
    }
    out.write_all(b"\n]\n")?;
    out.flush()
}

fn date(days: i64) -> String {
    let (year, month, day) = civil_date(days);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::FleetConfig;

    fn plan() -> Plan {
        Plan::new(FleetConfig {
            gpus: 5_000,
            ..FleetConfig::default()
        })
        .unwrap()
    }

    #[test]
    fn assets_are_the_fleets_but_for_the_missing_share() {
        let plan = plan();
        let assets: Vec<_> = plan.assets(DEFAULT_MISSING).collect();
        let missing = 5_000 - assets.len();
        assert!((60..150).contains(&missing), "{missing}");
        assert_eq!(plan.assets(0.0).count(), 5_000);
        let first = plan.assets(0.0).next().unwrap();
        let gpu = plan.gpu(0);
        assert_eq!(first.gpu_uuid, gpu.uuid());
        assert_eq!(first.hostname, Some(gpu.hostname()));
        for asset in &assets {
            assert!(asset.purchase_date < asset.deployment_date);
            assert!(asset.deployment_date < asset.warranty_expiry);
            assert!((1..=10).contains(&asset.priority));
        }
    }

    #[test]
    fn csv_and_json_hold_the_same_rows() {
        let plan = plan();
        let mut json = Vec::new();
        write_json(plan.assets(0.5), &mut json).unwrap();
        let from_json: Vec<Asset> = serde_json::from_slice(&json).unwrap();
        let mut csv = Vec::new();
        write_csv(plan.assets(0.5), &mut csv).unwrap();
        let mut reader = csv::Reader::from_reader(csv.as_slice());
        assert_eq!(reader.headers().unwrap(), COLUMNS.as_slice());
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), from_json.len());
        for (row, asset) in rows.iter().zip(&from_json) {
            let value = serde_json::to_value(asset).unwrap();
            for (column, cell) in COLUMNS.iter().zip(row) {
                let expected = match &value[column] {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(cell, expected, "{column}");
            }
        }
    }
}
