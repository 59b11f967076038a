//! A client's session: what outlives its connection.

use super::boundary::LinkId;
use super::message::Message;
use super::publication::packet_id;
use super::replay::Replay;
use super::will::Will;
use crate::base::slots;
use crate::base::time::Time;
use crate::mqtt::QoS;
use crate::topics::Place;
use smallvec::SmallVec;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// A message for one session.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) message: Arc<Message>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) subscription_ids: SmallVec<[u32; 1]>,
    /// The whole filter of the shared group that the session got it as a member of.
    pub(super) share: Option<Arc<str>>,
}

/// A packet identifier that is taken.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) packet_id: u16,
    /// The publish that gave the identifier.
    serial: u64,
    /// The message while its PUBACK or PUBREC is awaited; None once PUBREC came and PUBCOMP is.
    pub(super) delivery: Option<Delivery>,
    /// It is still to be sent again on the present connection.
    is_unsent: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client_id: Box<str>,
    /// Unlike that of any other session of this process.
    pub(super) number: u64,
    /// The connection that owns it now.
    pub(super) link: Option<LinkId>,
    /// How long it outlives its connection; `u32::MAX` is for ever.
    pub(super) expiry_s: u32,
    /// How many messages may be in flight on the present connection.
    pub(super) window: u16,
    /// In the order in which they were first sent.
    in_flight: VecDeque<InFlight>,
    /// How many of `in_flight` are still to be sent again.
    unsent: usize,
    /// How many of `in_flight` could not take the identifier that belongs to their serial.
    odd_ids: u32,
    /// QoS 1 and 2 messages that wait for the connection or the window.
    queue: VecDeque<Delivery>,
    queue_bytes: usize,
    /// QoS 2 identifiers received and not released.
    pub(super) received: BTreeSet<u16>,
    /// Sorted.
    pub(super) subscriptions: Vec<Place>,
    /// Retained messages still to be sent for its subscriptions, oldest first.
    pub(super) replays: Vec<Replay>,
    pub(super) replays_begun: u32,
    /// It is among those that have more to be sent than one turn should take.
    pub(super) is_unfinished: bool,
    pub(super) will: Option<Box<Will>>,
    /// When the will is due, after the connection failed.
    pub(super) will_due: Option<Time>,
    /// When it ends, while there is no connection.
    pub(super) ends: Option<Time>,
    /// What the shard's timers hold of it.
    pub(super) timer: Option<Time>,
}

/// Why a message did not get into a queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QueueFull;

impl Session {
    pub(super) fn new(client_id: &str, number: u64) -> Self {
        Self {
            client_id: client_id.into(),
            number,
            link: None,
            expiry_s: 0,
            window: 0,
            in_flight: VecDeque::new(),
            unsent: 0,
            odd_ids: 0,
            queue: VecDeque::new(),
            queue_bytes: 0,
            received: BTreeSet::new(),
            subscriptions: Vec::new(),
            replays: Vec::new(),
            replays_begun: 0,
            is_unfinished: false,
            will: None,
            will_due: None,
            ends: None,
            timer: None,
        }
    }

    /// True when a QoS 1 or 2 message may be sent now, with nothing waiting before it.
    pub(super) fn has_window(&self) -> bool {
        self.unsent == 0 && self.in_flight.len() < self.window as usize
    }

    /// On a new connection everything in flight is to be sent again.
    // [MQTT-4.4.0-1]
    pub(super) fn forget_sent(&mut self) {
        self.unsent = self.in_flight.len();
        self.in_flight.iter_mut().for_each(|entry| entry.is_unsent = true);
    }

    /// True when something in flight is still to be sent again.
    pub(super) const fn has_unsent(&self) -> bool {
        self.unsent > 0
    }

    /// The next exchange to send again, in order, if the window allows.
    // [MQTT-3.3.4-9]
    pub(super) fn next_unsent(&mut self) -> Option<(u16, Option<Delivery>)> {
        if self.in_flight.len() - self.unsent >= self.window as usize {
            return None;
        }
        let entry = self.in_flight.iter_mut().find(|entry| entry.is_unsent)?;
        entry.is_unsent = false;
        self.unsent -= 1;
        Some((entry.packet_id, entry.delivery.clone()))
    }

    pub(super) fn is_queue_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes an identifier for a delivery that is sent now: the one of `serial` unless it is still
    /// in flight from long ago.
    // [MQTT-2.2.1-3], [MQTT-2.2.1-4]
    pub(super) fn send(&mut self, serial: u64, delivery: Delivery) -> u16 {
        let mut id = packet_id(serial);
        let oldest = self.in_flight.front().map_or(serial, |oldest| oldest.serial);
        if self.odd_ids > 0 || serial.wrapping_sub(oldest) >= 65_535 {
            while self.in_flight.iter().any(|entry| entry.packet_id == id) {
                id = id % 65_535 + 1;
            }
            self.odd_ids += u32::from(id != packet_id(serial));
        }
        self.in_flight.push_back(InFlight {
            packet_id: id,
            serial,
            delivery: Some(delivery),
            is_unsent: false,
        });
        id
    }

    fn position(&self, packet_id: u16) -> Option<usize> {
        self.in_flight.iter().position(|entry| entry.packet_id == packet_id)
    }

    /// The exchange that `packet_id` stands for.
    pub(super) fn in_flight(&mut self, packet_id: u16) -> Option<&mut InFlight> {
        let position = self.position(packet_id)?;
        self.in_flight.get_mut(position)
    }

    /// Ends the exchange that `packet_id` stands for.
    pub(super) fn complete(&mut self, packet_id: u16) -> Option<InFlight> {
        let position = self.position(packet_id)?;
        let entry = if position == 0 {
            self.in_flight.pop_front()
        } else {
            self.in_flight.remove(position)
        }?;
        self.odd_ids -= u32::from(entry.is_odd());
        self.unsent -= usize::from(entry.is_unsent);
        if self.in_flight.is_empty() && self.in_flight.capacity() > 64 {
            self.in_flight = VecDeque::new();
        }
        Some(entry)
    }

    /// Queues a message behind the others; what has expired makes room.
    pub(super) fn enqueue(
        &mut self,
        delivery: Delivery,
        now: Time,
        messages_max: usize,
        bytes_max: usize,
    ) -> Result<(), QueueFull> {
        let size = delivery.message.bytes().len();
        let is_full = |s: &Self| {
            s.queue.len() >= messages_max || s.queue_bytes.saturating_add(size) > bytes_max
        };
        if is_full(self) {
            self.queue.retain(|queued| !queued.message.is_expired(now));
            self.queue_bytes = self.queue.iter().map(|q| q.message.bytes().len()).sum();
        }
        if is_full(self) {
            return Err(QueueFull);
        }
        self.queue_bytes += size;
        self.queue.push_back(delivery);
        Ok(())
    }

    /// The next queued message.
    pub(super) fn dequeue(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        self.queue_bytes -= delivery.message.bytes().len();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(delivery)
    }

    /// Takes out the queued messages that another member of their group may get instead.
    pub(super) fn take_shared_queue(&mut self) -> Vec<Delivery> {
        if self.queue.iter().all(|delivery| delivery.share.is_none()) {
            return Vec::new();
        }
        let (shared, own): (VecDeque<_>, VecDeque<_>) =
            self.queue.drain(..).partition(|delivery| delivery.share.is_some());
        self.queue = own;
        self.queue_bytes = self.queue.iter().map(|q| q.message.bytes().len()).sum();
        shared.into()
    }

    /// Takes out the shared QoS 1 messages in flight; a QoS 2 exchange once begun goes to nobody
    /// else. For a session that ends.
    // [MQTT-4.8.2-5]
    pub(super) fn take_shared_in_flight(&mut self) -> Vec<Delivery> {
        self.unsent = 0;
        let deliveries = self.in_flight.drain(..).filter_map(|entry| entry.delivery);
        deliveries.filter(|d| d.share.is_some() && d.qos == QoS::AtLeastOnce).collect()
    }
}

impl InFlight {
    const fn is_odd(&self) -> bool {
        self.packet_id != packet_id(self.serial)
    }
}

/// Names a session while it exists.
pub(super) type SessionId = slots::Id;
