//! A broker that listens on every transport, and peers on each of them.
#![allow(dead_code, unreachable_pub, reason = "not every test needs all of it")]

use crate::pki;
use crate::support::folder::Folder;
use crate::support::peer::{Peer, tls_client};
use crate::support::server::Server;
use rustls::ClientConfig;
use std::sync::Arc;

pub const TRANSPORTS: [&str; 5] = ["mqtt", "mqtts", "ws", "wss", "unix"];

pub struct Everywhere {
    pub folder: Folder,
    trust: Arc<ClientConfig>,
    /// The certificate that the server's own is signed with, in PEM.
    pub authority: String,
    flags: Vec<String>,
}

impl Everywhere {
    pub fn new() -> Self {
        let folder = Folder::new();
        let authority = pki::authority("Authority");
        let identity = pki::server(&authority, &["localhost", "127.0.0.1"]);
        let certificate = folder.write("server.pem", identity.certificate.pem());
        let key = folder.write("server.key", identity.key.serialize_pem());
        let mut flags = Vec::new();
        for (flag, path) in [("--tls-cert", certificate), ("--tls-key", key)] {
            flags.extend([flag.to_owned(), path.display().to_string()]);
        }
        let socket = folder.path().join("socket").display().to_string();
        for transport in TRANSPORTS {
            let at = match transport {
                "unix" => format!("unix:{socket}"),
                _ => format!("{transport}://127.0.0.1:0"),
            };
            flags.extend(["--listen".to_owned(), at]);
        }
        let authority = authority.pem();
        Self { trust: tls_client(&authority, None), authority, folder, flags }
    }

    pub fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    pub fn start(&self, flags: &[&str]) -> Server {
        // One that was killed has left it.
        let _ = std::fs::remove_file(self.folder.path().join("socket"));
        let mut all = self.flags.clone();
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        Server::start(&all)
    }

    pub fn peer(&self, server: &Server, transport: &str) -> Peer {
        let port = |name| server.port(TRANSPORTS.iter().position(|known| *known == name).unwrap());
        match transport {
            "mqtt" => Peer::plain(port("mqtt")),
            "mqtts" => Peer::tls(port("mqtts"), &self.trust),
            "ws" => Peer::websocket(port("ws")),
            "wss" => Peer::websocket_tls(port("wss"), &self.trust),
            _ => Peer::unix(&self.folder.path().join("socket")),
        }
    }
}
