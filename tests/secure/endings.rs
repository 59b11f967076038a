//! Logins that end by themselves, and those that are never answered.

use crate::realm::{Realm, SECRET, USERS};
use crate::support::peer::{Peer, connect, tls_client};
use crate::support::server::Server;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};

/// A broker on TCP, TLS and WebSocket with these options.
fn start(realm: &Realm, flags: &[String]) -> Server {
    let mut all = realm.tls_flags().to_vec();
    for scheme in ["mqtt", "mqtts", "ws"] {
        all.extend(["--listen".into(), format!("{scheme}://127.0.0.1:0")]);
    }
    all.extend_from_slice(flags);
    Server::start(&all)
}

fn peers(realm: &Realm, server: &Server) -> [Peer; 3] {
    let trust = tls_client(&realm.authority.pem(), None);
    let port = |listener| server.port(listener);
    [Peer::plain(port(0)), Peer::tls(port(1), &trust), Peer::websocket(port(2))]
}

#[test]
fn a_token_that_expires_ends_the_connection() {
    let realm = Realm::new();
    let key = realm.path("hs256").display().to_string();
    let server = start(&realm, &["--jwt-key-file".into(), key]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let token = |expires: u64| {
        let claims = json!({"sub": "tom", "exp": expires});
        encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
    };
    let (short, past) = (token(now.as_secs() + 3), token(now.as_secs() - 300));
    for (number, mut peer) in peers(&realm, &server).into_iter().enumerate() {
        let login = connect(&format!("past-{number}"), Some(("tom", &past)));
        assert_eq!(peer.connect(&login), Some(0x86), "{}", server.log());
    }
    let start = Instant::now();
    let mut connected = peers(&realm, &server);
    for (number, peer) in connected.iter_mut().enumerate() {
        let login = connect(&format!("short-{number}"), Some(("tom", &short)));
        assert_eq!(peer.connect(&login), Some(0), "{}", server.log());
        assert!(peer.ping().is_some());
    }
    for mut peer in connected {
        peer.set_timeout(Duration::from_secs(8));
        let (kind, body) = peer.packet().expect("DISCONNECT comes");
        assert_eq!((kind, body[0]), (0xe0, 0x87), "{body:02x?}");
        assert!(start.elapsed() > Duration::from_secs(1), "it came at {:?}", start.elapsed());
        assert!(peer.closes());
    }
}

#[test]
fn a_service_that_does_not_answer_holds_up_nobody_else() {
    let realm = Realm::new();
    // It accepts, since the kernel does, and says nothing until it goes.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/login", silent.local_addr().unwrap());
    let passwords = realm.path("passwords").display().to_string();
    let flags = ["--http-auth-url", &url, "--http-auth-timeout-ms", "60000"];
    let mut flags = flags.map(str::to_owned).to_vec();
    flags.extend(["--password-file".into(), passwords]);
    let server = start(&realm, &flags);
    let mut waiting = peers(&realm, &server);
    for (number, peer) in waiting.iter_mut().enumerate() {
        peer.send(&connect(&format!("waiting-{number}"), Some(("unknown", "password"))));
    }
    let (user, password, _) = USERS[1];
    for (number, mut peer) in peers(&realm, &server).into_iter().enumerate() {
        let code = peer.connect(&connect(&format!("known-{number}"), Some((user, password))));
        assert_eq!(code, Some(0), "{}", server.log());
        assert!(peer.ping().is_some());
    }
    assert_eq!(server.count("CONNECT refused"), 0, "the others still wait");
    drop(silent);
    for mut peer in waiting {
        let (kind, body) = peer.packet().expect("CONNACK comes");
        assert_eq!((kind, body[1]), (0x20, 0x88), "{body:02x?}");
        assert!(peer.closes());
    }
    server.logs("logins are refused: ");
}
