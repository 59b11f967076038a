//! The last minute: sums of all workers every few seconds, from which rates and durations of a
//! moment ago follow.

use super::{Observer, View};
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::metrics::{Counters, Histograms, Metric, Packed};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;
use utoipa::ToSchema;

/// The time between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// Spans of time, by the name that answers give them.
const SPANS: [(&str, Duration); 2] =
    [("10s", Duration::from_secs(10)), ("1min", Duration::from_secs(60))];

/// As many samples as the longest span has, and one at its begin: 150 KB each.
const SAMPLES_MAX: usize = 13;

/// The sums of all workers at one moment.
#[derive(Debug, Clone)]
struct Sample {
    at: Time,
    counters: Counters,
    histograms: Histograms,
    /// The same of each worker, some hundred bytes each while little happens; only of a sample that
    /// is kept.
    workers: Vec<(WorkerId, Packed)>,
    /// All workers answered in time.
    is_whole: bool,
}

/// The counts at both ends of a span of time, and the durations in it.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) until: Time,
    pub(super) length: Duration,
    pub(super) counters: [Counters; 2],
    pub(super) durations: Histograms,
}

/// Samples of all workers, the newest last.
#[derive(Debug, Clone, Default)]
pub(super) struct History(Arc<Mutex<VecDeque<Sample>>>);

impl History {
    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, sample: Sample) {
        if !sample.is_whole {
            return;
        }
        let mut samples = self.samples();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The spans between the samples, the oldest first.
    pub(super) fn spans(&self) -> Vec<Span> {
        let samples = self.samples();
        let pairs = samples.iter().zip(samples.iter().skip(1));
        let span = |(before, now): (&Sample, &Sample)| {
            let mut durations = now.histograms.clone();
            durations.subtract(&before.histograms);
            let (until, length) = (now.at, now.at.since(before.at));
            Span { until, length, counters: [before.counters, now.counters], durations }
        };
        pairs.map(span).collect()
    }

    /// The sample of about so long before `now`; None when the broker is younger, or when `now`
    /// lacks what a worker has counted before.
    fn before(&self, now: &Sample, ago: Duration) -> Option<Sample> {
        if !now.is_whole {
            return None;
        }
        let samples = self.samples();
        let distance = |sample: &&Sample| now.at.since(sample.at).abs_diff(ago);
        let nearest = samples.iter().min_by_key(distance);
        nearest.filter(|sample| distance(sample) < ago / 2).cloned()
    }
}

impl Sample {
    /// The durations of all workers together, or of one; None when it is not there.
    fn durations(&self, worker: Option<WorkerId>) -> Option<Histograms> {
        let Some(worker) = worker else { return Some(self.histograms.clone()) };
        let packed = self.workers.iter().find(|(id, _)| *id == worker);
        packed.map(|(_, packed)| packed.unpack())
    }
}

impl Observer {
    /// Takes samples for as long as the process runs.
    pub(in crate::server) async fn keep_history(self) {
        loop {
            let view = self.glance().await;
            let packed = view.workers.iter().map(|it| (it.worker, Packed::new(&it.histograms)));
            self.history.add(Sample { workers: packed.collect(), ..self.sample_of(&view) });
            sleep(SAMPLE_INTERVAL).await;
        }
    }

    /// The durations of the last minute, or all until `view` when the broker is younger.
    pub(super) fn last_minute(&self, view: &View) -> Histograms {
        let mut now = self.sample_of(view);
        if let Some(before) = self.history.before(&now, Duration::from_secs(60)) {
            now.histograms.subtract(&before.histograms);
        }
        now.histograms
    }

    async fn sample(&self) -> Sample {
        self.sample_of(&self.glance().await)
    }

    fn sample_of(&self, view: &View) -> Sample {
        let is_whole = view.workers.len() == self.notices.workers();
        let (counters, histograms) = (view.sums().0, view.durations());
        Sample { at: self.clock.now(), counters, histograms, workers: Vec::new(), is_whole }
    }

    /// Counts a second of the last ten seconds and of the last minute.
    pub(super) async fn rates(&self) -> Rates {
        let now = self.sample().await;
        let spans = SPANS.iter().filter_map(|(name, span)| {
            let before = self.history.before(&now, *span)?;
            let seconds = now.at.since(before.at).as_secs_f64();
            let mut counts = Counts::default();
            counts.add(&before.counters, &now.counters);
            Some((*name, by_name(counts.rates(seconds))))
        });
        Rates(spans.collect())
    }

    /// Percentiles of the durations of all workers, or of one: since the start, of the last ten
    /// seconds, of the last minute. None when the worker is not there, or does not answer.
    pub(super) async fn durations(&self, worker: Option<WorkerId>) -> Option<ByName<OfSpans>> {
        let view = self.glance().await;
        let now = self.sample_of(&view);
        let all = match worker {
            None => now.histograms.clone(),
            Some(id) => view.workers.iter().find(|it| it.worker == id)?.histograms.clone(),
        };
        let mut spans = vec![("all", all.clone())];
        for (name, span) in SPANS {
            let before = self.history.before(&now, span);
            if let Some(before) = before.and_then(|before| before.durations(worker)) {
                let mut histograms = all.clone();
                histograms.subtract(&before);
                spans.push((name, histograms));
            }
        }
        let metrics = Histograms::TABLE.iter().enumerate().map(|(place, metric)| {
            let of_label = (0..metric.values.len()).map(|label| {
                let of_span = spans.iter().map(|(name, histograms)| {
                    (*name, Percentiles::new(&histograms.values()[place][label]))
                });
                OfSpans(of_span.collect())
            });
            (metric.name, Labelled::new(metric, of_label))
        });
        Some(ByName(metrics.collect()))
    }
}

impl View {
    /// The durations of all workers together.
    pub(super) fn durations(&self) -> Histograms {
        let mut all = Histograms::default();
        for snapshot in &self.workers {
            all.add(&snapshot.histograms);
        }
        all
    }
}

/// The value of a metric: one, or one for each label.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Labelled<T> {
    One(T),
    Each(BTreeMap<&'static str, T>),
}

/// The values of metrics, by their names.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
pub(super) struct ByName<T>(BTreeMap<&'static str, Labelled<T>>);

/// Counts a second by metric: of the last ten seconds (`10s`) and of the last minute (`1min`). A
/// span is left out while the broker is younger.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
pub(super) struct Rates(BTreeMap<&'static str, ByName<f64>>);

/// Durations since the start (`all`), of the last ten seconds (`10s`) and of the last minute
/// (`1min`). A span is left out while the broker is younger.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
pub(super) struct OfSpans(BTreeMap<&'static str, Percentiles>);

impl<T> Labelled<T> {
    fn new(metric: &Metric, values: impl IntoIterator<Item = T>) -> Self {
        let mut values = values.into_iter();
        match metric.values {
            [""] => Self::One(values.next().expect("a metric has a value for each label")),
            labels => Self::Each(labels.iter().copied().zip(values).collect()),
        }
    }
}

/// The counts between two moments, in the order of the counters' table.
#[derive(Debug, Default)]
pub(super) struct Counts(Vec<Vec<u64>>);

impl Counts {
    /// Adds what came between.
    pub(super) fn add(&mut self, before: &Counters, now: &Counters) {
        let (before, now) = (before.values(), now.values());
        self.0.resize(now.len(), Vec::new());
        for ((sums, before), now) in self.0.iter_mut().zip(before).zip(now) {
            sums.resize(now.len(), 0);
            for ((sum, before), now) in sums.iter_mut().zip(before).zip(now) {
                *sum += now.saturating_sub(*before);
            }
        }
    }

    /// The counts a second.
    pub(super) fn rates(self, seconds: f64) -> Vec<(&'static Metric, Vec<f64>)> {
        let rate = |count: u64| count as f64 / seconds;
        let rates = self.0.into_iter().map(|counts| counts.into_iter().map(rate).collect());
        Counters::TABLE.iter().zip(rates).collect()
    }
}

pub(super) fn by_name<T>(values: Vec<(&'static Metric, Vec<T>)>) -> ByName<T> {
    let pairs = values.into_iter();
    let named = pairs.map(|(metric, values)| (metric.name, Labelled::new(metric, values)));
    ByName(named.collect())
}

/// How often something was, and how long it took.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Percentiles {
    count: u64,
    /// The median, in milliseconds; 0 when `count` is 0.
    #[schema(minimum = 0)]
    p50_ms: f64,
    #[schema(minimum = 0)]
    p90_ms: f64,
    #[schema(minimum = 0)]
    p99_ms: f64,
    #[schema(minimum = 0)]
    p999_ms: f64,
    #[schema(minimum = 0)]
    max_ms: f64,
}

impl Percentiles {
    pub(super) fn new(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        Self {
            count: histogram.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{empty_histogram, record};
    use serde_json::json;

    #[test]
    fn percentiles_are_milliseconds() {
        let mut histogram = empty_histogram();
        record(&mut histogram, Duration::from_millis(2), 99);
        record(&mut histogram, Duration::from_millis(50), 1);
        let shown = Percentiles::new(&histogram);
        assert_eq!(shown.count, 100);
        assert!((shown.p50_ms - 2.0).abs() < 0.05, "{shown:?}");
        assert!((shown.max_ms - 50.0).abs() < 1.0, "{shown:?}");
    }

    #[test]
    fn an_answer_that_lacks_a_worker_is_compared_with_none() {
        let (history, second) = (History::default(), Duration::from_secs(10));
        let sample = |at_s: u32, count, is_whole| {
            let mut histograms = Histograms::default();
            record(&mut histograms.turn, Duration::from_millis(1), count);
            let at = Time::ZERO.after_seconds(at_s);
            let workers = vec![(WorkerId(0), Packed::new(&histograms))];
            Sample { at, counters: Counters::default(), histograms, workers, is_whole }
        };
        history.add(sample(0, 5, true));
        history.add(sample(1, 1, false));
        assert!(history.before(&sample(10, 2, false), second).is_none());
        let before = history.before(&sample(11, 7, true), second).unwrap();
        assert_eq!(before.histograms.turn.len(), 5);
        let of_worker = before.durations(Some(WorkerId(0))).unwrap();
        assert_eq!((of_worker.turn, of_worker.login.len()), (before.histograms.turn.clone(), 0));
        assert!(before.durations(Some(WorkerId(1))).is_none());
        history.add(sample(5, 7, true));
        let spans = history.spans();
        assert_eq!((spans.len(), spans[0].length), (1, second / 2));
        assert_eq!(spans[0].durations.turn.len(), 2);
    }

    #[test]
    fn a_metric_without_a_label_is_its_value() {
        let one = Counters::TABLE.iter().find(|metric| metric.name == "takeovers").unwrap();
        assert_eq!(json!(Labelled::new(one, [1])), json!(1));
        let two = Metric { label: "way", values: &["a", "b"], ..*one };
        assert_eq!(json!(Labelled::new(&two, [1, 2])), json!({ "a": 1, "b": 2 }));
    }
}
