//! Verifies logins on threads of its own, off the workers.
//!
//! Hashing threads take logins from one queue and give way to every other thread of the machine, so
//! that a flood of logins costs the packet path nothing. Questions to a hook wait on other threads,
//! so that a slow hook holds up no hashing. A login that was right recently waits in no queue.

mod cache;
mod desk;
mod failures;
mod hook_client;
mod priority;
mod queue;

use crate::access::{Login, Policy, Verdict};
use crate::base::ids::WorkerId;
use crate::broker::LinkId;
use crate::limits::HOOK_THREADS;
use crate::metrics::Logins;
use desk::Shared;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Takes a verdict, with its worker and link.
type Answer = Box<dyn Fn(WorkerId, LinkId, Verdict) + Send + Sync>;

/// The settings of a [`Desk`].
#[derive(Debug, Clone, Copy)]
pub struct DeskSettings {
    /// The number of threads that hash passwords; at least one is started.
    pub threads: usize,
    /// The number of logins that may wait, and of questions to the hook. Of more, the logins from
    /// the addresses with most failures are refused as busy.
    pub queue: usize,
    /// Seconds for which a verified password is not hashed again; 0 always hashes.
    pub cache_s: u32,
    /// Failed logins within a minute, with one user name from one address, after which the next
    /// ones are delayed; 0 delays none.
    pub login_failures_max: u32,
}

/// Verifies logins on a few low-priority threads, off the workers.
pub struct Desk {
    shared: Arc<Shared>,
    hashing: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Desk").field("threads", &self.hashing.len()).finish_non_exhaustive()
    }
}

impl Desk {
    /// Starts the threads. They pass each verdict to `answer`, with the worker and the link.
    ///
    /// The policies may be replaced between a verdict and its arrival. So the receiver of a
    /// [`Verdict::Accept`] asks its own policy whether the identity [still
    /// holds](Policy::still_holds).
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn start(
        settings: DeskSettings,
        answer: impl Fn(WorkerId, LinkId, Verdict) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(&settings, Box::new(answer)));
        let mut desk = Self { shared, hashing: Vec::new() };
        for index in 0..settings.threads.max(1) {
            let shared = Arc::clone(&desk.shared);
            let thread =
                thread::Builder::new().name(format!("login-{index}")).spawn(move || {
                    priority::give_way();
                    shared.verify_all();
                })?;
            desk.hashing.push(thread);
        }
        for index in 0..HOOK_THREADS {
            let shared = Arc::clone(&desk.shared);
            // Never joined: a question may take as long as the hook likes.
            thread::Builder::new().name(format!("hook-{index}")).spawn(move || shared.ask_all())?;
        }
        Ok(desk)
    }

    /// Uses `policies`, one per listener, from now on, and forgets verified passwords.
    pub fn set_policies(&self, policies: Arc<[Policy]>) {
        self.shared.set_policies(policies);
    }

    /// The ways that logins have gone, and how many wait.
    pub fn figures(&self) -> Logins {
        self.shared.figures()
    }

    /// Takes a login, and answers at once or in its turn.
    pub fn submit(&self, worker: WorkerId, link: LinkId, login: Login) {
        self.shared.submit(worker, link, login);
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.hashing.drain(..) {
            let _ = thread.join();
        }
    }
}
