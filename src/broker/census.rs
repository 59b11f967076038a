//! The census: a walk over all clients, in pieces, that sums up the memory of the worker by owner.

use super::accounts::Accounts;
use super::clients::{Clients, Route};
use super::purse::HOLDER_STEPS;
use super::shard::Shard;
use super::told;
use crate::base::ids::SessionNumber;
use crate::metrics::Gauges;

/// The bytes that a map or an ordered set takes for an entry, besides the entry itself: they are
/// half empty at times.
const ENTRY_BYTES: usize = 16;

impl Shard {
    /// Begins to sum up the memory; the log is told the outcome.
    pub(super) fn begin_told_census(&mut self) {
        self.begin_census();
        self.census.is_told = true;
    }

    /// Begins to sum up what clients take and what waits for them; [`Self::gauges`] has the outcome
    /// when [`Self::has_census`] is over.
    pub fn begin_census(&mut self) {
        self.census.next = Some(0);
        self.census.sums = Accounts::default();
        self.census.waiting = Gauges::default();
    }

    /// True while a census goes on.
    #[must_use]
    pub const fn has_census(&self) -> bool {
        self.census.next.is_some()
    }

    /// The memory by owner, as the last census has found it: one begins when memory becomes short.
    #[must_use]
    pub const fn accounts(&self) -> &Accounts {
        &self.census.accounts
    }

    /// The state of this worker, as far as the shard knows it: sums over clients are those of the
    /// last census.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let counters = &self.clients.counters;
        let came: u64 = counters.connects_accepted.iter().sum();
        let went: u64 = counters.clients_departed.iter().sum();
        Gauges {
            clients_connected: came - went,
            sessions: (self.clients.sessions.len() - self.clients.over.len()) as u64,
            retained_messages: self.retained.len() as u64,
            journal_failing: u64::from(self.clients.journal_fails),
            journal_waiting: self.clients.journal_waiting_bytes(),
            memory: self.census.accounts.owners().map(|(_, bytes)| bytes),
            ..self.census.gauges
        }
    }

    /// Goes on with the census, as far as the turn allows.
    pub(super) fn go_on_with_census(&mut self) {
        let Some(mut slot) = self.census.next else { return };
        let end = self.clients.routes.len().max(self.clients.links.len());
        while slot < end {
            if self.clients.outbox.purse().is_empty() {
                self.census.next = Some(slot);
                return;
            }
            self.clients.outbox.purse().spend(HOLDER_STEPS);
            self.clients.count_slot(slot, &mut self.census.sums, &mut self.census.waiting);
            slot += 1;
        }
        self.census.next = None;
        let mut accounts = std::mem::take(&mut self.census.sums);
        self.clients.count_tables(&mut accounts);
        accounts.metrics += self.histograms.memory() as u64;
        accounts.retained += self.retained.memory() as u64;
        accounts.subscriptions += self.subscriptions.memory() as u64;
        self.census.accounts = accounts;
        self.census.gauges = self.census.waiting;
        if std::mem::take(&mut self.census.is_told) {
            told::accounts(self.index, &accounts);
        }
    }
}

impl Clients {
    /// The messages that wait to be sent to clients for the first time.
    pub(super) fn waiting_len(&self) -> u64 {
        let sessions = self.sessions.iter().map(|(_, session)| session.waiting_len());
        let links = self.links.iter().flatten().map(|link| link.backlog_size().0);
        sessions.chain(links).sum::<usize>() as u64
    }

    /// Counts the session and the link that have the same slot.
    fn count_slot(&self, slot: usize, accounts: &mut Accounts, gauges: &mut Gauges) {
        let id = self.sessions.id_at(slot as u32);
        if let Some(session) = id.and_then(|id| self.sessions.get(id)) {
            accounts.replays += session.replays_memory() as u64;
            accounts.sessions += session.memory() as u64;
            let (messages, bytes) = session.queued_size();
            gauges.queued_messages += session.waiting_len() as u64;
            gauges.queued_bytes += bytes as u64;
            gauges.queue_greatest = gauges.queue_greatest.max(messages as u64);
            let inflight = u64::from(session.in_flight.sent_len());
            gauges.inflight_messages += inflight;
            gauges.inflight_greatest = gauges.inflight_greatest.max(inflight);
            if !session.is_over {
                gauges.subscriptions += session.subscriptions.len() as u64;
                gauges.shared_subscriptions += session.subscriptions.shared() as u64;
            }
        }
        if let Some(Some(link)) = self.links.get(slot) {
            accounts.connections += link.memory() as u64;
            gauges.links_waiting += u64::from(link.blocked.socket);
            let (messages, bytes) = link.backlog_size();
            gauges.queued_messages += messages as u64;
            gauges.queued_bytes += bytes as u64;
            gauges.queue_greatest = gauges.queue_greatest.max(messages as u64);
        }
    }

    /// Counts the tables that have an entry for each session or link, and what is one for all.
    fn count_tables(&self, accounts: &mut Accounts) {
        let session = size_of::<Route>() + size_of::<SessionNumber>() + 2 * ENTRY_BYTES;
        let link = size_of::<usize>();
        accounts.sessions += (self.routes.capacity() * session) as u64;
        accounts.connections += (self.links.capacity() * link) as u64;
        accounts.connections += self.timers.memory() as u64;
        accounts.connections += self.audit.as_ref().map_or(0, |audit| audit.memory()) as u64;
        accounts.output += self.outbox.memory() as u64;
        accounts.journal += self.journal_waiting_bytes();
    }

    /// The bytes of changes that gather for the journal.
    fn journal_waiting_bytes(&self) -> u64 {
        self.ledger.as_ref().map_or(0, |ledger| ledger.bytes()) as u64
    }
}
