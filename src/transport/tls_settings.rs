//! What all connections of a TLS listener share: certificates, authorities, and tickets' keys.

use super::pem;
use super::tls_files::TlsFiles;
use crate::options::{ClientCertificates, TlsVersion};
use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert,
    ServerConfig, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, SupportedProtocolVersion};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// What all connections of a TLS listener share. Loaded once, replaced whole on a reload; existing
/// connections keep what they began with.
///
/// The keys of session tickets are the one thing in it that changes with time: rustls renews them
/// every six hours, for all workers together.
#[derive(Debug)]
pub struct TlsSettings {
    config: Arc<ServerConfig>,
    /// None when clients are not asked for certificates.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    trust: Trust,
    warnings: Vec<String>,
}

/// Which clients are let in. A ticket is good only as long as this stays the same.
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
    /// One line that names the file, what is wrong with it, and what to do.
    pub fn load(files: &TlsFiles) -> Result<Self, String> {
        Self::build(files, None)
    }

    /// Reads the files again. Tickets that `self` gave out stay good, unless it has changed which
    /// clients are let in: then a client has to show its certificate anew.
    ///
    /// # Errors
    /// As for [`TlsSettings::load`]; then `self` is to be kept.
    pub fn reload(&self, files: &TlsFiles) -> Result<Self, String> {
        Self::build(files, Some(self))
    }

    /// What the operator should know, though it hinders no start: one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn build(files: &TlsFiles, previous: Option<&Self>) -> Result<Self, String> {
        let provider = Arc::new(default_provider());
        let chooser = CertificateChooser { keys: own_keys(files, &provider)? };
        let trust = Trust::load(files)?;
        let verifier = trust.verifier(files, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(files.min_version))
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(chooser));
        config.alpn_protocols = alpn(files.websocket);
        // What a client needs to resume is in its ticket, so that nothing has to be remembered.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = match previous {
            Some(previous) if previous.trust == trust => previous.config.ticketer.clone(),
            _ => new_ticketer()?,
        };
        // MQTT clients connect once at a time; a second ticket would only make handshakes longer.
        config.send_tls13_tickets = 1;
        let now = config.time_provider.current_time();
        let now = now.ok_or("TLS cannot be set up: the clock is before 1970")?;
        let warnings = warnings(files, &trust, now)?;
        Ok(Self { config: Arc::new(config), verifier, trust, warnings })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// The time by which rustls judges certificates in a handshake.
    pub(super) fn now(&self) -> UnixTime {
        let now = self.config.time_provider.current_time();
        now.unwrap_or_else(|| UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }

    pub(super) fn unix_time(now: SystemTime) -> UnixTime {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        UnixTime::since_unix_epoch(since.unwrap_or_default())
    }

    /// True when both let the same clients in.
    pub(super) fn trusts_as(&self, other: &Self) -> bool {
        self.trust == other.trust
    }

    /// Whether a client with these certificates, its own first, is let in.
    pub(super) fn accepts(&self, certificates: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Some(verifier) = &self.verifier else { return true };
        match certificates {
            [] => !verifier.client_auth_mandatory(),
            [own, others @ ..] => verifier.verify_client_cert(own, others, now).is_ok(),
        }
    }
}

impl Trust {
    fn load(files: &TlsFiles) -> Result<Self, String> {
        let mut trust = Self {
            client_certificates: files.client_certificates,
            authorities: Vec::new(),
            crls: Vec::new(),
        };
        if files.client_certificates == ClientCertificates::None {
            return Ok(trust);
        }
        let Some(path) = &files.client_ca else {
            return Err("client certificates cannot be checked: no file of authorities is given; \
                        give one, or ask for no client certificates"
                .to_string());
        };
        trust.authorities = pem::certificates(path)?;
        for path in &files.crls {
            trust.crls.append(&mut pem::crls(path)?);
        }
        Ok(trust)
    }

    /// A certificate is refused when any in its chain is revoked, when no list speaks for its
    /// issuer, and when the list is out of date: a list that is missing or old may be the one that
    /// would have named it. OpenSSL decides the same with `CRL_CHECK_ALL`. Without any list
    /// nothing is looked up.
    fn verifier(
        &self,
        files: &TlsFiles,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
        let Some(path) = files.client_ca.as_deref().filter(|_| !self.authorities.is_empty()) else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            roots.add(authority.clone()).map_err(|error| {
                pem::failure(path, error, "replace the certificate that is malformed")
            })?;
        }
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .with_crls(self.crls.iter().cloned())
                .enforce_revocation_expiration();
        if self.client_certificates == ClientCertificates::Optional {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map(Some).map_err(|error| {
            let path = files.crls.first().map_or(path, |path| path.as_path());
            pem::failure(path, error, "give the authority's current revocation list")
        })
    }
}

const fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    match min {
        TlsVersion::V1_2 => BOTH,
        TlsVersion::V1_3 => BOTH.split_at(1).0,
    }
}

/// In the order of the server's preference. A client that asks for something else is refused, so
/// that a browser cannot be led here with a request meant for a web server.
fn alpn(websocket: bool) -> Vec<Vec<u8>> {
    match websocket {
        true => vec![b"http/1.1".to_vec(), b"mqtt".to_vec()],
        false => vec![b"mqtt".to_vec()],
    }
}

fn new_ticketer() -> Result<Arc<dyn ProducesTickets>, String> {
    Ticketer::new().map_err(|error| format!("TLS cannot be set up: {error}"))
}

/// The server's certificates with their keys, in the order they are given.
fn own_keys(files: &TlsFiles, provider: &CryptoProvider) -> Result<Vec<Arc<CertifiedKey>>, String> {
    let (certificates, keys) = (files.certificates.len(), files.keys.len());
    if certificates == 0 || certificates != keys {
        return Err(format!(
            "TLS needs a key for each certificate, but there are {certificates} certificate files \
             and {keys} key files; give one key file for each, in the same order"
        ));
    }
    let pairs = files.certificates.iter().zip(&files.keys);
    pairs.map(|(certificate, key)| own_key(certificate, key, provider)).collect()
}

fn own_key(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, String> {
    let chain = pem::certificates(certificate)?;
    let private: PrivateKeyDer<'static> = pem::key(key)?;
    match CertifiedKey::from_der(chain, private, provider) {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(_)) => {
            let cause =
                format!("does not belong to the first certificate in {}", certificate.display());
            Err(pem::failure(key, cause, "give the key it was made with"))
        }
        Err(Error::InvalidCertificate(error)) => {
            Err(pem::failure(certificate, error, "replace the certificate that is malformed"))
        }
        Err(error) => Err(pem::failure(key, error, "give an RSA, ECDSA or Ed25519 key")),
    }
}

/// Answers with the first certificate for the name that the client asks for and with a signature
/// it understands, else with the first of all.
#[derive(Debug)]
struct CertificateChooser {
    keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for CertificateChooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let is_for = |certified: &&Arc<CertifiedKey>, name: &ServerName<'_>| {
            let certificate = certified.end_entity_cert().and_then(ParsedCertificate::try_from);
            certificate.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
                && certified.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let named = name.and_then(|name| self.keys.iter().find(|key| is_for(key, &name)));
        named.or_else(|| self.keys.first()).cloned()
    }
}

fn warnings(files: &TlsFiles, trust: &Trust, now: UnixTime) -> Result<Vec<String>, String> {
    let now = now.as_secs().cast_signed();
    let mut warnings = Vec::new();
    for path in &files.certificates {
        if let Some(cause) = invalidity(&pem::certificates(path)?[0], now) {
            warnings.push(pem::failure(path, cause, "clients will refuse it; renew it"));
        }
    }
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
    for authority in &trust.authorities {
        let Ok((_, authority)) = X509Certificate::from_der(authority) else { continue };
        let has_list = |subject: &[u8]| lists.iter().any(|list| list.issuer().as_raw() == subject);
        if !lists.is_empty() && !has_list(authority.subject().as_raw()) {
            warnings.push(format!(
                "no revocation list of {} is given, though there are others; its clients are \
                 refused until there is one",
                authority.subject()
            ));
        }
    }
    Ok(warnings)
}

/// Why a certificate is not valid now.
fn invalidity(der: &CertificateDer<'_>, now_s: i64) -> Option<&'static str> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    match now_s {
        _ if now_s > validity.not_after.timestamp() => Some("the certificate has expired"),
        _ if now_s < validity.not_before.timestamp() => Some("the certificate is not valid yet"),
        _ => None,
    }
}
