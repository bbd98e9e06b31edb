//! An asset: what the inventory knows about a GPU (`gpu-assets`, compacted; a null value deletes).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One GPU of the inventory. Dates are `YYYY-MM-DD`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asset {
    /// NVIDIA's UUID: the key.
    pub gpu_uuid: String,
    /// Model (`NVIDIA H100 80GB HBM3`).
    pub model: String,
    /// Architecture (`Hopper`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// CUDA compute capability (`9.0`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
    /// Memory in GB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gb: Option<i32>,
    /// Board serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// PCI bus id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<String>,
    /// Rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack_id: Option<String>,
    /// Cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Datacenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Date of purchase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchase_date: Option<String>,
    /// Date of deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_date: Option<String>,
    /// Last day of warranty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warranty_expiry: Option<String>,
    /// Planned end of life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_eol: Option<String>,
    /// Service level.
    #[serde(default)]
    pub sla_tier: SlaTier,
    /// 1 (highest) to 10.
    #[serde(default = "default_priority")]
    pub priority: i32,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

const fn default_priority() -> i32 {
    5
}

/// The service level that an asset's users were promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlaTier {
    /// Production.
    Production,
    /// Staging.
    Staging,
    /// Development, the default.
    #[default]
    Development,
}

/// Whether the warranty covers a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarrantyStatus {
    /// Covered.
    Active,
    /// Covered, and ends within 90 days.
    Expiring,
    /// Over.
    Expired,
    /// The inventory gives no date.
    Unknown,
}

/// Whether the asset table knew the GPU of a reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetStatus {
    /// The asset is in the table.
    Known,
    /// It is not; the reading goes on all the same.
    #[default]
    Unknown,
}
