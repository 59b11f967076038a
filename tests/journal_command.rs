//! `ringmq journal` with the real program: what it says of sound, torn and damaged directories, of
//! one in use, and of wrong arguments.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]
#![allow(unreachable_pub, missing_docs, missing_debug_implementations, dead_code)]

#[path = "store/run.rs"]
mod run;
mod support;
#[path = "store/workload.rs"]
mod workload;

use ringmq::base::ids::{MessageId, SessionNumber};
use ringmq::store::record::{Body, Published, Record};
use ringmq::store::{CommitWriter, FORMAT, SegmentHeader, Stamp};
use ringmq::testing;
use ringmq_sim::disk::Image;
use run::recover;
use std::path::{Path, PathBuf};
use support::folder::Folder;
use support::peer::subscribe_and_go;
use support::server::Server;
use workload::canonical;

/// A folder with these segments.
fn folder_with(image: &Image) -> Folder {
    let folder = Folder::new();
    for (number, bytes) in image {
        std::fs::write(segment(&folder, *number), bytes).unwrap();
    }
    folder
}

fn segment(folder: &Folder, number: u64) -> PathBuf {
    folder.path().join(format!("{number:016}.journal"))
}

fn image_in(folder: &Folder) -> Image {
    let read = |number| std::fs::read(segment(folder, number)).ok().map(|bytes| (number, bytes));
    (1..100).filter_map(read).collect()
}

/// The status, and what was said on both outputs.
fn journal(arguments: &[&str], path: Option<&Path>) -> (i32, String, String) {
    let mut command = support::ringmq();
    let output = command.arg("journal").args(arguments).args(path).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn sample() -> Image {
    testing::disk(&run::run(4, 25, None).log).contents()
}

#[test]
fn wrong_arguments_get_one_line_and_status_2() {
    let wrong: &[&[&str]] = &[
        &[],
        &["verify"],
        &["nonsense", "."],
        &["verify", "--nonsense", "."],
        &["verify", ".", "."],
        &["verify", "--accept-damage", "."],
        &["verify", "/nonexistent"],
        &["dump", "/nonexistent"],
        &["compact", "/nonexistent"],
    ];
    for arguments in wrong {
        let (status, out, error) = journal(arguments, None);
        assert_eq!((status, out.as_str()), (2, ""), "{arguments:?}: {error}");
        assert!(error.starts_with("ringmq: ") && error.lines().count() == 1, "{error}");
    }
    let (status, help, _) = journal(&["--help"], None);
    assert!(status == 0 && help.contains("verify") && help.contains("compact"), "{help}");
    assert!(!Path::new("/nonexistent").exists());
}

#[test]
fn a_sound_journal_is_verified_dumped_and_compacted() {
    let image = sample();
    let wanted = recover(&image);
    let folder = folder_with(&image);
    let (status, out, _) = journal(&["verify"], Some(folder.path()));
    let sessions = format!("{} sessions, ", wanted.state.sessions.len());
    let summary = out.lines().last().unwrap();
    assert!(status == 0 && summary.starts_with(&sessions), "{out}");
    assert_eq!(out.lines().count(), image.len() + 1, "{out}");
    let (status, lines, _) = journal(&["dump"], Some(folder.path()));
    assert_eq!((status, lines.lines().count() as u64), (0, wanted.records));
    let first = *image.keys().next().unwrap();
    assert!(lines.starts_with(&format!("{first}:148 ")), "{lines}");
    for kind in [" session ", " published ", " topic \"t/", " done ", " subscribed "] {
        assert!(lines.contains(kind), "{kind}: {lines}");
    }
    let (status, out, error) = journal(&["compact"], Some(folder.path()));
    assert!(status == 0 && out.contains("became one of"), "{out}{error}");
    let compacted = recover(&image_in(&folder));
    assert!(canonical(&compacted.state) == canonical(&wanted.state));
    assert!(image_in(&folder).len() == 1 && compacted.faults.is_empty());
    assert_eq!(journal(&["compact"], Some(folder.path())).0, 0, "and once more");
    assert!(canonical(&recover(&image_in(&folder)).state) == canonical(&wanted.state));
}

/// A segment with a record whose checksum is right and whose topic is no text, and one behind it.
fn segment_with_an_unreadable_record() -> Vec<u8> {
    let (salt, number) = (7, 1);
    let body = Body {
        qos: 1,
        retain: false,
        expires: None,
        owner: None,
        lengths: (2, 0),
        bytes: b"t\xff"[..].into(),
    };
    let published = Published {
        message: MessageId(1),
        body: Some(body),
        retained: None,
        received: None,
        taken: None,
        groups: Vec::new(),
        others: Vec::new(),
    };
    let mut commit = CommitWriter::new(Stamp { salt, number }, Vec::new());
    commit.write(&Record::Published(published));
    commit.write(&Record::Ended { session: SessionNumber(1) });
    let header = SegmentHeader { format: FORMAT, number, end_before: 0, salt };
    [header.encode(), commit.finish()].concat()
}

#[test]
fn a_record_that_cannot_be_read_is_told_with_the_reason() {
    let folder = folder_with(&Image::from([(1, segment_with_an_unreadable_record())]));
    let told = "segment 1, byte 148: a record is left out: a text in it is not UTF-8\n";
    let (status, out, _) = journal(&["verify"], Some(folder.path()));
    assert!(status == 1 && out.contains(&format!("damage: {told}")), "{out}");
    let (status, out, _) = journal(&["dump"], Some(folder.path()));
    assert!(status == 1 && out.contains(&format!("# {told}")) && out.contains("ended 1"), "{out}");
}

#[test]
fn a_torn_tail_is_no_damage_and_damage_is_told() {
    let mut image = sample();
    let last = *image.keys().last().unwrap();
    let cut = image[&last].len() - 3;
    image.get_mut(&last).unwrap().truncate(cut);
    let folder = folder_with(&image);
    let (status, out, _) = journal(&["verify"], Some(folder.path()));
    assert!(status == 0 && out.contains("torn tail: "), "{out}");
    let first = *image.keys().next().unwrap();
    image.get_mut(&first).unwrap()[200] ^= 1;
    let folder = folder_with(&image);
    let (status, out, _) = journal(&["verify"], Some(folder.path()));
    assert!(status == 1 && out.contains("damage: segment "), "{out}");
    assert_eq!(journal(&["dump"], Some(folder.path())).0, 1);
    let (status, _, error) = journal(&["compact"], Some(folder.path()));
    assert!(status == 1 && error.contains("--accept-damage"), "{error}");
    assert!(error.lines().count() == 1 && image_in(&folder) == image, "{error}");
    let wanted = canonical(&recover(&image).state);
    assert_eq!(journal(&["compact", "--accept-damage"], Some(folder.path())).0, 0);
    assert!(canonical(&recover(&image_in(&folder)).state) == wanted);
    assert_eq!(journal(&["verify"], Some(folder.path())).0, 0);
}

#[test]
fn an_empty_directory_holds_nothing_and_a_newer_format_is_refused() {
    let folder = Folder::new();
    let (status, out, _) = journal(&["verify"], Some(folder.path()));
    assert!(status == 0 && out.starts_with("0 sessions, 0 messages"), "{out}");
    assert_eq!(journal(&["dump"], Some(folder.path())), (0, String::new(), String::new()));
    assert_eq!(journal(&["compact"], Some(folder.path())).0, 0);
    let header = SegmentHeader { format: 9, number: 1, end_before: 0, salt: 1 };
    let folder = folder_with(&Image::from([(1, header.encode())]));
    for name in ["verify", "dump", "compact"] {
        let (status, _, error) = journal(&[name], Some(folder.path()));
        assert!(status == 2 && error.contains("format 9"), "{error}");
    }
}

#[test]
fn a_running_broker_is_looked_at_and_left_alone() {
    let folder = Folder::new();
    let path = folder.path().to_str().unwrap();
    let admin = ["--admin-listen", "127.0.0.1:0"];
    let flags = [&["--listen", "127.0.0.1:0", "--data-dir", path][..], &admin].concat();
    let server = Server::start(&flags);
    subscribe_and_go(server.port(0), "away", "a/#");
    let (status, text, _) = journal(&["status", "--json", "--admin", &server.dashboard().0], None);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status, &told["state"], &told["durability"]),
        (0, &"works".into(), &"commit".into())
    );
    let metrics = &told["metrics"];
    assert_eq!(
        (&metrics["journal_segments"], &metrics["journal_rewrites"]),
        (&1.into(), &0.into())
    );
    let number = |name: &str| metrics[name].as_u64().unwrap();
    // The first segment takes two syncs, each commit another one.
    assert_eq!(number("journal_syncs"), number("journal_commits") + 2);
    assert!(number("journal_commits") > 0 && number("journal_size") > number("journal_written"));
    assert_eq!(told["failure"], serde_json::Value::Null);
    assert_eq!(journal(&["verify"], Some(folder.path())).0, 0);
    assert_eq!(journal(&["dump"], Some(folder.path())).0, 0);
    let (status, _, error) = journal(&["compact"], Some(folder.path()));
    assert!(status == 2 && error.contains("in use"), "{error}");
    drop(server);
    assert_eq!(journal(&["compact"], Some(folder.path())).0, 0);
}
