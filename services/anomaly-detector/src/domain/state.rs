//! What is kept of one GPU between readings: a few hundred bytes.

use super::counter::Counter;
use super::incident::Incidents;
use super::place::Place;
use super::recent::Recent;
use super::rules::absence::Presence;
use super::rules::baseline::Baseline;
use super::rules::ecc::EccState;
use super::rules::nvlink::NvlinkState;
use super::rules::pcie::PcieState;
use super::rules::prediction::PredictionState;
use super::rules::throttling::ThrottlingState;
use super::rules::xid::XidState;
use serde::{Deserialize, Serialize};

/// The layout of [`GpuState`] and [`super::rules::absence::Clock`] in the changelog.
pub const LAYOUT_VERSION: u8 = 1;

/// One GPU. Each part belongs to the file that defines it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuState {
    /// Event time of its last reading in milliseconds since the epoch; none before the first.
    pub last_event_ms: Option<i64>,
    /// Event time of the last reading that showed that the driver was loaded again or the GPU reset.
    pub last_reset_ms: Option<i64>,
    /// When it was last heard of.
    pub presence: Presence,
    /// Where it is.
    pub place: Place,
    /// The latest values of what alerts show.
    pub recent: Recent,
    /// Energy since the driver was loaded: always rises, so that its fall shows a reset that nothing else does.
    pub energy: Counter,
    /// Memory errors.
    pub ecc: EccState,
    /// Xids.
    pub xid: XidState,
    /// Temperature by power.
    pub baseline: Baseline,
    /// Throttled time.
    pub throttling: ThrottlingState,
    /// PCIe.
    pub pcie: PcieState,
    /// NVLink.
    pub nvlink: NvlinkState,
    /// Lead indicators.
    pub prediction: PredictionState,
    /// Alerts.
    pub incidents: Incidents,
}
