//! Rules that must hold of each delivery, and of all of them in the end.

use super::model::{Message, Model, NEVER, Session, Subscription, name_of};
use ringmq::base::time::Time;
use ringmq::metrics::{Counters, Dropped};
use ringmq_mqtt::{Publish, QoS, RetainHandling};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A delivery as the client got it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered<'a> {
    pub(super) session: usize,
    pub(super) publish: &'a Publish<'a>,
    /// Resolved.
    pub(super) topic: &'a str,
    pub(super) is_v5: bool,
    /// The client had it already, by its packet identifier at QoS 2.
    pub(super) is_repeated: bool,
    /// When it came out of the shard.
    pub(super) emitted: (u64, Time),
}

/// Where a delivery came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Live,
    Replay,
    /// RETAIN was kept as published: it may be either.
    Unknown,
}

/// One second, and the time that a tick may be late.
const SECOND: Duration = Duration::from_millis(1_100);

/// The greatest difference by which two clocks that count whole seconds differ.
const ROUNDING_S: u64 = 2;

impl Model {
    /// A client got a PUBLISH.
    pub(super) fn delivered(&mut self, delivered: Delivered<'_>) {
        self.deliveries += 1;
        let publish = delivered.publish;
        if publish.payload.is_empty() {
            return self.check_clearing(&delivered);
        }
        let Some(index) = self.find_message(publish.payload) else {
            let text = format!("{} was never sent: {:02x?}", delivered.topic, publish.payload);
            return self.fail("I4", text);
        };
        let message = self.messages[index].clone();
        let result = self
            .check_content(&delivered, &message)
            .and_then(|()| self.check_expiry(&delivered, &message))
            .and_then(|()| self.check_origin(&delivered, index, &message));
        if let Err((invariant, text)) = result {
            let Delivered { session, publish, topic, emitted, .. } = delivered;
            let (name, qos, dup) = (name_of(publish.payload), publish.qos, publish.dup);
            let (retain, ids) = (publish.retain, &publish.subscription_ids);
            let subscriptions = self.sessions[session].subscriptions.iter();
            let near: Vec<_> = subscriptions.filter(|s| s.matches(topic)).collect();
            self.fail(
                invariant,
                format!(
                    "{text}: {name} on {topic} to session {session}, {qos:?}, dup {dup}, \
                     retain {retain}, ids {ids:?}, emitted {emitted:?}\n  sent as {message:?}\n  \
                     subscriptions {near:?}"
                ),
            );
        }
    }

    /// A live message that clears its topic has no name: somebody must have sent one.
    fn check_clearing(&mut self, delivered: &Delivered<'_>) {
        let is_known = self.messages.iter().any(|m| {
            let is_sent = m.handed > 0 && m.passage.is_possible;
            m.clears() && m.topic == delivered.topic && is_sent
        });
        if !is_known {
            self.fail("I4", format!("nobody cleared {}", delivered.topic));
        }
    }

    // I4
    fn check_content(&self, delivered: &Delivered<'_>, message: &Message) -> Check {
        let publish = delivered.publish;
        ensure(message.handed > 0, "I4", "delivered before it was sent")?;
        ensure(message.passage.is_possible, "I5", "its publisher may not publish it")?;
        ensure(delivered.topic == message.topic, "I4", "another topic")?;
        ensure(publish.payload == message.payload, "I4", "another payload")?;
        let mut properties = Vec::new();
        publish.properties.append_to(&mut properties);
        let expected = if delivered.is_v5 { message.properties.as_slice() } else { &[] };
        ensure(properties == expected, "I4", "other properties")
    }

    // I11
    fn check_expiry(&self, delivered: &Delivered<'_>, message: &Message) -> Check {
        let publish = delivered.publish;
        let has_expiry = delivered.is_v5 && message.expiry_s.is_some();
        ensure(publish.message_expiry_s.is_some() == has_expiry, "I11", "expiry interval")?;
        let Some(expiry_s) = message.expiry_s else { return Ok(()) };
        let emitted = delivered.emitted.1;
        if let Some(left_s) = publish.message_expiry_s.filter(|_| !publish.dup) {
            let waited_max_s = emitted.since(message.first_time).as_secs();
            let least = u64::from(expiry_s).saturating_sub(waited_max_s + ROUNDING_S);
            ensure(u64::from(left_s) >= least, "I11", "less time left than there is")?;
            ensure(left_s <= expiry_s, "I11", "more time left than there was")?;
            if !message.is_in_doubt() {
                let waited_s = emitted.since(message.last_time).as_secs();
                let most = u64::from(expiry_s) + ROUNDING_S;
                ensure(u64::from(left_s) + waited_s <= most, "I11", "time does not pass")?;
            }
        }
        let ends = message.last_time.after_seconds(expiry_s).after(SECOND);
        let is_late = !message.is_in_doubt() && emitted > ends;
        ensure(!is_late || publish.dup, "I11", "delivered after it expired")
    }

    /// Decides whether the delivery is live or a replay, and checks it as that.
    fn check_origin(
        &mut self,
        delivered: &Delivered<'_>,
        index: usize,
        message: &Message,
    ) -> Check {
        let publish = delivered.publish;
        let (certain, possible) = self.wanting(delivered.session, message);
        let keeps = possible.iter().any(|s| s.options.retain_as_published);
        let must_keep = possible.iter().all(|s| s.options.retain_as_published);
        let origin = match publish.retain {
            true if message.retain && keeps => Origin::Unknown,
            true => Origin::Replay,
            false => Origin::Live,
        };
        if origin == Origin::Live {
            let lost_flag = message.retain && must_keep && !possible.is_empty();
            ensure(!lost_flag, "I4", "RETAIN was not kept as published")?;
        }
        let as_live = check_subscriptions(delivered, message, &certain, &possible);
        let as_replay = self.check_replay(delivered, message);
        match origin {
            Origin::Live => as_live?,
            Origin::Replay => as_replay?,
            Origin::Unknown => as_live.or(as_replay)?,
        }
        self.count(delivered, index, message, origin)
    }

    /// A replay of the retained store: for a subscription that asked, and not of the past.
    // I9
    fn check_replay(&self, delivered: &Delivered<'_>, message: &Message) -> Check {
        let publish = delivered.publish;
        ensure(message.retain, "I4", "RETAIN was set by nobody")?;
        let asked = self.asked(delivered.session, message);
        let fits = |s: &&Subscription| {
            let id = s.id.filter(|_| delivered.is_v5);
            let ids = publish.subscription_ids.as_slice();
            message.qos.min(s.options.qos) == publish.qos && ids.iter().copied().eq(id)
        };
        // After a crash a replay goes on as the subscription is now: perhaps replaced meanwhile.
        let is_asked = self.is_durable || asked.iter().any(fits);
        ensure(is_asked, "I4", "no subscription asked for it")?;
        let first = asked.iter().map(|s| s.from_possible).min().unwrap_or(NEVER);
        let (may_retain, _) = self.could_retain(message, first, delivered.emitted.0);
        ensure(may_retain || publish.dup, "I5", "its publisher may not publish it any more")?;
        let since = asked.iter().map(|s| s.from_possible).max().unwrap_or(NEVER);
        let live = self.sessions[delivered.session].live.get(&message.topic);
        let is_stale = live.into_iter().flatten().any(|&(live, emitted)| {
            let newer = &self.messages[live];
            newer.first > since
                && !message.is_in_doubt()
                && newer.first > self.retained_from(message)
                && emitted < delivered.emitted.0
        });
        ensure(!is_stale || publish.dup, "I9", "a newer one came before")
    }

    /// The subscriptions that may have asked for this retained message.
    fn asked(&self, session: usize, message: &Message) -> Vec<&Subscription> {
        let subscriptions = &self.sessions[session].subscriptions;
        subscriptions.iter().filter(|s| s.asks_retained() && s.matches(&message.topic)).collect()
    }

    /// I2 and I3.
    fn count(
        &mut self,
        delivered: &Delivered<'_>,
        index: usize,
        message: &Message,
        origin: Origin,
    ) -> Check {
        let publish = delivered.publish;
        let asked = self.asked(delivered.session, message).len() as u32;
        let session = &mut self.sessions[delivered.session];
        ensure(!publish.dup || session.connections > 1, "I2", "DUP on the first connection")?;
        check_resending(session, index, publish)?;
        let seen = session.seen.entry(index).or_default();
        // [MQTT-3.3.1-3]
        let may_be_again = seen.came || session.is_in_doubt;
        ensure(!publish.dup || may_be_again, "I2", "DUP on what was never sent")?;
        seen.came = true;
        if origin == Origin::Replay {
            seen.replays += u32::from(!publish.dup);
            return ensure(seen.replays <= asked, "I9", "replayed more often than asked for");
        }
        let is_first = seen.taken == 0;
        seen.fresh += u32::from(!publish.dup);
        let is_new = match publish.qos {
            QoS::ExactlyOnce => !delivered.is_repeated,
            _ => !publish.dup || is_first,
        };
        seen.taken += u32::from(is_new);
        seen.is_unclear |= origin == Origin::Unknown;
        let replays = if seen.is_unclear { asked } else { 0 };
        let most = message.copies_max() + replays;
        ensure(seen.fresh <= most, "I2", "delivered more often than sent")?;
        let is_exact = publish.qos == QoS::ExactlyOnce;
        ensure(!is_exact || seen.taken <= most, "I2", "delivered twice at QoS 2")?;
        if origin == Origin::Live && message.retain && !publish.dup {
            let live = session.live.entry(message.topic.clone()).or_default();
            live.push((index, delivered.emitted.0));
        }
        if origin == Origin::Live && is_first && !message.is_will {
            return self.check_order(delivered, message);
        }
        Ok(())
    }

    // I3
    fn check_order(&mut self, delivered: &Delivered<'_>, message: &Message) -> Check {
        let session = &mut self.sessions[delivered.session];
        // What was published twice may have met the subscription only the second time.
        let came_late = message.handed > 1 && message.passage.may_fail;
        if came_late
            || message.copies_max() > 1
            || session.subscriptions.iter().any(Subscription::is_shared)
        {
            return Ok(());
        }
        let key = (message.publisher, message.topic.clone(), delivered.publish.qos);
        let last = session.order.insert(key, message.sequence);
        let is_ordered = last.is_none_or(|last| last < message.sequence);
        ensure(is_ordered, "I3", "a later one came before")
    }

    /// In the end, with everybody connected and everything read: what is missing is accounted for.
    pub(super) fn check_completeness(&mut self, counters: &Counters) {
        let mut missing = Missing::default();
        let last_retained = self.last_retained();
        for session in 0..self.sessions.len() {
            let state = &self.sessions[session];
            if state.ended || state.wire.is_none() {
                continue;
            }
            for (index, message) in self.messages.iter().enumerate() {
                if self.is_missing(session, index, message) {
                    let last = self.event;
                    match self.could_read(session, &message.topic, message.first, last) {
                        (false, _) => {}
                        (true, false) => missing.revoked += 1,
                        (true, true) => {
                            missing.add(session, index, message, state.packet_bytes_max);
                        }
                    }
                } else if last_retained.contains(&index)
                    && self.is_replay_missing(session, index, message)
                {
                    missing.add(session, index, message, state.packet_bytes_max);
                }
            }
        }
        self.check_groups(&mut missing);
        let text = format!("missing: {missing:?}, {counters:?}");
        let mut counters = *counters;
        if counters.dropped(Dropped::Expired) > 0 && !self.late_turns.is_empty() {
            // What expired in a ring is counted once, whoever would have got it.
            let all = missing.expiring + missing.both + missing.revoked + missing.revoked_shares;
            let known = counters.dropped(Dropped::Expired);
            counters.drop(Dropped::Expired, all.saturating_sub(known));
        }
        if !missing.is_excused(&counters) {
            self.fail("I1", text);
        }
    }

    /// True when a subscription was there for certain, and still is, and nothing came.
    fn is_missing(&self, session: usize, index: usize, message: &Message) -> bool {
        let is_sent = message.handled > 0 && message.passage.is_certain;
        if !is_sent || message.clears() || (message.is_will && message.last == 0) {
            return false;
        }
        let (certain, _) = self.wanting(session, message);
        let plain = certain.iter().filter(|s| !s.is_shared() && s.until_certain == NEVER);
        let Some(qos) = plain.map(|s| s.options.qos.min(message.qos)).max() else { return false };
        let state = &self.sessions[session];
        let seen = state.seen.get(&index).copied().unwrap_or_default();
        // At QoS 0 only a connection that never ended is owed anything.
        seen.taken == 0 && (qos > QoS::AtMostOnce || state.connections == 1)
    }

    /// True when a subscription asked for what is retained, and the message, which was and stays
    /// retained, came neither before nor after.
    // I9
    fn is_replay_missing(&self, session: usize, index: usize, message: &Message) -> bool {
        let state = &self.sessions[session];
        if state.seen.get(&index).is_some_and(|seen| seen.came) {
            return false;
        }
        let asked = state.subscriptions.iter().filter(|s| {
            s.options.retain_handling == RetainHandling::Send
                && s.asks_retained()
                && s.until_certain == NEVER
                && s.from_certain < NEVER
                && !(s.options.no_local && message.session == Some(session))
                && s.matches(&message.topic)
                && self.could_read(session, &message.topic, s.from_possible, self.event).1
                && self.could_retain(message, s.from_possible, self.event).1
        });
        let Some(qos) = asked.map(|s| s.options.qos.min(message.qos)).min() else { return false };
        qos > QoS::AtMostOnce || state.connections == 1
    }

    /// The messages that are retained on their topics for good, and nothing else after them.
    fn last_retained(&self) -> BTreeSet<usize> {
        let mut topics: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, message) in self.messages.iter().enumerate() {
            if message.retain && message.handed > 0 && message.passage.is_possible {
                topics.entry(&message.topic).or_default().push(index);
            }
        }
        let is_last = |index: &usize, all: &[usize]| {
            let message = &self.messages[*index];
            let is_before = |other: &usize| self.settled(&self.messages[*other]) < message.first;
            let is_fit = !message.clears() && !message.is_in_doubt() && !message.is_will;
            is_fit
                && message.expiry_s.is_none()
                && all.iter().all(|other| other == index || is_before(other))
        };
        let last = topics.values().flat_map(|all| all.iter().filter(|index| is_last(index, all)));
        last.copied().collect()
    }

    /// I12: each message went to one member of each group, and none was lost with its member.
    fn check_groups(&mut self, missing: &mut Missing) {
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, session) in self.sessions.iter().enumerate() {
            if let Some(shared) = session.subscriptions.iter().find(|s| s.is_shared()) {
                groups.entry(shared.filter.clone()).or_default().push(index);
            }
        }
        for (group, sessions) in groups {
            for index in 0..self.messages.len() {
                if let Err(text) = self.check_group(&sessions, index, missing) {
                    let message = &self.messages[index];
                    return self.fail("I12", format!("{group}: {text}: {message:?}"));
                }
            }
        }
    }

    fn check_group(
        &self,
        sessions: &[usize],
        index: usize,
        missing: &mut Missing,
    ) -> Result<(), String> {
        let message = &self.messages[index];
        if message.clears() || message.handled == 0 || !message.passage.is_possible {
            return Ok(());
        }
        let got = |&&session: &&usize| self.sessions[session].seen.contains_key(&index);
        let takers: Vec<usize> = sessions.iter().filter(got).copied().collect();
        let is_over = |&session: &usize| self.sessions[session].is_over(self.now);
        let living = takers.iter().filter(|&session| !is_over(session)).count();
        let qos = message.qos;
        let allowed = message.copies_max() as usize;
        if living > allowed
            || (qos != QoS::AtLeastOnce && takers.len() > allowed && {
                let exact = sessions.iter().flat_map(|&s| &self.sessions[s].subscriptions);
                exact.map(|s| s.options.qos.min(qos)).all(|qos| qos != QoS::AtLeastOnce)
            })
        {
            return Err(format!("went to sessions {takers:?}"));
        }
        if !takers.is_empty() || qos == QoS::AtMostOnce || !message.passage.is_certain {
            return Ok(());
        }
        let could = |s: usize| self.could_read(s, &message.topic, message.first, self.event);
        let is_fit = |s: &&usize| self.is_steady_member(**s, message) && could(**s).1;
        let Some(&member) = sessions.iter().find(is_fit) else { return Ok(()) };
        // [MQTT-4.8.2-5]: a QoS 2 exchange that was begun ends with its session. What a session had
        // that does not outlive the process is lost with that.
        let is_exact = |s: &Subscription| s.options.qos.min(qos) == QoS::ExactlyOnce;
        let may_die = sessions.iter().any(|&s| {
            is_over(&s) && (self.is_durable || self.sessions[s].subscriptions.iter().any(is_exact))
        });
        // With one worker somebody who may read it is found, and keeps it; with several workers,
        // perhaps not.
        let is_alone = self.rights.as_ref().is_none_or(|rights| rights.workers() == 1);
        let is_owed = match is_alone {
            true => sessions.iter().all(|&s| self.never_loses(s, message)),
            false => sessions.iter().all(|&s| could(s).1),
        };
        if may_die {
            return Ok(());
        }
        if is_owed {
            missing.add(member, index, message, self.smallest_packet(sessions));
        } else {
            missing.revoked_shares += 1;
        }
        Ok(())
    }

    fn smallest_packet(&self, sessions: &[usize]) -> u32 {
        sessions.iter().map(|&s| self.sessions[s].packet_bytes_max).min().unwrap_or(u32::MAX)
    }

    /// A member from before the message until now.
    fn is_steady_member(&self, session: usize, message: &Message) -> bool {
        let state = &self.sessions[session];
        let is_steady = |s: &&Subscription| s.is_shared() && state.stays(s);
        !state.is_over(self.now)
            && self.wanting(session, message).0.into_iter().any(|s| is_steady(&s))
    }

    /// I9: `found` is what is retained in the end; what is there must be the last, or one of those
    /// of which it cannot be known which was last.
    pub(super) fn check_retained(&mut self, found: &BTreeMap<String, usize>) {
        let mut topics: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
        let is_sent = |m: &&Message| m.retain && m.handed > 0 && m.passage.is_possible;
        for message in self.messages.iter().filter(is_sent) {
            topics.entry(&message.topic).or_default().push(message);
        }
        let mut wrong = None;
        for (topic, messages) in topics {
            if topic.starts_with('$') {
                continue;
            }
            let is_newer = |n: &Message, m: &Message| {
                let is_sent = n.handled > 0 && n.passage.is_certain;
                is_sent && !m.is_in_doubt() && n.first > self.retained_from(m)
            };
            let is_last = |m: &&&Message| !messages.iter().any(|n| is_newer(n, m));
            let last: Vec<&&Message> = messages.iter().filter(is_last).collect();
            let is_right = match found.get(topic) {
                // Whether it came too late, the delivery has shown.
                Some(&index) => {
                    last.iter().any(|message| message.payload == self.messages[index].payload)
                }
                None => {
                    let may_end = |m: &&&Message| {
                        let ends = m.expiry_s.map(|s| m.first_time.after_seconds(s));
                        let is_sent = m.handled > 0 && m.passage.is_certain;
                        m.clears() || !is_sent || ends.is_some_and(|ends| ends <= self.now)
                    };
                    last.iter().any(may_end)
                }
            };
            if !is_right {
                let found = found.get(topic).map(|&index| &self.messages[index]);
                wrong = Some(format!("{topic} has {found:?}, not one of {last:?}"));
            }
        }
        if let Some(text) = wrong {
            self.fail("I9", text);
        }
    }
}

/// Ok, or which invariant does not hold and why.
type Check = Result<(), (&'static str, &'static str)>;

fn ensure(holds: bool, invariant: &'static str, text: &'static str) -> Check {
    if holds { Ok(()) } else { Err((invariant, text)) }
}

/// A live delivery: its QoS and its subscription identifiers follow from the subscriptions.
// I4
fn check_subscriptions(
    delivered: &Delivered<'_>,
    message: &Message,
    certain: &[&Subscription],
    possible: &[&Subscription],
) -> Check {
    let publish = delivered.publish;
    ensure(!possible.is_empty(), "I4", "no subscription wants it")?;
    let qos_of = |s: &&Subscription| s.options.qos.min(message.qos);
    let is_granted = possible.iter().any(|s| qos_of(s) == publish.qos);
    ensure(is_granted, "I4", "a QoS that no subscription has")?;
    let least = certain.iter().map(qos_of).max().unwrap_or_default();
    ensure(publish.qos >= least, "I4", "a lower QoS than granted")?;
    if !delivered.is_v5 {
        return Ok(());
    }
    let mut ids: Vec<u32> = publish.subscription_ids.to_vec();
    let is_shared = possible.iter().any(|s| s.is_shared());
    for subscription in certain.iter().filter(|_| !is_shared) {
        if let Some(id) = subscription.id {
            let place = ids.iter().position(|&known| known == id);
            let place = place.ok_or(("I4", "a subscription identifier is missing"))?;
            ids.swap_remove(place);
        }
    }
    let is_possible = |id: &u32| possible.iter().any(|s| s.id == Some(*id));
    ensure(ids.iter().all(is_possible), "I4", "a subscription identifier too many")
}

/// Messages that are sent again come in the order in which they were first sent.
// [MQTT-4.6.0-1]
fn check_resending(session: &mut Session, message: usize, publish: &Publish<'_>) -> Check {
    if publish.qos == QoS::AtMostOnce {
        return Ok(());
    }
    if !publish.dup {
        session.sent += 1;
        session.first_sent.insert(publish.packet_id, (message, session.sent));
        return Ok(());
    }
    let first = session.first_sent.get(&publish.packet_id);
    // What goes under the identifier of an exchange that is over says nothing.
    let Some(&(_, first)) = first.filter(|(known, _)| *known == message) else { return Ok(()) };
    let before = std::mem::replace(&mut session.resent, first);
    ensure(before < first, "I3", "sent again in another order than before")
}

/// Deliveries that never came, by what may excuse them.
#[derive(Debug, Default)]
struct Missing {
    plain: u64,
    expiring: u64,
    large: u64,
    both: u64,
    /// Of a topic that the client could not read all the time.
    revoked: u64,
    /// The same, of a shared group one of whose members could not.
    revoked_shares: u64,
    /// The first of them: session and message.
    examples: Vec<(usize, String)>,
}

impl Missing {
    fn add(&mut self, session: usize, index: usize, message: &Message, packet_bytes_max: u32) {
        // With the longest head that the simulation makes.
        let length = message.payload.len() + message.properties.len() + 80;
        match (length > packet_bytes_max as usize, message.expiry_s.is_some()) {
            (true, true) => self.both += 1,
            (true, false) => self.large += 1,
            (false, true) => self.expiring += 1,
            (false, false) => self.plain += 1,
        }
        if self.examples.len() < 4 && length <= packet_bytes_max as usize {
            self.examples.push((session, format!("{index} {message:?}")));
        }
    }

    /// True when the broker's count of dropped messages accounts for them.
    const fn is_excused(&self, counters: &Counters) -> bool {
        let full = counters.dropped(Dropped::QueueFull);
        let (expired, large) =
            (counters.dropped(Dropped::Expired), counters.dropped(Dropped::TooLarge));
        let known = self.plain + self.expiring + self.large + self.both;
        let dropped = full + expired + large + counters.dropped(Dropped::Denied);
        let unshared = self.revoked <= dropped && known + self.revoked <= dropped;
        let all = known + self.revoked + self.revoked_shares;
        unshared
            && all <= dropped + counters.dropped(Dropped::NoMember)
            && self.plain <= full
            && self.plain + self.expiring <= full + expired
            && self.plain + self.large <= full + large
            && self.plain + self.expiring + self.large + self.both <= full + expired + large
    }
}
