//! What a client asks is answered, whatever it sends behind, and however its connection ends.

mod support;

use std::net::Shutdown;
use support::folder::Folder;
use support::peer::{Peer, frame, packet, socket, text};
use support::server::Server;

/// The first bytes of packets, as PUBLISH and its family have them.
const CONNACK: u8 = 0x20;
const PUBACK: u8 = 0x40;
const SUBACK: u8 = 0x90;
const DISCONNECT: u8 = 0xE0;

/// A 5.0 client whose session stays.
fn connect(client_id: &str) -> Vec<u8> {
    let properties = [5, 0x11, 0, 0, 0x03, 0xE8];
    let head = [&text("MQTT")[..], &[5, 0, 0, 60], &properties].concat();
    packet(0x10, &[head, text(client_id)].concat())
}

fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 7, 0][..], &text(filter), &[qos]].concat())
}

fn publish(topic: &str, packet_id: u8) -> Vec<u8> {
    packet(0x32, &[&text(topic)[..], &[0, packet_id, 0], b"payload"].concat())
}

/// A broker that keeps what it acknowledges.
fn start(folder: &Folder, workers: &str) -> Server {
    let data = folder.path().join("data").to_str().unwrap().to_owned();
    Server::start(&["--listen", "127.0.0.1:0", "--workers", workers, "--data-dir", &data])
}

/// The first bytes of the packets that come until the broker closes, or `count` of them.
fn kinds(peer: &mut Peer, count: usize) -> Vec<u8> {
    (0..count).map_while(|_| peer.packet()).map(|(kind, _)| kind).collect()
}

#[test]
fn what_follows_connect_in_the_same_write_is_answered() {
    for workers in ["1", "2", "4"] {
        let folder = Folder::new();
        let server = start(&folder, workers);
        let mut peers: Vec<Peer> = (0..200).map(|_| Peer::plain(server.port(0))).collect();
        for (index, peer) in peers.iter_mut().enumerate() {
            let retained = packet(0x33, &[&text("r/1")[..], &[0, 1, 0], b"kept"].concat());
            let behind = if index % 2 == 0 { subscribe("q/+", 1) } else { retained };
            peer.send(&[connect(&format!("c{index}")), behind].concat());
        }
        for (index, peer) in peers.iter_mut().enumerate() {
            let second = if index % 2 == 0 { SUBACK } else { PUBACK };
            assert_eq!(kinds(peer, 2), [CONNACK, second], "client {index}, {workers} workers");
        }
    }
}

#[test]
fn what_was_done_is_answered_before_the_connection_closes() {
    let malformed = vec![0xC1, 0];
    let endings = [(vec![0xE0, 0], &[][..]), (malformed, &[DISCONNECT][..])];
    for (workers, (ending, last)) in ["1", "2", "4"].into_iter().zip(endings.iter().cycle()) {
        let folder = Folder::new();
        let server = start(&folder, workers);
        let mut peers: Vec<Peer> = (0..50).map(|_| Peer::plain(server.port(0))).collect();
        for (index, peer) in peers.iter_mut().enumerate() {
            let client_id = format!("c{index}");
            let asked = [connect(&client_id), subscribe("q/+", 1), publish("q/1", 9)].concat();
            peer.send(&[asked, ending.clone()].concat());
        }
        for peer in &mut peers {
            let mut kinds = kinds(peer, usize::MAX);
            // Of what the client subscribed to there may be some.
            kinds.retain(|kind| kind >> 4 != 3);
            assert_eq!(kinds, [&[CONNACK, SUBACK, PUBACK], *last].concat(), "{workers} workers");
            assert!(peer.closes());
        }
    }
}

#[test]
fn a_client_that_has_closed_its_end_for_sending_hears_its_answers() {
    for workers in ["1", "2", "4"] {
        let folder = Folder::new();
        let server = start(&folder, workers);
        for index in 0..50 {
            let stream = socket(server.port(0));
            let mut peer = Peer::over(stream.try_clone().unwrap());
            let connect = connect(&format!("c{index}"));
            peer.send(&[connect, publish("q/1", 9), subscribe("a", 1)].concat());
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(kinds(&mut peer, usize::MAX), [CONNACK, PUBACK, SUBACK], "{workers}");
            assert!(peer.closes());
        }
    }
}

/// A Close frame, and one that is wrong, end what a client sends, as a closed socket does; that
/// goes with the connection to the worker that has the session.
#[test]
fn a_websocket_closed_or_broken_right_behind_connect_is_answered_and_closed() {
    let close = frame(0x88, &[0x03, 0xE8]);
    let unmasked = vec![0x82, 0];
    for workers in ["1", "2", "4"] {
        let folder = Folder::new();
        let data = folder.path().join("data").to_str().unwrap().to_owned();
        let flags = ["--listen", "ws://127.0.0.1:0", "--workers", workers, "--data-dir", &data];
        let server = Server::start(&flags);
        // The second time round the sessions are somewhere, and most connections have to move.
        for index in (0..20).chain(0..20) {
            let ending = if index % 2 == 0 { &close } else { &unmasked };
            let mut peer = Peer::websocket(server.port(0));
            let asked = [connect(&format!("c{index}")), publish("q/1", 9), subscribe("a", 1)];
            peer.send_raw(&[&frame(0x82, &asked.concat()), &ending[..]].concat());
            assert_eq!(kinds(&mut peer, usize::MAX), [CONNACK, PUBACK, SUBACK], "{workers}");
            assert!(peer.closes(), "{workers} workers");
        }
    }
}
