//! What the threads of a desk share, and what they do with a login.
#![forbid(unsafe_code)]

use super::cache::{Cache, Key};
use super::failures::Failures;
use super::hook_client::HookClient;
use super::{Answer, DeskSettings};
use crate::access::{HookAnswer, Identity, Login, Policy, Proof, Step, Verdict, Workspace};
use crate::base::time::Time;
use crate::broker::LinkId;
use crate::io::clock::Clock;
use crate::limits::{LOGIN_CACHE_MAX, LOGIN_FAILURES_TABLE_MAX};
use crate::mqtt::ReasonCode;
use crossbeam_channel::{Receiver, Sender};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

/// Seconds without a login after which a thread gives its memory for hashing back.
const IDLE: Duration = Duration::from_secs(5);

/// To logins that come before the policies.
const NO_POLICY: Verdict = Verdict::Refuse {
    code: ReasonCode::ServerUnavailable,
    cause: "there is no policy for this listener",
};

/// A login, and whom to answer.
pub(super) struct Job {
    pub worker: usize,
    pub link: LinkId,
    pub login: Login,
}

/// One per listener, and how often they were replaced.
#[derive(Clone)]
struct Policies {
    version: u64,
    list: Arc<[Policy]>,
}

/// What all threads of a desk share.
pub(super) struct Shared {
    policies: RwLock<Policies>,
    cache: Option<Mutex<Cache>>,
    failures: Option<Mutex<Failures>>,
    clock: Clock,
    answer: Answer,
    stopping: AtomicBool,
}

/// What is needed of a login when its verdict is there; the login itself is gone by then.
struct Claimant {
    worker: usize,
    link: LinkId,
    address: Option<IpAddr>,
    authenticates_again: bool,
}

impl Shared {
    pub(super) fn new(settings: &DeskSettings, answer: Answer) -> Self {
        let lifetime = Duration::from_secs(settings.cache_s.into());
        let cache = || Mutex::new(Cache::new(lifetime, LOGIN_CACHE_MAX));
        let failures_max = settings.login_failures_max;
        let failures = || Mutex::new(Failures::new(failures_max, LOGIN_FAILURES_TABLE_MAX));
        Self {
            policies: RwLock::new(Policies { version: 0, list: Arc::default() }),
            cache: (settings.cache_s > 0).then(cache),
            failures: (failures_max > 0).then(failures),
            clock: Clock::start(),
            answer,
            stopping: AtomicBool::new(false),
        }
    }

    pub(super) fn set_policies(&self, list: Arc<[Policy]>) {
        let mut policies = self.policies.write().unwrap_or_else(PoisonError::into_inner);
        *policies = Policies { version: policies.version + 1, list };
        // Under the lock, so that nobody notes a success under the old version afterwards.
        if let Some(cache) = &self.cache {
            lock(cache).clear();
        }
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn policies(&self) -> Policies {
        self.policies.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// A thread that hashes.
    pub(super) fn verify_all(&self, jobs: &Receiver<Job>, questions: &Sender<Job>) {
        let mut workspace = Workspace::default();
        loop {
            let job = jobs.recv_timeout(IDLE).or_else(|error| {
                workspace = Workspace::default();
                if error.is_disconnected() { Err(()) } else { jobs.recv().map_err(|_| ()) }
            });
            let Ok(job) = job else { return };
            if self.is_stopping() {
                return;
            }
            self.verify(job, &mut workspace, questions);
        }
    }

    /// A thread that asks the hook.
    pub(super) fn ask_all(&self, questions: &Receiver<Job>) {
        let client = HookClient::new();
        let mut told: Option<Time> = None;
        while let Ok(job) = questions.recv() {
            if self.is_stopping() {
                return;
            }
            let (policies, listener) = (self.policies(), usize::from(job.login.listener));
            let Some(policy) = policies.list.get(listener) else {
                self.tell(&Claimant::of(&job), NO_POLICY);
                continue;
            };
            let answer = match policy.hook() {
                Some(hook) => client.ask(hook, &job.login),
                None => HookAnswer::Failed("the hook was taken out meanwhile"),
            };
            let now = self.clock.now();
            let is_news = told.is_none_or(|told| now.since(told) >= Duration::from_secs(1));
            if let HookAnswer::Failed(cause) = &answer
                && is_news
            {
                // Not with every login: while the hook is down they all fail.
                told = Some(now);
                tracing::warn!(listener, "logins are refused: {cause}");
            }
            let verdict = policy.heed_hook(&job.login, answer);
            self.settle(&Claimant::of(&job), &policies, listener, verdict);
        }
    }

    fn verify(&self, job: Job, workspace: &mut Workspace, questions: &Sender<Job>) {
        let claimant = Claimant::of(&job);
        if self.has_to_wait(claimant.address) {
            let cause = "too many failed logins from this address";
            return self.tell(&claimant, Verdict::Refuse { code: ReasonCode::Banned, cause });
        }
        let policies = self.policies();
        let listener = usize::from(job.login.listener);
        let Some(policy) = policies.list.get(listener) else {
            return self.tell(&claimant, NO_POLICY);
        };
        let key = job.login.key().filter(|_| self.cache.is_some());
        if let Some(identity) = key.and_then(|key| self.remembered(&key, &job.login, policy)) {
            let identity = Arc::new(identity);
            let verdict = Verdict::Accept { identity, data: None, valid_for: None };
            return self.tell(&claimant, verdict);
        }
        let verdict = match policy.verify(job.login, unix_seconds(), workspace) {
            Step::Done(verdict) => verdict,
            Step::AskHook(login) => return self.ask_hook(Job { login, ..job }, questions),
        };
        if let (Some(key), Verdict::Accept { identity, .. }) = (key, &verdict)
            && let Proof::Password(fingerprint) = identity.proof
        {
            self.remember(key, fingerprint, policies.version);
        }
        self.settle(&claimant, &policies, listener, verdict);
    }

    fn ask_hook(&self, job: Job, questions: &Sender<Job>) {
        if let Err(full) = questions.try_send(job) {
            let cause = "too many logins wait for the hook";
            let verdict = Verdict::Refuse { code: ReasonCode::ServerBusy, cause };
            self.tell(&Claimant::of(&full.into_inner()), verdict);
        }
    }

    /// Who a login is by a success that is not long ago.
    fn remembered(&self, key: &Key, login: &Login, policy: &Policy) -> Option<Identity> {
        let fingerprint = lock(self.cache.as_ref()?).find(key, self.clock.now())?;
        let identity = Identity {
            user: login.user_name.clone(),
            client_id: login.client_id.clone(),
            proof: Proof::Password(fingerprint),
            rules: None,
            is_superuser: false,
        };
        policy.still_holds(&identity).then_some(identity)
    }

    fn remember(&self, key: Key, fingerprint: u64, version: u64) {
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = self.cache.as_ref().filter(|_| policies.version == version) {
            lock(cache).note(key, fingerprint, self.clock.now());
        }
    }

    /// Answers, unless the policies were replaced since and the verdict does not stand any more.
    fn settle(&self, claimant: &Claimant, used: &Policies, listener: usize, verdict: Verdict) {
        let now = self.policies();
        if let Verdict::Accept { identity, .. } = &verdict
            && now.version != used.version
            && !now.list.get(listener).is_some_and(|policy| policy.still_holds(identity))
        {
            let cause = "the policy changed during the login";
            return self.tell(claimant, Verdict::Refuse { code: ReasonCode::ServerBusy, cause });
        }
        if let Verdict::Refuse { code: ReasonCode::BadUserNameOrPassword, .. } = verdict {
            self.note_failure(claimant.address);
        }
        self.tell(claimant, verdict);
    }

    fn tell(&self, claimant: &Claimant, verdict: Verdict) {
        if self.is_stopping() {
            return;
        }
        let verdict = match verdict {
            // CONNACK has more codes than the DISCONNECT that answers a re-authentication.
            Verdict::Refuse { code, cause } if claimant.authenticates_again => {
                let is_known = code != ReasonCode::BadUserNameOrPassword
                    && code != ReasonCode::Banned
                    && code != ReasonCode::ServerUnavailable;
                let code = if is_known { code } else { ReasonCode::NotAuthorized };
                Verdict::Refuse { code, cause }
            }
            verdict => verdict,
        };
        (self.answer)(claimant.worker, claimant.link, verdict);
    }

    fn has_to_wait(&self, address: Option<IpAddr>) -> bool {
        let known = self.failures.as_ref().zip(address);
        known
            .is_some_and(|(failures, address)| lock(failures).is_waiting(address, self.clock.now()))
    }

    fn note_failure(&self, address: Option<IpAddr>) {
        let Some((failures, address)) = self.failures.as_ref().zip(address) else { return };
        if lock(failures).note(address, self.clock.now()) {
            tracing::warn!(%address, "too many failed logins: the address has to wait");
        }
    }
}

impl Claimant {
    fn of(job: &Job) -> Self {
        Self {
            worker: job.worker,
            link: job.link,
            address: job.login.address,
            authenticates_again: job.login.current.is_some(),
        }
    }
}

/// A table is whole after each of its operations, also when the thread that did it has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tokens say in seconds since 1970 until when they are valid, so it takes the wall clock.
#[expect(clippy::disallowed_methods, reason = "a token's end is a time of the wall clock")]
fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
