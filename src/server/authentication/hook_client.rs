//! Asks the hook over HTTP.

use crate::access::{HookAnswer, HookSource, Login, hook_question};
use crate::limits::HOOK_ANSWER_BYTES_MAX;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

/// A client for hooks; connections stay open from one question to the next.
#[derive(Debug)]
pub(super) struct HookClient {
    agent: Agent,
}

impl HookClient {
    /// Makes a client that takes no setting from the environment and follows no redirection:
    /// passwords go to the configured URL only.
    pub(super) fn new() -> Self {
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(crypto)
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("ringmq/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        Self { agent: config.into() }
    }

    /// The answer of `hook` about `login`.
    pub(super) fn ask(&self, hook: &HookSource, login: &Login) -> HookAnswer {
        let Some(question) = hook_question(login) else {
            // No failure of the hook: it gets texts only, so no user of it has such a password.
            return HookAnswer::Deny;
        };
        let response = match self.post(hook, &question) {
            // A connection that was kept open may be closed by now; asking twice is no harm.
            Err(ureq::Error::Io(_)) => self.post(hook, &question),
            response => response,
        };
        let mut response = match response {
            Ok(response) => response,
            Err(error) => return HookAnswer::Failed(cause(&error)),
        };
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(HOOK_ANSWER_BYTES_MAX).read_to_vec();
        match body {
            Ok(body) => HookAnswer::parse(status, &body),
            Err(error) => HookAnswer::Failed(cause(&error)),
        }
    }

    fn post(&self, hook: &HookSource, question: &[u8]) -> Result<Response<Body>, ureq::Error> {
        let timeout = Duration::from_millis(hook.timeout_ms.into());
        let request = self.agent.post(&*hook.url).config().timeout_global(Some(timeout)).build();
        request.content_type("application/json").send(question)
    }
}

const fn cause(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Timeout(_) => "the hook did not answer in time",
        ureq::Error::HostNotFound => "the hook's host is not found",
        ureq::Error::BodyExceedsLimit(_) => "the hook answered with more than 64 KiB",
        ureq::Error::Io(_) | ureq::Error::ConnectionFailed => "the hook cannot be reached",
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => "the hook's TLS or certificate is wrong",
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "the hook's URL is wrong",
        _ => "the hook's answer is no HTTP",
    }
}
