//! The state that the threads of a desk share, and their work on a login.

use super::cache::{Cache, Key, Known};
use super::failures::{Claim, Failures};
use super::hook_client::HookClient;
use super::queue::{Nothing, Queue, Rank};
use super::{Answer, DeskSettings};
use crate::access::{HookAnswer, Identity, Login, Policy, Proof, Step, Verdict, Workspace};
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::broker::LinkId;
use crate::io::clock::Clock;
use crate::io::pages::use_huge_pages;
use crate::limits::{LOGIN_CACHE_MAX, LOGIN_FAILURES_TABLE_MAX};
use crate::metrics::Logins;
use crate::mqtt::ReasonCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

/// Seconds without a login after which a thread gives its memory for hashing back.
const IDLE: Duration = Duration::from_secs(5);

/// Characters of a user name that the log shows.
const NAME_CHARS: usize = 64;

/// The verdict on a login that comes before the policies.
const NO_POLICY: Verdict = Verdict::Refuse {
    code: ReasonCode::ServerUnavailable,
    cause: "there is no policy for this listener",
};

/// A login, and the link that gets its verdict.
#[derive(Debug)]
pub(super) struct Job {
    pub worker: WorkerId,
    pub link: LinkId,
    pub rank: Rank,
    pub login: Login,
}

/// One policy per listener, and the number of their replacements.
#[derive(Clone)]
struct Policies {
    version: u64,
    list: Arc<[Policy]>,
}

/// The state that all threads of a desk share.
pub(super) struct Shared {
    /// Logins to be verified.
    logins: Queue,
    /// Logins about which the hook is to be asked.
    questions: Queue,
    policies: RwLock<Policies>,
    cache: Mutex<Cache>,
    failures: Mutex<Failures>,
    /// The counts so far; what waits is counted by whoever asks.
    counts: Mutex<Logins>,
    clock: Clock,
    answer: Answer,
    stopping: AtomicBool,
}

/// The data about a login that its verdict needs; the login itself is gone by then.
struct Claimant {
    worker: WorkerId,
    link: LinkId,
    claim: Option<Claim>,
    key: Option<Key>,
    authenticates_again: bool,
    /// The user's name for the log.
    name: String,
}

impl Shared {
    pub(super) fn new(settings: &DeskSettings, answer: Answer) -> Self {
        let lifetime = Duration::from_secs(settings.cache_s.into());
        let failures = Failures::new(settings.login_failures_max, LOGIN_FAILURES_TABLE_MAX);
        Self {
            logins: Queue::new(settings.queue),
            questions: Queue::new(settings.queue),
            policies: RwLock::new(Policies { version: 0, list: Arc::default() }),
            cache: Mutex::new(Cache::new(lifetime, LOGIN_CACHE_MAX)),
            failures: Mutex::new(failures),
            counts: Mutex::default(),
            clock: Clock::start(),
            answer,
            stopping: AtomicBool::new(false),
        }
    }

    pub(super) fn set_policies(&self, list: Arc<[Policy]>) {
        let mut policies = self.policies.write().unwrap_or_else(PoisonError::into_inner);
        *policies = Policies { version: policies.version + 1, list };
        // Under the lock, so that nobody notes a success under the old version afterwards.
        lock(&self.cache).expire();
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.logins.close();
        self.questions.close();
    }

    /// The ways that logins have gone, and how many wait.
    pub(super) fn figures(&self) -> Logins {
        let logins_waiting = (self.logins.len() + self.questions.len()) as u64;
        Logins { logins_waiting, ..*lock(&self.counts) }
    }

    fn policies(&self) -> Policies {
        self.policies.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Answers a login at once if it was right recently, and queues any other.
    pub(super) fn submit(&self, worker: WorkerId, link: LinkId, login: Login) {
        let now = self.clock.now();
        let claimant = Claimant::of(worker, link, &login);
        let known = claimant.key.and_then(|key| lock(&self.cache).find(&key, now));
        if let Some(Known::IsRight(fingerprint)) = known
            && let Some(identity) = self.remembered(fingerprint, &login)
        {
            let identity = Arc::new(identity);
            let verdict = Verdict::Accept { identity, data: None, valid_for: None };
            lock(&self.counts).logins_cached += 1;
            return self.tell(&claimant, verdict);
        }
        let (rank, due) = match (known, claimant.claim) {
            (Some(_), _) => (Rank::Known, None),
            (None, Some(claim)) => {
                let failures = lock(&self.failures);
                (Rank::New(failures.of_address(claim)), failures.due(claim))
            }
            (None, None) => (Rank::New(0), None),
        };
        if due.is_some_and(|due| due > now) {
            lock(&self.counts).logins_delayed += 1;
        }
        self.queue(&self.logins, Job { worker, link, rank, login }, due);
    }

    fn queue(&self, queue: &Queue, job: Job, due: Option<Time>) {
        if let Err(excess) = queue.push(job, due, self.clock.now()) {
            let Job { worker, link, login, .. } = *excess;
            let cause = "too many logins wait";
            lock(&self.counts).logins_crowded_out += 1;
            let verdict = Verdict::Refuse { code: ReasonCode::ServerBusy, cause };
            self.tell(&Claimant::of(worker, link, &login), verdict);
        }
    }

    /// Runs a thread that hashes.
    pub(super) fn verify_all(&self) {
        let mut workspace = Workspace::new(use_huge_pages);
        let mut patience = Some(IDLE);
        loop {
            match self.logins.pop(patience, || self.clock.now()) {
                Ok(job) => {
                    self.verify(job, &mut workspace);
                    patience = Some(IDLE);
                }
                Err(Nothing::Idle) => {
                    workspace = Workspace::new(use_huge_pages);
                    patience = None;
                }
                Err(Nothing::Closed) => return,
            }
        }
    }

    /// Runs a thread that asks the hook.
    pub(super) fn ask_all(&self) {
        let client = HookClient::new();
        let mut told: Option<Time> = None;
        while let Ok(Job { worker, link, login, .. }) =
            self.questions.pop(None, || self.clock.now())
        {
            let claimant = Claimant::of(worker, link, &login);
            let (policies, listener) = (self.policies(), login.listener.index());
            let Some(policy) = policies.list.get(listener) else {
                self.tell(&claimant, NO_POLICY);
                continue;
            };
            let answer = match policy.hook() {
                Some(hook) => {
                    lock(&self.counts).logins_asked += 1;
                    client.ask(hook, &login)
                }
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
            let verdict = policy.heed_hook(&login, answer);
            self.settle(&claimant, &policies, listener, verdict);
        }
    }

    fn verify(&self, job: Job, workspace: &mut Workspace) {
        let Job { worker, link, rank, login } = job;
        let claimant = Claimant::of(worker, link, &login);
        let policies = self.policies();
        let listener = login.listener.index();
        let Some(policy) = policies.list.get(listener) else {
            return self.tell(&claimant, NO_POLICY);
        };
        lock(&self.counts).logins_hashed += 1;
        match policy.verify(login, unix_seconds(), workspace) {
            Step::Done(verdict) => self.settle(&claimant, &policies, listener, verdict),
            Step::AskHook(login) => {
                self.queue(&self.questions, Job { worker, link, rank, login }, None);
            }
        }
    }

    /// The identity of a login that was right recently, if the policy still accepts it.
    fn remembered(&self, fingerprint: u64, login: &Login) -> Option<Identity> {
        let identity = Identity {
            user: login.user_name.as_deref().map(Into::into),
            client_id: (&*login.client_id).into(),
            proof: Proof::Password(fingerprint),
            rules: None,
            is_superuser: false,
        };
        let policies = self.policies();
        let policy = policies.list.get(login.listener.index());
        policy.is_some_and(|policy| policy.still_holds(&identity)).then_some(identity)
    }

    fn note_success(&self, claimant: &Claimant, identity: &Identity, version: u64) {
        let now = self.clock.now();
        if let Some(claim) = claimant.claim {
            lock(&self.failures).forgive(claim);
        }
        let Some(key) = claimant.key else { return };
        let fingerprint = match identity.proof {
            Proof::Password(fingerprint) => Some(fingerprint),
            _ => None,
        };
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        if policies.version == version {
            lock(&self.cache).note(key, fingerprint, now);
        }
    }

    fn note_failure(&self, claimant: &Claimant) {
        if let Some(key) = claimant.key {
            lock(&self.cache).forget(&key);
        }
        let Some(claim) = claimant.claim else { return };
        if lock(&self.failures).note(claim, self.clock.now()) {
            let (user, address) = (claimant.name.escape_debug(), claim.network());
            tracing::warn!(
                "Logins of user {user} from {address} are delayed: too many of them have failed"
            );
        }
    }

    /// Sends the verdict, unless the policies were replaced meanwhile and the verdict no longer
    /// holds.
    fn settle(&self, claimant: &Claimant, used: &Policies, listener: usize, verdict: Verdict) {
        let now = self.policies();
        if let Verdict::Accept { identity, .. } = &verdict
            && now.version != used.version
            && !now.list.get(listener).is_some_and(|policy| policy.still_holds(identity))
        {
            let cause = "the policy changed during the login";
            return self.tell(claimant, Verdict::Refuse { code: ReasonCode::ServerBusy, cause });
        }
        match &verdict {
            Verdict::Accept { identity, .. } => {
                self.note_success(claimant, identity, used.version);
            }
            Verdict::Refuse { code: ReasonCode::BadUserNameOrPassword, .. } => {
                self.note_failure(claimant);
            }
            Verdict::Refuse { .. } | Verdict::Continue { .. } => {}
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
}

impl Claimant {
    fn of(worker: WorkerId, link: LinkId, login: &Login) -> Self {
        let name = login.certificate.as_deref().or(login.user_name.as_deref());
        Self {
            worker,
            link,
            claim: Claim::of(login),
            key: login.key(),
            authenticates_again: login.current.is_some(),
            name: name.map_or_else(String::new, |name| name.chars().take(NAME_CHARS).collect()),
        }
    }
}

/// Locks a table, also after a panic: each operation leaves the table whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock in seconds since 1970, the unit of tokens' ends.
#[expect(clippy::disallowed_methods, reason = "a token's end is a time of the wall clock")]
fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
