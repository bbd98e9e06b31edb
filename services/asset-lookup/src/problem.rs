//! Errors of the API: RFC 9457 problem details.

use crate::database::{Trouble, trouble};
use crate::domain::draft::FieldError;
use crate::domain::rows::{Refused, RowError};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::{debug, error};

/// Seconds after which a client shall come again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why a request was not done.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Blame>,
    /// How many errors there are, where not all are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors_total: Option<usize>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Blame {
    Field(FieldError),
    Row(RowError),
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:gpu-health-monitor:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            errors_total: None,
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request can't be read",
            detail,
        )
    }

    /// Path or query parameters are wrong.
    pub(crate) fn bad_parameters(errors: Vec<FieldError>) -> Self {
        let mut problem = Self::new(
            StatusCode::BAD_REQUEST,
            "bad-parameters",
            "Parameters are wrong",
            format!("{} parameter(s) are wrong", errors.len()),
        );
        problem.errors = errors.into_iter().map(Blame::Field).collect();
        problem
    }

    /// Fields of an asset are wrong.
    pub(crate) fn bad_asset(errors: Vec<FieldError>) -> Self {
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad-asset",
            "The asset is not valid",
            format!("{} field(s) are wrong; nothing was changed", errors.len()),
        );
        problem.errors = errors.into_iter().map(Blame::Field).collect();
        problem
    }

    pub(crate) fn bad_import(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(error) => {
                let mut problem = Self::new(
                    StatusCode::BAD_REQUEST,
                    "bad-document",
                    "The document can't be read",
                    format!(
                        "line {}: {}; nothing was imported",
                        error.line, error.reason
                    ),
                );
                problem.errors = vec![Blame::Row(error)];
                problem
            }
            Refused::TooManyRows { limit } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-many-rows",
                "The import has too many rows",
                format!("at most {limit} rows are taken at once; nothing was imported"),
            ),
            Refused::BadRows { told, total } => {
                let mut problem = Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "bad-rows",
                    "Rows are not valid",
                    format!("{total} error(s); nothing was imported"),
                );
                problem.errors_total = (told.len() < total).then_some(total);
                problem.errors = told.into_iter().map(Blame::Row).collect();
                problem
            }
        }
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "The method is not allowed here",
            "this path does not take this method",
        )
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            format!("at most {limit} bytes are taken"),
        )
    }

    pub(crate) fn wrong_content_type(accepted: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong-content-type",
            "The content type is not supported",
            format!("send Content-Type: {accepted}"),
        )
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Not available now",
            detail,
        )
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        // What the database says is for the log: it may name what a client need not know.
        if trouble(&error) == Trouble::Other {
            error!(%error, "request failed");
            return Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Internal error",
                "the service's log says more",
            );
        }
        debug!(%error, "request failed");
        Self::unavailable(
            "the database is not available; the change may or may not have been made, and can be sent again",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
