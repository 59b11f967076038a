//! Logins, and rules that change: verdicts that come late, workers that hear of new rules one after
//! the other.

use super::Sabotage;
use super::client::Kind;
use super::rights::{Action, Credential, Edition, STAFF, STRANGER, USERS, Who};
use super::scenario::pick;
use super::wire::{Phase, Wire};
use super::world::{Event, World};
use ringmq::access::{Policy, Step, Workspace};
use ringmq::broker::{Input, LinkId};
use std::sync::Arc;

/// Rules on their way to a worker.
#[derive(Debug)]
pub(super) struct Reload {
    edition: usize,
    policies: Arc<[Policy]>,
}

impl World {
    /// The credential that the client shows this time: mostly one that lets it in.
    pub(super) fn credential(&mut self, client: usize) -> Credential {
        let Some(rights) = &self.model.rights else { return Credential::Nothing };
        if matches!(self.clients[client].kind, Kind::Observer | Kind::Hostile) {
            return Credential::Certificate(STAFF);
        }
        if !self.is_ending && self.prng.chance(8) {
            self.clients[client].user = Some(pick(&mut self.prng, &USERS));
        }
        if self.is_ending
            && let Some(&session) = self.model.current.get(&client)
        {
            // Whoever else has used the client identifier last may be refused.
            let owner = self.model.sessions[session].who().user;
            self.clients[client].user = owner.or(self.clients[client].user);
        }
        let Some(user) = self.clients[client].user else { return Credential::Nothing };
        let generation = rights.newest().generation(user).unwrap_or(0);
        match self.prng.below(100) {
            _ if user == STAFF => Credential::Certificate(STAFF),
            0..4 if !self.is_ending => Credential::Password(STRANGER, 0),
            4..10 if !self.is_ending => Credential::Password(user, 1 - generation),
            10..40 => Credential::Certificate(user),
            _ => Credential::Password(user, generation),
        }
    }

    /// As whom the wire's client is known, once it is let in.
    pub(super) fn who(&self, wire: usize) -> Who {
        let Wire { client, credential, .. } = self.wires[wire];
        let id = &*self.clients[client].id;
        Who { user: credential.user(), client_id: if id.is_empty() { "?" } else { id }.into() }
    }

    /// The rules become others, for logins at once, for each worker in its time.
    pub(super) fn begin_reload(&mut self, make: impl FnOnce(&mut Self) -> Edition) {
        let edition = make(self);
        let Some(rights) = &mut self.model.rights else { return };
        let policies = edition.policies(self.settings.sabotage == Some(Sabotage::ForgetDenials));
        let edition = rights.add(edition);
        self.trace(|| format!("the rules become edition {edition}"));
        self.policies = Arc::clone(&policies);
        let spread_us = pick(&mut self.prng, &[100, 2_000, 50_000]);
        for worker in 0..self.workers.len() {
            let policies = Arc::clone(&policies);
            self.workers[worker].reloads.push_back(Reload { edition, policies });
            self.schedule_us(Event::Reload(worker), spread_us);
        }
    }

    /// The rules become others by chance.
    pub(super) fn change_rights(&mut self) {
        self.begin_reload(|world| {
            let rights = world.model.rights.as_ref().expect("there are rights to change");
            rights.newest().next(&mut world.prng)
        });
    }

    /// A worker hears of new rules.
    pub(super) fn reload(&mut self, worker: usize) {
        let Some(Reload { edition, policies }) = self.workers[worker].reloads.pop_front() else {
            return;
        };
        // What the old rules allowed to be sent is told from what the new ones allow by the event.
        self.flush(worker);
        self.model.advance(self.now);
        let wires: Vec<usize> = self.workers[worker].links.iter().map(|(_, wire)| *wire).collect();
        self.model.enforce(worker, edition);
        for &wire in &wires {
            self.model.judge_handed(&mut self.wires[wire]);
        }
        self.trace(|| format!("worker {worker} goes by edition {edition}"));
        if self.settings.sabotage == Some(Sabotage::KeepRules) && worker == 0 {
            return;
        }
        let options = Arc::new(self.scenario.options.clone());
        self.feed(worker, Input::Reload { options, policies });
        for wire in wires {
            let state = &self.wires[wire];
            let stays = state.phase == Phase::Open && state.session.is_some();
            let stays = stays && !self.model.admits(state);
            if stays && state.is_asking() {
                // It waits for answers that it is owed, and says nothing more that counts.
                self.model.lose(wire, &self.wires[wire]);
                self.wires[wire].is_put_out = true;
            } else if stays {
                let text = format!("wire {wire} stays, although nobody would let it in");
                self.model.fail("I5", text);
            }
        }
    }

    /// The verdict about a login comes, soon or long after it was asked for, and perhaps when the
    /// link is gone.
    pub(super) fn verify(&mut self, wire: usize) {
        let Some((worker, link, login)) = self.wires[wire].login.take() else { return };
        let credential = self.wires[wire].credential;
        let is_right = self.model.rights.as_ref().is_none_or(|r| r.newest().admits(credential));
        self.wires[wire].verdict = Some(is_right);
        let policy = &self.policies[login.listener.index()];
        let Step::Done(verdict) = policy.verify(*login, 0, &mut Workspace::default()) else {
            unreachable!("no policy here asks a hook")
        };
        self.trace(|| format!("wire {wire}: {credential:?} is right: {is_right}"));
        let link = match self.settings.sabotage {
            Some(Sabotage::MistakeLink) => self.mistake(worker, link),
            _ => link,
        };
        self.feed(worker, Input::Authenticated { link, verdict });
        if let Some(&wire) = self.workers[worker].links.get(link) {
            self.after_input(wire);
        }
    }

    /// The link that has the slot now.
    fn mistake(&self, worker: usize, link: LinkId) -> LinkId {
        self.workers[worker].links.id_at(link.slot).unwrap_or(link)
    }

    /// Whether the wire's client identifier is that of another user; None when that is not sure.
    fn is_taken(&self, wire: usize, who: &Who) -> Option<bool> {
        let Wire { client, opened, .. } = self.wires[wire];
        if self.clients[client].id.is_empty() {
            // The identifier that the broker chooses is nobody's.
            return Some(false);
        }
        let is_opening = |(index, other): (usize, &Wire)| {
            index != wire && other.client == client && !other.is_answered
        };
        if self.wires.iter().enumerate().any(is_opening) {
            // The shard may have answered one of them, and its answer may still be to come out.
            return None;
        }
        let session = self.model.current.get(&client);
        session.map_or(Some(false), |&session| self.model.is_taken(session, who, opened))
    }

    /// I5: the answer to CONNECT is the one that the rules of the worker give.
    pub(super) fn check_answer(&mut self, wire: usize, code: u8) {
        let state = &self.wires[wire];
        let Some(rights) = &self.model.rights else { return };
        let edition = rights.at(state.worker);
        let who = self.who(wire);
        let has_password = matches!(state.credential, Credential::Password(..));
        let will = state.terms.will.map(|(message, _)| &self.model.messages[message].topic);
        let may_leave = will.is_none_or(|topic| edition.may(Action::Write, &who, topic));
        let taken = 0x85;
        let expected: &[u8] = match state.verdict {
            None if has_password => &[],
            Some(false) => &[0x86],
            _ if !edition.admits(state.credential) || !may_leave => &[0x87],
            _ => match self.is_taken(wire, &who) {
                None => &[0, taken],
                Some(true) => &[taken],
                Some(false) => &[0],
            },
        };
        self.wires[wire].is_refused = code != 0;
        if !expected.contains(&code) {
            let text = format!("wire {wire} of {who:?} hears {code:#04x}, not {expected:02x?}");
            self.model.fail("I5", text);
        }
    }
}
