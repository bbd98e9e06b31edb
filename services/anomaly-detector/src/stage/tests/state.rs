//! What is kept between readings.

use super::script::{DAY, Gpu, HOUR, Script, driver};
use crate::domain::state::GpuState;

fn bytes(script: &Script, gpu: &Gpu) -> usize {
    let mut driver = driver();
    driver.run(&script.inputs);
    let state: &GpuState = driver.task(0).unwrap().gpu(gpu.uuid.as_bytes()).unwrap();
    postcard::to_stdvec(state).unwrap().len() + 1
}

#[test]
fn a_healthy_gpu_takes_a_few_hundred_bytes() {
    let (mut gpu, mut script) = (Gpu::new(1), Script::new());
    for at_s in (0..2 * HOUR).step_by(10) {
        gpu.set("health.gpu_temp_c", 40 + (at_s / 100) % 30)
            .set("health.power_usage_w", 70 + (at_s / 400) % 12 * 50);
        script.reading(&gpu, at_s);
    }
    let bytes = bytes(&script, &gpu);
    assert!(bytes <= 400, "{bytes} bytes");
}

#[test]
fn a_gpu_with_every_fault_at_once_stays_below_two_kibibytes() {
    let (mut gpu, mut script) = (Gpu::new(1), Script::new());
    for at_s in (0..2 * DAY).step_by(10) {
        let at = at_s / 10;
        gpu.top(
            "workload",
            serde_json::json!({"job_id": format!("job-{at}")}),
        )
        .set("health.gpu_temp_c", 60 + at % 30)
        .set("health.memory_temp_c", 99)
        .set("health.power_usage_w", 50 + (at / 40) % 30 * 50)
        .set("health.temp_limit_margin_c", -5)
        .set("health.throttle_reasons", 0xEC)
        .set("memory.ecc_sbe_volatile", at * 177_000)
        .set("memory.ecc_dbe_volatile", at)
        .set("memory.row_remap_uncorrectable", at)
        .set("memory.row_remap_pending", 1)
        .set("memory.row_remap_failure", 1)
        .set("memory.sram_threshold_exceeded", 1)
        .set("memory.memory_unrepairable", 1)
        .set("memory.bank_remap_avail.none", 1)
        .set("interconnect.pcie_width", 8)
        .set("interconnect.pcie_replay", at * 100)
        .set("interconnect.nvlink_replay", at)
        .set("interconnect.nvlink_links_up", 18 - at % 2)
        .set("errors.last_xid", at % 172)
        .set("errors.recovery_action", 1)
        .set("errors.xid_counts", {
            let counts = (0..40).map(|i| ((at + i) % 172 + 1).to_string());
            serde_json::Value::Object(counts.map(|code| (code, (at % 9).into())).collect())
        });
        script.reading(&gpu, at_s);
    }
    let bytes = bytes(&script, &gpu);
    assert!(bytes < 2_048, "{bytes} bytes");
}
