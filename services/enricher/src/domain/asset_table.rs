//! The asset table in memory: what is spliced into a GPU's records, rendered once for each change.

use super::warranty::Day;
use rustc_hash::FxHashMap;
use schema::{Asset, AssetBlock, Text};
use std::fmt;

/// What the table has under a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAsset {
    /// `"asset_status":"known","asset":{…,"warranty_status":"`: the status's name and `"}` are missing, since the status
    /// depends on the day of the reading.
    pub members: Box<[u8]>,
    /// The last day of warranty, where the inventory gives one.
    pub warranty_last_day: Option<Day>,
    table_partition: i32,
}

/// Assets by GPU UUID.
#[derive(Debug, Default)]
pub struct AssetTable {
    /// One map for all partitions of the table: a key stands in one of them, and a lookup needs no partition.
    assets: FxHashMap<Box<[u8]>, KnownAsset>,
}

/// What a record of the table topic did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The asset is set.
    Set,
    /// It is deleted.
    Deleted,
    /// The record can't be read. Its GPU is unknown from here on: only the key's last record decides, as it does after
    /// a compaction.
    Unreadable(Unreadable),
}

/// Why a record of the table topic can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AssetTable {
    /// The asset of the GPU `key`.
    pub fn get(&self, key: &[u8]) -> Option<&KnownAsset> {
        self.assets.get(key)
    }

    /// Applies one record of the table topic.
    pub fn apply(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Change {
        let Some(key) = key else {
            return Change::Unreadable(Unreadable("an asset without a key".to_owned()));
        };
        let Some(value) = value else {
            self.assets.remove(key);
            return Change::Deleted;
        };
        match render(partition, value) {
            Ok(asset) => {
                self.assets.insert(key.into(), asset);
                Change::Set
            }
            Err(error) => {
                self.assets.remove(key);
                Change::Unreadable(Unreadable(error.to_string()))
            }
        }
    }

    /// Drops what came from `partition`.
    pub fn forget(&mut self, partition: i32) {
        self.assets
            .retain(|_, asset| asset.table_partition != partition);
    }

    /// How many assets are known.
    pub fn len(&self) -> usize {
        self.assets.len()
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.assets.is_empty()
    }
}

fn render(table_partition: i32, value: &[u8]) -> Result<KnownAsset, serde_json::Error> {
    let asset: Asset = serde_json::from_slice(value)?;
    let text = |field: &Option<String>| field.clone().map(Text::from);
    let block = AssetBlock {
        model: Some(Text::from(asset.model.as_str())),
        rack_id: text(&asset.rack_id),
        cluster_id: text(&asset.cluster_id),
        datacenter: text(&asset.datacenter),
        region: text(&asset.region),
        purchase_date: text(&asset.purchase_date),
        warranty_expiry: text(&asset.warranty_expiry),
        // Written by the splice, with the day of the reading.
        warranty_status: None,
        sla_tier: Some(asset.sla_tier),
        priority: Some(asset.priority),
    };
    let mut members = br#""asset_status":"known","asset":"#.to_vec();
    serde_json::to_writer(&mut members, &block)?;
    // Opens the object again; it is not empty, since it has a model.
    members.pop();
    members.extend_from_slice(br#","warranty_status":""#);
    Ok(KnownAsset {
        members: members.into_boxed_slice(),
        warranty_last_day: asset.warranty_expiry.as_deref().and_then(Day::parse),
        table_partition,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(rack: &str) -> Vec<u8> {
        serde_json::to_vec(&Asset {
            gpu_uuid: "GPU-1".to_owned(),
            model: "NVIDIA H100 80GB HBM3".to_owned(),
            rack_id: Some(rack.to_owned()),
            warranty_expiry: Some("2026-06-30".to_owned()),
            priority: 3,
            ..Asset::default()
        })
        .unwrap()
    }

    #[test]
    fn the_last_record_of_a_key_decides() {
        let mut table = AssetTable::default();
        assert!(table.is_empty());
        assert_eq!(
            table.apply(3, Some(b"GPU-1"), Some(&asset("r1"))),
            Change::Set
        );
        assert_eq!(
            table.apply(3, Some(b"GPU-1"), Some(&asset("r2"))),
            Change::Set
        );
        let known = table.get(b"GPU-1").unwrap();
        assert_eq!(
            std::str::from_utf8(&known.members).unwrap(),
            r#""asset_status":"known","asset":{"model":"NVIDIA H100 80GB HBM3","rack_id":"r2","warranty_expiry":"2026-06-30","sla_tier":"development","priority":3,"warranty_status":""#
        );
        assert_eq!(known.warranty_last_day, Day::parse("2026-06-30"));
        assert_eq!(table.apply(3, Some(b"GPU-1"), None), Change::Deleted);
        assert_eq!(table.get(b"GPU-1"), None);
    }

    #[test]
    fn an_asset_that_cannot_be_read_makes_its_gpu_unknown_whatever_stood_there_before() {
        let mut table = AssetTable::default();
        table.apply(3, Some(b"GPU-1"), Some(&asset("r1")));
        for bad in [&b"{"[..], b"[]", b"{\"model\":1}", b"\xff"] {
            assert!(matches!(
                table.apply(3, Some(b"GPU-1"), Some(bad)),
                Change::Unreadable(_)
            ));
            assert_eq!(table.get(b"GPU-1"), None);
        }
        assert!(matches!(
            table.apply(3, None, Some(&asset("r1"))),
            Change::Unreadable(_)
        ));
    }

    #[test]
    fn a_warranty_date_that_is_none_leaves_the_asset_known() {
        let mut table = AssetTable::default();
        let value = String::from_utf8(asset("r1"))
            .unwrap()
            .replace("2026-06-30", "soon");
        assert_eq!(
            table.apply(0, Some(b"GPU-1"), Some(value.as_bytes())),
            Change::Set
        );
        assert_eq!(table.get(b"GPU-1").unwrap().warranty_last_day, None);
    }

    #[test]
    fn forgetting_a_partition_keeps_the_others() {
        let mut table = AssetTable::default();
        table.apply(3, Some(b"GPU-1"), Some(&asset("r1")));
        table.apply(4, Some(b"GPU-2"), Some(&asset("r1")));
        table.forget(3);
        assert!(table.get(b"GPU-1").is_none() && table.get(b"GPU-2").is_some());
        assert_eq!(table.len(), 1);
    }
}
