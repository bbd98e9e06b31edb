//! What to do, in NVSentinel's terms, so that its remediation can take an alert as it is.

/// `RecommendedAction` of NVSentinel's health event (`data-models/protobufs/health_event.proto`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Nothing automatic.
    None,
    /// Reset the GPU.
    ComponentReset,
    /// Open a case with NVIDIA or the vendor.
    ContactSupport,
    /// Run NVIDIA's field diagnostic.
    RunFieldDiag,
    /// Restart the virtual machine or the node's software.
    RestartVm,
    /// Restart the bare-metal node.
    RestartBm,
    /// Run DCGM's extended utility diagnostic.
    RunDcgmEud,
}

impl Action {
    /// NVSentinel's name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::ComponentReset => "COMPONENT_RESET",
            Self::ContactSupport => "CONTACT_SUPPORT",
            Self::RunFieldDiag => "RUN_FIELDDIAG",
            Self::RestartVm => "RESTART_VM",
            Self::RestartBm => "RESTART_BM",
            Self::RunDcgmEud => "RUN_DCGMEUD",
        }
    }
}

/// What the driver itself asks for (field 1523, announced by Xid 154): `dcgmGpuRecoveryAction` of `dcgm_nvml.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recovery {
    /// 1
    GpuReset,
    /// 2
    NodeReboot,
    /// 3
    DrainP2p,
    /// 4
    DrainAndReset,
}

impl Recovery {
    /// From the field's number; 0 is none, and so is a number that nobody has defined.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::GpuReset),
            2 => Some(Self::NodeReboot),
            3 => Some(Self::DrainP2p),
            4 => Some(Self::DrainAndReset),
            _ => None,
        }
    }

    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::GpuReset => {
                "the driver asks for a GPU reset: stop its workload and reset the GPU"
            }
            Self::NodeReboot => "the driver asks for a reboot: drain the node and reboot it",
            Self::DrainP2p => {
                "the driver asks to drain peer-to-peer traffic: stop jobs that use NVLink on this GPU"
            }
            Self::DrainAndReset => {
                "the driver asks for drain and reset: drain the node and reset the GPU"
            }
        }
    }

    /// As NVSentinel maps DCGM's `DCGM_FR_GPU_RECOVERY_*`.
    pub const fn action(self) -> Action {
        match self {
            Self::GpuReset | Self::DrainAndReset => Action::ComponentReset,
            Self::NodeReboot => Action::RestartBm,
            Self::DrainP2p => Action::ContactSupport,
        }
    }

    /// DCGM's health watch fails a GPU that needs more than draining, and warns of that one.
    pub const fn is_urgent(self) -> bool {
        !matches!(self, Self::DrainP2p)
    }
}
