//! Asking one endpoint.

use reqwest::header::ACCEPT;
use reqwest::{Client, StatusCode};
use std::time::Duration;

/// A connection that was idle for longer is closed; longer than any usual interval, so that connections are kept.
const IDLE_TIMEOUT: Duration = Duration::from_mins(3);
const TEXT_FORMAT: &str = "text/plain; version=0.0.4";

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// Not in time.
    #[error("no answer within {0} ms")]
    Timeout(u64),
    /// No connection.
    #[error("{0}")]
    Unreachable(String),
    /// Another status than 200.
    #[error("HTTP {0}")]
    Status(u16),
    /// Longer than the limit.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    /// The answer broke off.
    #[error("{0}")]
    Broken(String),
}

impl FetchError {
    /// The metric's label.
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Status(_) => "status",
            Self::TooLarge(_) => "too_large",
            Self::Broken(_) => "broken",
        }
    }
}

/// A client that keeps one connection an endpoint.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .user_agent(concat!("gpu-health-monitor-collector/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(IDLE_TIMEOUT)
        // An endpoint is where it is; a redirect would be a surprise, and a way around the target's identity.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}

/// The endpoint's answer.
pub(crate) async fn fetch(
    client: &Client,
    url: &str,
    timeout_ms: u64,
    max_body_bytes: usize,
) -> Result<Vec<u8>, FetchError> {
    tokio::time::timeout(
        Duration::from_millis(timeout_ms),
        ask(client, url, max_body_bytes),
    )
    .await
    .unwrap_or(Err(FetchError::Timeout(timeout_ms)))
}

async fn ask(client: &Client, url: &str, max_body_bytes: usize) -> Result<Vec<u8>, FetchError> {
    let mut response = client
        .get(url)
        .header(ACCEPT, TEXT_FORMAT)
        .send()
        .await
        .map_err(|error| FetchError::Unreachable(innermost(&error)))?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let announced = response.content_length().unwrap_or(0);
    if announced > max_body_bytes as u64 {
        return Err(FetchError::TooLarge(max_body_bytes));
    }
    let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > max_body_bytes => {
                return Err(FetchError::TooLarge(max_body_bytes));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(FetchError::Broken(innermost(&error))),
        }
    }
}

/// The cause that tells something: "Connection refused", not "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
