//! What comes to a worker from the rest of the process: verdicts about logins, new settings.

use super::worker::Worker;
use crate::access::{Login, Policy, Verdict};
use crate::broker::{Input, LinkId};
use crate::options::Options;
use crate::transport::Protocol;
use std::fmt;
use std::sync::Arc;

/// Tells a worker something. Ring its doorbell afterwards.
#[derive(Debug)]
pub enum Notice {
    /// What came of a login.
    Verdict {
        /// Whose it was.
        link: LinkId,
        /// The answer.
        verdict: Verdict,
    },
    /// The settings have changed.
    Reload(Settings),
}

/// What a worker goes by. Each list has one entry for each listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The options.
    pub options: Arc<Options>,
    /// Who may come in, and who may do what.
    pub policies: Arc<[Policy]>,
    /// What is spoken below MQTT.
    pub protocols: Arc<[Protocol]>,
}

/// Takes logins to be verified; the verdict comes as a [`Notice`].
#[derive(Clone)]
pub struct LoginSender(pub(super) Arc<Submit>);

type Submit = dyn Fn(LinkId, Login) + Send + Sync;

impl LoginSender {
    /// `submit` returns at once.
    pub fn new(submit: impl Fn(LinkId, Login) + Send + Sync + 'static) -> Self {
        Self(Arc::new(submit))
    }
}

impl fmt::Debug for LoginSender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LoginSender")
    }
}

impl Worker {
    /// Takes what has come. True when there was anything.
    pub(super) fn take_notices(&mut self) -> bool {
        let mut busy = false;
        while let Ok(notice) = self.notices.try_recv() {
            busy = true;
            match notice {
                Notice::Verdict { link, verdict } => {
                    self.feed(Input::Authenticated { link, verdict });
                }
                Notice::Reload(settings) => self.reload(settings),
            }
        }
        busy
    }

    /// Goes by new settings. Certificates that were accepted before are judged anew, in turn.
    fn reload(&mut self, settings: Settings) {
        let Settings { options, policies, .. } = settings.clone();
        self.settings = settings;
        self.feed(Input::Reload { options, policies });
        let with_layers = self.connections.iter().filter(|(_, c)| c.layers.is_some());
        self.unjudged = with_layers.map(|(link, _)| link).collect();
    }
}
