//! The members of a shared group on this worker, in such an order that one who can take a message
//! is found without a look at those who cannot:
//!
//! ```text
//! connected           │ not connected
//! reads all │ checked │ reads all │ checked
//! ```
//!
//! Only a member that is checked, since it may read just a part of the group's filter, has to be
//! asked about a topic.

use super::subscribers::{Subscriber, Subscribers};
use crate::base::visits::visit;

/// The members of a group.
#[derive(Debug, Default)]
pub struct Members {
    subscribers: Subscribers,
    /// The places behind the members of each kind but the last: see [`kind`].
    ends: [u32; KINDS - 1],
}

const KINDS: usize = 4;

/// The place of a member's kind in the order.
const fn kind(is_online: bool, is_checked: bool) -> usize {
    (!is_online) as usize * 2 + is_checked as usize
}

impl Members {
    /// All members.
    #[must_use]
    pub fn as_slice(&self) -> &[Subscriber] {
        self.subscribers.as_slice()
    }

    /// The number of connected members.
    #[must_use]
    pub fn online(&self) -> u32 {
        self.ends[kind(true, true)]
    }

    /// The subscription of `session`.
    #[must_use]
    pub(crate) fn get(&self, session: u32) -> Option<&Subscriber> {
        self.subscribers.get(session)
    }

    /// Adds a connected member, or replaces its subscription; true when the session was a member
    /// already.
    pub(crate) fn insert(&mut self, subscriber: Subscriber) -> bool {
        let existed = self.subscribers.insert(subscriber);
        self.sort_in(subscriber.session, Some(true));
        existed
    }

    /// Notes that a member came or went.
    pub(crate) fn set_online(&mut self, session: u32, is_online: bool) {
        self.sort_in(session, Some(is_online));
    }

    /// Sets whether deliveries to `session` are checked.
    pub(crate) fn set_checked(&mut self, session: u32, is_checked: bool) {
        self.subscribers.set_checked(session, is_checked);
        self.sort_in(session, None);
    }

    /// Removes the member `session`, and returns its subscription.
    pub(crate) fn remove(&mut self, session: u32) -> Option<Subscriber> {
        let place = self.subscribers.place(session)?;
        // The last one takes the place, and is of the last kind like the one that goes.
        self.shift(place, KINDS - 1);
        self.subscribers.remove(session)
    }

    /// The member that gets a message: of the connected ones the first that `is_ready`, if it is
    /// among the next `probes_max`; else one that is connected; else any. None when no member
    /// `may_read` the message, which only those that are checked are asked. `turn` moves the choice
    /// around the members.
    pub(crate) fn pick(
        &self,
        turn: u32,
        probes_max: usize,
        mut may_read: impl FnMut(&Subscriber) -> bool,
        mut is_ready: impl FnMut(&Subscriber) -> bool,
    ) -> Option<&Subscriber> {
        let mut may_read = |member: &&Subscriber| !member.extras.is_checked() || may_read(member);
        let online = in_turn(&self.as_slice()[..self.online() as usize], turn);
        let mut probed = online.take(probes_max).filter(&mut may_read);
        if let Some(ready) = probed.find(|member| is_ready(member)) {
            return Some(ready);
        }
        [true, false].into_iter().find_map(|is_online| {
            let reads_all = in_turn(self.of_kind(kind(is_online, false)), turn).next();
            let mut checked = in_turn(self.of_kind(kind(is_online, true)), turn);
            reads_all.or_else(|| checked.find(&mut may_read))
        })
    }

    fn of_kind(&self, kind: usize) -> &[Subscriber] {
        let list = self.as_slice();
        let begin = if kind == 0 { 0 } else { self.ends[kind - 1] as usize };
        &list[begin..self.ends.get(kind).map_or(list.len(), |end| *end as usize)]
    }

    /// Puts a member among those of its kind. `is_online` is None for a member that neither came
    /// nor went.
    fn sort_in(&mut self, session: u32, is_online: Option<bool>) {
        let Some(place) = self.subscribers.place(session) else { return };
        let is_online = is_online.unwrap_or(place < self.online() as usize);
        let is_checked = self.as_slice()[place].extras.is_checked();
        self.shift(place, kind(is_online, is_checked));
    }

    /// Moves the member at a place to the members of a kind, by a swap at each border on the way.
    fn shift(&mut self, mut place: usize, to: usize) {
        let mut kind = self.ends.iter().filter(|end| **end as usize <= place).count();
        while kind > to {
            kind -= 1;
            let first = self.ends[kind] as usize;
            self.subscribers.swap(place, first);
            place = first;
            self.ends[kind] += 1;
        }
        while kind < to {
            self.ends[kind] -= 1;
            let last = self.ends[kind] as usize;
            self.subscribers.swap(place, last);
            place = last;
            kind += 1;
        }
    }
}

/// All members of a list, from a place on that `turn` moves.
fn in_turn(list: &[Subscriber], turn: u32) -> impl Iterator<Item = &Subscriber> {
    let (before, from) = list.split_at(turn as usize % list.len().max(1));
    from.iter().chain(before).inspect(|_| visit(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use crate::mqtt::SubscriptionOptions;
    use crate::topics::Extras;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    fn member(session: u32, is_checked: bool) -> Subscriber {
        let options = SubscriptionOptions::default();
        Subscriber { session, extras: Extras::new(0, is_checked), options }
    }

    /// A member, as it is known in the plainest way: connected, and checked.
    type Plain = BTreeMap<u32, (bool, bool)>;

    fn check(members: &Members, plain: &Plain) {
        let mut list: Vec<u32> = members.as_slice().iter().map(|m| m.session).collect();
        list.sort_unstable();
        assert!(list.iter().eq(plain.keys()));
        for (session, (_, is_checked)) in plain {
            let known = members.get(*session).unwrap();
            assert_eq!((known.session, known.extras.is_checked()), (*session, *is_checked));
        }
        for kind in 0..KINDS {
            for member in members.of_kind(kind) {
                let (is_online, is_checked) = plain[&member.session];
                assert_eq!(self::kind(is_online, is_checked), kind);
            }
        }
        let online = plain.values().filter(|(is_online, _)| *is_online).count();
        assert_eq!(members.online() as usize, online);
    }

    #[test]
    fn members_are_in_order_and_a_connected_one_is_picked_if_any_may_read() {
        for seed in 0..60 {
            let mut prng = Prng::new(seed);
            let (mut members, mut plain) = (Members::default(), Plain::new());
            let sessions = 1 + prng.below(80);
            for turn in 0..400 {
                let session = prng.below(sessions) as u32;
                let flag = prng.chance(50);
                match prng.below(4) {
                    0 => {
                        let existed = members.insert(member(session, flag));
                        assert_eq!(existed, plain.insert(session, (true, flag)).is_some());
                    }
                    1 => {
                        let gone = members.remove(session);
                        assert_eq!(gone.is_some(), plain.remove(&session).is_some());
                    }
                    2 => {
                        members.set_online(session, flag);
                        plain.entry(session).and_modify(|known| known.0 = flag);
                    }
                    _ => {
                        members.set_checked(session, flag);
                        plain.entry(session).and_modify(|known| known.1 = flag);
                    }
                }
                check(&members, &plain);
                let divisor = 1 + prng.below(40) as u32;
                let reads = |m: &Subscriber| m.session.is_multiple_of(divisor);
                let may_read = |(session, (_, is_checked)): (&u32, &(bool, bool))| {
                    !is_checked || session.is_multiple_of(divisor)
                };
                let picked = members.pick(turn, 5, reads, |m| m.session.is_multiple_of(3));
                let is_any = plain.iter().any(may_read);
                let is_any_online = plain.iter().filter(|(_, known)| known.0).any(may_read);
                assert_eq!(picked.is_some(), is_any, "seed {seed}");
                if let Some(picked) = picked {
                    assert_eq!(plain[&picked.session].0, is_any_online, "seed {seed}");
                    assert!(may_read((&picked.session, &plain[&picked.session])));
                }
            }
        }
    }

    /// However many there are, few are looked at: absent ones none, connected ones that are busy no
    /// more than are probed.
    #[test]
    fn a_pick_looks_at_few_members() {
        let mut members = Members::default();
        for session in 0..20_000 {
            members.insert(member(session, false));
            members.set_online(session, session % 100 == 0);
        }
        let looks = Cell::new(0);
        let look = |answer| {
            looks.set(looks.get() + 1);
            answer
        };
        let mut picked = BTreeMap::<u32, u32>::new();
        for turn in 0..1000 {
            let busy = members.pick(turn, 8, |_| look(true), |_| look(false)).unwrap();
            *picked.entry(busy.session).or_default() += 1;
        }
        assert!(looks.get() <= 8 * 1000, "{} looks for 1,000 messages", looks.get());
        assert_eq!(picked.len(), 200, "each connected member has its turns");
        assert!(picked.values().all(|&messages| messages == 5), "{picked:?}");
    }

    #[test]
    fn messages_go_around_the_connected_members() {
        let mut members = Members::default();
        for session in 0..7 {
            members.insert(member(session, session % 2 == 0));
        }
        members.set_online(3, false);
        let mut picked = BTreeMap::<u32, u32>::new();
        for turn in 0..60 {
            let ready = members.pick(turn, 32, |_| true, |_| true).unwrap();
            *picked.entry(ready.session).or_default() += 1;
        }
        assert!(picked.len() == 6 && picked.values().all(|&messages| messages == 10), "{picked:?}");
    }
}
