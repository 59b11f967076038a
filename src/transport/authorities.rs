//! Certificates of authorities, from files and from folders of files.

use super::pem;
use super::tls_error::TlsError;
use crate::base::maps::HashSet;
use crate::limits::AUTHORITY_FILES_MAX;
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};

/// The endings of certificate files, for folders in which no file has its hash as name.
const ENDINGS: &[&str] = &["pem", "crt", "cer"];

const NEEDED: &str = "they must be PEM with BEGIN CERTIFICATE";

/// Reads all certificates in files and folders, each once.
pub(super) fn load(paths: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.append(&mut load_folder(path)?);
        } else {
            found.append(&mut pem::authorities(path)?);
        }
    }
    let mut known = HashSet::default();
    found.retain(|der| known.insert(der.to_vec()));
    Ok(found)
}

fn load_folder(folder: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let files = files_in(folder)?;
    if files.is_empty() {
        let cause = "the folder holds no certificates: no names like 9d66eef0.0, .pem or .crt";
        let fix = format!("put them there, then: openssl rehash {}", pem::shell(folder, ""));
        return Err(TlsError::of(folder, cause, &fix));
    }
    let all: Result<Vec<_>, TlsError> =
        files.iter().map(|file| pem::authorities_if_any(file)).collect();
    let all = all?.concat();
    match all.is_empty() {
        true => Err(TlsError::of(folder, "no file in the folder holds a certificate", NEEDED)),
        false => Ok(all),
    }
}

/// The files of certificates at `path`: the file itself, or the files in the folder.
#[must_use]
pub(crate) fn certificate_files(path: &Path) -> Vec<PathBuf> {
    match path.is_dir() {
        true => files_in(path).unwrap_or_default(),
        false => vec![path.to_owned()],
    }
}

/// The files in a folder, in the order of their names. As with OpenSSL, files named by their hash,
/// as `openssl rehash` names them, exclude all others. Without such a file, all files with the
/// ending of a certificate count.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let fix = "give a folder that the broker's user may read";
    let failed = |error| TlsError::of(folder, "cannot be read", fix).because(error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // A link may point nowhere any more; OpenSSL passes over such names as well.
        if (is_hash(&path) || has_ending(&path)) && path.is_file() {
            files.push(path);
        }
    }
    if files.iter().any(|path| is_hash(path)) {
        files.retain(|path| is_hash(path));
    }
    if files.len() > AUTHORITY_FILES_MAX {
        let cause = format!("the folder holds more than {AUTHORITY_FILES_MAX} certificates");
        return Err(TlsError::of(folder, cause, "keep those that are needed"));
    }
    files.sort();
    Ok(files)
}

/// Whether the name is a certificate's hash: eight hexadecimal digits, a dot, a number.
fn is_hash(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split_once('.').is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn has_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
}
