//! The clients of all workers, put together from pages.

use super::Observer;
use crate::base::ids::WorkerId;
use crate::broker::{ClientRow, ClientsQuery, ConnectionRow};
use crate::mqtt::Version;
use crate::options::{Options, Scheme};
use crate::worker::Question;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use wildmatch::WildMatch;

/// The rows of one answer.
pub(super) const ROWS_MAX: usize = 1000;

/// The column by which clients are sorted: the greatest first, names in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
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
    /// The time since the oldest message came that waits or is in flight.
    Oldest,
    /// Messages that did not reach the client.
    DroppedMessages,
    /// Messages that were sent on the present connection.
    MessagesSent,
    /// The mean time of an acknowledgement.
    AckMean,
    /// Bytes of memory.
    Memory,
    /// Packets received and messages sent a second, in the mean of the present connection.
    Rate,
}

/// The traits that clients have to have, besides those that the workers look at.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The pattern of the client identifier: `*` is any text, `?` any character.
    pub(super) glob: Option<WildMatch>,
    /// The beginning of the address.
    pub(super) address: Option<String>,
    /// The version of the protocol.
    pub(super) version: Option<Version>,
    /// The scheme of the listener.
    pub(super) transport: Option<Scheme>,
    /// The worker.
    pub(super) worker: Option<u16>,
    /// Only clients that messages did not reach.
    pub(super) has_drops: bool,
}

impl Wanted {
    fn accepts(&self, options: &Options, worker: WorkerId, row: &ClientRow) -> bool {
        let connection = row.connection.as_ref();
        let begins = |address: &String| {
            let shown = connection.and_then(|it| it.address).map(|it| it.to_string());
            shown.is_some_and(|shown| shown.starts_with(address))
        };
        let comes_by = |scheme: Scheme| {
            options.listeners.get(row.listener.index()).is_some_and(|it| it.scheme == scheme)
        };
        self.glob.as_ref().is_none_or(|glob| glob.matches(&row.client_id))
            && self.address.as_ref().is_none_or(begins)
            && self.version.is_none_or(|it| connection.is_some_and(|c| c.version == it))
            && self.transport.is_none_or(comes_by)
            && self.worker.is_none_or(|wanted| wanted == worker.0)
            && (!self.has_drops || row.drops.iter().any(|count| *count > 0))
    }
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
            Self::Oldest => row.oldest.map_or(0, |age| age.as_millis() as u64),
            Self::DroppedMessages => row.drops.iter().sum(),
            Self::MessagesSent => row.connection.as_ref().map_or(0, |it| it.messages_sent),
            Self::AckMean => {
                let times = row.connection.as_ref().and_then(|it| it.acknowledged);
                times.map_or(0, |(mean, _)| mean.as_micros() as u64)
            }
            Self::Memory => row.memory as u64,
            // In thousandths, so that slow clients have an order, too.
            Self::Rate => row.connection.as_ref().map_or(0, |it| (rate(it) * 1e3) as u64),
        }
    }
}

/// Packets that came from the client and messages that went to it, a second.
pub(super) fn rate(connection: &ConnectionRow) -> f64 {
    let packets = connection.packets_received + connection.messages_sent;
    packets as f64 / connection.connected_for.as_secs_f64().max(1.0)
}

/// A place in the order of a column: the key from the greatest, then the client identifier. In the
/// order of the workers' tables: the worker and the place in its table, as one number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(Reverse<u64>, String);

impl Place {
    /// The place that a cursor names.
    pub(super) fn parse(cursor: &str) -> Option<Self> {
        let (key, client_id) = cursor.split_once(':')?;
        Some(Self(Reverse(key.parse().ok()?), client_id.to_owned()))
    }

    fn cursor(&self) -> String {
        format!("{}:{}", self.0.0, self.1)
    }
}

/// A part of the list of clients.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) rows: Vec<(WorkerId, ClientRow)>,
    /// The cursor of the next part; None at the end.
    pub(super) next: Option<String>,
}

impl Place {
    const fn of_table(worker: WorkerId, slot: u32) -> Self {
        Self(Reverse((worker.0 as u64) << 32 | slot as u64), String::new())
    }

    /// The worker and the place in its table.
    const fn in_table(&self) -> (usize, u32) {
        let Reverse(number) = self.0;
        ((number >> 32) as usize, number as u32)
    }
}

impl Observer {
    /// The clients in the order of the workers' tables, from `after` on: no more are looked at than
    /// it takes, and one that stays is in one part. None when a worker does not answer in time.
    pub(super) async fn listed_clients(
        &self,
        (query, wanted): (ClientsQuery, Wanted),
        after: Option<Place>,
        count_max: usize,
    ) -> Option<Listed> {
        let (first, mut slot) = after.map_or((0, 0), |place| place.in_table());
        let (options, mut rows) = (self.options(), Vec::new());
        for worker in WorkerId::all(self.notices.workers()).skip(first) {
            let mut from = Some(std::mem::take(&mut slot));
            while let Some(place) = from {
                let asked = ClientsQuery { from: place, ..query.clone() };
                let page = self.ask(worker, |reply| Question::Clients(asked, reply)).await?;
                from = page.next;
                for row in page.rows {
                    if rows.len() == count_max {
                        let next = Some(Place::of_table(worker, row.slot).cursor());
                        return Some(Listed { rows, next });
                    }
                    if wanted.accepts(&options, worker, &row) {
                        rows.push((worker, row));
                    }
                }
            }
        }
        Some(Listed { rows, next: None })
    }

    /// The clients in the order of a column, from behind `after` on. Every client is looked at,
    /// in pieces; no more rows than are shown are kept. None when a worker does not answer in time.
    pub(super) async fn sorted_clients(
        &self,
        (query, wanted): (ClientsQuery, Wanted),
        column: Column,
        after: Option<Place>,
        count_max: usize,
    ) -> Option<Listed> {
        let mut best: BTreeMap<Place, (WorkerId, ClientRow)> = BTreeMap::new();
        let mut has_more = false;
        let options = self.options();
        for worker in WorkerId::all(self.notices.workers()) {
            let mut from = Some(0);
            while let Some(place) = from {
                let asked = ClientsQuery { from: place, ..query.clone() };
                let page = self.ask(worker, |reply| Question::Clients(asked, reply)).await?;
                from = page.next;
                for row in page.rows {
                    let key = Place(Reverse(column.key(&row)), row.client_id.clone());
                    if !wanted.accepts(&options, worker, &row) {
                        continue;
                    }
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
        let next = last.map(|(place, _)| place.cursor());
        Some(Listed { rows: best.into_values().collect(), next })
    }
}
