//! Rules: the topics that a client may read and write.

use super::grants::Reach;
use super::overlap::{Overlap, overlap};
use crate::mqtt::{TopicFilter, matches};
use std::sync::Arc;

/// The level that stands for the client identifier in a pattern.
pub(super) const CLIENT_ID: &str = "%c";
/// The level that stands for the user name in a pattern.
pub(super) const USER: &str = "%u";

/// A client's action on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Read,
    Write,
}

/// The effect of a rule on the topics that its filter matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Effect {
    pub is_allowed: bool,
    pub reads: bool,
    pub writes: bool,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    effect: Effect,
    /// A valid filter; the levels [`CLIENT_ID`] and [`USER`] stay as they are, see [`Names`].
    filter: Box<str>,
    names_client: bool,
    names_user: bool,
}

impl Rule {
    /// Makes a rule whose filter is taken literally.
    pub(super) fn literal(effect: Effect, filter: &str) -> Result<Self, &'static str> {
        let parsed = TopicFilter::parse(filter, usize::MAX).map_err(|error| error.cause)?;
        if parsed.share_name.is_some() {
            return Err("rules speak of topics: leave out $share and the share name");
        }
        Ok(Self { effect, filter: filter.into(), names_client: false, names_user: false })
    }

    /// Makes a rule in whose filter the levels `%c` and `%u` stand for the client's identifiers.
    pub(super) fn pattern(effect: Effect, filter: &str) -> Result<Self, &'static str> {
        let mut rule = Self::literal(effect, filter)?;
        for level in filter.split('/') {
            match level {
                CLIENT_ID => rule.names_client = true,
                USER => rule.names_user = true,
                // As a part of a level an identifier could complete a name that is another's.
                _ if level.contains(CLIENT_ID) || level.contains(USER) => {
                    return Err("%c and %u have to be whole levels");
                }
                _ => {}
            }
        }
        Ok(rule)
    }

    /// Whether the rule denies.
    pub(super) const fn is_denial(&self) -> bool {
        !self.effect.is_allowed
    }

    /// The topics that the rule decides about, for `action` of a client with these `names`.
    fn bearing(&self, action: Action, names: &Names) -> Bearing {
        let concerns = match action {
            Action::Read => self.effect.reads,
            Action::Write => self.effect.writes,
        };
        let mentions = |name: &Name| {
            let client = self.names_client && names.client_id == *name;
            client || self.names_user && names.user == *name
        };
        if !concerns || mentions(&Name::Absent) {
            return Bearing::None;
        }
        match (mentions(&Name::Unusable), self.effect.is_allowed) {
            (false, _) => Bearing::Filter,
            (true, true) => Bearing::None,
            // Nobody can tell which topics were meant, so it denies whatever it could mean.
            (true, false) => Bearing::Everything,
        }
    }

    fn matches(&self, names: &Names, topic: &str) -> bool {
        if !self.names_client && !self.names_user {
            return matches(&self.filter, topic);
        }
        // An identifier is no way into the topics that no wildcard covers either.
        if topic.starts_with('$') && self.filter.starts_with(['+', '#', '%']) {
            return false;
        }
        let mut levels = topic.split('/');
        for level in self.levels(names) {
            match (level, levels.next()) {
                (Level::Rest, _) => return true,
                (Level::Any, Some(_)) => {}
                (Level::Literal(wanted), Some(name)) if wanted == name => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// The filter's levels, with the names in the places of `%c` and `%u`.
    fn levels<'a>(&'a self, names: &'a Names) -> impl Iterator<Item = Level<'a>> {
        self.filter.split('/').map(|level| match level {
            "+" => Level::Any,
            "#" => Level::Rest,
            CLIENT_ID if self.names_client => Level::Literal(names.client_id.level()),
            USER if self.names_user => Level::Literal(names.user.level()),
            _ => Level::Literal(level),
        })
    }

    fn overlap(&self, names: &Names, filter: &str) -> Overlap {
        let is_wild = self.filter.starts_with(['+', '#'])
            || self.filter.starts_with('%') && (self.names_client || self.names_user);
        let crosses = is_wild && filter.starts_with('$')
            || filter.starts_with(['+', '#']) && self.first_level(names).starts_with('$');
        if crosses { Overlap::None } else { overlap(self.levels(names), filter) }
    }

    fn first_level<'a>(&'a self, names: &'a Names) -> &'a str {
        match self.levels(names).next() {
            Some(Level::Literal(level)) => level,
            _ => "",
        }
    }
}

/// The topics that a rule decides about, for one client's action.
enum Bearing {
    None,
    /// The topics that the rule's filter matches.
    Filter,
    /// All topics.
    Everything,
}

/// A level of a rule's filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level<'a> {
    Literal(&'a str),
    Any,
    Rest,
}

/// A client's identifiers, as levels of a pattern.
///
/// Identifiers are never put into a filter as text: a level of a topic is compared with the whole
/// identifier. So an identifier can be neither a wildcard nor more than one level, whatever
/// characters it contains.
#[derive(Debug, Clone)]
pub(super) struct Names {
    client_id: Name,
    user: Name,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// One literal level.
    Level(Box<str>),
    /// A name that no level of a topic equals: empty, or with `+`, `#` or `/` in it.
    Unusable,
    /// No name: the client has no verified one.
    Absent,
}

impl Name {
    fn new(name: &str) -> Self {
        match name.is_empty() || name.contains(['+', '#', '/']) {
            true => Self::Unusable,
            false => Self::Level(name.into()),
        }
    }

    fn level(&self) -> &str {
        match self {
            Self::Level(level) => level,
            // Neither is asked for: see `Rule::bearing`.
            Self::Unusable | Self::Absent => "/",
        }
    }
}

impl Names {
    pub(super) fn new(client_id: &str, user: Option<&str>) -> Self {
        Self { client_id: Name::new(client_id), user: user.map_or(Name::Absent, Name::new) }
    }
}

/// Rules in the order in which they are asked. The first rule that covers a topic decides.
#[derive(Debug, Default)]
pub struct Rules {
    own: Box<[Rule]>,
    /// The rules of everyone, asked last.
    common: Arc<[Rule]>,
    /// Whether a topic that no rule covers is allowed.
    allows_rest: bool,
}

impl Rules {
    pub(super) fn new(own: Vec<Rule>, common: Arc<[Rule]>) -> Self {
        Self { own: own.into(), common, allows_rest: false }
    }

    /// Rules that forbid reading what `filter` matches, and nothing else.
    pub(super) fn all_but_reading(filter: &str) -> Result<Self, &'static str> {
        let denied = Effect { is_allowed: false, reads: true, writes: false };
        let own = [Rule::literal(denied, filter)?].into();
        Ok(Self { own, common: Arc::default(), allows_rest: true })
    }

    fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.own.iter().chain(self.common.iter())
    }

    /// Whether a rule names the client identifier.
    pub(super) fn names_client(&self) -> bool {
        self.iter().any(|rule| rule.names_client)
    }

    /// Whether a rule names the user.
    pub(super) fn names_user(&self) -> bool {
        self.iter().any(|rule| rule.names_user)
    }

    pub(super) fn permits(&self, action: Action, names: &Names, topic: &str) -> bool {
        for rule in self.iter() {
            match rule.bearing(action, names) {
                Bearing::Filter if rule.matches(names, topic) => return rule.effect.is_allowed,
                Bearing::Everything => return false,
                Bearing::Filter | Bearing::None => {}
            }
        }
        self.allows_rest
    }

    pub(super) fn reach(&self, names: &Names, filter: &str) -> Reach {
        let (mut some_allowed, mut some_denied) = (false, false);
        // Only the topics of which no rule before spoke are left to a rule.
        for rule in self.iter() {
            let covers = match rule.bearing(Action::Read, names) {
                Bearing::None => continue,
                Bearing::Everything => true,
                Bearing::Filter => match rule.overlap(names, filter) {
                    Overlap::None => continue,
                    Overlap::Part => false,
                    Overlap::All => true,
                },
            };
            some_allowed |= rule.effect.is_allowed;
            some_denied |= rule.is_denial();
            if covers {
                return Reach::of(some_allowed, some_denied);
            }
        }
        Reach::of(some_allowed || self.allows_rest, some_denied || !self.allows_rest)
    }
}
