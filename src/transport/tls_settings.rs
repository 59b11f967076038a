//! Settings common to all connections of a TLS listener: certificates, authorities, and tickets'
//! keys.

use super::client_verifier::ClientVerifier;
use super::hello::Hello;
use super::own_certificate::CertificateChooser;
use super::tls_error::{TlsError, about};
use super::tls_files::TlsFiles;
use super::{authorities, pem, public_key};
use crate::limits::TLS_RECORD_BYTES_MAX;
use crate::options::{ClientCertificates, TlsVersion};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerConfig, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};
use std::sync::Arc;
use std::time::SystemTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// The settings common to all connections of a TLS listener. They are loaded once and replaced
/// whole on a reload; existing connections keep the old ones.
///
/// Only the keys of session tickets change with time: rustls renews them every six hours, for all
/// workers together.
#[derive(Debug)]
pub struct TlsSettings {
    /// The configuration for clients that share an application protocol with us, or name none.
    config: Records,
    /// The configuration for clients that name only other protocols.
    without_protocol: Records,
    least_version: TlsVersion,
    /// The verifier of client certificates; none when clients are not asked for any.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    trust: Trust,
    warnings: Vec<String>,
}

/// Bytes of plaintext in a record, as RFC 6066 lets clients choose.
const FRAGMENTS: [usize; 4] = [512, 1024, 2048, 4096];
/// Bytes that rustls counts besides the plaintext.
const RECORD_HEAD_BYTES: usize = 5;

/// One configuration, for every size of records.
#[derive(Debug)]
struct Records {
    whole: Arc<ServerConfig>,
    /// One configuration for each of [`FRAGMENTS`].
    fragmented: [Arc<ServerConfig>; FRAGMENTS.len()],
}

impl Records {
    fn new(config: &ServerConfig) -> Self {
        Self {
            whole: Arc::new(config.clone()),
            fragmented: FRAGMENTS.map(|bytes| {
                let mut config = config.clone();
                config.max_fragment_size = Some(bytes + RECORD_HEAD_BYTES);
                Arc::new(config)
            }),
        }
    }
}

/// The rules that let clients in. A ticket is good only as long as they stay the same.
#[derive(Debug, PartialEq, Eq)]
struct Trust {
    client_certificates: ClientCertificates,
    authorities: Vec<CertificateDer<'static>>,
    crls: Vec<CertificateRevocationListDer<'static>>,
}

impl TlsSettings {
    /// Reads everything from its files.
    ///
    /// # Errors
    /// The error names the file, the fault in it, and the fix.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        Self::build(files, None)
    }

    /// Reads the files again. Tickets from `self` stay good, unless the rules that let clients in
    /// have changed: then a client has to show its certificate anew.
    ///
    /// # Errors
    /// As for [`TlsSettings::load`]; the caller then keeps `self`.
    pub fn reload(&self, files: &TlsFiles) -> Result<Self, TlsError> {
        Self::build(files, Some(self))
    }

    /// Advice for the operator that hinders no start: one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn build(files: &TlsFiles, previous: Option<&Self>) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let mut warnings = Vec::new();
        let chooser = Arc::new(CertificateChooser::load(files, &provider, &mut warnings)?);
        let trust = Trust::load(files)?;
        let verifier = trust.verifier(files, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(files.min_version))
            .map_err(not_set_up)?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(chooser.clone());
        config.alpn_protocols = alpn(files.websocket);
        // What a client needs to resume is in its ticket, so that nothing has to be remembered.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = match previous {
            Some(previous) if previous.trust == trust => previous.config.whole.ticketer.clone(),
            _ => new_ticketer()?,
        };
        // MQTT clients connect once at a time; a second ticket would only make handshakes longer.
        config.send_tls13_tickets = 1;
        let now = config.time_provider.current_time();
        let before_1970 = || TlsError::new("TLS cannot be set up: the clock is before 1970");
        let now = now.ok_or_else(before_1970)?;
        warn_of_validity(files, &chooser, now, &mut warnings);
        warn_of_lists(&trust, now, &mut warnings);
        let mut without_protocol = config.clone();
        without_protocol.alpn_protocols.clear();
        Ok(Self {
            without_protocol: Records::new(&without_protocol),
            config: Records::new(&config),
            least_version: files.min_version,
            verifier,
            trust,
            warnings,
        })
    }

    /// The configuration for clients that say nothing special.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.whole.clone()
    }

    /// The configuration for a client with this hello, and the plaintext that it gets in a record.
    ///
    /// Rustls does not negotiate `max_fragment_length`, but smaller records can still be sent. And
    /// rustls refuses a client that names only other application protocols; here such a client goes
    /// on without one, as with a server that knows nothing of them.
    pub(super) fn config_for(&self, hello: &Hello) -> (Arc<ServerConfig>, usize) {
        let records = if hello.shares_protocol { &self.config } else { &self.without_protocol };
        match hello.record_bytes_max {
            Some(most) if most < TLS_RECORD_BYTES_MAX => {
                let index = FRAGMENTS.iter().rposition(|bytes| *bytes <= most).unwrap_or(0);
                (records.fragmented[index].clone(), FRAGMENTS[index])
            }
            _ => (records.whole.clone(), TLS_RECORD_BYTES_MAX),
        }
    }

    /// The application protocols of this listener.
    pub(super) fn protocols(&self) -> &[Vec<u8>] {
        &self.config.whole.alpn_protocols
    }

    pub(super) const fn least_version(&self) -> TlsVersion {
        self.least_version
    }

    /// The time by which rustls judges certificates in a handshake.
    pub(super) fn now(&self) -> UnixTime {
        let now = self.config.whole.time_provider.current_time();
        now.unwrap_or_else(|| UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }

    pub(super) fn unix_time(now: SystemTime) -> UnixTime {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        UnixTime::since_unix_epoch(since.unwrap_or_default())
    }

    /// True when both settings let the same clients in.
    pub(super) fn trusts_as(&self, other: &Self) -> bool {
        self.trust == other.trust
    }

    /// Whether a client with `certificates`, its own first, is let in.
    pub(super) fn accepts(&self, certificates: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Some(verifier) = &self.verifier else { return true };
        match certificates {
            [] => !verifier.client_auth_mandatory(),
            [own, others @ ..] => verifier.verify_client_cert(own, others, now).is_ok(),
        }
    }
}

impl Trust {
    fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let mut trust = Self {
            client_certificates: files.client_certificates,
            authorities: Vec::new(),
            crls: Vec::new(),
        };
        if files.client_certificates == ClientCertificates::None {
            return Ok(trust);
        }
        if files.client_cas.is_empty() {
            return Err(TlsError::new(
                "client certificates cannot be checked: no file of authorities is given; give one, \
                 or ask for no client certificates",
            ));
        }
        trust.authorities = authorities::load(&files.client_cas)?;
        for path in &files.crls {
            trust.crls.append(&mut pem::crls(path)?);
        }
        Ok(trust)
    }

    /// Makes the verifier of client certificates. A certificate is refused when any in its chain is
    /// revoked, when no list covers its issuer, and when the list is out of date: a missing or old
    /// list may be the one that would have named the certificate. OpenSSL decides the same with
    /// `CRL_CHECK_ALL`. Without any list no revocation is checked.
    fn verifier(
        &self,
        files: &TlsFiles,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let Some(path) = files.client_cas.first().filter(|_| !self.authorities.is_empty()) else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            roots.add(authority.clone()).map_err(|error| {
                let cause = match X509Certificate::from_der(authority) {
                    Ok((_, authority)) => {
                        format!("the authority {} cannot be used", authority.subject())
                    }
                    Err(_) => "a certificate is malformed".to_owned(),
                };
                TlsError::of(path, cause, "replace or remove this certificate").because(error)
            })?;
        }
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .with_crls(self.crls.iter().cloned())
                .enforce_revocation_expiration();
        if self.client_certificates == ClientCertificates::Optional {
            builder = builder.allow_unauthenticated();
        }
        let webpki = builder.build().map_err(|error| {
            let path = files.crls.first().unwrap_or(path);
            let cause = match &error {
                VerifierBuilderError::InvalidCrl(_) => "a revocation list cannot be used",
                _ => "client certificates cannot be verified with these files",
            };
            TlsError::of(path, cause, "give the authority's current revocation list").because(error)
        })?;
        let verifier = ClientVerifier::new(webpki, &self.authorities, &self.crls);
        Ok(Some(Arc::new(verifier)))
    }
}

const fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    match min {
        TlsVersion::V1_2 => BOTH,
        TlsVersion::V1_3 => BOTH.split_at(1).0,
    }
}

/// The application protocols, in the order of the server's preference.
fn alpn(websocket: bool) -> Vec<Vec<u8>> {
    match websocket {
        true => vec![b"http/1.1".to_vec(), b"mqtt".to_vec()],
        false => vec![b"mqtt".to_vec()],
    }
}

fn new_ticketer() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    Ticketer::new().map_err(not_set_up)
}

fn not_set_up(error: rustls::Error) -> TlsError {
    TlsError::new("TLS cannot be set up").because(error)
}

fn warn_of_validity(
    files: &TlsFiles,
    chooser: &CertificateChooser,
    now: UnixTime,
    warnings: &mut Vec<String>,
) {
    for (path, own) in files.certificates.iter().zip(chooser.own()) {
        if let Some(cause) = invalidity(own, now.as_secs().cast_signed()) {
            warnings.push(about(path, cause, "clients will refuse it; renew it"));
        }
    }
}

/// Warns about authorities and revocation lists that let no client in.
fn warn_of_lists(trust: &Trust, now: UnixTime, warnings: &mut Vec<String>) {
    let now = now.as_secs().cast_signed();
    let lists = trust.crls.iter().filter_map(|der| CertificateRevocationList::from_der(der).ok());
    let lists: Vec<_> = lists.map(|(_, list)| list).collect();
    for list in &lists {
        if list.next_update().is_some_and(|next| next.timestamp() < now) {
            warnings.push(format!(
                "the revocation list of {} is out of date; its clients are refused until it is \
                 renewed",
                list.issuer()
            ));
        }
    }
    for der in &trust.authorities {
        let Ok((_, authority)) = X509Certificate::from_der(der) else { continue };
        if let Some(fault) = public_key::fault(der) {
            warnings.push(format!(
                "the authority {} lets no client in: {fault}; {}",
                authority.subject(),
                public_key::NEW_KEY
            ));
        }
        let has_list = |subject: &[u8]| lists.iter().any(|list| list.issuer().as_raw() == subject);
        if !lists.is_empty() && !has_list(authority.subject().as_raw()) {
            warnings.push(format!(
                "no revocation list of {} is given, though there are others; its clients are \
                 refused until there is one",
                authority.subject()
            ));
        }
    }
}

/// The reason for which a certificate is not valid now.
fn invalidity(der: &CertificateDer<'_>, now_s: i64) -> Option<&'static str> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    match now_s {
        _ if now_s > validity.not_after.timestamp() => Some("the certificate has expired"),
        _ if now_s < validity.not_before.timestamp() => Some("the certificate is not valid yet"),
        _ => None,
    }
}
