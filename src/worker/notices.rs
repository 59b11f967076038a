//! Notices to a worker from the rest of the process: verdicts about logins, new settings,
//! questions.

use crate::access::{Login, Policy, Verdict};
use crate::broker::{
    Act, ClientDetails, ClientsPage, ClientsQuery, Deed, Levels, LinkId, Recipients, RetainedAsked,
    RetainedRows, Sought, Watched, Witness,
};
use crate::io::socket::TcpFigures;
use crate::metrics::Snapshot;
use crate::options::Options;
use crate::transport::Protocol;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A notice tells a worker something. Ring the worker's doorbell afterwards.
#[derive(Debug)]
pub enum Notice {
    /// The verdict about a login.
    Verdict {
        /// The link whose login was judged.
        link: LinkId,
        /// The answer.
        verdict: Verdict,
    },
    /// The settings have changed; the worker drops the announcement once it goes by them.
    Reload(Settings, Arc<Announcement>),
    /// The broker has these to say of itself: topics of `$SYS` and their new values.
    Tell(Arc<[(String, String)]>),
    /// A trace has nobody who reads it any more.
    EndTraces,
    /// A bridge connects to this broker.
    Bridge(OwnedFd),
    /// Accept no more connections, since the broker is about to stop.
    Drain,
    /// The rest of the process asks something.
    Ask(Question),
}

/// A question to a worker.
#[derive(Debug)]
pub enum Question {
    /// All metrics of the worker, with sums over its clients that are made anew, in pieces.
    Snapshot(Reply<Snapshot>),
    /// All metrics of the worker as they stand: sums over its clients are those made last.
    Glance(Reply<Snapshot>),
    /// Some clients.
    Clients(ClientsQuery, Reply<ClientsPage>),
    /// The client with this identifier, if its session lives on the worker, and what the kernel
    /// knows of its connection.
    Client(String, Reply<Option<(ClientDetails, Option<TcpFigures>)>>),
    /// The worker's clients with some subscriptions.
    Recipients(Sought, Reply<Recipients>),
    /// Some retained messages.
    Retained(RetainedAsked, Reply<RetainedRows>),
    /// The names on the level below a topic, or on the first one, that begin with a text.
    Levels(Option<String>, String, Reply<Levels>),
    /// Show packets as they pass; false when the worker shows as many as it can already.
    Trace(Watched, Witness, Reply<bool>),
    /// Do something about clients or messages.
    Act(Act, Reply<Deed>),
}

/// The way of an answer back to whoever asked.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    /// An answer goes to `take`, which returns at once.
    pub fn new(take: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(take))
    }

    pub(super) fn send(self, answer: T) {
        (self.0)(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Reply")
    }
}

/// A line for the log about new settings, written when the last worker goes by them: a client that
/// connects after it meets no old certificate, rule or limit.
#[derive(Debug)]
pub struct Announcement(pub &'static str);

impl Drop for Announcement {
    fn drop(&mut self) {
        tracing::info!("{}", self.0);
    }
}

/// The settings that a worker goes by. Each list has one entry for each listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The options.
    pub options: Arc<Options>,
    /// The rules of access: who may come in, and who may do what.
    pub policies: Arc<[Policy]>,
    /// The protocols that are spoken below MQTT.
    pub protocols: Arc<[Protocol]>,
    /// The bytes of memory that the process may use.
    pub memory_max: u64,
}

/// A sender of logins to be verified; the verdict comes as a [`Notice`].
#[derive(Clone)]
pub struct LoginSender(Arc<Submit>);

type Submit = dyn Fn(LinkId, Login) + Send + Sync;

impl LoginSender {
    /// A sender that calls `submit`, which returns at once.
    pub fn new(submit: impl Fn(LinkId, Login) + Send + Sync + 'static) -> Self {
        Self(Arc::new(submit))
    }

    pub(super) fn send(&self, link: LinkId, login: Login) {
        (self.0)(link, login);
    }
}

impl fmt::Debug for LoginSender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LoginSender")
    }
}
