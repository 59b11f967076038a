//! Causes of failed handshakes, as lines for the log's readers: the client's mistake or lack, and
//! the remedy.

use super::client_verifier::Refusal;
use super::hello::{Hello, Suites};
use crate::options::TlsVersion;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Describes `error` in one line; `hello` is the client's, if it came.
pub(super) fn describe(error: &Error, hello: Option<&Hello>, least: TlsVersion) -> String {
    match error {
        Error::NoCertificatesPresented => "TLS: the client has no certificate".to_owned(),
        Error::InvalidCertificate(CertificateError::Revoked) => {
            "TLS: the client's certificate is revoked".to_owned()
        }
        Error::InvalidCertificate(cause) => {
            format!("TLS: the client's certificate is refused: {}", refusal(cause))
        }
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::PeerIncompatible(cause) => {
            format!("TLS: {}", incompatibility(cause, hello, least))
        }
        Error::InvalidCertRevocationList(_) => {
            "TLS: a revocation list cannot be used; give the authority's current one".to_owned()
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "TLS: the client sent bytes that are not TLS".to_owned()
        }
        Error::DecryptError => "TLS: a record cannot be decrypted".to_owned(),
        error => format!("TLS: the client does not keep to the protocol ({error})"),
    }
}

/// The cause for which a certificate is refused.
fn refusal(cause: &CertificateError) -> String {
    use CertificateError as Cause;
    let text = match cause {
        Cause::Other(other) => match other.0.downcast_ref::<Refusal>() {
            Some(refusal) => return refusal.to_string(),
            None => return other_refusal(&format!("{:?}", other.0)),
        },
        Cause::BadEncoding => "the certificate is malformed",
        Cause::Expired | Cause::ExpiredContext { .. } => {
            "the certificate, or an issuer's, has expired by this machine's clock; renew it"
        }
        Cause::NotValidYet | Cause::NotValidYetContext { .. } => {
            "the certificate, or an issuer's, is not valid yet by this machine's clock; set the \
             clock or wait"
        }
        Cause::UnknownIssuer => {
            "no authority in tls-client-ca (cafile) has issued it, or an issuer between is not \
             sent along (UnknownIssuer)"
        }
        Cause::UnknownRevocationStatus => {
            "no revocation list covers its issuer; give the issuer's list too"
        }
        Cause::ExpiredRevocationList | Cause::ExpiredRevocationListContext { .. } => {
            "the revocation list of its issuer is out of date; renew the list"
        }
        Cause::BadSignature => {
            "a signature is wrong: it was made with another key, or another issuer of the same \
             name"
        }
        Cause::UnsupportedSignatureAlgorithmContext { .. }
        | Cause::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the certificate, or an issuer's, has a signature that is not accepted, such as with \
             SHA-1 or by a key of less than 2048 bits; issue it anew with SHA-256"
        }
        Cause::InvalidPurpose | Cause::InvalidPurposeContext { .. } => {
            "the certificate is not for clients: its extended key usage needs clientAuth"
        }
        Cause::UnhandledCriticalExtension => "a critical extension is not known here",
        cause => return other_refusal(&format!("{cause:?}")),
    };
    text.to_owned()
}

/// The causes that rustls passes on from webpki by name alone.
fn other_refusal(name: &str) -> String {
    const KNOWN: &[(&str, &str)] = &[
        (
            "CaUsedAsEndEntity",
            "the certificate is an authority's (CA:TRUE); issue one with basicConstraints \
             CA:FALSE, or name this very certificate among the client CAs",
        ),
        ("EndEntityUsedAsCa", "its issuer's certificate is no authority's (CA:FALSE)"),
        (
            "UnsupportedCertVersion",
            "an issuer's certificate is of X.509 version 1; issue one of version 3, or name the \
             authority itself among the client CAs",
        ),
        ("PathLenConstraintViolated", "its chain is longer than an issuer allows (pathlen)"),
        ("NameConstraintViolation", "an issuer's name constraints do not allow its names"),
        ("SignatureAlgorithmMismatch", "the certificate names two signature algorithms"),
        ("MaximumPathDepthExceeded", "its chain is too long"),
        ("Maximum", "its chain takes too much work to verify"),
        ("EmptyEkuExtension", "its extended key usage is empty"),
        ("InvalidSerialNumber", "its serial number is malformed"),
    ];
    let known = KNOWN.iter().find(|(known, _)| name.contains(known));
    known.map_or("the certificate is malformed, or has an unknown part", |(_, text)| text).into()
}

fn incompatibility(cause: &PeerIncompatible, hello: Option<&Hello>, least: TlsVersion) -> String {
    use PeerIncompatible as Cause;
    let needed = match least {
        TlsVersion::V1_2 => 0x0303,
        TlsVersion::V1_3 => 0x0304,
    };
    // Older versions lack more, of which rustls may speak first.
    if hello.is_some_and(|hello| hello.newest < needed) {
        return version(hello, least);
    }
    match cause {
        Cause::Tls12NotOffered
        | Cause::Tls12NotOfferedOrEnabled
        | Cause::ServerTlsVersionIsDisabledByOurConfig
        | Cause::SupportedVersionsExtensionRequired
        | Cause::ServerDoesNotSupportTls12Or13 => version(hello, least),
        Cause::NoCipherSuitesInCommon => no_suite(hello.map(|hello| hello.suites)),
        Cause::NoKxGroupsInCommon | Cause::NamedGroupsExtensionRequired => {
            // Whoever offers no suite that needs a curve names none, either.
            let suites = hello.map(|hello| hello.suites);
            if suites.is_some_and(|suites| !suites.ecdsa && !suites.rsa) {
                return no_suite(suites);
            }
            "no common curve: the client offers none of X25519, P-256 and P-384".to_owned()
        }
        Cause::NoSignatureSchemesInCommon | Cause::SignatureAlgorithmsExtensionRequired => {
            "no common signature: the client takes none that the certificate's key can make; give \
             a certificate with an RSA or P-256 key, signed with SHA-256"
                .to_owned()
        }
        Cause::NoCertificateRequestSignatureSchemesInCommon => {
            "no common signature for client certificates".to_owned()
        }
        Cause::NoEcPointFormatsInCommon
        | Cause::EcPointsExtensionRequired
        | Cause::UncompressedEcPointsRequired => {
            "the client takes no uncompressed points of curves".to_owned()
        }
        Cause::NullCompressionRequired => "the client demands compression".to_owned(),
        Cause::KeyShareExtensionRequired => "the client offers TLS 1.3 without keys".to_owned(),
        cause => format!("the client does not fit ({cause:?})"),
    }
}

fn version(hello: Option<&Hello>, least: TlsVersion) -> String {
    let offered = match hello.map(|hello| hello.newest) {
        Some(0x0300) => "SSL 3.0",
        Some(0x0301) => "TLS 1.0",
        Some(0x0302) => "TLS 1.1",
        Some(0x0303) => "TLS 1.2",
        _ => "another version of TLS",
    };
    let needed = match least {
        TlsVersion::V1_2 => "1.2",
        TlsVersion::V1_3 => "1.3 (tls-min-version)",
    };
    format!("the client offers {offered} at most, and at least TLS {needed} is spoken here")
}

fn no_suite(suites: Option<Suites>) -> String {
    let known = "only ECDHE with AES-GCM or ChaCha20-Poly1305 is spoken here";
    let cause = match suites.unwrap_or_default() {
        Suites { ecdsa: true, rsa: false, .. } => {
            return "no common cipher suite: the client wants a certificate with an ECDSA key"
                .to_owned();
        }
        Suites { rsa: true, ecdsa: false, .. } => {
            return "no common cipher suite: the client wants a certificate with an RSA key"
                .to_owned();
        }
        Suites { old_cipher: true, .. } => "the client offers ECDHE with older ciphers only",
        Suites { finite_field: true, .. } => "the client offers DHE and older key exchanges only",
        Suites { static_rsa: true, .. } => "the client offers RSA key exchange only",
        _ => "the client offers none that is known here",
    };
    format!("no common cipher suite: {cause}, and {known}")
}

/// The cause that a client's alert names.
fn of_alert(alert: AlertDescription) -> String {
    let cause = match alert {
        AlertDescription::UnknownCA => {
            "the client does not trust our certificate: give the client the authority that has \
             issued it, and us the full chain"
        }
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "the client refuses our certificate: perhaps the issuer is not trusted, or the name in \
             the certificate is not the one that the client connects to"
        }
        AlertDescription::CertificateExpired => {
            "our certificate has expired by the client's clock: renew the certificate, or set the \
             clock"
        }
        AlertDescription::UnsupportedCertificate => {
            "the client cannot use our certificate's kind of key"
        }
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "the client refuses our choice of its own offer"
        }
        AlertDescription::ProtocolVersion => "the client does not speak the version of our choice",
        AlertDescription::RecordOverflow => "our records are too large for the client",
        AlertDescription::UserCanceled => "the client's user ended the handshake",
        _ => "",
    };
    match cause {
        "" => format!("TLS: the client gave up with the alert {alert:?}"),
        cause => format!("TLS: {cause} (alert {alert:?})"),
    }
}
