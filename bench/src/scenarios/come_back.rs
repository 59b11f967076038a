//! Sessions whose clients come back: whether each gets what was stored for it, once and in order.

use super::pump::pump;
use super::store::Layout;
use crate::clock::now_ns;
use crate::failure::Result;
use crate::handshake::{Endpoint, Opened, Wanted, start};
use crate::poller::Poller;
use crate::stamp::Stamp;
use crate::summary::{Part, Summary};
use crate::track::Tracker;
use crate::wire::{RawFrame, delivery, packet_id};
use ringmq_mqtt::{AckType, PacketType, ReasonCode, encode_ack};

/// The messages that the clients got.
#[derive(Debug)]
pub(crate) struct Returned {
    /// The streams that each session wants, with the messages that came of them.
    sessions: Vec<Vec<(u32, Tracker)>>,
    fresh: u64,
    late: u64,
    duplicates: u64,
    foreign: u64,
    start_ns: u64,
    end_ns: u64,
}

/// Opens `wanted`, of which number n has session n, and takes what the broker has for them, until
/// it has nothing more.
pub(crate) fn come_back(
    poller: &mut Poller,
    endpoint: &Endpoint,
    wanted: &[Wanted],
    layout: &Layout,
    buffer: &mut [u8],
) -> Result<(Returned, Vec<Opened>)> {
    let mut returned = Returned::new(layout, wanted.len() as u32);
    let mut connections = Vec::with_capacity(wanted.len());
    for (token, wanted) in wanted.iter().enumerate() {
        let link = start(endpoint, wanted)?;
        poller.add(&link.socket, token)?;
        connections.push(Opened { link, receive_maximum: u16::MAX });
    }
    loop {
        let active = pump(poller, &mut connections, buffer, |session, frame, out| {
            returned.take(session, frame, endpoint, out);
        })?;
        if active.is_empty() {
            return Ok((returned, connections));
        }
        returned.end_ns = now_ns();
    }
}

impl Returned {
    fn new(layout: &Layout, sessions: u32) -> Self {
        let wants = |session| layout.wants(session).map(|stream| (stream, Tracker::default()));
        let now_ns = now_ns();
        Self {
            sessions: (0..sessions).map(|session| wants(session).collect()).collect(),
            fresh: 0,
            late: 0,
            duplicates: 0,
            foreign: 0,
            start_ns: now_ns,
            end_ns: now_ns,
        }
    }

    fn take(&mut self, session: usize, frame: &RawFrame<'_>, at: &Endpoint, out: &mut Vec<u8>) {
        let mut put = |kind, packet_id| {
            encode_ack(kind, at.version, packet_id, ReasonCode::Success, out);
        };
        match PacketType::from_first(frame.first) {
            Some(PacketType::Publish) => {
                let Some(delivery) = delivery(frame, at.version.is_v5()) else { return };
                if let Some((kind, packet_id)) = delivery.answer {
                    put(kind, packet_id);
                }
                self.note(session, delivery.payload);
            }
            Some(PacketType::PubRel) => put(AckType::PubComp, packet_id(frame.body).unwrap_or(0)),
            _ => {}
        }
    }

    fn note(&mut self, session: usize, payload: &[u8]) {
        let stamp = Stamp::read(payload);
        let stream = stamp.and_then(|stamp| {
            self.sessions[session].iter_mut().find(|(stream, _)| *stream == stamp.stream)
        });
        let Some((stamp, (_, tracker))) = stamp.zip(stream) else {
            self.foreign += 1;
            return;
        };
        let arrival = tracker.accept(stamp.sequence, 1);
        self.fresh += u64::from(arrival.fresh);
        self.late += u64::from(arrival.late);
        self.duplicates += u64::from(arrival.duplicates);
    }

    /// The number of the `sent` messages of the streams that did not come.
    fn lost(&self, sent: &[u32]) -> u64 {
        let missing = |(stream, tracker): &(u32, Tracker)| {
            u64::from(sent[*stream as usize].saturating_sub(tracker.seen()))
        };
        self.sessions.iter().flatten().map(missing).sum()
    }

    /// Adds what came, when so many messages of each stream were `sent`.
    pub(crate) fn report(&self, sent: &[u32], summary: &mut Summary) {
        summary.fault(self.lost(sent), "lost");
        summary.fault(self.late, "out of order");
        summary.fault(self.duplicates, "duplicated");
        summary.fault(self.foreign, "not asked for");
        let seconds = (self.end_ns - self.start_ns) as f64 / 1e9;
        let mut part = Part::new("sent to those who came back");
        part.add("deliveries", self.fresh as f64);
        part.add("deliveries/s", self.fresh as f64 / seconds.max(1e-9));
        summary.add(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_is_lost() {
        let sessions = vec![
            vec![(0, Tracker::default()), (2, Tracker::default())],
            vec![(1, Tracker::default())],
        ];
        let none = Returned {
            sessions,
            fresh: 0,
            late: 0,
            duplicates: 0,
            foreign: 0,
            start_ns: 0,
            end_ns: 0,
        };
        let mut returned = none;
        let payload = |stream, sequence| Stamp { stream, sequence, time_ns: 0 }.bytes();
        for (session, stream, sequence) in [(0, 0, 0), (0, 0, 1), (0, 2, 1), (0, 2, 0), (0, 0, 1)] {
            returned.note(session, &payload(stream, sequence));
        }
        returned.note(1, &payload(0, 0));
        assert_eq!((returned.fresh, returned.late, returned.duplicates), (4, 1, 1));
        assert_eq!(returned.foreign, 1);
        assert_eq!(returned.lost(&[2, 3, 2]), 3);
    }
}
