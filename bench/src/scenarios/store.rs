//! Messages for absent sessions: how fast a broker takes them, and whether it gives them back.

use super::come_back::come_back;
use super::pump::{pump, silence};
use crate::clock::{now_ns, seconds_ns};
use crate::failure::{Failure, Result};
use crate::flags::{Flags, Pacing};
use crate::handshake::{Endpoint, Opened, Wanted, open_all};
use crate::link::End;
use crate::poller::{Poller, Ready, Waker};
use crate::process::{Process, Usage};
use crate::publisher::Unanswered;
use crate::stamp::Stamp;
use crate::summary::{Part, Summary};
use crate::tally::new_histogram;
use crate::wire::{Template, ack_code, packet_id};
use hdrhistogram::Histogram;
use ringmq_mqtt::{AckType, PacketType, ReasonCode, encode_ack};
use std::collections::VecDeque;

/// Bytes that are read at once, at least.
const READ_BYTES: usize = 256 * 1024;

/// Connections that are opened at a time.
const OPENING_MAX: usize = 256;

/// A DISCONNECT of either version.
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// The time that a broker may take to close connections.
const PATIENCE_NS: u64 = 30_000_000_000;

/// Runs the scenario.
pub(crate) fn run(flags: &Flags, endpoint: &Endpoint) -> Result<Summary> {
    let Pacing::Window(window) = flags.pacing() else {
        return Err(Failure::new("store is a closed loop: it has a --window, and no --rate"));
    };
    let broker = flags.pid.map(Process::new).transpose()?;
    let store = Store { flags, endpoint, window, layout: Layout::new(flags) };
    let mut summary = Summary::new(flags);
    store.visit(true, true)?;
    let outcome = store.measure(broker.as_ref(), &mut summary);
    // Nothing is left behind, whatever happened.
    let cleaned = store.visit(false, false);
    outcome?;
    cleaned?;
    Ok(summary)
}

/// The publishers with their topics, and the sessions that want those.
///
/// A *stream* is the messages of one publisher to one topic. Publishers divide the topics among
/// themselves; where there are more publishers than topics, each has one.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    prefix: String,
    sessions: u32,
    publishers: u32,
    topics: u32,
}

impl Layout {
    fn new(flags: &Flags) -> Self {
        let (sessions, publishers) = (flags.sessions, flags.publishers());
        let prefix = format!("bench/s{}", std::process::id());
        Self { prefix, sessions, publishers, topics: flags.topics }
    }

    fn topic(&self, topic: u32) -> String {
        format!("{}/{topic}", self.prefix)
    }

    fn client_id(&self, session: u32) -> String {
        format!("{}-{session}", self.prefix.replace('/', "-"))
    }

    /// The streams of a publisher, in turn.
    fn streams_of(&self, publisher: u32) -> impl Iterator<Item = u32> + use<> {
        (publisher..self.streams()).step_by(self.publishers as usize)
    }

    pub(crate) fn streams(&self) -> u32 {
        self.publishers.max(self.topics)
    }

    fn topic_of(&self, stream: u32) -> u32 {
        stream % self.topics
    }

    /// The streams that a session is to get.
    pub(crate) fn wants(&self, session: u32) -> impl Iterator<Item = u32> + use<> {
        (session % self.topics..self.streams()).step_by(self.topics as usize)
    }

    /// The number of sessions that want a stream.
    fn recipients_of(&self, stream: u32) -> u32 {
        let topic = self.topic_of(stream);
        self.sessions / self.topics + u32::from(topic < self.sessions % self.topics)
    }
}

struct Store<'a> {
    flags: &'a Flags,
    endpoint: &'a Endpoint,
    window: u32,
    layout: Layout,
}

impl Store<'_> {
    /// Lets every session's client come, subscribe if it `subscribes`, and go. When it `stays`, the
    /// session outlives that; otherwise it begins anew and ends.
    fn visit(&self, stays: bool, subscribes: bool) -> Result<()> {
        let mut poller = Poller::new(&Waker::new()?)?;
        let endpoint = Endpoint { persistent: stays, ..*self.endpoint };
        let wanted = self.wanted(subscribes);
        let mut connections = open_all(&mut poller, &endpoint, &wanted, OPENING_MAX, |_| {})?;
        leave(&mut poller, &mut connections)
    }

    /// The connections of the sessions' clients.
    fn wanted(&self, subscribes: bool) -> Vec<Wanted> {
        let layout = &self.layout;
        let wanted = |index| {
            let filter = subscribes.then(|| layout.topic(index % layout.topics));
            Wanted { index, client_id: layout.client_id(index), filter }
        };
        (0..layout.sessions).map(wanted).collect()
    }

    fn measure(&self, broker: Option<&Process>, summary: &mut Summary) -> Result<()> {
        let sent = self.store(broker, summary)?;
        if self.flags.check {
            let mut poller = Poller::new(&Waker::new()?)?;
            let endpoint = Endpoint { persistent: true, ..*self.endpoint };
            let (wanted, mut buffer) = (self.wanted(false), self.buffer());
            let (returned, mut connections) =
                come_back(&mut poller, &endpoint, &wanted, &self.layout, &mut buffer)?;
            returned.report(&sent, summary);
            leave(&mut poller, &mut connections)?;
        }
        Ok(())
    }

    fn buffer(&self) -> Vec<u8> {
        vec![0; READ_BYTES.max(4 * self.flags.size)]
    }

    /// Publishes for the time that was asked for; how many messages each stream has.
    fn store(&self, broker: Option<&Process>, summary: &mut Summary) -> Result<Vec<u32>> {
        let mut poller = Poller::new(&Waker::new()?)?;
        let mut connections = self.open_publishers(&mut poller)?;
        let mut storing = Storing::new(self, &connections);
        let mut buffer = self.buffer();
        let usage = || broker.map(Process::usage).transpose();
        storing.go_on(seconds_ns(self.flags.warmup), &mut poller, &mut connections, &mut buffer)?;
        let (before, start_ns) = (usage()?, now_ns());
        storing.begin_measurement();
        storing.go_on(
            seconds_ns(self.flags.duration),
            &mut poller,
            &mut connections,
            &mut buffer,
        )?;
        let seconds = (now_ns() - start_ns) as f64 / 1e9;
        let counted = storing.counted;
        let after = usage()?;
        storing.finish(&mut poller, &mut connections, &mut buffer)?;
        summary.fault(storing.refused, "refused");
        let mut part = Part::new("stored");
        part.add("messages/s", counted.messages as f64 / seconds);
        part.add("message-recipients/s", counted.recipients as f64 / seconds);
        part.add("times", storing.times.len() as f64);
        part.add_percentiles(&storing.times);
        add_costs(&mut part, before, after, counted);
        summary.add(part);
        leave(&mut poller, &mut connections)?;
        Ok(storing.sequences)
    }

    fn open_publishers(&self, poller: &mut Poller) -> Result<Vec<Opened>> {
        let Layout { prefix, sessions, publishers, .. } = &self.layout;
        let client_id = |index| format!("{}-p{index}", prefix.replace('/', "-"));
        let wanted =
            |index| Wanted { index: sessions + index, client_id: client_id(index), filter: None };
        let wanted: Vec<_> = (0..*publishers).map(wanted).collect();
        let endpoint = Endpoint { persistent: false, ..*self.endpoint };
        open_all(poller, &endpoint, &wanted, OPENING_MAX, |_| {})
    }
}

/// Adds the resources that the broker used for a part.
fn add_costs(part: &mut Part, before: Option<Usage>, after: Option<Usage>, counted: Counted) {
    let Some((before, after)) = before.zip(after) else { return };
    let (messages, recipients) = (counted.messages as f64, counted.recipients as f64);
    let cpu_ns = (after.cpu_ns - before.cpu_ns) as f64;
    part.add("broker CPU ns a recipient", cpu_ns / recipients.max(1.0));
    part.add("broker CPU ns a message", cpu_ns / messages.max(1.0));
    if let Some((before, after)) = before.written_bytes.zip(after.written_bytes) {
        let bytes = (after - before) as f64;
        part.add("bytes written a recipient", bytes / recipients.max(1.0));
        part.add("bytes written a message", bytes / messages.max(1.0));
    }
}

/// Says goodbye on all connections, and waits until the broker has heard it.
fn leave(poller: &mut Poller, connections: &mut [Opened]) -> Result<()> {
    let mut left = vec![false; connections.len()];
    for connection in connections.iter_mut() {
        connection.link.out.extend_from_slice(&DISCONNECT);
        connection.link.flush();
    }
    let mut buffer = vec![0; READ_BYTES];
    while left.contains(&false) {
        let count = poller.wait(PATIENCE_NS)?;
        if count == 0 {
            return Err(silence());
        }
        for index in 0..count {
            let Ready::Socket { token, readiness } = poller.ready(index) else { continue };
            let link = &mut connections[token].link;
            if link.read(readiness, &mut buffer, |bytes, _| Some(bytes.len())) == End::Closed {
                left[token] = true;
            } else {
                link.flush();
            }
        }
    }
    Ok(())
}

/// Publishing, until it is enough.
struct Storing<'a> {
    store: &'a Store<'a>,
    templates: Vec<Template>,
    senders: Vec<Sender>,
    /// Messages sent to each stream.
    sequences: Vec<u32>,
    /// From write to the first answer.
    times: Histogram<u64>,
    counted: Counted,
    refused: u64,
    /// When the measurement began.
    since_ns: u64,
}

/// The messages that were acknowledged, and their recipients.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counted {
    messages: u64,
    recipients: u64,
}

struct Sender {
    streams: Vec<u32>,
    /// The place of the stream whose turn is next.
    turn: usize,
    unanswered: Unanswered,
    /// Publishes that are not over.
    open: u32,
    /// Packet identifier, stream and time of what has had no answer, in order.
    sent: VecDeque<(u16, u32, u64)>,
}

impl<'a> Storing<'a> {
    fn new(store: &'a Store<'a>, connections: &[Opened]) -> Self {
        let (layout, endpoint) = (&store.layout, store.endpoint);
        let template = |stream| {
            let topic = layout.topic(layout.topic_of(stream));
            Template::new(endpoint.version, endpoint.qos, &topic, store.flags.size)
        };
        let sender = |(publisher, opened): (u32, &Opened)| Sender {
            streams: layout.streams_of(publisher).collect(),
            turn: 0,
            unanswered: Unanswered::new(opened.receive_maximum),
            open: 0,
            sent: VecDeque::new(),
        };
        Self {
            store,
            templates: (0..layout.streams()).map(template).collect(),
            senders: (0..).zip(connections).map(sender).collect(),
            sequences: vec![0; layout.streams() as usize],
            times: new_histogram(),
            counted: Counted::default(),
            refused: 0,
            since_ns: u64::MAX,
        }
    }

    fn begin_measurement(&mut self) {
        self.counted = Counted::default();
        self.since_ns = now_ns();
    }

    /// Publishes for so long.
    fn go_on(
        &mut self,
        time_ns: u64,
        poller: &mut Poller,
        connections: &mut [Opened],
        buffer: &mut [u8],
    ) -> Result<()> {
        let end_ns = now_ns() + time_ns;
        for (place, connection) in connections.iter_mut().enumerate() {
            self.fill(place, connection);
        }
        while now_ns() < end_ns {
            for place in self.hear(poller, connections, buffer)? {
                self.fill(place, &mut connections[place]);
            }
        }
        Ok(())
    }

    /// Waits until everything is answered.
    fn finish(
        &mut self,
        poller: &mut Poller,
        connections: &mut [Opened],
        buffer: &mut [u8],
    ) -> Result<()> {
        while self.senders.iter().any(|sender| sender.open > 0) {
            self.hear(poller, connections, buffer)?;
        }
        Ok(())
    }

    fn hear(
        &mut self,
        poller: &mut Poller,
        connections: &mut [Opened],
        buffer: &mut [u8],
    ) -> Result<Vec<usize>> {
        let active = pump(poller, connections, buffer, |place, frame, out| {
            self.answer(place, frame.first, frame.body, out);
        })?;
        if active.is_empty() { Err(silence()) } else { Ok(active) }
    }

    fn fill(&mut self, place: usize, connection: &mut Opened) {
        let sender = &mut self.senders[place];
        while sender.open < self.store.window && sender.unanswered.room() > 0 {
            let stream = sender.streams[sender.turn];
            sender.turn = (sender.turn + 1) % sender.streams.len();
            let packet_id = sender.unanswered.open();
            let sequence = &mut self.sequences[stream as usize];
            let time_ns = now_ns();
            let stamp = Stamp { stream, sequence: *sequence, time_ns };
            self.templates[stream as usize].append(packet_id, stamp, &mut connection.link.out);
            *sequence += 1;
            sender.open += 1;
            sender.sent.push_back((packet_id, stream, time_ns));
        }
        connection.link.flush();
    }

    fn answer(&mut self, place: usize, first: u8, body: &[u8], out: &mut Vec<u8>) {
        let kind = PacketType::from_first(first).and_then(AckType::from_packet_type);
        let Some((kind, packet_id)) = kind.zip(packet_id(body)) else { return };
        if matches!(kind, AckType::PubAck | AckType::PubRec) {
            self.first_answer(place, packet_id, ack_code(body));
        }
        if kind == AckType::PubRec && ack_code(body) < 0x80 {
            let version = self.store.endpoint.version;
            return encode_ack(AckType::PubRel, version, packet_id, ReasonCode::Success, out);
        }
        let sender = &mut self.senders[place];
        sender.unanswered.close();
        sender.open -= 1;
    }

    fn first_answer(&mut self, place: usize, packet_id: u16, code: u8) {
        let sent = &mut self.senders[place].sent;
        let found = sent.iter().position(|entry| entry.0 == packet_id);
        let Some((_, stream, time_ns)) = found.and_then(|at| sent.remove(at)) else { return };
        if code >= 0x80 {
            self.refused += 1;
        } else {
            self.counted.messages += 1;
            self.counted.recipients += u64::from(self.store.layout.recipients_of(stream));
        }
        if time_ns >= self.since_ns {
            self.times.saturating_record(now_ns() - time_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(sessions: u32, publishers: u32, topics: u32) -> Layout {
        Layout { prefix: "p".into(), sessions, publishers, topics }
    }

    #[test]
    fn each_stream_has_one_publisher_and_its_recipients_want_it() {
        for layout in [layout(10, 1, 1), layout(10, 3, 4), layout(3, 7, 2), layout(5, 5, 5)] {
            let mut publishers = vec![0; layout.streams() as usize];
            for publisher in 0..layout.publishers {
                let streams: Vec<_> = layout.streams_of(publisher).collect();
                assert!(!streams.is_empty(), "{layout:?}");
                streams.iter().for_each(|&stream| publishers[stream as usize] += 1);
            }
            assert!(publishers.iter().all(|count| *count == 1), "{layout:?}");
            let mut recipients = vec![0; layout.streams() as usize];
            for session in 0..layout.sessions {
                for stream in layout.wants(session) {
                    assert_eq!(layout.topic_of(stream), session % layout.topics);
                    recipients[stream as usize] += 1;
                }
            }
            let counts: Vec<_> =
                (0..layout.streams()).map(|stream| layout.recipients_of(stream)).collect();
            assert_eq!(recipients, counts, "{layout:?}");
        }
    }
}
