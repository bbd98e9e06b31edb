//! A reading as the record that goes to Kafka.

use crate::domain::reading::GpuReading;
use crate::domain::target::TargetLabels;
use schema::{
    BankRemap, Collector, Gpu, Host, METRIC_SAMPLE, METRICS, MetricEvent, Metrics, Quality,
    SCHEMA_VERSION, Text, ThrottleReason, Timestamp, Workload,
};

/// What a scrape has in common for all its GPUs.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    /// When the exporter was asked.
    pub asked: Timestamp,
    /// When its answer was there.
    pub answered: Timestamp,
    /// The target's labels.
    pub labels: &'a TargetLabels,
    /// This collector's run.
    pub boot_id: &'a str,
}

/// The record of `reading`, the `sequence`-th of its GPU in this run.
///
/// Event time is the exporter's where its rows carry one, else the time of asking.
pub fn event<'a>(reading: &'a GpuReading, taken: Taken<'a>, sequence: u64) -> MetricEvent<'a> {
    let text = |value: &'a Option<String>| value.as_deref().map(Text::from);
    let labels = taken.labels;
    MetricEvent {
        schema_version: Some(Text::from(SCHEMA_VERSION)),
        event_type: Some(Text::from(METRIC_SAMPLE)),
        timestamp: reading
            .exporter_time_ms
            .map_or(taken.asked, Timestamp::from_millis),
        collection_timestamp: Some(Text::from(taken.asked.to_string())),
        processing_timestamp: Some(Text::from(taken.answered.to_string())),
        gpu: Gpu {
            gpu_id: Some(Text::from(reading.uuid.as_str())),
            gpu_uuid: Text::from(reading.uuid.as_str()),
            device_index: reading.device_index,
            pci_bus_id: text(&reading.pci_bus_id),
            name: text(&reading.model),
            serial: text(&reading.serial),
            driver_version: text(&reading.driver_version),
            vbios: text(&reading.vbios),
            ..Gpu::default()
        },
        host: Some(Host {
            hostname: labels
                .hostname
                .as_deref()
                .or(reading.hostname.as_deref())
                .or(labels.address_host.as_deref())
                .map(Text::from),
            cluster: text(&labels.cluster),
            rack: text(&labels.rack),
            datacenter: text(&labels.datacenter),
        }),
        metrics: metrics(reading),
        quality: Some(Quality {
            collection_latency_ms: Some(taken.answered.millis_since(taken.asked) as f64),
            stale: Some(false),
            sample_count: Some(1),
            error: None,
            blank_fields: (!reading.blank.is_empty())
                .then(|| reading.blank.iter().map(|name| Text::from(*name)).collect()),
        }),
        workload: reading.runner.as_ref().map(|runner| Workload {
            namespace: text(&runner.namespace),
            pod: text(&runner.pod),
            container: text(&runner.container),
            job_id: text(&runner.job_id),
            ..Workload::default()
        }),
        collector: Some(Collector {
            sequence: Some(sequence),
            boot_id: Some(Text::from(taken.boot_id)),
        }),
    }
}

fn metrics(reading: &GpuReading) -> Metrics<'_> {
    let mut metrics = Metrics::default();
    for (metric, value) in METRICS.iter().zip(reading.values) {
        if value.is_some() {
            metrics.set(metric.name, value);
        }
    }
    if let Some(health) = &mut metrics.health
        && let Some(mask) = health.throttle_reasons
    {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast saturates, and a mask of DCGM has nine bits"
        )]
        let mask = mask as u64;
        let names = ThrottleReason::decode(mask).map(|reason| Text::from(reason.name()));
        health.throttle_reasons_decoded = Some(names.collect());
    }
    if reading.banks.iter().any(Option::is_some) {
        let [max, high, partial, low, none] = reading.banks;
        metrics.memory.get_or_insert_default().bank_remap_avail = Some(BankRemap {
            max,
            high,
            partial,
            low,
            none,
            ..BankRemap::default()
        });
    }
    if !reading.xid_counts.is_empty() {
        metrics.errors.get_or_insert_default().xid_counts = Some(
            reading
                .xid_counts
                .iter()
                .map(|(xid, count)| (Text::from(xid.to_string()), *count))
                .collect(),
        );
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::join::scrape;

    #[test]
    fn a_reading_becomes_a_record_that_the_schema_reads_back() {
        let row = |name: &str, value: &str| {
            format!(
                "{name}{{gpu=\"0\",UUID=\"GPU-1\",modelName=\"NVIDIA H200\",hostname=\"n1\",pod=\"p\",namespace=\"ns\"}} {value}\n"
            )
        };
        let text = [
            row("DCGM_FI_DEV_GPU_TEMP", "61"),
            row("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", "72"),
            row("DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_LOW", "2"),
            row("DCGM_FI_DEV_POWER_USAGE", "140737488355329.000000"),
            row("DCGM_EXP_XID_ERRORS_COUNT", "3").replace("pod=", "xid=\"31\",pod="),
        ]
        .concat();
        let scraped = scrape(&text);
        let labels = TargetLabels {
            rack: Some("r1".to_owned()),
            ..TargetLabels::default()
        };
        let taken = Taken {
            asked: Timestamp::from_millis(1_770_805_800_000),
            answered: Timestamp::from_millis(1_770_805_800_023),
            labels: &labels,
            boot_id: "b",
        };
        let json = serde_json::to_string(&event(&scraped.readings[0], taken, 7)).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"schema_version":"1.1","event_type":"gpu_metric_sample","timestamp":"2026-02-11T10:30:00.000Z","#,
                r#""collection_timestamp":"2026-02-11T10:30:00.000Z","processing_timestamp":"2026-02-11T10:30:00.023Z","#,
                r#""gpu":{"gpu_id":"GPU-1","gpu_uuid":"GPU-1","device_index":0,"name":"NVIDIA H200"},"#,
                r#""host":{"hostname":"n1","rack":"r1"},"#,
                r#""metrics":{"health":{"gpu_temp_c":61.0,"throttle_reasons":72.0,"throttle_reasons_decoded":["hw_slowdown","hw_thermal_slowdown"]},"#,
                r#""memory":{"bank_remap_avail":{"low":2.0}},"errors":{"xid_counts":{"31":3.0}}},"#,
                r#""quality":{"collection_latency_ms":23.0,"stale":false,"sample_count":1,"blank_fields":["power_usage_w"]},"#,
                r#""workload":{"namespace":"ns","pod":"p"},"collector":{"sequence":7,"boot_id":"b"}}"#,
            )
        );
        let read: MetricEvent<'_> = serde_json::from_str(&json).unwrap();
        assert_eq!(read, event(&scraped.readings[0], taken, 7));
    }

    #[test]
    fn the_exporters_time_and_the_targets_host_name_win() {
        let text = "DCGM_FI_DEV_GPU_TEMP{gpu=\"0\",UUID=\"GPU-1\",hostname=\"localhost\"} 61 1770805790000\n";
        let scraped = scrape(text);
        let labels = TargetLabels {
            hostname: Some("n1".to_owned()),
            ..TargetLabels::default()
        };
        let asked = Timestamp::from_millis(1_770_805_800_000);
        let taken = Taken {
            asked,
            answered: asked,
            labels: &labels,
            boot_id: "b",
        };
        let event = event(&scraped.readings[0], taken, 1);
        assert_eq!(event.timestamp.as_millis(), 1_770_805_790_000);
        assert_eq!(event.host.unwrap().hostname.unwrap(), "n1");
    }
}
