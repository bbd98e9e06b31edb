//! What a reading says about its GPU: the row of the dimension table.

use schema::{AssetStatus, EnrichedEvent, SlaTier, Text, WarrantyStatus};

/// The columns of `gpus` that a reading describes, in the order of [`Description::get`]. All are text but
/// `device_index`.
pub const COLUMNS: [&str; 15] = [
    "model",
    "architecture",
    "serial",
    "pci_bus_id",
    "driver_version",
    "vbios",
    "device_index",
    "hostname",
    "rack",
    "cluster",
    "datacenter",
    "region",
    "asset_status",
    "sla_tier",
    "warranty_status",
];

/// Values of [`COLUMNS`], in one allocation: there is one for each GPU in each batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Description {
    text: String,
    /// Where each value ends; none is unknown.
    ends: [Option<u32>; COLUMNS.len()],
}

impl Description {
    /// What `event` says. The inventory is believed over the collector where both know.
    pub fn of(event: &EnrichedEvent<'_>) -> Self {
        let gpu = &event.gpu;
        let host = event.host.as_ref();
        let asset = event.asset.as_ref();
        let device_index = gpu.device_index.map(|index| index.to_string());
        let either = |a: Option<&Text<'_>>, b: Option<&Text<'_>>| {
            a.or(b).map(|text| text.as_str().to_owned())
        };
        let model = either(asset.and_then(|a| a.model.as_ref()), gpu.name.as_ref());
        let rack = either(
            asset.and_then(|a| a.rack_id.as_ref()),
            host.and_then(|h| h.rack.as_ref()),
        );
        let cluster = either(
            asset.and_then(|a| a.cluster_id.as_ref()),
            host.and_then(|h| h.cluster.as_ref()),
        );
        let datacenter = either(
            asset.and_then(|a| a.datacenter.as_ref()),
            host.and_then(|h| h.datacenter.as_ref()),
        );
        let mut description = Self::default();
        let values = [
            model.as_deref(),
            gpu.architecture.as_deref(),
            gpu.serial.as_deref(),
            gpu.pci_bus_id.as_deref(),
            gpu.driver_version.as_deref(),
            gpu.vbios.as_deref(),
            device_index.as_deref(),
            host.and_then(|h| h.hostname.as_deref()),
            rack.as_deref(),
            cluster.as_deref(),
            datacenter.as_deref(),
            asset.and_then(|a| a.region.as_deref()),
            Some(asset_status(event.asset_status)),
            asset.and_then(|a| a.sla_tier).map(sla_tier),
            asset.and_then(|a| a.warranty_status).map(warranty_status),
        ];
        for (end, value) in description.ends.iter_mut().zip(values) {
            if let Some(value) = value {
                description.text.push_str(value);
                *end = u32::try_from(description.text.len()).ok();
            }
        }
        description
    }

    /// The value of the column with `index` in [`COLUMNS`].
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = self.ends[index]?;
        let start = self.ends[..index].iter().rev().find_map(|end| *end);
        self.text.get(start.unwrap_or(0) as usize..end as usize)
    }

    /// Whether a value holds U+0000, which `PostgreSQL` can't store.
    pub fn holds_nul(&self) -> bool {
        self.text.as_bytes().contains(&0)
    }
}

const fn asset_status(status: AssetStatus) -> &'static str {
    match status {
        AssetStatus::Known => "known",
        AssetStatus::Unknown => "unknown",
    }
}

const fn sla_tier(tier: SlaTier) -> &'static str {
    match tier {
        SlaTier::Production => "production",
        SlaTier::Staging => "staging",
        SlaTier::Development => "development",
    }
}

const fn warranty_status(status: WarrantyStatus) -> &'static str {
    match status {
        WarrantyStatus::Active => "active",
        WarrantyStatus::Expiring => "expiring",
        WarrantyStatus::Expired => "expired",
        WarrantyStatus::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::{AssetBlock, Gpu, Host};

    #[test]
    fn the_inventory_is_believed_first_and_what_nobody_says_is_unknown() {
        let event = EnrichedEvent {
            gpu: Gpu {
                gpu_uuid: "GPU-1".into(),
                name: Some("from the driver".into()),
                device_index: Some(3),
                serial: Some("".into()),
                ..Gpu::default()
            },
            host: Some(Host {
                hostname: Some("node-1".into()),
                rack: Some("from the collector".into()),
                datacenter: Some("dc".into()),
                ..Host::default()
            }),
            asset_status: AssetStatus::Known,
            asset: Some(AssetBlock {
                rack_id: Some("from the inventory".into()),
                sla_tier: Some(SlaTier::Production),
                ..AssetBlock::default()
            }),
            ..EnrichedEvent::default()
        };
        let description = Description::of(&event);
        let known: Vec<(&str, &str)> = COLUMNS
            .iter()
            .enumerate()
            .filter_map(|(index, column)| Some((*column, description.get(index)?)))
            .collect();
        assert_eq!(
            known,
            [
                ("model", "from the driver"),
                ("serial", ""),
                ("device_index", "3"),
                ("hostname", "node-1"),
                ("rack", "from the inventory"),
                ("datacenter", "dc"),
                ("asset_status", "known"),
                ("sla_tier", "production"),
            ]
        );
    }

    #[test]
    fn the_names_of_values_are_those_on_the_wire() {
        for status in [AssetStatus::Known, AssetStatus::Unknown] {
            let json = serde_json::to_value(status).unwrap();
            assert_eq!(json, asset_status(status));
        }
        for tier in [SlaTier::Production, SlaTier::Staging, SlaTier::Development] {
            assert_eq!(serde_json::to_value(tier).unwrap(), sla_tier(tier));
        }
        for status in [
            WarrantyStatus::Active,
            WarrantyStatus::Expiring,
            WarrantyStatus::Expired,
            WarrantyStatus::Unknown,
        ] {
            let json = serde_json::to_value(status).unwrap();
            assert_eq!(json, warranty_status(status));
        }
    }
}
