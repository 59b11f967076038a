//! What is under a broker changes: its data directory is removed, moved, replaced or robbed.
//! Nothing is acknowledged then that a start would not find.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock and name its folders")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::folder::Folder;
use support::peer::{Peer, connect, connect_stored, packet, text};
use support::server::{Server, run};

const WITHIN: Duration = Duration::from_secs(10);

struct World {
    folder: Folder,
}

impl World {
    fn new() -> Self {
        Self { folder: Folder::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, workers: &str) -> Server {
        let data = self.path("data").display().to_string();
        let flags = ["--listen", "127.0.0.1:0", "--workers", workers, "--data-dir", &data];
        let server = Server::start(&flags);
        let mut stored = Peer::plain(server.port(0));
        assert_eq!(stored.connect(&connect_stored("stored", 3600, 60)), Some(0));
        assert_eq!(stored.subscribe("a"), Some(1));
        stored.send(&[0xe0, 0]);
        assert!(stored.closes());
        server
    }

    /// How many messages the stored session is sent after a start.
    fn queued(&self) -> usize {
        let data = self.path("data").display().to_string();
        let server = Server::start(&["--listen", "127.0.0.1:0", "--data-dir", &data]);
        let mut stored = Peer::plain(server.port(0));
        assert_eq!(stored.connect(&connect_stored("stored", 3600, 60)), Some(0));
        stored.set_timeout(Duration::from_secs(1));
        let packets = std::iter::from_fn(|| stored.packet());
        packets.filter(|(kind, _)| kind & 0xf0 == 0x30).count()
    }
}

fn publisher(server: &Server) -> Peer {
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect("publisher", None)), Some(0));
    peer
}

fn publish(peer: &mut Peer) {
    peer.send(&packet(0x32, &[&text("a")[..], &[0, 1, 0], b"x"].concat()));
}

#[track_caller]
fn is_told(server: &Server, text: &str) {
    server.logs(text);
    assert_eq!(server.count("The journal cannot be written"), 1, "{}", server.log());
    let mut reader = Peer::plain(server.port(0));
    assert_eq!(reader.connect(&connect("reader", None)), Some(0));
    reader.send(&packet(0x82, &[&[0, 2, 0][..], &text_of_state(), &[0]].concat()));
    let told = std::iter::from_fn(|| reader.packet()).find(|(kind, _)| kind & 0xf0 == 0x30);
    let told = String::from_utf8_lossy(&told.expect("the state is told").1).into_owned();
    assert!(told.contains(text), "{told}");
}

fn text_of_state() -> Vec<u8> {
    text("$SYS/broker/journal/state")
}

fn last_segment(data: &Path) -> PathBuf {
    let entries = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|text| text == "journal");
    entries.filter(is_segment).max().unwrap()
}

#[test]
fn a_directory_that_is_put_back_goes_on() {
    for workers in ["1", "2"] {
        for is_replaced in [false, true] {
            let world = World::new();
            let server = world.start(workers);
            let mut peer = publisher(&server);
            publish(&mut peer);
            assert!(peer.packet().is_some());
            let (data, away) = (world.path("data"), world.path("away"));
            fs::rename(&data, &away).unwrap();
            if is_replaced {
                fs::create_dir(&data).unwrap();
            }
            publish(&mut peer);
            is_told(&server, if is_replaced { "was replaced by another one" } else { "is gone" });
            peer.set_timeout(Duration::from_secs(3));
            assert!(peer.packet().is_none(), "acknowledged without being there");
            if is_replaced {
                // Nothing was made in a directory of somebody else's.
                fs::remove_dir(&data).expect("it is empty");
            }
            fs::rename(&away, &data).unwrap();
            peer.set_timeout(WITHIN);
            assert!(peer.packet().is_some(), "{}", server.log());
            server.logs("The journal can be written again");
            publish(&mut peer);
            assert!(peer.packet().is_some());
            drop(server);
            assert_eq!(world.queued(), 3);
        }
    }
}

#[test]
fn a_directory_that_is_removed_is_never_acknowledged_into() {
    let world = World::new();
    let mut server = world.start("2");
    let data = world.path("data");
    fs::remove_dir_all(&data).unwrap();
    let mut peer = publisher(&server);
    publish(&mut peer);
    is_told(&server, "is gone");
    // Not even an empty one of the same name is taken for it.
    fs::create_dir(&data).unwrap();
    peer.set_timeout(Duration::from_secs(3));
    assert!(peer.packet().is_none(), "acknowledged into a removed directory");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    server.signal(libc::SIGTERM);
    assert_eq!(server.ends(), Some(Some(1)), "{}", server.log());
}

#[test]
fn a_segment_that_is_gone_stops_acknowledgements_until_it_is_back() {
    let world = World::new();
    drop(world.start("2"));
    // The second start has an older segment, and one of its own.
    let server = world.start("2");
    let data = world.path("data");
    let older = data.join("0000000000000001.journal");
    let newest = last_segment(&data);
    assert_ne!(older, newest);
    for path in [older, newest] {
        let mut peer = publisher(&server);
        let away = world.path("away");
        fs::rename(&path, &away).unwrap();
        // Older ones are looked for once a second.
        std::thread::sleep(Duration::from_millis(1100));
        publish(&mut peer);
        peer.set_timeout(Duration::from_secs(3));
        assert!(peer.packet().is_none(), "{}: {}", path.display(), server.log());
        fs::rename(&away, &path).unwrap();
        peer.set_timeout(WITHIN);
        assert!(peer.packet().is_some(), "{}", server.log());
    }
    assert_eq!(server.count("is gone: put it back"), 2, "{}", server.log());
    drop(server);
    assert_eq!(world.queued(), 2);
}

#[test]
fn a_directory_of_another_user_is_refused_with_the_command_that_mends_it() {
    let world = World::new();
    // Root may do anything unless it gives up the right to.
    let script = "drop='setpriv --bounding-set=-dac_override,-dac_read_search \
                  --inh-caps=-dac_override,-dac_read_search'; \
                  if [ \"$(id -u)\" != 0 ]; then drop=; fi; exec $drop \"$@\"";
    let start = |data: &Path| {
        let mut broker = Command::new("bash");
        broker.args(["-c", script, "--", env!("CARGO_BIN_EXE_ringmq"), "--listen", "127.0.0.1:0"]);
        run(broker.args(["--admin-listen", "none", "--data-dir"]).arg(data))
    };
    let owner = fs::metadata(world.folder.path()).unwrap();
    let user = format!("{}:{}", owner.uid(), owner.gid());
    let (data, below) = (world.path("data"), world.path("data/below"));
    let mend = |before: &str, path: &Path| format!("{before}chown -R {user} {}\n", path.display());
    fs::create_dir(&data).unwrap();
    for mode in [0o500, 0o000] {
        fs::set_permissions(&data, fs::Permissions::from_mode(mode)).unwrap();
        let (status, text) = start(&data);
        assert_eq!(status, Some(1), "{text}");
        assert!(text.starts_with("ringmq: cannot use the data directory "), "{text}");
        assert!(text.ends_with(&format!("denied (os error 13); as root: {}", mend("", &data))));
    }
    fs::set_permissions(&data, fs::Permissions::from_mode(0o500)).unwrap();
    let (status, text) = start(&below);
    let make = format!("mkdir -p {} && ", below.display());
    assert!(status == Some(1) && text.ends_with(&mend(&make, &below)), "{text}");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(data.join("lock"), "").unwrap();
    fs::set_permissions(data.join("lock"), fs::Permissions::from_mode(0o000)).unwrap();
    let (status, text) = start(&data);
    assert!(status == Some(1) && text.ends_with(&mend("", &data)), "{text}");
}
