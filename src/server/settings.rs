//! The content of the options' files: all settings of a worker, read at the start and upon a
//! reload.

use super::failure::Failure;
use super::{bridges, control_group};
use crate::access::{Algorithm, HookSource, JwtSource, Policy, PolicyError, Sources, Tokens};
use crate::options::{CertificateUser, ClientCertificates, JwtAlgorithm, ListenerOptions, Options};
use crate::transport::{Protocol, TlsError, TlsFiles, TlsSettings, WebSocketSettings};
use crate::worker::Settings;
use std::sync::Arc;

/// Reads all files. Settings that the operator may not have intended are logged. `before` holds the
/// settings until now, with as many listeners.
///
/// # Errors
/// The error names the first file that cannot be used.
pub(super) fn load(options: &Arc<Options>, before: Option<&Settings>) -> Result<Settings, Failure> {
    let policies = options.listeners.iter().map(policy).collect::<Result<Vec<_>, _>>();
    let mut policies = policies.map_err(Failure::usage)?;
    for (listener, policy) in options.listeners.iter().zip(&policies) {
        for warning in policy.warnings() {
            tracing::warn!(%listener, "{warning}");
        }
    }
    bridges::check(options)?;
    // That of the broker's own bridges.
    policies.push(Policy::open());
    let protocols = protocols(options, before).map_err(Failure::usage)?;
    let memory_max = control_group::bytes(options.max_memory);
    Ok(Settings { options: Arc::clone(options), policies: policies.into(), protocols, memory_max })
}

/// Reads the files of TLS alone.
///
/// # Errors
/// As [`load`].
pub(super) fn protocols(
    options: &Options,
    before: Option<&Settings>,
) -> Result<Arc<[Protocol]>, TlsError> {
    let protocols = options.listeners.iter().enumerate().map(|(index, listener)| {
        let before = before.and_then(|before| before.protocols[index].tls.as_deref());
        let protocol = protocol(listener, before)?;
        for warning in protocol.tls.iter().flat_map(|tls| tls.warnings()) {
            tracing::warn!(%listener, "{warning}");
        }
        Ok(protocol)
    });
    protocols.collect()
}

/// Reads a listener's files of TLS.
///
/// # Errors
/// As [`load`].
pub(super) fn protocol(
    listener: &ListenerOptions,
    before: Option<&TlsSettings>,
) -> Result<Protocol, TlsError> {
    let files = listener.scheme.has_tls().then(|| TlsFiles {
        certificates: listener.tls_cert.clone(),
        keys: listener.tls_key.clone(),
        chain: listener.tls_chain.clone(),
        client_cas: listener.tls_client_ca.clone(),
        crls: listener.tls_crl.clone(),
        client_certificates: listener.client_certificates,
        min_version: listener.tls_min_version,
        websocket: listener.scheme.has_websocket(),
    });
    let load = |files: TlsFiles| match before {
        Some(before) => before.reload(&files),
        None => TlsSettings::load(&files),
    };
    let tls = files.map(load).transpose()?;
    let websocket = listener.scheme.has_websocket().then(|| WebSocketSettings {
        path: listener.websocket_path.clone(),
        origins: listener.websocket_origins.clone(),
    });
    Ok(Protocol { proxy: false, tls: tls.map(Arc::new), websocket: websocket.map(Arc::new) })
}

/// The files of the operators' way in.
#[derive(Debug, Clone)]
pub(super) struct AdminSettings {
    /// The tokens that are accepted.
    pub(super) tokens: Arc<Tokens>,
    /// TLS of `--admin-listen`.
    pub(super) tls: Option<Arc<TlsSettings>>,
}

/// Reads the files of the operators' way in; without a token file the token `before` stays.
///
/// # Errors
/// As [`load`].
pub(super) fn admin(
    options: &Options,
    before: Option<&AdminSettings>,
) -> Result<AdminSettings, Failure> {
    let tokens = match &options.admin_token_file {
        Some(path) => {
            let (tokens, warning) = Tokens::read(path).map_err(Failure::usage)?;
            if let Some(warning) = warning {
                tracing::warn!("{warning}");
            }
            Arc::new(tokens)
        }
        None => before.map_or_else(|| Arc::new(Tokens::random()), |it| Arc::clone(&it.tokens)),
    };
    let files = options.admin_tls_cert.clone().map(|certificate| TlsFiles {
        certificates: vec![certificate],
        keys: options.admin_tls_key.iter().cloned().collect(),
        client_cas: options.admin_client_ca.iter().cloned().collect(),
        client_certificates: match options.admin_client_ca {
            Some(_) => ClientCertificates::Optional,
            None => ClientCertificates::None,
        },
        websocket: true,
        ..TlsFiles::default()
    });
    let load = |files: TlsFiles| match before.and_then(|before| before.tls.as_deref()) {
        Some(before) => before.reload(&files),
        None => TlsSettings::load(&files),
    };
    let tls = files.map(load).transpose().map_err(Failure::usage)?;
    for warning in tls.iter().flat_map(TlsSettings::warnings) {
        tracing::warn!("--admin-listen: {warning}");
    }
    Ok(AdminSettings { tokens, tls: tls.map(Arc::new) })
}

/// Reads a listener's files of access.
///
/// # Errors
/// As [`load`].
pub(super) fn policy(listener: &ListenerOptions) -> Result<Policy, PolicyError> {
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
        certificates_name_users: listener.certificate_user != CertificateUser::None
            && listener.scheme.has_tls(),
        acl_file: listener.acl_file.clone(),
        hides_sys: !listener.sys_readable,
        jwt,
        hook,
    })
}
