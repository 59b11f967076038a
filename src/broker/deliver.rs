//! The hot loop: one publish to every local subscriber that matched.

use super::clients::{Clients, Route};
use super::delivery::{Delivery, Particulars};
use super::delivery_queue::{Enqueued, QueueLimits};
use super::in_flight::Wait;
use super::ledger::{Fate, Recording, stored, way};
use super::merged::Merged;
use super::outbox::{Outbox, Run};
use super::publication::{Head, Publication};
use super::record_ref::RecordRef;
use crate::base::ids::{DeliveryNumber, LinkId, SessionId, SessionNumber};
use crate::base::maps::HashMap;
use crate::base::time::Time;
use crate::metrics::{Dropped, Withdrawn};
use crate::mqtt::QoS;
use crate::store::record::StoredDelivery;
use crate::topics::{Extras, Matches, Subscriber, Subscriptions};

impl Clients {
    /// Delivers to the subscribers of every filter that matched, once to each session.
    pub(super) fn deliver(
        &mut self,
        subscriptions: &Subscriptions,
        matches: &Matches,
        publication: &mut Publication<'_>,
        recording: &mut Option<Recording>,
    ) {
        if let [node] = *matches.nodes {
            self.deliver_to(subscriptions.subscribers(node), publication, recording);
        } else if !matches.nodes.is_empty() {
            self.deliver_overlapping(subscriptions, matches, publication, recording);
        }
    }

    /// Counts the copies of a publication, and notes that those put out since `sent` was counted
    /// are copies of a PUBLISH that was received at `received`.
    pub(super) fn note_handed(
        &mut self,
        received: Time,
        sent: [u64; 3],
        publication: &mut Publication<'_>,
    ) {
        publication.count_uses(&mut self.counters);
        let now = self.counters.publishes_sent;
        self.handed.note(received, std::array::from_fn(|qos| now[qos] - sent[qos]));
    }

    /// Delivers to the subscribers of one filter. Inlined, the loop has too few registers.
    #[inline(never)]
    fn deliver_to(
        &mut self,
        subscribers: &[Subscriber],
        publication: &mut Publication<'_>,
        recording: &mut Option<Recording>,
    ) {
        self.counters.messages_owed += subscribers.len() as u64;
        for subscriber in subscribers {
            self.deliver_one(subscriber, publication, recording);
        }
    }

    /// Delivers one copy to a client whose subscriptions overlap.
    fn deliver_overlapping(
        &mut self,
        subscriptions: &Subscriptions,
        matches: &Matches,
        publication: &mut Publication<'_>,
        recording: &mut Option<Recording>,
    ) {
        let publisher = publication.traits().publisher;
        let ids_max = self.options.max_subscription_ids as usize;
        let mut places: HashMap<u32, usize> = HashMap::default();
        let mut merged: Vec<Merged> = Vec::new();
        let all = matches.nodes.iter().flat_map(|&node| subscriptions.subscribers(node));
        for subscriber in all {
            if self.is_own(subscriber, publisher) {
                continue;
            }
            let place = *places.entry(subscriber.session).or_insert(merged.len());
            match merged.get_mut(place) {
                Some(known) => known.add(subscriber, ids_max),
                None => merged.push(Merged::new(*subscriber)),
            }
        }
        self.counters.messages_owed += merged.len() as u64;
        for Merged { subscriber, ids } in merged {
            if ids.len() < 2 {
                let id = ids.first().copied().unwrap_or(0);
                let extras = Extras::new(id, subscriber.extras.is_checked());
                self.deliver_one(&Subscriber { extras, ..subscriber }, publication, recording);
            } else {
                let more = Particulars::new(DeliveryNumber::NONE, ids, None);
                self.deliver_slowly(&subscriber, publication, more, recording);
            }
        }
    }

    /// True when the subscriber is the publisher and has set No Local.
    // [MQTT-3.8.3-3]
    fn is_own(&self, subscriber: &Subscriber, publisher: SessionNumber) -> bool {
        subscriber.options.no_local && self.sessions[subscriber.session].number == publisher
    }

    #[inline(always)]
    fn deliver_one(
        &mut self,
        subscriber: &Subscriber,
        publication: &mut Publication<'_>,
        recording: &mut Option<Recording>,
    ) {
        let route = self.routes[subscriber.session as usize];
        let qos = publication.traits().qos.min(subscriber.options.qos);
        let is_plain = subscriber.extras.is_none() && !subscriber.options.no_local;
        let has_room = !publication.is_large() || self.outbox.has_room(route.link, true);
        if qos == QoS::AtMostOnce && route.is_plain && is_plain && has_room {
            let retain = subscriber.options.retain_as_published && publication.traits().retain;
            let run = publication.frame(&mut self.outbox, route.is_v5, qos, retain);
            if !self.send_frame(route, run, publication) {
                publication.note_unused(run);
            }
        } else if !self.is_own(subscriber, publication.traits().publisher) {
            self.deliver_slowly(subscriber, publication, None, recording);
        } else {
            // Counted with its filter's subscribers.
            self.counters.messages_owed -= 1;
        }
    }

    /// Delivers a message that needs more than the outbox: QoS 1 and 2, identifiers, aliases, and
    /// subscribers that cannot take the message now.
    pub(super) fn deliver_slowly(
        &mut self,
        subscriber: &Subscriber,
        publication: &mut Publication<'_>,
        more: Option<Box<Particulars>>,
        recording: &mut Option<Recording>,
    ) {
        let slot = subscriber.session;
        if subscriber.extras.is_checked() && !self.may_read(slot, publication.topic()) {
            self.count_drops(slot, Dropped::Denied, 1);
            return;
        }
        let route = self.routes[slot as usize];
        let traits = *publication.traits();
        let delivery = Delivery {
            message: publication.message().clone(),
            record: RecordRef::NONE,
            more,
            subscription_id: subscriber.extras.subscription_id().unwrap_or(0),
            qos: traits.qos.min(subscriber.options.qos),
            retain: traits.retain && subscriber.options.retain_as_published,
        };
        let is_retained = traits.retain && delivery.share().is_none();
        let overtakes = if is_retained { self.sessions[slot].last_replay() } else { None };
        let number = self.stored(slot);
        let fate = if delivery.qos == QoS::AtMostOnce {
            self.deliver_unacknowledged(route, delivery, publication)
        } else if number.is_none() {
            self.deliver_acknowledged(slot, route, delivery, publication)
        } else {
            self.deliver_stored((slot, number), route, delivery, publication, overtakes, recording)
        };
        if let Some(last) = overtakes.filter(|_| fate != Fate::Dropped) {
            self.note_live(slot, publication.message(), last);
        }
    }

    /// Delivers to a session that outlives the process.
    fn deliver_stored(
        &mut self,
        (slot, number): (u32, SessionNumber),
        route: Route,
        mut delivery: Delivery,
        publication: &mut Publication<'_>,
        overtakes: Option<u32>,
        recording: &mut Option<Recording>,
    ) -> Fate {
        delivery.record = recording.as_ref().map_or(RecordRef::NONE, Recording::place);
        let way = way(delivery.qos, delivery.retain);
        let is_plain = delivery.subscription_id == 0 && delivery.more.is_none();
        if is_plain && overtakes.is_none() {
            let fate = self.deliver_acknowledged(slot, route, delivery, publication);
            if let Some(recording) = recording {
                recording.add(number, way, fate);
            }
            fate
        } else {
            let overtakes = overtakes.into_iter().collect();
            let other = StoredDelivery { overtakes, ..stored(&delivery) };
            let fate = self.deliver_acknowledged(slot, route, delivery, publication);
            if let Some(recording) = recording {
                recording.add_other(number, other, fate);
            }
            fate
        }
    }

    /// Delivers at QoS 1 or 2, and returns the fate of the delivery.
    fn deliver_acknowledged(
        &mut self,
        slot: u32,
        route: Route,
        delivery: Delivery,
        publication: &mut Publication<'_>,
    ) -> Fate {
        let is_open = route.is_plain || (route.is_online() && !self.is_blocked(route.link));
        let session = &mut self.sessions[slot];
        // Another worker's record with an identifier could be on disk before an earlier message's.
        let has_room = !is_open || self.outbox.has_room(route.link, publication.is_large());
        let is_of_another = delivery.qos == QoS::ExactlyOnce && delivery.record.is_part();
        let may_overtake = is_of_another && session.parks_own();
        let may_send = is_open && session.has_window() && session.is_queue_empty();
        if !may_send || may_overtake || !has_room {
            if !has_room {
                self.pump_later(slot);
            }
            return self.enqueue(slot, delivery);
        }
        self.send_first(slot, route, delivery, publication)
    }

    fn is_blocked(&mut self, link: LinkId) -> bool {
        self.link(link).is_none_or(|link| link.blocked.any())
    }

    /// Delivers at QoS 0; the fate of a message that waits for the socket is to be sent.
    fn deliver_unacknowledged(
        &mut self,
        route: Route,
        delivery: Delivery,
        publication: &mut Publication<'_>,
    ) -> Fate {
        let (now, limits) = (self.now, self.queue_limits());
        let has_room = self.outbox.has_room(route.link, publication.is_large());
        let Some(link) = self.link(route.link).filter(|_| route.is_online()) else {
            self.counters.withdraw(Withdrawn::Away, 1);
            return Fate::Dropped;
        };
        let link_session = link.session();
        if !link.blocked.any() && !link.has_waiting() && has_room {
            let is_sent = self.send_private(route, &delivery, publication, 0, false);
            return if is_sent { Fate::Sent } else { Fate::Dropped };
        }
        let enqueued = link.backlog_mut().add_message(delivery, now, limits);
        if !self.count_enqueued(link_session, &enqueued) {
            return Fate::Dropped;
        }
        if let Some(session) = link_session.filter(|_| !has_room) {
            self.pump_later(session.slot);
            self.refresh_route(session);
        }
        Fate::Sent
    }

    fn enqueue(&mut self, slot: u32, delivery: Delivery) -> Fate {
        if self.sessions[slot].is_over {
            self.counters.withdraw(Withdrawn::SessionOver, 1);
            return Fate::Dropped;
        }
        let (now, limits) = (self.now, self.queue_limits());
        let session = &mut self.sessions[slot];
        let bytes_max = limits.bytes_max.saturating_sub(session.in_flight.bytes());
        let enqueued = session.enqueue(delivery, now, QueueLimits { bytes_max, ..limits });
        let id = self.sessions.id_at(slot).expect("it is there");
        match self.count_enqueued(Some(id), &enqueued) {
            true => Fate::Queued(id),
            false => Fate::Dropped,
        }
    }

    fn queue_limits(&self) -> QueueLimits {
        QueueLimits {
            messages_max: self.options.max_queued_messages as usize,
            bytes_max: usize::try_from(self.options.max_queued_bytes).unwrap_or(usize::MAX),
        }
    }

    /// Counts what a message has made of a queue; false when the message is dropped because the
    /// queue is full.
    fn count_enqueued(&mut self, session: Option<SessionId>, enqueued: &Enqueued) -> bool {
        if enqueued.expired > 0 {
            self.counters.drop(Dropped::Expired, enqueued.expired as u64);
            if let Some(id) = session {
                self.note_drops(id.slot, Dropped::Expired, enqueued.expired as u64);
            }
        }
        let Some(refused) = &enqueued.refused else {
            self.counters.messages_queued += 1;
            return true;
        };
        self.counters.drop(Dropped::QueueFull, 1);
        if let Some(session) = session {
            self.note_dropped(session, Dropped::QueueFull, refused.message.topic());
        }
        false
    }

    #[cold]
    pub(super) fn note_dropped(&mut self, id: SessionId, reason: Dropped, topic: &str) {
        if let Some(session) = self.sessions.get(id) {
            self.drops.note(self.now, (id, &session.client_id), reason, topic);
            self.note_drops(id.slot, reason, 1);
        }
    }

    /// Counts messages that do not reach the client of a session.
    #[cold]
    pub(super) fn count_drops(&mut self, slot: u32, reason: Dropped, count: u64) {
        self.counters.drop(reason, count);
        self.note_drops(slot, reason, count);
    }

    fn note_drops(&mut self, slot: u32, reason: Dropped, count: u64) {
        self.sessions[slot].rare().drops.get_or_insert_default()[reason.place()] += count;
    }

    /// Counts a message that is dropped because its client accepts none as large.
    #[cold]
    fn count_too_large(&mut self, link: LinkId, topic: &str) {
        self.counters.drop(Dropped::TooLarge, 1);
        if let Some(session) = self.link(link).and_then(|link| link.session()) {
            self.note_dropped(session, Dropped::TooLarge, topic);
        }
    }

    /// Sends a QoS 1 or 2 message for the first time, or lets the message wait for the disk.
    fn send_first(
        &mut self,
        slot: u32,
        route: Route,
        delivery: Delivery,
        publication: &mut Publication<'_>,
    ) -> Fate {
        let Delivery { qos, retain, record, .. } = delivery;
        let shared_id = super::publication::packet_id(publication.serial);
        let in_flight = &mut self.sessions[slot].in_flight;
        let packet_id = in_flight.packet_id(publication.serial);
        let is_exact = qos == QoS::ExactlyOnce && !record.is_none();
        if is_exact && self.ledger.as_ref().is_some_and(|ledger| ledger.waits_for_disk()) {
            in_flight.wait(packet_id, publication.serial, delivery, Wait::Disk);
            let id = self.sessions.id_at(slot).expect("it is there");
            return Fate::Parked(id, packet_id);
        }
        if qos == QoS::ExactlyOnce && in_flight.is_waiting() {
            // Others wait for the disk: the session outlived the process before this connection.
            // [MQTT-4.6.0-5]
            in_flight.wait(packet_id, publication.serial, delivery, Wait::Turn);
            return Fate::Sent;
        }
        let sent = if is_exact { Fate::SentAs(packet_id) } else { Fate::Sent };
        if packet_id != shared_id || !delivery.subscription_ids().is_empty() || !route.is_plain {
            in_flight.send(packet_id, publication.serial, delivery.clone());
            let is_sent = self.send_private(route, &delivery, publication, packet_id, false);
            return if is_sent { sent } else { Fate::Dropped };
        }
        in_flight.send(packet_id, publication.serial, delivery);
        let run = publication.frame(&mut self.outbox, route.is_v5, qos, retain);
        if self.send_frame(route, run, publication) {
            return sent;
        }
        publication.note_unused(run);
        self.sessions[slot].in_flight.complete(packet_id);
        Fate::Dropped
    }

    /// Sends a packet encoded for this subscriber alone, without an alias where the packet would
    /// not fit with one. Returns false when the packet is larger than the client accepts; the
    /// delivery then counts as done.
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    pub(super) fn send_private(
        &mut self,
        route: Route,
        delivery: &Delivery,
        publication: &mut Publication<'_>,
        packet_id: u16,
        dup: bool,
    ) -> bool {
        let aliases = self.link(route.link).and_then(|link| link.aliases());
        let mut alias = aliases.and_then(|aliases| aliases.alias_for(publication.topic()));
        let subscription_ids = delivery.subscription_ids();
        let Delivery { qos, retain, .. } = *delivery;
        let encode = |publication: &Publication<'_>, outbox: &mut Outbox, alias| {
            let head = Head { dup, packet_id, alias, subscription_ids };
            publication.private_frame(outbox, route.is_v5, qos, retain, head)
        };
        let mut run = encode(publication, &mut self.outbox, alias);
        if alias.is_some() && publication.packet_length(run) > route.packet_bytes_max as usize {
            alias = None;
            run = encode(publication, &mut self.outbox, alias);
        }
        if self.send_frame(route, run, publication) {
            self.counters.publishes_sent[qos as usize] += 1;
            self.counters.sent_bytes += publication.packet_length(run) as u64;
            self.counters.sent_payload_bytes += publication.payload_len() as u64;
            if let Some((alias, false)) = alias
                && let Some(link) = self.link(route.link)
            {
                link.aliases_mut().note_sent(publication.topic(), alias);
            }
            return true;
        }
        let Some(link) = self.link(route.link) else { return false };
        if let Some(session) = link.session() {
            self.give_up(session.slot, route.link, packet_id, dup);
        }
        false
    }

    /// Puts an encoded PUBLISH into the link's output. Returns false when the packet is larger than
    /// the client accepts; the delivery then counts as done.
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    #[inline(always)]
    fn send_frame(&mut self, route: Route, run: Run, publication: &mut Publication<'_>) -> bool {
        // A length of 0 is that of a packet too large for any client.
        let beyond_first = publication.packet_length(run).wrapping_sub(1);
        if beyond_first >= route.packet_bytes_max as usize {
            self.count_too_large(route.link, publication.topic());
            return false;
        }
        self.outbox.append_message(route.link, run);
        if let Some(payload) = publication.large_payload() {
            self.outbox.append_payload(route.link, payload);
        }
        true
    }
}
