//! An asset that is being put together from fields.

use super::field::{Content, Field};
use schema::{Asset, SlaTier};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FieldError {
    /// Its name.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

impl FieldError {
    /// `field` won't do because of `reason`.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// Fields read so far, and everything that is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    contents: BTreeMap<Field, Content>,
    errors: Vec<FieldError>,
}

impl Draft {
    /// Takes a field as it was read.
    pub fn set(&mut self, field: Field, read: Result<Option<Content>, String>) {
        match read {
            Ok(Some(content)) => {
                self.contents.insert(field, content);
            }
            Ok(None) => {}
            Err(reason) => self.errors.push(FieldError::new(field.name(), reason)),
        }
    }

    /// Notes that the field called `name` won't do.
    pub fn refuse(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.errors.push(FieldError::new(name, reason));
    }

    /// Reads the members of a JSON object. What is no field of an asset is refused by name.
    pub fn of_object(members: serde_json::Map<String, serde_json::Value>) -> Self {
        let mut draft = Self::default();
        for (name, value) in members {
            match Field::named(&name) {
                Some(field) => draft.set(field, field.of_json(value)),
                None => draft.refuse(name, "is no field of an asset"),
            }
        }
        draft
    }

    /// The GPU, where its UUID is one.
    pub fn gpu_uuid(&self) -> Option<&str> {
        match self.contents.get(&Field::GpuUuid) {
            Some(Content::Text(uuid)) => Some(uuid),
            _ => None,
        }
    }

    /// The asset, or everything that is wrong with it.
    pub fn finish(mut self) -> Result<Asset, Vec<FieldError>> {
        for field in Field::ALL {
            if field.is_required()
                && !self.contents.contains_key(&field)
                && !self.errors.iter().any(|error| error.field == field.name())
            {
                self.refuse(field.name(), "is required");
            }
        }
        self.check_order_of_dates();
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        Ok(Asset {
            gpu_uuid: self.text(Field::GpuUuid).unwrap_or_default(),
            model: self.text(Field::Model).unwrap_or_default(),
            architecture: self.text(Field::Architecture),
            compute_capability: self.text(Field::ComputeCapability),
            memory_gb: self.integer(Field::MemoryGb),
            serial: self.text(Field::Serial),
            hostname: self.text(Field::Hostname),
            pci_bus_id: self.text(Field::PciBusId),
            rack_id: self.text(Field::RackId),
            cluster_id: self.text(Field::ClusterId),
            datacenter: self.text(Field::Datacenter),
            region: self.text(Field::Region),
            purchase_date: self.text(Field::PurchaseDate),
            deployment_date: self.text(Field::DeploymentDate),
            warranty_expiry: self.text(Field::WarrantyExpiry),
            expected_eol: self.text(Field::ExpectedEol),
            sla_tier: match self.text(Field::SlaTier).as_deref() {
                Some("production") => SlaTier::Production,
                Some("staging") => SlaTier::Staging,
                _ => SlaTier::Development,
            },
            priority: self.integer(Field::Priority).unwrap_or(DEFAULT_PRIORITY),
            tags: match self.contents.remove(&Field::Tags) {
                Some(Content::Tags(tags)) => tags,
                _ => BTreeMap::new(),
            },
            notes: self.text(Field::Notes),
        })
    }

    /// A GPU is bought before it is deployed, before its warranty ends and before its end of life.
    fn check_order_of_dates(&mut self) {
        let date = |field| match self.contents.get(&field) {
            Some(Content::Text(date)) => Some(date.clone()),
            _ => None,
        };
        let Some(purchase) = date(Field::PurchaseDate) else {
            return;
        };
        for field in [
            Field::DeploymentDate,
            Field::WarrantyExpiry,
            Field::ExpectedEol,
        ] {
            // Dates of one form compare as text.
            if let Some(later) = date(field)
                && later < purchase
            {
                self.errors.push(FieldError::new(
                    field.name(),
                    format!("{later} is before purchase_date {purchase}"),
                ));
            }
        }
    }

    fn text(&mut self, field: Field) -> Option<String> {
        match self.contents.remove(&field) {
            Some(Content::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn integer(&mut self, field: Field) -> Option<i32> {
        match self.contents.remove(&field) {
            Some(Content::Integer(number)) => Some(number),
            _ => None,
        }
    }
}

/// `priority` where none is given, as the schema and the database have it.
const DEFAULT_PRIORITY: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const UUID: &str = "GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11";

    fn read(value: Value) -> Result<Asset, Vec<FieldError>> {
        let Value::Object(members) = value else {
            panic!("no object")
        };
        Draft::of_object(members).finish()
    }

    #[test]
    fn the_least_asset_has_the_schemas_defaults() {
        let least = json!({"gpu_uuid": UUID, "model": "NVIDIA L4"});
        let expected: Asset = serde_json::from_value(least.clone()).unwrap();
        assert_eq!(read(least), Ok(expected));
    }

    #[test]
    fn a_full_asset_reads_back_from_its_own_json() {
        let json = json!({
            "gpu_uuid": UUID, "model": "NVIDIA H100 80GB HBM3", "architecture": "Hopper", "compute_capability": "9.0",
            "memory_gb": 80, "serial": "1654923008123", "hostname": "gpu-node-042", "pci_bus_id": "00000000:3B:00.0",
            "rack_id": "rack-12", "cluster_id": "production-cluster-1", "datacenter": "us-west-2a", "region": "us-west-2",
            "purchase_date": "2024-03-01", "deployment_date": "2024-04-15", "warranty_expiry": "2027-03-01",
            "expected_eol": "2029-04-15", "sla_tier": "production", "priority": 2, "tags": {"team": "vision"},
            "notes": "fan tray\nreplaced",
        });
        assert_eq!(
            serde_json::to_value(read(json.clone()).unwrap()).unwrap(),
            json
        );
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let errors =
            read(json!({"gpu_uuid": "GPU-1", "priority": 11, "rack": "r", "sla_tier": "gold"}))
                .unwrap_err();
        let mut fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            ["gpu_uuid", "model", "priority", "rack", "sla_tier"]
        );
    }

    #[test]
    fn dates_are_in_the_order_of_a_gpus_life() {
        let with = |deployed: &str, warranty: &str| {
            read(
                json!({"gpu_uuid": UUID, "model": "m", "purchase_date": "2024-03-01", "deployment_date": deployed, "warranty_expiry": warranty}),
            )
        };
        assert!(with("2024-03-01", "2024-03-01").is_ok());
        let errors = with("2024-02-29", "2023-03-01").unwrap_err();
        assert_eq!(
            errors,
            [
                FieldError::new(
                    "deployment_date",
                    "2024-02-29 is before purchase_date 2024-03-01"
                ),
                FieldError::new(
                    "warranty_expiry",
                    "2023-03-01 is before purchase_date 2024-03-01"
                ),
            ]
        );
    }
}
