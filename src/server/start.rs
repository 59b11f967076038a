//! The start of the broker: every step that can fail is tried before the first connection.

use super::audit::{self, Audit};
use super::authentication::{self, DeskSettings};
use super::bridges::{self, Bridges};
use super::changes::Files;
use super::configuration::Configuration;
use super::control::{self, Signals, Stopping};
use super::failure::Failure;
use super::listening::{AdminListening, OwnFile};
use super::logging::{Log, is_read_by_journald};
use super::memory::Rings;
use super::observer::{self, Around, Observer, Stage};
use super::pinning::{self, Plan};
use super::ports::Ports;
use super::reload::{InForce, Reloader, Watched};
use super::summary::{self, Started};
use super::{descriptors, durable, engine, kernel, service, settings, user};
use crate::base::ids::WorkerId;
use crate::base::random;
use crate::broker::Quotas;
use crate::io::clock::Clock;
use crate::io::passed::Passed;
use crate::io::setup::{RingEngine, RingError, RingSizes};
use crate::io::socket::Listener;
use crate::io::wake::Waker;
use crate::journal::{self, block_on};
use crate::limits::{LOGINS_WAITING_MAX, mesh_capacity};
use crate::mesh::{Doorbell, mesh};
use crate::options::{Given, Options};
use crate::worker::{Announcement, LoginSender, Notice, Places, Report, Settings, Setup, Worker};
use crossbeam_channel::{Sender, unbounded};
use std::fmt::Display;
use std::process::ExitCode;
use std::sync::mpsc as threads;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::{io, net};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// The orders of operators that wait at a time.
const ORDERS_MAX: usize = 16;

/// Runs the broker until a signal ends it.
pub(super) fn serve(
    mut options: Options,
    given: Given,
    configuration: Configuration,
    log: Log,
    passed: Vec<Passed>,
) -> Result<ExitCode, Failure> {
    let descriptors = descriptors::raise_limit();
    let mut plan = pinning::plan(&options)?;
    let (chosen, Rings { sizes, workers }) = engine::choose(options.engine, plan.cores.len())?;
    plan.cores.truncate(workers);
    let allowed = descriptors::connections(descriptors, workers, options.listeners.len())?;
    let wanted = options.max_connections as usize;
    let connections = if wanted == 0 { allowed } else { wanted.min(allowed) };
    warn(&options, &plan, allowed);
    let Ports { sockets, mut files, metrics, admin, pid_file } =
        Ports::open(&mut options, &given, workers, passed)?;
    let options = Arc::new(options);
    let (watched, named) = (Watched::new(&options), Files::of(&options));
    let settings = settings::load(&options, None)?;
    let way_in = settings::admin(&options, None)?;
    user::settle(&options, &named)?;
    let (orders_in, orders) = mpsc::channel(ORDERS_MAX);
    let (audit, audit_thread) = audit::start(&options, plan.cores.len())?;
    let ending = block_on(chosen.engine(), async {
        let signals = Signals::heed(orders)?;
        audit.note(&summary::entry(&options));
        let rings = (chosen.engine(), sizes);
        let running = start_workers(&settings, &plan, rings, connections, sockets, &audit)?;
        summary::print(&Started {
            options: &options,
            plan: &plan,
            release: &kernel::release(),
            chosen,
            descriptors,
            connections,
            // Whoever reads the system's journal need not be the operator.
            token: way_in.tokens.full().filter(|_| !is_read_by_journald(io::stdout())),
        });
        let given = Arc::new(given);
        let (current, in_force) = watch::channel(InForce { settings, given, admin: way_in });
        let (stage, stages) = watch::channel(Stage::Serving);
        let observer = Observer::new(Around {
            notices: running.notices.clone(),
            in_force,
            stage: stages,
            orders: orders_in,
            cores: plan.cores.into(),
            tail: log.tail(),
            audit: audit.clone(),
            journal_status: Arc::clone(&running.journal_status),
            desk: Arc::clone(&running.desk),
            bridges: Arc::clone(&running.bridges.all),
            clock: running.clock,
        });
        serve_operators(&observer, metrics, admin, &mut files)?;
        service::ready();
        let reloader = Reloader {
            configuration,
            current,
            notices: running.notices.clone(),
            desk: Arc::clone(&running.desk),
            log,
            watched,
            audit: audit.clone(),
            files: named,
        };
        let stopping = Stopping { running, files, stage, audit, audit_thread };
        Ok(control::run(signals, reloader, stopping, observer).await)
    });
    let ending = ending.map_err(|error| Failure::start(RingError::from(error))).flatten()?;
    summary::log_end(&ending.reports);
    drop(pid_file);
    Ok(if ending.is_orderly { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows metrics, under `$SYS` and by HTTP, and serves whoever has questions or orders.
fn serve_operators(
    observer: &Observer,
    metrics: Option<net::TcpListener>,
    admin: AdminListening,
    files: &mut Vec<OwnFile>,
) -> Result<(), Failure> {
    tokio::spawn(observer.clone().publish_sys_topics());
    tokio::spawn(service::stay_alive(observer.clone()));
    if observer.in_force.borrow().settings.options.log_destination.has_topic {
        tokio::spawn(observer.clone().publish_log());
    }
    let serve = |listening, routes| tokio::spawn(observer::serve(listening, routes));
    let tcp = |listener| TcpListener::from_std(listener).map_err(Failure::start);
    if let Some(listener) = metrics {
        let routes = observer::metrics_routes(observer.clone());
        serve(observer::Listening::Tcp(tcp(listener)?, None), routes);
    }
    if admin.tcp.is_none() && admin.unix.is_none() {
        return Ok(());
    }
    tokio::spawn(observer.clone().keep_history());
    let routes = observer::admin_routes(observer.clone());
    if let Some((listener, file)) = admin.unix {
        let listener = UnixListener::from_std(listener).map_err(Failure::start)?;
        serve(observer::Listening::Unix(listener), routes.clone());
        files.push(file);
    }
    if let Some(listener) = admin.tcp {
        let in_force = Some(observer.in_force.clone());
        serve(observer::Listening::Tcp(tcp(listener)?, in_force), routes);
    }
    Ok(())
}

fn warn(options: &Options, plan: &Plan, allowed: usize) {
    let wanted = options.max_connections as usize;
    if wanted > allowed {
        tracing::warn!(wanted, allowed, "The descriptor limit allows fewer --max-connections");
    }
    let workers_per_core = plan.workers_per_core;
    if workers_per_core > 1 {
        tracing::warn!(workers_per_core, "There are more --workers than cores, which they share");
    }
}

/// The running workers, and the means to reach them.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) doorbells: Arc<[Doorbell]>,
    pub(super) reports: UnboundedReceiver<Report>,
    pub(super) notices: Notices,
    pub(super) desk: Arc<authentication::Desk>,
    pub(super) bridges: Bridges,
    pub(super) journal: Option<JoinHandle<bool>>,
    pub(super) journal_status: Arc<Mutex<journal::Status>>,
    /// The clock of all workers.
    pub(super) clock: Clock,
}

/// Sends notices to workers.
#[derive(Debug, Clone)]
pub(super) struct Notices {
    senders: Arc<[Sender<Notice>]>,
    doorbells: Arc<[Doorbell]>,
}

impl Notices {
    /// The number of workers.
    pub(super) fn workers(&self) -> usize {
        self.senders.len()
    }

    /// Sends a notice to one worker.
    pub(super) fn send(&self, worker: WorkerId, notice: Notice) {
        // A worker that has stopped wants to know nothing.
        let _ = self.senders[worker.index()].send(notice);
        self.doorbells[worker.index()].call();
    }

    /// Tells all workers that the settings have changed. The log says so with these words, once the
    /// settings hold everywhere.
    pub(super) fn reload(&self, settings: &Settings, words: &'static str) {
        let announcement = Arc::new(Announcement(words));
        for worker in WorkerId::all(self.senders.len()) {
            self.send(worker, Notice::Reload(settings.clone(), Arc::clone(&announcement)));
        }
    }
}

/// Starts all workers; they run when this returns.
fn start_workers(
    settings: &Settings,
    plan: &Plan,
    (engine, sizes): (RingEngine, RingSizes),
    connections: usize,
    listeners: Vec<Vec<Listener>>,
    audit: &Audit,
) -> Result<Running, Failure> {
    let workers = plan.cores.len();
    let wakers: Vec<Arc<Waker>> = (0..workers)
        .map(|_| Waker::new().map(Arc::new))
        .collect::<io::Result<_>>()
        .map_err(not_started)?;
    let doorbells: Arc<[Doorbell]> = wakers.iter().map(|waker| doorbell(waker, workers)).collect();
    let ends = mesh(Arc::clone(&doorbells), mesh_capacity(workers));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded()).unzip();
    let notices = Notices { senders: senders.into(), doorbells: Arc::clone(&doorbells) };
    let desk = start_desk(settings, notices.clone()).map_err(not_started)?;
    // Peers must not be able to guess the seed, so that they cannot prepare collisions.
    let (seed, clock) = (random::number(), Clock::start());
    let places = Arc::new(Places::new(connections, seed));
    let quotas = Arc::new(Quotas::new(seed));
    let durable = durable::open(&settings.options, engine, &doorbells, seed, clock)?;
    let mut journals = durable.ends.into_iter();
    let (reports_in, reports) = unbounded_channel();
    let (started_in, started) = threads::channel();
    let parts = ends.into_iter().zip(receivers).zip(wakers).zip(listeners).zip(&plan.cores);
    let parts = WorkerId::all(workers).zip(parts);
    for (worker, ((((mesh, notices), waker), listeners), &core)) in parts {
        let setup = Setup {
            worker,
            settings: settings.clone(),
            logins: login_sender(&desk, worker),
            audit: audit.trail(worker),
            notices,
            seed,
            clock,
            mesh,
            waker,
            listeners,
            places: Arc::clone(&places),
            quotas: Arc::clone(&quotas),
            journal: journals.next(),
            engine,
            sizes,
        };
        start_worker(setup, core, started_in.clone(), reports_in.clone())?;
    }
    drop(started_in);
    // Each worker says once how its start went, then lets go of its end.
    started.iter().collect::<Result<Vec<()>, RingError>>().map_err(Failure::start)?;
    let (journal, journal_status) = (durable.thread, durable.status);
    let bridges = bridges::start(&settings.options, &notices)?;
    Ok(Running { doorbells, reports, notices, desk, bridges, journal, journal_status, clock })
}

/// Starts the threads that verify logins.
fn start_desk(settings: &Settings, notices: Notices) -> io::Result<Arc<authentication::Desk>> {
    let options = &settings.options;
    let desk_settings = DeskSettings {
        threads: options.login_threads.into(),
        queue: LOGINS_WAITING_MAX,
        cache_s: options.login_cache_s.into(),
        login_failures_max: options.max_login_failures,
    };
    let answer = move |worker, link, verdict| {
        notices.send(worker, Notice::Verdict { link, verdict });
    };
    let desk = authentication::Desk::start(desk_settings, answer)?;
    desk.set_policies(Arc::clone(&settings.policies));
    Ok(Arc::new(desk))
}

/// The sender of one worker's logins to the desk.
fn login_sender(desk: &Arc<authentication::Desk>, worker: WorkerId) -> LoginSender {
    let desk = Arc::clone(desk);
    LoginSender::new(move |link, login| desk.submit(worker, link, login))
}

fn doorbell(waker: &Arc<Waker>, workers: usize) -> Doorbell {
    let waker = Arc::clone(waker);
    Doorbell::new(workers, move || waker.wake())
}

fn start_worker(
    setup: Setup,
    core: Option<usize>,
    started: threads::Sender<Result<(), RingError>>,
    reports: UnboundedSender<Report>,
) -> Result<(), Failure> {
    let name = format!("worker-{}", setup.worker);
    let body = move || {
        if let Some(core) = core
            && !pinning::pin(core)
        {
            tracing::warn!(worker = setup.worker.0, core, "Cannot stay on this core");
        }
        // Nobody listens any more only when the start of another worker has failed.
        let worker = match Worker::new(setup) {
            Ok(worker) => worker,
            Err(error) => return started.send(Err(error)).unwrap_or(()),
        };
        let heard = started.send(Ok(())).is_ok();
        drop(started);
        if heard {
            reports.send(worker.run()).unwrap_or(());
        }
    };
    thread::Builder::new().name(name).spawn(body).map(drop).map_err(not_started)
}

fn not_started(error: impl Display) -> Failure {
    Failure::start(format!("cannot start the workers: {error}"))
}
