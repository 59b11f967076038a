//! What the options' files hold: everything a worker goes by, read at the start and upon a reload.
#![forbid(unsafe_code)]

use crate::access::{Algorithm, HookSource, JwtSource, Policy, Sources};
use crate::options::{JwtAlgorithm, ListenerOptions, Options};
use crate::worker::Settings;
use std::sync::Arc;

/// Reads all files. What may not be meant so is logged.
///
/// # Errors
/// One line about the first that cannot be used.
pub(super) fn load(options: &Arc<Options>) -> Result<Settings, String> {
    let policies = options.listeners.iter().map(policy).collect::<Result<Vec<_>, _>>()?;
    for (listener, policy) in options.listeners.iter().zip(&policies) {
        for warning in policy.warnings() {
            tracing::warn!(%listener, "{warning}");
        }
    }
    Ok(Settings { options: Arc::clone(options), policies: policies.into() })
}

fn policy(listener: &ListenerOptions) -> Result<Policy, String> {
    let jwt = listener.jwt_key_file.clone().map(|key_file| JwtSource {
        key_file,
        algorithm: match listener.jwt_algorithm {
            JwtAlgorithm::Hs256 => Algorithm::Hs256,
            JwtAlgorithm::Rs256 => Algorithm::Rs256,
            JwtAlgorithm::Es256 => Algorithm::Es256,
        },
        user_claim: None,
        audience: None,
    });
    let timeout_ms = listener.http_auth_timeout_ms;
    let hook = listener.http_auth_url.clone().map(|url| HookSource { url, timeout_ms });
    Policy::load(&Sources {
        allow_anonymous: listener.allow_anonymous.unwrap_or(false),
        password_file: listener.password_file.clone(),
        acl_file: listener.acl_file.clone(),
        jwt,
        hook,
    })
}
