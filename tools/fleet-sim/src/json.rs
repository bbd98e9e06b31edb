//! A reading as the JSON of `schema::MetricEvent`, written by hand: at a million GPUs the general serialiser would be
//! most of the work. A test reads every field back through the schema.

use crate::reading::{Job, Reading};
use crate::topology::write_digits;
use schema::{METRIC_SAMPLE, SCHEMA_VERSION, ThrottleReason};

/// DCGM's blanks (`dcgm_structs.h`): not supported as a 64-bit integer, no value as one, no value as a double.
pub(crate) const INT64_NOT_SUPPORTED: u64 = 0x7fff_ffff_ffff_fff2;
pub(crate) const INT64_BLANK: u64 = 0x7fff_ffff_ffff_fff0;
pub(crate) const FP64_BLANK: u64 = 140_737_488_355_328;

/// Writes one JSON object after another.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>, name: &str) -> Self {
        out.extend_from_slice(name.as_bytes());
        out.push(b'{');
        Self { out, empty: true }
    }

    fn close(self) {
        self.out.push(b'}');
    }

    /// `name` comes with its quotes and its colon.
    fn name(&mut self, name: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.extend_from_slice(name.as_bytes());
    }

    fn object(&mut self, name: &str) -> Object<'_> {
        self.name(name);
        Object::open(self.out, "")
    }

    fn integer(&mut self, name: &str, value: impl itoa::Integer) {
        self.name(name);
        self.out
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// `value / 100` with two decimals.
    fn hundredths(&mut self, name: &str, value: u32) {
        self.name(name);
        decimal(self.out, u64::from(value), 2);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.written(name, |out| out.extend_from_slice(value.as_bytes()));
    }

    /// A string of characters that need no escape.
    fn written(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }
}

/// Appends `value / 10^digits` with that many decimals.
pub(crate) fn decimal(out: &mut Vec<u8>, value: u64, digits: u32) {
    let unit = 10_u64.pow(digits);
    out.extend_from_slice(itoa::Buffer::new().format(value / unit).as_bytes());
    out.push(b'.');
    write_digits(out, value % unit, digits as usize);
}

/// The civil date (year, month, day) of a day counted from 1 January 1970.
pub(crate) const fn civil_date(days: i64) -> (i64, i64, i64) {
    // Eras of 400 years that begin on 1 March, so that the leap day comes last (H. Hinnant).
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Appends RFC 3339 in UTC with milliseconds, as `schema::Timestamp` prints it; for years 0 to 9999.
pub(crate) fn write_timestamp(out: &mut Vec<u8>, epoch_ms: i64) {
    const DAY_MS: i64 = 86_400_000;
    let (year, month, day) = civil_date(epoch_ms.div_euclid(DAY_MS));
    let in_day = epoch_ms.rem_euclid(DAY_MS);
    let mut place = |value: i64, width: usize, after: u8| {
        write_digits(out, value.unsigned_abs(), width);
        out.push(after);
    };
    place(year, 4, b'-');
    place(month, 2, b'-');
    place(day, 2, b'T');
    place(in_day / 3_600_000, 2, b':');
    place(in_day / 60_000 % 60, 2, b':');
    place(in_day / 1_000 % 60, 2, b'.');
    place(in_day % 1_000, 3, b'Z');
}

/// Appends `reading` as JSON.
pub(crate) fn write_event(reading: &Reading, boot_id: &str, out: &mut Vec<u8>) {
    let time_ms = reading.time.as_millis();
    let mut event = Object::open(out, "");
    event.text("\"schema_version\":", SCHEMA_VERSION);
    event.text("\"event_type\":", METRIC_SAMPLE);
    event.written("\"timestamp\":", |out| write_timestamp(out, time_ms));
    event.written("\"collection_timestamp\":", |out| {
        write_timestamp(out, time_ms);
    });
    let done_ms = time_ms + i64::from(reading.latency_ms);
    event.written("\"processing_timestamp\":", |out| {
        write_timestamp(out, done_ms);
    });

    let gpu = &reading.gpu;
    let mut object = event.object("\"gpu\":");
    object.written("\"gpu_id\":", |out| gpu.write_uuid(out));
    object.written("\"gpu_uuid\":", |out| gpu.write_uuid(out));
    object.integer("\"device_index\":", gpu.slot);
    object.text("\"pci_bus_id\":", gpu.pci_bus_id());
    object.text("\"name\":", gpu.sku.name);
    object.text("\"architecture\":", gpu.sku.architecture);
    object.text("\"compute_capability\":", gpu.sku.compute_capability);
    object.written("\"serial\":", |out| gpu.write_serial(out));
    object.text("\"driver_version\":", gpu.driver_version());
    object.text("\"vbios\":", gpu.sku.vbios);
    object.close();

    let mut host = event.object("\"host\":");
    host.written("\"hostname\":", |out| gpu.write_hostname(out));
    host.written("\"cluster\":", |out| gpu.write_cluster(out));
    host.written("\"rack\":", |out| gpu.write_rack(out));
    host.written("\"datacenter\":", |out| gpu.write_datacenter(out));
    host.close();

    let mut metrics = event.object("\"metrics\":");
    write_health(reading, metrics.object("\"health\":"));
    write_memory(reading, metrics.object("\"memory\":"));
    write_performance(reading, metrics.object("\"performance\":"));
    let mut clocks = metrics.object("\"clocks\":");
    clocks.integer("\"sm_clock_mhz\":", reading.sm_clock_mhz);
    clocks.integer("\"mem_clock_mhz\":", gpu.sku.memory_mhz);
    clocks.close();
    let mut power = metrics.object("\"power\":");
    power.integer("\"enforced_limit_w\":", gpu.sku.power_limit_w);
    power.integer("\"default_limit_w\":", gpu.sku.power_limit_w);
    power.integer("\"total_energy_mj\":", reading.energy_mj);
    power.close();
    write_interconnect(reading, metrics.object("\"interconnect\":"));
    let mut errors = metrics.object("\"errors\":");
    errors.integer("\"last_xid\":", reading.last_xid);
    errors.integer("\"recovery_action\":", reading.recovery_action);
    if reading.xids().next().is_some() {
        let mut counts = errors.object("\"xid_counts\":");
        for (xid, count) in reading.xids() {
            counts.integer(&format!("\"{xid}\":"), count);
        }
        counts.close();
    }
    errors.close();
    metrics.close();

    let mut quality = event.object("\"quality\":");
    quality.integer("\"collection_latency_ms\":", reading.latency_ms);
    quality.name("\"stale\":false");
    quality.name("\"sample_count\":1");
    quality.close();
    if let Some(job) = reading.job {
        write_workload(job, gpu.slot, event.object("\"workload\":"));
    }
    let mut collector = event.object("\"collector\":");
    collector.integer("\"sequence\":", reading.sequence);
    collector.text("\"boot_id\":", boot_id);
    collector.close();
    event.close();
}

fn write_health(reading: &Reading, mut health: Object<'_>) {
    let sku = reading.gpu.sku;
    health.integer("\"gpu_temp_c\":", reading.gpu_temp_c);
    if let Some(celsius) = reading.memory_temp_c {
        if reading.blank {
            health.integer("\"memory_temp_c\":", INT64_NOT_SUPPORTED);
        } else {
            health.integer("\"memory_temp_c\":", celsius);
        }
    }
    health.name("\"power_usage_w\":");
    if reading.blank {
        decimal(health.out, FP64_BLANK * 10, 1);
    } else {
        decimal(health.out, u64::from(reading.power_mw), 3);
    }
    health.integer("\"throttle_reasons\":", reading.throttle_reasons);
    health.name("\"throttle_reasons_decoded\":[");
    for (at, reason) in ThrottleReason::decode(u64::from(reading.throttle_reasons)).enumerate() {
        health
            .out
            .extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
        health.out.extend_from_slice(reason.name().as_bytes());
        health.out.push(b'"');
    }
    health.out.push(b']');
    if let Some(margin) = reading.margin_c() {
        health.integer("\"temp_limit_margin_c\":", margin);
    }
    if let Some(celsius) = sku.slowdown_c {
        health.integer("\"slowdown_temp_c\":", celsius);
    }
    if let Some(celsius) = sku.shutdown_c {
        health.integer("\"shutdown_temp_c\":", celsius);
    }
    health.integer("\"gpu_max_op_temp_c\":", sku.max_op_c);
    if let Some(celsius) = sku.memory_max_op_c {
        health.integer("\"mem_max_op_temp_c\":", celsius);
    }
    health.integer("\"thermal_violation_ns\":", reading.thermal_violation_ns);
    health.integer("\"power_violation_ns\":", reading.power_violation_ns);
    health.integer("\"hw_thermal_slowdown_ns\":", reading.hw_thermal_ns);
    health.integer("\"sw_thermal_slowdown_ns\":", 0_u8);
    health.integer("\"hw_power_brake_slowdown_ns\":", reading.power_brake_ns);
    health.integer("\"sw_power_cap_ns\":", reading.sw_power_cap_ns);
    health.close();
}

fn write_memory(reading: &Reading, mut memory: Object<'_>) {
    let sku = reading.gpu.sku;
    memory.integer("\"fb_used_mib\":", reading.fb_used_mib);
    memory.integer("\"fb_free_mib\":", reading.fb_free_mib);
    memory.integer("\"fb_total_mib\":", sku.fb_total_mib);
    memory.hundredths("\"utilization_pct\":", reading.fb_used_bp());
    memory.integer("\"ecc_sbe_volatile\":", reading.sbe_volatile);
    memory.integer("\"ecc_dbe_volatile\":", reading.dbe_volatile);
    if reading.blank {
        memory.integer("\"ecc_sbe_aggregate\":", INT64_BLANK);
    } else {
        memory.integer("\"ecc_sbe_aggregate\":", reading.sbe_aggregate);
    }
    memory.integer("\"ecc_dbe_aggregate\":", reading.dbe_aggregate);
    if let Some(banks) = reading.banks() {
        memory.integer("\"row_remap_correctable\":", reading.row_remap_correctable);
        memory.integer(
            "\"row_remap_uncorrectable\":",
            reading.row_remap_uncorrectable,
        );
        memory.integer(
            "\"row_remap_pending\":",
            u8::from(reading.row_remap_pending),
        );
        memory.integer(
            "\"row_remap_failure\":",
            u8::from(reading.row_remap_failure),
        );
        memory.integer("\"sram_threshold_exceeded\":", 0_u8);
        memory.integer("\"memory_unrepairable\":", 0_u8);
        let mut object = memory.object("\"bank_remap_avail\":");
        let names = [
            "\"max\":",
            "\"high\":",
            "\"partial\":",
            "\"low\":",
            "\"none\":",
        ];
        for (name, banks) in names.into_iter().zip(banks) {
            object.integer(name, banks);
        }
        object.close();
    } else {
        memory.integer("\"retired_pages_sbe\":", 0_u8);
        memory.integer("\"retired_pages_dbe\":", 0_u8);
        memory.integer("\"retired_pages_pending\":", 0_u8);
    }
    memory.close();
}

fn write_performance(reading: &Reading, mut performance: Object<'_>) {
    if reading.blank {
        performance.name("\"sm_active_pct\":");
        decimal(performance.out, FP64_BLANK * 10, 1);
    } else {
        performance.hundredths("\"sm_active_pct\":", u32::from(reading.sm_active));
    }
    performance.hundredths("\"sm_occupancy_pct\":", u32::from(reading.sm_occupancy));
    performance.hundredths("\"tensor_active_pct\":", u32::from(reading.tensor_active));
    performance.hundredths("\"dram_active_pct\":", u32::from(reading.dram_active));
    performance.hundredths(
        "\"gr_engine_active_pct\":",
        u32::from(reading.gr_engine_active),
    );
    performance.hundredths("\"pcie_tx_mb_per_sec\":", reading.pcie_tx);
    performance.hundredths("\"pcie_rx_mb_per_sec\":", reading.pcie_rx);
    if reading.gpu.sku.nvlinks > 0 {
        performance.hundredths("\"nvlink_tx_mb_per_sec\":", reading.nvlink_tx);
        performance.hundredths("\"nvlink_rx_mb_per_sec\":", reading.nvlink_rx);
    }
    performance.integer("\"gpu_utilization_pct\":", reading.gpu_util_pct);
    performance.integer(
        "\"memory_copy_utilization_pct\":",
        reading.mem_copy_util_pct,
    );
    performance.integer("\"encoder_utilization_pct\":", reading.encoder_util_pct);
    performance.integer("\"decoder_utilization_pct\":", reading.decoder_util_pct);
    performance.close();
}

fn write_interconnect(reading: &Reading, mut interconnect: Object<'_>) {
    let sku = reading.gpu.sku;
    interconnect.integer("\"pcie_gen\":", reading.pcie_gen);
    interconnect.integer("\"pcie_width\":", reading.pcie_width);
    interconnect.integer("\"pcie_gen_max\":", sku.pcie_gen);
    interconnect.integer("\"pcie_width_max\":", 16_u8);
    interconnect.integer("\"pcie_replay\":", reading.pcie_replay);
    interconnect.integer("\"pcie_correctable_errors\":", reading.pcie_correctable);
    if sku.nvlinks > 0 {
        interconnect.integer("\"nvlink_crc_flit\":", reading.nvlink_crc_flit);
        interconnect.integer("\"nvlink_crc_data\":", reading.nvlink_crc_data);
        interconnect.integer("\"nvlink_replay\":", reading.nvlink_replay);
        interconnect.integer("\"nvlink_recovery\":", reading.nvlink_recovery);
        interconnect.integer("\"nvlink_links_up\":", sku.nvlinks);
    }
    interconnect.close();
}

fn write_workload(job: Job, slot: u32, mut workload: Object<'_>) {
    let (namespace, pod, container) = Job::NAMESPACES[usize::from(job.namespace)];
    workload.text("\"namespace\":", namespace);
    workload.written("\"pod\":", |out| {
        out.extend_from_slice(pod.as_bytes());
        out.push(b'-');
        write_digits(out, u64::from(job.id), 7);
        out.push(b'-');
        write_digits(out, u64::from(slot), 1);
    });
    workload.text("\"container\":", container);
    workload.written("\"job_id\":", |out| write_digits(out, u64::from(job.id), 7));
    workload.written("\"user\":", |out| {
        out.extend_from_slice(b"user-");
        write_digits(out, u64::from(job.user), 2);
    });
    workload.written("\"project\":", |out| {
        out.extend_from_slice(b"project-");
        write_digits(out, u64::from(job.project), 2);
    });
    workload.close();
}

/// Breaks the event in `out[from..]` in one of eight ways.
pub(crate) fn break_event(out: &mut Vec<u8>, from: usize, way: u8) {
    const DEPTH: usize = 10_000;
    let mut value = out.split_off(from);
    match way % 8 {
        0 => value.truncate(value.len() / 2),
        1 => replace(&mut value, b"\"gpu-node-", b"\"gpu-\xff\xfe-"),
        2 => replace(&mut value, b"\"timestamp\":\"", b"\"timestamp\":\"soon "),
        3 => replace(
            &mut value,
            b"\"pcie_width\":",
            b"\"pcie_width\":NaN,\"was\":",
        ),
        4 => replace(&mut value, b"\"gpu_uuid\":", b"\"gpu_name\":"),
        5 => value.clear(),
        6 => {
            value.insert(0, b'[');
            value.push(b']');
        }
        _ => value = vec![b'['; DEPTH],
    }
    out.append(&mut value);
}

fn replace(value: &mut Vec<u8>, what: &[u8], with: &[u8]) {
    if let Some(at) = value.windows(what.len()).position(|window| window == what) {
        value.splice(at..at + what.len(), with.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schema::Timestamp;

    proptest! {
        #[test]
        fn times_are_written_as_the_schema_writes_them(millis in 0_i64..250_000_000_000_000) {
            let mut out = Vec::new();
            write_timestamp(&mut out, millis);
            prop_assert_eq!(String::from_utf8(out).unwrap(), Timestamp::from_millis(millis).to_string());
        }
    }

    #[test]
    fn decimals_keep_their_zeros() {
        let mut out = Vec::new();
        decimal(&mut out, 5, 2);
        out.push(b' ');
        decimal(&mut out, 312_040, 3);
        assert_eq!(out, b"0.05 312.040");
    }
}
