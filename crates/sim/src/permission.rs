//! I5 as the model sees it: what may pass, what must, and what of both is not known because the
//! rules changed meanwhile.

use super::model::{Message, Model, Subscription};
use super::rights::{Action, Edition, Who};
use super::wills::Fate;
use super::wire::{Item, Wire};
use ringmq::base::time::Time;
use ringmq::options::ClientIdOwner;
use ringmq_mqtt::{QoS, ReasonCode};

/// Whether a publish was permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Passage {
    /// The publish may have been permitted.
    pub(super) is_possible: bool,
    /// The publish was permitted.
    pub(super) is_certain: bool,
    /// The publish may have been denied.
    pub(super) may_fail: bool,
}

impl Passage {
    pub(super) const fn note(&mut self, may: bool) {
        self.is_possible |= may;
        self.may_fail |= !may;
    }
}

impl Message {
    /// A copy of it was handled; `is_permitted`: whenever that was.
    pub(super) fn note_passage(&mut self, is_permitted: bool) {
        // Of a QoS 2 message it is not known which copy was judged.
        let is_certain = match self.qos {
            QoS::ExactlyOnce => !self.passage.may_fail,
            _ => is_permitted,
        };
        self.passage.is_certain |= is_certain;
    }
}

impl Model {
    /// Whether the credential of the wire's client lets it in now.
    pub(super) fn admits(&self, wire: &Wire) -> bool {
        let edition = self.rights.as_ref().map(|rights| rights.at(wire.worker));
        edition.is_none_or(|edition| edition.admits(wire.credential))
    }

    /// Whether the session belongs to another user than this one.
    pub(super) fn is_of_another(&self, session: usize, who: &Who) -> bool {
        let owner = self.sessions[session].who().user;
        self.options.client_id_owner != ClientIdOwner::None
            && owner.is_some_and(|owner| who.user != Some(owner))
    }

    /// Whether a client that opened its connection at `opened` has to be refused, since its client
    /// identifier is that of another user's `session`; None when that is not sure.
    pub(super) fn is_taken(&self, session: usize, who: &Who, opened: Time) -> Option<bool> {
        if !self.is_of_another(session, who) {
            return Some(false);
        }
        let state = &self.sessions[session];
        match (state.lost, self.options.client_id_owner) {
            (None, _) => Some(true),
            (Some(lost), _) if lost >= opened => None,
            (Some(_), ClientIdOwner::Session) => self.is_kept(session),
            (Some(_), _) => Some(false),
        }
    }

    /// Whether a session's client may do this now.
    pub(super) fn may(&self, session: usize, action: Action, topic: &str) -> bool {
        let Some(rights) = &self.rights else { return true };
        let state = &self.sessions[session];
        rights.at(state.worker).may(action, state.who(), topic)
    }

    /// Whether a session's client could read the topic at any, and at every moment from event
    /// `first` to event `last`.
    pub(super) fn could_read(
        &self,
        session: usize,
        topic: &str,
        first: u64,
        last: u64,
    ) -> (bool, bool) {
        let Some(rights) = &self.rights else { return (true, true) };
        let state = &self.sessions[session];
        let owners = state.owners(first, last);
        any_and_all(owners.flat_map(|who| {
            let editions = rights.during(state.worker, first, last);
            editions.map(|edition| edition.may(Action::Read, who, topic))
        }))
    }

    /// Whether a session's client could read the message, once it could, to the end.
    pub(super) fn never_loses(&self, session: usize, message: &Message) -> bool {
        let Some(rights) = &self.rights else { return true };
        let state = &self.sessions[session];
        let mut owners = state.owners(message.first, self.event);
        let (who, is_one) = (owners.next().expect("there is one"), owners.next().is_none());
        let editions = rights.during(state.worker, message.first, self.event);
        let may = |edition: &Edition| edition.may(Action::Read, who, &message.topic);
        is_one && editions.map(may).is_sorted()
    }

    /// Whether the publisher of a retained message could have published it again, as any and as
    /// every worker saw it from event `first` to event `last`.
    pub(super) fn could_retain(&self, message: &Message, first: u64, last: u64) -> (bool, bool) {
        let (Some(rights), Some(session)) = (&self.rights, message.session) else {
            return (true, true);
        };
        // What one owner sent first, another may have sent again.
        let owners = self.sessions[session].owners(0, self.event);
        any_and_all(owners.flat_map(|who| {
            let workers = 0..rights.workers();
            let editions = workers.flat_map(|worker| rights.during(worker, first, last));
            editions.map(|edition| edition.may(Action::Write, who, &message.topic))
        }))
    }

    /// Whether the will of a session could be published at any, and at every moment between.
    pub(super) fn could_leave(&self, message: &Message, first: Time, last: Time) -> (bool, bool) {
        let (Some(rights), Some(session)) = (&self.rights, message.session) else {
            return (true, true);
        };
        let state = &self.sessions[session];
        any_and_all(state.owners(0, self.event).flat_map(|who| {
            let editions = rights.between(state.worker, first, last);
            editions.map(|edition| edition.may(Action::Write, who, &message.topic))
        }))
    }

    /// Whether a subscription may be granted now, and whether it may be refused.
    pub(super) fn judge(&self, session: usize, filter: &str) -> (bool, bool) {
        let Some(rights) = &self.rights else { return (true, false) };
        let state = &self.sessions[session];
        rights.at(state.worker).judge(state.who(), filter)
    }

    /// Notes whether a packet that the shard gets is permitted now.
    pub(super) fn is_permitted(&mut self, wire: &Wire, item: &Item) -> bool {
        let &Item::Publish(index) = item else { return true };
        // Only who may do everything publishes before CONNACK.
        let may = |session| self.may(session, Action::Write, &self.messages[index].topic);
        let may = wire.session.is_none_or(may);
        self.messages[index].passage.note(may);
        may
    }

    /// The worker goes by other rules.
    pub(super) fn enforce(&mut self, worker: usize, edition: usize) {
        let (event, now) = (self.event, self.now);
        let Some(rights) = &mut self.rights else { return };
        rights.enforce(worker, edition, event, now);
        for session in 0..self.sessions.len() {
            if self.sessions[session].worker == worker && !self.sessions[session].ended {
                self.judge_will(session);
            }
        }
    }

    /// Judges a will by changed rules: the will of a client that would not be let in is discarded.
    fn judge_will(&mut self, session: usize) {
        let state = &self.sessions[session];
        let Some(will) = state.will else { return };
        let rights = self.rights.as_ref().expect("only where there are rights");
        let edition = rights.at(state.worker);
        let (message, now) = (self.wills[will].message, self.now);
        let may = edition.may(Action::Write, state.who(), &self.messages[message].topic);
        self.messages[message].passage.note(may);
        if edition.admits(state.credential) {
            return;
        }
        let will = &mut self.wills[will];
        will.fate = match will.fate {
            Fate::Due(due) if due <= now => Fate::Either(due),
            Fate::Due(_) | Fate::Armed => Fate::Discarded,
            fate @ (Fate::Open | Fate::Either(_) | Fate::Discarded) => fate,
        };
    }

    /// Judges by other rules the packets that the shard has got and may not have looked at.
    pub(super) fn judge_handed(&mut self, wire: &mut Wire) {
        let Some(session) = wire.session else { return };
        for at in 0..wire.up.handed_items.len() {
            let item = wire.up.handed_items[at].item.clone();
            wire.up.handed_items[at].is_permitted &= self.is_permitted(wire, &item);
            let Item::Subscribe { packet_id, .. } = item else { continue };
            for &place in wire.subscribing.get(&packet_id).into_iter().flatten() {
                let filter = self.sessions[session].subscriptions[place].filter.clone();
                let (may_grant, may_refuse) = self.judge(session, &filter);
                let subscription = &mut self.sessions[session].subscriptions[place];
                subscription.judgement.0 |= may_grant;
                if may_refuse && !std::mem::replace(&mut subscription.judgement.1, true) {
                    // What it was sure to replace may stay.
                    let ends = &mut wire.up.handed_items[at].ends;
                    let is_same = |place: &usize| {
                        self.sessions[session].subscriptions[*place].filter == filter
                    };
                    let replaces = ends.iter().copied().filter(is_same).collect();
                    ends.retain(|place| !is_same(place));
                    self.sessions[session].subscriptions[place].replaces = replaces;
                }
            }
        }
    }

    /// The code in a SUBACK for the subscription at `place`.
    pub(super) fn granted(&mut self, session: usize, place: usize, code: u8, is_v5: bool) {
        let event = self.event;
        let subscription = &mut self.sessions[session].subscriptions[place];
        let refusal = if is_v5 { ReasonCode::NotAuthorized as u8 } else { 0x80 };
        let (may_grant, may_refuse) = subscription.judgement;
        let is_granted = code == subscription.options.qos as u8;
        if !(is_granted && may_grant || code == refusal && may_refuse) {
            let invariant = if self.rights.is_some() { "I5" } else { "I4" };
            let text = format!("{subscription:?} was granted {code:#04x}");
            return self.fail(invariant, text);
        }
        if !is_granted {
            // It was never there.
            subscription.is_refused = true;
            subscription.until_possible = 0;
            return;
        }
        subscription.from_certain = event;
        for place in std::mem::take(&mut subscription.replaces) {
            let until: &mut Subscription = &mut self.sessions[session].subscriptions[place];
            until.until_possible = until.until_possible.min(event);
        }
    }

    /// The code in a PUBACK or PUBREC for a message: false when it cannot be right.
    pub(super) fn acknowledged(&mut self, index: usize, code: ReasonCode, is_v5: bool) -> bool {
        let message = &mut self.messages[index];
        let is_denied = code == ReasonCode::NotAuthorized;
        if code.is_error() && !(is_denied && is_v5 && message.passage.may_fail) {
            return false;
        }
        message.acknowledged = message.acknowledged.min(self.event);
        if !is_v5 || self.rights.is_none() {
            return true;
        }
        if !is_denied && !message.passage.is_possible {
            return false;
        }
        if message.handed == 1 {
            message.passage.is_possible = !is_denied;
            message.passage.is_certain = !is_denied;
        }
        true
    }

    /// At the end: what was denied has reached nobody.
    pub(super) fn check_denied(&mut self) {
        let is_denied = |index: &usize| {
            let message = &self.messages[*index];
            message.handed > 0 && !message.passage.is_possible && !message.clears()
        };
        let denied: Vec<usize> = (0..self.messages.len()).filter(is_denied).collect();
        let reached = denied.into_iter().find_map(|index| {
            let session = self.sessions.iter().position(|s| s.seen.contains_key(&index))?;
            Some(format!("session {session} got {:?}", self.messages[index]))
        });
        if let Some(text) = reached {
            self.fail("I5", text);
        }
    }
}

fn any_and_all(outcomes: impl Iterator<Item = bool>) -> (bool, bool) {
    outcomes.fold((false, true), |(any, all), may| (any || may, all && may))
}
