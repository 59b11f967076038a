//! Clients that subscribe and unsubscribe all the time.

use super::churn::{Done, ShareOfClients};
use super::pump::{pump, silence};
use crate::clock::now_ns;
use crate::failure::Result;
use crate::handshake::Endpoint;
use crate::tally::new_histogram;
use hdrhistogram::Histogram;
use ringmq_mqtt::{PacketType, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe};
use std::collections::VecDeque;
use std::ops::Range;

/// Filters that each client goes round.
const FILTERS: u64 = 8;

const READ_BYTES: usize = 64 * 1024;

/// One thread's clients.
pub(crate) struct Resubscribing {
    share: ShareOfClients,
    requests: Vec<Requests>,
    times: Histogram<u64>,
    faults: u64,
}

/// One client's requests.
struct Requests {
    /// The client's number, for filters of its own.
    client: u32,
    /// The number of requests sent: even ones subscribe to the filter that the next one
    /// unsubscribes from.
    sent: u64,
    /// The times at which the unanswered requests were sent.
    waiting: VecDeque<u64>,
}

impl Resubscribing {
    pub(crate) fn new(share: ShareOfClients) -> Self {
        let requests = |client| Requests { client, sent: 0, waiting: VecDeque::new() };
        let requests = share.clients.iter().map(|client| requests(client.index)).collect();
        Self { share, requests, times: new_histogram(), faults: 0 }
    }

    /// Keeps every client's window full until the end of the measurement.
    pub(crate) fn run(mut self, measured: Range<u64>) -> Result<Done> {
        let mut buffer = vec![0; READ_BYTES];
        let all = 0..self.requests.len();
        all.for_each(|place| self.fill(place));
        while now_ns() < measured.end {
            let Self { share, requests, times, faults } = &mut self;
            let (poller, opened) = (&mut share.poller, &mut share.opened);
            let active = pump(poller, opened, &mut buffer, |place, frame, _| {
                let now_ns = now_ns();
                let Some(sent_ns) = requests[place].waiting.pop_front() else { return };
                if measured.contains(&now_ns) {
                    times.saturating_record(now_ns - sent_ns);
                }
                let is_refused = frame.body.last().is_none_or(|code| *code >= 0x80);
                let is_suback = frame.first == PacketType::SubAck.first_byte();
                *faults += u64::from(is_suback && is_refused);
            })?;
            if active.is_empty() {
                return Err(silence());
            }
            active.into_iter().for_each(|place| self.fill(place));
        }
        Ok(Done { times: self.times, faults: self.faults })
    }

    fn fill(&mut self, place: usize) {
        let requests = &mut self.requests[place];
        let link = &mut self.share.opened[place].link;
        let now_ns = now_ns();
        while requests.waiting.len() < self.share.window {
            requests.put_next(&self.share.endpoint, &mut link.out);
            requests.waiting.push_back(now_ns);
        }
        link.flush();
    }
}

impl Requests {
    fn put_next(&mut self, endpoint: &Endpoint, out: &mut Vec<u8>) {
        let filter = &format!("bench/churn/{}/{}", self.client, self.sent / 2 % FILTERS);
        let packet_id = (self.sent % u64::from(u16::MAX)) as u16 + 1;
        if self.sent.is_multiple_of(2) {
            let options = SubscriptionOptions { qos: endpoint.qos, ..Default::default() };
            let mut subscribe = Subscribe { packet_id, ..Subscribe::default() };
            subscribe.filters.push(SubscribeFilter { filter, options });
            subscribe.encode(endpoint.version, out);
        } else {
            let mut unsubscribe = Unsubscribe { packet_id, ..Unsubscribe::default() };
            unsubscribe.filters.push(filter);
            unsubscribe.encode(endpoint.version, out);
        }
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Sources;
    use crate::wire::raw_frame;
    use ringmq_mqtt::{QoS, Version};

    #[test]
    fn subscribe_and_unsubscribe_take_turns() {
        let address = "127.0.0.1:1883".parse().unwrap();
        let endpoint = Endpoint {
            address,
            version: Version::V5,
            qos: QoS::AtLeastOnce,
            sources: Sources::new(address, 0),
            below: crate::layer::Below::Tcp,
            persistent: false,
        };
        let mut requests = Requests { client: 7, sent: 0, waiting: VecDeque::new() };
        let mut out = Vec::new();
        (0..2).for_each(|_| requests.put_next(&endpoint, &mut out));
        let subscribe = raw_frame(&out).unwrap();
        assert_eq!(subscribe.first, PacketType::Subscribe.first_byte());
        let filter = b"bench/churn/7/0";
        assert!(subscribe.body.windows(filter.len()).any(|bytes| bytes == filter));
        let unsubscribe = raw_frame(&out[subscribe.length..]).unwrap();
        assert_eq!(unsubscribe.first, PacketType::Unsubscribe.first_byte());
        assert!(unsubscribe.body.ends_with(filter));
    }
}
