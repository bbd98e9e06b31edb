//! The endpoints that every service answers.
//!
//! | path | 200 | 503 |
//! |---|---|---|
//! | `/healthz` | every loop of this process goes round | one is stuck; restart me |
//! | `/readyz` | every gate is open | one is closed, or the service drains |
//! | `/metrics` | Prometheus text format 0.0.4 | |
//!
//! `/healthz` never depends on Kafka or a database: a broker's outage must not restart the fleet.

use crate::health::Health;
use crate::telemetry;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) health: Health,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) shutdown: CancellationToken,
    pub(crate) mounted: Arc<OnceLock<Router>>,
}

pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .fallback(mounted)
        .with_state(admin)
}

async fn healthz(State(admin): State<Admin>) -> Response {
    let overdue = admin.health.overdue();
    if overdue.is_empty() {
        return "ok\n".into_response();
    }
    let text = lines(
        overdue
            .iter()
            .map(|(name, age)| (name, format!("no progress for {:.1} s", age.as_secs_f64()))),
    );
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let mut unready = admin.health.unready();
    if admin.shutdown.is_cancelled() {
        unready.push(("shutdown".to_owned(), "draining".to_owned()));
    }
    if unready.is_empty() {
        return "ready\n".into_response();
    }
    let text = lines(unready.iter().map(|(name, reason)| (name, reason.clone())));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// `name: reason`, a line each.
fn lines<'a>(items: impl Iterator<Item = (&'a String, String)>) -> String {
    items.fold(String::new(), |mut text, (name, reason)| {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(&reason);
        text.push('\n');
        text
    })
}

async fn render(State(admin): State<Admin>) -> Response {
    telemetry::refresh_process_metrics();
    let content_type = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (content_type, admin.metrics.render()).into_response()
}

async fn mounted(State(admin): State<Admin>, request: Request) -> Response {
    match admin.mounted.get() {
        Some(router) => match router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
