//! ACL files, as Mosquitto reads them.
//!
//! ```text
//! # Anonymous clients:
//! topic read public/#
//!
//! user Alice Cooper
//! topic sensors/#
//! topic deny sensors/secret
//!
//! # Everyone:
//! pattern readwrite devices/%c/#
//! pattern read users/%u/inbox
//! ```
//!
//! A client's own rules are asked first, then the patterns. Within each group, denials come before
//! permissions. So `topic` may allow to one user what a `pattern` denies to everyone.
//!
//! Four rules differ from those of Mosquitto, for these reasons:
//!
//! - Mosquitto replaces `%c` and `%u` anywhere within a level. Here they have to be whole levels,
//!   since `door-%c` with a client `1-back` would mean another client's `door-1-back`.
//! - A `/` in an identifier makes several levels in Mosquitto. Here the pattern then matches
//!   nothing, so that no client reaches into `devices/a/b` by taking the identifier `a/b`. The same
//!   goes for `+` and `#`, with which Mosquitto lets no pattern match. When such an identifier
//!   stands in a pattern that denies, no pattern allows anything, since the topics that the pattern
//!   was to deny are unknown.
//! - `topic read` is the filter `read` in Mosquitto. Here the filter is missing, since a line such
//!   as `topic deny` was meant to deny.
//! - A file without a final newline is accepted by Mosquitto. Here the file counts as cut off, and
//!   its missing half may deny what the first half allows.

use super::grants::Grants;
use super::login::Identity;
use super::rules::{Effect, Names, Rule, Rules};
use crate::base::maps::HashMap;
use std::sync::Arc;

/// The rules of an ACL file.
#[derive(Debug)]
pub(super) struct Acl {
    users: HashMap<Box<str>, Entry>,
    anonymous: Entry,
    /// The rules of users whom the file does not name.
    others: Entry,
}

#[derive(Debug)]
struct Entry {
    rules: Arc<Rules>,
    /// The grants that everyone with these rules shares; none when a rule names the client
    /// identifier, or the user while users differ.
    shared: Option<Arc<Grants>>,
}

impl Entry {
    fn new(own: Vec<Rule>, common: &Arc<[Rule]>, user: Option<&str>, is_one_user: bool) -> Self {
        let rules = Arc::new(Rules::new(own, Arc::clone(common)));
        let differs = rules.names_client() || !is_one_user && rules.names_user();
        let shared = || Arc::new(Grants::new(Arc::clone(&rules), Names::new("", user)));
        let shared = (!differs).then(shared);
        Self { rules, shared }
    }

    fn grants(&self, identity: &Identity) -> Arc<Grants> {
        self.shared.clone().unwrap_or_else(|| {
            let names = Names::new(&identity.client_id, identity.user.as_deref());
            Arc::new(Grants::new(Arc::clone(&self.rules), names))
        })
    }
}

impl Acl {
    /// Reads a file's text. The error holds the line's number and its fault.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut reader = Reader::default();
        for (index, line) in text.lines().enumerate() {
            reader.take(line).map_err(|cause| (index + 1, cause))?;
        }
        if !text.is_empty() && !text.ends_with('\n') {
            let cause = "the file ends within a line: restore the rest of it, or end the line";
            return Err((text.lines().count(), cause));
        }
        Ok(reader.finish())
    }

    pub(super) fn grants(&self, identity: &Identity) -> Arc<Grants> {
        let entry = match &identity.user {
            None => &self.anonymous,
            Some(user) => self.users.get(&**user).unwrap_or(&self.others),
        };
        entry.grants(identity)
    }

    /// Whether the file treats one user differently from another.
    pub(super) fn names_users(&self) -> bool {
        !self.users.is_empty() || self.others.rules.names_user()
    }
}

/// The part of a file that is read so far.
#[derive(Default)]
struct Reader {
    users: HashMap<Box<str>, Vec<Rule>>,
    anonymous: Vec<Rule>,
    patterns: Vec<Rule>,
    /// The user whom the next lines are about; none for anonymous clients, before the first `user`.
    user: Option<Box<str>>,
}

impl Reader {
    fn take(&mut self, line: &str) -> Result<(), &'static str> {
        if line.contains(|letter: char| letter.is_control() && letter != '\t') {
            return Err("a control character: remove it");
        }
        let line = line.trim_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (keyword, rest) = split_word(line);
        match keyword {
            "user" if rest.is_empty() => Err("no name behind user"),
            "user" => {
                self.users.entry(rest.into()).or_default();
                self.user = Some(rest.into());
                Ok(())
            }
            "topic" => {
                let (effect, filter) = effect_and_filter(rest)?;
                self.own().push(Rule::literal(effect, filter)?);
                Ok(())
            }
            "pattern" => {
                let (effect, filter) = effect_and_filter(rest)?;
                self.patterns.push(Rule::pattern(effect, filter)?);
                Ok(())
            }
            _ => Err("neither user, topic nor pattern: correct the first word, or put # before it"),
        }
    }

    fn own(&mut self) -> &mut Vec<Rule> {
        match &self.user {
            None => &mut self.anonymous,
            Some(user) => self.users.entry(user.clone()).or_default(),
        }
    }

    fn finish(self) -> Acl {
        let common: Arc<[Rule]> = denials_first(self.patterns).into();
        let users = self.users.into_iter().map(|(user, rules)| {
            let entry = Entry::new(denials_first(rules), &common, Some(&user), true);
            (user, entry)
        });
        Acl {
            users: users.collect(),
            anonymous: Entry::new(denials_first(self.anonymous), &common, None, true),
            others: Entry::new(Vec::new(), &common, Some(""), false),
        }
    }
}

fn denials_first(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.sort_by_key(|rule| !rule.is_denial());
    rules
}

fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_start_matches([' ', '\t']))
}

/// The effect and the filter behind `topic` or `pattern`. The filter may contain spaces if a word
/// for its effect stands before it.
fn effect_and_filter(text: &str) -> Result<(Effect, &str), &'static str> {
    let allow = |reads, writes| Effect { is_allowed: true, reads, writes };
    let (word, rest) = split_word(text);
    let effect = match word {
        "read" => allow(true, false),
        "write" => allow(false, true),
        "readwrite" => allow(true, true),
        "deny" => Effect { is_allowed: false, reads: true, writes: true },
        _ if rest.is_empty() => return Ok((allow(true, true), word)),
        _ => return Err("neither read, write, readwrite nor deny before the topic"),
    };
    if rest.is_empty() { Err("no topic") } else { Ok((effect, rest)) }
}
