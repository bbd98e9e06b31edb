//! NVIDIA's Xids: what each means, and what NVIDIA says to do first.
//!
//! Source: NVIDIA's Xid catalogue as NVSentinel ships it (`Xid-Catalog.xlsx`, sheets "Xids" and "Resolution Buckets"),
//! with its column "immediate action". The class is ours: which rule an Xid belongs to. Peers differ on some: EKS
//! calls 63 fatal where NVIDIA says to ignore it, DCGM's health watch warns of 94 and fails 48, 74, 79, 95, 119, 120, 140.

use super::action::Action;

/// Which rule an Xid belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The application's doing: never more than information, since these outnumber hardware faults a hundred to one.
    Application,
    /// Worth knowing, nothing to do now.
    Notice,
    /// Hardware or firmware degrades, yet works.
    Hardware,
    /// The GPU can't go on without a reset.
    Fatal,
    /// A link of NVLink.
    NvLink,
    /// Two bits of one word wrong: data is lost.
    DoubleBitEcc,
    /// A memory error that took one application with it, and no more.
    ContainedEcc,
    /// A memory error that may have spread.
    UncontainedEcc,
    /// A row could not be remapped, or a page not retired.
    RemapFailure,
    /// Corrected errors come too fast.
    SingleBitStorm,
    /// The GPU has fallen off the bus.
    GpuLost,
}

/// NVIDIA's immediate action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// `IGNORE`
    Ignore,
    /// `RESTART_APP`
    RestartApplication,
    /// `RESET_GPU`
    ResetGpu,
    /// `RESTART_BM`
    RestartNode,
    /// `RESTART_VM`
    RestartVm,
    /// `CHECK_MECHANICALS`
    CheckPowerCables,
    /// `CONTACT_SUPPORT`
    ContactSupport,
    /// `UPDATE_SWFW`
    UpdateSoftware,
    /// `CHECK_UVM`
    CheckUvm,
    /// `WORKFLOW_XID_45`
    FollowTheOtherXid,
    /// `WORKFLOW_XID_48`
    ResetAfterDouble,
    /// `WORKFLOW_NVLINK_ERR`, `WORKFLOW_NVLINK5_ERR`
    DecodeNvLink,
    /// `XID_154`
    FollowRecoveryAction,
    /// The catalogue says nothing.
    Unstated,
}

impl Remedy {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Ignore => "nothing to do now",
            Self::RestartApplication => {
                "restart the application, and look for the fault in it first"
            }
            Self::ResetGpu => "drain the GPU and reset it",
            Self::RestartNode => "drain the node and restart it; contact support if it comes again",
            Self::RestartVm => "restart the virtual machine",
            Self::CheckPowerCables => "check the power connectors of the board",
            Self::ContactSupport => "contact support",
            Self::UpdateSoftware => "update driver and firmware",
            Self::CheckUvm => "check the unified memory driver's log",
            Self::FollowTheOtherXid => {
                "follow the Xid before it; when it stands alone, restart the fabric manager"
            }
            Self::ResetAfterDouble => {
                "drain and reset the GPU; run the field diagnostic if no row remap (Xid 63 or 64) came with it"
            }
            Self::DecodeNvLink => {
                "decode the registers in the kernel log; reset the GPU; check cable and baseboard if it comes again"
            }
            Self::FollowRecoveryAction => "do what the GPU's recovery action says",
            Self::Unstated => "see the kernel log; contact support if it comes again",
        }
    }

    /// As NVSentinel names it.
    pub const fn action(self) -> Action {
        match self {
            Self::ResetGpu | Self::ResetAfterDouble => Action::ComponentReset,
            Self::RestartNode => Action::RestartBm,
            Self::RestartVm => Action::RestartVm,
            Self::CheckPowerCables | Self::ContactSupport | Self::DecodeNvLink => {
                Action::ContactSupport
            }
            Self::Ignore
            | Self::RestartApplication
            | Self::UpdateSoftware
            | Self::CheckUvm
            | Self::FollowTheOtherXid
            | Self::FollowRecoveryAction
            | Self::Unstated => Action::None,
        }
    }
}

/// One Xid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xid {
    /// Its number.
    pub code: u16,
    /// What it means.
    pub name: &'static str,
    /// Which rule it belongs to.
    pub class: Class,
    /// What NVIDIA says to do first.
    pub remedy: Remedy,
}

/// The entry of `code`; one that is not in the catalogue is a notice.
pub fn lookup(code: u16) -> Xid {
    XIDS.binary_search_by_key(&code, |xid| xid.code)
        .ok()
        .map_or(
            Xid {
                code,
                name: "not in NVIDIA's catalogue",
                class: Class::Notice,
                remedy: Remedy::Unstated,
            },
            |at| XIDS[at],
        )
}

const fn xid(code: u16, name: &'static str, class: Class, remedy: Remedy) -> Xid {
    Xid {
        code,
        name,
        class,
        remedy,
    }
}

/// Every Xid that any data-centre GPU since Ampere can give, by number; 122 and 123 are "unused" in the catalogue, yet
/// were seen on A100s (Delta, arXiv 2503.11901).
#[rustfmt::skip]
pub const XIDS: &[Xid] = &[
    xid(8, "GPU stopped processing", Class::Application, Remedy::RestartApplication),
    xid(11, "invalid or corrupted push buffer stream", Class::Application, Remedy::RestartApplication),
    xid(13, "graphics engine exception", Class::Application, Remedy::RestartApplication),
    xid(14, "reserved", Class::Notice, Remedy::Ignore),
    xid(25, "invalid or illegal push buffer stream", Class::Application, Remedy::RestartApplication),
    xid(31, "GPU memory page fault", Class::Application, Remedy::RestartApplication),
    xid(32, "invalid or corrupted push buffer stream", Class::Application, Remedy::RestartApplication),
    xid(37, "driver firmware error", Class::Notice, Remedy::Ignore),
    xid(38, "driver firmware error", Class::Notice, Remedy::Ignore),
    xid(39, "copy engine exception", Class::Application, Remedy::RestartApplication),
    xid(40, "copy engine exception", Class::Application, Remedy::RestartApplication),
    xid(41, "copy engine exception", Class::Application, Remedy::RestartApplication),
    xid(43, "GPU stopped processing", Class::Application, Remedy::Ignore),
    xid(44, "graphics engine fault during context switch", Class::Application, Remedy::Ignore),
    xid(45, "preemptive cleanup after an earlier error", Class::Application, Remedy::FollowTheOtherXid),
    xid(46, "GPU stopped processing", Class::Fatal, Remedy::ResetGpu),
    xid(48, "double bit ECC error", Class::DoubleBitEcc, Remedy::ResetAfterDouble),
    xid(54, "auxiliary power is not connected", Class::Hardware, Remedy::CheckPowerCables),
    xid(60, "video processor exception", Class::Application, Remedy::RestartApplication),
    xid(62, "internal micro-controller halt (PMU)", Class::Fatal, Remedy::ResetGpu),
    xid(63, "row remap or page retirement recorded", Class::Notice, Remedy::Ignore),
    xid(64, "row remap or page retirement failed", Class::RemapFailure, Remedy::ResetGpu),
    xid(66, "illegal access by driver", Class::Notice, Remedy::Ignore),
    xid(67, "illegal access by driver", Class::Notice, Remedy::Ignore),
    xid(68, "NVDEC0 exception", Class::Application, Remedy::RestartApplication),
    xid(69, "graphics engine class error", Class::Application, Remedy::RestartApplication),
    xid(70, "CE3 error", Class::Application, Remedy::RestartApplication),
    xid(71, "CE4 error", Class::Application, Remedy::RestartApplication),
    xid(72, "CE5 error", Class::Application, Remedy::RestartApplication),
    xid(74, "NVLink error", Class::NvLink, Remedy::DecodeNvLink),
    xid(75, "CE6 error", Class::Application, Remedy::RestartApplication),
    xid(76, "CE7 error", Class::Application, Remedy::RestartApplication),
    xid(77, "CE8 error", Class::Application, Remedy::RestartApplication),
    xid(78, "vGPU start error", Class::Notice, Remedy::UpdateSoftware),
    xid(79, "GPU has fallen off the bus", Class::GpuLost, Remedy::RestartNode),
    xid(80, "corrupted data sent to GPU", Class::Application, Remedy::RestartApplication),
    xid(82, "NVJPG0 error", Class::Application, Remedy::RestartApplication),
    xid(83, "NVDEC1 error", Class::Application, Remedy::RestartApplication),
    xid(84, "NVDEC2 error", Class::Application, Remedy::RestartApplication),
    xid(85, "CE9 error", Class::Application, Remedy::RestartApplication),
    xid(86, "OFA exception", Class::Application, Remedy::RestartApplication),
    xid(88, "NVDEC3 error", Class::Application, Remedy::RestartApplication),
    xid(89, "NVDEC4 error", Class::Application, Remedy::RestartApplication),
    xid(92, "high single-bit ECC error rate", Class::SingleBitStorm, Remedy::Ignore),
    xid(93, "InfoROM wear limit exceeded", Class::Hardware, Remedy::Ignore),
    xid(94, "contained memory error", Class::ContainedEcc, Remedy::RestartApplication),
    xid(95, "uncontained memory error", Class::UncontainedEcc, Remedy::ResetGpu),
    xid(96, "NVDEC5 error", Class::Application, Remedy::RestartApplication),
    xid(97, "NVDEC6 error", Class::Application, Remedy::RestartApplication),
    xid(98, "NVDEC7 error", Class::Application, Remedy::RestartApplication),
    xid(99, "NVJPG1 error", Class::Application, Remedy::RestartApplication),
    xid(100, "NVJPG2 error", Class::Application, Remedy::RestartApplication),
    xid(101, "NVJPG3 error", Class::Application, Remedy::RestartApplication),
    xid(102, "NVJPG4 error", Class::Application, Remedy::RestartApplication),
    xid(103, "NVJPG5 error", Class::Application, Remedy::RestartApplication),
    xid(104, "NVJPG6 error", Class::Application, Remedy::RestartApplication),
    xid(105, "NVJPG7 error", Class::Application, Remedy::RestartApplication),
    xid(106, "SMBPBI test message", Class::Notice, Remedy::Ignore),
    xid(107, "SMBPBI test message silent", Class::Notice, Remedy::Ignore),
    xid(108, "reserved", Class::Notice, Remedy::Ignore),
    xid(109, "context switch timeout error", Class::Fatal, Remedy::ResetGpu),
    xid(110, "security fault error", Class::Fatal, Remedy::ResetGpu),
    xid(119, "GSP RPC timeout", Class::Fatal, Remedy::ResetGpu),
    xid(120, "GSP error", Class::Fatal, Remedy::ResetGpu),
    xid(121, "C2C error", Class::Hardware, Remedy::Ignore),
    xid(122, "SPI read from the PMU failed", Class::Hardware, Remedy::ContactSupport),
    xid(123, "SPI write from the PMU failed", Class::Hardware, Remedy::ContactSupport),
    xid(126, "CE10 error", Class::Application, Remedy::RestartApplication),
    xid(127, "CE11 error", Class::Application, Remedy::RestartApplication),
    xid(128, "CE12 error", Class::Application, Remedy::RestartApplication),
    xid(129, "CE13 error", Class::Application, Remedy::RestartApplication),
    xid(130, "CE14 error", Class::Application, Remedy::RestartApplication),
    xid(131, "CE15 error", Class::Application, Remedy::RestartApplication),
    xid(132, "CE16 error", Class::Application, Remedy::RestartApplication),
    xid(133, "CE17 error", Class::Application, Remedy::RestartApplication),
    xid(134, "CE18 error", Class::Application, Remedy::RestartApplication),
    xid(135, "CE19 error", Class::Application, Remedy::RestartApplication),
    xid(136, "link training failed", Class::Fatal, Remedy::ResetGpu),
    xid(137, "NVLink privilege error", Class::Application, Remedy::Ignore),
    xid(139, "OFA1 error", Class::Application, Remedy::RestartApplication),
    xid(140, "ECC unrecovered error", Class::UncontainedEcc, Remedy::ResetGpu),
    xid(141, "CUDA fast path error", Class::Application, Remedy::Ignore),
    xid(142, "NVENC3 error", Class::Notice, Remedy::ContactSupport),
    xid(143, "GPU initialization error", Class::Fatal, Remedy::ResetGpu),
    xid(144, "NVLink SAW error", Class::NvLink, Remedy::DecodeNvLink),
    xid(145, "NVLink RLW error", Class::NvLink, Remedy::DecodeNvLink),
    xid(146, "NVLink TLW error", Class::NvLink, Remedy::DecodeNvLink),
    xid(147, "NVLink TREX error", Class::NvLink, Remedy::DecodeNvLink),
    xid(148, "NVLink NVLPW_CTRL error", Class::NvLink, Remedy::DecodeNvLink),
    xid(149, "NVLink NETIR error", Class::NvLink, Remedy::DecodeNvLink),
    xid(150, "NVLink MSE error", Class::NvLink, Remedy::DecodeNvLink),
    xid(151, "key rotation error", Class::Hardware, Remedy::RestartVm),
    xid(154, "GPU recovery action changed", Class::Notice, Remedy::FollowRecoveryAction),
    xid(155, "NVLink software-defined error", Class::NvLink, Remedy::ResetGpu),
    xid(156, "resource retirement event", Class::Hardware, Remedy::ResetGpu),
    xid(157, "resource retirement failure", Class::Hardware, Remedy::Ignore),
    xid(158, "GPU fatal timeout", Class::Fatal, Remedy::ResetGpu),
    xid(159, "CHI Non-Data error", Class::Notice, Remedy::CheckUvm),
    xid(160, "channel retirement event", Class::Notice, Remedy::Ignore),
    xid(161, "channel retirement failure", Class::Notice, Remedy::Ignore),
    xid(162, "power smoothing engaged again", Class::Notice, Remedy::Unstated),
    xid(163, "power smoothing disengaged", Class::Notice, Remedy::Unstated),
    xid(164, "power smoothing circuit near its end of life", Class::Hardware, Remedy::Unstated),
    xid(165, "power smoothing circuit at its end of life", Class::Hardware, Remedy::Unstated),
    xid(166, "NVLink traffic before encryption was configured", Class::Notice, Remedy::Unstated),
    xid(167, "PCIe fatal timeout", Class::Fatal, Remedy::Unstated),
    xid(168, "reduced GPU memory capacity", Class::Hardware, Remedy::Unstated),
    xid(169, "internal micro-controller halt", Class::Hardware, Remedy::Unstated),
    xid(170, "interrupt seen in CC mode", Class::Notice, Remedy::Unstated),
    xid(171, "uncorrectable DRAM error, detail of Xid 48", Class::DoubleBitEcc, Remedy::Unstated),
    xid(172, "uncorrectable SRAM error, detail of Xid 48", Class::DoubleBitEcc, Remedy::Unstated),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(class: Class) -> Vec<u16> {
        XIDS.iter()
            .filter(|xid| xid.class == class)
            .map(|xid| xid.code)
            .collect()
    }

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(XIDS.windows(2).all(|pair| pair[0].code < pair[1].code));
        for xid in XIDS {
            assert_eq!(lookup(xid.code), *xid);
        }
        assert_eq!(lookup(999).class, Class::Notice);
        assert_eq!(lookup(0).class, Class::Notice);
    }

    #[test]
    fn fatal_xids_are_those_that_nvidia_resets_a_gpu_for() {
        assert_eq!(
            codes(Class::Fatal),
            [46, 62, 109, 110, 119, 120, 136, 143, 158, 167]
        );
        assert_eq!(codes(Class::DoubleBitEcc), [48, 171, 172]);
        assert_eq!(codes(Class::UncontainedEcc), [95, 140]);
        assert_eq!(codes(Class::ContainedEcc), [94]);
        assert_eq!(codes(Class::RemapFailure), [64]);
        assert_eq!(codes(Class::GpuLost), [79]);
        for xid in XIDS.iter().filter(|xid| xid.remedy == Remedy::ResetGpu) {
            assert!(
                !matches!(xid.class, Class::Application | Class::Notice),
                "{} needs a reset, and would only be information",
                xid.code
            );
        }
    }

    #[test]
    fn an_applications_xid_never_asks_for_a_repair() {
        for code in [13, 31, 32, 43, 45, 69] {
            assert_eq!(lookup(code).class, Class::Application, "{code}");
            assert_eq!(lookup(code).remedy.action(), Action::None, "{code}");
        }
    }
}
