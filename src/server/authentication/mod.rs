//! Verifies logins on threads of its own, off the workers.
//!
//! Hashing threads take logins from one queue and give way to every other thread of the machine, so
//! that a flood of logins costs the packet path nothing. Questions to a hook wait on other threads,
//! so that a slow hook holds up no hashing. Both queues have an end: who comes then is refused.

mod cache;
mod desk;
mod failures;
mod hook_client;
mod priority;

use crate::access::{Login, Policy, Verdict};
use crate::broker::LinkId;
use crate::limits::HOOK_THREADS;
use crossbeam_channel::{Receiver, Sender, bounded};
use desk::{Job, Shared};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Takes a verdict, for a worker and a link of it.
type Answer = Box<dyn Fn(usize, LinkId, Verdict) + Send + Sync>;

/// How a [`Desk`] works.
#[derive(Debug, Clone, Copy)]
pub struct DeskSettings {
    /// Threads that hash passwords; at least one is started.
    pub threads: usize,
    /// Logins that may wait, and questions to the hook that may; more are refused.
    pub queue: usize,
    /// Seconds for which a verified password is not hashed again; 0: it always is.
    pub cache_s: u32,
    /// Failed logins from one address within a minute after which it has to wait; 0: it never has.
    pub login_failures_max: u32,
}

/// Verifies logins on a few low-priority threads, off the workers.
pub struct Desk {
    shared: Arc<Shared>,
    /// None once the desk stops.
    jobs: Option<Sender<Job>>,
    hashing: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Desk").field("threads", &self.hashing.len()).finish_non_exhaustive()
    }
}

impl Desk {
    /// Starts the threads. They give each verdict to `answer`, with the worker and the link.
    ///
    /// Between a verdict and its arrival the policies may be replaced, so whoever takes a
    /// [`Verdict::Accept`] asks its own policy whether that
    /// [still holds](Policy::still_holds).
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        settings: DeskSettings,
        answer: impl Fn(usize, LinkId, Verdict) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(&settings, Box::new(answer)));
        let (sender, jobs) = bounded(settings.queue.max(1));
        let (questions, asked) = bounded(settings.queue.max(1));
        let mut desk = Self { shared, jobs: Some(sender), hashing: Vec::new() };
        for index in 0..settings.threads.max(1) {
            let thread = desk.start_hashing(index, jobs.clone(), questions.clone())?;
            desk.hashing.push(thread);
        }
        for index in 0..HOOK_THREADS {
            let (shared, asked) = (Arc::clone(&desk.shared), asked.clone());
            // Never joined: a question may take as long as the hook likes.
            thread::Builder::new()
                .name(format!("hook-{index}"))
                .spawn(move || shared.ask_all(&asked))?;
        }
        Ok(desk)
    }

    fn start_hashing(
        &self,
        index: usize,
        jobs: Receiver<Job>,
        questions: Sender<Job>,
    ) -> io::Result<JoinHandle<()>> {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name(format!("login-{index}")).spawn(move || {
            priority::give_way();
            shared.verify_all(&jobs, &questions);
        })
    }

    /// Verifies by `policies`, one per listener, from now on; what was remembered is forgotten.
    pub fn set_policies(&self, policies: Arc<[Policy]>) {
        self.shared.set_policies(policies);
    }

    /// Takes a login; false when too many wait already, and then there will be no answer.
    #[must_use]
    pub fn submit(&self, worker: usize, link: LinkId, login: Login) -> bool {
        let job = Job { worker, link, login };
        self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    /// Stops the threads; what waits is not answered.
    pub fn stop(self) {}
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.shared.stop();
        drop(self.jobs.take());
        for thread in self.hashing.drain(..) {
            let _ = thread.join();
        }
    }
}
