//! The load: pairs at every quality of service, retained messages, wills, visitors.
//!
//! ```text
//! place  0, 1   2, 3   …   pairs: publisher, subscriber; QoS 0, 1, 2, 1 (absent now and then), …
//!        …                 keeper of retained topics, collector, watcher of wills
//!        …                 mortals, who go without a word; visitors, who go in order
//! ```

use crate::clock::{now_ns, seconds_ns};
use crate::failure::{Failure, Result};
use crate::faults::crowd::{Crowd, Event};
use crate::faults::packets::{
    DISCONNECT, VERSION, connect, connect_stored, encode, packet_id_of, publish, retain, subscribe,
    unsubscribe,
};
use crate::layer::Below;
use crate::stamp::Stamp;
use crate::track::Tracker;
use crate::wire::{RawFrame, ack_code, delivery, packet_id};
use ringmq_mqtt::{AckType, PacketType, QoS, ReasonCode, Will, encode_ack};
use std::net::SocketAddr;
use std::ops::Range;

/// Publishers with one subscriber each.
const PAIRS: usize = 12;

const KEEPER: usize = 2 * PAIRS;
const COLLECTOR: usize = KEEPER + 1;
const WATCHER: usize = KEEPER + 2;
const MORTALS: Range<usize> = KEEPER + 3..KEEPER + 7;
const VISITORS: Range<usize> = MORTALS.end..MORTALS.end + 20;

/// Topics that the keeper writes in turn.
const RETAINED: u32 = 100;

/// Publishes of one pair that may be unanswered: fewer than the broker takes.
const UNANSWERED_MAX: u32 = 500;

/// Filters of a visitor.
const FILTERS: usize = 10;

/// The times between two rounds: of mortals and visitors, of the collector, of absences.
const VISIT_NS: u64 = 50_000_000;
const COLLECT_NS: u64 = 700_000_000;
const ABSENCE_NS: u64 = 1_500_000_000;

/// The time in which everybody is let in, and in which the last messages come.
const PATIENCE_S: f64 = 20.0;

/// The results of a load.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) published: u64,
    /// Clients that came, subscribed and left in order.
    pub(super) visits: u64,
    /// Clients that went without a word, and the wills that came of them.
    pub(super) deaths: u64,
    pub(super) wills: u64,
    pub(super) lost: u64,
    /// Messages at QoS 2 that came twice.
    pub(super) duplicates: u64,
    pub(super) closed: u64,
}

impl std::ops::Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            published: self.published + other.published,
            visits: self.visits + other.visits,
            deaths: self.deaths + other.deaths,
            wills: self.wills + other.wills,
            lost: self.lost + other.lost,
            duplicates: self.duplicates + other.duplicates,
            closed: self.closed + other.closed,
        }
    }
}

/// The load over one protocol.
pub(super) struct Load {
    crowd: Crowd,
    prefix: &'static str,
    pairs: Vec<Pair>,
    interval_ns: u64,
    /// When the next publish, visit, collection and absence are due.
    publish_ns: u64,
    visit_ns: u64,
    collect_ns: u64,
    absence_ns: u64,
    turn: usize,
    retained: u32,
    is_collecting: bool,
    /// Pairs, keeper, collector and watcher that are ready.
    ready: usize,
    /// Mortals that are let in.
    alive: Vec<usize>,
    /// Visitors whose SUBSCRIBE is answered.
    served: Vec<usize>,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Pair {
    sent: u32,
    unanswered: u32,
    got: Tracker,
}

impl Pair {
    fn qos(pair: usize) -> QoS {
        [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce][pair % 4]
    }

    /// Whether the subscriber has a session that outlives its absences.
    fn is_stored(pair: usize) -> bool {
        pair % 4 == 3
    }
}

impl Load {
    /// A load whose clients are connected and subscribed.
    pub(super) fn new(address: SocketAddr, below: Below, rate: f64) -> Result<Self> {
        let now_ns = now_ns();
        let mut load = Self {
            crowd: Crowd::new(address, below)?,
            prefix: if below == Below::Tls { "tls" } else { "tcp" },
            pairs: (0..PAIRS).map(|_| Pair::default()).collect(),
            interval_ns: (1e9 / rate.max(0.1)) as u64,
            publish_ns: now_ns,
            visit_ns: now_ns,
            collect_ns: now_ns,
            absence_ns: now_ns + ABSENCE_NS,
            turn: 0,
            retained: 0,
            is_collecting: false,
            ready: 0,
            alive: Vec::new(),
            served: Vec::new(),
            totals: Totals::default(),
        };
        for place in 0..MORTALS.start {
            let hello = load.hello(place, true);
            load.crowd.open(place, &hello)?;
        }
        let end_ns = now_ns + seconds_ns(PATIENCE_S);
        while load.ready < MORTALS.start {
            load.listen(100_000_000)?;
            if crate::clock::now_ns() > end_ns {
                return Err(Failure::new("the broker does not let the load in"));
            }
        }
        Ok(load)
    }

    fn hello(&self, place: usize, is_first: bool) -> Vec<u8> {
        let prefix = self.prefix;
        let client_id = format!("{prefix}-{place}");
        let pair = place / 2;
        let is_subscriber = place < KEEPER && place % 2 == 1;
        if is_subscriber && Pair::is_stored(pair) {
            let mut hello = encode(&connect_stored(&client_id));
            if is_first {
                hello.extend(subscribe(&[&format!("{prefix}/load/{pair}")], Pair::qos(pair)));
            }
            return hello;
        }
        let mut connect = connect(&client_id);
        let topic = format!("{prefix}/will");
        if MORTALS.contains(&place) {
            let (qos, topic, payload) = (QoS::AtLeastOnce, &topic[..], &b"gone"[..]);
            connect.will = Some(Will { qos, topic, payload, ..Will::default() });
        }
        let mut hello = encode(&connect);
        if is_subscriber {
            hello.extend(subscribe(&[&format!("{prefix}/load/{pair}")], Pair::qos(pair)));
        } else if place == WATCHER {
            hello.extend(subscribe(&[&topic], QoS::AtLeastOnce));
        } else if VISITORS.contains(&place) {
            let filters = (0..FILTERS).map(|filter| format!("{prefix}/visit/{place}/{filter}/+"));
            let filters: Vec<_> = filters.collect();
            let filters: Vec<_> = filters.iter().map(String::as_str).collect();
            hello.extend(subscribe(&filters, QoS::AtLeastOnce));
        }
        hello
    }

    /// Does what is due, and takes what comes within `timeout_ns`.
    pub(super) fn step(&mut self, timeout_ns: u64) -> Result<()> {
        let now_ns = now_ns();
        while self.publish_ns <= now_ns {
            self.publish();
            self.publish_ns += self.interval_ns;
        }
        if self.visit_ns <= now_ns {
            self.visit()?;
            self.visit_ns = now_ns + VISIT_NS;
        }
        if self.collect_ns <= now_ns {
            self.collect();
            self.collect_ns = now_ns + COLLECT_NS;
        }
        if self.absence_ns <= now_ns {
            self.toggle_absence()?;
            self.absence_ns = now_ns + ABSENCE_NS;
        }
        self.listen(timeout_ns)
    }

    /// One message of the pair whose turn is next, and now and then a retained one.
    fn publish(&mut self) {
        let index = self.turn;
        self.turn = (self.turn + 1) % PAIRS;
        let (prefix, qos) = (self.prefix, Pair::qos(index));
        let pair = &mut self.pairs[index];
        if pair.unanswered < UNANSWERED_MAX {
            let stamp = Stamp { stream: index as u32, sequence: pair.sent, time_ns: 0 };
            let topic = format!("{prefix}/load/{index}");
            let packet = publish(&topic, qos, packet_id_of(pair.sent), &stamp.bytes());
            self.crowd.send(2 * index, &packet);
            pair.sent += 1;
            pair.unanswered += u32::from(qos != QoS::AtMostOnce);
            self.totals.published += 1;
        }
        if index == 0 {
            let topic = format!("{prefix}/retained/{}", self.retained);
            self.crowd.send(KEEPER, &retain(&topic, QoS::AtMostOnce, 0, b"kept"));
            self.retained = (self.retained + 1) % RETAINED;
        }
    }

    /// Mortals that are in go without a word, visitors that were served in order; others come.
    fn visit(&mut self) -> Result<()> {
        for place in std::mem::take(&mut self.alive) {
            self.crowd.close(place);
            self.totals.deaths += 1;
        }
        for place in std::mem::take(&mut self.served) {
            self.crowd.send(place, &DISCONNECT);
            self.crowd.close(place);
            self.totals.visits += 1;
        }
        for place in MORTALS.start..VISITORS.end {
            if !self.crowd.is_open(place) {
                let hello = self.hello(place, true);
                self.crowd.open(place, &hello)?;
            }
        }
        Ok(())
    }

    /// The collector subscribes to everything retained, or unsubscribes.
    fn collect(&mut self) {
        let filter = format!("{}/retained/#", self.prefix);
        self.is_collecting = !self.is_collecting;
        let packet = match self.is_collecting {
            true => subscribe(&[&filter], QoS::AtLeastOnce),
            false => unsubscribe(&[&filter]),
        };
        self.crowd.send(COLLECTOR, &packet);
    }

    /// Subscribers with stored sessions go, or come back.
    fn toggle_absence(&mut self) -> Result<()> {
        for pair in (0..PAIRS).filter(|&pair| Pair::is_stored(pair)) {
            let place = 2 * pair + 1;
            if self.crowd.is_open(place) {
                self.crowd.close(place);
            } else {
                let hello = self.hello(place, false);
                self.crowd.open(place, &hello)?;
            }
        }
        Ok(())
    }

    /// Waits for what is on its way, ends all sessions and closes all connections.
    pub(super) fn finish(mut self) -> Result<Totals> {
        self.visit_out()?;
        let end_ns = now_ns() + seconds_ns(PATIENCE_S);
        while !self.is_complete() && now_ns() < end_ns {
            self.listen(50_000_000)?;
        }
        // A message or will that comes twice comes soon.
        let grace_ns = now_ns() + seconds_ns(0.5);
        while now_ns() < grace_ns {
            self.listen(50_000_000)?;
        }
        for (index, pair) in self.pairs.iter().enumerate() {
            if Pair::qos(index) != QoS::AtMostOnce {
                self.totals.lost += u64::from(pair.sent - pair.got.seen().min(pair.sent));
            }
        }
        self.end_sessions()?;
        Ok(self.totals)
    }

    /// Absent subscribers come back; mortals and visitors go for good.
    fn visit_out(&mut self) -> Result<()> {
        let stored = (0..PAIRS).filter(|&pair| Pair::is_stored(pair)).map(|pair| 2 * pair + 1);
        for place in stored {
            if !self.crowd.is_open(place) {
                let hello = self.hello(place, false);
                self.crowd.open(place, &hello)?;
            }
        }
        // Whether a mortal that is on its way dies or was never there would be open.
        let end_ns = now_ns() + seconds_ns(PATIENCE_S);
        let is_on_its_way = |load: &Self| {
            let alive = |place| load.alive.contains(&place) || load.served.contains(&place);
            (MORTALS.start..VISITORS.end).any(|place| load.crowd.is_open(place) && !alive(place))
        };
        while is_on_its_way(self) && now_ns() < end_ns {
            self.listen(50_000_000)?;
        }
        self.totals.deaths += self.alive.len() as u64;
        (MORTALS.start..VISITORS.end).for_each(|place| self.crowd.close(place));
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let is_there = |(index, pair): (usize, &Pair)| {
            let is_lossy = Pair::qos(index) == QoS::AtMostOnce;
            pair.unanswered == 0 && (is_lossy || pair.got.seen() >= pair.sent)
        };
        self.totals.wills >= self.totals.deaths && self.pairs.iter().enumerate().all(is_there)
    }

    /// Stored sessions end by a clean start.
    fn end_sessions(&mut self) -> Result<()> {
        self.crowd.close_all();
        self.ready = 0;
        let stored = (0..PAIRS).filter(|&pair| Pair::is_stored(pair)).map(|pair| 2 * pair + 1);
        let stored: Vec<_> = stored.collect();
        for &place in &stored {
            let client_id = format!("{}-{place}", self.prefix);
            self.crowd.open(place - 1, &encode(&connect(&client_id)))?;
        }
        let end_ns = now_ns() + seconds_ns(PATIENCE_S);
        while self.ready < stored.len() && now_ns() < end_ns {
            self.listen(50_000_000)?;
        }
        Ok(())
    }

    fn listen(&mut self, timeout_ns: u64) -> Result<()> {
        let Self { crowd, pairs, ready, alive, served, totals, .. } = self;
        let mut ears = Ears { pairs, ready, alive, served, totals };
        crowd.turn(timeout_ns, |place, event, out| match event {
            Event::Packet(frame) => ears.take(place, &frame, out),
            Event::Gone => ears.on_gone(place),
        })
    }
}

/// The state that packets change.
struct Ears<'a> {
    pairs: &'a mut [Pair],
    ready: &'a mut usize,
    alive: &'a mut Vec<usize>,
    served: &'a mut Vec<usize>,
    totals: &'a mut Totals,
}

impl Ears<'_> {
    fn take(&mut self, place: usize, frame: &RawFrame<'_>, out: &mut Vec<u8>) {
        let mut put = |kind, packet_id| {
            encode_ack(kind, VERSION, packet_id, ReasonCode::Success, out);
        };
        let packet_id = packet_id(frame.body).unwrap_or(0);
        match PacketType::from_first(frame.first) {
            Some(PacketType::ConnAck) if MORTALS.contains(&place) => self.alive.push(place),
            Some(PacketType::ConnAck) => {
                let subscribes = place == WATCHER || place % 2 == 1 && place < KEEPER;
                *self.ready += usize::from(!subscribes && place < MORTALS.start);
            }
            Some(PacketType::SubAck) if VISITORS.contains(&place) => self.served.push(place),
            // The collector was counted when it was let in.
            Some(PacketType::SubAck) => *self.ready += usize::from(place != COLLECTOR),
            Some(PacketType::Publish) => {
                let Some(delivery) = delivery(frame, VERSION.is_v5()) else { return };
                if let Some((kind, packet_id)) = delivery.answer {
                    put(kind, packet_id);
                }
                self.on_delivery(place, delivery.payload);
            }
            Some(PacketType::PubRel) => put(AckType::PubComp, packet_id),
            Some(PacketType::PubRec) if ack_code(frame.body) < 0x80 => {
                put(AckType::PubRel, packet_id);
            }
            Some(PacketType::PubAck | PacketType::PubRec | PacketType::PubComp) => {
                if let Some(pair) = self.pairs.get_mut(place / 2) {
                    pair.unanswered = pair.unanswered.saturating_sub(1);
                }
            }
            _ => {}
        }
    }

    fn on_delivery(&mut self, place: usize, payload: &[u8]) {
        if place == WATCHER {
            self.totals.wills += 1;
        }
        let index = place / 2;
        let stamp = Stamp::read(payload).filter(|stamp| stamp.stream as usize == index);
        let Some((stamp, pair)) = stamp.zip(self.pairs.get_mut(index)) else { return };
        let arrival = pair.got.accept(stamp.sequence, 1);
        if Pair::qos(index) == QoS::ExactlyOnce {
            self.totals.duplicates += u64::from(arrival.duplicates);
        }
    }

    fn on_gone(&mut self, place: usize) {
        self.totals.closed += 1;
        self.alive.retain(|alive| *alive != place);
        self.served.retain(|served| *served != place);
    }
}
