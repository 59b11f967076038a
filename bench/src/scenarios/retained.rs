//! Retained messages: stored, sent to one new subscriber after the other, removed.

use super::pump::{pump, silence};
use crate::clock::{now_ns, seconds_ns};
use crate::failure::Result;
use crate::flags::Flags;
use crate::handshake::{Endpoint, Opened, Wanted, open_all};
use crate::poller::{Poller, Waker};
use crate::process::{Process, Usage};
use crate::publisher::Unanswered;
use crate::stamp::Stamp;
use crate::summary::{Part, Summary};
use crate::wire::{RawFrame, ack_code, delivery, packet_id};
use ringmq_mqtt::{
    AckType, PINGREQ, PacketType, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscriptionOptions, encode_ack,
};

/// Bytes that are read at once, at least.
const READ_BYTES: usize = 256 * 1024;

/// Bytes that wait for the kernel at most.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;

/// Topics below each other topic.
const BRANCHES: u32 = 100;

/// Runs the scenario.
pub(crate) fn run(flags: &Flags, endpoint: &Endpoint) -> Result<Summary> {
    let broker = flags.pid.map(Process::new).transpose()?;
    let payload = vec![b'r'; flags.size];
    let retained = Retained {
        flags,
        endpoint,
        broker: broker.as_ref(),
        prefix: format!("bench/r{}", std::process::id()),
    };
    let mut summary = Summary::new(flags);
    let empty = retained.usage()?;
    summary.add(retained.store("stored", payload, empty)?);
    let flood = retained.flood(&mut summary);
    // Nothing is left behind, whatever happened.
    let removed = retained.store("removed", Vec::new(), empty);
    summary.add(flood?);
    summary.add(removed?);
    Ok(summary)
}

struct Retained<'a> {
    flags: &'a Flags,
    endpoint: &'a Endpoint,
    broker: Option<&'a Process>,
    prefix: String,
}

impl Retained<'_> {
    fn usage(&self) -> Result<Option<Usage>> {
        self.broker.map(Process::usage).transpose()
    }

    fn topic(&self, message: u32) -> String {
        format!("{}/{}/{}", self.prefix, message / BRANCHES, message % BRANCHES)
    }

    fn buffer(&self) -> Vec<u8> {
        vec![0; READ_BYTES.max(4 * self.flags.size)]
    }

    fn open(&self, poller: &mut Poller, count: u32) -> Result<Vec<Opened>> {
        let client_id = |index| format!("{}-{index}", self.prefix.replace('/', "-"));
        let wanted: Vec<_> = (0..count)
            .map(|index| Wanted { index, client_id: client_id(index), filter: None })
            .collect();
        open_all(poller, self.endpoint, &wanted, wanted.len(), |_| {})
    }

    /// Publishes all messages, and waits until the broker has had them all.
    fn store(&self, name: &str, payload: Vec<u8>, empty: Option<Usage>) -> Result<Part> {
        let mut poller = Poller::new(&Waker::new()?)?;
        let mut connections = self.open(&mut poller, self.flags.publishers())?;
        let mut buffer = self.buffer();
        let mut storing = self.storing(&connections, payload);
        let before = self.usage()?;
        let start_ns = now_ns();
        for (place, connection) in connections.iter_mut().enumerate() {
            storing.fill(place, connection);
        }
        while !storing.is_done() {
            let active = pump(&mut poller, &mut connections, &mut buffer, |place, frame, out| {
                storing.answer(place, frame.first, frame.body, out);
            })?;
            if active.is_empty() {
                return Err(silence());
            }
            active.into_iter().for_each(|place| storing.fill(place, &mut connections[place]));
        }
        let seconds = (now_ns() - start_ns) as f64 / 1e9;
        let after = self.usage()?;
        let count = f64::from(self.flags.messages);
        let mut part = Part::new(name);
        part.add("messages/s", count / seconds);
        part.add_broker(before, after, count);
        part.add_memory(empty, after, count);
        Ok(part)
    }

    fn storing(&self, connections: &[Opened], payload: Vec<u8>) -> Storing<'_> {
        let ends = |(place, opened): (usize, &Opened)| Sending {
            next: place as u32,
            unanswered: Unanswered::new(opened.receive_maximum),
            has_asked: false,
            is_done: false,
        };
        let senders = connections.iter().enumerate().map(ends).collect();
        Storing { retained: self, payload, senders }
    }

    /// Subscribes to all messages, over and over.
    fn flood(&self, summary: &mut Summary) -> Result<Part> {
        let mut buffer = self.buffer();
        let end_ns = now_ns() + seconds_ns(self.flags.duration);
        let (mut times, mut flood_ns) = (0.0, 0);
        let (mut count, mut lost, mut duplicates) = (0, 0, 0);
        let before = self.usage()?;
        while times == 0.0 || now_ns() < end_ns {
            let (seen, time_ns) = self.flood_once(&mut buffer)?;
            flood_ns += time_ns;
            times += 1.0;
            count += seen.messages.len() as u64 - seen.missing;
            lost += seen.missing;
            duplicates += seen.duplicates;
        }
        summary.fault(lost, "lost");
        summary.fault(duplicates, "duplicated");
        let count = count as f64;
        let mut part = Part::new("sent to a new subscriber");
        part.add("deliveries/s", count / (flood_ns as f64 / 1e9));
        part.add_broker(before, self.usage()?, count);
        part.add("ms for all of them", flood_ns as f64 / 1e6 / times);
        part.add("times", times);
        Ok(part)
    }

    /// One new subscriber: what it got, and how long that took.
    fn flood_once(&self, buffer: &mut [u8]) -> Result<(Seen, u64)> {
        let mut poller = Poller::new(&Waker::new()?)?;
        let mut connections = self.open(&mut poller, 1)?;
        let mut seen = Seen::new(self.flags.messages);
        let start_ns = now_ns();
        self.subscribe(&mut connections[0].link.out);
        connections[0].link.flush();
        let mut last_ns = start_ns;
        while seen.missing > 0 {
            let active = pump(&mut poller, &mut connections, buffer, |_, frame, out| {
                self.take(&mut seen, frame, out);
            })?;
            if active.is_empty() {
                break;
            }
            last_ns = now_ns();
        }
        Ok((seen, last_ns - start_ns))
    }

    fn take(&self, seen: &mut Seen, frame: &RawFrame<'_>, out: &mut Vec<u8>) {
        match PacketType::from_first(frame.first) {
            Some(PacketType::Publish) => {
                let delivery = delivery(frame, self.endpoint.version.is_v5());
                let Some(delivery) = delivery else { return };
                seen.take(delivery.payload);
                if let Some((kind, packet_id)) = delivery.answer {
                    self.put_ack(kind, packet_id, out);
                }
            }
            Some(PacketType::PubRel) => {
                self.put_ack(AckType::PubComp, packet_id(frame.body).unwrap_or(0), out);
            }
            _ => {}
        }
    }

    fn subscribe(&self, out: &mut Vec<u8>) {
        let filter = &format!("{}/#", self.prefix);
        let options = SubscriptionOptions { qos: self.endpoint.qos, ..Default::default() };
        let mut subscribe = Subscribe { packet_id: 1, ..Subscribe::default() };
        subscribe.filters.push(SubscribeFilter { filter, options });
        subscribe.encode(self.endpoint.version, out);
    }

    fn put_ack(&self, kind: AckType, packet_id: u16, out: &mut Vec<u8>) {
        encode_ack(kind, self.endpoint.version, packet_id, ReasonCode::Success, out);
    }
}

/// Publishing all messages once.
struct Storing<'a> {
    retained: &'a Retained<'a>,
    payload: Vec<u8>,
    senders: Vec<Sending>,
}

/// One publisher's part: every `n`th message of `n` publishers.
struct Sending {
    next: u32,
    unanswered: Unanswered,
    /// Whether it has asked for the answer that tells that everything before was read.
    has_asked: bool,
    is_done: bool,
}

impl Storing<'_> {
    fn fill(&mut self, place: usize, connection: &mut Opened) {
        let (retained, qos) = (self.retained, self.retained.endpoint.qos);
        let step = self.senders.len() as u32;
        let sender = &mut self.senders[place];
        while sender.next < retained.flags.messages
            && connection.link.backlog() < BACKLOG_BYTES_MAX
            && sender.unanswered.room() > 0
        {
            let packet_id = if qos == QoS::AtMostOnce { 0 } else { sender.unanswered.open() };
            if !self.payload.is_empty() {
                let stamp = Stamp { stream: 0, sequence: sender.next, time_ns: 0 };
                self.payload[..stamp.bytes().len()].copy_from_slice(&stamp.bytes());
            }
            let (topic, payload) = (&retained.topic(sender.next), &self.payload[..]);
            Publish { qos, retain: true, topic, packet_id, payload, ..Publish::default() }
                .encode(retained.endpoint.version, &mut connection.link.out);
            sender.next += step;
            if connection.link.backlog() >= BACKLOG_BYTES_MAX {
                connection.link.flush();
            }
        }
        if sender.next >= retained.flags.messages && !sender.has_asked {
            connection.link.out.extend_from_slice(&PINGREQ);
            sender.has_asked = true;
        }
        connection.link.flush();
    }

    fn answer(&mut self, place: usize, first: u8, body: &[u8], out: &mut Vec<u8>) {
        let sender = &mut self.senders[place];
        match PacketType::from_first(first) {
            Some(PacketType::PubRec) if ack_code(body) < 0x80 => {
                self.retained.put_ack(AckType::PubRel, packet_id(body).unwrap_or(0), out);
            }
            Some(PacketType::PubAck | PacketType::PubRec | PacketType::PubComp) => {
                sender.unanswered.close();
            }
            Some(PacketType::PingResp) => sender.is_done = true,
            _ => {}
        }
    }

    fn is_done(&self) -> bool {
        self.senders.iter().all(|sender| sender.is_done && sender.unanswered.is_empty())
    }
}

/// The messages that a subscriber has.
struct Seen {
    messages: Vec<bool>,
    missing: u64,
    duplicates: u64,
}

impl Seen {
    fn new(count: u32) -> Self {
        Self { messages: vec![false; count as usize], missing: u64::from(count), duplicates: 0 }
    }

    fn take(&mut self, payload: &[u8]) {
        let Some(stamp) = Stamp::read(payload) else { return };
        match self.messages.get_mut(stamp.sequence as usize) {
            Some(seen) if !*seen => {
                *seen = true;
                self.missing -= 1;
            }
            _ => self.duplicates += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_counts_once() {
        let mut seen = Seen::new(3);
        let payload = |sequence| Stamp { stream: 0, sequence, time_ns: 0 }.bytes();
        for sequence in [2, 0, 2, 3] {
            seen.take(&payload(sequence));
        }
        assert_eq!((seen.missing, seen.duplicates), (1, 2));
    }
}
