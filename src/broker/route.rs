//! The ways of a publish: to subscribers here, to other workers, into the retained store.

use super::ledger::{Recording, expect_part};
use super::mesh_message::{MeshMessage, Ticket};
use super::publication::Publication;
use super::purse::{NODE_STEPS, PLAIN_DELIVERIES, SHARE_STEPS};
use super::shard::Shard;
use super::share::Pick;
use crate::base::ids::{RecordName, WorkerId};
use crate::metrics::Dropped;
use crate::mqtt::QoS;
use crate::store::Message;
use crate::topics::Matches;
use smallvec::SmallVec;
use std::sync::Arc;

/// Topics to which no client publishes: news of the broker itself, and orders to other brokers,
/// with passwords among them, which must not reach subscribers. Bridges tell at
/// `$SYS/broker/connection/NAME/state` whether they are connected.
pub(super) fn is_reserved(topic: &str) -> bool {
    match topic.split('/').next() {
        Some("$SYS") => !is_of_bridge(topic),
        first => first == Some("$CONTROL"),
    }
}

fn is_of_bridge(topic: &str) -> bool {
    let name =
        topic.strip_prefix("$SYS/broker/connection/").and_then(|it| it.strip_suffix("/state"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// The home of a retained publish.
#[derive(Debug, Clone, Copy)]
pub(super) enum Retention {
    /// The topic lives here, and the publish is retained under this version.
    Here(u64),
    /// The topic lives on another worker, whose part of the record will have the version.
    There {
        /// The worker.
        to: WorkerId,
        /// The record, as in [`MeshMessage::Retain`].
        record: RecordName,
    },
}

/// The deliveries that one other worker is to make.
#[derive(Debug)]
struct Errand {
    to: WorkerId,
    plain: bool,
    shares: SmallVec<[Arc<str>; 1]>,
}

impl Shard {
    /// Sends a publish to all subscribers, here and elsewhere; true when there was any.
    pub(super) fn route(
        &mut self,
        publication: &mut Publication<'_>,
        recording: &mut Option<Recording>,
    ) -> bool {
        let mut matches = std::mem::take(&mut self.matches);
        self.subscriptions.matching(publication.topic(), &mut matches);
        let mut errands: SmallVec<[Errand; 2]> = matches
            .workers
            .iter()
            .map(|to| Errand { to, plain: true, shares: SmallVec::new() })
            .collect();
        self.pay_for_fan_out(&matches, publication);
        let sent = self.clients.counters.publishes_sent;
        self.clients.deliver(&self.subscriptions, &matches, publication, recording);
        for &group in &matches.groups {
            match self.pick(group, publication.topic(), publication.traits().qos) {
                Pick::Here(subscriber) => {
                    self.deliver_share(group, &subscriber, publication, recording);
                }
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
                Pick::Nobody => self.clients.counters.drop_undecided(Dropped::NoMember),
            }
        }
        for Errand { to, plain, shares } in errands {
            let message = publication.message().clone();
            let record = expect_part(recording, message.qos);
            let received = self.clients.now;
            let publish =
                MeshMessage::Publish { message, plain, shares, relayed: 0, record, received };
            self.mesh(to, publish);
        }
        self.clients.note_handed(self.clients.now, sent, publication);
        let is_wanted =
            !matches.nodes.is_empty() || !matches.groups.is_empty() || !matches.workers.is_empty();
        self.matches = matches;
        is_wanted
    }

    /// Delivers a publish from another worker to the subscribers here.
    pub(super) fn route_here(
        &mut self,
        publication: &mut Publication<'_>,
        recording: &mut Option<Recording>,
    ) {
        let mut matches = std::mem::take(&mut self.matches);
        self.subscriptions.matching(publication.topic(), &mut matches);
        self.pay_for_fan_out(&matches, publication);
        self.clients.deliver(&self.subscriptions, &matches, publication, recording);
        self.matches = matches;
    }

    fn pay_for_fan_out(&mut self, matches: &Matches, publication: &Publication<'_>) {
        let lists = matches.nodes.iter().map(|&node| self.subscriptions.subscribers(node).len());
        let count = lists.sum::<usize>();
        let deliveries = match publication.traits().qos {
            QoS::AtMostOnce => count / PLAIN_DELIVERIES,
            QoS::AtLeastOnce | QoS::ExactlyOnce => count,
        };
        let ways = NODE_STEPS * matches.visits + SHARE_STEPS * matches.groups.len();
        let purse = self.clients.outbox.purse();
        purse.spend_at_once(ways + deliveries);
        purse.deliver(count + matches.groups.len());
    }

    /// Retains a publish and notes that in its record: at once where its topic lives here.
    /// Otherwise the caller has to tell the topic's home, by [`Self::retain_there`].
    pub(super) fn retain(
        &mut self,
        publication: &mut Publication<'_>,
        recording: &mut Option<Recording>,
    ) -> Retention {
        let to = self.topic_home(publication.topic());
        if to == self.index {
            return Retention::Here(self.store_retained(publication.message().clone()));
        }
        Retention::There {
            to,
            record: recording.as_mut().map_or(RecordName::NONE, Recording::expect_part),
        }
    }

    /// Tells a topic's home to retain a publish. `ticket` waits until the home has done so, or has
    /// refused, as it may then.
    pub(super) fn retain_there(
        &mut self,
        (to, record): (WorkerId, RecordName),
        publication: &mut Publication<'_>,
        ticket: Option<Ticket>,
        may_refuse: bool,
    ) {
        let message = publication.message().clone();
        self.mesh(to, MeshMessage::Retain { message, ticket, record, may_refuse });
    }

    /// Retains a message, or clears its topic, as the newest of its topic, and returns its version.
    pub(super) fn store_retained(&mut self, message: Arc<Message>) -> u64 {
        self.version += 1;
        message.set_version(self.version);
        self.keep_retained(message.clone());
        if message.payload().is_empty() {
            let mark = self.clients.ledger.as_ref().and_then(|ledger| ledger.mark_retained());
            match mark {
                // An older one may still come to the journal, behind a rewrite.
                Some(mark) => self.cleared.push_back((mark, message)),
                None => self.retained.forget_cleared(&message),
            }
        }
        self.version
    }

    /// Retains a message in place of the one on its topic, and counts both for their users.
    pub(super) fn keep_retained(&mut self, message: Arc<Message>) {
        let stood = self.retained.store(message.clone());
        message.set_retained(true);
        stood.iter().for_each(|stood| stood.set_retained(false));
        if is_reserved(message.topic()) {
            // The broker's own are nobody's.
            return;
        }
        let stands = Some(message).filter(|message| !message.payload().is_empty());
        let users = [&stood, &stands].map(|message| message.as_ref().map(|m| m.user()));
        if users[0] != users[1] {
            let quotas = users.map(|user| user.map(|user| self.quotas.of(user)));
            quotas[0].iter().for_each(|quota| quota.take_retained());
            quotas[1].iter().for_each(|quota| quota.add_retained());
        }
    }

    /// Forgets messages that cleared topics, once no older message of theirs can come to the
    /// journal.
    pub(super) fn forget_cleared(&mut self) {
        let Some(ledger) = &self.clients.ledger else { return };
        while self.cleared.front().is_some_and(|(mark, _)| ledger.has_committed(*mark)) {
            let Some((_, message)) = self.cleared.pop_front() else { break };
            self.retained.forget_cleared(&message);
        }
    }
}
