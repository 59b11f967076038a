//! Writes all that lives anew, a little in each turn, so that older parts of the journal can go.

use super::ledger::{Ledger, stored};
use super::message::Message;
use super::session::{Delivery, InFlight, Session, SessionId};
use super::shard::Shard;
use crate::limits::{PASS_SLICE_BYTES, RETAINED_PAGE_MESSAGES};
use crate::mqtt::Version;
use crate::store::record::{Body, Published, Record, StoredDelivery, Subscription, Whole};
use std::sync::Arc;

/// How far a pass has come.
#[derive(Debug)]
pub(super) enum Pass {
    /// These sessions are still to be written.
    Sessions(Vec<SessionId>),
    /// Retained messages after this topic are.
    Retained(Option<Arc<str>>),
}

impl Shard {
    pub(super) fn begin_pass(&mut self, pass: u32) {
        let Some(ledger) = &mut self.clients.ledger else { return };
        ledger.pass = pass;
        let recorded = self.clients.sessions.iter().filter(|(_, session)| session.is_recorded);
        self.pass = Some(Pass::Sessions(recorded.map(|(id, _)| id).collect()));
    }

    /// True when there is room for more of it in what gathers.
    pub(super) fn can_go_on_with_pass(&self) -> bool {
        self.clients.ledger.as_ref().is_some_and(|ledger| ledger.bytes() < PASS_SLICE_BYTES)
    }

    pub(super) fn go_on_with_pass(&mut self) {
        while self.can_go_on_with_pass() {
            let Some(pass) = self.pass.take() else { return };
            self.pass = match pass {
                Pass::Sessions(mut left) => match left.pop() {
                    Some(id) => {
                        self.write_session(id);
                        Some(Pass::Sessions(left))
                    }
                    None => Some(Pass::Retained(None)),
                },
                Pass::Retained(after) => self.write_retained(after.as_deref()),
            };
            if self.pass.is_none()
                && let Some(ledger) = &mut self.clients.ledger
            {
                ledger.finish_pass(self.clients.now);
            }
        }
    }

    /// Writes a session, and before it the messages that it refers to.
    fn write_session(&mut self, id: SessionId) {
        let Some(session) = self.clients.sessions.get(id) else { return };
        let Some(ledger) = &self.clients.ledger else { return };
        let messages = session.stored_messages(ledger);
        let subscriptions = session.subscriptions.iter().filter_map(|&place| {
            let filter = self.subscriptions.filter(place);
            let subscriber = self.subscriptions.subscriber(id.slot, place)?;
            Some(Subscription {
                is_owed: session.is_owed(&filter),
                filter: filter.to_string().into(),
                options: subscriber.options.to_byte(Version::V5),
                subscription_id: subscriber.extras.subscription_id().unwrap_or(0),
            })
        });
        let whole = Whole {
            attributes: session.attributes(ledger.epoch),
            subscriptions: subscriptions.collect(),
            deliveries: session.stored_deliveries(),
            received: session.received().collect(),
        };
        for message in messages {
            self.write_message(&message, false);
        }
        self.write_anew(whole.deliveries.len() * 16 + 256, Record::Whole(whole));
    }

    /// Writes the retained messages after a topic; what is left then.
    fn write_retained(&mut self, after: Option<&str>) -> Option<Pass> {
        let page = self.retained.page("#", after, RETAINED_PAGE_MESSAGES, usize::MAX);
        for message in page.messages.iter().filter(|message| message.id != 0) {
            self.write_message(message, true);
        }
        page.next.map(|next| Pass::Retained(Some(next)))
    }

    /// Writes a message, unless the journal has it since the pass began.
    fn write_message(&mut self, message: &Message, is_retained: bool) {
        let Some(ledger) = &self.clients.ledger else { return };
        let is_new = message.note_stored(ledger.pass);
        if !is_new && !is_retained {
            return;
        }
        let body = is_new.then(|| Body::of(message, ledger.epoch).owned());
        let published = Published {
            message: message.id,
            body,
            is_retained,
            received: None,
            taken_from: None,
            groups: Vec::new(),
            others: Vec::new(),
        };
        self.write_anew(message.bytes().len() + 32, Record::Published(published));
    }

    fn write_anew(&mut self, bytes: usize, record: Record<'static>) {
        let now = self.clients.now;
        if let Some(ledger) = &mut self.clients.ledger {
            ledger.count(bytes);
            ledger.note(now, record);
        }
    }
}

impl Session {
    /// What is on its way to its client and outlives the process, in order.
    fn stored_deliveries(&self) -> Vec<(u64, StoredDelivery<'static>)> {
        if self.expiry_s == 0 {
            return Vec::new();
        }
        let in_flight = self.exchanges().filter(|entry| entry.stored() != 0).map(|entry| {
            let delivery = match entry.delivery() {
                Some(delivery) => stored(delivery),
                None => StoredDelivery { qos: 2, is_released: true, ..StoredDelivery::default() },
            };
            // A QoS 1 message may go under another identifier the next time.
            let packet_id = if delivery.qos == 2 { entry.packet_id } else { 0 };
            (entry.stored(), StoredDelivery { packet_id, ..delivery })
        });
        let queued = self.queued().filter(|delivery| delivery.record != 0);
        in_flight.chain(queued.map(|d| (d.message.id, stored(d)))).collect()
    }

    /// The messages of [`Self::stored_deliveries`], but for those of another worker's records that
    /// are not on disk: their bytes come with those, or nothing of them counts.
    fn stored_messages(&self, ledger: &Ledger) -> Vec<Arc<Message>> {
        if self.expiry_s == 0 {
            return Vec::new();
        }
        let in_flight = self.exchanges().filter_map(InFlight::delivery);
        let all = in_flight.chain(self.queued());
        let is_known = |d: &&Delivery| d.record != 0 && ledger.is_before_next(d.record);
        all.filter(is_known).map(|delivery| delivery.message.clone()).collect()
    }
}
