//! Questions of an operator to a running broker: by HTTP, and by the command line.

mod support;

use std::process::Command;
use support::http;
use support::peer::{Peer, connect, connect_v3, packet, subscribe_and_go, text};
use support::server::{Server, eventually, run};

fn start() -> (Server, String) {
    let server =
        Server::start(&["--listen", "mqtt://127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let address = server.dashboard().0;
    (server, address)
}

/// The status of an answer, and its JSON.
fn json((status, _, body): (u16, String, String)) -> (u16, serde_json::Value) {
    (status, serde_json::from_str(&body).unwrap_or_default())
}

fn get(address: &str, path: &str) -> (u16, serde_json::Value) {
    json(http::get(address, path))
}

/// Some clients, of which one is away with a queue of messages.
fn fill(server: &Server) -> Vec<Peer> {
    subscribe_and_go(server.port(0), "away", "q/#");
    let mut peers: Vec<_> = (0..4)
        .map(|number| {
            let mut peer = Peer::plain(server.port(0));
            assert_eq!(peer.connect(&connect(&format!("c-{number}"), None)), Some(0));
            peer
        })
        .collect();
    assert_eq!(peers[0].subscribe("t/+"), Some(1));
    assert_eq!(peers[1].subscribe("$share/g/t/#"), Some(1));
    for _ in 0..3 {
        let publish = [&text("q/1")[..], &[0, 9, 0], b"x"].concat();
        peers[2].send(&packet(0x32, &publish));
        assert_eq!(peers[2].packet().unwrap().0, 0x40);
    }
    peers
}

#[test]
fn clients_are_listed_filtered_sorted_and_paged() {
    let (server, address) = start();
    let _peers = fill(&server);
    let names = |path: &str| {
        let (status, value) = get(&address, path);
        assert_eq!(status, 200, "{value}");
        let rows = value["clients"].as_array().unwrap();
        let names = rows.iter().map(|row| row["client_id"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), value["next"].clone())
    };
    let (_, value) = get(&address, "/api/v1/clients?sort=memory");
    let of = |row: &serde_json::Value| row["memory_bytes"].as_u64().unwrap();
    let bytes: Vec<u64> = value["clients"].as_array().unwrap().iter().map(of).collect();
    assert!(bytes.is_sorted_by(|one, next| one >= next) && bytes[4] > 0, "{bytes:?}");
    assert_eq!(names("/api/v1/clients?sort=rate").0[0], "c-2", "it has published");
    let all = ["away", "c-0", "c-1", "c-2", "c-3"];
    assert_eq!(names("/api/v1/clients?sort=client_id").0, all);
    // In the order of the workers' tables, two at a time.
    let (mut found, mut next) = (Vec::new(), serde_json::json!(""));
    while let Some(cursor) = next.as_str() {
        let cursor = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
        let (part, behind) = names(&format!("/api/v1/clients?limit=2{cursor}"));
        assert!(part.len() == 2 || behind.is_null(), "{part:?}");
        found.extend(part);
        next = behind;
    }
    found.sort();
    assert_eq!(found, all);
    assert_eq!(names("/api/v1/clients?cursor=281474976710656:").0, [""; 0]);
    assert_eq!(names("/api/v1/clients?prefix=c-").0.len(), 4);
    assert_eq!(names("/api/v1/clients?connected=false").0, ["away"]);
    assert_eq!(names("/api/v1/clients?user=nobody").0, [""; 0]);
    let (first, next) = names("/api/v1/clients?sort=queued_messages&limit=2");
    assert_eq!(first, ["away", "c-0"]);
    let next = next.as_str().unwrap();
    let (second, next) =
        names(&format!("/api/v1/clients?sort=queued_messages&limit=2&cursor={next}"));
    assert_eq!(second, ["c-1", "c-2"]);
    let (third, next) = names(&format!(
        "/api/v1/clients?sort=queued_messages&limit=2&cursor={}",
        next.as_str().unwrap()
    ));
    assert_eq!((third, next), (vec!["c-3".to_owned()], serde_json::Value::Null));
}

#[test]
fn clients_are_found_by_what_they_are() {
    let (server, address) = start();
    let mut peers = fill(&server);
    let mut old = Peer::plain(server.port(0));
    assert_eq!(old.connect(&connect_v3("old", None)), Some(0));
    let names = |query: &str| {
        let (status, value) = get(&address, &format!("/api/v1/clients?{query}"));
        assert_eq!(status, 200, "{value}");
        let rows = value["clients"].as_array().unwrap();
        rows.iter().map(|row| row["client_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("sort=client_id&glob=c-%3F"), ["c-0", "c-1", "c-2", "c-3"]);
    assert_eq!(names("glob=*wa*"), ["away"]);
    assert_eq!(names("version=3.1.1"), ["old"]);
    assert_eq!(names("address=127.0.0.1:&prefix=o"), ["old"]);
    assert_eq!(names("address=10."), [""; 0]);
    assert_eq!(names("transport=mqtt").len(), 6);
    assert_eq!(names("transport=wss"), [""; 0]);
    assert_eq!(names("worker=0").len() + names("worker=1").len(), 6);
    assert_eq!(names("has_drops=true"), [""; 0]);
    for _ in 0..1000 {
        assert_eq!(peers[2].publish("q/1", b"x"), Some(0));
    }
    assert_eq!(names("has_drops=true&sort=dropped_messages"), ["away"]);
    let (_, value) = get(&address, "/api/v1/client?id=away");
    assert_eq!(value["client"]["drops"], serde_json::json!({ "queue_full": 3 }));
    assert_eq!(value["client"]["departed"], "disconnect");
    assert!(value["client"]["oldest_s"].as_f64().unwrap() > 0.0);
    assert_eq!(value["queued"].as_array().unwrap().len(), 100);
    assert_eq!(value["queued"][0]["topic"], "q/1");
    for wrong in ["version=4", "transport=tcp", "worker=x", "has_drops=perhaps"] {
        assert_eq!(get(&address, &format!("/api/v1/clients?{wrong}")).0, 400, "{wrong}");
    }
}

#[test]
fn what_a_client_sends_gets_and_acknowledges_is_told() {
    let (server, address) = start();
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect("me", None)), Some(0));
    assert_eq!(peer.subscribe("a"), Some(1));
    let mut publisher = Peer::plain(server.port(0));
    assert_eq!(publisher.connect(&connect("publisher", None)), Some(0));
    for _ in 0..2 {
        assert_eq!(publisher.publish("a", b"x"), Some(0));
    }
    let first = peer.packet().unwrap().1;
    peer.packet().unwrap();
    let ask = || get(&address, "/api/v1/client?id=me").1;
    let value = ask();
    assert_eq!(value["client"]["messages_sent"], 2);
    assert_eq!(value["inflight"].as_array().unwrap().len(), 2);
    assert_eq!(value["client"]["ack_mean_ms"], serde_json::Value::Null);
    peer.send(&packet(0x40, &first[3..5]));
    assert!(eventually(|| ask()["client"]["inflight_messages"] == 1));
    let value = ask();
    assert!(value["client"]["ack_mean_ms"].as_f64().unwrap() > 0.0);
    assert!(value["client"]["ack_max_ms"].as_f64().unwrap() > 0.0);
    // CONNECT, SUBSCRIBE and PUBACK.
    assert_eq!(value["client"]["packets_received"], 3);
    assert!(value["tcp"]["received_bytes"].as_u64().unwrap() > 0);
    assert!(value["client"]["connected_s"].as_f64().unwrap() > 0.0);
    assert_eq!(value["client"]["departed"], serde_json::Value::Null);
}

#[test]
fn one_client_and_those_who_get_a_topic_are_told() {
    let (server, address) = start();
    let _peers = fill(&server);
    let (status, value) = get(&address, "/api/v1/client?id=away");
    assert_eq!(status, 200);
    assert_eq!(value["client"]["queued_messages"], 3);
    assert_eq!(value["client"]["connected"], false);
    assert_eq!(value["client"]["session_expiry_s"], 1000);
    assert_eq!(value["filters"], serde_json::json!([{ "filter": "q/#", "qos": 1 }]));
    let (_, value) = get(&address, "/api/v1/client?id=c-3");
    assert_eq!(value["client"]["version"], "5.0");
    assert!(value["client"]["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(get(&address, "/api/v1/client?id=nobody").0, 404);
    let (_, value) = get(&address, "/api/v1/subscribers?topic=t/1");
    let mut got: Vec<_> = value["subscribers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["client_id"].as_str().unwrap(), row["filter"].as_str().unwrap()))
        .collect();
    got.sort_unstable();
    assert_eq!(got, [("c-0", "t/+"), ("c-1", "$share/g/t/#")]);
    let of_filter = |filter: &str| {
        let (_, value) = get(&address, &format!("/api/v1/subscribers?filter={filter}"));
        (value["count"].as_u64(), value["subscribers"][0]["client_id"].clone())
    };
    assert_eq!(of_filter("t/%2B"), (Some(1), "c-0".into()));
    assert_eq!(of_filter("$share/g/t/%23"), (Some(1), "c-1".into()));
    assert_eq!(of_filter("q/%23"), (Some(1), "away".into()));
    for nobodys in ["t/%23", "$share/h/t/%23", "t/1"] {
        assert_eq!(of_filter(nobodys).0, Some(0), "{nobodys}");
    }
    let (_, metrics) = get(&address, "/api/v1/metrics");
    assert_eq!(metrics["connects_accepted"]["5.0"], 5);
    assert!(metrics["memory_used"].as_u64().unwrap() > 0);
}

#[test]
fn the_answer_about_many_subscribers_tells_how_many_there_are() {
    let (server, address) = start();
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect("many", None)), Some(0));
    for number in 0..1010 {
        assert_eq!(peer.subscribe(&format!("$share/g{number}/many")), Some(1));
    }
    let (_, value) = get(&address, "/api/v1/subscribers?topic=many");
    assert_eq!(value["count"], 1010);
    assert_eq!(value["subscribers"].as_array().unwrap().len(), 1000);
}

#[test]
fn only_this_machine_asks_and_wrong_questions_are_told_so() {
    let (_server, address) = start();
    let with = |header: &str| {
        http::ask(
            &address,
            &format!("GET /api/v1/version HTTP/1.1\r\n{header}Connection: close\r\n\r\n"),
        )
        .0
    };
    assert_eq!(with("Host: localhost:9883\r\n"), 200);
    assert_eq!(with("Host: [::1]:9883\r\n"), 200);
    assert_eq!(with("Host: [::1]\r\n"), 200);
    assert_eq!(with("Host: rebound.example.org\r\n"), 403);
    assert_eq!(with("Host: 127.0.0.1.example.org:9883\r\n"), 403);
    assert_eq!(with("Host: localhost\r\nOrigin: http://example.org\r\n"), 403);
    assert_eq!(with("Host: localhost\r\nOrigin: null\r\n"), 403);
    for path in [
        "/api/v1/clients?limit=0",
        "/api/v1/clients?limit=1001",
        "/api/v1/clients?sort=nothing",
        "/api/v1/clients?nonsense=1",
        "/api/v1/client",
        "/api/v1/subscribers?topic=a/%23",
        "/api/v1/subscribers?filter=a%23",
        "/api/v1/subscribers?topic=a&filter=a",
        "/api/v1/subscribers",
    ] {
        assert_eq!(get(&address, path).0, 400, "{path}");
    }
}

#[test]
fn the_command_line_asks_the_running_broker() {
    let (server, address) = start();
    let mut peers = fill(&server);
    peers[3].send(&packet(0x30, &[&text("t/x")[..], &[0], b"x"].concat()));
    assert_eq!(peers[0].packet().unwrap().0 >> 4, 3);
    let ringmq = |arguments: &[&str]| {
        run(Command::new(env!("CARGO_BIN_EXE_ringmq")).args(arguments).args(["--admin", &address]))
    };
    let (status, text) = ringmq(&["clients", "--sort", "queued_messages"]);
    assert_eq!(status, Some(0), "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("client_id") && lines[1].starts_with("away"), "{text}");
    assert_eq!(lines.len(), 6, "{text}");
    let (_, text) = ringmq(&["client", "away"]);
    assert!(text.contains("queued_messages: 3\n") && text.contains("q/#"), "{text}");
    let (_, text) = ringmq(&["subscribers", "t/1", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["subscribers"].as_array().unwrap().len(), 2);
    let (_, text) = ringmq(&["subscribers", "--filter", "t/+"]);
    assert!(text.contains("c-0") && !text.contains("c-1"), "{text}");
    let (status, text) = ringmq(&["subscribers"]);
    assert!(status == Some(2) && text.contains("is needed"), "{text}");
    let (status, text) = ringmq(&["journal", "status"]);
    assert!(status == Some(0) && text.contains("state: none\n"), "{text}");
    let (_, text) = ringmq(&["histogram"]);
    assert!(text.lines().any(|line| line.starts_with("delivery  0")), "{text}");
    let (_, text) = ringmq(&["histogram", "--worker", "0"]);
    assert!(text.lines().any(|line| line.starts_with("turn ")), "{text}");
    let (status, text) = ringmq(&["histogram", "--worker", "64"]);
    assert!(status == Some(1) && text.contains("the broker has workers 0 to "), "{text}");
    let (status, text) = ringmq(&["client", "nobody"]);
    assert!(status == Some(1) && text.contains("no client has this identifier"), "{text}");
    let (status, text) = ringmq(&["clients", "--sort", "nothing"]);
    assert!(status == Some(2) && text.contains("nothing"), "{text}");
    let words =
        |arguments: &[&str]| run(Command::new(env!("CARGO_BIN_EXE_ringmq")).args(arguments));
    let (status, text) = words(&["clinets"]);
    assert!(status == Some(2) && text.contains("but clients is"), "{text}");
    let (status, text) = words(&["client"]);
    assert!(status == Some(2) && text.contains("<ID> is needed"), "{text}");
    assert!(words(&["help"]).1.contains("--listen"));
    assert!(words(&["version"]).1.contains(env!("CARGO_PKG_VERSION")));
    let (status, text) = ringmq(&["kick", "c-3"]);
    assert!(status == Some(1) && text.contains("ringmq token"), "{text}");
    drop(server);
    assert!(eventually(|| ringmq(&["clients"]).1.contains("no broker answers")));
}
