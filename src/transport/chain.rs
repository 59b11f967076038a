//! The order of certificates in a chain, and its missing issuers.

use crate::limits::CHAIN_CERTIFICATES_MAX;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The certificates of a file, in the order of the chain.
#[derive(Debug)]
pub(super) struct Chain {
    /// The server's own first, then each one's issuer, then all others in the file.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// Whether the file had the certificates in another order.
    pub(super) was_unordered: bool,
    /// The number of certificates that have the next one as issuer.
    linked: usize,
}

impl Chain {
    /// Puts certificates in order; the certificate at index `own` is the server's.
    pub(super) fn new(mut certificates: Vec<CertificateDer<'static>>, own: usize) -> Self {
        let mut was_unordered = own != 0;
        let mut ordered = vec![certificates.remove(own)];
        while let Some(at) = certificates.iter().position(|other| is_next(&ordered, other)) {
            was_unordered |= at != 0;
            ordered.push(certificates.remove(at));
        }
        let linked = ordered.len();
        ordered.append(&mut certificates);
        Self { certificates: ordered, was_unordered, linked }
    }

    /// Adds the missing issuers that `known` holds, and returns their number. A root is not added:
    /// a client that trusts the root has it already.
    pub(super) fn complete(&mut self, known: &[CertificateDer<'static>]) -> usize {
        let before = self.linked;
        while self.linked < CHAIN_CERTIFICATES_MAX {
            let linked = &self.certificates[..self.linked];
            let next = known.iter().find(|other| is_next(linked, other) && !is_root(other));
            let Some(next) = next else { break };
            self.certificates.insert(self.linked, next.clone());
            self.linked += 1;
        }
        self.linked - before
    }

    /// True when the server's own certificate stands alone, although the certificate names a URL of
    /// its issuer. Clients do not have such an issuer.
    pub(super) fn lacks_issuer(&self) -> bool {
        const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";
        let Ok((_, own)) = X509Certificate::from_der(&self.certificates[0]) else { return false };
        self.linked == 1
            && own.extensions().iter().any(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityInfoAccess(access) => access.iter().any(|description| {
                    description.access_method.to_id_string() == CA_ISSUERS
                        && matches!(description.access_location, GeneralName::URI(_))
                }),
                _ => false,
            })
    }
}

/// Whether `other` has issued the last of `chain` and is not in `chain` yet.
fn is_next(chain: &[CertificateDer<'_>], other: &CertificateDer<'_>) -> bool {
    let Some(last) = chain.last() else { return false };
    !chain.contains(other) && has_issued(other, last)
}

/// Compares the names, and the numbers of the issuer's key where both certificates give one.
fn has_issued(issuer: &CertificateDer<'_>, issued: &CertificateDer<'_>) -> bool {
    let (Ok((_, issuer)), Ok((_, issued))) =
        (X509Certificate::from_der(issuer), X509Certificate::from_der(issued))
    else {
        return false;
    };
    // Whoever has issued itself needs nobody else.
    if issued.issuer().as_raw() == issued.subject().as_raw()
        || issuer.subject().as_raw() != issued.issuer().as_raw()
    {
        return false;
    }
    let own_key =
        issuer.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
            _ => None,
        });
    let wanted_key =
        issued.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref(),
            _ => None,
        });
    match (own_key, wanted_key) {
        (Some(own), Some(wanted)) => own == wanted.0,
        _ => true,
    }
}

fn is_root(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
        certificate.issuer().as_raw() == certificate.subject().as_raw()
    })
}
