//! A client of Mosquitto's as a session.

use super::chunks::{Client, ClientMessage};
use super::{Database, Sent};
use crate::base::ids::{DeliveryNumber, ListenerId, MessageId};
use crate::base::maps::HashSet;
use crate::store::record::{Attributes, Owner, StoredDelivery, Subscription, Whole};
use std::collections::BTreeMap;

/// The states of a message that was sent to a client, as Mosquitto numbers them.
mod state {
    pub(super) const WAIT_FOR_PUBACK: u8 = 3;
    pub(super) const WAIT_FOR_PUBREC: u8 = 5;
    pub(super) const RESEND_PUBREL: u8 = 6;
    pub(super) const WAIT_FOR_PUBCOMP: u8 = 9;
    pub(super) const QUEUED: u8 = 11;
}

/// A client, as far as the chunks so far tell of it.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// None for a client of which other chunks speak, and that has no session.
    pub(super) client: Option<Client>,
    pub(super) subscriptions: BTreeMap<String, Subscription<'static>>,
    /// Messages to the client, in order, each with its subscription identifiers.
    pub(super) messages: Vec<(ClientMessage, Vec<u32>)>,
}

impl ClientMessage {
    /// PUBREC has come.
    fn is_released(&self) -> bool {
        let waits = matches!(self.state, state::RESEND_PUBREL | state::WAIT_FOR_PUBCOMP);
        self.qos == 2 && waits
    }

    /// The message was sent and not acknowledged. One that only has its place in the window was
    /// not: Mosquitto gives those places to clients that are away, too.
    fn was_sent(&self) -> bool {
        let waits = matches!(self.state, state::WAIT_FOR_PUBACK | state::WAIT_FOR_PUBREC);
        let is_sent = self.dup || waits || self.is_released();
        self.packet_id != 0 && self.state != state::QUEUED && is_sent
    }
}

impl Database<'_> {
    /// Adds the session of a client, if it has one.
    pub(super) fn add_session(
        &mut self,
        client_id: String,
        pending: Pending,
        sessions: &mut Vec<(Whole<'static>, Sent)>,
    ) {
        let Some(client) = pending.client else {
            let stray = pending.messages.len() + pending.subscriptions.len();
            self.counts.left_out.stray += stray as u64;
            return;
        };
        let Some((expiry_s, ends_ms)) = self.expiry(&client) else {
            self.counts.left_out.sessions += 1;
            return;
        };
        let attributes = Attributes {
            session: self.session_number(),
            client_id: client_id.into(),
            owner: Owner {
                user: client.user.map(Into::into),
                client_id: None,
                is_superuser: false,
                listener: ListenerId(0),
            },
            expiry_s,
            is_connected: false,
            ends_ms,
            will: None,
            will_due_ms: None,
        };
        let mut whole = Whole {
            attributes,
            subscriptions: pending.subscriptions.into_values().collect(),
            deliveries: Vec::new(),
            received: Vec::new(),
        };
        let sent = self.deliveries(pending.messages, &mut whole.deliveries);
        sessions.push((whole, sent));
    }

    /// The session's expiry interval in seconds, and its end in milliseconds; None when it is over.
    fn expiry(&self, client: &Client) -> Option<(u32, Option<u64>)> {
        let now_s = self.now_s();
        let (named, anonymous) = self.terms.expiry_max_s;
        let expiry_max_s = if client.user.is_some() { named } else { anonymous };
        let given_s = client.expiry_s.min(expiry_max_s);
        if given_s == 0 || (client.ends_s > 0 && client.ends_s <= now_s) {
            return None;
        }
        let left_s = match client.ends_s {
            ..=0 => i64::from(given_s),
            ends_s => ends_s - now_s,
        };
        // A session that was to live for ever may have an end all the same.
        let expiry_s = match u32::try_from(left_s) {
            Ok(left_s) if given_s == u32::MAX => left_s,
            _ => given_s,
        };
        if expiry_s == u32::MAX {
            return Some((expiry_s, None));
        }
        let left_s = left_s.min(expiry_s.into()).unsigned_abs();
        Some((expiry_s, Some(self.terms.now.wall_ms + left_s * 1000)))
    }

    /// Adds the messages to a client; returns those that were sent.
    fn deliveries(
        &mut self,
        messages: Vec<(ClientMessage, Vec<u32>)>,
        deliveries: &mut Vec<(MessageId, StoredDelivery<'static>)>,
    ) -> Sent {
        let mut sent = Vec::new();
        let mut packet_ids = HashSet::default();
        let mut ids = HashSet::default();
        for (found, subscription_ids) in messages {
            let is_sent = found.was_sent() && packet_ids.insert(found.packet_id);
            let is_released = is_sent && found.is_released();
            let known = self.messages.get(&found.message);
            let known = known.map(|known| (known.id, known.is_expired));
            let left_out = &mut self.counts.left_out;
            let id = match known {
                // Only the packet identifier counts.
                Some((id, _)) if is_released => id,
                None if is_released => MessageId(self.next_number()),
                None => {
                    left_out.stray += 1;
                    continue;
                }
                Some((_, true)) => {
                    left_out.expired += 1;
                    continue;
                }
                Some(_) if found.qos == 0 => {
                    left_out.qos_0 += 1;
                    continue;
                }
                Some((id, false)) => id,
            };
            let number = match ids.insert(id) {
                true => DeliveryNumber::NONE,
                false => DeliveryNumber(self.next_number()),
            };
            let delivery = StoredDelivery {
                number,
                qos: found.qos,
                retain: found.retain,
                packet_id: if is_sent && found.qos == 2 { found.packet_id } else { 0 },
                is_released,
                subscription_ids,
                ..StoredDelivery::default()
            };
            if is_sent {
                sent.push((delivery.number_of(id), found.packet_id));
            }
            deliveries.push((id, delivery));
        }
        sent
    }
}
