//! Where each GPU stands and what it is called: functions of the seed and of its index alone.

use crate::random::Key;
use crate::sku::Sku;

/// GPUs of a host.
pub const GPUS_PER_HOST: u32 = 8;
/// Hosts of a rack.
pub const HOSTS_PER_RACK: u32 = 4;
/// Racks of a cluster (1,024 GPUs).
pub const RACKS_PER_CLUSTER: u32 = 32;
/// Clusters of a datacenter.
pub const CLUSTERS_PER_DATACENTER: u32 = 8;

/// Of 1,000 hosts, how many run whole-node jobs; on the others each GPU has jobs of its own.
const WHOLE_NODE_PER_MILLE: u32 = 700;

const LANE_UUID: u64 = 1;
const LANE_SERIAL: u64 = 2;
const LANE_MODEL: u64 = 3;
const LANE_DRIVER: u64 = 4;
const LANE_WHOLE_NODE: u64 = 5;

/// Which models the fleet has, with their weights. A rack holds one model.
#[derive(Clone, Debug)]
pub struct ModelMix(Vec<(&'static Sku, u32)>);

impl ModelMix {
    /// From pairs of model and weight; none when no weight is positive.
    pub fn new(weights: Vec<(&'static Sku, u32)>) -> Option<Self> {
        (weights
            .iter()
            .map(|(_, weight)| u64::from(*weight))
            .sum::<u64>()
            > 0
            && weights.iter().all(|(_, weight)| *weight <= 1_000_000))
        .then_some(Self(weights))
    }

    /// One model only.
    pub fn only(sku: &'static Sku) -> Self {
        Self(vec![(sku, 1)])
    }

    /// Reads `a100=35,h100=40` or `h100`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut weights = Vec::new();
        for part in text.split(',') {
            let (id, weight) = part.split_once('=').unwrap_or((part, "1"));
            let sku = Sku::by_id(id.trim()).ok_or_else(|| {
                let known: Vec<_> = crate::sku::SKUS.iter().map(|sku| sku.id).collect();
                format!("no model '{}'; there are {}", id.trim(), known.join(", "))
            })?;
            let weight = weight
                .trim()
                .parse()
                .map_err(|_| format!("'{weight}' is not a weight"))?;
            weights.push((sku, weight));
        }
        Self::new(weights)
            .ok_or_else(|| "the weights must be from 0 to 1,000,000, and one above 0".to_owned())
    }

    fn pick(&self, key: Key) -> &'static Sku {
        let total = self.0.iter().map(|(_, weight)| *weight).sum();
        let mut left = key.below(total);
        for (sku, weight) in &self.0 {
            if left < *weight {
                return sku;
            }
            left -= weight;
        }
        self.0[0].0
    }
}

impl Default for ModelMix {
    /// 35 % A100, 40 % H100, 15 % H200, 10 % B200.
    fn default() -> Self {
        Self(
            [("a100", 35), ("h100", 40), ("h200", 15), ("b200", 10)]
                .into_iter()
                .filter_map(|(id, weight)| Sku::by_id(id).map(|sku| (sku, weight)))
                .collect(),
        )
    }
}

/// One GPU's identity and place.
#[derive(Clone, Copy, Debug)]
pub struct GpuIdentity {
    /// Index in the fleet.
    pub index: u32,
    /// Index on its host.
    pub slot: u32,
    /// Number of its host.
    pub host: u32,
    /// Number of its rack.
    pub rack: u32,
    /// Number of its cluster.
    pub cluster: u32,
    /// Number of its datacenter.
    pub datacenter: u32,
    /// Its model.
    pub sku: &'static Sku,
    uuid: [u64; 2],
    serial: u64,
    driver: u32,
}

impl GpuIdentity {
    pub(crate) fn new(seed: Key, mix: &ModelMix, index: u32) -> Self {
        let host = index / GPUS_PER_HOST;
        let rack = host / HOSTS_PER_RACK;
        let cluster = rack / RACKS_PER_CLUSTER;
        let own = seed.with(u64::from(index));
        let uuid = own.with(LANE_UUID);
        Self {
            index,
            slot: index % GPUS_PER_HOST,
            host,
            rack,
            cluster,
            datacenter: cluster / CLUSTERS_PER_DATACENTER,
            sku: mix.pick(seed.with(LANE_MODEL).with(u64::from(rack))),
            uuid: [uuid.bits(), uuid.with(0).bits()],
            serial: own.with(LANE_SERIAL).bits() % 1_000_000_000_000,
            driver: seed.with(LANE_DRIVER).with(u64::from(host)).below(4),
        }
    }

    /// Appends NVIDIA's UUID (`GPU-` and 8-4-4-4-12 hexadecimal digits).
    pub fn write_uuid(&self, out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        const PLACES: [usize; 16] = [4, 6, 8, 10, 13, 15, 18, 20, 23, 25, 28, 30, 32, 34, 36, 38];
        let mut text = *b"GPU-00000000-0000-0000-0000-000000000000";
        let bytes = self.uuid.iter().flat_map(|word| word.to_be_bytes());
        for (place, byte) in PLACES.into_iter().zip(bytes) {
            text[place] = HEX[usize::from(byte >> 4)];
            text[place + 1] = HEX[usize::from(byte & 0xf)];
        }
        out.extend_from_slice(&text);
    }

    /// NVIDIA's UUID.
    pub fn uuid(&self) -> String {
        text(|out| self.write_uuid(out))
    }

    /// PCI bus id, laid out as on a board of eight SXM modules.
    pub fn pci_bus_id(&self) -> &'static str {
        const BUS: [&str; GPUS_PER_HOST as usize] = [
            "00000000:07:00.0",
            "00000000:0F:00.0",
            "00000000:47:00.0",
            "00000000:4E:00.0",
            "00000000:87:00.0",
            "00000000:90:00.0",
            "00000000:B7:00.0",
            "00000000:BD:00.0",
        ];
        BUS[self.slot as usize]
    }

    /// Driver version; hosts differ.
    pub fn driver_version(&self) -> &'static str {
        const VERSIONS: [&str; 4] = ["550.144.03", "570.86.15", "570.172.08", "580.65.06"];
        VERSIONS[self.driver as usize % VERSIONS.len()]
    }

    /// Appends the board's serial number (13 digits).
    pub fn write_serial(&self, out: &mut Vec<u8>) {
        out.push(b'1');
        write_digits(out, self.serial, 12);
    }

    /// The board's serial number.
    pub fn serial(&self) -> String {
        text(|out| self.write_serial(out))
    }

    /// Appends the host name.
    pub fn write_hostname(&self, out: &mut Vec<u8>) {
        write_hostname(self.host, out);
    }

    /// The host name.
    pub fn hostname(&self) -> String {
        text(|out| self.write_hostname(out))
    }

    /// Appends the rack's name.
    pub fn write_rack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"rack-");
        write_digits(out, u64::from(self.rack), 4);
    }

    /// The rack's name.
    pub fn rack_name(&self) -> String {
        text(|out| self.write_rack(out))
    }

    /// Appends the cluster's name.
    pub fn write_cluster(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"cluster-");
        write_digits(out, u64::from(self.cluster), 2);
    }

    /// The cluster's name.
    pub fn cluster_name(&self) -> String {
        text(|out| self.write_cluster(out))
    }

    /// Appends the datacenter's name.
    pub fn write_datacenter(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"dc-");
        write_digits(out, u64::from(self.datacenter), 2);
    }

    /// The datacenter's name.
    pub fn datacenter_name(&self) -> String {
        text(|out| self.write_datacenter(out))
    }

    /// The owner of the GPU's jobs: the host, or the GPU itself.
    pub(crate) fn job_owner(&self, seed: Key) -> JobOwner {
        let host = seed.with(LANE_WHOLE_NODE).with(u64::from(self.host));
        if host.below(1000) < WHOLE_NODE_PER_MILLE {
            JobOwner {
                key: host.with(0),
                whole_node: true,
            }
        } else {
            JobOwner {
                key: host.with(1 + u64::from(self.slot)),
                whole_node: false,
            }
        }
    }
}

/// Who shares a sequence of jobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobOwner {
    pub(crate) key: Key,
    pub(crate) whole_node: bool,
}

/// The name of host number `host`.
pub fn hostname(host: u32) -> String {
    text(|out| write_hostname(host, out))
}

fn write_hostname(host: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"gpu-node-");
    write_digits(out, u64::from(host), 5);
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(40);
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends `value` in decimal with at least `width` digits.
pub(crate) fn write_digits(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value).as_bytes();
    for _ in digits.len()..width {
        out.push(b'0');
    }
    out.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn identities_are_unique_well_formed_and_independent_of_the_fleets_size() {
        let mix = ModelMix::default();
        let seed = Key::new(1);
        let mut uuids = BTreeSet::new();
        for index in 0..10_000 {
            let gpu = GpuIdentity::new(seed, &mix, index);
            let uuid = gpu.uuid();
            assert_eq!(uuid.len(), 40);
            assert_eq!(
                uuid.match_indices('-')
                    .map(|(at, _)| at)
                    .collect::<Vec<_>>(),
                [3, 12, 17, 22, 27]
            );
            assert!(uuids.insert(uuid));
            assert_eq!(gpu.serial().len(), 13);
        }
        let gpu = GpuIdentity::new(seed, &mix, 1025);
        assert_eq!(gpu.hostname(), "gpu-node-00128");
        assert_eq!(
            (gpu.rack_name(), gpu.cluster_name(), gpu.datacenter_name()),
            (
                "rack-0032".to_owned(),
                "cluster-01".to_owned(),
                "dc-00".to_owned()
            )
        );
    }

    #[test]
    fn a_rack_holds_one_model_and_the_mix_is_met() {
        let mix = ModelMix::parse("h100=3, l40s=1").unwrap();
        let seed = Key::new(9);
        let mut h100 = 0_u32;
        for rack in 0..2_000 {
            let first = GpuIdentity::new(seed, &mix, rack * GPUS_PER_HOST * HOSTS_PER_RACK);
            let last =
                GpuIdentity::new(seed, &mix, (rack + 1) * GPUS_PER_HOST * HOSTS_PER_RACK - 1);
            assert_eq!(first.sku.id, last.sku.id);
            h100 += u32::from(first.sku.id == "h100");
        }
        assert!((1_400..1_600).contains(&h100), "{h100}");
        assert!(ModelMix::parse("h100=0").is_err());
        assert!(ModelMix::parse("voodoo2").is_err());
    }
}
