//! What a TLS connection costs: memory when idle, and time for each send.
//!
//! `cargo run --release --example transport_cost`. Memory is what the system's allocator has given
//! out, so it includes what AWS-LC allocates in C, and the allocator's own overhead.
#![allow(clippy::disallowed_methods, reason = "a measurement looks at the clock")]
#![allow(clippy::print_stdout, reason = "its numbers are for whoever runs it")]

#[path = "../tests/transport_peer/mod.rs"]
mod transport_peer;

use ringmq::transport::{ClientCertificates, TlsSettings};
use rustls::{ClientConnection, ServerConnection, SupportedProtocolVersion};
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;
use transport_peer::client::{Client, Pair, VERSIONS, give_input, take_output};
use transport_peer::memory::each;
use transport_peer::pki::{self, Site};

const SENDS: u32 = 200_000;

fn unbuffered(client: &Client, settings: &Arc<TlsSettings>) -> transport_peer::Server {
    let mut pair = Pair::connect(client, settings).unwrap();
    let wire = pair.client_sends(&[0x10; 200]);
    pair.server.receive(&wire).unwrap();
    pair.server.plain = Vec::new();
    pair.server.send(&[&[0x20; 100]]);
    pair.server
}

/// The same with rustls's buffered connection, for comparison.
fn buffered(client: &mut ClientConnection, config: &Arc<rustls::ServerConfig>) -> ServerConnection {
    let mut server = ServerConnection::new(config.clone()).unwrap();
    let step = |server: &mut ServerConnection, client: &mut ClientConnection| {
        let input = take_output(client);
        let mut rest = &input[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut out = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut out).unwrap();
        }
        give_input(client, &out).unwrap();
        !input.is_empty() || !out.is_empty()
    };
    while step(&mut server, client) {}
    client.writer().write_all(&[0x10; 200]).unwrap();
    step(&mut server, client);
    std::io::copy(&mut std::io::Read::take(server.reader(), 200), &mut std::io::sink()).unwrap();
    server.writer().write_all(&[0x20; 100]).unwrap();
    step(&mut server, client);
    server
}

fn buffered_config(site: &Site) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_file(&site.files.certificates[0]).unwrap();
    let key = PrivateKeyDer::from_pem_file(&site.files.keys[0]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    let mut config = config.unwrap();
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    Arc::new(config)
}

fn memory(version: &'static SupportedProtocolVersion) {
    let site = Site::new();
    let (settings, config) = (site.load(), buffered_config(&site));
    let client = Client::new(&site.authority, version, None);
    // What a client keeps of its tickets is not to be counted.
    let fresh = || Client::new(&site.authority, version, None);
    let own = each(|| unbuffered(&client, &settings));
    let other = each(|| buffered(&mut fresh().open(), &config));
    let clients = pki::authority("Clients");
    let identity = pki::issue(&clients, pki::client_params("client", 1));
    let mutual = Site::new().with_clients(ClientCertificates::Required, &clients);
    let known = Client::new(&mutual.authority, version, Some(&identity));
    let with_certificate = each(|| unbuffered(&known, &mutual.load()));
    let settings = mutual.load();
    let shared = each(|| unbuffered(&known, &settings));
    println!("{version:?}: {own} bytes idle; {shared} with a client certificate");
    println!("    rustls's buffered connection: {other}; settings: {}", with_certificate - shared);
}

fn sends(version: &'static SupportedProtocolVersion, segments: &[&[u8]]) -> f64 {
    let site = Site::new();
    let client = Client::new(&site.authority, version, None);
    let mut pair = Pair::connect(&client, &site.load()).unwrap();
    let mut out = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    for _ in 0..SENDS {
        if out.len() > 1 << 19 {
            out.clear();
        }
        let flow = pair.server.transport.send(segments.iter().copied(), &mut out);
        assert_eq!(black_box(flow), ringmq::transport::Flow::Open);
    }
    start.elapsed().as_nanos() as f64 / f64::from(SENDS)
}

fn buffered_sends(version: &'static SupportedProtocolVersion, segment: &[u8]) -> f64 {
    let site = Site::new();
    let mut client = Client::new(&site.authority, version, None).open();
    let mut server = buffered(&mut client, &buffered_config(&site));
    let mut out = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    for _ in 0..SENDS {
        if out.len() > 1 << 19 {
            out.clear();
        }
        server.writer().write_all(segment).unwrap();
        server.write_tls(&mut out).unwrap();
    }
    start.elapsed().as_nanos() as f64 / f64::from(SENDS)
}

fn receives(version: &'static SupportedProtocolVersion, bytes: usize) -> f64 {
    let site = Site::new();
    let client = Client::new(&site.authority, version, None);
    let mut pair = Pair::connect(&client, &site.load()).unwrap();
    let payload = vec![1; bytes];
    let wires: Vec<_> = (0..10_000).map(|_| pair.client_sends(&payload)).collect();
    let start = Instant::now();
    for wire in &wires {
        pair.server.plain.clear();
        pair.server.receive(wire).unwrap();
    }
    start.elapsed().as_nanos() as f64 / wires.len() as f64
}

fn main() {
    for version in VERSIONS {
        memory(version);
    }
    for version in VERSIONS {
        for bytes in [64, 1024, 6144] {
            let payload = vec![1; bytes];
            let (first, second) = payload.split_at(bytes / 2);
            println!(
                "{version:?}, {bytes} bytes: {:.0} ns a send, {:.0} in two segments, \
                 {:.0} with rustls's buffers; {:.0} a receive",
                sends(version, &[&payload]),
                sends(version, &[first, second]),
                buffered_sends(version, &payload),
                receives(version, bytes),
            );
        }
    }
}
