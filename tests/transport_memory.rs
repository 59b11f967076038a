//! What a connection holds, idle and when its peer means ill: every byte that the system's
//! allocator has given out, so that what AWS-LC allocates in C counts as well.

mod transport_peer;

use ringmq::transport::{ClientCertificates, Protocol};
use rustls::version::TLS13;
use std::sync::Arc;
use transport_peer::Server;
use transport_peer::client::{Client, Pair, VERSIONS, protocol, take_output};
use transport_peer::memory::each;
use transport_peer::pki::{self, Site};
use transport_peer::websocket::{BINARY, FIN, PING, REQUEST, frame};

/// A connection that has carried much, in both directions, and carries nothing now.
fn idle(client: &Client, protocol: &Protocol) -> Server {
    let mut pair = Pair { client: client.open(), server: Server::new(protocol) };
    pair.exchange(usize::MAX).unwrap();
    let mut open = |bytes: &[u8]| {
        let wire = pair.client_sends(bytes);
        wire.chunks(4096).for_each(|part| pair.server.receive(part).unwrap());
        pair.server.plain = Vec::new();
        pair.server.send(&[b"one", b"two"]);
    };
    if protocol.websocket.is_some() {
        open(REQUEST.as_bytes());
        open(&frame(FIN | PING, &[1; 125]));
        open(&frame(FIN | BINARY, &[2; 50_000]));
    } else {
        open(&[3; 50_000]);
    }
    pair.server
}

/// One test, since another one beside it would count as well.
#[test]
fn connections_hold_little() {
    let clients = pki::authority("Clients");
    let identity = pki::issue(&clients, pki::client_params("client", 1));
    let site = Site::new().with_clients(ClientCertificates::Required, &clients);
    let settings = site.load();
    for version in VERSIONS {
        let client = Client::new(&site.authority, version, Some(&identity));
        let tls = protocol(&settings);
        let wss = Protocol { websocket: Some(Arc::default()), ..tls.clone() };
        for protocol in [tls, wss] {
            let held = each(|| idle(&client, &protocol));
            assert!((1000..12 * 1024).contains(&held), "{version:?}: {held} bytes");
        }
    }
    let hello = take_output(&mut Client::new(&site.authority, &TLS13, None).open());
    let begun = each(|| {
        let mut server = Server::new(&protocol(&settings));
        server.receive(&hello[..hello.len() - 1]).unwrap();
        server
    });
    assert!(begun < 12 * 1024, "half a hello: {begun} bytes");
    let endless = each(|| half_sent(&protocol(&settings), &endless_hello()));
    assert!((8_000..22 * 1024).contains(&endless), "an endless hello: {endless} bytes");
    let websocket = Protocol { websocket: Some(Arc::default()), ..Protocol::default() };
    let request = [REQUEST.trim_end().as_bytes(), b"\r\nX: ", &[b'x'; 9000]].concat();
    let upgrade = each(|| half_sent(&websocket, &request));
    assert!(upgrade < 10 * 1024, "an endless request: {upgrade} bytes");
}

/// A server that is sent `bytes` as long as it takes them.
fn half_sent(protocol: &Protocol, bytes: &[u8]) -> Server {
    let mut server = Server::new(protocol);
    let last = bytes.chunks(1000).position(|part| server.receive(part).is_err());
    let last = last.expect("it is refused at last");
    let mut server = Server::new(protocol);
    bytes.chunks(1000).take(last).for_each(|part| server.receive(part).unwrap());
    server
}

/// A handshake message that is announced to be 60 KiB long, in records.
fn endless_hello() -> Vec<u8> {
    let mut message = vec![1, 0, 0xf0, 0];
    message.resize(60_000, 3);
    let record = |part: &[u8]| {
        let [high, low] = (part.len() as u16).to_be_bytes();
        [&[22, 3, 1, high, low], part].concat()
    };
    message.chunks(4096).flat_map(record).collect()
}
