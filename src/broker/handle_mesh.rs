//! What other workers say.

use super::ledger::Noted;
use super::link::State;
use super::mesh_message::{MeshMessage, Ticket};
use super::publication::Publication;
use super::shard::Shard;
use crate::mqtt::TopicFilter;
use crate::topics::Interest;

impl Shard {
    pub(super) fn handle_mesh(&mut self, from: usize, message: MeshMessage) {
        match message {
            MeshMessage::Publish { message, plain, shares, passed, record } => {
                let serial = self.clients.next_serial();
                let mut publication = Publication::kept(&message, self.clients.now, serial);
                self.clients.begin_part(record);
                if plain {
                    self.route_here(&mut publication);
                }
                for share in shares {
                    self.take_share(&share, &message, passed);
                }
                self.clients.end_record(Noted::default(), &mut publication);
            }
            MeshMessage::Interest { filter, members, online, ticket } => {
                let parsed = TopicFilter::parse(&filter, usize::MAX);
                let interest = Interest { worker: from, members, online };
                let parsed = parsed.expect("the sender's client sent a valid filter");
                self.subscriptions.learn(&filter, parsed, interest);
                self.answer_interest(from, ticket);
            }
            MeshMessage::Retain { message, ticket, record } => {
                self.clients.begin_part(record);
                let retained = Some(self.store_retained(message.clone()));
                let noted = Noted { retained, is_retained: true, ..Noted::default() };
                let mut publication = Publication::kept(&message, self.clients.now, 0);
                self.clients.end_record(noted, &mut publication);
                if let Some(ticket) = ticket {
                    self.mesh(from, MeshMessage::Done { ticket });
                }
            }
            MeshMessage::Done { ticket } => self.ticket_done(ticket),
            MeshMessage::RetainedQuery(query) => self.queries.push((from, query)),
            MeshMessage::RetainedPage(page) => {
                let session = page.session;
                self.take_page(from, *page);
                self.pump_replays(session);
            }
        }
    }

    /// The interest is applied. The answer means more: what this worker has published before is on
    /// its way in the rings, so that whoever gets the answer finds it there.
    fn answer_interest(&mut self, from: usize, ticket: Option<Ticket>) {
        let Some(ticket) = ticket else { return };
        if self.is_mesh_full() {
            self.done_later.push((from, ticket));
        } else {
            self.mesh(from, MeshMessage::Done { ticket });
        }
    }

    pub(super) fn ticket_done(&mut self, ticket: Ticket) {
        self.interests_awaited -= usize::from(ticket.is_interest);
        let Some(link) = self.clients.link(ticket.link) else { return };
        if !link.release(ticket.serial) || link.state == State::Closing {
            return;
        }
        let session = link.session();
        self.clients.send_released(ticket.link);
        let Some(session) = session else { return };
        for replay in self.clients.sessions[session.slot].replays() {
            if replay.waits_for == Some(ticket.serial) {
                replay.waits_for = None;
            }
        }
        self.pump_replays(session);
    }
}
