//! A reading, reduced to what a score looks at.
//!
//! The record is parsed once, borrowing from its bytes. Every metric is optional; what the score does not use is skipped.
//! Blank sentinels become unknown here (see [`super::number`]).

use super::number;
use schema::{Text, Timestamp};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// A record of `gpu-metrics-enriched`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Reading<'a> {
    /// Event time.
    pub timestamp: Timestamp,
    /// Ingest time.
    pub validation_timestamp: Timestamp,
    /// The GPU.
    #[serde(borrow, default, deserialize_with = "or_default")]
    pub gpu: Gpu<'a>,
    /// Its host, as the collector knows it.
    #[serde(borrow, default, deserialize_with = "or_default")]
    pub host: Host<'a>,
    /// Who runs on it.
    #[serde(borrow, default, deserialize_with = "or_default")]
    pub workload: Workload<'a>,
    /// What the inventory says about it.
    #[serde(borrow, default, deserialize_with = "or_default")]
    pub asset: Asset<'a>,
    /// What it measures.
    #[serde(default, deserialize_with = "or_default")]
    pub metrics: Metrics,
}

impl<'a> Reading<'a> {
    /// Reads a record's value.
    pub fn parse(value: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }
}

macro_rules! texts {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(default)]
        pub struct $name<'a> {
            $( $(#[$field_doc])* #[serde(borrow)] pub $field: Option<Text<'a>>, )*
        }
    };
}

texts! {
    /// The GPU's block.
    Gpu {
        /// Model, as the driver names it.
        name,
    }
}

texts! {
    /// The host's block.
    Host {
        /// Host name.
        hostname,
    }
}

texts! {
    /// The workload's block.
    Workload {
        /// Kubernetes namespace.
        namespace,
        /// Kubernetes pod.
        pod,
        /// Scheduler's job id.
        job_id,
    }
}

texts! {
    /// The inventory's block.
    Asset {
        /// Model, where the driver does not name it.
        model,
    }
}

/// The metric groups.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Temperatures, power, throttling.
    #[serde(deserialize_with = "or_default")]
    pub health: Health,
    /// ECC, row remapping.
    #[serde(deserialize_with = "or_default")]
    pub memory: Memory,
    /// Activity.
    #[serde(deserialize_with = "or_default")]
    pub performance: Performance,
    /// Limits and energy.
    #[serde(deserialize_with = "or_default")]
    pub power: Power,
    /// PCIe and NVLink.
    #[serde(deserialize_with = "or_default")]
    pub interconnect: Interconnect,
    /// Xids.
    #[serde(deserialize_with = "or_default")]
    pub errors: Errors,
}

macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $read:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $( $(#[$field_doc])* #[serde(deserialize_with = $read)] pub $field: $type, )*
        }
    };
}

numbers! {
    /// `metrics.health`
    Health {
        /// Core temperature.
        gpu_temp_c: Option<f64> = "level",
        /// HBM temperature.
        memory_temp_c: Option<f64> = "level",
        /// Board power.
        power_usage_w: Option<f64> = "level",
        /// Clock-event reasons.
        throttle_reasons: Option<u64> = "count",
        /// Distance to the maximum operating temperature.
        temp_limit_margin_c: Option<f64> = "level",
        /// Slowdown temperature.
        slowdown_temp_c: Option<f64> = "level",
        /// Maximum operating temperature of the core.
        gpu_max_op_temp_c: Option<f64> = "level",
        /// Maximum operating temperature of the memory.
        mem_max_op_temp_c: Option<f64> = "level",
        /// Time below application clocks because of temperature.
        thermal_violation_ns: Option<u64> = "count",
        /// Time with `HW_THERMAL_SLOWDOWN`.
        hw_thermal_slowdown_ns: Option<u64> = "count",
        /// Time with `SW_THERMAL_SLOWDOWN`.
        sw_thermal_slowdown_ns: Option<u64> = "count",
        /// Time with `HW_POWER_BRAKE_SLOWDOWN`.
        hw_power_brake_slowdown_ns: Option<u64> = "count",
    }
}

numbers! {
    /// `metrics.memory`
    Memory {
        /// Single-bit errors since the driver was loaded.
        ecc_sbe_volatile: Option<u64> = "count",
        /// Double-bit errors since the driver was loaded.
        ecc_dbe_volatile: Option<u64> = "count",
        /// Single-bit errors, lifetime.
        ecc_sbe_aggregate: Option<u64> = "count",
        /// Double-bit errors, lifetime.
        ecc_dbe_aggregate: Option<u64> = "count",
        /// Pages retired for single-bit errors.
        retired_pages_sbe: Option<u64> = "count",
        /// Pages retired for double-bit errors.
        retired_pages_dbe: Option<u64> = "count",
        /// Pages wait to be retired.
        retired_pages_pending: Option<u64> = "count",
        /// Rows remapped for uncorrectable errors.
        row_remap_uncorrectable: Option<u64> = "count",
        /// A remap waits for a GPU reset.
        row_remap_pending: Option<u64> = "count",
        /// A remap failed.
        row_remap_failure: Option<u64> = "count",
        /// The SRAM error threshold is exceeded.
        sram_threshold_exceeded: Option<u64> = "count",
        /// Memory can't be repaired.
        memory_unrepairable: Option<u64> = "count",
        /// Banks by the spare rows they have left.
        bank_remap_avail: BankRemap = "or_default",
    }
}

numbers! {
    /// `metrics.memory.bank_remap_avail`
    BankRemap {
        /// Banks with few spare rows left.
        low: Option<u64> = "count",
        /// Banks with none left.
        none: Option<u64> = "count",
    }
}

numbers! {
    /// `metrics.performance`
    Performance {
        /// Utilisation as the driver reports it.
        gpu_utilization_pct: Option<f64> = "level",
        /// Share of time with at least one warp on a multiprocessor.
        sm_active_pct: Option<f64> = "level",
    }
}

numbers! {
    /// `metrics.power`
    Power {
        /// The limit in force.
        enforced_limit_w: Option<f64> = "level",
        /// The limit from the factory.
        default_limit_w: Option<f64> = "level",
        /// Energy since the driver was loaded.
        total_energy_mj: Option<u64> = "count",
    }
}

numbers! {
    /// `metrics.interconnect`
    Interconnect {
        /// PCIe generation now.
        pcie_gen: Option<f64> = "level",
        /// PCIe lanes now.
        pcie_width: Option<f64> = "level",
        /// The highest PCIe generation of card and slot.
        pcie_gen_max: Option<f64> = "level",
        /// The most PCIe lanes of card and slot.
        pcie_width_max: Option<f64> = "level",
        /// PCIe replays.
        pcie_replay: Option<u64> = "count",
        /// NVLink flit CRC errors.
        nvlink_crc_flit: Option<u64> = "count",
        /// NVLink data CRC errors.
        nvlink_crc_data: Option<u64> = "count",
        /// NVLink replays.
        nvlink_replay: Option<u64> = "count",
        /// NVLink recoveries.
        nvlink_recovery: Option<u64> = "count",
        /// Links that are up.
        nvlink_links_up: Option<u64> = "count",
    }
}

numbers! {
    /// `metrics.errors`
    Errors {
        /// The last Xid, sticky; 0 is none.
        last_xid: Option<u16> = "code",
        /// The recovery that the driver asks for.
        recovery_action: Option<u64> = "count",
        /// Xids counted over the exporter's window; none where the exporter was not asked at all.
        xid_counts: Option<XidCounts> = "Option::deserialize",
    }
}

impl Errors {
    /// The counts over the exporter's window: empty when the exporter gave Xids but none of them in the window, none
    /// when it gave nothing about Xids.
    pub fn counts(&self) -> Option<&[(u16, u32)]> {
        let empty: &[(u16, u32)] = &[];
        let known = self.xid_counts.as_ref().map(|counts| counts.0.as_slice());
        known.or(self.last_xid.map(|_| empty))
    }
}

/// Occurrences by Xid, in the record's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XidCounts(pub Vec<(u16, u32)>);

impl<'de> Deserialize<'de> for XidCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counts;

        impl<'de> Visitor<'de> for Counts {
            type Value = XidCounts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of counts by Xid")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<XidCounts, A::Error> {
                let mut counts = Vec::new();
                while let Some(code) = map.next_key::<Text<'de>>()? {
                    let Ok(code) = code.parse::<u16>() else {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    let count = map.next_value::<Option<f64>>()?.and_then(number::count);
                    if let Some(count) = count {
                        counts.push((code, u32::try_from(count).unwrap_or(u32::MAX)));
                    }
                }
                Ok(XidCounts(counts))
            }
        }

        deserializer.deserialize_map(Counts)
    }
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.and_then(number::level))
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.and_then(number::count))
}

fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let code = Option::<f64>::deserialize(deserializer)?.and_then(number::count);
    // No Xid comes near; an odd number shows as an unknown Xid instead of being lost.
    Ok(code.map(|code| u16::try_from(code).unwrap_or(u16::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_read_from_an_enriched_record_and_unknown_fields_are_skipped() {
        let value = br#"{"schema_version":"1.1","timestamp":"2026-02-11T10:30:00.000Z","gpu":{"gpu_uuid":"GPU-1","name":"NVIDIA H100 80GB HBM3","device_index":3},
            "host":{"hostname":"node-1"},"metrics":{"health":{"gpu_temp_c":61.5,"memory_temp_c":9223372036854775794,"throttle_reasons":4,"new":{"a":[1]}},"memory":null,
            "errors":{"last_xid":79,"xid_counts":{"79":1,"94":2.0,"odd":5,"31":null}}},"validation_timestamp":"2026-02-11T10:30:00.100Z","asset_status":"unknown"}"#;
        let reading = Reading::parse(value).unwrap();
        assert_eq!(reading.timestamp.as_millis(), 1_770_805_800_000);
        assert_eq!(reading.host.hostname.as_deref(), Some("node-1"));
        let metrics = &reading.metrics;
        assert_eq!(metrics.health.gpu_temp_c, Some(61.5));
        assert_eq!(metrics.health.memory_temp_c, None);
        assert_eq!(metrics.health.throttle_reasons, Some(4));
        assert_eq!(metrics.memory, Memory::default());
        assert_eq!(metrics.errors.last_xid, Some(79));
        assert_eq!(metrics.errors.counts(), Some(&[(79, 1), (94, 2)][..]));
    }

    #[test]
    fn no_xids_are_told_from_no_answer() {
        let counts = |errors: &str| {
            let errors: Errors = serde_json::from_str(errors).unwrap();
            errors.counts().map(<[(u16, u32)]>::len)
        };
        assert_eq!(counts("{}"), None);
        assert_eq!(counts(r#"{"last_xid":null}"#), None);
        assert_eq!(counts(r#"{"last_xid":0}"#), Some(0));
        assert_eq!(counts(r#"{"xid_counts":{}}"#), Some(0));
    }

    #[test]
    fn a_record_without_its_times_or_with_a_wrong_type_is_no_reading() {
        for value in [
            &b"{}"[..],
            b"[]",
            b"nonsense",
            b"\xff",
            br#"{"timestamp":"2026-02-11T10:30:00Z"}"#,
            br#"{"timestamp":"yesterday","validation_timestamp":"2026-02-11T10:30:00Z"}"#,
            br#"{"timestamp":"2026-02-11T10:30:00Z","validation_timestamp":"2026-02-11T10:30:00Z","metrics":{"health":{"gpu_temp_c":"hot"}}}"#,
            br#"{"timestamp":"2026-02-11T10:30:00Z","validation_timestamp":"2026-02-11T10:30:00Z","metrics":[1]}"#,
        ] {
            assert!(
                Reading::parse(value).is_err(),
                "{}",
                String::from_utf8_lossy(value)
            );
        }
    }
}
