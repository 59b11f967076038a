//! The topic aliases of a link.

use crate::base::maps::HashMap;
use crate::base::visits::visit;
use std::collections::BTreeMap;

/// The aliases that each end has given the other. Peers choose aliases and topics, so the maps are
/// ordered ones, for which nobody can prepare collisions.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    /// The topics of aliases set by the peer.
    received: BTreeMap<u16, Box<str>>,
    /// The aliases given to the peer.
    sent: BTreeMap<Box<str>, u16>,
    /// The number of aliases that the peer takes.
    sent_max: u16,
}

impl Aliases {
    /// The bytes that the aliases take, if topics are as long as most.
    pub(super) fn memory(&self) -> usize {
        (self.received.len() + self.sent.len()) * 2 * size_of::<(Box<str>, u16)>()
    }

    /// The peer takes so many aliases.
    pub(super) const fn allow(&mut self, sent_max: u16) {
        self.sent_max = sent_max;
    }

    /// True when the peer takes any.
    pub(super) const fn are_taken(&self) -> bool {
        self.sent_max > 0
    }

    /// The topic that the peer has set `alias` to.
    pub(super) fn topic(&self, alias: u16) -> Option<&str> {
        visit(1);
        self.received.get(&alias).map(|topic| &**topic)
    }

    /// The peer sets `alias` to `topic`.
    pub(super) fn set_topic(&mut self, alias: u16, topic: &str) {
        visit(1);
        self.received.insert(alias, topic.into());
    }

    /// The alias under which `topic` goes to the peer, and whether the peer knows it: the first
    /// topics sent to the peer get one, and keep it.
    // [MQTT-3.1.2-26], [MQTT-3.1.2-27]
    pub(super) fn alias_for(&self, topic: &str) -> Option<(u16, bool)> {
        visit(1);
        if let Some(&alias) = self.sent.get(topic) {
            return Some((alias, true));
        }
        let alias = self.sent.len() as u16;
        (alias < self.sent_max).then_some((alias + 1, false))
    }

    /// The topics of the aliases given to the peer.
    pub(super) fn topics_sent(&self) -> HashMap<u16, &str> {
        self.sent.iter().map(|(topic, alias)| (*alias, &**topic)).collect()
    }

    /// The peer has been sent `topic` with a new alias.
    pub(super) fn note_sent(&mut self, topic: &str, alias: u16) {
        visit(1);
        self.sent.insert(topic.into(), alias);
    }
}
