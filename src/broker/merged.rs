//! Several subscriptions of one session that match the same publish, as one.

use crate::base::visits::moved;
use crate::topics::Subscriber;
use smallvec::SmallVec;

/// The Subscription Identifiers of one delivery.
pub(super) type SubscriptionIds = SmallVec<[u32; 4]>;

/// The subscriptions of one session that match, at the highest QoS.
// [MQTT-3.3.4-2]
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) subscriber: Subscriber,
    /// The identifiers of the subscriptions: see [`add_id`].
    pub(super) ids: SubscriptionIds,
}

impl Merged {
    pub(super) fn new(subscriber: Subscriber) -> Self {
        let ids = subscriber.extras.subscription_id().into_iter().collect();
        Self { subscriber, ids }
    }

    /// Adds another subscription of the session; at most `ids_max` identifiers are kept.
    pub(super) fn add(&mut self, other: &Subscriber, ids_max: usize) {
        let Subscriber { options, extras, .. } = &mut self.subscriber;
        options.qos = options.qos.max(other.options.qos);
        options.retain_as_published |= other.options.retain_as_published;
        // What one of them may certainly be sent need not be checked.
        *extras = extras.with_checked(extras.is_checked() && other.extras.is_checked());
        if let Some(id) = other.extras.subscription_id() {
            add_id(&mut self.ids, id, ids_max);
        }
    }
}

/// Adds an identifier to ascending ones, of which there are at most `ids_max`. One identifier of
/// several subscriptions is there as often, as 3.3.4 says; but beyond the limit repeated ones go
/// first, and then the greatest.
// [MQTT-3.3.4-4]
fn add_id(ids: &mut SubscriptionIds, id: u32, ids_max: usize) {
    moved(size_of_val(&**ids));
    let place = ids.partition_point(|known| *known < id);
    if ids.len() < ids_max {
        return ids.insert(place, id);
    }
    if ids.get(place) == Some(&id) {
        return;
    }
    match ids.windows(2).rposition(|two| two[0] == two[1]) {
        Some(repeated) => {
            ids.remove(repeated);
            ids.insert(place - usize::from(repeated < place), id);
        }
        None if place < ids.len() => {
            ids.pop();
            ids.insert(place, id);
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    const IDS_MAX: usize = 64;

    /// All identifiers, repeated ones as well, cut down at once.
    fn cut(mut all: Vec<u32>) -> Vec<u32> {
        all.sort_unstable();
        let mut distinct = all.clone();
        distinct.dedup();
        distinct.truncate(IDS_MAX);
        if all.len() <= IDS_MAX {
            return all;
        }
        distinct
    }

    #[test]
    fn the_lowest_identifiers_are_kept_and_repeated_ones_while_there_is_room() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let (mut ids, mut all) = (SubscriptionIds::new(), Vec::new());
            let range = 1 + prng.below(200);
            for _ in 0..300 {
                let id = 1 + prng.below(range) as u32;
                add_id(&mut ids, id, IDS_MAX);
                all.push(id);
                assert!(ids.is_sorted() && ids.len() <= IDS_MAX);
                let mut distinct = ids.to_vec();
                distinct.dedup();
                let mut expected = cut(all.clone());
                if all.len() <= IDS_MAX {
                    assert_eq!(ids.as_slice(), expected);
                }
                expected.dedup();
                assert_eq!(distinct, expected, "seed {seed}");
            }
        }
    }
}
