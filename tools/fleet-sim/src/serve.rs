//! dcgm-exporter endpoints over HTTP, one for each host of a fleet.

use crate::cli::Failure;
use crate::exposition::{Style, write_exposition};
use crate::fleet::{HostSim, Plan};
use crate::reading::Reading;
use crate::stop::stop_flag;
use crate::targets;
use crate::truth::TruthFile;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const STOP_POLL: Duration = Duration::from_millis(100);
/// A host that nobody asked for long skips to this many steps before now.
const MOST_STEPS_BEHIND: u64 = 10_000;

/// How to serve.
#[derive(Debug)]
pub struct ServeConfig {
    /// The address of the paths, and of host 0 where each host has a port.
    pub listen: SocketAddr,
    /// Each host has a port.
    pub port_per_host: bool,
    /// The style of each host, in turn.
    pub styles: Vec<Style>,
}

#[derive(Debug)]
struct Host {
    sim: HostSim,
    next_step: u64,
    readings: Vec<Reading>,
}

/// The endpoints of a fleet.
#[derive(Debug)]
pub struct Endpoints {
    plan: Plan,
    styles: Vec<Style>,
    hosts: Vec<Mutex<Host>>,
}

impl Endpoints {
    /// The endpoints of the fleet of `plan`; host n has the n-th style, and so on in turn. `styles` must not be empty.
    pub fn new(plan: Plan, styles: Vec<Style>) -> Self {
        let hosts = (0..plan.hosts())
            .map(|host| {
                Mutex::new(Host {
                    sim: HostSim::new(&plan, host),
                    next_step: 0,
                    readings: Vec::new(),
                })
            })
            .collect();
        Self {
            plan,
            styles,
            hosts,
        }
    }

    /// The fleet.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The answer of host number `host`, `now_ms` after the start; none without such a host.
    ///
    /// The values are those of the last whole interval, for all hosts from the start on: an exporter samples on its own,
    /// whenever it is asked.
    pub fn scrape(&self, host: u32, now_ms: u64) -> Option<Vec<u8>> {
        let mut state = self
            .hosts
            .get(host as usize)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let interval_ms = u64::from(self.plan.config().interval_ms);
        let step = now_ms / interval_ms;
        let Host {
            sim,
            next_step,
            readings,
        } = &mut *state;
        *next_step = (*next_step).max(step.saturating_sub(MOST_STEPS_BEHIND));
        while *next_step <= step {
            readings.clear();
            sim.advance(&self.plan, *next_step * interval_ms, |reading| {
                readings.push(reading);
            });
            *next_step += 1;
        }
        let style = self
            .styles
            .get(host as usize % self.styles.len().max(1))
            .copied()
            .unwrap_or_default();
        let mut out = Vec::with_capacity(256 * 1024);
        write_exposition(readings, style, &mut out);
        Some(out)
    }
}

#[derive(Clone)]
struct Shared {
    endpoints: Arc<Endpoints>,
    began: Instant,
    host: Option<u32>,
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// `GET /host/{n}/metrics` for each host, `GET /targets` for a collector; the fleet starts now.
pub fn router(endpoints: Arc<Endpoints>) -> Router {
    let shared = Shared {
        endpoints,
        began: Instant::now(),
        host: None,
    };
    Router::new()
        .route("/host/{host}/metrics", get(by_path))
        .route("/targets", get(list))
        .route("/health", get(|| async { "OK\n" }))
        .with_state(shared)
}

async fn by_path(State(shared): State<Shared>, Path(host): Path<u32>) -> Response {
    answer(&shared, host)
}

async fn by_port(State(shared): State<Shared>) -> Response {
    let host = shared.host.unwrap_or(0);
    answer(&shared, host)
}

fn answer(shared: &Shared, host: u32) -> Response {
    shared.endpoints.scrape(host, shared.now_ms()).map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |text| ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
    )
}

async fn list(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let address = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("127.0.0.1:9400");
    match targets::file_sd(shared.endpoints.plan(), address, false) {
        Ok(groups) => axum::Json(groups).into_response(),
        Err(reason) => (StatusCode::BAD_REQUEST, reason).into_response(),
    }
}

/// Serves until the process is asked to end.
pub(crate) async fn run(
    plan: Plan,
    config: ServeConfig,
    mut truth: TruthFile,
) -> Result<(), Failure> {
    let stop = stop_flag()?;
    let hosts = plan.hosts();
    let endpoints = Arc::new(Endpoints::new(plan, config.styles));
    let began = Instant::now();
    let mut servers = JoinSet::new();
    if config.port_per_host {
        for host in 0..hosts {
            let port = u16::try_from(u32::from(config.listen.port()) + host)
                .map_err(|_| Failure::Usage(format!("there is no port for host {host}")))?;
            let listener = bind(SocketAddr::new(config.listen.ip(), port)).await?;
            let shared = Shared {
                endpoints: Arc::clone(&endpoints),
                began,
                host: Some(host),
            };
            let mut routes = Router::new()
                .route("/metrics", get(by_port))
                .with_state(shared);
            if host == 0 {
                routes = routes.merge(router(Arc::clone(&endpoints)));
            }
            servers.spawn(async move { axum::serve(listener, routes).await });
        }
    } else {
        let listener = bind(config.listen).await?;
        let routes = router(Arc::clone(&endpoints));
        servers.spawn(async move { axum::serve(listener, routes).await });
    }
    tracing::info!(listen = %config.listen, hosts, gpus = endpoints.plan().config().gpus, "serving");
    let end = endpoints.plan().config().duration_ms.unwrap_or(u64::MAX);
    loop {
        let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if stop.load(Ordering::Relaxed) || now_ms >= end {
            break;
        }
        truth.reach(endpoints.plan(), now_ms)?;
        tokio::time::sleep(STOP_POLL).await;
    }
    servers.shutdown().await;
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::Unavailable(format!("can't listen on {address}: {error}")))
}
