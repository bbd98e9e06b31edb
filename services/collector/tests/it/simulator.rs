//! The collector against the simulator's endpoints: the events say what the simulator says.

use crate::collector::{InProcess, PATIENCE, config, event, serve};
use fleet_sim::exposition::{Labels, Names, Style};
use fleet_sim::serve::{Endpoints, router};
use fleet_sim::{FaultPlan, FleetConfig, HostSim, ModelMix, Plan};
use schema::MetricEvent;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use testbed::{OwnedRecord, consume_committed, topic, wait_until_async};

const GPUS: u32 = 96;
/// Values beyond this are DCGM's blanks, which the simulator's own JSON carries on purpose.
const BLANK: f64 = 1.4e14;

fn plan() -> Plan {
    let faults = [
        ("dbe", 1),
        ("row_remap_pending", 2),
        ("xid79_lost", 3),
        ("gpu_silent", 12),
        ("blank_sentinels", 17),
        ("blank_sentinels", 40),
        ("nvlink_errors", 18),
        ("power_brake", 19),
        ("app_xid31", 20),
        ("app_xid43", 20),
    ];
    let list: Vec<_> = faults
        .iter()
        .map(|(kind, gpu)| {
            format!("{{\"kind\":\"{kind}\",\"gpu\":{gpu},\"from_s\":0,\"for_s\":86400}}")
        })
        .collect();
    Plan::new(FleetConfig {
        gpus: GPUS,
        // Every scrape of the test sees the first reading.
        interval_ms: 3_600_000,
        spread: false,
        models: ModelMix::parse("a100=1,h100=1,l40s=1,t4=1").unwrap(),
        faults: FaultPlan::parse(&list.join("\n")).unwrap(),
        seed: 11,
        ..FleetConfig::default()
    })
    .unwrap()
}

fn styles() -> Vec<Style> {
    let names = [Names::Old, Names::New, Names::Mixed];
    let labels = [
        Labels::Hostname,
        Labels::CapitalHostname,
        Labels::OldNamespace,
    ];
    (0..12)
        .map(|host| Style {
            names: names[host % 3],
            labels: labels[host / 3 % 3],
            mig: host % 2 == 0,
            nvlink_rows: host % 4 < 2,
        })
        .collect()
}

/// What the simulator says of every GPU that reports, by UUID.
fn truth(plan: &Plan) -> BTreeMap<String, Vec<u8>> {
    let mut truth = BTreeMap::new();
    for host in 0..plan.hosts() {
        HostSim::new(plan, host).advance(plan, 0, |reading| {
            let mut json = Vec::new();
            plan.write_json(&reading, &mut json);
            truth.insert(reading.gpu.uuid(), json);
        });
    }
    truth
}

fn assert_same(found: &MetricEvent<'_>, expected: &MetricEvent<'_>) {
    let mut wanted = expected.metrics.clone();
    let mut blank = BTreeSet::new();
    expected.metrics.for_each(|index, value| {
        if value > BLANK {
            blank.insert(schema::METRICS[index].name);
        }
    });
    for name in &blank {
        assert!(wanted.set(name, None));
    }
    let uuid = &found.gpu.gpu_uuid;
    assert_eq!(found.metrics, wanted, "{uuid}");
    let named: BTreeSet<_> = found
        .quality
        .as_ref()
        .unwrap()
        .blank_fields
        .iter()
        .flatten()
        .map(schema::Text::as_str)
        .collect();
    assert_eq!(named, blank, "{uuid}");
    let (gpu, wanted) = (&found.gpu, &expected.gpu);
    assert_eq!(
        (
            &gpu.gpu_id,
            gpu.device_index,
            &gpu.pci_bus_id,
            &gpu.name,
            &gpu.serial,
            &gpu.driver_version,
            &gpu.vbios
        ),
        (
            &wanted.gpu_id,
            wanted.device_index,
            &wanted.pci_bus_id,
            &wanted.name,
            &wanted.serial,
            &wanted.driver_version,
            &wanted.vbios
        )
    );
    assert_eq!(found.host, expected.host);
    let runner = |event: &MetricEvent<'_>| {
        event.workload.clone().map(|w| {
            [w.namespace, w.pod, w.container, w.job_id].map(|text| text.unwrap().to_string())
        })
    };
    assert_eq!(runner(found), runner(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_gpu_of_a_simulated_fleet_is_read_as_it_is_by_one_of_two_shards() {
    let raw = topic("raw", 32);
    let truth = truth(&plan());
    assert_eq!(
        truth.len(),
        95,
        "the silent GPU does not report; the lost one does, once"
    );
    let address = serve(router(Arc::new(Endpoints::new(plan(), styles())))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.json");
    let targets = fleet_sim::targets::file_sd(&plan(), &address, false).unwrap();
    std::fs::write(&path, serde_json::to_vec(&targets).unwrap()).unwrap();

    let shards: Vec<_> = (0..2)
        .map(|index| {
            let mut config = config(&raw, &[]);
            config.targets_file = Some(path.clone());
            config.shard.index = index;
            config.shard.count = 2;
            InProcess::start(config)
        })
        .collect();
    let read = || async {
        let records = tokio::task::spawn_blocking({
            let raw = raw.clone();
            move || consume_committed(&testbed::kafka(), &raw, 0, PATIENCE)
        });
        keys(&records.await.unwrap()).len() == truth.len()
    };
    wait_until_async(PATIENCE, "every GPU", read).await;
    for shard in shards {
        shard.stop().await;
    }

    let records = consume_committed(&testbed::kafka(), &raw, truth.len(), PATIENCE);
    let mut shard_of: BTreeMap<String, String> = BTreeMap::new();
    for record in &records {
        let found = event(record);
        let uuid = found.gpu.gpu_uuid.to_string();
        assert_eq!(record.key.as_deref(), Some(uuid.as_bytes()));
        assert_eq!(record.partition, schema::partition_for(uuid.as_bytes(), 32));
        let expected: MetricEvent<'_> = serde_json::from_slice(&truth[&uuid]).unwrap();
        assert_same(&found, &expected);
        let boot_id = found.collector.unwrap().boot_id.unwrap().to_string();
        assert_eq!(
            shard_of.entry(uuid).or_insert_with(|| boot_id.clone()),
            &boot_id
        );
    }
    assert_eq!(shard_of.len(), truth.len());
    assert_eq!(
        shard_of.into_values().collect::<BTreeSet<_>>().len(),
        2,
        "both shards had targets"
    );
}

fn keys(records: &[OwnedRecord]) -> BTreeSet<Vec<u8>> {
    records
        .iter()
        .filter_map(|record| record.key.clone())
        .collect()
}
