use super::*;
use crate::fleet::{FleetConfig, HostSim, Plan};
use crate::schedule::FaultPlan;

fn text(style: Style) -> String {
    let config = FleetConfig {
        gpus: 8,
        models: crate::topology::ModelMix::parse("h100").unwrap(),
        faults: FaultPlan::parse("{\"kind\":\"dbe\",\"gpu\":1,\"from_s\":0}\n{\"kind\":\"blank_sentinels\",\"gpu\":2,\"from_s\":0}\n{\"kind\":\"gpu_silent\",\"gpu\":3,\"from_s\":0}").unwrap(),
        ..FleetConfig::default()
    };
    let plan = Plan::new(config).unwrap();
    let mut readings = Vec::new();
    HostSim::new(&plan, 0).advance(&plan, 0, |reading| readings.push(reading));
    let mut out = Vec::new();
    write_exposition(&readings, style, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_row_is_as_the_exporter_prints_it() {
    let text = text(Style::default());
    let row = text
        .lines()
        .find(|line| line.starts_with("DCGM_FI_DEV_GPU_TEMP{gpu=\"1\""))
        .unwrap();
    assert!(row.contains(",UUID=\"GPU-"), "{row}");
    assert!(row.contains(",pci_bus_id=\"00000000:0F:00.0\",device=\"nvidia1\",modelName=\"NVIDIA H100 80GB HBM3\",hostname=\"gpu-node-00000\",DCGM_FI_DEV_SERIAL=\""), "{row}");
    let xid = text
        .lines()
        .find(|line| line.starts_with("DCGM_FI_DEV_XID_ERRORS{gpu=\"1\""))
        .unwrap();
    assert!(
        xid.contains("err_code=\"48\",err_msg=\"Double Bit ECC Error\"") && xid.ends_with(" 48"),
        "{xid}"
    );
    let count = text
        .lines()
        .find(|line| line.starts_with("DCGM_EXP_XID_ERRORS_COUNT{gpu=\"1\""))
        .unwrap();
    assert!(
        count.contains("window_size_in_ms=\"300000\",xid=\"48\"") && count.ends_with(" 1"),
        "{count}"
    );
    assert!(
        text.lines()
            .any(|line| line.starts_with("DCGM_FI_DEV_MEMORY_TEMP{gpu=\"2\"")
                && line.ends_with(" 9223372036854775794"))
    );
    assert!(
        text.lines()
            .any(|line| line.starts_with("DCGM_FI_DEV_POWER_USAGE{gpu=\"2\"")
                && line.ends_with(" 140737488355328.000000"))
    );
    assert!(!text.contains("{gpu=\"3\""), "a silent GPU has no rows");
    assert!(!text.contains("GPU_I_ID"));
}

#[test]
fn styles_change_names_and_labels_and_rows() {
    let new = text(Style {
        names: Names::New,
        labels: Labels::OldNamespace,
        mig: true,
        nvlink_rows: true,
    });
    assert!(new.contains("DCGM_FI_DEV_GPU_TEMP_CELSIUS{gpu=\"0\",uuid=\"GPU-"));
    assert!(!new.contains("DCGM_FI_DEV_GPU_TEMP{"));
    assert!(new.contains(",Hostname=\"gpu-node-00000\""));
    assert!(!new.contains(",hostname=\"gpu-node-00000\",DCGM"));
    assert!(new.contains("GPU_I_PROFILE=\"3g.40gb\",GPU_I_ID=\"1\""));
    assert!(new.contains(
        "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_PER_LINK_TOTAL{nvlink=\"17\",gpu=\"7\",gpu_uuid=\"GPU-"
    ));
    let mixed = text(Style {
        names: Names::Mixed,
        ..Style::default()
    });
    assert!(
        mixed.contains("DCGM_FI_DEV_MEMORY_TEMP{")
            && mixed.contains("DCGM_FI_DEV_POWER_USAGE{")
                != mixed.contains("DCGM_FI_DEV_BOARD_POWER_WATTS{")
    );
    assert!(mixed.contains("DCGM_FI_DEV_GPU_TEMP_CELSIUS{"));
}

#[test]
fn every_row_is_headed_by_its_help_and_type() {
    let text = text(Style {
        mig: true,
        nvlink_rows: true,
        ..Style::default()
    });
    let mut current = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split(' ').next().unwrap();
        } else if !line.starts_with('#') {
            assert_eq!(line.split('{').next().unwrap(), current);
        }
    }
}
