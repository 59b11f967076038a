//! Rights and limits: what a client may not do, and what takes long.

use crate::driver::{By, Drive, Driver, Kept, Live, flags};
use crate::support::peer::{Peer, connect, connect_v3, packet, text};
use crate::support::server::eventually;

fn listening(more: &[&str]) -> Vec<String> {
    flags(&[&["--listen", "mqtt://127.0.0.1:0"], more].concat())
}

pub(crate) const RIGHTS: Driver = Driver {
    drive: Drive::Live(
        |folder| {
            let acl = folder.write("acl", "topic readwrite open/#\n").display().to_string();
            listening(&["--acl-file", &acl, "--allow-anonymous", "true"])
        },
        |live| {
            let mut peer = live.connected("client");
            assert_eq!(peer.publish("secret/1", b"x"), Some(0x87));
            for filter in ["secret/1", "secret/+"] {
                assert_eq!(peer.subscribe(filter), Some(0x87));
            }
            Box::new(peer)
        },
    ),
    moves: &[
        ("publishes_denied", "", By::Exactly(1)),
        ("subscriptions_denied", "", By::Exactly(2)),
    ],
};

pub(crate) const QUOTAS: Driver = Driver {
    drive: Drive::Live(
        |_| listening(&["--max-subscriptions", "2"]),
        |live| {
            let mut peer = live.connected("client");
            let answers = ["1", "2", "3", "4", "5"].map(|filter| peer.subscribe(filter).unwrap());
            assert_eq!(answers, [1, 1, 0x97, 0x97, 0x97]);
            Box::new(peer)
        },
    ),
    moves: &[("refused_quota", "", By::Exactly(3)), ("subscriptions", "", By::To(2))],
};

pub(crate) const RATES: Driver = Driver {
    drive: Drive::Live(
        |_| listening(&["--max-publish-bytes", "1000"]),
        |live| {
            let mut peer = live.connected("client");
            // More than may come in any second: one alone passes.
            peer.send(&packet(0x30, &[&text("t")[..], &[0], &[7; 10_000]].concat()).repeat(2));
            assert!(peer.closes());
            Box::new(peer)
        },
    ),
    moves: &[("rates_exceeded", "", By::Exactly(1)), ("clients_departed", "limit", By::Exactly(1))],
};

pub(crate) const EXCESS: Driver = Driver {
    drive: Drive::Live(
        |_| listening(&["--max-connections", "2"]),
        |live| {
            let kept = [live.connected("a"), live.connected("b")];
            let mut peer = live.peer();
            assert_eq!(peer.connect(&connect("c", None)), Some(0x97));
            assert!(peer.closes());
            Box::new(kept)
        },
    ),
    moves: &[("excess_refused", "", By::Exactly(1)), ("connects_refused", "limit", By::Exactly(1))],
};

pub(crate) const LONG_TURNS: Driver = Driver {
    drive: Drive::Live(
        |_| listening(&["--workers", "1", "--max-packet-size", "10000000"]),
        |live| {
            let mut peer = live.let_in(&connect_v3("client", None));
            let filter = |number: u32| [&text(&format!("of/{number}/+"))[..], &[1]].concat();
            let filters: Vec<u8> = (0..20_000).flat_map(filter).collect();
            peer.send(&packet(0x82, &[&[0, 7][..], &filters].concat()));
            assert_eq!(peer.packet().unwrap().0, 0x90);
            Box::new(peer)
        },
    ),
    moves: &[
        (
            "purses_spent",
            "",
            By::AtLeast(2, "how much of the packet a turn finds is the network's"),
        ),
        ("subscriptions", "", By::To(20_000)),
    ],
};

pub(crate) const BLOCKED: Driver = Driver {
    drive: Drive::Live(|_| listening(&["--workers", "1"]), block),
    moves: &[
        ("links_blocked", "", By::AtLeast(1, "the kernel may find room once more for a part")),
        ("links_waiting", "", By::To(1)),
    ],
};

/// Publishes to a client that does not read, until its socket takes no more.
fn block(live: &Live) -> Kept {
    let mut reader = live.let_in(&connect_v3("reader", None));
    reader.send(&packet(0x82, &[&[0, 1][..], &text("t"), &[0]].concat()));
    assert_eq!(reader.packet().unwrap().0, 0x90);
    let mut author: Peer = live.let_in(&connect_v3("author", None));
    let message = packet(0x30, &[&text("t")[..], &[7; 100_000]].concat());
    assert!(eventually(|| {
        author.send(&message);
        assert!(author.ping().is_some());
        live.value("links_waiting", "") == 1.0
    }));
    Box::new([reader, author])
}
