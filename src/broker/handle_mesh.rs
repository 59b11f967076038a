//! Messages from other workers.

use super::deferred::{Deferred, ResponseId};
use super::ledger::Noted;
use super::link::State;
use super::mesh_message::{MeshMessage, News, Ticket};
use super::publication::Publication;
use super::purse::{SHARE_STEPS, filter_steps};
use super::shard::Shard;
use crate::base::ids::{LinkId, Serial, WorkerId};
use crate::metrics::Dropped;
use crate::mqtt::{ProtocolError, TopicFilter};
use crate::topics::Interest;

impl Shard {
    pub(super) fn handle_mesh(&mut self, from: WorkerId, message: MeshMessage) {
        match message {
            MeshMessage::Publish { message, plain, shares, relayed, record, received } => {
                let serial = self.clients.next_serial();
                let mut publication = Publication::kept(&message, self.clients.now, serial);
                let mut recording = self.clients.begin_part(record);
                // It may have waited in the ring for as long as this worker was busy.
                // [MQTT-3.3.2-5]
                if message.is_expired(self.clients.now) {
                    self.clients.counters.drop_undecided(Dropped::Expired);
                } else {
                    let sent = self.clients.counters.publishes_sent;
                    if plain {
                        self.route_here(&mut publication, &mut recording);
                    }
                    let purse = self.clients.outbox.purse();
                    purse.spend_at_once(SHARE_STEPS * shares.len());
                    purse.deliver(shares.len());
                    for share in shares {
                        self.take_share(&share, &message, relayed, &mut recording);
                    }
                    self.clients.note_handed(received, sent, &mut publication);
                }
                self.clients.end_record(recording, Noted::default(), &mut publication);
            }
            MeshMessage::Interest { news, ticket } => {
                for News { filter, members, online } in &*news {
                    self.clients.outbox.purse().spend_at_once(filter_steps(filter));
                    let interest = Interest { worker: from, members: *members, online: *online };
                    self.subscriptions.learn(TopicFilter::parsed(filter), interest);
                }
                self.pay_for_moves();
                self.answer_interest(from, ticket);
            }
            MeshMessage::Retain { message, ticket, record, may_refuse } => {
                let recording = self.clients.begin_part(record);
                let (topic, payload) = (message.topic(), message.payload());
                let refusal =
                    may_refuse.then(|| self.refuses_to_retain(topic, payload, message.user()));
                let refusal = refusal.flatten();
                let retained = match refusal {
                    None => Some(self.store_retained(message.clone())),
                    Some(error) => {
                        self.note_not_retained(error, message.user().map(Into::into));
                        None
                    }
                };
                let is_retained = retained.is_some();
                let noted = Noted { retained, is_retained, ..Noted::default() };
                let mut publication = Publication::kept(&message, self.clients.now, Serial::NONE);
                self.clients.end_record(recording, noted, &mut publication);
                if let Some(ticket) = ticket {
                    self.mesh(from, MeshMessage::Done { ticket, refusal });
                }
            }
            MeshMessage::Done { ticket, refusal } => self.ticket_done(ticket, refusal),
            MeshMessage::RetainedQuery(query) => self.neighbours.ask(from, query),
            MeshMessage::RetainedPage(page) => {
                let session = page.session;
                self.take_page(from, *page);
                self.pump_replays(session);
            }
        }
    }

    /// The interest is applied. The answer means more: every earlier publish of this worker is on
    /// its way in the rings, so that the worker that gets the answer finds it there.
    fn answer_interest(&mut self, from: WorkerId, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket.and_then(|ticket| self.neighbours.keep_answer(from, ticket)) {
            self.mesh(from, MeshMessage::Done { ticket, refusal: None });
        }
    }

    fn ticket_done(&mut self, ticket: Ticket, refusal: Option<ProtocolError>) {
        if ticket.is_interest {
            self.neighbours.note_answer();
        }
        if let Some(error) = refusal {
            self.refuse_response(ticket.link, ticket.response, error);
        }
        self.response_ready(ticket.link, ticket.response);
    }

    /// Counts one thing done that a deferred response waited for; sends the response when that was
    /// the last.
    pub(super) fn response_ready(&mut self, id: LinkId, response: ResponseId) {
        if self.clients.link(id).is_some_and(|link| link.deferred_mut().count_done(response)) {
            self.send_ready(id);
        }
    }

    /// Sends the deferred responses that wait for nothing any more, and then the output behind
    /// them.
    fn send_ready(&mut self, id: LinkId) {
        let mut is_welcome = false;
        while let Some(response) = self.next_ready(id) {
            if response.is_connack {
                is_welcome = true;
                self.set_blocked(id, |blocks| blocks.connack = false);
                let now = self.clients.now;
                if let Some(link) = self.clients.link(id) {
                    // The client had nothing to say until now.
                    link.heard = now;
                }
            }
            self.clients.send_bytes(id, &response.bytes);
        }
        let Some(link) = self.clients.link(id) else { return };
        if link.state == State::Closing && !link.defers() {
            return self.finish(id);
        }
        let has_room = !link.defers_much(2);
        let Some(session) = link.session() else { return };
        match is_welcome {
            true => self.pump(session),
            false => self.pump_replays(session),
        }
        if has_room && self.clients.resume(id, |pauses| pauses.deferred = false) {
            self.go_on(id);
        }
    }

    fn next_ready(&mut self, id: LinkId) -> Option<Deferred> {
        self.clients.link(id)?.deferred_mut().next_ready()
    }
}
