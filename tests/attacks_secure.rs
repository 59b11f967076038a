//! What peers can do to a broker through TLS, WebSocket, PROXY headers and logins, over its
//! sockets. The names begin with the class of vulnerability.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

#[path = "attacks_secure/floods.rs"]
mod floods;
#[path = "attacks_secure/layers.rs"]
mod layers;
#[path = "attacks_secure/limits.rs"]
mod limits;
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
#[path = "attacks_secure/secrets.rs"]
mod secrets;
mod support;

use pki::Authority;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use support::folder::{self, Folder};
use support::peer::{Peer, connect, tls_client};
use support::server::Server;

/// The listeners of a broker, in this order.
const MQTT: usize = 0;
const MQTTS: usize = 1;
const WS: usize = 2;
const WSS: usize = 3;

/// A broker on four transports with a certificate.
struct World {
    _folder: Folder,
    authority: Authority,
    server: Server,
    trust: Arc<ClientConfig>,
}

impl World {
    /// With these flags besides; `FOLDER/` in them stands for a folder with these files.
    fn new(flags: &[&str], files: &[(&str, &str)]) -> Self {
        Self::at("", flags, files)
    }

    /// With these options of each listener's own as well.
    fn at(own: &str, flags: &[&str], files: &[(&str, &str)]) -> Self {
        let (folder, authority) = (Folder::new(), pki::authority("Server Authority"));
        let server = pki::server(&authority, &["localhost"]);
        let certificate = folder.write("server.pem", server.certificate.pem());
        let key = folder.write("server.key", server.key.serialize_pem());
        for (name, text) in files {
            folder.write(name, text);
        }
        let mut all = vec!["--tls-cert".to_owned(), certificate.display().to_string()];
        all.extend(["--tls-key".into(), key.display().to_string()]);
        for scheme in ["mqtt", "mqtts", "ws", "wss"] {
            all.extend(["--listen".into(), format!("{scheme}://127.0.0.1:0?{own}")]);
        }
        let path = folder.path().display().to_string();
        all.extend(flags.iter().map(|flag| flag.replace("FOLDER", &path)));
        let server = Server::start(&all);
        let trust = tls_client(&authority.pem(), None);
        Self { _folder: folder, authority, server, trust }
    }

    fn peer(&self, listener: usize) -> Peer {
        let port = self.server.port(listener);
        match listener {
            MQTT => Peer::plain(port),
            MQTTS => Peer::tls(port, &self.trust),
            WS => Peer::websocket(port),
            _ => Peer::websocket_tls(port, &self.trust),
        }
    }

    /// A client that is let in.
    fn enter(&self, listener: usize, client_id: &str) -> Peer {
        let mut peer = self.peer(listener);
        let code = peer.connect(&connect(client_id, None));
        assert_eq!(code, Some(0), "{client_id}: {}", self.server.log());
        peer
    }
}

/// Pings at intervals until it is stopped, and tells the longest time that an answer took.
struct Pinging {
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<Duration>,
}

impl Pinging {
    fn start(mut peer: Peer) -> Self {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                longest = longest.max(peer.ping().expect("PINGREQ is answered"));
                std::thread::sleep(Duration::from_millis(10));
            }
            longest
        });
        Self { stop, thread }
    }

    fn stop(self) -> Duration {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.join().expect("the client stays connected")
    }
}
