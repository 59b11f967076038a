//! Shared subscriptions: one member of the group gets the message, on any worker.

use super::clients::Clients;
use super::delivery::{Delivery, Particulars};
use super::ledger::{Noted, Recording, expect_part};
use super::merged::SubscriptionIds;
use super::mesh_message::MeshMessage;
use super::publication::Publication;
use super::purse::KEPT_STEPS;
use super::record_ref::RecordRef;
use super::shard::Shard;
use crate::base::ids::{DeliveryNumber, RecordName, Serial, SessionNumber, WorkerId};
use crate::limits::{SHARE_PROBES_MAX, SHARE_RELAYS_MAX};
use crate::metrics::Dropped;
use crate::mqtt::{QoS, TopicFilter};
use crate::store::Message;
use crate::topics::{GroupId, Interest, Members, Subscriber};
use smallvec::SmallVec;
use std::sync::Arc;

/// The receiver of a message to a group.
#[derive(Debug)]
pub(super) enum Pick {
    Here(Subscriber),
    There(WorkerId),
    Nobody,
}

impl Shard {
    /// Picks a member for a message: in turn among the connected members of all workers; for QoS 1
    /// and 2 among all members when none is connected. A member that may not read the topic is not
    /// picked.
    // [MQTT-4.8.2-4]
    pub(super) fn pick(&mut self, group: GroupId, topic: &str, qos: QoS) -> Pick {
        let group = self.subscriptions.group_mut(group);
        let turn = group.turn;
        group.turn = turn.wrapping_add(1);
        let members = &group.members;
        let online =
            members.online() + group.elsewhere.iter().map(|worker| worker.online).sum::<u32>();
        let anyone = qos > QoS::AtMostOnce && online == 0;
        let here = if anyone { members.as_slice().len() as u32 } else { members.online() };
        let there = group
            .elsewhere
            .iter()
            .map(|worker| (worker.worker, if anyone { worker.members } else { worker.online }));
        let total = here + there.clone().map(|(_, count)| count).sum::<u32>();
        if total == 0 {
            return Pick::Nobody;
        }
        let mut place = turn % total;
        if place < here {
            let member = self.clients.pick_member(members, place, topic);
            // Another worker may have somebody who may read it, for QoS 1 and 2 also offline.
            let can_take = |worker: &&Interest| worker.online > 0 || qos > QoS::AtMostOnce;
            let best =
                group.elsewhere.iter().filter(can_take).max_by_key(|w| (w.online, w.members));
            return member
                .map(Pick::Here)
                .or_else(|| best.map(|interest| Pick::There(interest.worker)))
                .unwrap_or(Pick::Nobody);
        }
        place -= here;
        for (worker, count) in there {
            if place < count {
                return Pick::There(worker);
            }
            place -= count;
        }
        Pick::Nobody
    }

    /// Picks a member here: a connected one or, for QoS 1 and 2, any.
    fn pick_here(&mut self, group: GroupId, topic: &str, qos: QoS) -> Option<Subscriber> {
        let group = self.subscriptions.group_mut(group);
        let turn = group.turn;
        group.turn = turn.wrapping_add(1);
        let can_take = group.members.online() > 0 || qos > QoS::AtMostOnce;
        self.clients.pick_member(&group.members, turn, topic).filter(|_| can_take)
    }

    /// Delivers to the member of the group that was picked.
    pub(super) fn deliver_share(
        &mut self,
        group: GroupId,
        subscriber: &Subscriber,
        publication: &mut Publication<'_>,
        recording: &mut Option<Recording>,
    ) {
        self.clients.counters.messages_owed += 1;
        let share = self.subscriptions.group(group).filter.clone();
        // The member may get the message as an ordinary subscriber, or by another group, as well.
        let is_durable = self.clients.ledger.is_some();
        let number = if is_durable { self.clients.next_number() } else { 0 };
        let more = Particulars::new(DeliveryNumber(number), SubscriptionIds::new(), Some(share));
        self.clients.deliver_slowly(subscriber, publication, more, recording);
    }

    /// Takes a message to the group `share` (a whole filter), for which another worker picked this
    /// one. `relayed` workers before this one had no member any more.
    pub(super) fn take_share(
        &mut self,
        share: &str,
        message: &Arc<Message>,
        relayed: u8,
        recording: &mut Option<Recording>,
    ) {
        let Some(group) = self.find_group(share) else {
            self.clients.counters.drop_undecided(Dropped::NoMember);
            return;
        };
        if let Some(subscriber) = self.pick_here(group, message.topic(), message.qos) {
            return self.give(group, &subscriber, message, recording);
        }
        let elsewhere = self.subscriptions.group(group).elsewhere.iter();
        let best = elsewhere.max_by_key(|worker| (worker.online, worker.members));
        match best.map(|worker| worker.worker).filter(|_| relayed < SHARE_RELAYS_MAX) {
            Some(to) => self.send_share(to, share, message, relayed + 1, recording),
            None => self.clients.counters.drop_undecided(Dropped::NoMember),
        }
    }

    /// Delivers a kept message to a member here.
    fn give(
        &mut self,
        group: GroupId,
        subscriber: &Subscriber,
        message: &Arc<Message>,
        recording: &mut Option<Recording>,
    ) {
        let serial = self.clients.next_serial();
        let mut publication = Publication::kept(message, self.clients.now, serial);
        self.deliver_share(group, subscriber, &mut publication, recording);
        publication.count_uses(&mut self.clients.counters);
    }

    /// Sends a message to another worker, for one member there. `relayed` is as in
    /// [`Self::take_share`].
    fn send_share(
        &mut self,
        to: WorkerId,
        share: &str,
        message: &Arc<Message>,
        relayed: u8,
        recording: &mut Option<Recording>,
    ) {
        let shares = SmallVec::from_elem(share.into(), 1);
        let message = message.clone();
        let record = expect_part(recording, message.qos);
        let received = self.clients.now;
        let publish =
            MeshMessage::Publish { message, plain: false, shares, relayed, record, received };
        self.mesh(to, publish);
    }

    /// Gives other members the messages that a member, the session with the number `from`, has lost
    /// or will not take soon.
    pub(super) fn redistribute(&mut self, from: SessionNumber, deliveries: Vec<Delivery>) {
        let purse = self.clients.outbox.purse();
        purse.spend_at_once(KEPT_STEPS * deliveries.len());
        purse.deliver(deliveries.len());
        for delivery in deliveries {
            let Some(share) = delivery.share() else { continue };
            let Delivery { message, record, .. } = &delivery;
            if message.is_expired(self.clients.now) {
                self.clients.counters.drop_undecided(Dropped::Expired);
                continue;
            }
            let name = RecordName(self.clients.next_number());
            let mut recording = self.clients.begin_record(name);
            self.redistribute_one(share, message, &mut recording);
            let taken = (!record.is_none()).then(|| delivery.name(from));
            // What is not on disk yet comes whole with another worker's record, or not at all; and
            // it is to be taken from what that says, too.
            let is_on_disk = self.clients.is_before_next(*record);
            let bytes_with = if is_on_disk { RecordRef::NONE } else { *record };
            if !is_on_disk {
                self.clients.note_taken(from, &delivery);
            }
            let noted = Noted { taken, bytes_with, ..Noted::default() };
            let mut publication = Publication::kept(message, self.clients.now, Serial::NONE);
            self.clients.end_record(recording, noted, &mut publication);
        }
    }

    fn redistribute_one(
        &mut self,
        share: &str,
        message: &Arc<Message>,
        recording: &mut Option<Recording>,
    ) {
        let group = self.find_group(share);
        let pick = group.map(|group| (group, self.pick(group, message.topic(), message.qos)));
        match pick {
            Some((group, Pick::Here(subscriber))) => {
                self.give(group, &subscriber, message, recording)
            }
            Some((_, Pick::There(to))) => self.send_share(to, share, message, 0, recording),
            Some((_, Pick::Nobody)) | None => {
                self.clients.counters.drop_undecided(Dropped::NoMember)
            }
        }
    }

    fn find_group(&self, share: &str) -> Option<GroupId> {
        self.subscriptions.find_share(TopicFilter::parsed(share))
    }
}

impl Clients {
    /// The next member that can take a message at once; else the next connected one; else any. None
    /// when no member may read the topic.
    fn pick_member(&self, members: &Members, turn: u32, topic: &str) -> Option<Subscriber> {
        let may_read = |member: &Subscriber| self.sessions[member.session].may_read(topic);
        let is_ready = |member: &Subscriber| {
            let route = self.routes[member.session as usize];
            let link = self.links.get(route.link.slot as usize);
            let blocked = link.and_then(Option::as_deref).is_none_or(|link| link.blocked.any());
            route.is_online() && !blocked && self.sessions[member.session].has_window()
        };
        members.pick(turn, SHARE_PROBES_MAX, may_read, is_ready).copied()
    }
}
