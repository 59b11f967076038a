//! Decides whether a client's certificate is accepted. Webpki decides most cases; refusals for the
//! certificate's form alone are decided here.

use super::public_key;
use crate::limits::{CHAIN_CERTIFICATES_MAX, CHAIN_NAMESAKES_MAX};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use std::fmt;
use std::sync::Arc;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate, X509Version};

/// The cause of a refusal for which rustls has no error.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) String);

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
    }
}

/// Verifies clients' certificates.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    /// Self-signed certificates among the authorities: a device's own certificate may be one.
    /// `openssl req -x509` marks each as an authority, and webpki accepts no authority as a client.
    named: Vec<CertificateDer<'static>>,
    crls: Vec<CertificateRevocationListDer<'static>>,
}

impl ClientVerifier {
    pub(super) fn new(
        webpki: Arc<dyn ClientCertVerifier>,
        authorities: &[CertificateDer<'static>],
        crls: &[CertificateRevocationListDer<'static>],
    ) -> Self {
        let is_own = |der: &&CertificateDer<'_>| {
            X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
                certificate.is_ca()
                    && certificate.issuer().as_raw() == certificate.subject().as_raw()
            })
        };
        let named = authorities.iter().filter(is_own).cloned().collect();
        Self { webpki, named, crls: crls.to_vec() }
    }

    /// Verifies a self-signed certificate among the authorities, which needs no issuer. All other
    /// checks are those of webpki.
    fn verify_named(&self, der: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        let refused = |cause| Err(Error::InvalidCertificate(cause));
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return refused(CertificateError::BadEncoding);
        };
        let (validity, now_s) = (certificate.validity(), now.as_secs().cast_signed());
        if now_s > validity.not_after.timestamp() {
            return refused(CertificateError::Expired);
        }
        if now_s < validity.not_before.timestamp() {
            return refused(CertificateError::NotValidYet);
        }
        let purpose = certificate.extended_key_usage().ok().flatten();
        if purpose.is_some_and(|purpose| !purpose.value.client_auth) {
            return refused(CertificateError::InvalidPurpose);
        }
        match self.revocation(&certificate, now_s) {
            Some(cause) => refused(cause),
            None => Ok(()),
        }
    }

    /// The cause for which the revocation lists refuse a certificate; none without any list.
    fn revocation(
        &self,
        certificate: &X509Certificate<'_>,
        now_s: i64,
    ) -> Option<CertificateError> {
        if self.crls.is_empty() {
            return None;
        }
        let issuer = certificate.issuer().as_raw();
        let lists =
            self.crls.iter().filter_map(|der| CertificateRevocationList::from_der(der).ok());
        let lists = lists.map(|(_, list)| list).filter(|list| list.issuer().as_raw() == issuer);
        let mut cause = Some(CertificateError::UnknownRevocationStatus);
        for list in lists {
            let mut revoked = list.iter_revoked_certificates();
            if revoked.any(|entry| entry.raw_serial() == certificate.raw_serial()) {
                return Some(CertificateError::Revoked);
            }
            let is_old = list.next_update().is_some_and(|next| next.timestamp() < now_s);
            cause = cause.and(is_old.then_some(CertificateError::ExpiredRevocationList));
        }
        cause
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.webpki.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        check_form(end_entity, intermediates)?;
        if self.named.iter().any(|named| named == end_entity) {
            return self.verify_named(end_entity, now).map(|()| ClientCertVerified::assertion());
        }
        self.webpki.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Checks everything that needs no cryptography.
fn check_form(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), Error> {
    let count = 1 + intermediates.len();
    if count > CHAIN_CERTIFICATES_MAX {
        return Err(Refusal(format!(
            "the client sent a chain of {count} certificates, and at most \
             {CHAIN_CERTIFICATES_MAX} are verified; have it send its own and its issuers' only"
        ))
        .into());
    }
    // Issuers of one name make ways to try, whose number grows with each more than the last.
    let subjects: Vec<_> = intermediates
        .iter()
        .filter_map(|der| X509Certificate::from_der(der).ok())
        .map(|(_, certificate)| certificate.subject().as_raw().to_vec())
        .collect();
    let namesakes = |name| subjects.iter().filter(|other| *other == name).count();
    if subjects.iter().any(|name| namesakes(name) > CHAIN_NAMESAKES_MAX) {
        return Err(Refusal(format!(
            "more than {CHAIN_NAMESAKES_MAX} certificates of its chain have the same subject; have \
             the client send its own and its issuers' only"
        ))
        .into());
    }
    let version = X509Certificate::from_der(end_entity).map(|(_, own)| own.version());
    if version.is_ok_and(|version| version != X509Version::V3) {
        return Err(Refusal(
            "the certificate is of X.509 version 1, which cannot be verified: issue one of version \
             3, for example with openssl x509 -req -extfile EXTENSIONS, or OpenSSL 3.2"
                .to_owned(),
        )
        .into());
    }
    match public_key::fault(end_entity) {
        Some(fault) => Err(Refusal(format!("{fault}; {}", public_key::NEW_KEY)).into()),
        None => Ok(()),
    }
}
