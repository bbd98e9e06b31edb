use super::*;
use proptest::prelude::*;

const A: &str = "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52";
const B: &str = "GPU-8b22f7a1-0000-1111-2222-333344445555";

/// Rows as dcgm-exporter prints them before its rename of the host label, with the names before DCGM 4.6.
fn old(name: &str, uuid: &str, gpu: u8, value: &str) -> String {
    format!(
        "{name}{{gpu=\"{gpu}\",UUID=\"{uuid}\",pci_bus_id=\"00000000:5D:00.0\",device=\"nvidia{gpu}\",modelName=\"NVIDIA H100 80GB HBM3\",Hostname=\"gpu-node-042\",DCGM_FI_DRIVER_VERSION=\"570.86.15\",container=\"train\",namespace=\"ml\",pod=\"llm-0\"}} {value}\n"
    )
}

/// The same with the names and labels of today.
fn new(name: &str, uuid: &str, gpu: u8, value: &str) -> String {
    old(name, uuid, gpu, value)
        .replace("Hostname=", "hostname=")
        .replace("DCGM_FI_DRIVER_VERSION", "DCGM_FI_SYSTEM_DRIVER_VERSION")
}

fn instance(name: &str, profile: &str, id: u8, value: &str) -> String {
    old(name, A, 0, value).replace(
        ",Hostname",
        &format!(",GPU_I_PROFILE=\"{profile}\",GPU_I_ID=\"{id}\",Hostname"),
    )
}

fn link(name: &str, uuid: &str, link: u8, value: &str) -> String {
    format!(
        "{name}{{nvlink=\"{link}\",gpu=\"3\",gpu_uuid=\"{uuid}\",pci_bus_id=\"00000000:5D:00.0\",device=\"nvidia3\",model_name=\"NVIDIA H100 80GB HBM3\",hostname=\"gpu-node-042\"}} {value}\n"
    )
}

fn only(text: &str) -> GpuReading {
    let scraped = scrape(text);
    assert_eq!(scraped.summary.malformed, 0, "{:?}", scraped.summary);
    assert_eq!(scraped.readings.len(), 1);
    scraped.readings.into_iter().next().unwrap()
}

fn value(reading: &GpuReading, metric: &str) -> Option<f64> {
    reading.values[metric_index(metric).unwrap()]
}

#[test]
fn rows_of_one_gpu_become_one_reading_with_the_schemas_units() {
    let text = [
        "# HELP DCGM_FI_DEV_GPU_TEMP GPU temperature (in C).\n# TYPE DCGM_FI_DEV_GPU_TEMP gauge\n"
            .to_owned(),
        old("DCGM_FI_DEV_GPU_TEMP", A, 3, "61"),
        old("DCGM_FI_DEV_GPU_TEMP", B, 4, "44"),
        old("DCGM_FI_DEV_POWER_USAGE", A, 3, "412.500000"),
        old("DCGM_FI_PROF_SM_ACTIVE", A, 3, "0.873000"),
        old("DCGM_FI_PROF_PCIE_RX_BYTES", A, 3, "3892100000"),
        old("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", A, 3, "72"),
        old("DCGM_FI_DEV_FB_USED", A, 3, "73728"),
        old("DCGM_FI_DEV_FB_FREE", A, 3, "8192"),
        old("DCGM_FI_DEV_FB_TOTAL", A, 3, "81920"),
        old("DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_MAX", A, 3, "640"),
        "go_goroutines 12\n".to_owned(),
    ]
    .concat();
    let scraped = scrape(&text);
    assert_eq!(scraped.readings.len(), 2);
    assert_eq!(scraped.summary.skipped, 1);
    let reading = &scraped.readings[0];
    assert_eq!((reading.uuid.as_str(), reading.device_index), (A, Some(3)));
    assert_eq!(reading.hostname.as_deref(), Some("gpu-node-042"));
    assert_eq!(reading.model.as_deref(), Some("NVIDIA H100 80GB HBM3"));
    assert_eq!(reading.driver_version.as_deref(), Some("570.86.15"));
    assert_eq!(reading.pci_bus_id.as_deref(), Some("00000000:5D:00.0"));
    let runner = reading.runner.as_ref().unwrap();
    assert_eq!(
        (
            runner.pod.as_deref(),
            runner.namespace.as_deref(),
            runner.container.as_deref()
        ),
        (Some("llm-0"), Some("ml"), Some("train"))
    );
    assert_eq!(value(reading, "gpu_temp_c"), Some(61.0));
    assert_eq!(value(reading, "power_usage_w"), Some(412.5));
    assert_eq!(value(reading, "sm_active_pct"), Some(87.3));
    assert_eq!(value(reading, "pcie_rx_mb_per_sec"), Some(3892.1));
    assert_eq!(value(reading, "throttle_reasons"), Some(72.0));
    assert_eq!(value(reading, "utilization_pct"), Some(90.0));
    assert_eq!(value(reading, "memory_temp_c"), None);
    assert_eq!(reading.banks[0], Some(640.0));
    assert!(reading.blank.is_empty());
    assert_eq!(value(&scraped.readings[1], "gpu_temp_c"), Some(44.0));
}

#[test]
fn every_field_means_the_same_under_its_old_and_its_new_name() {
    for def in FIELDS {
        let Some(new_name) = def.new_name else {
            continue;
        };
        let sample = if def.to == "@link_state" {
            [link(def.name, A, 0, "1"), link(new_name, A, 0, "1")]
        } else {
            [old(def.name, A, 3, "1"), new(new_name, A, 3, "1")]
        };
        assert_eq!(only(&sample[0]), only(&sample[1]), "{new_name}");
        assert_eq!(
            only(&sample.concat()),
            only(&sample[0]),
            "both at once: {new_name}"
        );
    }
}

#[test]
fn old_namespace_labels_are_known() {
    let row = old("DCGM_FI_DEV_GPU_TEMP", A, 3, "61")
        .replace("UUID=", "uuid=")
        .replace("container=", "container_name=")
        .replace("namespace=", "pod_namespace=")
        .replace("pod=\"", "pod_name=\"");
    assert!(row.contains("pod_namespace=") && row.contains("pod_name="));
    assert_eq!(only(&row), only(&old("DCGM_FI_DEV_GPU_TEMP", A, 3, "61")));
}

#[test]
fn blanks_are_no_values_and_are_named() {
    let text = [
        old("DCGM_FI_DEV_GPU_TEMP", A, 3, "61"),
        old("DCGM_FI_DEV_MEMORY_TEMP", A, 3, "9223372036854775794"),
        old("DCGM_FI_DEV_POWER_USAGE", A, 3, "140737488355328.000000"),
        old("DCGM_FI_DEV_SM_CLOCK", A, 3, "2147483632"),
        old("DCGM_FI_PROF_SM_ACTIVE", A, 3, "NaN"),
        old("DCGM_FI_DEV_ROW_REMAP_PENDING", A, 3, "9223372036854775792"),
        new("DCGM_FI_DEV_ROW_REMAP_PENDING", A, 3, "0"),
    ]
    .concat();
    let reading = only(&text);
    let blank: Vec<_> = reading.blank.iter().copied().collect();
    assert_eq!(
        blank,
        [
            "memory_temp_c",
            "power_usage_w",
            "sm_active_pct",
            "sm_clock_mhz"
        ]
    );
    for metric in blank {
        assert_eq!(value(&reading, metric), None, "{metric}");
    }
    assert_eq!(
        value(&reading, "row_remap_pending"),
        Some(0.0),
        "another row gave it"
    );
    let text = old("DCGM_FI_DEV_GPU_TEMP", A, 3, "61").replace("570.86.15", "<<<NOT_SUPPORTED>>>");
    assert_eq!(only(&text).driver_version, None);
}

#[test]
fn a_memory_temperature_of_zero_is_a_board_without_the_sensor() {
    let text = old("DCGM_FI_DEV_MEMORY_TEMP", A, 3, "0") + &old("DCGM_FI_DEV_GPU_TEMP", A, 3, "0");
    let reading = only(&text);
    assert_eq!(value(&reading, "memory_temp_c"), None);
    assert_eq!(value(&reading, "gpu_temp_c"), Some(0.0));
    assert!(reading.blank.is_empty());
}

#[test]
fn mig_rows_neither_overwrite_the_gpus_own_nor_make_readings() {
    let text = [
        old("DCGM_FI_DEV_GPU_TEMP", A, 0, "55"),
        instance("DCGM_FI_DEV_GPU_TEMP", "1g.10gb", 7, "99"),
        old("DCGM_FI_PROF_SM_ACTIVE", A, 0, "0.500000"),
        instance("DCGM_FI_PROF_SM_ACTIVE", "3g.40gb", 1, "1.000000"),
        old("DCGM_FI_DEV_FB_USED", A, 0, "1000"),
        instance("DCGM_FI_DEV_FB_USED", "3g.40gb", 1, "5000"),
    ]
    .concat();
    let reading = only(&text);
    assert_eq!(value(&reading, "gpu_temp_c"), Some(55.0));
    assert_eq!(value(&reading, "sm_active_pct"), Some(50.0));
    assert_eq!(value(&reading, "fb_used_mib"), Some(1000.0));
}

#[test]
fn a_gpu_that_shows_only_its_instances_is_made_of_them() {
    let text = [
        instance("DCGM_FI_DEV_GPU_TEMP", "3g.40gb", 1, "55"),
        instance("DCGM_FI_DEV_GPU_TEMP", "4g.40gb", 2, "55"),
        instance("DCGM_FI_DEV_FB_USED", "3g.40gb", 1, "5000"),
        instance("DCGM_FI_DEV_FB_USED", "4g.40gb", 2, "7000"),
        instance("DCGM_FI_DEV_FB_FREE", "3g.40gb", 1, "35000"),
        instance("DCGM_FI_DEV_FB_FREE", "4g.40gb", 2, "33000"),
        instance("DCGM_FI_PROF_SM_ACTIVE", "3g.40gb", 1, "1.000000"),
        instance("DCGM_FI_PROF_SM_ACTIVE", "4g.40gb", 2, "0.250000"),
        instance("DCGM_FI_PROF_DRAM_ACTIVE", "odd", 1, "1.000000"),
        instance("DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_NONE", "3g.40gb", 1, "0"),
        instance("DCGM_FI_DEV_BANKS_REMAP_ROWS_AVAIL_NONE", "4g.40gb", 2, "0"),
    ]
    .concat();
    let reading = only(&text);
    assert_eq!(value(&reading, "gpu_temp_c"), Some(55.0));
    assert_eq!(value(&reading, "fb_used_mib"), Some(12_000.0));
    assert_eq!(value(&reading, "utilization_pct"), Some(15.0));
    assert_eq!(
        value(&reading, "sm_active_pct"),
        Some(57.1429),
        "(3 x 100 + 4 x 25) / 7"
    );
    assert_eq!(
        value(&reading, "dram_active_pct"),
        None,
        "an instance of unknown size"
    );
    assert_eq!(reading.banks[4], Some(0.0));
    assert!(reading.runner.is_some());
}

#[test]
fn nvlinks_are_added_unless_a_total_is_given() {
    let rows = [
        old("DCGM_FI_DEV_GPU_TEMP", A, 3, "61"),
        link("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_PER_LINK_TOTAL", A, 0, "2"),
        link("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_PER_LINK_TOTAL", A, 17, "3"),
        link("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_PER_LINK_TOTAL", A, 17, "3"),
        old("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_L0", A, 3, "10"),
        old("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_L1", A, 3, "20"),
        new("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_L2_TOTAL", A, 3, "30"),
        link("DCGM_FI_DEV_NVLINK_GET_STATE", A, 0, "1"),
        link("DCGM_FI_DEV_NVLINK_GET_STATE", A, 1, "2"),
        link("DCGM_FI_DEV_NVLINK_GET_STATE", A, 2, "0"),
        link("DCGM_FI_DEV_NVLINK_BANDWIDTH_L0", A, 0, "1234"),
    ]
    .concat();
    let reading = only(&rows);
    assert_eq!(
        value(&reading, "nvlink_replay"),
        Some(5.0),
        "a link that comes twice counts once"
    );
    assert_eq!(value(&reading, "nvlink_crc_flit"), Some(60.0));
    assert_eq!(value(&reading, "nvlink_links_up"), Some(2.0));
    let total = rows + &old("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", A, 3, "61");
    assert_eq!(value(&only(&total), "nvlink_crc_flit"), Some(61.0));
}

#[test]
fn switches_and_cpus_are_not_gpus() {
    let text = [
        old("DCGM_FI_DEV_GPU_TEMP", A, 3, "61"),
        "DCGM_FI_DEV_NVLINK_GET_STATE{nvlink=\"3\",nvswitch=\"nvswitch0\",hostname=\"h\"} 0\n"
            .to_owned(),
        "DCGM_FI_DEV_GPU_TEMP{cpu=\"0\",hostname=\"h\"} 40\n".to_owned(),
        "DCGM_FI_DEV_GPU_TEMP{gpu=\"5\",hostname=\"h\"} 40\n".to_owned(),
    ]
    .concat();
    let scraped = scrape(&text);
    assert_eq!(scraped.readings.len(), 1);
    assert_eq!(value(&scraped.readings[0], "nvlink_links_up"), None);
    assert_eq!(scraped.without_gpu, 1);
}

#[test]
fn xids_are_counted_by_code() {
    let count = |xid: &str, value: &str| {
        old("DCGM_EXP_XID_ERRORS_COUNT", A, 3, value).replace(
            ",container",
            &format!(",window_size_in_ms=\"300000\",xid=\"{xid}\",container"),
        )
    };
    let text = [
        old("DCGM_FI_DEV_XID_ERRORS", A, 3, "94").replace(
            ",namespace",
            ",err_code=\"94\",err_msg=\"Contained memory error\",namespace",
        ),
        count("94", "2"),
        count("31", "1"),
        count("13", "0"),
        old("DCGM_EXP_XID_ERRORS_COUNT", B, 4, "0"),
        old("DCGM_FI_DEV_XID_ERRORS", B, 4, "0"),
    ]
    .concat();
    let scraped = scrape(&text);
    assert_eq!(value(&scraped.readings[0], "last_xid"), Some(94.0));
    assert_eq!(
        scraped.readings[0].xid_counts,
        BTreeMap::from([(31, 1.0), (94, 2.0)])
    );
    assert!(scraped.readings[1].xid_counts.is_empty());
}

#[test]
fn the_exporters_time_is_kept_where_rows_carry_one() {
    let text = old("DCGM_FI_DEV_GPU_TEMP", A, 3, "61 1770805800100")
        + &old("DCGM_FI_DEV_SM_CLOCK", A, 3, "1410 1770805800123");
    assert_eq!(only(&text).exporter_time_ms, Some(1_770_805_800_123));
}

#[test]
fn a_gpu_of_which_only_links_or_labels_are_known_gives_what_it_has_and_an_empty_text_nothing() {
    assert_eq!(scrape("").readings, []);
    assert_eq!(
        scrape(&link("DCGM_FI_DEV_NVLINK_GET_STATE", A, 0, "1"))
            .readings
            .len(),
        1
    );
    let nothing = old("DCGM_EXP_XID_ERRORS_COUNT", A, 3, "0");
    assert_eq!(scrape(&nothing).readings, [], "no metric at all");
}

#[test]
fn the_number_of_gpus_is_bounded() {
    let text: String = (0..300)
        .map(|at| old("DCGM_FI_DEV_GPU_TEMP", &format!("GPU-{at}"), 0, "1"))
        .collect();
    let scraped = scrape(&text);
    assert_eq!(
        (scraped.readings.len(), scraped.without_gpu),
        (MAX_GPUS, 300 - MAX_GPUS)
    );
}

proptest! {
    #[test]
    fn the_order_of_rows_does_not_matter(
        picks in prop::collection::vec((0..FIELDS.len(), 0_u8..3, 0_u32..50, 0_u8..4), 1..60),
        seed: u64,
    ) {
        let mut rows: Vec<String> = picks
            .iter()
            .map(|(field, kind, number, which)| {
                let def = &FIELDS[*field];
                let text = format!("{}", f64::from(*number) / 50.0);
                let uuid = if number % 2 == 0 { A } else { B };
                match kind {
                    0 => old(def.name, uuid, *which, &text),
                    1 => instance(def.name, ["1g.10gb", "3g.40gb", "odd", "7g.80gb"][usize::from(*which)], *which, &text),
                    _ => link(def.new_name.unwrap_or(def.name), uuid, *which, &text),
                }
            })
            .collect();
        let straight = scrape(&rows.concat());
        rows.sort_by_key(|row| schema::murmur2(format!("{seed}{row}").as_bytes()));
        let shuffled = scrape(&rows.concat());
        prop_assert_eq!(straight.readings, shuffled.readings);
    }

    #[test]
    fn no_text_makes_the_join_fail(rows in prop::collection::vec((0..FIELDS.len(), "[ -~]{0,60}"), 0..20)) {
        let text: String = rows.iter().flat_map(|(field, rest)| [FIELDS[*field].name, rest, "\n"]).collect();
        let scraped = scrape(&text);
        prop_assert!(scraped.readings.len() <= rows.len());
    }
}
