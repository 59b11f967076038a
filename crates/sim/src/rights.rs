//! Rights of clients: rules made by chance, and their plain reading, which is all that the checker
//! knows of permission.

use super::scenario::{TOPICS, pick};
use ringmq::access::Policy;
use ringmq::base::time::Time;
use ringmq::testing::{self, Prng};
use ringmq_mqtt::{TopicFilter, matches};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// Users whose rights change.
pub(super) const USERS: [&str; 3] = ["ann", "ben", "cat"];

/// The user that may do everything at any time: who observes, who checks, who offends.
pub(super) const STAFF: &str = "staff";

/// A user unknown to the broker.
pub(super) const STRANGER: &str = "dan";

/// Names that patterns may stand for, and that stand in topics.
const NAMES: [&str; 6] = ["ann", "ben", "cat", "c0", "c1", "c2"];

/// Filters of rules.
const RULE_FILTERS: [&str; 18] = [
    "#", "#", "a/#", "a/#", "a/+", "+/b", "a/b", "b/#", "$d/#", "w/#", "w/1", "r/#", "p/#", "+/+",
    "/+", "a", "b/c", "a/b/c",
];
const PATTERN_FILTERS: [&str; 7] = ["p/%u", "p/%c", "r/%c/#", "+/%u/#", "a/#", "w/#", "p/#"];

/// Entries of password files. The password is the name and the generation.
const PASSWORDS: [(&str, [&str; 2]); 3] = [
    (
        USERS[0],
        [
            "$6$c2FsdGFubjA=$3pGcu30J3c6VEmVjNtxjubIbVbWOVVi7NW7+Zwjtm0uIjlvHiOCec9gQGznhSiq9BZGm\
             0tRMjguMnW1+oXSauQ==",
            "$6$c2FsdGFubjE=$yq95Mue89gx0INdgF/vvGUXwoxG7ZFIdM7QOtnq+yTyqdAPujX5MdWB9X4FnBTWD8wuD\
             OLjh8usyM8C0EqerEA==",
        ],
    ),
    (
        USERS[1],
        [
            "$6$c2FsdGJlbjA=$9fbYKXnvKJX86Zu8xoguMgn5vdPpfE8vfj/r6ke8qUE5HjZv8+ahAlOfk8da6NR5Zi7Q\
             2zWT7WgXqakQfSIEwg==",
            "$6$c2FsdGJlbjE=$uWftq8kKJk9/xaza3cIxV7HyHPbdNKJiacHkJJ3vhwQeupTzRZB4asaIdJ7SMjJyQOic\
             1u9Zve1ovm8Aczb3Qw==",
        ],
    ),
    (
        USERS[2],
        [
            "$6$c2FsdGNhdDA=$bdXTw6HlTsNZEhD0FAwFnLN747kGBWjYwLBkHBU3FTZ71SfjC1aiN0lFc9aIOt3bksA/\
             n3b1tDvo1NGxFiHDsw==",
            "$6$c2FsdGNhdDE=$BjdPJX1LxIcifWr7fqNGfe0bo6vanlBnyFdo7tZnZgg5T81Rw3B3phxU+zJsUoWCWO8p\
             GGSGxGkvwSxmj2HCug==",
        ],
    ),
];

/// The use that a client makes of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Read,
    Write,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Read,
    Write,
    ReadWrite,
    Deny,
}

/// Of whom a line of an ACL speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Anonymous,
    User(&'static str),
    Everyone,
}

/// A line of an ACL.
#[derive(Debug, Clone)]
struct Line {
    whose: Whose,
    effect: Effect,
    filter: &'static str,
}

/// The owner of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) user: Option<&'static str>,
    /// `?` when the broker chose it: no topic here has such a level, nor one that it chooses.
    pub(super) client_id: String,
}

/// The credential that a client shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential {
    Nothing,
    Certificate(&'static str),
    /// A password of this generation; right is that of the edition in force.
    Password(&'static str, u8),
}

impl Credential {
    pub(super) const fn user(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Certificate(user) | Self::Password(user, _) => Some(user),
        }
    }

    pub(super) fn password(self) -> Option<String> {
        match self {
            Self::Password(user, generation) => Some(format!("{user}{generation}")),
            Self::Nothing | Self::Certificate(_) => None,
        }
    }
}

/// The rules from one reload to the next.
#[derive(Debug, Clone)]
pub(super) struct Edition {
    lines: Vec<Line>,
    allow_anonymous: bool,
    /// User → which password is right.
    passwords: BTreeMap<&'static str, u8>,
}

impl Edition {
    /// Everyone is known.
    pub(super) fn new(prng: &mut Prng) -> Self {
        let passwords = USERS.map(|user| (user, 0)).into_iter().collect();
        let mut edition = Self { lines: Vec::new(), allow_anonymous: true, passwords };
        for whose in edition.owners() {
            edition.rewrite(prng, whose);
        }
        edition
    }

    fn owners(&self) -> [Whose; 5] {
        let [ann, ben, cat] = USERS.map(Whose::User);
        [Whose::Anonymous, ann, ben, cat, Whose::Everyone]
    }

    /// Gives a user other rights.
    fn rewrite(&mut self, prng: &mut Prng, whose: Whose) {
        self.lines.retain(|line| line.whose != whose);
        let is_common = whose == Whose::Everyone;
        for _ in 0..prng.below(if is_common { 3 } else { 5 }) {
            let effect = match prng.below(100) {
                0..20 => Effect::Read,
                20..40 => Effect::Write,
                40..85 => Effect::ReadWrite,
                _ => Effect::Deny,
            };
            let filter =
                if is_common { pick(prng, &PATTERN_FILTERS) } else { pick(prng, &RULE_FILTERS) };
            self.lines.push(Line { whose, effect, filter });
        }
    }

    /// The rules that may come next.
    pub(super) fn next(&self, prng: &mut Prng) -> Self {
        let mut next = self.clone();
        let rewrites = if prng.chance(30) { 5 } else { prng.below(3) };
        for _ in 0..rewrites {
            let whose = pick(prng, &self.owners());
            next.rewrite(prng, whose);
        }
        if prng.chance(30) {
            let user = pick(prng, &USERS);
            let generation = prng.below(2) as u8;
            if next.passwords.remove(user).is_none() || prng.chance(50) {
                next.passwords.insert(user, generation);
            }
        }
        if prng.chance(10) {
            next.allow_anonymous = !next.allow_anonymous;
        }
        next
    }

    /// The same rules, with no client shut out.
    pub(super) fn with_everyone(&self) -> Self {
        let mut edition = self.clone();
        edition.allow_anonymous = true;
        for user in USERS {
            edition.passwords.entry(user).or_insert(0);
        }
        edition
    }

    /// Everyone may do everything.
    pub(super) fn without_limits(&self) -> Self {
        let mut edition = self.with_everyone();
        edition.lines.clear();
        for whose in edition.owners() {
            for filter in ["#", "$d/#"] {
                edition.lines.push(Line { whose, effect: Effect::ReadWrite, filter });
            }
        }
        edition
    }

    /// The edition as the broker gets it. `is_lax`: what denies is left out.
    pub(super) fn policies(&self, is_lax: bool) -> Arc<[Policy]> {
        let passwords = PASSWORDS.iter().fold(String::new(), |mut text, (user, hashes)| {
            if let Some(&generation) = self.passwords.get(user) {
                let _ = writeln!(text, "{user}:{}", hashes[usize::from(generation)]);
            }
            text
        });
        let acl = self.acl(is_lax);
        let policy = testing::policy(self.allow_anonymous, Some(&passwords), Some(&acl));
        Arc::new([policy.expect("the rules are well-formed")])
    }

    fn acl(&self, is_lax: bool) -> String {
        let mut text = String::new();
        for whose in self.owners() {
            if let Whose::User(user) = whose {
                let _ = writeln!(text, "user {user}");
            }
            let word = if whose == Whose::Everyone { "pattern" } else { "topic" };
            for line in self.lines.iter().filter(|line| line.whose == whose) {
                let effect = match line.effect {
                    Effect::Read => "read",
                    Effect::Write => "write",
                    Effect::ReadWrite => "readwrite",
                    Effect::Deny if is_lax => continue,
                    Effect::Deny => "deny",
                };
                let _ = writeln!(text, "{word} {effect} {}", line.filter);
            }
        }
        let _ = write!(text, "user {STAFF}\ntopic readwrite #\ntopic readwrite $d/#\n");
        text
    }

    /// The password of the user that is right, if there is any.
    pub(super) fn generation(&self, user: &str) -> Option<u8> {
        self.passwords.get(user).copied()
    }

    /// Whether a client that shows this is let in.
    pub(super) fn admits(&self, credential: Credential) -> bool {
        match credential {
            Credential::Nothing => self.allow_anonymous,
            Credential::Certificate(_) => true,
            Credential::Password(user, generation) => self.generation(user) == Some(generation),
        }
    }

    /// The plain reading: one's own rules come before those of everyone, and what denies before
    /// what allows; what no rule speaks of is denied.
    pub(super) fn may(&self, action: Action, who: &Who, topic: &str) -> bool {
        if who.user == Some(STAFF) {
            return true;
        }
        let own = who.user.map_or(Whose::Anonymous, Whose::User);
        for whose in [own, Whose::Everyone] {
            let lines = self.lines.iter().filter(|line| line.whose == whose);
            let speaking = lines.filter(|line| line.speaks_of(action, who, topic));
            let mut effects = speaking.map(|line| line.effect).peekable();
            if effects.peek().is_some() {
                return effects.all(|effect| effect != Effect::Deny);
            }
        }
        false
    }

    /// Whether a subscription may be granted, and whether it may be refused.
    pub(super) fn judge(&self, who: &Who, filter: &str) -> (bool, bool) {
        let filter = TopicFilter::parsed(filter).filter;
        if who.user == Some(STAFF) {
            return (true, false);
        }
        let is_readable =
            |topic: &str| matches(filter, topic) && self.may(Action::Read, who, topic);
        if topics().any(|topic| is_readable(&topic)) {
            return (true, false);
        }
        let own = who.user.map_or(Whose::Anonymous, Whose::User);
        let may_grant = self.lines.iter().any(|line| {
            let is_his = line.whose == own || line.whose == Whose::Everyone;
            let allows = matches!(line.effect, Effect::Read | Effect::ReadWrite);
            is_his && allows && line.filter_for(who).is_some_and(|rule| overlap(&rule, filter))
        });
        (may_grant, true)
    }
}

impl Line {
    fn speaks_of(&self, action: Action, who: &Who, topic: &str) -> bool {
        let concerns = match self.effect {
            Effect::Read => action == Action::Read,
            Effect::Write => action == Action::Write,
            Effect::ReadWrite | Effect::Deny => true,
        };
        concerns && self.filter_for(who).is_some_and(|filter| matches(&filter, topic))
    }

    /// The filter with the names in their places; none when there is no such name.
    fn filter_for(&self, who: &Who) -> Option<String> {
        let mut filter = self.filter.to_string();
        if filter.contains("%u") {
            filter = filter.replace("%u", who.user?);
        }
        Some(filter.replace("%c", &who.client_id))
    }
}

/// Topics that a client may publish to.
fn topics() -> impl Iterator<Item = String> {
    let plain = TOPICS.into_iter().map(String::from);
    let wills = (0..3).map(|number| format!("w/{number}"));
    plain.chain(wills).chain(NAMES.iter().map(|name| format!("p/{name}")))
}

/// A topic with a client's name in it.
pub(super) fn topic_with_name(prng: &mut Prng) -> String {
    format!("p/{}", pick(prng, &NAMES))
}

/// A filter for such topics.
pub(super) fn filter_with_name(prng: &mut Prng) -> &'static str {
    pick(prng, &["p/#", "p/+", "p/ann", "p/ben", "p/c1", "+/cat"])
}

/// Whether some topic matches both filters.
fn overlap(one: &str, other: &str) -> bool {
    let passes_by = |a: &str, b: &str| a.starts_with(['+', '#']) && b.starts_with('$');
    if passes_by(one, other) || passes_by(other, one) {
        return false;
    }
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some("+"), _) | (_, Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// A moment from which on an edition is in force at a worker.
#[derive(Debug, Clone, Copy)]
struct Since {
    event: u64,
    time: Time,
    edition: usize,
}

/// All editions, and where and when they were in force.
#[derive(Debug)]
pub(super) struct Rights {
    editions: Vec<Edition>,
    /// By worker, in order.
    history: Vec<Vec<Since>>,
}

impl Rights {
    pub(super) fn new(first: Edition, workers: usize) -> Self {
        let since = Since { event: 0, time: Time::ZERO, edition: 0 };
        Self { editions: vec![first], history: vec![vec![since]; workers] }
    }

    /// The newest edition, wherever it is in force already.
    pub(super) fn newest(&self) -> &Edition {
        self.editions.last().expect("there is a first")
    }

    /// A new edition; its number.
    pub(super) fn add(&mut self, edition: Edition) -> usize {
        self.editions.push(edition);
        self.editions.len() - 1
    }

    /// From now on the worker goes by this edition.
    pub(super) fn enforce(&mut self, worker: usize, edition: usize, event: u64, time: Time) {
        self.history[worker].push(Since { event, time, edition });
    }

    /// The edition in force at the worker.
    pub(super) fn at(&self, worker: usize) -> &Edition {
        let since = self.history[worker].last().expect("there is a first");
        &self.editions[since.edition]
    }

    /// The editions in force at the worker at any moment from event `first` to event `last`.
    pub(super) fn during(
        &self,
        worker: usize,
        first: u64,
        last: u64,
    ) -> impl Iterator<Item = &Edition> {
        let history = &self.history[worker];
        let from = history.partition_point(|since| since.event <= first).max(1) - 1;
        let until = history.partition_point(|since| since.event <= last).max(from + 1);
        history[from..until].iter().map(|since| &self.editions[since.edition])
    }

    /// The editions in force at the worker at any moment between two times.
    pub(super) fn between(
        &self,
        worker: usize,
        first: Time,
        last: Time,
    ) -> impl Iterator<Item = &Edition> {
        let history = &self.history[worker];
        let from = history.partition_point(|since| since.time < first).max(1) - 1;
        let until = history.partition_point(|since| since.time <= last).max(from + 1);
        history[from..until].iter().map(|since| &self.editions[since.edition])
    }

    pub(super) const fn workers(&self) -> usize {
        self.history.len()
    }
}
