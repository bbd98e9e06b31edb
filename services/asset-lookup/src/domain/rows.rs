//! Many assets at once: all of them, or every row that is wrong.

use super::draft::{Draft, FieldError};
use schema::Asset;
use serde::Serialize;
use std::collections::BTreeMap;

/// The most bad rows that are told one by one; the rest is counted.
pub const MAX_TOLD: usize = 100;

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowError {
    /// The line of the document on which the row begins, from 1.
    pub line: u64,
    /// The field to blame, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// Why nothing is imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The document itself can't be read.
    Malformed(RowError),
    /// It has more rows than are taken at once.
    TooManyRows {
        /// How many are.
        limit: usize,
    },
    /// These rows are wrong.
    BadRows {
        /// The first [`MAX_TOLD`] errors.
        told: Vec<RowError>,
        /// How many errors there are in all.
        total: usize,
    },
}

/// Collects rows.
#[derive(Debug)]
pub struct Rows {
    limit: usize,
    /// By GPU, with the line of its row: sorted, so that transactions lock rows in one order.
    assets: BTreeMap<String, (u64, Asset)>,
    begun: usize,
    told: Vec<RowError>,
    total: usize,
}

impl Rows {
    /// None yet; at most `limit`.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            assets: BTreeMap::new(),
            begun: 0,
            told: Vec::new(),
            total: 0,
        }
    }

    /// Begins a row.
    pub const fn begin(&mut self) -> Result<(), Refused> {
        if self.begun == self.limit {
            return Err(Refused::TooManyRows { limit: self.limit });
        }
        self.begun += 1;
        Ok(())
    }

    /// Takes the row on `line`.
    pub fn take(&mut self, line: u64, draft: Draft) {
        if let Some((first, _)) = draft.gpu_uuid().and_then(|uuid| self.assets.get(uuid)) {
            let reason = format!("is on line {first} too");
            self.refuse(line, Some("gpu_uuid".to_owned()), reason);
            return;
        }
        match draft.finish() {
            Ok(asset) => {
                self.assets.insert(asset.gpu_uuid.clone(), (line, asset));
            }
            Err(errors) => {
                for FieldError { field, reason } in errors {
                    self.refuse(line, Some(field), reason);
                }
            }
        }
    }

    /// Notes that something about the row on `line` is wrong.
    pub fn refuse(&mut self, line: u64, field: Option<String>, reason: impl Into<String>) {
        self.total += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push(RowError {
                line,
                field,
                reason: reason.into(),
            });
        }
    }

    /// All assets in the order of their UUIDs, or what is wrong.
    pub fn finish(self) -> Result<Vec<Asset>, Refused> {
        if self.total > 0 {
            return Err(Refused::BadRows {
                told: self.told,
                total: self.total,
            });
        }
        Ok(self.assets.into_values().map(|(_, asset)| asset).collect())
    }
}

/// Tells the lines of ascending places in a document, reading it once.
#[derive(Debug)]
pub struct Lines<'a> {
    document: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    /// At the start of `document`.
    pub const fn new(document: &'a [u8]) -> Self {
        Self {
            document,
            at: 0,
            line: 1,
        }
    }

    /// The line, from 1, of the byte at `place`, which is not before the last one asked for.
    pub fn of(&mut self, place: usize) -> u64 {
        let passed = self.document.get(self.at..place).unwrap_or_default();
        self.line += passed
            .iter()
            .map(|byte| u64::from(*byte == b'\n'))
            .sum::<u64>();
        self.at = place.max(self.at);
        self.line
    }
}

/// A document that can't be read, at `line`.
pub fn malformed(line: u64, reason: impl Into<String>) -> Refused {
    Refused::Malformed(RowError {
        line,
        field: None,
        reason: reason.into(),
    })
}
