//! QoS 2 messages that clients have sent and not released.
//!
//! Mosquitto routes such a message when its publisher releases it, ringmq when it comes. So those
//! that wait for their PUBREL are routed here, to the sessions of the database.

use super::{Database, Known, Sent};
use crate::base::maps::HashSet;
use crate::mqtt::{SubscriptionOptions, TopicFilter, Version, matches};
use crate::store::record::{StoredDelivery, Whole};
use std::collections::{BTreeMap, BTreeSet};

/// The places of a session and of one of its subscriptions.
type Place = (usize, usize);

/// The subscriptions of all sessions by their filters, share names left out.
#[derive(Debug, Default)]
struct Filters {
    plain: BTreeMap<Box<str>, Vec<Place>>,
    wild: BTreeMap<Box<str>, Vec<Place>>,
}

impl Filters {
    fn of(sessions: &[(Whole<'static>, Sent)]) -> Self {
        let mut filters = Self::default();
        for (session, (whole, _)) in sessions.iter().enumerate() {
            for (place, subscription) in whole.subscriptions.iter().enumerate() {
                let filter = TopicFilter::parsed(&subscription.filter);
                let list =
                    if filter.has_wildcards() { &mut filters.wild } else { &mut filters.plain };
                list.entry(filter.filter.into()).or_default().push((session, place));
            }
        }
        filters
    }

    /// The subscriptions that match, by session.
    fn matching(&self, topic: &str) -> BTreeMap<usize, Vec<usize>> {
        let wild = self.wild.iter().filter(|(filter, _)| matches(filter, topic));
        let lists = self.plain.get(topic).into_iter().chain(wild.map(|(_, places)| places));
        let mut found: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (session, place) in lists.flatten() {
            found.entry(*session).or_default().push(*place);
        }
        found.values_mut().for_each(|places| places.sort_unstable());
        found
    }
}

impl Database<'_> {
    /// Notes the packet identifiers, and routes the messages.
    pub(super) fn receive(&mut self, sessions: &mut [(Whole<'static>, Sent)]) {
        let received = std::mem::take(&mut self.received);
        if received.is_empty() {
            return;
        }
        let filters = Filters::of(sessions);
        let clients = sessions.iter().enumerate();
        let clients: BTreeMap<String, usize> = clients
            .map(|(place, (whole, _))| (whole.attributes.client_id.to_string(), place))
            .collect();
        let mut noted = HashSet::default();
        for (client_id, packet_id, message) in received {
            let place = clients.get(&client_id).copied().filter(|_| packet_id != 0);
            let (Some(place), Some(known)) = (place, self.messages.get(&message).cloned()) else {
                self.counts.left_out.stray += 1;
                continue;
            };
            if !noted.insert((place, packet_id)) {
                self.counts.left_out.stray += 1;
                continue;
            }
            sessions[place].0.received.push(packet_id);
            match known.is_expired {
                true => self.counts.left_out.expired += 1,
                false => self.route(&known, place, &filters, sessions),
            }
        }
    }

    fn route(
        &mut self,
        known: &Known,
        publisher: usize,
        filters: &Filters,
        sessions: &mut [(Whole<'static>, Sent)],
    ) {
        if known.retain {
            self.retain(known.id);
        }
        let mut groups = BTreeSet::new();
        for (session, places) in filters.matching(self.state.messages[&known.id].topic()) {
            let whole = &mut sessions[session].0;
            let deliveries = deliveries(known, whole, &places, session == publisher, &mut groups);
            for delivery in deliveries.into_iter().filter(|delivery| delivery.qos > 0) {
                let number = self.number_for(known.id, &whole.deliveries);
                whole.deliveries.push((known.id, StoredDelivery { number, ..delivery }));
            }
        }
    }
}

/// The deliveries of a message to a session whose subscriptions at `places` match: one for all that
/// are ordinary, at the greatest of their QoS, and one for each shared group that has had none.
// [MQTT-3.3.5-1]
fn deliveries(
    known: &Known,
    whole: &Whole<'static>,
    places: &[usize],
    is_publisher: bool,
    groups: &mut BTreeSet<Box<str>>,
) -> Vec<StoredDelivery<'static>> {
    let mut ordinary: Option<StoredDelivery<'static>> = None;
    let mut shared = Vec::new();
    for subscription in places.iter().map(|place| &whole.subscriptions[*place]) {
        let options = SubscriptionOptions::decode(subscription.options, Version::V5);
        let options = options.unwrap_or_default();
        if is_publisher && options.no_local {
            continue;
        }
        let id = Some(subscription.subscription_id).filter(|id| *id != 0);
        let qos = known.qos.min(options.qos as u8);
        let retain = known.retain && options.retain_as_published;
        if TopicFilter::parsed(&subscription.filter).share_name.is_some() {
            if groups.insert((*subscription.filter).into()) {
                shared.push(StoredDelivery {
                    qos,
                    retain,
                    subscription_ids: id.into_iter().collect(),
                    share: Some(subscription.filter.clone()),
                    ..StoredDelivery::default()
                });
            }
            continue;
        }
        let merged = ordinary.get_or_insert_default();
        merged.qos = merged.qos.max(qos);
        merged.retain |= retain;
        merged.subscription_ids.extend(id);
        merged.subscription_ids.sort_unstable();
    }
    ordinary.into_iter().chain(shared).collect()
}
