//! The figures of the dashboard as events, every two seconds while anybody looks.

use super::api::Nothing;
use super::clients::{Column, Wanted};
use super::cores::Cores;
use super::document::STREAM;
use super::history::{Counts, by_name};
use super::stream::{Viewers, event};
use super::{Observer, View};
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::broker::ClientsQuery;
use crate::metrics::{Counters, Histograms, Snapshot};
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::Response;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The time between two events.
const INTERVAL: Duration = Duration::from_secs(2);

/// The time until the first event: rates need two looks.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);

/// The viewers at a time.
const VIEWERS_MAX: usize = 16;

/// The slow subscribers that are named.
const SLOW_MAX: usize = 8;

/// The quantiles of delivery times, for a logarithmic axis.
const QUANTILES: [f64; 15] = [
    0.0, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99995, 0.99999,
    1.0,
];

/// The rows of the heat map: from 10 µs to 10 s, the first and the last with all beyond.
const HEAT_ROWS: usize = HEAT_ROWS_A_DECADE * 6;
const HEAT_ROWS_A_DECADE: usize = 8;
const HEAT_FROM_NS: f64 = 1e4;

/// Serves `/api/v1/live`.
pub(super) fn routes(observer: Observer) -> OpenApiRouter {
    let live = Live {
        observer,
        viewers: Viewers::new(VIEWERS_MAX),
        samples: watch::Sender::new(None),
        is_sampling: AtomicBool::new(false),
    };
    OpenApiRouter::default().routes(routes!(live_figures)).with_state(Arc::new(live))
}

/// One sampler for all viewers.
#[derive(Debug)]
struct Live {
    observer: Observer,
    viewers: Viewers,
    /// The last event; None while nobody looks.
    samples: watch::Sender<Option<Bytes>>,
    is_sampling: AtomicBool,
}

/// Tells the figures of the dashboard every two seconds, first those of the last minute (`past`):
/// events of the type `message`, each with a JSON object. 16 viewers at a time.
#[utoipa::path(
    get, path = "/api/v1/live", tag = STREAM,
    responses(
        (status = 200, description = "Events without an end.", body = String,
            content_type = "text/event-stream"),
        (status = 503)
    )
)]
async fn live_figures(
    Query(Nothing {}): Query<Nothing>,
    State(live): State<Arc<Live>>,
) -> Response {
    live.viewers.show(|sender| send_samples(Arc::clone(&live), sender))
}

/// Sends the last minute, then the newest sample whenever the viewer has taken the one before.
async fn send_samples(live: Arc<Live>, sender: mpsc::Sender<Bytes>) {
    let mut samples = live.samples.subscribe();
    if !live.is_sampling.swap(true, Ordering::AcqRel) {
        tokio::spawn(Arc::clone(&live).sample());
    }
    let past = event(&json!({ "past": live.observer.past() }).to_string());
    if sender.send(past.into()).await.is_err() {
        return;
    }
    loop {
        let sample = samples.borrow_and_update().clone();
        if let Some(sample) = sample
            && sender.send(sample).await.is_err()
        {
            return;
        }
        if samples.changed().await.is_err() {
            return;
        }
    }
}

impl Live {
    /// Takes samples until nobody looks.
    async fn sample(self: Arc<Self>) {
        let mut before = self.observer.moment().await;
        sleep(FIRST_INTERVAL).await;
        loop {
            let now = self.observer.moment().await;
            let sample = self.observer.compare(&before, &now).await;
            self.samples.send_replace(Some(event(&sample.to_string()).into()));
            before = now;
            sleep(INTERVAL).await;
            if self.samples.receiver_count() == 0 {
                self.samples.send_replace(None);
                self.is_sampling.store(false, Ordering::Release);
                // A viewer who came in between has started no sampler.
                let has_viewer = self.samples.receiver_count() > 0;
                if !has_viewer || self.is_sampling.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        }
    }
}

/// The metrics at one moment.
#[derive(Debug)]
struct Moment {
    at: Time,
    view: View,
    cores: Cores,
}

impl Moment {
    fn of(&self, worker: WorkerId) -> Option<&Snapshot> {
        self.view.workers.iter().find(|snapshot| snapshot.worker == worker)
    }
}

impl Observer {
    async fn moment(&self) -> Moment {
        let view = self.look().await;
        Moment { at: self.clock.now(), view, cores: Cores::now() }
    }

    async fn compare(&self, before: &Moment, now: &Moment) -> Value {
        let seconds = now.at.since(before.at).as_secs_f64().max(1e-3);
        let (mut counts, mut durations) = (Counts::default(), Histograms::default());
        for snapshot in &now.view.workers {
            if let Some(earlier) = before.of(snapshot.worker) {
                counts.add(&earlier.counters, &snapshot.counters);
                let mut histograms = snapshot.histograms.clone();
                histograms.subtract(&earlier.histograms);
                durations.add(&histograms);
            }
        }
        let minute = self.last_minute(&now.view);
        let workers = WorkerId::all(self.notices.workers());
        let workers: Vec<_> = workers.map(|id| self.worker(id, before, now, seconds)).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": now.view.process.uptime,
            "interval_s": seconds,
            "metrics": by_name(now.view.values()),
            "rates": by_name(counts.rates(seconds)),
            "delivery": delivery(&minute),
            "turn": few_percentiles(&minute.turn),
            "commit": few_percentiles(&minute.commit),
            "heat": heat(&durations),
            "workers": workers,
            "journal": self.journal_state(&now.view),
            "slow": self.slow().await,
            "websockets": self.websockets().collect::<Vec<_>>(),
        })
    }

    /// Rates and the heat map of the last minute, in spans of some seconds.
    fn past(&self) -> Vec<Value> {
        let now = self.clock.now();
        let spans = self.history.spans().into_iter().map(|span| {
            let (seconds, [before, after]) = (span.length.as_secs_f64(), &span.counters);
            let mut counts = Counts::default();
            counts.add(before, after);
            json!({
                "ago_s": now.since(span.until).as_secs_f64(),
                "interval_s": seconds,
                "rates": by_name(counts.rates(seconds.max(1e-3))),
                "heat": heat(&span.durations),
            })
        });
        spans.collect()
    }

    fn worker(&self, id: WorkerId, before: &Moment, now: &Moment, seconds: f64) -> Value {
        let core = self.cores.get(id.index()).copied().flatten();
        let core_busy = core.and_then(|core| now.cores.busy_since(&before.cores, core));
        let (Some(before), Some(now)) = (before.of(id), now.of(id)) else {
            let (load, worker) = (Value::Null, id.0);
            return json!({ "worker": worker, "core": core, "core_busy": core_busy, "load": load });
        };
        let mut turns = now.histograms.turn.clone();
        let is_later = turns.subtract(&before.histograms.turn).is_ok();
        // The mean is exact to the histogram's two digits.
        let busy = if is_later { turns.mean() * turns.len() as f64 / 1e9 } else { 0.0 };
        let sum = |counts: &[u64]| counts.iter().sum::<u64>();
        let rate = |counts: fn(&Counters) -> &[u64]| {
            sum(counts(&now.counters)).saturating_sub(sum(counts(&before.counters))) as f64
                / seconds
        };
        json!({
            "worker": id.0,
            "core": core,
            "core_busy": core_busy,
            "load": (busy / seconds).min(1.0),
            "turn_p99_ms": turns.value_at_quantile(0.99) as f64 / 1e6,
            "clients_connected": now.gauges.clients_connected,
            "links_waiting": now.gauges.links_waiting,
            "queued_messages": now.gauges.queued_messages,
            "received_rate": rate(|counters| &counters.publishes_received),
            "sent_rate": rate(|counters| &counters.publishes_sent),
        })
    }

    /// The connected clients for which most messages wait, then those whose socket is full.
    async fn slow(&self) -> Vec<Value> {
        let query =
            ClientsQuery { is_connected: Some(true), is_waiting: true, ..ClientsQuery::default() };
        let listed = self
            .sorted_clients((query, Wanted::default()), Column::QueuedMessages, None, SLOW_MAX)
            .await;
        let json = |(worker, row): (WorkerId, crate::broker::ClientRow)| {
            json!({
                "client_id": row.client_id,
                "worker": worker.0,
                "blocked": row.connection.is_some_and(|connection| connection.is_blocked),
                "queued_messages": row.queued_messages,
                "queued_bytes": row.queued_bytes,
                "inflight_messages": row.inflight_messages,
            })
        };
        listed.map(|listed| listed.rows).unwrap_or_default().into_iter().map(json).collect()
    }
}

/// For each QoS how many deliveries there were, and their quantiles.
fn delivery(durations: &Histograms) -> Value {
    let of_qos = durations.delivery.iter().enumerate().map(|(qos, histogram)| {
        let ms = QUANTILES.map(|quantile| histogram.value_at_quantile(quantile) as f64 / 1e6);
        (qos.to_string(), json!({ "count": histogram.len(), "ms": ms }))
    });
    json!({ "quantiles": QUANTILES, "qos": of_qos.collect::<Map<_, _>>() })
}

fn few_percentiles(histogram: &Histogram<u64>) -> Value {
    let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
    json!({ "count": histogram.len(), "p50_ms": ms(0.5), "p99_ms": ms(0.99), "max_ms": ms(1.0) })
}

/// How many deliveries took how long, in rows of equal height on a logarithmic axis.
fn heat(durations: &Histograms) -> Value {
    let mut counts = [0; HEAT_ROWS];
    for recorded in durations.delivery.iter().flat_map(|histogram| histogram.iter_recorded()) {
        let decades = (recorded.value_iterated_to() as f64 / HEAT_FROM_NS).log10();
        // The cast is saturating: what is faster than the first row stands in it.
        let row = (decades * HEAT_ROWS_A_DECADE as f64) as usize;
        counts[row.min(HEAT_ROWS - 1)] += recorded.count_at_value();
    }
    json!({
        "from_ms": HEAT_FROM_NS / 1e6,
        "rows_a_decade": HEAT_ROWS_A_DECADE,
        "counts": counts.as_slice(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::record;

    #[test]
    fn each_delivery_stands_in_the_row_of_its_time() {
        let mut durations = Histograms::default();
        for (micros, count) in [(1, 1), (15, 2), (1_500, 3), (9_000_000, 4), (50_000_000, 5)] {
            record(&mut durations.delivery[1], Duration::from_micros(micros), count);
        }
        let shown = heat(&durations);
        let counts = shown["counts"].as_array().unwrap();
        let at = |row: usize| counts[row].as_u64().unwrap();
        assert_eq!((at(0), at(1), at(17), at(47)), (1, 2, 3, 9), "{shown}");
        assert_eq!(counts.iter().filter(|count| **count == 0).count(), HEAT_ROWS - 4);
    }

    #[test]
    fn rates_are_of_the_workers_that_answered_twice() {
        let before = Counters { messages_dropped: [1, 0, 0, 0, 0, 0, 0], ..Counters::default() };
        let now = Counters { messages_dropped: [5, 2, 0, 0, 0, 0, 0], ..Counters::default() };
        let mut counts = Counts::default();
        counts.add(&before, &now);
        counts.add(&before, &now);
        let rates = json!(by_name(counts.rates(2.0)));
        assert_eq!(rates["messages_dropped"]["queue_full"], 4.0);
        assert_eq!(rates["messages_dropped"]["expired"], 2.0);
        assert_eq!(rates["takeovers"], 0.0);
        assert_eq!(json!(by_name(Counts::default().rates(1.0))), json!({}));
    }
}
