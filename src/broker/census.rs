//! The census: a walk over all clients, in pieces, that sums up the memory of the worker by owner.

use super::accounts::Accounts;
use super::clients::{Clients, Route};
use super::purse::HOLDER_STEPS;
use super::shard::Shard;
use super::told;
use crate::base::ids::SessionNumber;

/// The bytes that a map or an ordered set takes for an entry, besides the entry itself: they are
/// half empty at times.
const ENTRY_BYTES: usize = 16;

impl Shard {
    /// Begins to sum up the memory; the log is told the outcome.
    pub(super) fn begin_census(&mut self) {
        self.census.next = Some(0);
        self.census.sums = Accounts::default();
    }

    /// True while a census goes on.
    pub(super) const fn has_census(&self) -> bool {
        self.census.next.is_some()
    }

    /// The memory by owner, as the last census has found it: one begins when memory becomes short.
    #[must_use]
    pub const fn accounts(&self) -> &Accounts {
        &self.census.accounts
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
            self.clients.count_slot(slot, &mut self.census.sums);
            slot += 1;
        }
        self.census.next = None;
        let mut accounts = std::mem::take(&mut self.census.sums);
        self.clients.count_tables(&mut accounts);
        accounts.retained += self.retained.memory() as u64;
        accounts.subscriptions += self.subscriptions.memory() as u64;
        self.census.accounts = accounts;
        told::accounts(self.index, &accounts);
    }
}

impl Clients {
    /// Counts the session and the link that have the same slot.
    fn count_slot(&self, slot: usize, accounts: &mut Accounts) {
        let id = self.sessions.id_at(slot as u32);
        if let Some(session) = id.and_then(|id| self.sessions.get(id)) {
            accounts.replays += session.replays_memory() as u64;
            accounts.sessions += session.memory() as u64;
        }
        if let Some(Some(link)) = self.links.get(slot) {
            accounts.connections += link.memory() as u64;
        }
    }

    /// Counts the tables that have an entry for each session or link, and what is one for all.
    fn count_tables(&self, accounts: &mut Accounts) {
        let session = size_of::<Route>() + size_of::<SessionNumber>() + 2 * ENTRY_BYTES;
        let link = size_of::<usize>();
        accounts.sessions += (self.routes.capacity() * session) as u64;
        accounts.connections += (self.links.capacity() * link) as u64;
        accounts.connections += self.timers.memory() as u64;
        accounts.output += self.outbox.memory() as u64;
        accounts.journal += self.ledger.as_ref().map_or(0, |ledger| ledger.bytes()) as u64;
    }
}
