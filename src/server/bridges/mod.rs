//! Bridges: connections that this broker opens to others.
//!
//! A thread of its own opens them, and carries their bytes between the other broker and a session
//! here, which is a client's like any other: on a worker, with its queue in the journal. The thread
//! keeps nothing, so that whichever side is cut off, both sessions know where to go on.

mod carry;
mod dial;
mod status;
mod tls;

pub(super) use status::Shared;

use super::failure::Failure;
use super::start::Notices;
use crate::base::ids::WorkerId;
use crate::base::random;
use crate::bridge::{Ended, Output, Rules, Terms, Translator, preparation};
use crate::limits::BRIDGE_PRIMARY_S;
use crate::metrics::Bridges as Figures;
use crate::mqtt::Version;
use crate::options::{BridgeOptions, BridgeStart, MqttVersion, Options};
use crate::worker::{Notice, Question, Reply};
use carry::{Cause, carry};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

/// The time after which an attempt to reach this broker's own session is given up.
const LOCAL_MAX: Duration = Duration::from_secs(30);
/// The interval in which a lazy bridge looks at what waits for it.
const LAZY_INTERVAL: Duration = Duration::from_secs(1);

/// The bridges while they run; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Bridges {
    /// The bridges, in the order of the options.
    pub(super) all: Arc<[Arc<Shared>]>,
    _stop: watch::Sender<()>,
}

/// Reads the files of all bridges, for their faults.
///
/// # Errors
/// The error names the bridge and the file.
pub(super) fn check(options: &Options) -> Result<(), Failure> {
    for bridge in &options.bridges {
        if let Some(tls) = &bridge.tls {
            let wrong = |error| Failure::usage(format!("bridge {}: {error}", bridge.name));
            tls::config(tls).map_err(wrong)?;
        }
    }
    Ok(())
}

/// The figures of all bridges together.
pub(super) fn figures(all: &[Arc<Shared>]) -> Figures {
    let mut figures = Figures::default();
    for shared in all {
        let (.., status) = shared.look();
        figures.bridges[usize::from(!status.is_connected)] += 1;
        figures.bridge_connections += status.connections;
        figures.bridge_messages[0] += status.carried.inward;
        figures.bridge_messages[1] += status.carried.outward;
        figures.bridge_messages_dropped += status.dropped;
    }
    figures
}

/// Starts all bridges of the options.
///
/// # Errors
/// The system gives no thread.
pub(super) fn start(options: &Options, notices: &Notices) -> Result<Bridges, Failure> {
    let (stop, stopped) = watch::channel(());
    let tasks: Vec<Task> =
        options.bridges.iter().map(|bridge| Task::new(bridge, options, notices)).collect();
    let all = tasks.iter().map(|task| Arc::clone(&task.shared)).collect();
    if !tasks.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::start)?;
        let body = move || runtime.block_on(run(tasks, stopped));
        thread::Builder::new().name("bridges".into()).spawn(body).map_err(Failure::start)?;
    }
    Ok(Bridges { all, _stop: stop })
}

/// Runs all bridges until they are to stop.
async fn run(tasks: Vec<Task>, mut stopped: watch::Receiver<()>) {
    for task in tasks {
        tokio::spawn(task.run());
    }
    // It fails when the sender is dropped, which is the order to stop.
    let _ = stopped.changed().await;
}

/// The client identifiers of a bridge, there and here.
fn identifiers(options: &BridgeOptions) -> (String, String) {
    let client_id = options.client_id.clone().unwrap_or_else(|| {
        let system = rustix::system::uname();
        format!("{}.{}", system.nodename().to_string_lossy(), options.name)
    });
    let local = options.local_client_id.clone().unwrap_or_else(|| format!("local.{client_id}"));
    (client_id, local)
}

/// One bridge.
struct Task {
    options: BridgeOptions,
    terms: Terms,
    notices: Notices,
    shared: Arc<Shared>,
}

impl Task {
    fn new(bridge: &BridgeOptions, options: &Options, notices: &Notices) -> Self {
        let (client_id, local_client_id) = identifiers(bridge);
        let state = || format!("$SYS/broker/connection/{client_id}/state");
        let state_topic = bridge.notification_topic.clone().unwrap_or_else(state);
        let shared = Arc::new(Shared::new(&bridge.name, &local_client_id));
        let terms = Terms {
            version: match bridge.version {
                MqttVersion::V31 => Version::V31,
                MqttVersion::V311 => Version::V311,
                MqttVersion::V5 => Version::V5,
            },
            rules: Arc::new(Rules::new(&bridge.topics)),
            client_id,
            local_client_id,
            user: bridge.user.clone(),
            password: bridge.password.clone(),
            keep_alive_s: bridge.keep_alive_s,
            clean_session: bridge.clean_session,
            local_clean_session: bridge.local_clean_session.unwrap_or(bridge.clean_session),
            is_private: bridge.try_private,
            state_topic: bridge.notifications.then_some(state_topic),
            is_state_local: bridge.notifications_local_only,
            packet_bytes_max: bridge.packet_bytes_max,
            keeps_retain: bridge.outgoing_retain,
            receive_maximum: options.receive_maximum,
            local_bytes_max: options.max_packet_size,
        };
        Self { options: bridge.clone(), terms, notices: notices.clone(), shared }
    }

    /// Keeps the bridge connected, as its options say.
    async fn run(mut self) {
        if !self.terms.local_clean_session {
            while let Err(error) = self.prepare().await {
                self.shared.note_ended(&format!("no session here: {error}"));
                sleep(LAZY_INTERVAL).await;
            }
        }
        let (first_s, most_s) = self.options.restart_s;
        let (mut place, mut pause_s) = (0, first_s);
        loop {
            if self.options.start == BridgeStart::Lazy {
                self.await_messages().await;
            }
            self.shared.note_attempt(self.address(place));
            let (cause, was_connected) = match self.attempt(place).await {
                Ok(ended) => ended,
                Err(error) => (Cause::Remote(Some(error)), false),
            };
            self.shared.note_ended(&cause.to_string());
            if was_connected {
                pause_s = first_s;
                if self.options.start == BridgeStart::Once {
                    return;
                }
            } else if self.speaks_plainer(&cause) {
                continue;
            }
            let is_idle = matches!(cause, Cause::Idle);
            place = match was_connected && !self.options.round_robin {
                true => 0,
                false => (place + 1) % self.options.addresses.len(),
            };
            // All places are tried before the bridge waits.
            if !is_idle && (was_connected || place == 0) {
                sleep(Duration::from_secs(pause_s.into())).await;
                pause_s = jittered(first_s, pause_s, most_s);
            }
        }
    }

    /// Gives up what only bridges ask for, when the other broker may have refused that.
    fn speaks_plainer(&mut self, cause: &Cause) -> bool {
        let may_be_refused = matches!(cause, Cause::Ended(Ended::Version) | Cause::Remote(None));
        let is_private = self.terms.is_private && !self.terms.version.is_v5();
        if may_be_refused && is_private {
            self.terms.is_private = false;
            return true;
        }
        false
    }

    fn address(&self, place: usize) -> String {
        let address = &self.options.addresses[place];
        format!("{}:{}", address.host, address.port)
    }

    /// Opens one connection, and carries messages until it ends.
    async fn attempt(&self, place: usize) -> io::Result<(Cause, bool)> {
        let remote = dial::dial(&self.options.addresses[place], self.options.tls.as_ref()).await?;
        let local = self.local()?;
        let mut output = Output::default();
        let translator = Translator::open(self.terms.clone(), &mut output);
        let idle = (self.options.start == BridgeStart::Lazy)
            .then(|| Duration::from_secs(self.options.idle_timeout_s.into()));
        let carried = carry(translator, output, (local, remote), idle, &self.shared);
        tokio::select! {
            ended = carried => Ok(ended),
            () = self.primary_is_back(), if place > 0 && !self.options.round_robin => {
                let cause = io::Error::other("the first address answers again");
                Ok((Cause::Remote(Some(cause)), true))
            }
        }
    }

    /// Waits until the first place takes connections.
    async fn primary_is_back(&self) {
        loop {
            sleep(Duration::from_secs(BRIDGE_PRIMARY_S)).await;
            if dial::is_open(&self.options.addresses[0]).await {
                return;
            }
        }
    }

    /// A connection to this broker.
    fn local(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        // Wherever it begins, the connection moves to the home of its session.
        self.notices.send(WorkerId(0), Notice::Bridge(theirs.into()));
        UnixStream::from_std(ours)
    }

    /// Lets the bridge's session begin, so that messages wait for the first connection.
    async fn prepare(&self) -> io::Result<()> {
        let mut local = self.local()?;
        local.write_all(&preparation(&self.terms)).await?;
        let mut answer = Vec::new();
        timeout(LOCAL_MAX, local.read_to_end(&mut answer)).await??;
        // CONNACK: its flags, then its code.
        match answer.get(3) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::other(format!("it refuses the bridge: {code:#04x}"))),
            None => Err(io::Error::other("it closes the connection")),
        }
    }

    /// Waits until as many messages wait as a lazy bridge connects for.
    async fn await_messages(&self) {
        while self.waiting().await < u64::from(self.options.threshold) {
            sleep(LAZY_INTERVAL).await;
        }
    }

    /// The number of messages that wait for the bridge.
    async fn waiting(&self) -> u64 {
        let mut waiting = 0;
        for worker in WorkerId::all(self.notices.workers()) {
            let (answer_in, answer) = oneshot::channel();
            let reply = Reply::new(move |details| drop(answer_in.send(details)));
            let question = Question::Client(self.terms.local_client_id.clone(), reply);
            self.notices.send(worker, Notice::Ask(question));
            if let Ok(Some((details, _))) = answer.await {
                waiting += details.row.queued_messages as u64;
            }
        }
        waiting
    }
}

/// The next pause in seconds: between the first one and three times the last one, but at most this
/// many, so that bridges which lost the same broker do not come back together.
fn jittered(first_s: u16, last_s: u16, most_s: u16) -> u16 {
    let room = u64::from(last_s.saturating_mul(3).saturating_sub(first_s)) + 1;
    let pause = u64::from(first_s) + random::number() % room;
    u16::try_from(pause).unwrap_or(most_s).min(most_s)
}
