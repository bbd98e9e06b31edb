//! A host's readings as the text that dcgm-exporter prints.
//!
//! Layout, label order and number formats follow the templates of dcgm-exporter (`internal/pkg/rendermetrics`,
//! `gpu_collector.go`: integers as `%d`, doubles as `%f`); names before and after DCGM 4.6's renaming follow
//! `dcgm_fields.h`.

use crate::json::{FP64_BLANK, decimal};
use crate::overlay::XID_WINDOW_MS;
use crate::reading::{Job, Reading};
use crate::topology::write_digits;
use clap::ValueEnum;
use fields::{FIELDS, Field, LINK_FIELDS, LINK_UP, Value};

mod fields;

/// Which names fields have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Names {
    /// Before DCGM 4.6.
    Old,
    /// From DCGM 4.6 on.
    New,
    /// Every other field has its new name, as with a counters file that was changed by and by.
    Mixed,
}

/// Which labels rows have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Labels {
    /// `hostname` and `UUID`: since May 2026.
    Hostname,
    /// `Hostname` and `UUID`: before.
    CapitalHostname,
    /// `Hostname`, `uuid`, `pod_name`, `pod_namespace`, `container_name`: with `--use-old-namespace`.
    OldNamespace,
}

/// How one host's exporter is set up.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Field names.
    pub names: Names,
    /// Label names.
    pub labels: Labels,
    /// The host's first GPU has MIG rows beside its own.
    pub mig: bool,
    /// NVLink error counters come link by link instead of in sum.
    pub nvlink_rows: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            names: Names::Old,
            labels: Labels::Hostname,
            mig: false,
            nvlink_rows: false,
        }
    }
}

/// Appends what the exporter of a host prints for `readings`.
pub fn write_exposition(readings: &[Reading], style: Style, out: &mut Vec<u8>) {
    let picked = |old: &'static str, new: &'static str, at: usize| match style.names {
        Names::Old => old,
        Names::Mixed if at.is_multiple_of(2) => old,
        Names::New | Names::Mixed => new,
    };
    for (at, field) in FIELDS.iter().enumerate() {
        let name = picked(field.old, field.new, at);
        let mut headed = false;
        for reading in readings {
            let value = (field.value)(reading);
            if matches!(value, Value::Absent) {
                continue;
            }
            if !std::mem::replace(&mut headed, true) {
                head(out, name, field.help, field.kind);
            }
            Row {
                reading,
                style,
                name,
                instance: None,
                window: false,
                xid: None,
            }
            .write(out, &value);
            if style.mig && reading.gpu.slot == 0 {
                for instance in [("3g.40gb", 1_u8), ("4g.40gb", 2)] {
                    let value = instance_value(field, (field.value)(reading), instance.1);
                    Row {
                        reading,
                        style,
                        name,
                        instance: Some(instance),
                        window: false,
                        xid: None,
                    }
                    .write(out, &value);
                }
            }
        }
    }
    write_xids(
        readings,
        style,
        picked("DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_XID_ERROR", 1),
        out,
    );
    let linked: Vec<_> = readings
        .iter()
        .filter(|reading| reading.gpu.sku.nvlinks > 0)
        .collect();
    if linked.is_empty() {
        return;
    }
    for (at, field) in LINK_FIELDS.iter().enumerate() {
        if style.nvlink_rows {
            head(out, field.per_link, field.help, "counter");
            for reading in &linked {
                // A bad link is one link; which one goes by the GPU.
                let bad = reading.gpu.index % u32::from(reading.gpu.sku.nvlinks);
                for link in 0..reading.gpu.sku.nvlinks {
                    let value = if u32::from(link) == bad {
                        (field.value)(reading)
                    } else {
                        0
                    };
                    link_row(out, field.per_link, reading, style, link, u64::from(value));
                }
            }
        } else {
            let name = picked(field.old, field.new, at);
            head(out, name, field.help, "counter");
            for reading in &linked {
                Row {
                    reading,
                    style,
                    name,
                    instance: None,
                    window: false,
                    xid: None,
                }
                .write(out, &Value::Whole((field.value)(reading).into()));
            }
        }
    }
    let state = picked(
        "DCGM_FI_DEV_NVLINK_GET_STATE",
        "DCGM_FI_DEV_NVLINK_LINK_STATUS",
        0,
    );
    head(out, state, "NVLink state", "gauge");
    for reading in &linked {
        for link in 0..reading.gpu.sku.nvlinks {
            link_row(out, state, reading, style, link, LINK_UP);
        }
    }
    write_others(linked[0], out);
}

/// Rows that are not about GPUs: a switch and a CPU.
fn write_others(reading: &Reading, out: &mut Vec<u8>) {
    for (name, label) in [
        (
            "DCGM_FI_DEV_NVSWITCH_TEMPERATURE_CURRENT",
            "nvswitch=\"nvswitch0\"",
        ),
        ("DCGM_FI_DEV_CPU_TEMP_CURRENT", "cpu=\"0\""),
    ] {
        head(out, name, "Temperature (in C).", "gauge");
        out.extend_from_slice(name.as_bytes());
        out.push(b'{');
        out.extend_from_slice(label.as_bytes());
        out.extend_from_slice(b",hostname=\"");
        reading.gpu.write_hostname(out);
        out.extend_from_slice(b"\"} 41\n");
    }
}

fn write_xids(readings: &[Reading], style: Style, name: &'static str, out: &mut Vec<u8>) {
    const COUNT: &str = "DCGM_EXP_XID_ERRORS_COUNT";
    if readings.is_empty() {
        return;
    }
    head(
        out,
        name,
        "Value of the last XID error encountered.",
        "gauge",
    );
    for reading in readings {
        Row {
            reading,
            style,
            name,
            instance: None,
            window: false,
            xid: Some(reading.last_xid),
        }
        .write(out, &Value::Whole(reading.last_xid.into()));
    }
    head(
        out,
        COUNT,
        "Count of XID Errors within user-specified time window (see xid-count-window-size param).",
        "gauge",
    );
    for reading in readings {
        let mut counted = false;
        for (xid, count) in reading.xids() {
            counted = true;
            Row {
                reading,
                style,
                name: COUNT,
                instance: None,
                window: true,
                xid: Some(xid),
            }
            .write(out, &Value::Whole(count.into()));
        }
        if !counted {
            Row {
                reading,
                style,
                name: COUNT,
                instance: None,
                window: true,
                xid: None,
            }
            .write(out, &Value::Whole(0));
        }
    }
}

fn instance_value(field: &Field, value: Value, instance: u8) -> Value {
    match value {
        Value::Whole(whole) if field.per_instance => {
            Value::Whole(whole / (1 + u64::from(instance)))
        }
        Value::Double(double) if field.per_instance => {
            Value::Double(double / (1 + u64::from(instance)))
        }
        other => other,
    }
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn head(out: &mut Vec<u8>, name: &str, help: &str, kind: &str) {
    for part in [
        "# HELP ",
        name,
        " ",
        help,
        "\n# TYPE ",
        name,
        " ",
        kind,
        "\n",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

struct Row<'a> {
    reading: &'a Reading,
    style: Style,
    name: &'static str,
    instance: Option<(&'static str, u8)>,
    /// The row counts over a window.
    window: bool,
    xid: Option<u16>,
}

impl Row<'_> {
    fn write(&self, out: &mut Vec<u8>, value: &Value) {
        let gpu = &self.reading.gpu;
        let old_namespace = self.style.labels == Labels::OldNamespace;
        let slot = ["0", "1", "2", "3", "4", "5", "6", "7"][gpu.slot as usize % 8];
        put(
            out,
            &[
                self.name,
                "{gpu=\"",
                slot,
                if old_namespace {
                    "\",uuid=\""
                } else {
                    "\",UUID=\""
                },
            ],
        );
        gpu.write_uuid(out);
        put(
            out,
            &[
                "\",pci_bus_id=\"",
                gpu.pci_bus_id(),
                "\",device=\"nvidia",
                slot,
                "\",modelName=\"",
                gpu.sku.name,
            ],
        );
        if let Some((profile, id)) = self.instance {
            let id = if id == 1 { "1" } else { "2" };
            put(out, &["\",GPU_I_PROFILE=\"", profile, "\",GPU_I_ID=\"", id]);
        }
        put(
            out,
            &[if self.style.labels == Labels::Hostname {
                "\",hostname=\""
            } else {
                "\",Hostname=\""
            }],
        );
        gpu.write_hostname(out);
        let new = self.style.names == Names::New;
        let (serial, driver) = if new {
            (
                "\",DCGM_FI_DEV_BOARD_SERIAL=\"",
                "\",DCGM_FI_SYSTEM_DRIVER_VERSION=\"",
            )
        } else {
            ("\",DCGM_FI_DEV_SERIAL=\"", "\",DCGM_FI_DRIVER_VERSION=\"")
        };
        out.extend_from_slice(serial.as_bytes());
        gpu.write_serial(out);
        put(
            out,
            &[
                "\",DCGM_FI_DEV_VBIOS_VERSION=\"",
                gpu.sku.vbios,
                driver,
                gpu.driver_version(),
            ],
        );
        if self.window {
            put(
                out,
                &[
                    "\",window_size_in_ms=\"",
                    itoa::Buffer::new().format(XID_WINDOW_MS),
                ],
            );
            if let Some(xid) = self.xid {
                put(out, &["\",xid=\"", itoa::Buffer::new().format(xid)]);
            }
        }
        self.write_attributes(old_namespace, out);
        out.extend_from_slice(b"\"} ");
        write_value(out, value);
        out.push(b'\n');
    }

    fn write_attributes(&self, old_namespace: bool, out: &mut Vec<u8>) {
        let names = if old_namespace {
            [
                "\",container_name=\"",
                "\",pod_namespace=\"",
                "\",pod_name=\"",
            ]
        } else {
            ["\",container=\"", "\",namespace=\"", "\",pod=\""]
        };
        let job = self
            .reading
            .job
            .map(|job| (job, Job::NAMESPACES[usize::from(job.namespace)]));
        out.extend_from_slice(names[0].as_bytes());
        if let Some((_, (_, _, container))) = job {
            out.extend_from_slice(container.as_bytes());
        }
        if let (Some(xid), false) = (self.xid, self.window) {
            out.extend_from_slice(b"\",err_code=\"");
            out.extend_from_slice(itoa::Buffer::new().format(xid).as_bytes());
            out.extend_from_slice(b"\",err_msg=\"");
            out.extend_from_slice(xid_text(xid).as_bytes());
        }
        if let Some((job, _)) = job {
            out.extend_from_slice(b"\",hpc_job=\"");
            write_digits(out, u64::from(job.id), 7);
        }
        out.extend_from_slice(names[1].as_bytes());
        if let Some((_, (namespace, _, _))) = job {
            out.extend_from_slice(namespace.as_bytes());
        }
        out.extend_from_slice(names[2].as_bytes());
        if let Some((job, (_, pod, _))) = job {
            out.extend_from_slice(pod.as_bytes());
            out.push(b'-');
            write_digits(out, u64::from(job.id), 7);
            out.push(b'-');
            write_digits(out, u64::from(self.reading.gpu.slot), 1);
        }
    }
}

fn link_row(out: &mut Vec<u8>, name: &str, reading: &Reading, style: Style, link: u8, value: u64) {
    let gpu = &reading.gpu;
    let mut number = itoa::Buffer::new();
    let link = number.format(link);
    let mut slot = itoa::Buffer::new();
    let slot = slot.format(gpu.slot);
    put(
        out,
        &[
            name,
            "{nvlink=\"",
            link,
            "\",gpu=\"",
            slot,
            "\",gpu_uuid=\"",
        ],
    );
    gpu.write_uuid(out);
    let hostname = if style.labels == Labels::Hostname {
        "\",hostname=\""
    } else {
        "\",Hostname=\""
    };
    put(
        out,
        &[
            "\",pci_bus_id=\"",
            gpu.pci_bus_id(),
            "\",device=\"nvidia",
            slot,
            "\",model_name=\"",
            gpu.sku.name,
            hostname,
        ],
    );
    gpu.write_hostname(out);
    out.extend_from_slice(b"\"} ");
    write_value(out, &Value::Whole(value));
    out.push(b'\n');
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match *value {
        Value::Whole(whole) => out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes()),
        Value::Signed(signed) => {
            out.extend_from_slice(itoa::Buffer::new().format(signed).as_bytes());
        }
        Value::Double(millionths) => decimal(out, millionths, 6),
        Value::BlankDouble => {
            out.extend_from_slice(itoa::Buffer::new().format(FP64_BLANK).as_bytes());
            out.extend_from_slice(b".000000");
        }
        Value::Absent => {}
    }
}

/// dcgm-exporter's text for the Xids that the simulator injects.
fn xid_text(xid: u16) -> &'static str {
    match xid {
        0 => "No Error",
        31 => "GPU memory page fault",
        43 => "GPU stopped processing",
        48 => "Double Bit ECC Error",
        63 => "ECC page retirement or row remapping recording event",
        64 => "ECC page retirement or row remapper recording failure",
        74 => "NVLINK Error",
        79 => "GPU has fallen off the bus",
        92 => "High single-bit ECC error rate",
        94 => "Contained ECC error",
        95 => "Uncontained ECC error",
        119 => "GSP RPC timeout",
        _ => "Unknown Error",
    }
}

#[cfg(test)]
mod tests;
