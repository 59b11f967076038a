//! Where a listener's certificates are, and what it asks of clients.

use std::path::PathBuf;
use std::str::FromStr;

/// What a TLS listener is configured with.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Certificate chains in PEM, the server's own certificate first in each.
    pub certificates: Vec<PathBuf>,
    /// Their private keys in PEM, in the same order.
    pub keys: Vec<PathBuf>,
    /// The authorities that clients' certificates have to come from.
    pub client_ca: Option<PathBuf>,
    /// Revocation lists of these authorities, in PEM or DER.
    pub crls: Vec<PathBuf>,
    /// Whether clients show a certificate.
    pub client_certificates: ClientCertificates,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// WebSockets are served, so clients may ask for HTTP instead of MQTT (ALPN).
    pub websocket: bool,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; one that they show has to be good.
    Optional,
    /// Without a good one there is no connection.
    Required,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2
    #[default]
    V1_2,
    /// TLS 1.3
    V1_3,
}

impl FromStr for ClientCertificates {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "optional" => Ok(Self::Optional),
            "required" => Ok(Self::Required),
            _ => Err("expected none, optional or required"),
        }
    }
}

impl FromStr for TlsVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err("expected 1.2 or 1.3"),
        }
    }
}
