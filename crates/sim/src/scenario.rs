//! The decisions of a seed before anything happens.

use ringmq::broker::{Promise, Shard};
use ringmq::options::{ClientIdOwner, Options};
use ringmq::testing::Prng;
use std::time::Duration;

/// Topics that clients publish to.
pub(super) const TOPICS: [&str; 9] =
    ["a", "a/b", "a/c", "a/b/c", "b", "b/c", "/a", "$d/a", "a/b/c/d"];

/// Filters that clients subscribe to.
pub(super) const FILTERS: [&str; 18] = [
    "#", "+", "a/#", "a/+", "+/b", "a/b", "a/b/c", "+/+", "/+", "b/#", "$d/#", "a/b/#", "w/#", "a",
    "b/c", "w/+", "r/#", "r/+/+",
];

/// Shared filters, and the QoS at which every member subscribes.
pub(super) const SHARES: [(&str, u8); 4] =
    [("$share/g/a/#", 1), ("$share/h/+/b", 1), ("$share/g/a/b", 2), ("$share/i/#", 2)];

/// The world that a seed stands for.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) workers: usize,
    pub(super) options: Options,
    /// Clients besides the observer.
    pub(super) clients: usize,
    /// The number of things that clients do in all.
    pub(super) steps: u32,
    pub(super) ring_capacity: usize,
    /// The longest usual delay of the network, in microseconds.
    pub(super) delay_us: u64,
    /// The percentage of moves in which bytes are cut into small pieces.
    pub(super) cuts: u64,
    /// The percentage of chances at which the outbox is flushed at once.
    pub(super) flushes: u64,
    /// Large payloads among a hundred.
    pub(super) large: u64,
    /// Publishes among a hundred that are for a topic of their own, and retained.
    pub(super) unique: u64,
    /// Topics in use: few of them make conflicts likely.
    pub(super) topics: usize,
    /// Clients are users with rights, which change.
    pub(super) is_restricted: bool,
    /// Clients among a hundred that are members of shared groups.
    pub(super) members: u64,
    /// The broker has a journal, and crashes before the end.
    pub(super) is_durable: bool,
    /// The promise that an acknowledgement makes then.
    pub(super) promise: Promise,
    /// The percentage of commits after which a rewrite begins.
    pub(super) rewrites: u64,
    /// The percentage of client actions at which rights change.
    pub(super) reloads: u64,
    /// Workers stand still now and then, while clients have to keep alive.
    pub(super) has_late_turns: bool,
    /// The steps of work in a worker's turn; None for as many as outside of tests.
    pub(super) turn_steps: Option<usize>,
}

impl Scenario {
    pub(super) fn new(seed: u64, prng: &mut Prng) -> Self {
        let workers = 1 + prng.below(4) as usize;
        let mut options = options(prng);
        options.client_id_owner = match seed / 7 % 3 {
            0 => ClientIdOwner::Session,
            1 => ClientIdOwner::None,
            _ => ClientIdOwner::Connected,
        };
        // Not by the generator, so that the other seeds stay what they were.
        let is_restricted = matches!(seed % 7, 0 | 6);
        let members = if is_restricted { pick(prng, &[20, 20, 70]) } else { 20 };
        let members = if seed % 4 == 1 { 70 } else { members };
        let reloads = if is_restricted { pick(prng, &[0, 1, 2, 4]) } else { 0 };
        Self {
            workers,
            options,
            clients: 3 + prng.below(10) as usize,
            steps: 150 + prng.below(450) as u32,
            ring_capacity: pick(prng, &[1, 2, 4, 64]),
            delay_us: pick(prng, &[50, 1_000, 10_000]),
            cuts: pick(prng, &[0, 20, 70]),
            flushes: pick(prng, &[20, 80, 100]),
            large: pick(prng, &[0, 1, 25]),
            unique: pick(prng, &[0, 0, 50]),
            topics: pick(prng, &[2, 4, TOPICS.len()]),
            is_restricted,
            members,
            is_durable: seed % 3 == 2 && !is_restricted,
            promise: match seed % 4 {
                0 => Promise::Interval(Duration::from_millis(5)),
                _ => Promise::Commit,
            },
            rewrites: if seed % 4 == 1 { 70 } else { 5 },
            reloads,
            has_late_turns: seed % 5 == 1 && !is_restricted,
            turn_steps: match seed % 11 {
                0..4 => Some(1 + seed as usize % 400),
                4..6 => Some(4_000),
                _ => None,
            },
        }
    }
}

impl Scenario {
    /// Gives a shard the turns of this world.
    pub(super) fn limit_turns(&self, shard: &mut Shard) {
        if let Some(steps) = self.turn_steps {
            shard.limit_turns(steps);
        }
    }
}

fn options(prng: &mut Prng) -> Options {
    let is_roomy = prng.chance(60);
    Options {
        max_inflight: pick(prng, &[1, 2, 5, 256]),
        receive_maximum: pick(prng, &[1, 3, 20, 1024]),
        max_queued_messages: if is_roomy { 1_000_000 } else { pick(prng, &[1, 3, 10]) },
        max_queued_bytes: if is_roomy { 1 << 40 } else { 65_536 },
        max_session_expiry: pick(prng, &[2, 60, u32::MAX]),
        max_anonymous_expiry: u32::MAX,
        max_topic_alias: pick(prng, &[0, 1, 3, 64]),
        max_packet_size: 100_000,
        retain_available: !prng.chance(10),
        connect_timeout_s: 10,
        ..Options::default()
    }
}

/// One of `choices`.
pub(super) fn pick<T: Copy>(prng: &mut Prng, choices: &[T]) -> T {
    choices[prng.below(choices.len() as u64) as usize]
}
