//! A client's identity by its certificate.

use super::subject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The names in a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The common name, when there is exactly one, and it is text without NUL.
    pub common_name: Option<Box<str>>,
    /// The whole subject in the text form of RFC 2253, escaped so that two different subjects
    /// never read the same.
    pub subject: Box<str>,
}

impl Certificate {
    /// Parses `der`; none when `der` is not a certificate with a readable subject.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let name = certificate.subject();
        Some(Self {
            common_name: subject::common_name(name),
            subject: subject::rfc2253(name)?.into(),
        })
    }
}
