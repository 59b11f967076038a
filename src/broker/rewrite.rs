//! Writes the whole state anew, a little in each turn, so that older parts of the journal can go.

use super::in_flight::Entry;
use super::ledger::{Ledger, stored};
use super::purse::{HOLDER_STEPS, RETAINED_STEPS, SUBSCRIPTION_STEPS};
use super::rewrite_progress::Rewrite;
use super::session::Session;
use super::shard::Shard;
use crate::base::ids::{DeliveryNumber, MessageId, SessionId};
use crate::limits::{RETAINED_PAGE_MESSAGES, REWRITE_SLICE_BYTES};
use crate::mqtt::Version;
use crate::store::Message;
use crate::store::record::{Body, Published, Record, StoredDelivery, Subscription, Whole};
use std::num::NonZeroU64;
use std::sync::Arc;

impl Shard {
    pub(super) fn begin_rewrite(&mut self, rewrite: u32) {
        let Some(ledger) = &mut self.clients.ledger else { return };
        ledger.rewrite = rewrite;
        for message in ledger.relayed() {
            self.write_message(&message, false);
        }
        let recorded = self.clients.sessions.iter().filter(|(_, session)| session.is_recorded);
        self.rewrite = Some(Rewrite::Sessions(recorded.map(|(id, _)| id).collect()));
    }

    /// True when the gathering batch has room for more of the rewrite.
    pub(super) fn can_go_on_with_rewrite(&self) -> bool {
        self.clients.ledger.as_ref().is_some_and(|ledger| ledger.bytes() < REWRITE_SLICE_BYTES)
    }

    pub(super) fn go_on_with_rewrite(&mut self) {
        if let Some(ledger) = self.clients.ledger.as_mut().filter(|_| self.rewrite.is_some()) {
            // What gathers makes room when it is handed over.
            ledger.hurry(self.clients.now);
        }
        while self.can_go_on_with_rewrite() {
            let Some(rewrite) = self.rewrite.take() else { return };
            self.rewrite = match rewrite {
                Rewrite::Sessions(mut left) => match left.pop() {
                    Some(id) => {
                        self.write_session(id);
                        Some(Rewrite::Sessions(left))
                    }
                    None => Some(Rewrite::Retained(None)),
                },
                Rewrite::Retained(after) => self.write_retained(after.as_deref()),
            };
            if self.rewrite.is_none()
                && let Some(ledger) = &mut self.clients.ledger
            {
                ledger.finish_rewrite(self.clients.now);
            }
        }
    }

    /// Writes a session, after the messages that it refers to.
    fn write_session(&mut self, id: SessionId) {
        let Some(session) = self.clients.sessions.get(id).filter(|session| !session.is_over) else {
            return;
        };
        let Some(ledger) = &self.clients.ledger else { return };
        let steps =
            SUBSCRIPTION_STEPS * session.subscriptions.len() + HOLDER_STEPS * session.held();
        self.clients.outbox.purse().spend_at_once(steps);
        let (messages, deliveries) = session.stored_deliveries(ledger);
        let mut overtaken = session.overtaken();
        let subscriptions = session.subscriptions.iter().filter_map(|place| {
            let filter = self.subscriptions.filter(place);
            let subscriber = self.subscriptions.subscriber(id.slot, place)?;
            Some(Subscription {
                owed: session.owed(place, &mut overtaken),
                filter: filter.to_string().into(),
                options: subscriber.options.to_byte(Version::V5),
                subscription_id: subscriber.extras.subscription_id().unwrap_or(0),
            })
        });
        let whole = Whole {
            attributes: session.attributes(ledger.epoch),
            subscriptions: subscriptions.collect(),
            deliveries,
            received: session.received().collect(),
        };
        let sent = session.sent();
        for message in messages {
            self.write_message(&message, false);
        }
        self.write_anew(Record::Whole(whole));
        if let Some(sent) = sent {
            self.write_anew(sent);
        }
    }

    /// Writes the retained messages after a topic, and returns the rest of the rewrite.
    fn write_retained(&mut self, after: Option<&str>) -> Option<Rewrite> {
        let page = self.retained.after(after, RETAINED_PAGE_MESSAGES);
        let page: Vec<Arc<Message>> = page.cloned().collect();
        self.clients.outbox.purse().spend_at_once(RETAINED_STEPS * page.len());
        for message in page.iter().filter(|message| !message.id.is_none()) {
            self.write_message(message, true);
        }
        page.last().map(|last| Rewrite::Retained(Some(last.topic().into())))
    }

    /// Writes a message, unless the journal has it since the rewrite began.
    fn write_message(&mut self, message: &Message, is_retained: bool) {
        let Some(ledger) = &self.clients.ledger else { return };
        let is_new = message.note_stored(ledger.rewrite);
        if !is_new && !is_retained {
            return;
        }
        let body = is_new.then(|| Body::of(message, ledger.epoch).owned());
        let version = message.version().map(NonZeroU64::get);
        let published = Published {
            message: message.id,
            body,
            retained: version.filter(|_| is_retained),
            received: None,
            taken: None,
            groups: Vec::new(),
            others: Vec::new(),
        };
        self.write_anew(Record::Published(published));
    }

    fn write_anew(&mut self, record: Record<'static>) {
        let now = self.clients.now;
        if let Some(ledger) = &mut self.clients.ledger {
            ledger.note(now, record);
        }
    }
}

impl Session {
    /// The session's messages and deliveries that outlive the process, in order. A delivery whose
    /// record has yet to be handed over is left to that record. A delivery that the journal had
    /// before is not, since its record brings only a packet identifier; it keeps its place.
    fn stored_deliveries(
        &self,
        ledger: &Ledger,
    ) -> (Vec<Arc<Message>>, Vec<(MessageId, StoredDelivery<'static>)>) {
        let (mut messages, mut deliveries) = (Vec::new(), Vec::new());
        if self.expiry_s == 0 {
            return (messages, deliveries);
        }
        let is_there = |e: &&Entry| e.is_known() || ledger.has_handed_over(e.record());
        for entry in self.in_flight.iter().filter(is_there) {
            let (id, delivery) = match entry.delivery() {
                Some(delivery) => (delivery.message.id, stored(delivery)),
                // The message is not needed any more, only the number.
                None => (MessageId::NONE, released(entry.stored())),
            };
            // A QoS 1 message may go under another identifier the next time.
            let packet_id = if delivery.qos == 2 { entry.packet_id } else { 0 };
            deliveries.push((id, StoredDelivery { packet_id, ..delivery }));
            messages.extend(entry.delivery().map(|delivery| delivery.message.clone()));
        }
        for delivery in self.queued().filter(|delivery| ledger.has_handed_over(delivery.record)) {
            deliveries.push((delivery.message.id, stored(delivery)));
            messages.push(delivery.message.clone());
        }
        (messages, deliveries)
    }

    /// The record of deliveries that may have been sent, in their order, for a session without a
    /// connection. It includes deliveries that the session gets before its client connects again.
    /// None for any other session.
    pub(super) fn sent(&self) -> Option<Record<'static>> {
        if self.link.is_some() || self.expiry_s == 0 || !self.is_recorded {
            return None;
        }
        let sent = self.in_flight.sent().map(|entry| (entry.stored(), entry.packet_id));
        let waiting = self.in_flight.waiting().filter_map(Entry::delivery);
        let maybe = waiting.chain(self.queued()).filter(|delivery| delivery.may_have_been_sent());
        let maybe = maybe.map(|delivery| (delivery.stored(), 0));
        let deliveries = sent.chain(maybe).filter(|(number, _)| !number.is_none()).collect();
        Some(Record::Sent { session: self.number, deliveries })
    }
}

/// An exchange that waits for PUBCOMP only.
fn released(number: DeliveryNumber) -> StoredDelivery<'static> {
    StoredDelivery { number, qos: 2, is_released: true, ..StoredDelivery::default() }
}
