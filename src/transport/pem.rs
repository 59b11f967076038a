//! Certificates, keys and revocation lists from files. Every failure names the file, the cause and
//! the remedy.

use super::public_key;
use super::tls_error::TlsError;
use crate::base::operator_file::{self, Contents, Unreadable};
use crate::limits::{AUTHORITY_FILE_BYTES_MAX, CRL_FILE_BYTES_MAX, KEY_FILE_BYTES_MAX};
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::path::Path;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The beginning of any PEM section.
const PEM_START: &[u8] = b"-----BEGIN ";
/// The mark that some editors put before the text; files joined by `cat` have it within the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The first byte of any DER.
const DER_START: u8 = 0x30;

/// A private key, and whether every user of the machine can read its file.
pub(super) struct KeyFile {
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) is_public: bool,
}

/// Reads a server's own certificates, at least one.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(path, KEY_FILE_BYTES_MAX)
}

/// Reads the certificates of authorities in a file, at least one.
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(path, AUTHORITY_FILE_BYTES_MAX)
}

/// Reads the certificates of authorities in a file that may hold none.
pub(super) fn authorities_if_any(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    sections(&read(path, AUTHORITY_FILE_BYTES_MAX)?.bytes, path)
}

fn certificates(path: &Path, bytes_max: u64) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path, bytes_max)?.bytes;
    let found = sections::<CertificateDer<'static>>(&text, path)?;
    match found.is_empty() {
        true => Err(without(&text, path, "certificate", "BEGIN CERTIFICATE")),
        false => Ok(found),
    }
}

/// Reads the one private key in a file.
pub(super) fn key(path: &Path) -> Result<KeyFile, TlsError> {
    let Contents { bytes: text, mode } = read(path, KEY_FILE_BYTES_MAX)?;
    if contains(&text, b"BEGIN ENCRYPTED") || contains(&text, b"4,ENCRYPTED") {
        let fix = format!(
            "take the passphrase off and name the new file: openssl pkey -in {} -out {}",
            shell(path, ""),
            shell(path, ".plain")
        );
        return Err(TlsError::of(path, "the key is encrypted with a passphrase", &fix));
    }
    let mut keys = sections::<PrivateKeyDer<'static>>(&text, path)?;
    let kinds = "BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or BEGIN EC PRIVATE KEY";
    match keys.len() {
        0 => Err(without(&text, path, "private key", kinds)),
        1 => Ok(KeyFile {
            key: keys.remove(0),
            is_public: Contents { bytes: Vec::new(), mode }.is_public(),
        }),
        _ => Err(TlsError::of(path, "holds several private keys", "put each in a file of its own")),
    }
}

/// Reads all revocation lists in a file, at least one.
pub(super) fn crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = read(path, CRL_FILE_BYTES_MAX)?.bytes;
    // Authorities publish their lists as bare DER.
    if !contains(&bytes, PEM_START) && bytes.first() == Some(&DER_START) {
        return Ok(vec![bytes.into()]);
    }
    let found = sections::<CertificateRevocationListDer<'static>>(&bytes, path)?;
    match found.is_empty() {
        true => Err(without(&bytes, path, "revocation list", "BEGIN X509 CRL")),
        false => Ok(found),
    }
}

/// Quotes a path, with `more` appended, as a word for a shell.
pub(super) fn shell(path: &Path, more: &str) -> String {
    let text = format!("{}{more}", path.display());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%=:".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

fn read(path: &Path, bytes_max: u64) -> Result<Contents, TlsError> {
    let mut contents = operator_file::read(path, bytes_max).map_err(|error| match error {
        Unreadable::Io(error) => {
            let fix = "give a file that exists and that the broker's user may read";
            TlsError::of(path, "cannot be read", fix).because(error)
        }
        error => TlsError::new(path.display().to_string()).because(error),
    })?;
    if contains(&contents.bytes, BYTE_ORDER_MARK) && contains(&contents.bytes, PEM_START) {
        contents.bytes = without_marks(&contents.bytes);
    }
    Ok(contents)
}

fn without_marks(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        match rest.strip_prefix(BYTE_ORDER_MARK) {
            Some(behind) => rest = behind,
            None => {
                plain.push(*first);
                rest = others;
            }
        }
    }
    plain
}

fn sections<T: PemObject>(text: &[u8], path: &Path) -> Result<Vec<T>, TlsError> {
    T::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| {
        // The error's own text shows bytes of the file, which may be a key's.
        let cause = match error {
            Error::MissingSectionEnd { .. } => "a section has no END line",
            Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
            Error::Base64Decode(_) => "a section holds something that is not base64",
            _ => "a section cannot be read",
        };
        TlsError::of(path, cause, "it is damaged or cut off: copy the file anew")
    })
}

/// An error for a file without a `wanted`: the file's real content, and the way to convert it.
fn without(text: &[u8], path: &Path, wanted: &str, labels: &str) -> TlsError {
    let (from, to) = (shell(path, ""), shell(path, ".pem"));
    let convert = |with: &str| format!("convert it and name the new file: openssl {with}");
    let (cause, fix) = match text {
        [] => (format!("is empty: it holds no {wanted}"), format!("it must be PEM with {labels}")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => (
            "is text in UTF-16".to_owned(),
            format!("convert it and name the new file: iconv -f UTF-16 -t UTF-8 -o {to} {from}"),
        ),
        [DER_START, ..] if !contains(text, PEM_START) => match der_kind(text) {
            Some((kind, command)) => {
                let command = command.replace("IN", &from).replace("OUT", &to);
                (format!("is {kind} in DER, not in PEM"), convert(&command))
            }
            None => ("is DER, not PEM".to_owned(), format!("it must be PEM with {labels}")),
        },
        _ => match labelled(text) {
            Some((kind, _)) if kind == format!("a {wanted}") => (
                "a BEGIN line does not begin its line".to_owned(),
                "take away what stands before it, such as blanks".to_owned(),
            ),
            Some((kind, fix)) => {
                (format!("holds {kind}, no {wanted}"), fix.replace("IN", &from).replace("OUT", &to))
            }
            None => (format!("holds no {wanted}"), format!("it must be PEM with {labels}")),
        },
    };
    TlsError::of(path, cause, &fix)
}

/// The kind of a DER file, and the OpenSSL command that makes PEM of it.
fn der_kind(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    // PKCS#12 begins with its version, 3; PKCS#7 with the identifier of signed data.
    const PKCS7: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    let body = match bytes.get(1)? {
        length @ 0..0x80 => bytes.get(2..2 + usize::from(*length))?,
        length => bytes.get(2 + usize::from(length & 0x7f)..)?,
    };
    if X509Certificate::from_der(bytes).is_ok() {
        return Some(("a certificate", "x509 -inform DER -in IN -out OUT"));
    }
    if body.starts_with(&[2, 1, 3]) {
        return Some(("a PKCS#12 container", "pkcs12 -in IN -out OUT -nodes"));
    }
    if body.starts_with(PKCS7) {
        return Some(("a PKCS#7 container", "pkcs7 -inform DER -print_certs -in IN -out OUT"));
    }
    PrivateKeyDer::try_from(bytes).ok()?;
    Some(("a private key", "pkey -inform DER -in IN -out OUT"))
}

/// The kind of the first unwanted section, and the remedy.
fn labelled(text: &[u8]) -> Option<(&'static str, &'static str)> {
    const KNOWN: &[(&str, &str, &str)] = &[
        (
            "TRUSTED CERTIFICATE",
            "a certificate in OpenSSL's own form",
            "convert it and name the new file: openssl x509 -in IN -out OUT",
        ),
        (
            "X509 CERTIFICATE",
            "a certificate by its older name",
            "convert it and name the new file: openssl x509 -in IN -out OUT",
        ),
        (
            "CERTIFICATE REQUEST",
            "a request for a certificate",
            "give the certificate that the authority has made of it",
        ),
        (
            "NEW CERTIFICATE REQUEST",
            "a request for a certificate",
            "give the certificate that the authority has made of it",
        ),
        (
            "PKCS7",
            "a PKCS#7 container",
            "convert it and name the new file: openssl pkcs7 -print_certs -in IN -out OUT",
        ),
        (
            "OPENSSH PRIVATE KEY",
            "a key in OpenSSH's form",
            "convert it where it is: ssh-keygen -p -m PEM -f IN",
        ),
        ("DSA PRIVATE KEY", "a DSA key", public_key::NEW_KEY),
        ("PUBLIC KEY", "a public key", "give the private key that belongs to it"),
        ("CERTIFICATE", "a certificate", "exchange the files if they are in each other's place"),
        ("PRIVATE KEY", "a private key", "exchange the files if they are in each other's place"),
    ];
    let is_there = |label: &str| contains(text, format!("-----BEGIN {label}-----").as_bytes());
    let found = KNOWN.iter().find(|(label, ..)| is_there(label));
    found.map(|(_, kind, fix)| (*kind, *fix))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_words_for_a_shell() {
        assert_eq!(shell(Path::new("/etc/a-b/c.key"), ".pem"), "/etc/a-b/c.key.pem");
        assert_eq!(shell(Path::new("my key's"), ""), r"'my key'\''s'");
    }

    #[test]
    fn byte_order_marks_are_left_out_wherever_files_were_joined() {
        assert_eq!(without_marks(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\xef\xbb"), b"a\nb\xef\xbb");
    }
}
