//! The API's document: what it lists is served, what is served stands in it, and a program that
//! knows nothing else asks a live broker by it and finds no difference.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use support::http::{ask, get, send};
use support::peer::{Peer, connect, subscribe_and_go};
use support::server::{Server, eventually, run};

/// A broker with an address for operators, a client that is connected, and one that is away with
/// a message that waits for it.
struct Site {
    address: String,
    token: String,
    _here: Peer,
    server: Server,
}

impl Site {
    fn start() -> Self {
        let server =
            Server::start(&["--listen", "mqtt://127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        let (address, token) = server.dashboard();
        subscribe_and_go(server.port(0), "away", "q/#");
        let mut here = Peer::plain(server.port(0));
        assert_eq!(here.connect(&connect("here", None)), Some(0));
        assert_eq!(here.subscribe("t/#"), Some(1));
        assert_eq!(here.publish("q/1", b"x"), Some(0));
        let version = "/api/v1/retained/message?topic=$SYS/broker/version";
        assert!(eventually(|| get(&address, version).0 == 200));
        Self { address, token, _here: here, server }
    }

    fn document(&self) -> Value {
        let (status, head, body) = get(&self.address, "/api/v1/openapi.json");
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("content-type: application/json"), "{head}");
        serde_json::from_str(&body).unwrap()
    }

    /// The status, head and body of the answer to a request without a body, with the token.
    fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        let Self { address, token, .. } = self;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        ask(address, &request)
    }
}

/// The text of an answer that is no success.
#[track_caller]
fn problem(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{body:?}"));
    let fields = value.as_object().unwrap();
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["error"]);
    let text = fields["error"].as_str().unwrap();
    assert!(!text.is_empty());
    text.to_owned()
}

/// The methods and paths of a document.
fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let each = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
    });
    each.collect()
}

/// All references of a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// The routes of the API, by method and path below `/api/v1/`.
const ROUTES: [(&str, &str); 27] = [
    ("DELETE", "client/queue"),
    ("DELETE", "client/session"),
    ("DELETE", "retained"),
    ("GET", "client"),
    ("GET", "clients"),
    ("GET", "config"),
    ("GET", "durations"),
    ("GET", "health"),
    ("GET", "journal"),
    ("GET", "live"),
    ("GET", "log"),
    ("GET", "metrics"),
    ("GET", "openapi.json"),
    ("GET", "rates"),
    ("GET", "retained"),
    ("GET", "retained/message"),
    ("GET", "retained/messages"),
    ("GET", "status"),
    ("GET", "subscribers"),
    ("GET", "token"),
    ("GET", "trace"),
    ("GET", "version"),
    ("POST", "client/disconnect"),
    ("POST", "drain"),
    ("POST", "publish"),
    ("POST", "reload"),
    ("PUT", "log-level"),
];

/// The parameters with which a question has an answer.
fn parameters(path: &str) -> &'static str {
    match path {
        "client" => "?id=here",
        "subscribers" => "?topic=t/1",
        "retained/message" => "?topic=$SYS/broker/version",
        "retained/messages" => "?filter=%23",
        _ => "",
    }
}

#[test]
fn the_document_lists_what_is_served() {
    let site = Site::start();
    let document = site.document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let expected = ROUTES.map(|(method, path)| (method.into(), format!("/api/v1/{path}")));
    assert_eq!(operations(&document), BTreeSet::from(expected));
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in found {
        let place = reference.strip_prefix('#').expect("a place in the document itself");
        assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
    }
    // A method that a path does not have is refused, and Allow names those of the document.
    for path in document["paths"].as_object().unwrap().keys() {
        let (status, head, body) = site.ask("PATCH", path);
        assert_eq!(status, 405, "{path}: {body}");
        problem(&body);
        let allow = head.lines().find_map(|line| line.strip_prefix("allow: "));
        let allowed = allow.unwrap_or_else(|| panic!("{path}: {head}")).split(',');
        let allowed: BTreeSet<_> = allowed.filter(|it| *it != "HEAD").collect();
        let listed = ROUTES.iter().filter(|(_, it)| path.strip_prefix("/api/v1/") == Some(*it));
        assert_eq!(allowed, listed.map(|(method, _)| *method).collect(), "{path}");
    }
}

#[test]
fn each_question_answers_and_refuses_what_it_does_not_know() {
    let site = Site::start();
    for (_, path) in ROUTES.iter().filter(|(method, _)| *method == "GET") {
        let path = format!("/api/v1/{path}{}", parameters(path));
        let has_end = !["live", "log", "trace"].iter().any(|it| path.ends_with(it));
        if has_end {
            let (status, _, body) = get(&site.address, &path);
            let expected = if path.ends_with("token") { 403 } else { 200 };
            assert_eq!(status, expected, "{path}: {body}");
            assert!(serde_json::from_str::<Value>(&body).is_ok(), "{path}: {body}");
        }
        let wrong = format!("{path}{}nonsense=1", if path.contains('?') { '&' } else { '?' });
        let (status, _, body) = get(&site.address, &wrong);
        assert_eq!(status, 400, "{wrong}: {body}");
        assert!(problem(&body).contains("nonsense"), "{wrong}: {body}");
    }
}

#[test]
fn whatever_is_refused_says_why_in_json() {
    let site = Site::start();
    let (status, _, body) = get(&site.address, "/api/v1/nowhere");
    assert_eq!(status, 404);
    problem(&body);
    let without_token = format!("POST /api/v1/reload HTTP/1.1\r\nHost: {}\r\n", site.address);
    let (status, head, body) = ask(&site.address, &(without_token + "Connection: close\r\n\r\n"));
    assert_eq!(status, 401);
    assert!(head.contains("www-authenticate: Bearer"), "{head}");
    problem(&body);
    // No media type is announced.
    let (status, _, body) = site.ask("POST", "/api/v1/publish");
    assert_eq!(status, 415);
    problem(&body);
    let publish = |body: &str| {
        let (status, value) = send(&site.address, ("POST", "/api/v1/publish"), &site.token, body);
        problem(&value.to_string());
        status
    };
    assert_eq!(publish("{"), 400);
    assert_eq!(publish("[]"), 422);
    assert_eq!(publish(r#"{"topic":"a","nonsense":1}"#), 422);
    assert_eq!(publish(r#"{"topic":"a","qos":0.5}"#), 422);
    assert_eq!(publish(r#"{"topic":"a","qos":-1}"#), 422);
    assert_eq!(publish(r#"{"topic":"a","expiry_s":4294967296}"#), 422);
    assert_eq!(publish(r#"{"topic":"a","expiry_s":1e300}"#), 422);
    assert_eq!(publish(r#"{"topic":"a\u0000b"}"#), 400);
    let long = json!({ "topic": "a", "payload": "x".repeat(3_000_000) }).to_string();
    assert_eq!(publish(&long), 413);
}

/// In JSON, 1 and 1.0 are the same number.
#[test]
fn whole_numbers_may_have_a_point() {
    let site = Site::start();
    let body = r#"{"topic":"a","payload":"x","qos":1.0,"retain":true,"expiry_s":6e2}"#;
    let (status, value) = send(&site.address, ("POST", "/api/v1/publish"), &site.token, body);
    assert_eq!(status, 202, "{value}");
    let retained = || {
        let (_, _, body) = get(&site.address, "/api/v1/retained/message?topic=a");
        serde_json::from_str::<Value>(&body).unwrap_or_default()
    };
    assert!(eventually(|| retained()["qos"] == 1), "{}", retained());
    assert!(retained()["expiry_s"].as_u64().is_some_and(|it| it <= 600), "{}", retained());
}

#[test]
fn a_command_prints_the_document() {
    let site = Site::start();
    let program = env!("CARGO_BIN_EXE_ringmq");
    let mut command = Command::new(program);
    let (status, text) = run(command.args(["ask", "openapi.json", "--admin", &site.address]));
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), site.document());
}

/// Right and wrong requests of all kinds, made from the document, get the answers that it tells.
#[test]
fn schemathesis_finds_the_document_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join(".test-env/venv/bin/python");
    assert!(program.is_file(), "{} is missing: run scripts/test.sh", program.display());
    let site = Site::start();
    let folder = support::folder::Folder::new();
    let mut command = Command::new(program);
    // Whatever the program keeps, it keeps in a folder that ends with the test.
    command.current_dir(folder.path()).env("RINGMQ_TOKEN", &site.token);
    command.args(["-m", "schemathesis.cli", "--config-file"]);
    command.arg(root.join("tests/openapi/schemathesis.toml")).arg("run");
    command.arg(format!("http://{}/api/v1/openapi.json", site.address));
    let (status, text) = run(&mut command);
    let short = |line: &str| line.chars().take(400).collect::<String>() + "\n";
    assert_eq!(status, Some(0), "{}", text.lines().map(short).collect::<String>());
    assert!(site.server.is_alive());
}
