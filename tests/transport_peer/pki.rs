//! Authorities, certificates and revocation lists, made for one test.

use super::folder::Folder;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    DnValue, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use ringmq::transport::{ClientCertificates, TlsFiles, TlsSettings};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

pub type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key.
pub struct Identity {
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
}

pub fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub fn authority(name: &str) -> Authority {
    CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate().unwrap()).unwrap()
}

/// An authority that another one has signed.
pub fn intermediate(name: &str, serial: u64, by: &Authority) -> Authority {
    let mut params = authority_params(name);
    params.serial_number = Some(SerialNumber::from(serial));
    CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), by).unwrap()
}

/// A server's certificate for these names.
pub fn server(authority: &Authority, names: &[&str]) -> Identity {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let params = CertificateParams::new(names).unwrap();
    issue(authority, params)
}

/// A client's certificate with this common name and serial number.
pub fn client_params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(name.to_string()));
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

pub fn issue(authority: &Authority, params: CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &**authority).unwrap();
    Identity { certificate, key }
}

pub fn self_signed(params: CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Identity { certificate, key }
}

pub fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
    params
}

/// A revocation list that is good until `next_year`.
pub fn crl_until(authority: &Authority, revoked: &[u64], next_year: i32) -> String {
    let revoked = revoked.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(next_year, 1, 1),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&**authority).unwrap().pem().unwrap()
}

pub fn crl(authority: &Authority, revoked: &[u64]) -> String {
    crl_until(authority, revoked, 4000)
}

/// A file that only its owner may read.
pub fn private(path: PathBuf) -> PathBuf {
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A server with one certificate for `localhost`, and the files it is loaded from.
pub struct Site {
    pub folder: Folder,
    pub authority: Authority,
    pub files: TlsFiles,
}

impl Site {
    pub fn new() -> Self {
        let folder = Folder::new();
        let authority = authority("Server Authority");
        let own = server(&authority, &["localhost"]);
        let files = TlsFiles {
            certificates: vec![folder.write("server.pem", own.certificate.pem())],
            keys: vec![private(folder.write("server.key", own.key.serialize_pem()))],
            ..TlsFiles::default()
        };
        Self { folder, authority, files }
    }

    /// Asks clients for certificates of `authority`.
    pub fn with_clients(mut self, mode: ClientCertificates, authority: &Authority) -> Self {
        self.files.client_cas = vec![self.folder.write("clients.pem", authority.pem())];
        self.files.client_certificates = mode;
        self
    }

    pub fn with_crl(mut self, crl: &str) -> Self {
        self.files.crls = vec![self.folder.write("clients.crl", crl)];
        self
    }

    pub fn load(&self) -> Arc<TlsSettings> {
        Arc::new(TlsSettings::load(&self.files).unwrap())
    }
}
