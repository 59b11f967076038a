//! The clients of all workers, put together from pages.

use super::Observer;
use crate::base::ids::WorkerId;
use crate::broker::{ClientRow, ClientsPage, ClientsQuery};
use crate::worker::Question;
use std::collections::BTreeMap;

/// The rows of one answer.
pub(super) const ROWS_MAX: usize = 1000;

/// The column by which clients are sorted: the greatest first, names in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Column {
    /// The client identifier.
    ClientId,
    /// Messages that wait.
    QueuedMessages,
    /// Bytes of messages that wait.
    QueuedBytes,
    /// Messages that were sent and not acknowledged.
    InflightMessages,
    /// Subscriptions.
    Subscriptions,
    /// The time since the client was heard.
    Silent,
}

impl Column {
    fn key(self, row: &ClientRow) -> u64 {
        match self {
            Self::ClientId => 0,
            Self::QueuedMessages => row.queued_messages as u64,
            Self::QueuedBytes => row.queued_bytes as u64,
            Self::InflightMessages => row.inflight_messages as u64,
            Self::Subscriptions => row.subscriptions as u64,
            Self::Silent => {
                let silent = row.connection.as_ref().map(|connection| connection.silent_for);
                silent.map_or(0, |silent| silent.as_secs())
            }
        }
    }
}

/// A place in the order of a column: the key from the greatest, then the client identifier.
type Place = (std::cmp::Reverse<u64>, String);

/// A part of the list of clients.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) rows: Vec<(WorkerId, ClientRow)>,
    /// The cursor of the next part; None at the end.
    pub(super) next: Option<String>,
}

impl Observer {
    /// The clients in the order of a column, from behind `cursor` on. Every client is looked at,
    /// in pieces; no more rows than are shown are kept.
    pub(super) async fn sorted_clients(
        &self,
        query: ClientsQuery,
        column: Column,
        cursor: Option<&str>,
        count_max: usize,
    ) -> Listed {
        let after = cursor.and_then(|cursor| cursor.split_once(':'));
        let after = after.and_then(|(key, client_id)| {
            Some((std::cmp::Reverse(key.parse().ok()?), client_id.to_owned()))
        });
        let mut best: BTreeMap<Place, (WorkerId, ClientRow)> = BTreeMap::new();
        let mut has_more = false;
        for worker in WorkerId::all(self.notices.workers()) {
            let mut from = Some(0);
            while let Some(place) = from {
                let page = self.page(worker, ClientsQuery { from: place, ..query.clone() }).await;
                from = page.next;
                for row in page.rows {
                    let key = (std::cmp::Reverse(column.key(&row)), row.client_id.clone());
                    if after.as_ref().is_some_and(|after| key <= *after) {
                        continue;
                    }
                    best.insert(key, (worker, row));
                    if best.len() > count_max {
                        best.pop_last();
                        has_more = true;
                    }
                }
            }
        }
        let last = best.last_key_value().filter(|_| has_more);
        let next = last.map(|((key, client_id), _)| format!("{}:{client_id}", key.0));
        Listed { rows: best.into_values().collect(), next }
    }

    async fn page(&self, worker: WorkerId, query: ClientsQuery) -> ClientsPage {
        let page = self.ask(worker, |reply| Question::Clients(query, reply)).await;
        page.unwrap_or_default()
    }
}
