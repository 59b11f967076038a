//! The observer: asks the workers for their metrics and shows them, by `$SYS` and by HTTP.
//!
//! Everything here runs on the control thread. A worker is asked by a notice, and answers in a turn
//! of its own; nobody waits for more than [`ANSWER_MAX`].

mod access;
mod acts;
mod api;
mod clients;
mod cores;
mod document;
mod drain;
mod exposition;
mod history;
mod http;
mod live;
mod loads;
mod log_tail;
mod problem;
mod retained;
mod state;
mod stream;
mod sys_topics;
mod trace;

pub(super) use api::routes as admin_routes;
pub(super) use drain::Drain;
pub(super) use http::{Listening, routes as metrics_routes, serve};

use super::audit::{Audit, AuditState};
use super::authentication::Desk;
use super::bridges;
use super::control::Order;
use super::logging::{Field, Tail};
use super::reload::InForce;
use super::start::Notices;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::io::clock::Clock;
use crate::io::memory;
use crate::journal;
use crate::metrics::{Bridges, Counters, Gauges, Journal, Logins, Metric, Process, Snapshot};
use crate::options::{Endpoint, Options};
use crate::store::kept_bytes;
use crate::worker::{Notice, Question, Reply};
use access::Caller;
use history::History;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use sys_topics::SysTopics;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout_at};

/// The longest time that an answer of a worker is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The state of the broker in the eyes of those who watch over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The broker serves clients.
    Serving,
    /// The broker sends clients away, and stops then.
    Draining,
    /// The broker stops.
    Stopping,
}

/// The metrics of all workers at about the same moment.
#[derive(Debug, Default)]
struct View {
    process: Process,
    journal: Journal,
    logins: Logins,
    bridges: Bridges,
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

    /// The metrics that belong to no worker.
    fn of_process(&self) -> impl Iterator<Item = (&'static Metric, &[u64])> {
        let tables = Process::TABLE.iter().zip(self.process.values());
        let tables = tables.chain(Journal::TABLE.iter().zip(self.journal.values()));
        let tables = tables.chain(Logins::TABLE.iter().zip(self.logins.values()));
        tables.chain(Bridges::TABLE.iter().zip(self.bridges.values()))
    }

    /// Every metric but durations, with the sums over all workers.
    fn values(&self) -> Vec<(&'static Metric, Vec<u64>)> {
        let (counters, gauges) = self.sums();
        let tables = Counters::TABLE.iter().zip(counters.values());
        let tables = tables.chain(Gauges::TABLE.iter().zip(gauges.values()));
        let tables = tables.chain(self.of_process());
        tables.map(|(metric, values)| (metric, values.to_vec())).collect()
    }
}

/// A listener for WebSockets, as a page reaches it.
#[derive(Debug, serde::Serialize)]
pub(super) struct WebSocketAt {
    /// `ws` or `wss`.
    pub(super) scheme: &'static str,
    /// The address; None where the page's own host is the broker's.
    pub(super) host: Option<String>,
    /// The port.
    pub(super) port: u16,
    /// The path of the URL.
    pub(super) path: String,
}

/// The address as a URL has it.
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The parts of the broker that an observer looks at.
#[derive(Debug, Clone)]
pub(super) struct Around {
    /// The way to the workers.
    pub(super) notices: Notices,
    pub(super) in_force: watch::Receiver<InForce>,
    pub(super) stage: watch::Receiver<Stage>,
    /// The way to the control thread's own work.
    pub(super) orders: mpsc::Sender<Order>,
    /// The core of each worker; None for any.
    pub(super) cores: Arc<[Option<usize>]>,
    /// The last lines of the log.
    pub(super) tail: Tail,
    pub(super) audit: Audit,
    pub(super) journal_status: Arc<Mutex<journal::Status>>,
    pub(super) desk: Arc<Desk>,
    /// The connections to other brokers.
    pub(super) bridges: Arc<[Arc<bridges::Shared>]>,
    /// The clock, which began when the broker started.
    pub(super) clock: Clock,
}

/// Asks the workers and knows the process. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Observer {
    around: Around,
    history: History,
}

impl Deref for Observer {
    type Target = Around;

    fn deref(&self) -> &Around {
        &self.around
    }
}

impl Observer {
    /// An observer of these parts.
    pub(super) fn new(around: Around) -> Self {
        Self { around, history: History::default() }
    }

    fn options(&self) -> Arc<Options> {
        Arc::clone(&self.in_force.borrow().settings.options)
    }

    /// Tells the log and the audit log what an operator does.
    fn tell_act(&self, caller: &Caller, act: &str, fields: &[(&str, Field<'_>)]) {
        let words = fields.iter().map(|(name, field)| match field {
            Field::Number(number) => format!(" {name}={number}"),
            Field::Text(text) => format!(" {name}={text:?}"),
        });
        let words: String = words.collect();
        tracing::info!(%caller, "Operator: {act}{words}");
        self.audit.act(&caller.name, act, fields);
    }

    /// All metrics, for which each worker looks at all of its clients.
    async fn look(&self) -> View {
        self.view(Question::Snapshot).await
    }

    /// The same as they stand: for counts, durations and states that no client has a part of.
    async fn glance(&self) -> View {
        self.view(Question::Glance).await
    }

    /// Tells the log how things stand.
    pub(super) async fn log_summary(&self) {
        let view = self.look().await;
        let (counters, gauges) = view.sums();
        tracing::info!(
            uptime_s = view.process.uptime,
            memory_used = view.process.memory_used,
            clients_connected = gauges.clients_connected,
            sessions = gauges.sessions,
            subscriptions = gauges.subscriptions,
            retained_messages = gauges.retained_messages,
            queued_messages = gauges.queued_messages,
            inflight_messages = gauges.inflight_messages,
            publishes_received = counters.publishes_received.iter().sum::<u64>(),
            publishes_sent = counters.publishes_sent.iter().sum::<u64>(),
            messages_dropped = counters.messages_dropped.iter().sum::<u64>(),
            journal = self.journal_state(&view),
            "Summary"
        );
    }

    /// Whether every worker ends its turns: it answers within the time of [`Self::ask_all`].
    pub(super) async fn all_answer(&self) -> bool {
        self.glance().await.workers.len() == self.notices.workers()
    }

    async fn view(&self, question: impl Fn(Reply<Snapshot>) -> Question) -> View {
        let answers = self.ask_all(question).await;
        let workers = answers.into_iter().map(|(_, snapshot)| snapshot).collect();
        let (process, logins) = (self.process(), self.desk.figures());
        let (journal, bridges) = (self.journal_status().figures, bridges::figures(&self.bridges));
        View { process, journal, logins, bridges, workers }
    }

    /// The journal's status, for a moment.
    fn journal_status(&self) -> MutexGuard<'_, journal::Status> {
        self.journal_status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal's state in a word.
    fn journal_state(&self, view: &View) -> &'static str {
        match (&self.options().data_dir, view.sums().1.journal_failing) {
            (None, _) => "none",
            (Some(_), 0) => "works",
            (Some(_), _) => "failing",
        }
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
            memory_limit: self.in_force.borrow().settings.memory_max,
            messages_kept: kept_bytes(),
            audit_events: written,
            audit_events_lost: lost,
            audit_failing: is_failing.into(),
        }
    }

    /// The listeners for WebSockets.
    pub(super) fn websockets(&self) -> impl Iterator<Item = WebSocketAt> + use<> {
        let options = self.options();
        let all = options.listeners.iter().filter(|listener| listener.scheme.has_websocket());
        let places = all.filter_map(|listener| {
            let Endpoint::Tcp(address) = listener.endpoint else { return None };
            let is_anywhere = address.ip().is_unspecified() || address.ip().is_loopback();
            Some(WebSocketAt {
                scheme: listener.scheme.name(),
                host: (!is_anywhere).then(|| host(address.ip())),
                port: address.port(),
                path: listener.websocket_path.trim_end_matches('*').to_owned(),
            })
        });
        places.collect::<Vec<_>>().into_iter()
    }

    /// Publishes what changes under `$SYS`, as often as the options say, for as long as the broker
    /// serves.
    pub(super) async fn publish_sys_topics(mut self) {
        let mut topics = SysTopics::default();
        let mut last = self.clock.now();
        loop {
            let seconds = self.around.in_force.borrow_and_update().settings.options.sys_interval_s;
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
                changed = self.around.in_force.changed() => if changed.is_err() { return },
                _ = self.around.stage.changed() => return,
            }
        }
    }
}
