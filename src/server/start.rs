//! Starting: everything that can fail is tried before the first connection is accepted.
#![forbid(unsafe_code)]

use super::control::{self, Signals};
use super::failure::Failure;
use super::listening::{self, Listening};
use super::pinning::{self, Plan};
use super::summary::{self, Started};
use super::{descriptors, kernel};
use crate::io::clock::Clock;
use crate::io::setup::{RingError, RingSizes, probe};
use crate::io::socket::Listener;
use crate::io::wake::Waker;
use crate::limits::mesh_capacity;
use crate::mesh::{Doorbell, mesh};
use crate::options::Options;
use crate::worker::{Places, Report, Setup, Worker};
use std::fmt::Display;
use std::io::{self, Read};
use std::sync::{Arc, mpsc};
use std::thread;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Runs the broker until a signal ends it.
pub(super) fn serve(mut options: Options) -> Result<(), Failure> {
    let release = kernel::release()?;
    let descriptors = descriptors::raise_limit()?;
    let features = probe().map_err(Failure::start)?;
    let plan = pinning::plan(&options)?;
    let workers = plan.cores.len();
    let allowed = descriptors::connections(descriptors, workers, options.listeners.len())?;
    let connections = match options.max_connections as usize {
        0 => allowed,
        wanted => wanted.min(allowed),
    };
    warn(&options, &plan, allowed);
    let Listening { sockets, files } = listening::listen(&mut options.listeners, workers)?;
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder())
        .map_err(|error| Failure::start(RingError::from(error)))?;
    let reports = runtime.block_on(async {
        let signals = Signals::heed()?;
        let options = Arc::new(options);
        let (doorbells, reports) = start_workers(&options, &plan, connections, sockets)?;
        summary::print(&Started {
            options: &options,
            plan: &plan,
            release: &release,
            features,
            descriptors,
            connections,
        });
        Ok(control::run(signals, &doorbells, reports).await)
    })?;
    drop(files);
    summary::log_end(&reports);
    Ok(())
}

fn warn(options: &Options, plan: &Plan, allowed: usize) {
    let wanted = options.max_connections as usize;
    if wanted > allowed {
        tracing::warn!(wanted, allowed, "The descriptor limit allows fewer --max-connections");
    }
    let workers_per_core = plan.workers_per_core;
    if workers_per_core > 1 {
        tracing::warn!(workers_per_core, "There are more --workers than cores: they share them");
    }
}

type Running = (Arc<[Doorbell]>, UnboundedReceiver<Report>);

/// Starts all workers; they run when this returns.
fn start_workers(
    options: &Arc<Options>,
    plan: &Plan,
    connections: usize,
    listeners: Vec<Vec<Listener>>,
) -> Result<Running, Failure> {
    let workers = plan.cores.len();
    let wakers: Vec<Arc<Waker>> = (0..workers)
        .map(|_| Waker::new().map(Arc::new))
        .collect::<io::Result<_>>()
        .map_err(not_started)?;
    let doorbells: Arc<[Doorbell]> = wakers.iter().map(|waker| doorbell(waker, workers)).collect();
    let ends = mesh(Arc::clone(&doorbells), mesh_capacity(workers));
    let (seed, clock) = (seed().map_err(not_started)?, Clock::start());
    let places = Arc::new(Places::new(connections));
    let (reports_in, reports) = unbounded_channel();
    let (started_in, started) = mpsc::channel();
    let parts = ends.into_iter().zip(wakers).zip(listeners).zip(&plan.cores).enumerate();
    for (worker, (((mesh, waker), listeners), &core)) in parts {
        let setup = Setup {
            worker,
            options: Arc::clone(options),
            seed,
            clock,
            mesh,
            waker,
            listeners,
            places: Arc::clone(&places),
            sizes: RingSizes::default(),
        };
        start_worker(setup, core, started_in.clone(), reports_in.clone())?;
    }
    drop(started_in);
    // Each worker says once how its start went, then lets go of its end.
    started.iter().collect::<Result<Vec<()>, RingError>>().map_err(Failure::start)?;
    Ok((doorbells, reports))
}

fn doorbell(waker: &Arc<Waker>, workers: usize) -> Doorbell {
    let waker = Arc::clone(waker);
    Doorbell::new(workers, move || waker.wake())
}

fn start_worker(
    setup: Setup,
    core: Option<usize>,
    started: mpsc::Sender<Result<(), RingError>>,
    reports: UnboundedSender<Report>,
) -> Result<(), Failure> {
    let name = format!("worker-{}", setup.worker);
    let body = move || {
        if let Some(core) = core
            && !pinning::pin(core)
        {
            tracing::warn!(worker = setup.worker, core, "Cannot stay on this core");
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

/// What peers must not be able to guess, so that they cannot prepare collisions.
fn seed() -> io::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn not_started(error: impl Display) -> Failure {
    Failure::start(format_args!("cannot start the workers: {error}"))
}
