//! A state as lines of JSON.

use super::counts::Counts;
use super::lines::{
    DeliveryLine, EndLine, ExportLine, FORMAT, Line, MessageLine, ReceivedLine, SentLine,
    SessionLine, SubscriptionLine,
};
use super::values::Clock;
use crate::mqtt::TopicFilter;
use crate::store::State;
use crate::store::record::{Record, Whole};
use std::io::{self, Write};

/// Writes everything that a state has. Points in time are those of a clock that began at 0.
///
/// # Errors
/// The lines cannot be written.
pub fn export(state: &State, out: impl Write) -> io::Result<Counts> {
    let mut writer = Writer { out, lines: 0, counts: Counts::default() };
    writer.line(&Line::Export(ExportLine {
        format: FORMAT,
        ringmq: env!("CARGO_PKG_VERSION").into(),
        clock: state.clock.map(Clock::of),
    }))?;
    for record in state.records() {
        match &record {
            Record::Published(published) => {
                writer.counts.retained += u64::from(published.retained.is_some());
                let line = MessageLine::of(published);
                line.map_or(Ok(()), |line| writer.line(&Line::Message(line)))?;
            }
            Record::Whole(whole) => writer.session(whole)?,
            Record::Sent { session, deliveries } => {
                let (session, deliveries) = (*session, deliveries.clone());
                writer.counts.note_sent(deliveries.len());
                writer.line(&Line::Sent(SentLine { session, deliveries }))?;
            }
            // The first line has the clock; a state has no other records.
            _ => {}
        }
    }
    let lines = writer.lines;
    writer.line(&Line::End(EndLine { lines }))?;
    writer.out.flush()?;
    Ok(writer.counts)
}

#[derive(Debug)]
struct Writer<W> {
    out: W,
    lines: u64,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.lines += 1;
        self.out.write_all(b"\n")
    }

    fn session(&mut self, whole: &Whole<'_>) -> io::Result<()> {
        self.counts.add(whole);
        let session = whole.attributes.session;
        self.line(&Line::Session(SessionLine::of(&whole.attributes)))?;
        for subscription in &whole.subscriptions {
            let line = SubscriptionLine::of(session, subscription);
            line.map_or(Ok(()), |line| self.line(&Line::Subscription(line)))?;
        }
        for (message, way) in &whole.deliveries {
            self.line(&Line::Delivery(DeliveryLine::of(session, *message, way)))?;
        }
        if whole.received.is_empty() {
            return Ok(());
        }
        self.line(&Line::Received(ReceivedLine { session, packet_ids: whole.received.clone() }))
    }
}

impl Counts {
    /// Adds a session, all of whose messages are queued.
    pub(super) fn add(&mut self, whole: &Whole<'_>) {
        self.sessions += 1;
        self.subscriptions += whole.subscriptions.len() as u64;
        let filters = whole.subscriptions.iter().map(|known| TopicFilter::parsed(&known.filter));
        self.shared += filters.filter(|filter| filter.share_name.is_some()).count() as u64;
        self.queued += whole.deliveries.len() as u64;
        self.received += whole.received.len() as u64;
        self.wills += u64::from(whole.attributes.will.is_some());
    }

    /// Notes that so many of the messages were sent.
    pub(super) fn note_sent(&mut self, sent: usize) {
        let sent = self.queued.min(sent as u64);
        self.queued -= sent;
        self.in_flight += sent;
    }
}
