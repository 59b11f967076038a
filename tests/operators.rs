//! What operators change, by what right they do, and what clients see of it.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use support::folder::{self, Folder};
use support::http::{self, get, send};
use support::peer::{Peer, connect, packet, socket, subscribe_and_go, text, tls, tls_client};
use support::server::{Server, eventually, run};

/// A broker with an address for operators, and the ways to ask it.
struct Site {
    server: Server,
    address: String,
    token: String,
}

impl Site {
    fn start(flags: &[&str]) -> Self {
        let usual = ["--listen", "mqtt://127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let server = Server::start(&[&usual[..], flags].concat());
        let (address, token) = server.dashboard();
        Self { server, address, token }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = get(&self.address, path);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        send(&self.address, (method, path), &self.token, &body.to_string())
    }

    fn connected(&self, client_id: &str) -> Peer {
        let mut peer = Peer::plain(self.server.port(0));
        assert_eq!(peer.connect(&connect(client_id, None)), Some(0));
        peer
    }

    /// Whether a client is connected; None without a session.
    fn is_connected(&self, client_id: &str) -> Option<bool> {
        let (_, value) = self.get(&format!("/api/v1/client?id={client_id}"));
        value["client"]["connected"].as_bool()
    }
}

/// The reason code and the properties of the DISCONNECT that comes next.
fn farewell(peer: &mut Peer) -> (u8, Vec<u8>) {
    let (kind, body) = peer.packet().expect("DISCONNECT");
    assert_eq!(kind, 0xE0);
    assert!(peer.closes());
    (body[0], body.get(2..).unwrap_or_default().to_vec())
}

/// The property Server Reference.
fn server_reference(name: &str) -> Vec<u8> {
    [&[0x1C][..], &text(name)].concat()
}

#[test]
fn a_client_is_disconnected_with_the_reason_that_the_operator_gives() {
    let site = Site::start(&[]);
    let (mut one, mut two) = (site.connected("one"), site.connected("two"));
    let path = "/api/v1/client/disconnect?id=one";
    assert_eq!(site.send("POST", path, &Value::Null), (200, json!({ "disconnected": "one" })));
    assert_eq!(farewell(&mut one), (0x98, vec![]));
    let path = "/api/v1/client/disconnect?id=two&reason_code=156&server_reference=b.example.org";
    assert_eq!(site.send("POST", path, &Value::Null).0, 200);
    assert_eq!(farewell(&mut two), (0x9C, server_reference("b.example.org")));
    assert_eq!(site.send("POST", path, &Value::Null).0, 404);
    for wrong in ["id=two&reason_code=0", "id=two&server_reference=b", "reason_code=152", "id=a&b="]
    {
        let path = format!("/api/v1/client/disconnect?{wrong}");
        assert_eq!(site.send("POST", &path, &Value::Null).0, 400, "{wrong}");
    }
    site.server.logs("administrative action: an operator");
}

#[test]
fn sessions_and_queues_go_when_the_operator_says_so() {
    let site = Site::start(&[]);
    subscribe_and_go(site.server.port(0), "away", "q/#");
    let mut publisher = site.connected("publisher");
    for _ in 0..700 {
        assert_eq!(publisher.publish("q/1", b"x"), Some(0));
    }
    let (status, value) = site.send("DELETE", "/api/v1/client/queue?id=away", &Value::Null);
    assert_eq!((status, &value["dropped"]), (200, &json!(700)));
    assert_eq!(site.get("/api/v1/client?id=away").1["client"]["queued_messages"], 0);
    assert_eq!(site.get("/api/v1/metrics").1["messages_dropped"]["administrative"], 700);
    assert_eq!(site.send("DELETE", "/api/v1/client/session?id=away", &Value::Null).0, 200);
    assert_eq!(site.send("DELETE", "/api/v1/client/session?id=away", &Value::Null).0, 404);
    assert_eq!(site.is_connected("away"), None);
    let mut here = site.connected("here");
    assert_eq!(site.send("DELETE", "/api/v1/client/session?id=here", &Value::Null).0, 200);
    assert_eq!(farewell(&mut here).0, 0x98);
    assert!(eventually(|| site.is_connected("here").is_none()));
}

#[test]
fn messages_are_published_retained_browsed_and_deleted() {
    let site = Site::start(&[]);
    let mut peer = site.connected("subscriber");
    assert_eq!(peer.subscribe("a/#"), Some(1));
    let publish = |body: Value| site.send("POST", "/api/v1/publish", &body);
    let (status, value) =
        publish(json!({ "topic": "a/b", "payload": "hi", "qos": 1, "retain": true }));
    assert_eq!((status, &value["is_wanted"]), (202, &json!(true)));
    let (kind, body) = peer.packet().unwrap();
    assert_eq!((kind, &body[..5], &body[body.len() - 2..]), (0x32, &text("a/b")[..], &b"hi"[..]));
    peer.send(&packet(0x40, &body[5..7]));
    for topic in ["a/b/c", "a/b/d/e", "a/x", "b"] {
        let message = json!({ "topic": topic, "payload_base64": "AAE=", "retain": true });
        assert_eq!(publish(message).0, 202);
    }
    for wrong in [
        json!({ "topic": "a/+" }),
        json!({ "topic": "$SYS/broker/uptime" }),
        json!({ "topic": "" }),
        json!({ "topic": "a", "qos": 3 }),
        json!({ "topic": "a", "payload_base64": "?" }),
        json!({ "topic": "a", "payload": "a", "payload_base64": "" }),
    ] {
        assert_eq!(publish(wrong.clone()).0, 400, "{wrong}");
    }
    assert_eq!(publish(json!({ "topic": "a", "nonsense": 1 })).0, 422);
    let is_stored = || {
        let (_, value) = site.get("/api/v1/retained/messages?filter=%23");
        value["messages"].as_array().map(Vec::len) == Some(5)
    };
    assert!(eventually(is_stored));
    let levels = |query: &str| {
        let (_, value) = site.get(&format!("/api/v1/retained{query}"));
        let levels = value["levels"].as_array().unwrap().clone();
        let level = |level: &Value| {
            let name = level["level"].as_str().unwrap().to_owned();
            (name, level["is_retained"] == true, level["has_more"] == true)
        };
        levels.iter().map(level).collect::<Vec<_>>()
    };
    let named = |name: &str, is_retained, has_more| (name.to_owned(), is_retained, has_more);
    assert!(levels("").contains(&named("a", false, true)));
    assert_eq!(levels("?below=a"), [named("b", true, true), named("x", true, false)]);
    assert_eq!(levels("?below=a/b&prefix=d"), [named("d", false, true)]);
    let page = |query: &str| {
        let (_, value) = site.get(&format!("/api/v1/retained/messages?{query}"));
        let rows = value["messages"].as_array().unwrap().clone();
        let topics = rows.iter().map(|row| row["topic"].as_str().unwrap().to_owned());
        (topics.collect::<Vec<_>>(), value["next"].clone())
    };
    assert_eq!(page("filter=a/%23&limit=2"), (vec!["a/b".into(), "a/b/c".into()], json!("a/b/c")));
    let second = page("filter=a/%23&limit=2&after=a/b/c");
    assert_eq!(second, (vec!["a/b/d/e".into(), "a/x".into()], Value::Null));
    let (_, value) = site.get("/api/v1/retained/message?topic=a/b");
    assert_eq!((&value["payload_base64"], &value["qos"]), (&json!("aGk="), &json!(1)));
    assert_eq!(site.get("/api/v1/retained/message?topic=nothing").0, 404);
    let delete = |query: &str| {
        let path = format!("/api/v1/retained?filter={query}");
        let (status, value) = site.send("DELETE", &path, &Value::Null);
        (status, value["count"].as_u64())
    };
    assert_eq!(delete("a/%23&dry_run=true"), (200, Some(4)));
    assert_eq!(delete("a/%23"), (200, Some(4)));
    assert!(eventually(|| delete("a/%23&dry_run=true") == (200, Some(0))));
    assert_eq!(delete("$share/g/a").0, 400);
    assert_eq!(page("filter=b").0, ["b"]);
}

#[test]
fn what_changes_something_needs_a_token_and_wrong_ones_open_nothing() {
    let folder = Folder::new();
    let file = folder.write("tokens", "read 0123456789abcdef\nfedcba9876543210\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let site = Site::start(&["--admin-token-file", file.to_str().unwrap()]);
    assert_eq!(site.token, "", "a token of a file is not shown");
    let level = |token: &str| {
        let body = json!({ "level": "info" }).to_string();
        send(&site.address, ("PUT", "/api/v1/log-level"), token, &body).0
    };
    assert_eq!(level("fedcba9876543210"), 200);
    assert_eq!(level("0123456789abcdef"), 403);
    assert_eq!(level("0123456789abcdee"), 401);
    let bare = "PUT /api/v1/log-level HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"level\":\"info\"}";
    assert_eq!(http::ask(&site.address, bare).0, 401);
    let status = |token: &str| send(&site.address, ("GET", "/api/v1/status"), token, "").0;
    assert_eq!(status("0123456789abcdef"), 200);
    assert_eq!(status("nonsense"), 401, "a wrong token is told so, whatever is asked");
    assert_eq!(send(&site.address, ("GET", "/api/v1/token"), "fedcba9876543210", "").0, 403);
    folder.write("tokens", "another-0123456789\n");
    assert!(site.server.reload());
    assert_eq!((level("fedcba9876543210"), level("another-0123456789")), (401, 200));
    folder.write("tokens", "short\n");
    assert!(!site.server.reload());
    assert_eq!(level("another-0123456789"), 200);
    assert!(!site.server.log().contains("0123456789"), "{}", site.server.log());
    let (_, config) = site.get("/api/v1/config");
    let find = |name: &str| {
        let options = config["options"].as_array().unwrap();
        options.iter().find(|option| option["name"] == name).unwrap().clone()
    };
    assert_eq!(find("admin-token-file")["source"], "--admin-token-file");
    assert_eq!(find("max-inflight")["source"], "the default");
}

#[test]
fn the_owner_asks_by_a_socket_that_nobody_else_can_open() {
    let folder = Folder::new();
    let runtime = folder.path().join("run");
    let variable = format!("RUNTIME_DIRECTORY={}", runtime.display());
    let flags = ["--listen", "mqtt://127.0.0.1:0", "--admin-socket", "auto"];
    let server = Server::start_under(&["env", &variable], &flags);
    let path = runtime.join("admin.sock");
    assert!(server.summary().contains(&path.display().to_string()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let ringmq = |arguments: &[&str]| {
        run(support::ringmq().env("RUNTIME_DIRECTORY", &runtime).args(arguments))
    };
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect("me", None)), Some(0));
    assert!(ringmq(&["clients"]).1.contains("\nme "));
    assert!(ringmq(&["kick", "me"]).1.contains("disconnected: me"));
    assert_eq!(farewell(&mut peer).0, 0x98);
    assert!(ringmq(&["publish", "a/b", "x", "--retain"]).1.contains("topic: a/b"));
    assert!(eventually(|| ringmq(&["retained", "a/#"]).1.contains("\na/b ")));
    assert!(ringmq(&["config"]).1.contains("max-inflight"));
    assert!(ringmq(&["status"]).1.contains("stage: serving"));
    assert_eq!(ringmq(&["health"]), (Some(0), "ready: yes\n".to_owned()));
    assert!(ringmq(&["log-level", "debug"]).1.contains("debug"));
    assert!(ringmq(&["reload"]).1.contains("reloaded: yes"));
    assert!(ringmq(&["token"]).1.contains("token: "));
    let second = Server::start_under(&["env", &variable], &flags);
    second.logs("another broker or program uses it");
    drop(second);
    assert!(ringmq(&["clients"]).0 == Some(0), "the first one still answers");
}

#[test]
fn other_machines_need_tls_and_a_token_or_a_certificate() {
    let arguments = ["--listen", "mqtt://127.0.0.1:0", "--admin-listen", "0.0.0.0:0"];
    let (status, text) = run(support::ringmq().args(arguments));
    assert!(status == Some(2) && text.contains("--admin-tls-cert"), "{text}");
    let folder = Folder::new();
    let (server, operators) = (pki::authority("servers"), pki::authority("operators"));
    let own = pki::server(&server, &["localhost"]);
    let operator = pki::issue(&operators, pki::client_params("operator", 7));
    let (server_ca, operator_ca) = (server.pem(), operators.pem());
    let identity = (operator.certificate.pem(), operator.key.serialize_pem());
    let path = |name: &str, text: &str| folder.write(name, text).display().to_string();
    let flags = [
        "--admin-tls-cert",
        &path("server.pem", &own.certificate.pem()),
        "--admin-tls-key",
        &path("server.key", &own.key.serialize_pem()),
        "--admin-client-ca",
        &path("operators.pem", &operator_ca),
    ];
    let site = Site::start(&flags);
    let port = site.address.rsplit_once(':').unwrap().1.parse().unwrap();
    let ask = |identity: Option<(&str, &str)>, token: &str| {
        let stream = tls(&tls_client(&server_ca, identity), socket(port));
        let token = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let head = format!("Host: localhost:{port}\r\nConnection: close\r\n{token}\r\n");
        http::ask_over(stream, &format!("GET /api/v1/status HTTP/1.1\r\n{head}")).0
    };
    assert_eq!(ask(None, ""), 401);
    assert_eq!(ask(None, &site.token), 200);
    assert_eq!(ask(None, "another-token-of-nobody"), 401);
    assert_eq!(ask(Some((&identity.0, &identity.1)), ""), 200);
    let ca = path("ca.pem", &server_ca);
    let place = format!("https://localhost:{port}");
    let asked = support::ringmq()
        .args(["status", "--admin", &place, "--ca", &ca])
        .env("RINGMQ_ADMIN_TOKEN", &site.token)
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
}

#[test]
fn a_drain_sends_clients_away_and_tells_them_where_to_go() {
    let site = Site::start(&[]);
    // More than one act sends away.
    let mut peers: Vec<_> = (0..300).map(|n| site.connected(&format!("c-{n}"))).collect();
    let body = json!({ "over_s": 1, "server_reference": "b.example.org" });
    assert_eq!(site.send("POST", "/api/v1/drain", &body).0, 202);
    assert_eq!(get(&site.address, "/health/ready").0, 503);
    let health = run(support::ringmq().args(["health", "--admin", &site.address]));
    assert_eq!(health, (Some(1), "ringmq: draining\n".to_owned()));
    for peer in &mut peers {
        assert_eq!(farewell(peer), (0x9C, server_reference("b.example.org")));
    }
    let mut server = site.server;
    assert_eq!(server.ends(), Some(Some(0)));
    assert!(server.log().contains("Draining"));
    // SIGTERM drains, too, when the options say so.
    let mut server = Server::start(&["--listen", "mqtt://127.0.0.1:0", "--drain-s", "1"]);
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect("c", None)), Some(0));
    server.signal(libc::SIGTERM);
    assert_eq!(farewell(&mut peer).0, 0x8B);
    assert_eq!(server.ends(), Some(Some(0)));
    assert!(server.log().contains("Draining"));
}

#[test]
fn nonsense_gets_its_status_and_hurts_nobody() {
    let site = Site::start(&[]);
    let mut peer = site.connected("peer");
    let head = format!("Host: {}\r\nConnection: close\r\n", site.address);
    let ask = |request: &str| http::ask(&site.address, request).0;
    assert_eq!(ask(&format!("GET /api/v1/nothing HTTP/1.1\r\n{head}\r\n")), 404);
    assert_eq!(ask(&format!("PATCH /api/v1/clients HTTP/1.1\r\n{head}\r\n")), 401);
    let long = "x".repeat(100_000);
    assert_eq!(ask(&format!("GET /{long} HTTP/1.1\r\n{head}\r\n")), 414);
    assert_eq!(ask("nonsense\r\n\r\n"), 400);
    let token = &site.token;
    let patch = send(&site.address, ("PATCH", "/api/v1/clients"), token, "");
    assert_eq!(patch.0, 405);
    let large = json!({ "topic": "a", "payload": "x".repeat(2_000_001) });
    assert_eq!(site.send("POST", "/api/v1/publish", &large).0, 413);
    assert_eq!(send(&site.address, ("POST", "/api/v1/publish"), token, "{").0, 400);
    // More connections than are served at a time, and than may wait, that say nothing.
    let place = site.address.parse().unwrap();
    let soon = std::time::Duration::from_millis(200);
    let silent: Vec<_> =
        (0..1000).map_while(|_| std::net::TcpStream::connect_timeout(&place, soon).ok()).collect();
    assert!(silent.len() > 64, "{}", silent.len());
    assert!(peer.ping().is_some());
    drop(silent);
    assert_eq!(site.get("/api/v1/version").0, 200);
}

/// The lines of a trace with this query, as they come.
fn trace(site: &Site, query: &str) -> std::sync::mpsc::Receiver<Value> {
    let mut socket = std::net::TcpStream::connect(&site.address).unwrap();
    let head = format!("Host: {}\r\n\r\n", site.address);
    socket.write_all(format!("GET /api/v1/trace?{query} HTTP/1.1\r\n{head}").as_bytes()).unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    let mut answer = BufReader::new(socket).lines();
    let status = answer.next().unwrap().unwrap();
    assert!(status.contains(" 200 "), "{status}");
    std::thread::spawn(move || {
        // What is no JSON object is the head, or the length of a chunk.
        for line in answer.map_while(Result::ok).filter(|line| line.starts_with('{')) {
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["left_out"].is_null() && sender.send(value).is_err() {
                return;
            }
        }
    });
    lines
}

#[test]
fn a_trace_shows_the_packets_of_a_client_or_a_topic_and_no_secret() {
    let site = Site::start(&["--sys-interval", "0"]);
    let lines = trace(&site, "client=me&payload=true");
    let mut peer = Peer::plain(site.server.port(0));
    assert_eq!(peer.connect(&connect("me", Some(("name", "very secret")))), Some(0));
    assert_eq!(peer.subscribe("t/#"), Some(1));
    let mut other = site.connected("other");
    assert_eq!(other.publish("t/1", b"hello"), Some(0));
    let got = peer.packet().unwrap().1;
    peer.send(&packet(0x40, &got[5..7]));
    peer.ping().unwrap();
    let seen: Vec<Value> = (0..8).map(|_| lines.recv().unwrap()).collect();
    let short: Vec<_> = seen
        .iter()
        .map(|it| format!("{} {}", it["direction"].as_str().unwrap(), it["type"].as_str().unwrap()))
        .collect();
    let expected = [
        "in CONNECT",
        "out CONNACK",
        "in SUBSCRIBE",
        "out SUBACK",
        "out PUBLISH",
        "in PUBACK",
        "in PINGREQ",
        "out PINGRESP",
    ];
    assert_eq!(short, expected);
    assert_eq!(seen[2]["topics"], json!(["t/#"]));
    assert_eq!(seen[3]["reason_codes"], json!([1]));
    let publish = &seen[4];
    assert_eq!((&publish["topics"], &publish["qos"]), (&json!(["t/1"]), &json!(1)));
    assert_eq!(publish["payload_base64"], "aGVsbG8=");
    assert!(publish["delay_ms"].as_f64().is_some() || publish["delay_ms"].is_null());
    let all = format!("{seen:?}");
    assert!(!all.contains("secret"), "{all}");
    // By topic: what comes and what goes out, of all clients.
    let lines = trace(&site, "topic=t/%2B");
    assert_eq!(other.publish("t/2", b"x"), Some(0));
    assert_eq!(other.publish("u", b"x"), Some(0x10));
    let (one, two) = (lines.recv().unwrap(), lines.recv().unwrap());
    let mut ways = [one["direction"].clone(), two["direction"].clone()];
    ways.sort_by_key(Value::to_string);
    assert_eq!((ways, &one["topics"]), ([json!("in"), json!("out")], &json!(["t/2"])));
    assert_eq!(one["payload_base64"], Value::Null);
    // A topic alias stands for its topic, both ways: this client takes one.
    let head = [&text("MQTT")[..], &[5, 2, 0, 60, 3, 0x22, 0, 1], &text("short")].concat();
    let mut short = Peer::plain(site.server.port(0));
    assert_eq!(short.connect(&packet(0x10, &head)), Some(0));
    assert_eq!(short.subscribe("t/3"), Some(1));
    let lines = trace(&site, "client=short&topic=t/3");
    let aliased = |topic: &str| packet(0x30, &[&text(topic)[..], &[3, 0x23, 0, 1]].concat());
    for topic in ["t/3", ""] {
        short.send(&aliased(topic));
        assert_eq!(short.packet().unwrap().0, 0x30);
        for _ in 0..2 {
            let seen = lines.recv().unwrap();
            assert_eq!((&seen["topics"], &seen["alias"]), (&json!(["t/3"]), &json!(1)), "{seen}");
        }
    }
    for wrong in ["", "topic=$share/a/b", "topic=a%23", "client=a&nonsense=1"] {
        assert_eq!(site.get(&format!("/api/v1/trace?{wrong}")).0, 400, "{wrong}");
    }
}

#[test]
fn a_trace_ends_when_nobody_reads_it_and_few_run_at_a_time() {
    let site = Site::start(&["--sys-interval", "0"]);
    let begin = || {
        let socket = std::net::TcpStream::connect(&site.address).unwrap();
        let head = format!("Host: {}\r\n\r\n", site.address);
        let request = format!("GET /api/v1/trace?client=me HTTP/1.1\r\n{head}");
        (&socket).write_all(request.as_bytes()).unwrap();
        let mut status = String::new();
        BufReader::new(socket.try_clone().unwrap()).read_line(&mut status).unwrap();
        (socket, status.split(' ').nth(1).unwrap().to_owned())
    };
    let eight: Vec<_> = (0..8).map(|_| begin()).collect();
    assert!(eight.iter().all(|(_, status)| status == "200"));
    assert_eq!(begin().1, "503");
    drop(eight);
    // Packets, or signs of life, find out that nobody reads.
    assert!(eventually(|| {
        let mut peer = site.connected("me");
        peer.ping();
        begin().1 == "200"
    }));
}

#[test]
fn the_audit_log_has_every_act_with_who_did_it_and_no_secret() {
    let folder = Folder::new();
    let file = folder.path().join("audit.log");
    let site = Site::start(&["--audit-log", file.to_str().unwrap()]);
    let _peer = site.connected("one");
    let publish = json!({ "topic": "a", "payload": "a very secret payload" });
    let acts: [(&str, &str, Value); 6] = [
        ("POST", "/api/v1/client/disconnect?id=one", Value::Null),
        ("DELETE", "/api/v1/client/session?id=one", Value::Null),
        ("DELETE", "/api/v1/client/queue?id=one", Value::Null),
        ("DELETE", "/api/v1/retained?filter=a/%23", Value::Null),
        ("POST", "/api/v1/publish", publish),
        ("PUT", "/api/v1/log-level", json!({ "level": "debug" })),
    ];
    for (method, path, body) in acts {
        site.send(method, path, &body);
    }
    assert_eq!(site.send("POST", "/api/v1/reload", &Value::Null).0, 200);
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    let all = [
        "disconnect a client",
        "delete a session",
        "empty a queue",
        "delete retained messages",
        "publish a message",
        "change the log's level",
        "\"reload\"",
    ];
    assert!(eventually(|| all.iter().all(|act| read().contains(act))), "{}", read());
    assert!(read().contains("with a token"), "{}", read());
    assert!(!read().contains("secret") && !read().contains(&site.token), "{}", read());
}
