//! Where a publish goes: to subscribers here, to other workers, into the retained store.

use super::mesh_message::{MeshMessage, Ticket};
use super::publication::Publication;
use super::shard::Shard;
use super::share::Pick;
use smallvec::SmallVec;
use std::sync::Arc;

/// What one other worker is to deliver.
#[derive(Debug)]
struct Errand {
    to: usize,
    plain: bool,
    shares: SmallVec<[Arc<str>; 1]>,
}

impl Shard {
    /// Sends a publish to everyone who wants it; true when there was anyone.
    pub(super) fn route(&mut self, publication: &mut Publication<'_>) -> bool {
        let mut matches = std::mem::take(&mut self.matches);
        self.subscriptions.matching(publication.topic(), &mut matches);
        let mut errands: SmallVec<[Errand; 2]> = matches
            .workers
            .iter()
            .map(|to| Errand { to, plain: true, shares: SmallVec::new() })
            .collect();
        self.clients.deliver(&self.subscriptions, &matches, publication);
        for &group in &matches.groups {
            match self.pick(group, publication.topic(), publication.traits().qos) {
                Pick::Here(subscriber) => self.deliver_share(group, &subscriber, publication),
                Pick::There(to) => {
                    let share = self.subscriptions.group(group).filter.clone();
                    match errands.iter_mut().find(|errand| errand.to == to) {
                        Some(errand) => errand.shares.push(share),
                        None => {
                            let shares = SmallVec::from_elem(share, 1);
                            errands.push(Errand { to, plain: false, shares });
                        }
                    }
                }
                Pick::Nobody => self.clients.counters.dropped_no_member += 1,
            }
        }
        for Errand { to, plain, shares } in errands {
            let message = publication.message().clone();
            let record = self.clients.expect_part(message.qos);
            self.mesh(to, MeshMessage::Publish { message, plain, shares, passed: false, record });
        }
        let is_wanted =
            !matches.nodes.is_empty() || !matches.groups.is_empty() || !matches.workers.is_empty();
        self.matches = matches;
        is_wanted
    }

    /// Delivers a publish from another worker to the subscribers here.
    pub(super) fn route_here(&mut self, publication: &mut Publication<'_>) {
        let mut matches = std::mem::take(&mut self.matches);
        self.subscriptions.matching(publication.topic(), &mut matches);
        self.clients.deliver(&self.subscriptions, &matches, publication);
        self.matches = matches;
    }

    /// Retains a publish that asks for it. `ticket` waits until it is done; false when it need
    /// not, since it is done already.
    pub(super) fn retain(
        &mut self,
        publication: &mut Publication<'_>,
        ticket: Option<Ticket>,
    ) -> bool {
        let home = self.topic_home(publication.topic());
        let message = publication.message().clone();
        if home == self.index {
            self.retained.store(message, self.clients.now);
            return false;
        }
        self.mesh(home, MeshMessage::Retain { message, ticket });
        true
    }
}
