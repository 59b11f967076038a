//! The journal and the audit log, and what shows when they cannot be written.

use crate::driver::{By, Drive, Driver, Kept, Live, flags};
use crate::folder::Folder;
use crate::support::peer::{connect_stored, packet, publish_expiring, subscribe_and_go, text};

/// Flags with a file or a folder in the driver's folder.
fn with(folder: &Folder, option: &str, name: &str) -> Vec<String> {
    let path = folder.path().join(name).display().to_string();
    flags(&["--listen", "mqtt://127.0.0.1:0", "--workers", "1", option, &path])
}

pub(crate) const JOURNAL: Driver = Driver {
    drive: Drive::Live(
        |folder| with(folder, "--data-dir", "data"),
        |live| {
            subscribe_and_go(live.server.port(0), "away", "q");
            let mut author = live.connected("author");
            for _ in 0..3 {
                assert_eq!(author.publish("q", b"x"), Some(0));
            }
            Box::new(author)
        },
    ),
    moves: &[
        ("commit", "", By::AtLeast(5, "changes that are not waited for have commits of their own")),
        ("journal_commits", "", By::AtLeast(5, "changes that are not waited for have their own")),
        ("journal_syncs", "", By::AtLeast(5, "each commit is synced, and so are new segments")),
        ("journal_written", "", By::AtLeast(100, "what a record takes is the format's affair")),
        ("journal_size", "", By::AtLeast(100, "what a record takes is the format's affair")),
        ("journal_segments", "", By::To(1)),
        ("journal_rewriting", "", By::To(0)),
        ("queued_messages", "", By::To(3)),
        ("journal_failing", "", By::To(0)),
    ],
};

pub(crate) const JOURNAL_REWRITTEN: Driver = Driver {
    drive: Drive::Live(
        |folder| with(folder, "--data-dir", "data"),
        |live| {
            // The same topic again and again, until far more is dead than lives.
            let mut author = live.connected("author");
            let retained = packet(0x33, &[&text("r")[..], &[0, 1, 0], &[7; 1_000_000]].concat());
            while live.value("journal_rewrites", "") == 0.0 {
                author.send(&retained);
                assert_eq!(author.packet().map(|(kind, _)| kind), Some(0x40));
            }
            Box::new(author)
        },
    ),
    moves: &[
        ("journal_rewrites", "", By::Exactly(1)),
        ("journal_live", "", By::AtLeast(1_000_000, "the record has more than the payload")),
        ("retained_messages", "", By::Exactly(1)),
    ],
};

pub(crate) const JOURNAL_FAILS: Driver = Driver {
    drive: Drive::OnSmallDisk(
        4,
        |folder| with(folder, "--data-dir", "data"),
        |live| {
            subscribe_and_go(live.server.port(0), "away", "q");
            fill(live);
            let mut author = live.connected("author");
            author.send(&publish_expiring("q", &[7; 10_000], false, 1000));
            live.server.logs("The journal cannot be written: No space left on device");
            Box::new(author)
        },
    ),
    moves: &[
        ("journal_failing", "", By::To(1)),
        ("journal_failures", "", By::AtLeast(1, "the journal tries again and again")),
    ],
};

/// Fills what is left of the small disk.
fn fill(live: &Live) {
    let disk = format!("/proc/{}/root{}", live.server.pid(), live.folder.path().display());
    let _ = std::fs::write(format!("{disk}/fill"), vec![0; 40_000_000]);
}

pub(crate) const AUDIT: Driver = Driver {
    drive: Drive::Live(
        |folder| with(folder, "--audit-log", "audit.log"),
        |live| {
            // Login, subscription, departure.
            subscribe_and_go(live.server.port(0), "a", "t");
            Box::new(live.let_in(&connect_stored("b", 0, 0)))
        },
    ),
    moves: &[("audit_events", "", By::Exactly(4)), ("audit_failing", "", By::To(0))],
};

pub(crate) const AUDIT_FAILS: Driver = Driver {
    drive: Drive::OnSmallDisk(4, |folder| with(folder, "--audit-log", "audit.log"), flood),
    moves: &[
        ("audit_failing", "", By::To(1)),
        ("audit_events_lost", "", By::AtLeast(1, "how many still fit is the disk's affair")),
    ],
};

/// Subscribes to long filters, of which the audit log would tell, until events are lost.
fn flood(live: &Live) -> Kept {
    fill(live);
    let filter = |number: u32| [&text(&format!("{number}/{}", "f".repeat(240)))[..], &[0]].concat();
    let filters: Vec<u8> = (0..20).flat_map(filter).collect();
    let subscribe = packet(0x82, &[&[0, 1, 0], &filters[..]].concat()).repeat(100);
    let mut peers = Vec::new();
    while live.value("audit_events_lost", "") == 0.0 {
        // One client alone may not say so much.
        let mut peer = live.connected(&format!("flooder-{}", peers.len()));
        for _ in 0..10 {
            peer.send(&subscribe);
            (0..100).for_each(|_| assert_eq!(peer.packet().map(|(kind, _)| kind), Some(0x90)));
        }
        peers.push(peer);
    }
    live.server.logs("The audit log cannot be written: No space left on device");
    Box::new(peers)
}
