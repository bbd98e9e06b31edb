//! Many assets at once.

use crate::service::{DEADLINE, Service, path, topic, uuid};
use serde_json::{Value, json};
use std::io::Write;
use testbed::Database;

fn service(extra: &[(&str, &str)]) -> (Database, Service) {
    let database = testbed::database("assets");
    let service = Service::start(&testbed::kafka(), database.url(), &topic(), extra);
    service.wait_ready();
    (database, service)
}

fn json_import(service: &Service, document: &str) -> crate::service::Answer {
    let path = "/api/v1/assets/import";
    service.request(
        "POST",
        path,
        Some("application/json; charset=utf-8"),
        document.as_bytes(),
    )
}

#[test]
fn an_import_takes_all_rows_or_none_and_names_each_bad_one() {
    let (database, service) = service(&[]);
    let count = || database.sql("SELECT count(*) FROM gpu_assets");
    let bad = format!(
        "gpu_uuid,model,priority,warranty_expiry,tags\n{},m,5,2027-01-01,slot=1\n{},m,11,,\nGPU-2,,5,31.12.2027,\n{},m,1,,{{\n{},m,1,,\n",
        uuid(0),
        uuid(1),
        uuid(3),
        uuid(0)
    );
    let (status, kind, blamed) = service.import_csv(&bad).problem();
    assert_eq!((status, kind.as_str()), (422, "bad-rows"));
    assert_eq!(
        blamed,
        [
            "3 priority",
            "4 gpu_uuid",
            "4 warranty_expiry",
            "4 model",
            "5 tags",
            "6 gpu_uuid"
        ]
    );
    let (status, _, blamed) = json_import(
        &service,
        &format!(
            "[\n{{\"gpu_uuid\":\"{}\",\"model\":\"m\"}},\n{{\"model\":\"m\"}}\n]",
            uuid(0)
        ),
    )
    .problem();
    assert_eq!((status, blamed), (422, vec!["3 gpu_uuid".to_owned()]));
    let (status, kind, blamed) = service.import_csv("gpu_uuid,modell\n").problem();
    assert_eq!((status, kind.as_str()), (422, "bad-rows"));
    assert_eq!(blamed, ["1 modell", "1 model"]);
    assert_eq!(json_import(&service, "[\n{\n]").problem().2, ["3 -"]);
    assert_eq!(count(), "0");

    let good = format!(
        "gpu_uuid,model,priority,warranty_expiry,tags\n{},m,5,2027-01-01,slot=1\n{},m,10,,\"{{\"\"a\"\":\"\"b\"\"}}\"\n",
        uuid(0),
        uuid(1)
    );
    let told = |answer: crate::service::Answer| {
        let json = answer.json();
        let number = |name: &str| json[name].as_u64().unwrap();
        (
            number("rows"),
            number("created"),
            number("updated"),
            number("unchanged"),
        )
    };
    assert_eq!(told(service.import_csv(&good)), (2, 2, 0, 0));
    assert_eq!(told(service.import_csv(&good)), (2, 0, 0, 2));
    assert_eq!(
        told(service.import_csv(&good.replace("10,,", "9,,"))),
        (2, 0, 1, 1)
    );
    let document: Vec<Value> = (0..3)
        .map(|n| json!({"gpu_uuid": uuid(n), "model": "m", "priority": 5, "warranty_expiry": "2027-01-01", "tags": {"slot": "1"}}))
        .collect();
    assert_eq!(
        told(json_import(
            &service,
            &serde_json::to_string(&document).unwrap()
        )),
        (3, 1, 1, 1)
    );
    assert_eq!(service.get(&path(1)).json()["tags"], json!({"slot": "1"}));
}

#[test]
fn imports_are_bounded_in_bytes_rows_and_number() {
    let (_database, service) = service(&[
        ("ASSET_LOOKUP__LIMITS__MAX_IMPORT_ROWS", "3"),
        ("ASSET_LOOKUP__LIMITS__MAX_IMPORT_BYTES", "2000"),
    ]);
    let rows = |n: u32| {
        let rows: Vec<String> = (0..n).map(|n| format!("{},m\n", uuid(n))).collect();
        format!("gpu_uuid,model\n{}", rows.concat())
    };
    let told = |answer: crate::service::Answer| {
        let (status, kind, _) = answer.problem();
        (status, kind)
    };
    assert_eq!(service.import_csv(&rows(3)).status, 200);
    assert_eq!(
        told(service.import_csv(&rows(4))),
        (413, "too-many-rows".to_owned())
    );
    assert_eq!(
        told(service.import_csv(&rows(200))),
        (413, "too-large".to_owned())
    );
    let path = "/api/v1/assets/import";
    assert_eq!(
        told(service.request("POST", path, None, b"")),
        (415, "wrong-content-type".to_owned())
    );
    assert_eq!(
        told(service.request("POST", path, Some("text/csv"), b"")),
        (400, "bad-document".to_owned())
    );

    // One import hangs on its client: a second is sent away, and a single asset is not.
    let hang = || {
        let mut slow = std::net::TcpStream::connect(("127.0.0.1", service.port())).unwrap();
        write!(
            slow,
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 1000\r\n\r\ngpu_"
        )
        .unwrap();
        slow
    };
    let mut slow = hang();
    testbed::wait_until(DEADLINE, "the second import is refused", || {
        let answer = service.import_csv(&rows(1));
        if answer.status == 200 {
            // It was quicker, and may have sent the other away.
            slow = hang();
        }
        answer.status == 503 && answer.head.contains("retry-after: 5")
    });
    assert_eq!(
        service
            .put(&crate::service::path(7), &json!({"model": "m"}))
            .status,
        201
    );
    drop(slow);
    testbed::wait_until(DEADLINE, "the next import is taken", || {
        service.import_csv(&rows(1)).status == 200
    });
}

#[test]
fn imports_at_the_same_time_do_not_lock_each_other_out() {
    let (database, service) = service(&[("ASSET_LOOKUP__LIMITS__MAX_IMPORTS", "4")]);
    // Each in another order, and each changes every row.
    let document = |worker: u32, round: u32| {
        let mut rows: Vec<String> = (0..2_500)
            .map(|n| format!("{},m,rack-{worker}-{round}\n", uuid(n)))
            .collect();
        rows.rotate_left(usize::try_from(worker * 600).unwrap());
        if worker % 2 == 1 {
            rows.reverse();
        }
        format!("gpu_uuid,model,rack_id\n{}", rows.concat())
    };
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (service, document) = (&service, &document);
            scope.spawn(move || {
                for round in 0..3 {
                    let answer = service.import_csv(&document(worker, round));
                    assert_eq!(answer.status, 200, "{}", answer.body);
                }
            });
        }
    });
    assert_eq!(
        database.sql("SELECT count(*), count(DISTINCT rack_id) FROM gpu_assets"),
        "2500|1"
    );
}

#[test]
fn the_simulators_inventory_is_taken_as_it_is_in_both_forms() {
    let (database, service) = service(&[]);
    let plan = fleet_sim::Plan::new(fleet_sim::FleetConfig {
        gpus: 2_000,
        ..fleet_sim::FleetConfig::default()
    })
    .unwrap();
    let assets: Vec<schema::Asset> = plan.assets(0.02).collect();
    let mut csv = Vec::new();
    fleet_sim::assets::write_csv(assets.iter().cloned(), &mut csv).unwrap();
    let answer = service.import_csv(std::str::from_utf8(&csv).unwrap());
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["created"], assets.len());
    let mut json = Vec::new();
    fleet_sim::assets::write_json(assets.iter().cloned(), &mut json).unwrap();
    let answer = json_import(&service, std::str::from_utf8(&json).unwrap());
    assert_eq!(answer.json()["unchanged"], assets.len(), "{}", answer.body);
    let one = &assets[700];
    let read = service
        .get(&format!("/api/v1/assets/{}", one.gpu_uuid))
        .json();
    assert_eq!(read, serde_json::to_value(one).unwrap());
    assert_eq!(
        database.sql("SELECT count(*) FROM gpu_assets"),
        assets.len().to_string()
    );
}
