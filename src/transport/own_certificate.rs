//! The server's certificates with their keys, and the choice among them for a client.

use super::chain::Chain;
use super::tls_error::{TlsError, about};
use super::tls_files::TlsFiles;
use super::{authorities, pem, public_key};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use std::path::Path;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Chooses the first certificate for the name that the client asks for and with a signature that
/// the client understands, else the first of all.
#[derive(Debug)]
pub(super) struct CertificateChooser {
    keys: Vec<Arc<CertifiedKey>>,
}

impl CertificateChooser {
    /// Reads all certificates and keys, in the given order; `warnings` get advice for the operator.
    pub(super) fn load(
        files: &TlsFiles,
        provider: &CryptoProvider,
        warnings: &mut Vec<String>,
    ) -> Result<Self, TlsError> {
        let (certificates, keys) = (files.certificates.len(), files.keys.len());
        if certificates == 0 || certificates != keys {
            return Err(TlsError::new(format!(
                "TLS needs a key for each certificate, but there are {certificates} certificate \
                 files and {keys} key files; give one key file for each, in the same order"
            )));
        }
        let issuers = Issuers::load(files)?;
        let pairs = files.certificates.iter().zip(&files.keys);
        let keys =
            pairs.map(|(certificate, key)| own_key(certificate, key, &issuers, provider, warnings));
        Ok(Self { keys: keys.collect::<Result<_, TlsError>>()? })
    }

    /// The server's own certificates, one for each file.
    pub(super) fn own(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.keys.iter().filter_map(|key| key.cert.first())
    }
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

/// The places in which missing issuers of the server's certificates are looked up.
struct Issuers {
    /// Issuers from `--tls-chain`.
    given: Vec<CertificateDer<'static>>,
    /// Authorities that verify clients; used where the given issuers do not suffice.
    of_clients: Vec<CertificateDer<'static>>,
}

impl Issuers {
    fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            given: authorities::load(&files.chain)?,
            of_clients: authorities::load(&files.client_cas)?,
        })
    }
}

fn own_key(
    certificate: &Path,
    key: &Path,
    issuers: &Issuers,
    provider: &CryptoProvider,
    warnings: &mut Vec<String>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let certificates = pem::chain(certificate)?;
    let file = pem::key(key)?;
    let signing = provider.key_provider.load_private_key(file.key).map_err(|error| {
        // rustls says little of the key; its certificate says what kind it is.
        match certificates.iter().find_map(public_key::fault) {
            Some(fault) => TlsError::of(certificate, fault, public_key::NEW_KEY),
            None => TlsError::of(
                key,
                "the key cannot be used",
                "give an RSA key of 2048 to 8192 bits, an ECDSA key on P-256, P-384 or P-521, or \
                 an Ed25519 key",
            )
            .because(error),
        }
    })?;
    let own = position_of(&*signing, &certificates, certificate, key)?;
    if file.is_public {
        let fix = format!("chmod o-r {}", pem::shell(key, ""));
        warnings.push(about(key, "every user of this machine can read this key", &fix));
    }
    let mut chain = Chain::new(certificates, own);
    if chain.was_unordered {
        let fix = "put the server's own certificate first, then each one's issuer";
        let cause = "the certificates stand in the wrong order, and are sent in the right one";
        warnings.push(about(certificate, cause, fix));
    }
    chain.complete(&issuers.given);
    if chain.complete(&issuers.of_clients) > 0 {
        let cause = "the issuer of the certificate is missing, and is sent from tls-client-ca";
        let fix = "append it to the file, or name it with tls-chain";
        warnings.push(about(certificate, cause, fix));
    }
    if chain.lacks_issuer() {
        let cause = "the certificate stands without its issuer's, so many clients will refuse it";
        let fix = "give the full chain, often called fullchain.pem, or the rest with tls-chain";
        warnings.push(about(certificate, cause, fix));
    }
    Ok(Arc::new(CertifiedKey::new(chain.certificates, signing)))
}

/// The position of the key's certificate. Rustls compares key and certificate only for version 3.
fn position_of(
    signing: &dyn SigningKey,
    certificates: &[CertificateDer<'static>],
    path: &Path,
    key: &Path,
) -> Result<usize, TlsError> {
    let own = signing.public_key();
    let mut found = None;
    for (index, der) in certificates.iter().enumerate() {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            let cause = format!("certificate {} in the file is malformed", index + 1);
            return Err(TlsError::of(path, cause, "replace it"));
        };
        let is_own = own.as_ref().is_none_or(|own| certificate.public_key().raw == &own[..]);
        if is_own && found.is_none() {
            found = Some(index);
        }
    }
    found.ok_or_else(|| {
        // The same key may be written in a way that is not taken.
        if let Some(fault) = certificates.iter().find_map(public_key::fault) {
            return TlsError::of(path, fault, public_key::NEW_KEY);
        }
        let cause = format!("does not belong to any certificate in {}", path.display());
        TlsError::of(key, cause, "give the key that the certificate was made with")
    })
}
