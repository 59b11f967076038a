//! A connection: the bytes under way in both directions, and the knowledge at its two ends.

use super::owed::Owed;
use super::rights::Credential;
use ringmq::access::Login;
use ringmq::base::time::Time;
use ringmq::broker::{LinkId, Origin, Unsent};
use ringmq_mqtt::{QoS, ReasonCode, SubscriptionOptions, Version};
use std::collections::{BTreeMap, VecDeque};

/// The meaning of a client's packet for the model.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// The message with this index.
    Publish(usize),
    Subscribe {
        packet_id: u16,
        id: Option<u32>,
        filters: Vec<(String, SubscriptionOptions)>,
    },
    Unsubscribe(Vec<String>),
    Disconnect {
        code: ReasonCode,
        expiry_s: Option<u32>,
    },
    Other,
}

/// A packet that the shard got whole.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) item: Item,
    /// The subscriptions that it ends.
    pub(super) ends: Vec<usize>,
    /// A publish that was permitted at any moment since.
    pub(super) is_permitted: bool,
    /// The event and time at which it was handed over, while CONNACK had not come out yet.
    pub(super) early: Option<(u64, Time)>,
}

/// The phase of a connection's life, as the driver of its worker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// The shard asked to close the connection.
    Closing,
    /// The shard was told that the connection is gone.
    Dead,
}

/// The terms in the client's CONNECT.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    pub(super) clean_start: bool,
    pub(super) expiry_s: u32,
    pub(super) receive_maximum: u16,
    pub(super) packet_bytes_max: Option<u32>,
    pub(super) alias_max: u16,
    pub(super) keep_alive_s: u16,
    /// The will's message and its delay in seconds.
    pub(super) will: Option<(usize, u32)>,
}

/// The way from the client to the broker.
#[derive(Debug, Default)]
pub(super) struct Upward {
    pub(super) bytes: VecDeque<u8>,
    /// The number of bytes that the client sent.
    pub(super) sent: u64,
    /// The number of bytes that the shard got.
    pub(super) handed: u64,
    /// Packets not yet handed to the shard, by where they end.
    pub(super) items: VecDeque<(u64, Item)>,
    /// Packets that the shard got and may not have looked at.
    pub(super) handed_items: VecDeque<Handed>,
    pub(super) is_scheduled: bool,
}

/// The way from the broker to the client.
#[derive(Debug, Default)]
pub(super) struct Downward {
    pub(super) bytes: VecDeque<u8>,
    /// The output that the network did not take yet.
    pub(super) unsent: Unsent,
    /// The number of bytes that the shard gave.
    pub(super) emitted: u64,
    /// The moments of output: (up to which byte, event, time).
    pub(super) marks: VecDeque<(u64, u64, Time)>,
    /// The number of bytes that the client has parsed.
    pub(super) parsed: u64,
    /// The bytes that the client has read and not parsed.
    pub(super) buffer: Vec<u8>,
    /// The direction ends after `bytes`.
    pub(super) is_finished: bool,
    pub(super) is_scheduled: bool,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) client: usize,
    pub(super) worker: usize,
    /// The link; None while the connection moves from worker to worker, and in the end.
    pub(super) link: Option<LinkId>,
    /// The credential that the client shows.
    pub(super) credential: Credential,
    /// The credential that the client has shown, and to which link of which worker, while that is
    /// verified.
    pub(super) login: Option<(usize, LinkId, Box<Login>)>,
    /// Whether the password was right when it was verified.
    pub(super) verdict: Option<bool>,
    /// The origin of a moving connection, and the bytes that arrive with it on another worker.
    pub(super) moving: Option<(Origin, Vec<u8>)>,
    pub(super) phase: Phase,
    pub(super) version: Version,
    pub(super) terms: Terms,
    pub(super) up: Upward,
    pub(super) down: Downward,
    /// The network holds this many bytes on the way down.
    pub(super) capacity: usize,
    pub(super) is_paused: bool,
    /// One more piece is under way although the link is paused.
    pub(super) is_under_way: bool,
    /// Nothing is handed over before this many bytes are there.
    pub(super) awaited: usize,
    /// The client does not read.
    pub(super) is_stalled: bool,
    /// The client has closed its end; whether it lost what was under way.
    pub(super) hung_up: Option<bool>,
    /// The broker's answer to CONNECT came out of the shard.
    pub(super) is_answered: bool,
    /// The answer was a refusal, and rightly so.
    pub(super) is_refused: bool,
    /// The session, once the connection is accepted.
    pub(super) session: Option<usize>,
    /// DISCONNECT as the shard saw it.
    pub(super) goodbye: Option<(ReasonCode, Option<u32>)>,
    /// The code of the last DISCONNECT that came out of the shard.
    pub(super) close_code: Option<u8>,
    /// Client side: CONNACK came.
    pub(super) is_accepted: bool,
    /// Client side: packet identifiers whose exchange is not over on this connection.
    pub(super) outstanding: BTreeMap<u16, QoS>,
    /// Client side: aliases that the broker set.
    pub(super) aliases_in: BTreeMap<u16, String>,
    /// Client side: aliases that the client set.
    pub(super) aliases_out: BTreeMap<String, u16>,
    pub(super) alias_out_max: u16,
    /// Client side: subscriptions that wait for SUBACK.
    pub(super) subscribing: BTreeMap<u16, Vec<usize>>,
    /// The time since which the connection is open.
    pub(super) opened: Time,
    /// The client sends nothing more, and reads until the broker closes.
    pub(super) is_leaving: bool,
    /// The client has also closed its end for sending, without DISCONNECT.
    pub(super) is_half_closed: bool,
    /// The broker does not let the client in any more.
    pub(super) is_put_out: bool,
    /// The time at which the shard may have heard that the client leaves.
    pub(super) left: Option<Time>,
    /// The worker knows that the client has closed its end.
    pub(super) is_finished: bool,
    /// The broker has closed the connection, and nothing of its output was lost.
    pub(super) is_whole: bool,
    /// The answers that the broker owes.
    pub(super) owed: Owed,
}

impl Wire {
    pub(super) fn new(client: usize, worker: usize, version: Version, now: Time) -> Self {
        Self {
            client,
            worker,
            link: None,
            credential: Credential::Nothing,
            login: None,
            verdict: None,
            moving: None,
            phase: Phase::Open,
            version,
            terms: Terms::default(),
            up: Upward::default(),
            down: Downward::default(),
            capacity: 1 << 20,
            is_paused: false,
            is_under_way: false,
            awaited: 0,
            is_stalled: false,
            hung_up: None,
            is_answered: false,
            is_refused: false,
            session: None,
            goodbye: None,
            close_code: None,
            is_accepted: false,
            outstanding: BTreeMap::new(),
            aliases_in: BTreeMap::new(),
            aliases_out: BTreeMap::new(),
            alias_out_max: 0,
            subscribing: BTreeMap::new(),
            opened: now,
            is_leaving: false,
            is_half_closed: false,
            is_put_out: false,
            left: None,
            is_finished: false,
            is_whole: false,
            owed: Owed::default(),
        }
    }

    /// Room on the way down.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.down.bytes.len())
    }

    /// When the byte before `end` came out of the shard: event and time.
    pub(super) fn emitted_at(&mut self, end: u64) -> (u64, Time) {
        while let Some(&(upto, event, time)) = self.down.marks.front() {
            if upto >= end {
                return (event, time);
            }
            self.down.marks.pop_front();
        }
        unreachable!("every byte has a mark")
    }
}
