//! A service's life: configuration, telemetry, endpoints, its own work, drain, exit code.

use crate::admin::{self, Admin};
use crate::config::{self, ServiceConfig};
use crate::health::{Gate, Health, Heartbeat};
use crate::{Error, telemetry};
use axum::Router;
use std::fmt;
use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Who a service is.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name: the consumer group, the prefix of its environment variables, the `service` in its logs.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Describes its metrics (help texts).
    pub describe_metrics: fn(),
}

/// What a running service can reach of its process. Clones are the same process.
#[derive(Clone)]
pub struct App {
    service: Service,
    health: Health,
    shutdown: CancellationToken,
    mounted: Arc<OnceLock<Router>>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("service", &self.service.name)
            .finish_non_exhaustive()
    }
}

impl App {
    /// An app without a process around it: no endpoints, no signals. For tests that run a service's loop in-process.
    pub fn detached(service: Service) -> Self {
        Self {
            service,
            health: Health::new(),
            shutdown: CancellationToken::new(),
            mounted: Arc::default(),
        }
    }

    /// The service.
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// Cancelled when the service shall drain (SIGTERM, SIGINT).
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// A new condition of readiness, closed at first.
    pub fn gate(&self, name: &str) -> Gate {
        self.health.gate(name)
    }

    /// A new condition of liveness: somebody calls [`Heartbeat::beat`] at least every `max_age`.
    pub fn heartbeat(&self, name: &str, max_age: Duration) -> Heartbeat {
        self.health.heartbeat(name, max_age)
    }

    /// Every closed gate with its reason: what `/readyz` would complain of.
    pub fn unready(&self) -> Vec<(String, String)> {
        self.health.unready()
    }

    pub(crate) fn overdue(&self) -> Vec<(String, Duration)> {
        self.health.overdue()
    }

    /// Adds HTTP routes beside the chassis's own. The first call counts.
    pub fn mount(&self, router: Router) {
        if self.mounted.set(router).is_err() {
            warn!("routes were mounted already; the second set is ignored");
        }
    }
}

/// Runs `service` until it is told to stop, and says how it ended: one line on standard error and an exit code.
pub fn main<C, F>(service: Service, run: impl FnOnce(C, App) -> F) -> ExitCode
where
    C: ServiceConfig,
    F: Future<Output = Result<(), Error>>,
{
    librdkafka_guard::native::limit_heaps();
    match start(service, run) {
        Ok(code) => code,
        Err(error) => {
            drop(writeln!(
                std::io::stderr().lock(),
                "{}: {error}",
                service.name
            ));
            error.exit_code()
        }
    }
}

enum Arguments {
    Run {
        file: Option<PathBuf>,
        only_check: bool,
    },
    Print(String),
}

fn parse_arguments(service: &Service) -> Result<Arguments, Error> {
    let prefix = config::env_prefix(service.name);
    let mut file = std::env::var_os(format!("{prefix}_CONFIG")).map(PathBuf::from);
    let mut only_check = false;
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--config") => {
                let path = arguments
                    .next()
                    .ok_or_else(|| Error::config("--config needs a file"))?;
                file = Some(PathBuf::from(path));
            }
            Some("--check-config") => only_check = true,
            Some("--version" | "-V") => {
                return Ok(Arguments::Print(format!(
                    "{} {}\n",
                    service.name, service.version
                )));
            }
            Some("--help" | "-h") => {
                return Ok(Arguments::Print(format!(
                    "{name} {version}\n\nUsage: {name} [--config FILE] [--check-config] [--version] [--help]\n\n\
                     Settings come from FILE (TOML; {prefix}_CONFIG names it too), then from the environment:\n\
                     {prefix}__KAFKA__BOOTSTRAP_SERVERS=host:9092 is kafka.bootstrap_servers. The service's README lists them.\n\
                     --check-config reads them, says what is wrong or where it would listen, and exits.\n",
                    name = service.name,
                    version = service.version,
                )));
            }
            _ => {
                return Err(Error::config(format!(
                    "unknown argument {}; try --help",
                    argument.to_string_lossy()
                )));
            }
        }
    }
    Ok(Arguments::Run { file, only_check })
}

fn start<C, F>(service: Service, run: impl FnOnce(C, App) -> F) -> Result<ExitCode, Error>
where
    C: ServiceConfig,
    F: Future<Output = Result<(), Error>>,
{
    let (file, only_check) = match parse_arguments(&service)? {
        Arguments::Run { file, only_check } => (file, only_check),
        Arguments::Print(text) => {
            drop(std::io::stdout().lock().write_all(text.as_bytes()));
            return Ok(ExitCode::SUCCESS);
        }
    };
    let config: C = config::load(service.name, file.as_deref())?;
    if only_check {
        let line = format!("configuration ok; http.listen = {}\n", config.http().listen);
        drop(std::io::stdout().lock().write_all(line.as_bytes()));
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::init_logs(config.log())?;
    let metrics = telemetry::init_metrics()?;
    telemetry::describe();
    crate::eos::meters::describe();
    (service.describe_metrics)();
    metrics::gauge!("build_info", "service" => service.name, "version" => service.version).set(1.0);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("runtime")
        .enable_all()
        .build()
        .map_err(|error| Error::internal(format!("runtime: {error}")))?;
    let result = runtime.block_on(async {
        let listen = config.http().listen;
        let listener = tokio::net::TcpListener::bind(listen)
            .await
            .map_err(|error| Error::unavailable(format!("http.listen {listen}: {error}")))?;
        let app = App::detached(service);
        let upkeep = metrics.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                upkeep.run_upkeep();
            }
        });
        let router = admin::router(Admin {
            health: app.health.clone(),
            metrics,
            shutdown: app.shutdown.clone(),
            mounted: Arc::clone(&app.mounted),
        });
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                error!(%error, "endpoints stopped");
            }
        });
        spawn_signal_listener(&app)?;
        info!(version = service.version, %listen, ?config, "starting");
        let grace = config.shutdown().grace();
        drain(run(config, app.clone()), &app, grace).await
    });
    // Blocking calls into librdkafka may still be on their way; they end with the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result.map(|()| ExitCode::SUCCESS)
}

async fn drain(
    work: impl Future<Output = Result<(), Error>>,
    app: &App,
    grace: Duration,
) -> Result<(), Error> {
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        () = app.shutdown.cancelled() => {}
    }
    let started = Instant::now();
    match tokio::time::timeout(grace, work).await {
        Ok(result) => {
            info!(
                duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                "drained"
            );
            result
        }
        Err(_) => Err(Error::temporary(format!(
            "drain did not end within shutdown.grace_ms = {}; what was not committed comes again",
            grace.as_millis()
        ))),
    }
}

fn spawn_signal_listener(app: &App) -> Result<(), Error> {
    let listen = |kind| signal(kind).map_err(|error| Error::internal(format!("signals: {error}")));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let (shutdown, service) = (app.shutdown(), app.service.name);
    tokio::spawn(async move {
        // Kubernetes sends SIGTERM, a terminal's Ctrl-C SIGINT; both mean drain. Who sends a second one means now.
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        info!("draining");
        shutdown.cancel();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        drop(writeln!(
            std::io::stderr().lock(),
            "{service}: second signal: stopping without a drain"
        ));
        std::process::exit(i32::from(crate::ErrorKind::Temporary.exit_code()));
    });
    Ok(())
}
