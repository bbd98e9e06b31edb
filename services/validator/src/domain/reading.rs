//! What the checks need to know of a record. Two readers find it out: [`super::scan`] and [`super::audit`].

use super::layout::Keep;
use std::borrow::Cow;

/// What the checks need to know of a record, besides its numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading<'a> {
    /// `timestamp`
    pub timestamp: Given<Cow<'a, str>>,
    /// `gpu.gpu_uuid`
    pub gpu_uuid: Given<Cow<'a, str>>,
    /// `gpu.name`
    pub model_name: Option<Cow<'a, str>>,
    /// `metrics` is there.
    pub metrics: Given<()>,
    /// `collector.sequence`
    pub sequence: Option<u64>,
    /// `collector.boot_id`
    pub boot_id: Option<Cow<'a, str>>,
}

/// A field that must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Given<T> {
    /// It is not there, or null.
    #[default]
    Absent,
    /// It is of another type, which was said already.
    Misfit,
    /// It is there.
    Value(T),
}

impl<T> Given<T> {
    /// The value, if it is there.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Misfit => None,
        }
    }
}

/// The known metrics of a record: index into [`schema::METRICS`] and value.
pub type Numbers = Vec<(u16, f64)>;

impl<'a> Reading<'a> {
    /// Keeps `text` as what `keep` says.
    pub fn keep(&mut self, keep: Keep, text: Cow<'a, str>) {
        match keep {
            Keep::Timestamp => self.timestamp = Given::Value(text),
            Keep::GpuUuid => self.gpu_uuid = Given::Value(text),
            Keep::ModelName => self.model_name = Some(text),
            Keep::BootId => self.boot_id = Some(text),
        }
    }
}
