//! The files of a connection that the broker opens itself.

use super::tls_error::TlsError;
use super::{authorities, pem};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};

/// The content of a TLS client's files.
#[derive(Debug)]
pub(crate) struct ClientFiles {
    /// The certificates of authorities; none for those that the system trusts.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    /// The certificate to show, with its chain, and the key.
    pub(crate) identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl ClientFiles {
    /// Reads files and folders of authorities, and the files of a certificate and its key.
    ///
    /// # Errors
    /// The error names the first file that cannot be used.
    pub(crate) fn load(
        authorities: &[PathBuf],
        identity: Option<(&Path, &Path)>,
    ) -> Result<Self, TlsError> {
        let authorities = authorities::load(authorities)?;
        let identity =
            identity.map(|(certificate, key)| Ok((pem::chain(certificate)?, pem::key(key)?.key)));
        Ok(Self { authorities, identity: identity.transpose()? })
    }
}
