//! The answer that says what is wrong: the same JSON whoever refuses.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;
use utoipa::ToSchema;

/// The most bytes of the words in which a part of axum refuses a request.
const WORDS_MAX: usize = 64 * 1024;

/// The body of every answer that is no success.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The cause in words, for people; no program should depend on them.
    error: String,
}

/// The fault of a request, or the reason why there is no answer to it.
#[derive(Debug)]
pub(super) struct Wrong(StatusCode, Cow<'static, str>);

/// An answer in JSON, or the reason why there is none.
pub(super) type Answer<T> = Result<Json<T>, Wrong>;

impl Wrong {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(status, detail.into())
    }

    /// The fault of a request that cannot be understood.
    pub(super) fn bad(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn no_answer() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "a worker does not answer")
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1.into_owned() })).into_response()
    }
}

/// Puts into JSON how axum itself refuses a request of the API: wrong parameters, a body that is no
/// JSON or too large, a path or a method that is not served.
pub(super) async fn explain(request: Request, next: Next) -> Response {
    let is_of_api = request.uri().path().starts_with("/api/");
    let answer = next.run(request).await;
    let status = answer.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    if !is_of_api || !is_refusal || is_json(answer.headers()) {
        return answer;
    }
    let (head, body) = answer.into_parts();
    let words = to_bytes(body, WORDS_MAX).await.unwrap_or_default();
    let detail: Cow<'static, str> = match (status, std::str::from_utf8(&words)) {
        (StatusCode::NOT_FOUND, _) => "the API has no such path".into(),
        (StatusCode::METHOD_NOT_ALLOWED, _) => "the path has no such method; see Allow".into(),
        (_, Ok(words)) if !words.is_empty() => words.to_owned().into(),
        _ => status.canonical_reason().unwrap_or_default().into(),
    };
    let mut answer = Wrong::new(status, detail).into_response();
    let others = head.headers.into_iter().filter_map(|(name, value)| Some((name?, value)));
    let others = others.filter(|(name, _)| *name != CONTENT_TYPE && *name != CONTENT_LENGTH);
    answer.headers_mut().extend(others);
    answer
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|media| media == "application/json")
}
