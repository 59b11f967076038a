//! The acts of an operator: clients are sent away, sessions end, queues are emptied, messages are
//! published.

use super::acts::{Act, Deed};
use super::ledger::Noted;
use super::listing::LOOKS_MAX;
use super::purse::{HOLDER_STEPS, PUBLISH_STEPS};
use super::shard::Shard;
use super::told::{Departure, Farewell};
use crate::base::ids::SessionNumber;
use crate::metrics::Dropped;
use crate::mqtt::{Publish, ReasonCode};

/// The clients that one act sends away, at most.
const CLIENTS_MAX: usize = 64;

/// The queued messages that one act drops, at most.
const DROPS_MAX: usize = 256;

impl Shard {
    /// Carries out an act.
    pub(super) fn operate(&mut self, act: &Act) -> Deed {
        match act {
            Act::Disconnect { client_id, farewell } => self.send_client_away(client_id, farewell),
            Act::EndSession { client_id } => self.delete_session(client_id),
            Act::CutQueue { client_id } => self.cut_queue(client_id),
            Act::SendAway { from, count, farewell } => self.send_away(*from, *count, farewell),
            Act::Publish { topic, payload, qos, retain, expiry_s } => {
                let publish = Publish {
                    qos: *qos,
                    retain: *retain,
                    topic,
                    message_expiry_s: *expiry_s,
                    payload,
                    ..Publish::default()
                };
                self.publish_for_operator(&publish)
            }
        }
    }

    fn send_client_away(&mut self, client_id: &str, farewell: &Farewell) -> Deed {
        let session = self.clients.find_session(client_id);
        let link = session.and_then(|id| self.clients.sessions[id.slot].link);
        let Some(link) = link else { return Deed::default() };
        self.disconnect(link, Departure::SentAway(farewell.clone()));
        Deed { count: 1, next: None }
    }

    fn delete_session(&mut self, client_id: &str) -> Deed {
        let farewell = Farewell { code: ReasonCode::AdministrativeAction, server_reference: None };
        let Some(id) = self.clients.find_session(client_id) else { return Deed::default() };
        self.send_client_away(client_id, &farewell);
        // A session without expiry has ended with its connection.
        if self.clients.has_session(id) {
            self.end_session(id);
        }
        Deed { count: 1, next: None }
    }

    fn cut_queue(&mut self, client_id: &str) -> Deed {
        let Some(id) = self.clients.find_session(client_id) else { return Deed::default() };
        let mut count = 0;
        while count < DROPS_MAX && self.clients.drop_queued(id, Dropped::Administrative) {
            self.clients.outbox.purse().spend_at_once(HOLDER_STEPS);
            count += 1;
        }
        let has_more = !self.clients.sessions[id.slot].is_queue_empty();
        Deed { count, next: has_more.then_some(0) }
    }

    fn send_away(&mut self, from: u32, count_max: usize, farewell: &Farewell) -> Deed {
        let (mut slot, mut count) = (from as usize, 0);
        let until = (slot + LOOKS_MAX).min(self.clients.links.len());
        while slot < until && count < count_max.min(CLIENTS_MAX) {
            let link = self.clients.links[slot].as_deref();
            if let Some((link, session)) = link.and_then(|link| Some((link.id, link.session()?))) {
                // The broker goes, not the client: its will is not due.
                self.clients.sessions[session.slot].will = None;
                self.clients.outbox.purse().spend_at_once(HOLDER_STEPS);
                self.disconnect(link, Departure::SentAway(farewell.clone()));
                count += 1;
            }
            slot += 1;
        }
        self.clients.outbox.purse().spend_at_once(slot - from as usize);
        let next = (slot < self.clients.links.len()).then_some(slot as u32);
        Deed { count, next }
    }

    fn publish_for_operator(&mut self, publish: &Publish<'_>) -> Deed {
        self.clients.outbox.purse().spend_at_once(PUBLISH_STEPS);
        let mut publication = self.publication(publish, SessionNumber::NONE, None);
        let routed = self.distribute(Noted::default(), &mut publication);
        if let Some(home) = routed.home {
            self.retain_there(home, &mut publication, None, false);
        }
        Deed { count: usize::from(routed.is_wanted), next: None }
    }
}
