//! The API's description of itself, in OpenAPI 3.1: what each route says stands beside the route;
//! here is what holds for all of them.

use super::api::Nothing;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, PathItem, Ref, RefOr, Response, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The name of the way to show a token.
const TOKEN: &str = "token";

/// The tags of routes.
const QUESTION: &str = "questions";
const ORDER: &str = "orders";
pub(super) const STREAM: &str = "streams";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ringmq: the API of operators",
        description = "Questions to a running broker, and orders to it.\n\n\
            **Who gets in.** Over the broker's Unix socket, and with a client certificate of \
            `--admin-client-ca`, nothing else is needed. From this machine, over TCP without TLS, \
            questions need no token and orders do. Over TLS everything needs a token or a \
            certificate. A token that is not known is refused whatever is asked; one that stands \
            behind `read` in `--admin-token-file` gives no orders.\n\n\
            **Limits.** A request has 60 s, its head about 64 KiB, its body 4 MiB. A head that is \
            too large, or no HTTP, is answered with 400, 414 or 431 without a body.\n\n\
            **Names.** `_s` ends the names of times in seconds, `_ms` of those in milliseconds. \
            New fields may come to answers; unknown parameters and fields of requests are refused."
    ),
    tags(
        (name = "questions", description = "Tell something and change nothing."),
        (name = "orders", description = "Change something; each is a line of the log."),
        (name = "streams", description = "Go on until the asker goes or the broker stops.")
    ),
    components(schemas(super::problem::Problem))
)]
struct Base;

/// The refusals that routes give, each with the body `Problem`.
const REFUSALS: [(u16, &str); 9] = [
    (400, "A parameter is wrong, missing, unknown or repeated, or the body is no JSON."),
    (401, "The request needs a token and has none, or one that is not known."),
    (403, "The token only reads, a page of another site asks, or the way in is the wrong one."),
    (404, "No such client, session or message is there."),
    (408, "The request has taken more than 60 s."),
    (413, "The body, or the message in it, is too large."),
    (415, "The body is not announced as `application/json`."),
    (422, "The body is JSON of another form, or the broker cannot use what it names."),
    (503, "A worker does not answer, the broker stops, or as many viewers as may look already do."),
];

/// The refusals of every route: the way in, and the words of the request.
const BY_ALL: [u16; 4] = [400, 401, 403, 408];

/// The refusals of a head that is too large, which come without a body.
const BY_HEAD: [(u16, &str); 2] = [
    (414, "The path and the parameters are too long. The answer has no body."),
    (431, "The head of the request is too large. The answer has no body."),
];

/// The refusals of routes that read a body.
const BY_BODY: [u16; 3] = [413, 415, 422];

/// The document as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Document(Bytes);

/// An empty set of routes that begins the document.
pub(super) fn begin<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::with_openapi(Base::openapi()).routes(routes!(openapi))
}

impl Document {
    /// The document of these routes, completed by what holds for all.
    pub(super) fn complete(mut api: utoipa::openapi::OpenApi) -> Self {
        let components = api.components.get_or_insert_default();
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("A token of the broker, as `ringmq token` shows it.".to_owned());
        components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
        for (code, words) in REFUSALS {
            components.responses.insert(refusal_name(code), RefOr::T(refusal(code, words)));
        }
        for (code, words) in BY_HEAD {
            let response = ResponseBuilder::new().description(words).build();
            components.responses.insert(refusal_name(code), RefOr::T(response));
        }
        for item in api.paths.paths.values_mut() {
            let PathItem { get, put, post, delete, .. } = item;
            get.iter_mut().for_each(|operation| complete(operation, true));
            [put, post, delete].into_iter().flatten().for_each(|it| complete(it, false));
        }
        let text = serde_json::to_vec(&api).expect("the document is JSON");
        Self(text.into())
    }
}

/// Adds to a route what holds for all that ask, or for all that change something.
fn complete(operation: &mut Operation, is_question: bool) {
    let tag = if is_question { QUESTION } else { ORDER };
    operation.tags.get_or_insert_with(|| vec![tag.to_owned()]);
    let token = SecurityRequirement::new(TOKEN, [""; 0]);
    // The first one is for those that need none.
    let ways = if is_question { vec![SecurityRequirement::default(), token] } else { vec![token] };
    operation.security = Some(ways);
    let by_body = if operation.request_body.is_some() { &BY_BODY[..] } else { &[] };
    let responses = &mut operation.responses.responses;
    let known: Vec<_> = responses.keys().filter_map(|code| code.parse().ok()).collect();
    let own = known.into_iter().filter(|code| *code >= 400);
    let by_head = BY_HEAD.map(|(code, _)| code);
    for code in own.chain(BY_ALL).chain(by_head).chain(by_body.iter().copied()) {
        let shared = Ref::new(format!("#/components/responses/{}", refusal_name(code)));
        responses.insert(code.to_string(), RefOr::Ref(shared));
    }
}

fn refusal_name(code: u16) -> String {
    format!("Problem{code}")
}

fn refusal(code: u16, words: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new().description(words);
    let response = response.content("application/json", content);
    match code {
        401 => response.header("WWW-Authenticate", utoipa::openapi::Header::default()).build(),
        _ => response.build(),
    }
}

/// Tells this document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
async fn openapi(
    Query(Nothing {}): Query<Nothing>,
    Extension(document): Extension<Document>,
) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document.0)
}
