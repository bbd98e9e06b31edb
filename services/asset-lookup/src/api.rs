//! The HTTP API.

use crate::config::Limits;
use crate::csv_rows;
use crate::domain::draft::{Draft, FieldError};
use crate::domain::field::Field;
use crate::domain::json_rows;
use crate::domain::page::Page;
use crate::metrics;
use crate::problem::Problem;
use crate::store::{Outcome, Store};
use axum::body::{Body, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{MatchedPath, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use schema::Asset;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

const IMPORT: &str = "/api/v1/assets/import";

/// What the handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    store: Store,
    limits: Limits,
    imports: Arc<Semaphore>,
    migrated: watch::Receiver<bool>,
    requests: Requests,
}

impl Api {
    pub(crate) fn new(
        store: Store,
        limits: &Limits,
        migrated: watch::Receiver<bool>,
        requests: Requests,
    ) -> Self {
        Self {
            store,
            limits: limits.clone(),
            imports: Arc::new(Semaphore::new(limits.max_imports)),
            migrated,
            requests,
        }
    }
}

pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/api/v1/assets", get(list))
        .route(IMPORT, post(import))
        .route("/api/v1/assets/republish", post(republish))
        .route(
            "/api/v1/assets/{gpu_uuid}",
            get(read).put(write).delete(delete),
        )
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .layer(from_fn_with_state(api.clone(), attend))
        .with_state(api)
}

/// The requests that are being answered.
#[derive(Clone, Debug)]
pub(crate) struct Requests(Arc<Semaphore>);

impl Requests {
    /// The most at a time; a further one is told to come again.
    const MOST: u32 = 256;

    pub(crate) fn new() -> Self {
        let most = usize::try_from(Self::MOST).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Waits until all are answered; later ones are refused.
    pub(crate) async fn drain(&self) {
        if let Ok(all) = self.0.acquire_many(Self::MOST).await {
            all.forget();
        }
    }
}

/// Counts and times each request, holds the service's end up until it is answered, and bounds its time.
async fn attend(
    State(api): State<Api>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let route = matched.as_ref().map_or("other", MatchedPath::as_str);
    let limit = if route == IMPORT {
        api.limits.import_timeout_ms
    } else {
        api.limits.request_timeout_ms
    };
    let permit = api.requests.0.try_acquire();
    let response = if permit.is_err() {
        Problem::unavailable("too many requests at once").into_response()
    } else if *api.migrated.borrow() {
        tokio::time::timeout(Duration::from_millis(limit), next.run(request))
            .await
            .unwrap_or_else(|_| {
                Problem::unavailable(format!("the request took longer than {limit} ms"))
                    .into_response()
            })
    } else {
        Problem::unavailable("the service waits for its database").into_response()
    };
    metrics::request(method, route, response.status().as_u16(), started.elapsed());
    response
}

/// A closed list, so that nobody can make series by inventing methods.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

async fn read(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Asset>, Problem> {
    let gpu_uuid = gpu_uuid_of(path)?;
    let asset = api.store.get(&gpu_uuid).await?;
    asset
        .map(Json)
        .ok_or_else(|| Problem::not_found(format!("there is no asset {gpu_uuid}")))
}

async fn list(
    State(api): State<Api>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct List {
        assets: Vec<Asset>,
        /// What to give as `after` for the next page; null on the last one.
        next: Option<String>,
    }
    let Query(parameters) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let page = Page::of_query(parameters).map_err(Problem::bad_parameters)?;
    let (assets, next) = api.store.list(&page).await?;
    Ok(Json(List { assets, next }).into_response())
}

async fn write(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let gpu_uuid = gpu_uuid_of(path)?;
    if content_type(&headers).as_deref() != Some("application/json") {
        return Err(Problem::wrong_content_type("application/json"));
    }
    let body = read_body(body, api.limits.max_asset_bytes).await?;
    let mut members: Map<String, Value> = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the body is no JSON object: {error}")))?;
    let own = Value::String(gpu_uuid);
    let named = members
        .entry(Field::GpuUuid.name())
        .or_insert_with(|| own.clone());
    if *named != own {
        return Err(Problem::bad_asset(vec![FieldError::new(
            Field::GpuUuid.name(),
            "differs from the one in the path",
        )]));
    }
    let asset = Draft::of_object(members)
        .finish()
        .map_err(Problem::bad_asset)?;
    let outcome = api.store.set(std::slice::from_ref(&asset)).await?;
    let status = if outcome.created > 0 {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(asset)).into_response())
}

async fn delete(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let gpu_uuid = gpu_uuid_of(path)?;
    if api.store.delete(&gpu_uuid).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found(format!("there is no asset {gpu_uuid}")))
    }
}

async fn import(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Imported {
        rows: usize,
        #[serde(flatten)]
        outcome: Outcome,
    }
    let parse = match content_type(&headers).as_deref() {
        Some("text/csv") => csv_rows::read,
        Some("application/json") => json_rows::read,
        _ => {
            return Err(Problem::wrong_content_type("text/csv or application/json"));
        }
    };
    // An import is held in memory: so many at a time.
    let _permit = api
        .imports
        .try_acquire()
        .map_err(|_| Problem::unavailable("another import is under way"))?;
    let body = read_body(body, api.limits.max_import_bytes).await?;
    let max_rows = api.limits.max_import_rows;
    // Parsing keeps a core busy; the runtime's own threads answer others meanwhile.
    let assets = tokio::task::spawn_blocking(move || parse(&body, max_rows))
        .await
        .map_err(|error| Problem::unavailable(error.to_string()))?
        .map_err(Problem::bad_import)?;
    let outcome = api.store.set(&assets).await?;
    let rows = assets.len();
    Ok(Json(Imported { rows, outcome }).into_response())
}

async fn republish(State(api): State<Api>) -> Result<Response, Problem> {
    api.store.republish().await?;
    let told = serde_json::json!({"status": "scheduled"});
    Ok((StatusCode::ACCEPTED, Json(told)).into_response())
}

fn gpu_uuid_of(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(gpu_uuid) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    match Field::GpuUuid.of_text(&gpu_uuid) {
        Ok(_) => Ok(gpu_uuid),
        Err(reason) => Err(Problem::bad_parameters(vec![FieldError::new(
            Field::GpuUuid.name(),
            reason,
        )])),
    }
}

/// The content type without its parameters.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = value.split(';').next()?;
    Some(kind.trim().to_ascii_lowercase())
}

async fn read_body(body: Body, limit: usize) -> Result<axum::body::Bytes, Problem> {
    to_bytes(body, limit).await.map_err(|error| {
        // The only error of a body that was all there is its length.
        if std::error::Error::source(&error)
            .is_some_and(|source| source.to_string().contains("length limit"))
        {
            Problem::too_large(limit)
        } else {
            Problem::bad_request("the body was not sent to its end")
        }
    })
}
