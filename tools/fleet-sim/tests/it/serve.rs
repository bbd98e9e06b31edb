//! The endpoints.

use crate::command::{Running, fleet_sim};
use std::time::Duration;
use testbed::{free_port, wait_until_async};

const DEADLINE: Duration = Duration::from_secs(30);

async fn get(url: &str) -> Option<(u16, String)> {
    let response = reqwest::get(url).await.ok()?;
    Some((response.status().as_u16(), response.text().await.ok()?))
}

#[tokio::test]
async fn every_host_has_a_path_and_the_targets_lead_to_them() {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut running = Running::start(&[
        "serve",
        "--listen",
        &listen,
        "--gpus",
        "20",
        "--interval",
        "100ms",
    ]);
    wait_until_async(DEADLINE, "the endpoints", async || {
        get(&format!("http://{listen}/health")).await.is_some()
    })
    .await;
    let (_, targets) = get(&format!("http://{listen}/targets")).await.unwrap();
    let targets: serde_json::Value = serde_json::from_str(&targets).unwrap();
    let printed = fleet_sim(&["targets", "--gpus", "20", "--address", &listen]);
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&printed.stdout).unwrap(),
        targets
    );
    let mut gpus = 0;
    for group in targets.as_array().unwrap() {
        let url = format!(
            "http://{}{}",
            group["targets"][0].as_str().unwrap(),
            group["labels"]["__metrics_path__"].as_str().unwrap()
        );
        let (status, text) = get(&url).await.unwrap();
        assert_eq!(status, 200);
        gpus += text
            .lines()
            .filter(|line| line.starts_with("DCGM_FI_DEV_SM_CLOCK{") && !line.contains("GPU_I_ID"))
            .count();
    }
    assert_eq!(gpus, 20);
    assert_eq!(
        get(&format!("http://{listen}/host/3/metrics"))
            .await
            .unwrap()
            .0,
        404
    );

    let energy = async || {
        let (_, text) = get(&format!("http://{listen}/host/0/metrics"))
            .await
            .unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{"))
            .unwrap()
            .to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = energy().await;
    wait_until_async(DEADLINE, "time goes on", async || energy().await > before).await;
    assert_eq!(running.terminate(), Some(0));
}

#[tokio::test]
async fn hosts_may_have_ports_of_their_own() {
    // Three neighbouring ports that are free; another process may take one in between, so some tries.
    for _ in 0..20 {
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let mut running = Running::start(&[
            "serve",
            "--listen",
            &listen,
            "--gpus",
            "24",
            "--port-per-host",
        ]);
        let third = format!("http://127.0.0.1:{}/metrics", u32::from(port) + 2);
        let mut ended = false;
        let answered = async || {
            get(&third)
                .await
                .is_some_and(|(status, text)| status == 200 && text.contains("gpu-node-00002"))
        };
        for _ in 0..100 {
            ended = running.0.try_wait().unwrap().is_some();
            if ended || answered().await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if !ended {
            assert!(answered().await);
            return;
        }
    }
    panic!("no three free ports in a row");
}
