//! The observer: asks the workers for their metrics and shows them, by `$SYS` and by HTTP.
//!
//! Everything here runs on the control thread. A worker is asked by a notice, and answers in a turn
//! of its own; nobody waits for more than [`ANSWER_MAX`].

mod api;
mod clients;
mod exposition;
mod history;
mod http;
mod loads;
mod sys_topics;

pub(super) use api::routes as admin_routes;
pub(super) use http::{routes as metrics_routes, serve};

use super::audit::{Audit, AuditState};
use super::start::Notices;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::io::clock::Clock;
use crate::io::memory;
use crate::metrics::{Counters, Gauges, Metric, Process, Snapshot};
use crate::store::kept_bytes;
use crate::worker::{Notice, Question, Reply, Settings};
use history::History;
use std::sync::Arc;
use std::time::Duration;
use sys_topics::SysTopics;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout_at};

/// The longest time that an answer of a worker is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The state of the broker in the eyes of those who watch over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The broker serves clients.
    Serving,
    /// The broker stops.
    Stopping,
}

/// The metrics of all workers at about the same moment.
#[derive(Debug)]
struct View {
    process: Process,
    /// The snapshots of the workers that answered in time, in order.
    workers: Vec<Snapshot>,
}

impl View {
    /// The counts and the states of all workers together.
    fn sums(&self) -> (Counters, Gauges) {
        let mut sums = (Counters::default(), Gauges::default());
        for Snapshot { counters, gauges, .. } in &self.workers {
            sums.0.add(counters);
            sums.1.add(gauges);
        }
        sums
    }

    /// Every metric but durations, with the sums over all workers.
    fn values(&self) -> Vec<(&'static Metric, Vec<u64>)> {
        let (counters, gauges) = self.sums();
        let tables = Counters::TABLE.iter().zip(counters.values());
        let tables = tables.chain(Gauges::TABLE.iter().zip(gauges.values()));
        let tables = tables.chain(Process::TABLE.iter().zip(self.process.values()));
        tables.map(|(metric, values)| (metric, values.to_vec())).collect()
    }
}

/// Asks the workers and knows the process. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Observer {
    notices: Notices,
    settings: watch::Receiver<Settings>,
    stage: watch::Receiver<Stage>,
    /// The clock, which began when the broker started.
    clock: Clock,
    history: History,
    audit: Audit,
}

impl Observer {
    /// An observer of the workers that `notices` reach.
    pub(super) fn new(
        notices: Notices,
        settings: watch::Receiver<Settings>,
        stage: watch::Receiver<Stage>,
        clock: Clock,
        audit: Audit,
    ) -> Self {
        Self { notices, settings, stage, clock, history: History::default(), audit }
    }

    async fn look(&self) -> View {
        let answers = self.ask_all(Question::Snapshot).await;
        let workers = answers.into_iter().map(|(_, snapshot)| snapshot).collect();
        View { process: self.process(), workers }
    }

    /// Asks all workers; the answers that came in time, with their workers, in order.
    async fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(Reply<T>) -> Question,
    ) -> Vec<(WorkerId, T)> {
        let workers = WorkerId::all(self.notices.workers());
        let answers: Vec<_> = workers.map(|worker| (worker, self.ask(worker, &question))).collect();
        let mut all = Vec::new();
        for (worker, answer) in answers {
            all.extend(answer.await.map(|answer| (worker, answer)));
        }
        all
    }

    /// Asks a worker; None when no answer comes in time.
    fn ask<T: Send + 'static, Q: FnOnce(Reply<T>) -> Question>(
        &self,
        worker: WorkerId,
        question: Q,
    ) -> impl Future<Output = Option<T>> + use<T, Q> {
        let deadline = tokio::time::Instant::now() + ANSWER_MAX;
        let (sender, answer) = oneshot::channel();
        // Whoever asked may have gone meanwhile.
        let reply = Reply::new(move |answer| drop(sender.send(answer)));
        self.notices.send(worker, Notice::Ask(question(reply)));
        async move { timeout_at(deadline, answer).await.ok()?.ok() }
    }

    fn process(&self) -> Process {
        let AuditState { written, lost, is_failing } = self.audit.state();
        Process {
            uptime: self.clock.now().since(Time::ZERO).as_secs(),
            workers: self.notices.workers() as u64,
            memory_used: memory::in_use(),
            memory_limit: self.settings.borrow().memory_max,
            messages_kept: kept_bytes(),
            audit_events: written,
            audit_events_lost: lost,
            audit_failing: is_failing.into(),
        }
    }

    /// Publishes what changes under `$SYS`, as often as the options say, for as long as the broker
    /// serves.
    pub(super) async fn publish_sys_topics(mut self) {
        let mut topics = SysTopics::default();
        let mut last = self.clock.now();
        loop {
            let seconds = self.settings.borrow_and_update().options.sys_interval_s;
            if seconds > 0 {
                let view = self.look().await;
                let now = self.clock.now();
                let elapsed = now.since(std::mem::replace(&mut last, now));
                let changed: Arc<[_]> = topics.changed(&view, elapsed).into();
                for worker in WorkerId::all(self.notices.workers()) {
                    self.notices.send(worker, Notice::Tell(Arc::clone(&changed)));
                }
            }
            let interval = Duration::from_secs(seconds.into());
            tokio::select! {
                () = sleep(interval), if seconds > 0 => {}
                changed = self.settings.changed() => if changed.is_err() { return },
                _ = self.stage.changed() => return,
            }
        }
    }
}
