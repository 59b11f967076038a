//! Log lines about messages dropped for clients: at the begin of the drops, then once a minute, and
//! at their end.

use super::told::Shown;
use crate::base::ids::SessionId;
use crate::base::maps::HashMap;
use crate::base::time::Time;
use crate::base::visits::visit;
use crate::limits::{DROPS_INTERVAL, DROPS_TOLD_MAX};
use crate::metrics::Dropped;
use std::collections::VecDeque;

/// The messages dropped for one client.
#[derive(Debug)]
struct Tally {
    /// The client identifier for the log, kept because the session may be gone by then.
    client_id: Box<str>,
    /// The beginning of the topic of the last dropped message.
    topic: String,
    reason: Dropped,
    /// The number of drops since the last log line.
    dropped: u64,
    dropped_in_all: u64,
}

/// The messages dropped for all clients.
#[derive(Debug, Default)]
pub(super) struct Drops {
    tallies: HashMap<SessionId, Tally>,
    /// The times of the next log lines. The list is in order, since each time is the same interval
    /// ahead.
    due: VecDeque<(Time, SessionId)>,
    /// The drops for all further clients, and the time of their next log line.
    others: u64,
    others_due: Option<Time>,
}

impl Drops {
    pub(super) fn deadline(&self) -> Option<Time> {
        self.due.front().map(|&(due, _)| due).into_iter().chain(self.others_due).min()
    }
}

impl Tally {
    fn note(&mut self, reason: Dropped, topic: &str) {
        self.dropped += 1;
        self.dropped_in_all += 1;
        self.reason = reason;
        let (_, end) = Shown(topic).cut();
        self.topic.clear();
        self.topic.push_str(&topic[..end]);
    }
}

impl Drops {
    /// Notes that a message of `topic` is dropped for a session of the client `client_id`.
    pub(super) fn note(
        &mut self,
        now: Time,
        (id, client_id): (SessionId, &str),
        reason: Dropped,
        topic: &str,
    ) {
        visit(1);
        if let Some(tally) = self.tallies.get_mut(&id) {
            return tally.note(reason, topic);
        }
        let due = now.after(DROPS_INTERVAL);
        if self.tallies.len() >= DROPS_TOLD_MAX {
            self.others += 1;
            if self.others_due.is_none() {
                self.others_due = Some(due);
                tracing::warn!("Outgoing messages are being dropped for many more clients");
            }
            return;
        }
        let client_id = Shown(client_id).to_string();
        let (reason_words, shown) = (reason.words(), Shown(topic));
        tracing::warn!(
            %client_id,
            reason = reason_words,
            topic = %shown,
            "Outgoing messages are being dropped for client {client_id}"
        );
        let mut tally = Tally {
            client_id: client_id.into(),
            topic: String::new(),
            reason,
            dropped: 0,
            dropped_in_all: 0,
        };
        tally.note(reason, topic);
        self.tallies.insert(id, tally);
        self.due.push_back((due, id));
    }

    /// Logs the drops of the last minute, or their end.
    pub(super) fn tell(&mut self, now: Time) {
        let drops = self;
        let next = now.after(DROPS_INTERVAL);
        while let Some(&(due, id)) = drops.due.front()
            && due <= now
        {
            visit(1);
            drops.due.pop_front();
            let Some(tally) = drops.tallies.get_mut(&id) else { continue };
            let Tally { client_id, dropped_in_all, .. } = &*tally;
            if tally.dropped == 0 {
                tracing::warn!(
                    %client_id,
                    dropped_in_all,
                    "No outgoing messages are being dropped any more for client {client_id}"
                );
                drops.tallies.remove(&id);
                continue;
            }
            tracing::warn!(
                %client_id,
                dropped = tally.dropped,
                reason = tally.reason.words(),
                topic = %Shown(&tally.topic),
                "Outgoing messages were dropped in the last minute for client {client_id}"
            );
            tally.dropped = 0;
            drops.due.push_back((next, id));
        }
        if drops.others_due.is_some_and(|due| due <= now) {
            let dropped = std::mem::take(&mut drops.others);
            drops.others_due = (dropped > 0).then_some(next);
            match dropped {
                0 => tracing::warn!("No outgoing messages are being dropped for others any more"),
                _ => tracing::warn!(
                    dropped,
                    "Outgoing messages were dropped in the last minute for many more clients"
                ),
            }
        }
    }
}
