//! The memory that a SUBSCRIBE costs for each of its bytes, on all workers together.
//!
//! With `--nocapture` each shape of filters is printed: the bytes of the index, those of another
//! worker's interest in it, and those of whole shards, one or two, without replays of retained
//! messages and with replays that wait; and the notes for a journal that takes none, which
//! `limits::JOURNAL_WAITING_BYTES_MAX` ends. `RINGMQ_TEST_SCALE` multiplies the number of filters.
#![allow(clippy::disallowed_methods, reason = "a test reads its scale from the environment")]

mod support;

use ringmq::base::ids::WorkerId;
use ringmq::base::time::Time;
use ringmq::broker::{Input, LinkId, Output, Promise, Shard};
use ringmq::mqtt::{
    Connect, Publish, QoS, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions,
    TopicFilter, Version,
};
use ringmq::options::Options;
use ringmq::store::Epoch;
use ringmq::testing::{Prng, census, open_policy};
use ringmq::topics::{Extras, Interest, Subscriber, Subscriptions};
use std::sync::Arc;
use support::live_bytes::{Counting, live};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of broker memory for each byte that a client sent.
const BYTES_MAX: f64 = 32.0;

/// Bytes sent from which on the price of a byte is looked at: before, the first slabs count.
const SENT_MIN: usize = 100_000;

/// Filters of one SUBSCRIBE.
const FILTERS: usize = 50;

/// Some workers in one thread, and a client at home on the first, which is sent a retained message
/// and never acknowledges that: all replays behind the one wait.
struct World {
    shards: Vec<Shard>,
    link: LinkId,
    /// Notes for a journal, which takes none, are always due.
    has_journal: bool,
}

impl World {
    /// A journal takes notes of the client's session, and is never asked for them.
    fn new(workers: usize, has_journal: bool) -> Self {
        let options = Arc::new(Options::default());
        let policies = Arc::new([open_policy()]);
        let shard =
            |worker| Shard::new(options.clone(), policies.clone(), WorkerId(worker), workers, 1);
        let mut world = Self {
            shards: (0..workers as u16).map(shard).collect(),
            link: LinkId { slot: 0, generation: 0 },
            has_journal,
        };
        if has_journal {
            world.shards[0].keep_journal(Epoch(0), Promise::Commit);
        }
        let is_home = (0..100).any(|number| world.connect(&format!("client-{number}")));
        assert!(is_home, "some client has its home on the first worker");
        let mut bytes = Vec::new();
        for (topic, packet_id) in [("retained/1", 1), ("retained/2", 2)] {
            let qos = QoS::AtLeastOnce;
            let publish = Publish { qos, retain: true, topic, packet_id, ..Publish::default() };
            Publish { payload: b"x", ..publish }.encode(Version::V5, &mut bytes);
        }
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
        let filters = std::iter::once(SubscribeFilter { filter: "retained/+", options }).collect();
        let subscribe = Subscribe { packet_id: 1, filters, ..Subscribe::default() };
        subscribe.encode(Version::V5, &mut bytes);
        world.send(&bytes);
        world
    }

    /// True when the client's home is the first worker.
    fn connect(&mut self, client_id: &str) -> bool {
        let LinkId { slot, generation } = self.link;
        self.link = LinkId { slot: slot + 1, generation: generation + 1 };
        let peer: std::net::SocketAddr = "192.0.2.1:1024".parse().unwrap();
        self.shards[0].open(Time::ZERO, self.link, peer);
        let mut bytes = Vec::new();
        let connect = Connect::new(Version::V5, client_id);
        Connect { session_expiry_s: 3600, receive_maximum: 1, ..connect }.encode(&mut bytes);
        self.send(&bytes)
    }

    /// False when the client's home is another worker.
    fn send(&mut self, bytes: &[u8]) -> bool {
        let link = self.link;
        let is_home = self.input(0, Input::Received { link, bytes });
        while self.shards[0].deadline() == Some(Time::ZERO) && !self.has_journal {
            self.input(0, Input::Tick);
        }
        is_home
    }

    fn input(&mut self, worker: usize, input: Input<'_>) -> bool {
        self.shards[worker].handle(Time::ZERO, input);
        let mut is_home = true;
        for from in (0..self.shards.len()).cycle().take(4 * self.shards.len()) {
            while let Some(output) = self.shards[from].next_output() {
                match output {
                    Output::Mesh { to, message } => {
                        let from = WorkerId::at(from);
                        let input = Input::Mesh { from, message };
                        self.shards[to.index()].handle(Time::ZERO, input);
                    }
                    Output::Handover { .. } => is_home = false,
                    Output::PauseReceive { .. } => panic!("the client has to wait"),
                    Output::Close { link } => {
                        self.shards[from].handle(Time::ZERO, Input::Closed { link });
                    }
                    _ => {}
                }
            }
            self.shards[from].handle(Time::ZERO, Input::MeshSwept);
            let outbox = self.shards[from].outbox();
            while let Some(link) = outbox.next_dirty() {
                outbox.sent(link);
            }
            outbox.reset();
        }
        is_home
    }
}

fn subscribe(filters: &[String], retain_handling: RetainHandling) -> Vec<u8> {
    let options = SubscriptionOptions { retain_handling, ..SubscriptionOptions::default() };
    let filters = filters.iter().map(|filter| SubscribeFilter { filter, options }).collect();
    let mut bytes = Vec::new();
    let subscribe = Subscribe { packet_id: 1, filters, ..Subscribe::default() };
    subscribe.encode(Version::V5, &mut bytes);
    bytes
}

/// What `step` adds for each byte sent, at most, from [`SENT_MIN`] bytes on. A step returns how
/// many bytes it sent.
fn most(filters: &[String], mut step: impl FnMut(&[String]) -> usize) -> f64 {
    let (before, mut sent, mut most) = (live(), 0, 0.0_f64);
    for filters in filters.chunks(FILTERS) {
        sent += step(filters);
        if sent >= SENT_MIN {
            most = most.max((live() - before) as f64 / sent as f64);
        }
    }
    assert!(sent >= SENT_MIN, "{sent} bytes are too few");
    most
}

fn of_shards(workers: usize, filters: &[String], retain_handling: RetainHandling) -> f64 {
    of_world(World::new(workers, false), filters, retain_handling)
}

fn of_world(mut world: World, filters: &[String], retain_handling: RetainHandling) -> f64 {
    most(filters, |filters| {
        let bytes = subscribe(filters, retain_handling);
        world.send(&bytes);
        bytes.len()
    })
}

/// The index alone, for a worker's own subscriptions or for another worker's.
fn of_index(filters: &[String], is_own: bool) -> f64 {
    let mut index = Subscriptions::new(WorkerId(0), 1);
    most(filters, |filters| {
        for text in filters {
            let filter = TopicFilter::parse(text, 200).expect("a filter");
            if is_own {
                let (extras, options) = (Extras::default(), SubscriptionOptions::default());
                index.subscribe(filter, Subscriber { session: 0, extras, options });
            } else {
                index.learn(filter, Interest { worker: WorkerId(1), members: 1, online: 0 });
            }
        }
        subscribe(filters, RetainHandling::Send).len()
    })
}

/// Checks one shape of filters.
fn check(shape: &str, filters: impl Iterator<Item = String>) {
    let filters: Vec<String> = filters.collect();
    let [own, others] = [true, false].map(|is_own| of_index(&filters, is_own));
    let noted = of_world(World::new(1, true), &filters, RetainHandling::DoNotSend);
    let [plain, replay] = [RetainHandling::DoNotSend, RetainHandling::Send];
    let plain = [1, 2].map(|workers| of_shards(workers, &filters, plain));
    let replay = [1, 2].map(|workers| of_shards(workers, &filters, replay));
    let journal = noted - plain[0];
    println!(
        "{shape:40} index {own:5.1}, interest {others:5.1}; 1 worker {:5.1}, with replay {:5.1}; \
         2 workers {:5.1}, with replay {:5.1}; journal {journal:5.1}",
        plain[0], replay[0], plain[1], replay[1]
    );
    for price in plain.into_iter().chain(replay) {
        assert!(price <= BYTES_MAX, "{price:.1} bytes for each byte of {shape}");
    }
}

fn scale() -> usize {
    std::env::var("RINGMQ_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Levels of random letters of an alphabet.
fn levels(prng: &mut Prng, alphabet: &[&str], count: usize) -> String {
    let levels = (0..count).map(|_| alphabet[prng.below(alphabet.len() as u64) as usize]);
    levels.collect::<Vec<_>>().join("/")
}

/// The number `number`, in `digits` letters, each in a level of its own if there is a separator.
fn letters(mut number: usize, digits: usize, alphabet: &[u8], separator: &str) -> String {
    let digits = (0..digits).map(|_| {
        let digit = alphabet[number % alphabet.len()] as char;
        number /= alphabet.len();
        digit.to_string()
    });
    digits.collect::<Vec<_>>().join(separator)
}

const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!$%&-_.:";

#[test]
fn filters_of_many_levels_cost_few_bytes_for_each_byte_sent() {
    let mut prng = Prng::new(1);
    let deep = 2000 * scale();
    check("200 levels of one letter", (0..deep).map(|_| levels(&mut prng, &["a", "b", "c"], 200)));
    check("200 empty levels", (0..deep).map(|n| n.to_string() + &"/".repeat(199)));
    check("200 levels of + and a letter", (0..deep).map(|_| levels(&mut prng, &["+", "a"], 200)));
    check("up to 200 levels of +, and a number", {
        (0..deep).map(|n| "+/".repeat(1 + n % 199) + &n.to_string())
    });
    // Each filter leaves a common one after another level.
    check("one branch from each of 200 levels", {
        (0..deep).map(|n| format!("{}/", n / 199) + &"/".repeat(n % 199) + "b")
    });
    check("200 levels, and a branch at each", {
        (0..deep).map(|n| match n % 199 {
            0 => format!("{}", n / 199) + &"/a".repeat(199),
            level => format!("{}", n / 199) + &"/a".repeat(level) + "/b",
        })
    });
    check("a filter at each of 200 levels", {
        (0..deep).map(|n| format!("{}", n / 199) + &"/a".repeat(1 + n % 199))
    });
}

#[test]
fn filters_that_branch_everywhere_cost_few_bytes_for_each_byte_sent() {
    let count = 16_384 * scale();
    check("two letters, 14 levels", (0..count).map(|n| letters(n, 14, b"ab", "/")));
    check("+ and a letter, 14 levels", (0..count).map(|n| letters(n, 14, b"+a", "/")));
    check(
        "two letters, and #",
        (0..count).map(|n| letters(n / 2, 14, b"ab", "/") + ["", "/#"][n % 2]),
    );
    check("four letters, 7 levels, backwards", {
        (0..count).map(|n| letters(n, 7, b"abcd", "/").chars().rev().collect())
    });
    check("pairs: xyz/a, xyz/b", {
        (0..count).map(|n| letters(n / 2, 3, ALPHABET, "") + ["/a", "/b"][n % 2])
    });
    check("pairs: xyz, xyz/#", {
        (0..count).map(|n| letters(n / 2, 3, ALPHABET, "") + ["", "/#"][n % 2])
    });
    check("pairs: xyz/a, xyz/+", {
        (0..count).map(|n| letters(n / 2, 3, ALPHABET, "") + ["/a", "/+"][n % 2])
    });
}

#[test]
fn short_filters_cost_few_bytes_for_each_byte_sent() {
    for bytes in 4..=8 {
        // So many that tables are just about to grow, or have just grown.
        let count = (36_000 + bytes * 1000) * scale();
        let filters = (0..count).map(|n| letters(n, bytes, ALPHABET, ""));
        check(&format!("{bytes} bytes"), filters);
    }
    check("4 bytes, in two levels", {
        (0..30_000)
            .map(|n| letters(n / 60, 2, ALPHABET, "") + "/" + &letters(n, 1, &ALPHABET[..60], ""))
    });
    check("pairs: xy/a, xy/b", {
        (0..2 * 70 * 70)
            .map(|n| letters(n / 2, 2, ALPHABET, "") + ["/a", "/b"][n % 2])
            .chain((0..20_000).map(|n| letters(n, 4, ALPHABET, "")))
    });
}

#[test]
fn shared_groups_cost_few_bytes_for_each_byte_sent() {
    let count = 20_000 * scale();
    check("groups of one filter", {
        (0..count).map(|n| format!("$share/{}/f", letters(n, 3, ALPHABET, "")))
    });
    check("filters of one group", {
        (0..count).map(|n| format!("$share/g/{}", letters(n, 3, ALPHABET, "")))
    });
    check("pairs of filters of one group", {
        (0..count)
            .map(|n| format!("$share/g/{}", letters(n / 2, 3, ALPHABET, "")) + ["/a", "/b"][n % 2])
    });
    check("groups and filters", {
        (0..count).map(|n| {
            let name = letters(n, 3, ALPHABET, "");
            format!("$share/{name}/{name}")
        })
    });
    check("groups of filters of 200 levels", {
        (0..count / 10).map(|n| format!("$share/g/{n}") + &"/".repeat(199))
    });
}

/// Nothing of a session with many filters is left behind it, not even room.
#[test]
fn a_session_that_ends_gives_its_memory_back() {
    let filters: Vec<String> = (0..50_000)
        .flat_map(|n| {
            let name = letters(n, 3, ALPHABET, "");
            [format!("{name}/{n}/+"), format!("$share/{name}/{n}"), format!("{name}/a")]
        })
        .collect();
    let mut world = World::new(2, false);
    let before = live();
    for filters in filters.chunks(FILTERS) {
        let bytes = subscribe(filters, RetainHandling::Send);
        world.send(&bytes);
    }
    let held = live() - before;
    // DISCONNECT, with a session that ends at once.
    world.send(&[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0]);
    for shard in &world.shards {
        let (sessions, nodes, _) = census(shard);
        assert_eq!((sessions, nodes), (0, 0));
    }
    let left = live() - before;
    assert!(left <= held / 50, "{left} bytes of {held} are left");
}
