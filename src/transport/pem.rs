//! Certificates, keys and revocation lists from files; every failure names the file, the cause and
//! what to do.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::path::Path;

/// What any PEM section begins with.
const PEM_START: &[u8] = b"-----BEGIN ";

/// All certificates in a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = sections::<CertificateDer<'static>>(&read(path)?, path)?;
    match found.is_empty() {
        true => Err(failure(path, "holds no certificate", "it must be PEM with BEGIN CERTIFICATE")),
        false => Ok(found),
    }
}

/// The one private key in a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(path)?;
    if contains(&text, b"BEGIN ENCRYPTED") || contains(&text, b"4,ENCRYPTED") {
        let fix = "decrypt it with: openssl pkey -in <file> -out <new file>";
        return Err(failure(path, "the key is encrypted", fix));
    }
    let fix =
        "it must be PEM with BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or BEGIN EC PRIVATE KEY";
    let mut keys = sections::<PrivateKeyDer<'static>>(&text, path)?;
    match keys.len() {
        0 => Err(failure(path, "holds no private key", fix)),
        1 => Ok(keys.remove(0)),
        _ => Err(failure(path, "holds several private keys", "put each in a file of its own")),
    }
}

/// All revocation lists in a file, at least one.
pub(super) fn crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let bytes = read(path)?;
    // Authorities publish their lists as bare DER.
    if !contains(&bytes, PEM_START) && bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.into()]);
    }
    let found = sections::<CertificateRevocationListDer<'static>>(&bytes, path)?;
    match found.is_empty() {
        true => {
            Err(failure(path, "holds no revocation list", "it must be PEM with BEGIN X509 CRL"))
        }
        false => Ok(found),
    }
}

/// One line about a file.
pub(super) fn failure(path: &Path, cause: impl std::fmt::Display, fix: &str) -> String {
    format!("{}: {cause}; {fix}", path.display())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fix = "give a file that exists and that the broker's user may read";
    std::fs::read(path).map_err(|error| failure(path, error, fix))
}

fn sections<T: PemObject>(text: &[u8], path: &Path) -> Result<Vec<T>, String> {
    let fix = "a section is damaged; copy the file anew";
    T::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| failure(path, error, fix))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
