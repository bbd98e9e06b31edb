//! Puts the rows of each GPU together.
//!
//! The result does not depend on the order of the rows. Where several rows give one value, the largest counts: they are
//! repeats (one row for each pod of a shared GPU, or one under the old and one under the new name).
//!
//! **MIG.** Rows with `GPU_I_ID` are an instance's. They share the GPU's UUID, and they never become readings of their
//! own: the key of a record is the GPU. The GPU's own rows win. Where it has none (dcgm-exporter shows only the
//! instances of a GPU in MIG mode), device values are taken from any instance, frame buffers are added, and activity
//! is weighted by the instance's share of the GPU's slices.
//!
//! **NVLink.** A total wins; else the links' counters are added. Rows of `NVSwitches` and CPUs are not about GPUs.

use crate::domain::exposition::{Sample, Summary, read};
use crate::domain::fields::{Destination, FIELDS, MAX_LINKS, Named, Scope, named};
use crate::domain::reading::{GpuReading, Runner};
use schema::{METRIC_COUNT, metric_index};
use std::collections::{BTreeMap, BTreeSet};

/// NVLink states (`NVML_NVLINK_STATE_*`): active, and asleep to save power; 0 is inactive.
const LINK_WORKS: std::ops::RangeInclusive<f64> = 1.0..=2.0;
/// Slices of a GPU that MIG shares out; an A30 has four.
const SLICES: f64 = 7.0;
const SLICES_A30: f64 = 4.0;
/// The most GPUs that a host may show: a bound for memory, far above any machine.
const MAX_GPUS: usize = 256;

/// What a scrape says.
#[derive(Clone, Debug, PartialEq)]
pub struct Scraped {
    /// The GPUs, by index and UUID.
    pub readings: Vec<GpuReading>,
    /// How the text was read.
    pub summary: Summary,
    /// Rows of fields of GPUs that name no GPU.
    pub without_gpu: usize,
}

/// Reads an exporter's answer.
pub fn scrape(text: &str) -> Scraped {
    let mut join = Join::default();
    let summary = read(text, named, |named, sample| join.row(named, sample));
    let without_gpu = join.without_gpu;
    let mut readings: Vec<_> = join.gpus.into_iter().filter_map(Rows::finish).collect();
    readings.sort_by(|a, b| (a.device_index, &a.uuid).cmp(&(b.device_index, &b.uuid)));
    Scraped {
        readings,
        summary,
        without_gpu,
    }
}

#[derive(Debug, Default)]
struct Join {
    gpus: Vec<Rows>,
    last: usize,
    without_gpu: usize,
}

/// The labels that matter, of one row.
#[derive(Debug, Default)]
struct RowLabels<'s> {
    uuid: Option<&'s str>,
    index: Option<&'s str>,
    pci_bus_id: Option<&'s str>,
    model: Option<&'s str>,
    serial: Option<&'s str>,
    driver_version: Option<&'s str>,
    vbios: Option<&'s str>,
    hostname: Option<&'s str>,
    namespace: Option<&'s str>,
    pod: Option<&'s str>,
    container: Option<&'s str>,
    job_id: Option<&'s str>,
    instance: Option<&'s str>,
    profile: Option<&'s str>,
    link: Option<&'s str>,
    xid: Option<&'s str>,
    not_a_gpu: bool,
}

impl<'s> RowLabels<'s> {
    fn of(sample: &'s Sample<'_, '_>) -> Self {
        let mut found = Self::default();
        for (name, value) in sample.labels {
            // `<<<NULL>>>`, `<<<NOT_SUPPORTED>>>`: DCGM's blanks among strings.
            if value.is_empty() || value.starts_with("<<<") {
                continue;
            }
            let place = match *name {
                "UUID" | "uuid" | "gpu_uuid" => &mut found.uuid,
                "gpu" => &mut found.index,
                "pci_bus_id" => &mut found.pci_bus_id,
                "modelName" | "model_name" => &mut found.model,
                "DCGM_FI_DEV_SERIAL" | "DCGM_FI_DEV_BOARD_SERIAL" => &mut found.serial,
                "DCGM_FI_DRIVER_VERSION" | "DCGM_FI_SYSTEM_DRIVER_VERSION" => {
                    &mut found.driver_version
                }
                "DCGM_FI_DEV_VBIOS_VERSION" => &mut found.vbios,
                "hostname" | "Hostname" => &mut found.hostname,
                "namespace" | "pod_namespace" => &mut found.namespace,
                "pod" | "pod_name" => &mut found.pod,
                "container" | "container_name" => &mut found.container,
                "hpc_job" => &mut found.job_id,
                "GPU_I_ID" => &mut found.instance,
                "GPU_I_PROFILE" => &mut found.profile,
                "nvlink" => &mut found.link,
                "xid" => &mut found.xid,
                "nvswitch" | "cpu" | "cpucore" => {
                    found.not_a_gpu = true;
                    continue;
                }
                _ => continue,
            };
            *place = Some(value);
        }
        found
    }

    fn runner(&self) -> Option<Runner> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        (self.pod.is_some() || self.namespace.is_some() || self.job_id.is_some()).then(|| Runner {
            namespace: owned(self.namespace),
            pod: owned(self.pod),
            container: owned(self.container),
            job_id: owned(self.job_id),
        })
    }

    fn runs_as(&self, runner: &Runner) -> bool {
        self.namespace == runner.namespace.as_deref()
            && self.pod == runner.pod.as_deref()
            && self.container == runner.container.as_deref()
            && self.job_id == runner.job_id.as_deref()
    }
}

#[derive(Debug, Default)]
struct Identity {
    index: Option<u32>,
    pci_bus_id: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    driver_version: Option<String>,
    vbios: Option<String>,
    hostname: Option<String>,
}

/// The rows of one GPU so far.
#[derive(Debug)]
struct Rows {
    uuid: String,
    identity: Identity,
    own_runner: Option<Runner>,
    instance_runner: Option<Runner>,
    own: [Option<f64>; METRIC_COUNT],
    banks: [Option<f64>; 5],
    fb_used_pct: Option<f64>,
    /// By index of the field and the instance's id: its share of the slices, and the value.
    instances: BTreeMap<(usize, String), (Option<f64>, f64)>,
    links: BTreeMap<(usize, u8), f64>,
    link_states: BTreeMap<u8, f64>,
    xid_counts: BTreeMap<u32, f64>,
    blank: BTreeSet<&'static str>,
    exporter_time_ms: Option<i64>,
}

impl Join {
    fn row(&mut self, named: Named, sample: &Sample<'_, '_>) {
        let labels = RowLabels::of(sample);
        if labels.not_a_gpu {
            return;
        }
        let Some(uuid) = labels.uuid else {
            self.without_gpu += 1;
            return;
        };
        if self.gpus.get(self.last).is_none_or(|gpu| gpu.uuid != uuid) {
            match self.gpus.iter().position(|gpu| gpu.uuid == uuid) {
                Some(at) => self.last = at,
                None if self.gpus.len() < MAX_GPUS => {
                    self.last = self.gpus.len();
                    self.gpus.push(Rows::new(uuid));
                }
                None => {
                    self.without_gpu += 1;
                    return;
                }
            }
        }
        self.gpus[self.last].add(named, sample, &labels);
    }
}

impl Rows {
    fn new(uuid: &str) -> Self {
        Self {
            uuid: uuid.to_owned(),
            identity: Identity::default(),
            own_runner: None,
            instance_runner: None,
            own: [None; METRIC_COUNT],
            banks: [None; 5],
            fb_used_pct: None,
            instances: BTreeMap::new(),
            links: BTreeMap::new(),
            link_states: BTreeMap::new(),
            xid_counts: BTreeMap::new(),
            blank: BTreeSet::new(),
            exporter_time_ms: None,
        }
    }

    fn add(&mut self, named: Named, sample: &Sample<'_, '_>, labels: &RowLabels<'_>) {
        self.identify(labels);
        self.exporter_time_ms = self.exporter_time_ms.max(sample.timestamp_ms);
        let field = named.field;
        let Some(value) = field.convert(sample.value) else {
            self.blank.insert(field.reported_name());
            return;
        };
        let link = named.link.or_else(|| {
            let link = labels.link?.parse().ok()?;
            (link < MAX_LINKS).then_some(link)
        });
        match (field.destination, link) {
            (Destination::LinkState, Some(link)) => {
                keep_larger(self.link_states.entry(link).or_insert(value), value);
            }
            (Destination::LinkState, None) => {}
            (Destination::Metric(metric), Some(link)) => {
                keep_larger(self.links.entry((metric, link)).or_insert(value), value);
            }
            (Destination::XidCount, _) => {
                if let Some(xid) = labels.xid.and_then(|xid| xid.parse().ok()) {
                    keep_larger(self.xid_counts.entry(xid).or_insert(value), value);
                }
            }
            (destination, _) => {
                if let Some(instance) = labels.instance {
                    let share = labels
                        .profile
                        .and_then(slices)
                        .map(|slices| slices / self.all_slices());
                    let kept = self
                        .instances
                        .entry((field.index, instance.to_owned()))
                        .or_insert((share, value));
                    kept.0 = larger(kept.0, share);
                    keep_larger(&mut kept.1, value);
                } else {
                    let place = match destination {
                        Destination::Metric(metric) => &mut self.own[metric],
                        Destination::Bank(at) => &mut self.banks[at],
                        _ => &mut self.fb_used_pct,
                    };
                    *place = larger(*place, Some(value));
                }
            }
        }
    }

    /// An A30 has four slices, every other GPU with MIG seven.
    fn all_slices(&self) -> f64 {
        let a30 = self
            .identity
            .model
            .as_ref()
            .is_some_and(|model| model.contains("A30"));
        if a30 { SLICES_A30 } else { SLICES }
    }

    fn identify(&mut self, labels: &RowLabels<'_>) {
        let identity = &mut self.identity;
        if let Some(index) = labels.index.and_then(|index| index.parse().ok()) {
            identity.index = Some(identity.index.map_or(index, |known| known.min(index)));
        }
        for (place, text) in [
            (&mut identity.pci_bus_id, labels.pci_bus_id),
            (&mut identity.model, labels.model),
            (&mut identity.serial, labels.serial),
            (&mut identity.driver_version, labels.driver_version),
            (&mut identity.vbios, labels.vbios),
            (&mut identity.hostname, labels.hostname),
        ] {
            keep_smaller(place, text);
        }
        let runner = if labels.instance.is_some() {
            &mut self.instance_runner
        } else {
            &mut self.own_runner
        };
        if runner.as_ref().is_none_or(|known| !labels.runs_as(known))
            && let Some(candidate) = labels.runner()
            && runner.as_ref().is_none_or(|known| candidate < *known)
        {
            *runner = Some(candidate);
        }
    }

    fn finish(mut self) -> Option<GpuReading> {
        let mut values = self.own;
        let mut summed: BTreeMap<usize, f64> = BTreeMap::new();
        for ((metric, _), value) in &self.links {
            *summed.entry(*metric).or_default() += value;
        }
        for (metric, sum) in summed {
            values[metric].get_or_insert(sum);
        }
        self.fold_instances(&mut values);
        if let Some(place) =
            metric_index("nvlink_links_up").filter(|_| !self.link_states.is_empty())
        {
            let works = self
                .link_states
                .values()
                .filter(|state| LINK_WORKS.contains(*state))
                .count();
            values[place] = Some(works as f64);
        }
        // Boards without the sensor answer 0; memory in use is never that cold.
        if let Some(place) =
            metric_index("memory_temp_c").filter(|place| values[*place] == Some(0.0))
        {
            values[place] = None;
        }
        self.fill_utilization(&mut values);
        let banks = self.banks;
        self.blank.retain(|name| match *name {
            "bank_remap_avail" => banks.contains(&None),
            other => metric_index(other).is_some_and(|metric| values[metric].is_none()),
        });
        let known = values.iter().any(Option::is_some) || banks.iter().any(Option::is_some);
        (known || !self.blank.is_empty()).then(|| GpuReading {
            uuid: self.uuid,
            device_index: self.identity.index,
            pci_bus_id: self.identity.pci_bus_id,
            model: self.identity.model,
            serial: self.identity.serial,
            driver_version: self.identity.driver_version,
            vbios: self.identity.vbios,
            hostname: self.identity.hostname,
            runner: self.own_runner.or(self.instance_runner),
            values,
            banks,
            xid_counts: self
                .xid_counts
                .into_iter()
                .filter(|(_, count)| *count > 0.0)
                .collect(),
            blank: self.blank,
            exporter_time_ms: self.exporter_time_ms,
        })
    }

    /// Fills what the GPU's own rows left open from those of its MIG instances.
    fn fold_instances(&mut self, values: &mut [Option<f64>; METRIC_COUNT]) {
        let mut folded: BTreeMap<usize, Option<f64>> = BTreeMap::new();
        for ((field, _), (share, value)) in &self.instances {
            let so_far = folded.get(field).copied();
            let next = match (FIELDS[*field].scope, so_far) {
                (Scope::Device, so_far) => larger(so_far.flatten(), Some(*value)),
                (Scope::Sum, so_far) => Some(so_far.flatten().unwrap_or(0.0) + value),
                // One instance of unknown size makes the whole unknown.
                (Scope::Slices, Some(None)) => None,
                (Scope::Slices, so_far) => {
                    share.map(|share| so_far.flatten().unwrap_or(0.0) + share * value)
                }
            };
            folded.insert(*field, next);
        }
        for (field, value) in folded {
            let def = &FIELDS[field];
            let value = match def.scope {
                Scope::Slices => value.map(|value| (value * 1e4).round() / 1e4),
                Scope::Device | Scope::Sum => value,
            };
            let place = match (metric_index(def.to), def.to.strip_prefix("@bank")) {
                (Some(metric), _) => &mut values[metric],
                (None, Some(bank)) => match bank
                    .parse::<usize>()
                    .ok()
                    .and_then(|at| self.banks.get_mut(at))
                {
                    Some(place) => place,
                    None => continue,
                },
                (None, None) => &mut self.fb_used_pct,
            };
            *place = place.or(value);
        }
    }

    /// The share of the frame buffer in use: of all of it, else of used and free, else as the exporter says; in percent
    /// with two decimals.
    fn fill_utilization(&self, values: &mut [Option<f64>; METRIC_COUNT]) {
        let get = |name: &str| metric_index(name).and_then(|metric| values[metric]);
        let used = get("fb_used_mib");
        let all = get("fb_total_mib").or_else(|| Some(used? + get("fb_free_mib")?));
        let share = match (used, all) {
            (Some(used), Some(all)) if all > 0.0 => Some((used * 10_000.0 / all).round() / 100.0),
            _ => self.fb_used_pct,
        };
        if let Some(place) = metric_index("utilization_pct") {
            values[place] = share;
        }
    }
}

/// The slices of a MIG profile: 3 of `3g.40gb` and of `1c.3g.40gb+me`.
fn slices(profile: &str) -> Option<f64> {
    profile
        .split('.')
        .find_map(|part| part.strip_suffix('g'))
        .and_then(|slices| slices.parse::<u8>().ok())
        .map(f64::from)
}

fn keep_larger(place: &mut f64, value: f64) {
    if value > *place {
        *place = value;
    }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

/// Of several texts the first in order, so that the order of rows does not matter.
fn keep_smaller(place: &mut Option<String>, text: Option<&str>) {
    if let Some(text) = text
        && place.as_deref().is_none_or(|known| text < known)
    {
        *place = Some(text.to_owned());
    }
}

#[cfg(test)]
mod tests;
