//! The queries that an operator's screen shows.

use crate::fleet::{alert_value, now_ms, reading_value, score_value, uuid};
use crate::service::{Service, Topics};
use testbed::NewRecord;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/overview/");

#[test]
fn the_overview_queries_answer_on_empty_tables_and_show_what_is_there() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let service = Service::start(&topics, database.url(), &[]);
    service.wait_ready();
    let query = |name: &str| {
        let sql = std::fs::read_to_string(format!("{FOLDER}{name}.sql")).unwrap();
        database.sql(&sql)
    };
    assert_eq!(
        (query("alerts"), query("scores")),
        (String::new(), String::new())
    );
    assert!(query("rows").contains("alerts|0"), "{}", query("rows"));
    assert!(
        query("arrived").contains("alerts|0|"),
        "{}",
        query("arrived")
    );

    let now = now_ms();
    let gpu = uuid(9);
    let record = |value: String| [NewRecord::new(gpu.as_str(), value)];
    topics.produce(&topics.enriched, record(reading_value(&gpu, now, 70.0)));
    topics.produce(&topics.alerts, record(alert_value(&gpu, now)));
    topics.produce(&topics.scores, record(score_value(&gpu, now)));
    service.wait_metric("tsdb_sink_rows_total", |n| n >= 3.0);
    assert!(query("alerts").contains("|warning|firing|temperature_spike|GPU-00000000|"));
    assert!(
        query("scores").starts_with("87.0|good|ok|1.00|GPU-00000000|"),
        "{}",
        query("scores")
    );
    let rows = query("rows");
    for expected in [
        "gpu_metrics|1",
        "alerts|1",
        "health_scores|1",
        "gpus|1",
        "gpu_metrics_1min|0",
    ] {
        assert!(rows.lines().any(|line| line == expected), "{rows}");
    }
    let arrived = query("arrived");
    let line = arrived
        .lines()
        .find(|line| line.starts_with("gpu_metrics|"))
        .unwrap();
    assert!(line.starts_with("gpu_metrics|1|20"), "{arrived}");
    assert!(
        database
            .sql("SELECT gpu_uuid, gpu_temp_c FROM latest_gpu_metrics")
            .ends_with("|70")
    );
    assert_eq!(
        database.sql("SELECT count(*) FROM firing_alerts, latest_health_scores"),
        "1"
    );
}
