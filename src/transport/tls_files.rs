//! Where a listener's certificates are, and what it asks of clients.

use crate::options::{ClientCertificates, TlsVersion};
use std::path::PathBuf;

/// What a TLS listener is configured with.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Certificate chains in PEM, the server's own certificate and its issuers in each.
    pub certificates: Vec<PathBuf>,
    /// Their private keys in PEM, in the same order.
    pub keys: Vec<PathBuf>,
    /// Issuers of the server's certificates that may be missing there, in files and folders.
    pub chain: Vec<PathBuf>,
    /// The authorities that clients' certificates have to come from, in files and folders.
    pub client_cas: Vec<PathBuf>,
    /// Revocation lists of these authorities, in PEM or DER.
    pub crls: Vec<PathBuf>,
    /// Whether clients show a certificate.
    pub client_certificates: ClientCertificates,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// WebSockets are served, so clients may ask for HTTP instead of MQTT (ALPN).
    pub websocket: bool,
}
