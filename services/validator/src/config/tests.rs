use super::*;
use serde_json::json;

fn config(value: serde_json::Value) -> Config {
    serde_json::from_value(value).unwrap()
}

/// The configuration is refused, and this is the key that is named.
fn check_refused(value: serde_json::Value, key: &str) {
    let invalid = config(value).validate().unwrap_err();
    assert_eq!(invalid.key, key, "{invalid}");
    assert_eq!(invalid.to_string().lines().count(), 1);
}

#[test]
fn the_defaults_are_valid() {
    Config::default().validate().unwrap();
    let config = config(json!({}));
    config.validate().unwrap();
    assert_eq!(config.topology().input, "gpu-metrics-raw");
    assert_eq!(
        config.topology().outputs,
        ["gpu-metrics-validated", "gpu-metrics-invalid"]
    );
    assert_eq!(config.pipeline.idle_after_ms, 1_000);
}

#[test]
fn what_will_not_do_is_named_by_its_key() {
    check_refused(
        json!({"limits": {"record_max_bytes": 0}}),
        "limits.record_max_bytes",
    );
    check_refused(
        json!({"limits": {"record_max_bytes": 2_000_000}}),
        "limits.record_max_bytes",
    );
    check_refused(
        json!({"limits": {"late_after_ms": -1}}),
        "limits.late_after_ms",
    );
    check_refused(
        json!({"limits": {"late_after_ms": 3_600_001}}),
        "limits.late_after_ms",
    );
    check_refused(
        json!({"limits": {"ranges": {"gpu_tmp_c": [0, 1]}}}),
        "limits.ranges.gpu_tmp_c",
    );
    check_refused(
        json!({"limits": {"ranges": {"gpu_temp_c": [5, 5]}}}),
        "limits.ranges.gpu_temp_c",
    );
    check_refused(
        json!({"models": {"x100": {"ranges": {}}}}),
        "models.x100.words",
    );
    check_refused(
        json!({"models": {"x100": {"words": ["X-100"]}}}),
        "models.x100.words",
    );
    check_refused(
        json!({"models": {"a100": {"ranges": {"power_usage_w": [0, 3000]}}}}),
        "models.a100.ranges.power_usage_w",
    );
    check_refused(
        json!({"duplicates": {"forget_after_ms": 1_000}}),
        "duplicates.forget_after_ms",
    );
    check_refused(json!({"ticks": {"margin_ms": 0}}), "ticks.margin_ms");
    check_refused(
        json!({"pipeline": {"idle_after_ms": 5}}),
        "pipeline.idle_after_ms",
    );
    check_refused(json!({"pipeline": {"workers": 0}}), "pipeline.workers");
    check_refused(
        json!({"kafka": {"bootstrap_servers": ""}}),
        "kafka.bootstrap_servers",
    );
    check_refused(json!({"topics": {"raw": ""}}), "topics.raw");
}

#[test]
fn ranges_are_written_as_a_pair_or_as_text() {
    let config = config(json!({"limits": {"ranges": {
        "power_usage_w": [0, 3000],
        "gpu_temp_c": "-40..150.5",
    }}}));
    let limits = config.limits().unwrap();
    let range = |name| limits.general[metric_index(name).unwrap()];
    assert_eq!(range("power_usage_w"), (0.0, 3_000.0));
    assert_eq!(range("gpu_temp_c"), (-40.0, 150.5));
    for bad in [
        json!([1]),
        json!([1, 2, 3]),
        json!("1"),
        json!("a..b"),
        json!(1),
    ] {
        let read = serde_json::from_value::<MinMax>(bad.clone());
        assert!(read.is_err(), "{bad}");
    }
}

#[test]
fn a_model_is_told_by_the_words_of_its_name() {
    let limits = config(json!({"models": {
        "x100": {"words": ["x100"], "ranges": {"power_usage_w": [0, 500]}},
        "t4": {"ranges": {"sm_clock_mhz": [0, 2000]}},
    }}))
    .limits()
    .unwrap();
    let model = |name: &str| {
        limits
            .model(name)
            .map(|index| limits.models[index].id.as_str())
    };
    for (name, id) in [
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("A100-PCIE-40GB", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA GB300", "gb300"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", "t4"),
        ("Acme X100", "x100"),
    ] {
        assert_eq!(model(name), Some(id), "{name}");
    }
    for name in [
        "",
        "NVIDIA L4",
        "NVIDIA A1000",
        "NVIDIA GH200 480GB",
        "B200X",
    ] {
        assert_eq!(model(name), None, "{name}");
    }
    let t4 = limits.ranges(limits.model("Tesla T4"));
    assert_eq!(t4[metric_index("power_usage_w").unwrap()], (0.0, 112.0));
    assert_eq!(t4[metric_index("sm_clock_mhz").unwrap()], (0.0, 2_000.0));
}

#[test]
fn a_narrower_general_range_narrows_the_models_too() {
    let limits = config(json!({"limits": {"ranges": {"power_usage_w": [0, 500]}}}))
        .limits()
        .unwrap();
    for model in &limits.models {
        assert!(
            model.ranges[metric_index("power_usage_w").unwrap()].1 <= 500.0,
            "{}",
            model.id
        );
    }
}

fn load(toml: &str) -> Result<Config, String> {
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::io::Write::write_all(&mut file, toml.as_bytes()).unwrap();
    chassis::config::load("validator-under-test", Some(file.path()))
        .map_err(|error| error.to_string())
}

#[test]
fn a_file_with_some_of_the_pipeline_keeps_the_validators_own_default() {
    let config = load("[pipeline]\nworkers = 2\n").unwrap();
    assert_eq!(config.pipeline.workers, 2);
    assert_eq!(config.pipeline.idle_after_ms, 1_000);
    let config = load("[pipeline]\nidle_after_ms = 0\n").unwrap();
    assert_eq!(config.pipeline.idle_after_ms, 0);
    assert_eq!(config.pipeline.workers, 1);
}

#[test]
fn a_file_is_read_with_models_and_ranges() {
    let config = load(
        "[limits.ranges]\npower_usage_w = [0, 3000]\ngpu_temp_c = \"-40..150\"\n\
         [models.x100]\nwords = [\"X100\"]\nranges = { power_usage_w = [0, 2500] }\n\
         [models.y100]\nwords = \"Y100, PCIe\"\n",
    )
    .unwrap();
    let limits = config.limits().unwrap();
    let model = limits.model("Acme X100").unwrap();
    let power = metric_index("power_usage_w").unwrap();
    assert_eq!(limits.ranges(Some(model))[power], (0.0, 2_500.0));
    assert!(limits.model("Acme Y100 PCIe 40GB").is_some());
    assert!(limits.model("Acme Y100").is_none());
}

#[test]
fn a_file_that_will_not_do_is_one_line_that_names_the_key() {
    for (toml, key) in [
        ("[pipeline]\nworkers = \"many\"\n", "pipeline.workers"),
        ("[pipeline]\nworkerz = 1\n", "workerz"),
        ("[limits]\nlate_after = 1\n", "late_after"),
        (
            "[limits.ranges]\ngpu_temp_c = [1]\n",
            "limits.ranges.gpu_temp_c",
        ),
        (
            "[limits.ranges]\ngpu_temp_c = \"hot\"\n",
            "limits.ranges.gpu_temp_c",
        ),
        (
            "[models.a100.ranges]\nno_such = [0, 1]\n",
            "models.a100.ranges.no_such",
        ),
    ] {
        let error = load(toml).unwrap_err();
        assert!(error.contains(key), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
