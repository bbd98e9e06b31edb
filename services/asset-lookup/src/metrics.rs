//! What the service counts.

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use std::time::Duration;

const PENDING: &str = "asset_lookup_outbox_pending";
const OLDEST: &str = "asset_lookup_outbox_oldest_seconds";
const PUBLISHED: &str = "asset_lookup_published_total";
const ACTIVE: &str = "asset_lookup_relay_active";
const REPUBLISHING: &str = "asset_lookup_republishing";
const REQUESTS: &str = "asset_lookup_http_requests_total";
const DURATION: &str = "asset_lookup_http_request_duration_seconds";

pub(crate) fn describe() {
    describe_gauge!(
        PENDING,
        "Changes that wait in the outbox; every instance shows the same."
    );
    describe_gauge!(
        OLDEST,
        Unit::Seconds,
        "Age of the oldest change in the outbox."
    );
    describe_counter!(
        PUBLISHED,
        "Records that the broker has committed, by kind: asset, tombstone."
    );
    describe_gauge!(ACTIVE, "1 in the instance that publishes, 0 in the others.");
    describe_gauge!(REPUBLISHING, "1 while all assets are published again.");
    describe_counter!(REQUESTS, "API requests by method, route and status.");
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "Time from request to response, by route."
    );
}

pub(crate) fn outbox(pending: i64, oldest_seconds: f64) {
    gauge!(PENDING).set(pending as f64);
    gauge!(OLDEST).set(oldest_seconds);
}

pub(crate) fn published(assets: usize, tombstones: usize) {
    for (kind, n) in [("asset", assets), ("tombstone", tombstones)] {
        counter!(PUBLISHED, "kind" => kind).increment(u64::try_from(n).unwrap_or(u64::MAX));
    }
}

pub(crate) fn relay_active(active: bool) {
    gauge!(ACTIVE).set(f64::from(u8::from(active)));
}

pub(crate) fn republishing(running: bool) {
    gauge!(REPUBLISHING).set(f64::from(u8::from(running)));
}

pub(crate) fn request(method: &'static str, route: &str, status: u16, took: Duration) {
    counter!(REQUESTS, "method" => method, "route" => route.to_owned(), "status" => status.to_string()).increment(1);
    histogram!(DURATION, "route" => route.to_owned()).record(took.as_secs_f64());
}
