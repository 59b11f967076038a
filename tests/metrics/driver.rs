//! A driver: what it does, and how it moves metrics.

use crate::folder::Folder;
use crate::pki::Site;
use crate::support::bare::Bare;
use crate::support::http;
use crate::support::peer::{Peer, connect};
use crate::support::server::{Server, eventually};
use crate::{balance, named, shown};
use ringmq::metrics::{Counters, Gauges, Kind, Logins, Metric};
use std::any::Any;
use std::collections::BTreeMap;

/// How far a value moves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By {
    /// By exactly so much.
    Exactly(u64),
    /// To exactly so much: a state.
    To(u64),
    /// By at least so much, and the reason why nothing more exact is known.
    AtLeast(u64, &'static str),
    /// To at least so much: a state, and the reason.
    ToAtLeast(u64, &'static str),
}

/// A metric, a value of its label, and how far it moves.
pub(crate) type Move = (&'static str, &'static str, By);

/// Peers and files that have to stay until the values have been looked at.
pub(crate) type Kept = Box<dyn Any>;

/// The place at which a driver drives.
pub(crate) enum Drive {
    /// A broker of these flags.
    Live(fn(&Folder) -> Vec<String>, fn(&Live) -> Kept),
    /// A broker in whose folder so many megabytes have room.
    OnSmallDisk(u8, fn(&Folder) -> Vec<String>, fn(&Live) -> Kept),
    /// A broker that ends, and whose last line of the log is read.
    ToTheEnd(fn(&Folder) -> Vec<String>, fn(&Live) -> Kept),
    /// A shard without a broker around it.
    Bare(fn() -> Bare),
    /// The desk that verifies logins, without a broker around it.
    Desk(fn() -> Logins),
}

/// What is done, and how metrics move by it.
pub(crate) struct Driver {
    pub(crate) drive: Drive,
    pub(crate) moves: &'static [Move],
}

/// A live broker, with its files and addresses.
pub(crate) struct Live {
    pub(crate) server: Server,
    pub(crate) folder: Folder,
    metrics: String,
    operators: String,
    token: String,
}

/// The name of a series in a scrape, without the worker.
pub(crate) fn series(metric: &Metric, value: &str) -> String {
    let count = if metric.kind == Kind::Histogram { "_count" } else { "" };
    let name = metric.prometheus_name() + count;
    match metric.label {
        "" => name,
        label => format!("{name}{{{label}=\"{value}\"}}"),
    }
}

/// Flags as strings.
pub(crate) fn flags(flags: &[&str]) -> Vec<String> {
    flags.iter().map(ToString::to_string).collect()
}

impl Driver {
    pub(crate) fn run(&self) {
        let nothing = BTreeMap::new();
        match &self.drive {
            Drive::Bare(drive) => {
                let mut broker = drive();
                broker.count();
                let shard = &broker.shard;
                let mut now = shown(Counters::TABLE, shard.counters().values());
                now.extend(shown(Gauges::TABLE, shard.gauges().values()));
                self.is_moved(&nothing, &now).unwrap();
            }
            Drive::Desk(drive) => {
                self.is_moved(&nothing, &shown(Logins::TABLE, drive().values())).unwrap();
            }
            Drive::Live(flags, drive) => {
                let folder = Folder::new();
                let flags = flags(&folder);
                self.watch(Live::start(None, folder, &flags), *drive);
            }
            Drive::OnSmallDisk(megabytes, flags, drive) => {
                let folder = Folder::new();
                let flags = flags(&folder);
                self.watch(Live::start(Some(*megabytes), folder, &flags), *drive);
            }
            Drive::ToTheEnd(flags, drive) => {
                let folder = Folder::new();
                let flags = flags(&folder);
                let mut live = Live::start(None, folder, &flags);
                let kept = drive(&live);
                live.server.signal(libc::SIGTERM);
                assert_eq!(live.server.ends(), Some(Some(0)));
                drop(kept);
                let now = live.last_counts();
                self.is_moved(&nothing, &now).unwrap();
            }
        }
    }

    /// Drives a live broker until its values are where they have to be, and balanced.
    fn watch(&self, live: Live, drive: fn(&Live) -> Kept) {
        let before = live.scrape();
        let kept = drive(&live);
        assert!(eventually(|| self.is_moved(&before, &live.scrape()).is_ok()), "{:?}", {
            self.is_moved(&before, &live.scrape())
        });
        assert!(eventually(|| {
            let (came, went) = balance(&live.scrape());
            came == went
        }));
        // Nothing has moved further meanwhile.
        self.is_moved(&before, &live.scrape()).unwrap();
        drop(kept);
    }

    /// Whether all values have moved as they were to, or which have not.
    fn is_moved(
        &self,
        before: &BTreeMap<String, f64>,
        now: &BTreeMap<String, f64>,
    ) -> Result<(), Vec<String>> {
        let wrong = self.moves.iter().filter_map(|row| check(row, before, now).err());
        let wrong: Vec<_> = wrong.collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// Compares how a value has moved with how it was to move.
fn check(
    (name, value, by): &Move,
    before: &BTreeMap<String, f64>,
    now: &BTreeMap<String, f64>,
) -> Result<(), String> {
    let series = series(named(name), value);
    let then = before.get(&series).copied().unwrap_or(0.0);
    let Some(now) = now.get(&series).copied() else { return Err(format!("{series} is not shown")) };
    let is_right = match *by {
        By::Exactly(change) => now - then == change as f64,
        By::To(state) => now == state as f64,
        By::AtLeast(change, _) => now - then >= change as f64,
        By::ToAtLeast(state, _) => now >= state as f64,
    };
    if is_right { Ok(()) } else { Err(format!("{series}: from {then} to {now}, not {by:?}")) }
}

impl Live {
    fn start(megabytes: Option<u8>, folder: Folder, flags: &[String]) -> Self {
        let usual = [
            "--metrics-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--sys-interval",
            "0",
        ];
        let flags: Vec<&str> = usual.into_iter().chain(flags.iter().map(String::as_str)).collect();
        let server = match megabytes {
            Some(megabytes) => Server::start_on_small_disk(megabytes, folder.path(), &flags).0,
            None => Server::start(&flags),
        };
        let (operators, token) = server.dashboard();
        let metrics = server.metrics();
        Self { server, folder, metrics, operators, token }
    }

    /// The sums over all workers, by name and label.
    fn scrape(&self) -> BTreeMap<String, f64> {
        http::scrape(&self.metrics)
    }

    /// A value of a scrape.
    pub(crate) fn value(&self, name: &str, label: &str) -> f64 {
        self.scrape()[&series(named(name), label)]
    }

    /// Waits until a value is at least so much.
    #[track_caller]
    pub(crate) fn reaches(&self, name: &str, label: &str, least: u64) {
        assert!(eventually(|| self.value(name, label) >= least as f64), "{name} {label}: {least}");
    }

    /// The counts in the last line of the log.
    fn last_counts(&self) -> BTreeMap<String, f64> {
        let log = self.server.log();
        let (_, counts) = log.rsplit_once("counts=\"").unwrap_or_else(|| panic!("{log}"));
        let counts = counts.split('"').next().unwrap().split(' ');
        let named = counts.map(|count| {
            let (name, value) = count.split_once('=').unwrap();
            let (name, label) = name.split_once('.').unwrap_or((name, ""));
            (series(named(name), label), value.parse().unwrap())
        });
        named.collect()
    }

    /// Has an operator do something.
    #[track_caller]
    pub(crate) fn operate(&self, method: &str, path: &str) {
        let (status, body) = http::send(&self.operators, (method, path), &self.token, "null");
        assert_eq!(status, 200, "{path}: {body}");
    }

    /// The next connection to the first listener.
    pub(crate) fn peer(&self) -> Peer {
        Peer::plain(self.server.port(0))
    }

    /// A client of version 5 without a session that stays.
    #[track_caller]
    pub(crate) fn connected(&self, client_id: &str) -> Peer {
        self.let_in(&connect(client_id, None))
    }

    /// A client with this CONNECT.
    #[track_caller]
    pub(crate) fn let_in(&self, connect: &[u8]) -> Peer {
        let mut peer = self.peer();
        assert_eq!(peer.connect(connect), Some(0));
        peer
    }
}

/// Writes a certificate for `localhost` into a folder: the flags for that, and the authority.
pub(crate) fn certificate(folder: &Folder) -> Vec<String> {
    let site = Site::new();
    let copy = |from: &std::path::Path, name: &str| {
        let to = folder.path().join(name);
        std::fs::copy(from, &to).unwrap();
        to.display().to_string()
    };
    folder.write("authority.pem", site.authority.pem());
    let certificate = copy(&site.files.certificates[0], "server.pem");
    let key = copy(&site.files.keys[0], "server.key");
    flags(&["--tls-cert", &certificate, "--tls-key", &key])
}
