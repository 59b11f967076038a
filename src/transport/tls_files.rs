//! A listener's certificate files, and its demands on clients.

use crate::options::{ClientCertificates, TlsVersion};
use std::path::PathBuf;

/// The configuration of a TLS listener.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Certificate chains in PEM, the server's own certificate and its issuers in each.
    pub certificates: Vec<PathBuf>,
    /// The private keys of the certificates in PEM, in the same order.
    pub keys: Vec<PathBuf>,
    /// Files and folders with issuers of the server's certificates that may be missing in their
    /// files.
    pub chain: Vec<PathBuf>,
    /// Files and folders with the authorities that may issue clients' certificates.
    pub client_cas: Vec<PathBuf>,
    /// Revocation lists of these authorities, in PEM or DER.
    pub crls: Vec<PathBuf>,
    /// Whether clients show a certificate.
    pub client_certificates: ClientCertificates,
    /// The oldest accepted version.
    pub min_version: TlsVersion,
    /// Whether WebSockets are served, so clients may ask for HTTP instead of MQTT (ALPN).
    pub websocket: bool,
}
