//! One asset, and lists of them.

use crate::service::{Service, path, topic, uuid};
use serde_json::{Value, json};
use std::fmt::Write;
use testbed::Database;

/// A service on the shared broker with a database of its own.
fn service(extra: &[(&str, &str)]) -> (Database, Service) {
    let database = testbed::database("assets");
    let service = Service::start(&testbed::kafka(), database.url(), &topic(), extra);
    service.wait_ready();
    (database, service)
}

fn full(number: u32) -> Value {
    json!({
        "gpu_uuid": uuid(number), "model": "NVIDIA H100 80GB HBM3", "architecture": "Hopper", "compute_capability": "9.0",
        "memory_gb": 80, "serial": "1654923008123", "hostname": "gpu-node-042", "pci_bus_id": "00000000:3B:00.0",
        "rack_id": "rack-12", "cluster_id": "production-cluster-1", "datacenter": "us-west-2a", "region": "us-west-2",
        "purchase_date": "2024-03-01", "deployment_date": "2024-04-15", "warranty_expiry": "2027-03-01",
        "expected_eol": "2029-04-15", "sla_tier": "production", "priority": 2, "tags": {"team": "vision \"β\""},
        "notes": "fan tray\nreplaced",
    })
}

#[test]
fn an_asset_is_created_read_changed_and_deleted() {
    let (database, service) = service(&[]);
    assert_eq!(service.get(&path(1)).problem().0, 404);
    let created = service.put(&path(1), &full(1));
    assert_eq!((created.status, created.json()), (201, full(1)));
    assert_eq!(service.get(&path(1)).json(), full(1));

    // As it was: nothing is to be published, nothing has a new time.
    let updated_at = || database.sql("SELECT updated_at, xmin FROM gpu_assets");
    let before = updated_at();
    assert_eq!(service.put(&path(1), &full(1)).status, 200);
    assert_eq!(updated_at(), before);

    // A PUT sets the whole asset: what it does not name is gone. The path names the GPU.
    let least = service.put(&path(1), &json!({"model": "NVIDIA L4", "rack_id": null}));
    let expected = json!({"gpu_uuid": uuid(1), "model": "NVIDIA L4", "sla_tier": "development", "priority": 5});
    assert_eq!((least.status, least.json()), (200, expected.clone()));
    assert_eq!(service.get(&path(1)).json(), expected);
    assert_ne!(updated_at(), before);

    assert_eq!(service.delete(&path(1)).status, 204);
    assert_eq!(service.get(&path(1)).problem().0, 404);
    assert_eq!(service.delete(&path(1)).problem().0, 404);
    let counted = service.metric(
        "asset_lookup_http_requests_total{method=\"DELETE\",route=\"/api/v1/assets/{gpu_uuid}\",status=\"204\"}",
    );
    assert!((counted - 1.0).abs() < f64::EPSILON, "{counted}");
}

#[test]
fn what_is_wrong_with_an_asset_is_told_field_by_field_and_nothing_is_changed() {
    let (database, service) = service(&[]);
    let bad = json!({"model": 7, "warranty_expiry": "2027-02-29", "sla_tier": "gold", "priority": 0, "rack": "r"});
    let (status, kind, mut fields) = service.put(&path(1), &bad).problem();
    fields.sort();
    assert_eq!((status, kind.as_str()), (422, "bad-asset"));
    assert_eq!(
        fields,
        ["model", "priority", "rack", "sla_tier", "warranty_expiry"]
    );

    let told = |answer: crate::service::Answer| {
        let (status, kind, fields) = answer.problem();
        (status, kind, fields.join(" "))
    };
    let row = |status, kind: &str, fields: &str| (status, kind.to_owned(), fields.to_owned());
    let other = json!({"gpu_uuid": uuid(2), "model": "m"});
    assert_eq!(
        told(service.put(&path(1), &other)),
        row(422, "bad-asset", "gpu_uuid")
    );
    assert_eq!(
        told(service.put("/api/v1/assets/GPU-1", &full(1))),
        row(400, "bad-parameters", "gpu_uuid")
    );
    assert_eq!(
        told(service.get("/api/v1/assets/%00")),
        row(400, "bad-parameters", "gpu_uuid")
    );
    let json = Some("application/json");
    let put =
        |content_type, body: &[u8]| told(service.request("PUT", &path(1), content_type, body));
    assert_eq!(put(json, b"{\"model\":"), row(400, "bad-request", ""));
    assert_eq!(put(json, b"[]"), row(400, "bad-request", ""));
    assert_eq!(put(json, &b"[".repeat(60_000)), row(400, "bad-request", ""));
    assert_eq!(put(None, b"{}"), row(415, "wrong-content-type", ""));
    assert_eq!(
        put(Some("text/csv"), b"{}"),
        row(415, "wrong-content-type", "")
    );
    let long = json!({"model": "m", "notes": "x".repeat(70_000)}).to_string();
    assert_eq!(put(json, long.as_bytes()), row(413, "too-large", ""));
    assert_eq!(told(service.get("/api/v2")), row(404, "not-found", ""));
    assert_eq!(
        told(service.request("PATCH", &path(1), None, b"")),
        row(405, "method-not-allowed", "")
    );
    assert_eq!(database.sql("SELECT count(*) FROM gpu_assets"), "0");
    assert_eq!(database.sql("SELECT count(*) FROM asset_outbox"), "0");
}

#[test]
fn pages_hold_every_asset_once_in_order_and_filters_combine() {
    let (_database, service) = service(&[]);
    let mut csv = "gpu_uuid,model,rack_id,cluster_id\n".to_owned();
    for n in (0..25).rev() {
        writeln!(csv, "{},m{},rack {},c", uuid(n), n % 2, n % 3).unwrap();
    }
    assert_eq!(service.import_csv(&csv).status, 200);
    let all = |query: &str| {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = service
                .get(&format!("/api/v1/assets?limit=4{query}{after}"))
                .json();
            let assets = page["assets"].as_array().unwrap();
            assert!(assets.len() <= 4);
            found.extend(
                assets
                    .iter()
                    .map(|a| a["gpu_uuid"].as_str().unwrap().to_owned()),
            );
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return found,
            }
        }
    };
    let those = |wanted: fn(&u32) -> bool| (0..25).filter(wanted).map(uuid).collect::<Vec<_>>();
    assert_eq!(all(""), those(|_| true));
    assert_eq!(all("&rack_id=rack%201"), those(|n| n % 3 == 1));
    assert_eq!(
        all("&rack_id=rack+1&model=m0&cluster_id=c"),
        those(|n| n % 6 == 4)
    );
    assert_eq!(all("&cluster_id=none"), those(|_| false));
    assert_eq!(
        service.get("/api/v1/assets").json()["assets"]
            .as_array()
            .unwrap()
            .len(),
        25
    );
    let (status, kind, fields) = service
        .get("/api/v1/assets?rack=1&limit=0&model=a&model=b")
        .problem();
    assert_eq!((status, kind.as_str()), (400, "bad-parameters"));
    assert_eq!(fields, ["rack", "model", "limit"]);
}
