//! Who a client is: its certificate, its authority, revocation, and what a reload changes.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod transport_peer;

use rcgen::{DnType, DnValue};
use ringmq::transport::{ClientCertificates, TlsSettings};
use rustls::HandshakeKind;
use rustls::version::TLS13;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use transport_peer::client::{Client, Failure, Pair, VERSIONS};
use transport_peer::folder;
use transport_peer::pki::{self, Authority, Identity, Site};

const MODES: [ClientCertificates; 3] =
    [ClientCertificates::None, ClientCertificates::Optional, ClientCertificates::Required];

fn outcome(
    site: &Site,
    version: &'static rustls::SupportedProtocolVersion,
    identity: Option<&Identity>,
) -> Result<Pair, Failure> {
    Pair::connect(&Client::new(&site.authority, version, identity), &site.load())
}

#[test]
fn who_is_let_in_depends_on_the_certificate_and_the_mode() {
    let (clients, others) = (pki::authority("Clients"), pki::authority("Others"));
    let good = pki::issue(&clients, pki::client_params("good", 1));
    let revoked = pki::issue(&clients, pki::client_params("revoked", 2));
    let expired = pki::issue(&clients, pki::expired(pki::client_params("expired", 3)));
    let wrong = pki::issue(&others, pki::client_params("wrong", 4));
    let own = pki::self_signed(pki::client_params("own", 5));
    let cases: [(Option<&Identity>, [bool; 3], &str); 6] = [
        (None, [true, true, false], "no certificate"),
        (Some(&good), [true, true, true], ""),
        (Some(&revoked), [true, false, false], "revoked"),
        (Some(&expired), [true, false, false], "expired"),
        (Some(&wrong), [true, false, false], "UnknownIssuer"),
        (Some(&own), [true, false, false], "UnknownIssuer"),
    ];
    let crl = pki::crl(&clients, &[2]);
    for (mode, version) in MODES.iter().flat_map(|mode| VERSIONS.map(|version| (*mode, version))) {
        let site = Site::new().with_clients(mode, &clients).with_crl(&crl);
        for (number, (identity, accepted, cause)) in cases.iter().enumerate() {
            let what = format!("case {number} of {mode:?} in {version:?}");
            match outcome(&site, version, *identity) {
                Ok(pair) => {
                    assert!(accepted[mode as usize], "{what}");
                    let name = pair.server.transport.certificate().and_then(|c| c.common_name);
                    let is_known = number == 1 && mode != ClientCertificates::None;
                    assert_eq!(name.as_deref(), is_known.then_some("good"), "{what}");
                }
                Err(failure) => {
                    assert!(!accepted[mode as usize], "{what}: {failure:?}");
                    let server = failure.server.unwrap().to_string();
                    assert!(server.contains(cause), "{what}: {server}");
                }
            }
        }
    }
}

#[test]
fn the_whole_chain_is_checked_for_revocation() {
    let root = pki::authority("Root");
    let middle = pki::intermediate("Middle", 9, &root);
    let good = pki::issue(&middle, pki::client_params("good", 1));
    let with_crls = |crls: &str| {
        let required = ClientCertificates::Required;
        let site = Site::new().with_clients(required, &root).with_crl(crls);
        let client = Client::with_chain(&site.authority, &TLS13, Some(&good), &[&middle]);
        Pair::connect(&client, &site.load()).map_err(|failure| failure.server.unwrap().to_string())
    };
    let of_middle = pki::crl(&middle, &[]);
    assert!(with_crls(&(pki::crl(&root, &[]) + &of_middle)).is_ok());
    assert!(with_crls(&(pki::crl(&root, &[9]) + &of_middle)).err().unwrap().contains("revoked"));
    assert!(with_crls(&of_middle).is_err(), "no list speaks for the one who signed Middle");
    let stale = pki::crl_until(&middle, &[], 2021);
    assert!(with_crls(&(pki::crl(&root, &[]) + &stale)).is_err(), "a list that is out of date");
}

#[test]
fn lists_that_will_refuse_clients_are_warned_of() {
    let clients = pki::authority("Clients");
    let with = |crl: String| {
        let site = Site::new().with_clients(ClientCertificates::Required, &clients).with_crl(&crl);
        site.load().warnings().to_vec()
    };
    assert_eq!(with(pki::crl(&clients, &[])), Vec::<String>::new());
    assert!(with(pki::crl_until(&clients, &[], 2021))[0].contains("CN=Clients is out of date"));
    assert!(with(pki::crl(&pki::authority("X"), &[]))[0].contains("no revocation list of CN=Cl"));
}

/// What a change of the files does to a connected client, and to its ticket.
fn after_reload(
    clients: &Authority,
    version: &'static rustls::SupportedProtocolVersion,
    change: &dyn Fn(&mut Site),
) -> (bool, Option<HandshakeKind>) {
    let good = pki::issue(clients, pki::client_params("good", 1));
    let mut site = Site::new()
        .with_clients(ClientCertificates::Required, clients)
        .with_crl(&pki::crl(clients, &[]));
    let settings = site.load();
    let client = Client::new(&site.authority, version, Some(&good));
    let pair = Pair::connect(&client, &settings).unwrap();
    let resumed = Pair::connect(&client, &settings).unwrap();
    assert_eq!(resumed.client.handshake_kind(), Some(HandshakeKind::Resumed));
    let certificate = resumed.server.transport.certificate().unwrap();
    assert_eq!(certificate.common_name.as_deref(), Some("good"));
    change(&mut site);
    let reloaded = Arc::new(settings.reload(&site.files).unwrap());
    let accepted = [pair, resumed]
        .map(|pair| pair.server.transport.still_accepted(&reloaded, SystemTime::now()));
    assert_eq!(accepted[0], accepted[1]);
    let again = Pair::connect(&client, &reloaded).ok();
    (accepted[0], again.and_then(|pair| pair.client.handshake_kind()))
}

#[test]
fn a_reload_reaches_those_who_are_connected_and_their_tickets() {
    let (clients, others) = (pki::authority("Clients"), pki::authority("Others"));
    for version in VERSIONS {
        let after = |change: &dyn Fn(&mut Site)| after_reload(&clients, version, change);
        assert_eq!(after(&|_| {}), (true, Some(HandshakeKind::Resumed)));
        let revoke = |site: &mut Site| {
            site.folder.write("clients.crl", pki::crl(&clients, &[1]));
        };
        assert_eq!(after(&revoke), (false, None));
        let another = |site: &mut Site| {
            site.folder.write("clients.crl", pki::crl(&clients, &[7]));
        };
        let (accepted, kind) = after(&another);
        assert!(accepted && kind.is_some_and(|kind| kind != HandshakeKind::Resumed));
        let replace = |site: &mut Site| {
            site.folder.write("clients.pem", others.pem());
            site.files.crls.clear();
        };
        assert_eq!(after(&replace), (false, None));
    }
}

#[test]
fn a_ticket_does_not_outlive_the_certificate() {
    let clients = pki::authority("Clients");
    let site = Site::new().with_clients(ClientCertificates::Required, &clients);
    let settings = site.load();
    let mut params = pki::client_params("brief", 1);
    params.not_after = (SystemTime::now() + Duration::from_secs(1)).into();
    let brief = pki::issue(&clients, params);
    let known = VERSIONS.map(|version| Client::new(&site.authority, version, Some(&brief)));
    for client in &known {
        Pair::connect(client, &settings).unwrap();
        let resumed = Pair::connect(client, &settings).unwrap();
        assert_eq!(resumed.client.handshake_kind(), Some(HandshakeKind::Resumed));
    }
    // Certificates know whole seconds, and are good until the last one is over.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let end = Duration::from_secs(now.as_secs() + 2);
    std::thread::sleep(end - now);
    for client in &known {
        let failure = Pair::connect(client, &settings).err().unwrap();
        assert!(failure.server.unwrap().to_string().contains("resumed"));
    }
}

#[test]
fn acceptance_looks_at_the_time_and_at_what_is_required() {
    let clients = pki::authority("Clients");
    let good = pki::issue(&clients, pki::client_params("good", 1));
    let optional = Site::new().with_clients(ClientCertificates::Optional, &clients).load();
    let site = Site::new().with_clients(ClientCertificates::Optional, &clients);
    let required = Site::new().with_clients(ClientCertificates::Required, &clients).load();
    let now = SystemTime::now();
    let connect = |identity| outcome(&site, &TLS13, identity).unwrap().server.transport;
    let (nobody, somebody) = (connect(None), connect(Some(&good)));
    let check = |transport: &ringmq::transport::Transport, settings: &TlsSettings, now| {
        transport.still_accepted(settings, now)
    };
    assert!(check(&nobody, &optional, now) && !check(&nobody, &required, now));
    assert!(check(&somebody, &required, now) && check(&somebody, &Site::new().load(), now));
    // The certificates are good until the year 4096.
    let late = SystemTime::UNIX_EPOCH + Duration::from_secs(67_100_000_000);
    assert!(!check(&somebody, &required, late));
}

/// The certificate that a client with this subject is known by.
fn known_by(subject: &[(DnType, DnValue)]) -> (ringmq::transport::Certificate, Identity) {
    let clients = pki::authority("Clients");
    let mut params = pki::client_params("", 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    let identity = pki::issue(&clients, params);
    let site = Site::new().with_clients(ClientCertificates::Required, &clients);
    let pair = outcome(&site, &TLS13, Some(&identity)).unwrap();
    (pair.server.transport.certificate().unwrap(), identity)
}

fn utf8(text: &str) -> DnValue {
    DnValue::Utf8String(text.to_string())
}

#[test]
fn subjects_read_as_openssl_prints_them() {
    let bmp = DnValue::BmpString("Zürich €".try_into().unwrap());
    let teletex = DnValue::TeletexString("tele tex".try_into().unwrap());
    let device = DnType::from_oid(&[0, 9, 2342, 19_200_300, 100, 1, 1]);
    let unknown = DnType::from_oid(&[1, 3, 6, 1, 4, 1, 99_999, 7]);
    let subjects: [&[(DnType, DnValue)]; 6] = [
        &[(DnType::CountryName, utf8("DE")), (DnType::CommonName, utf8("sensor 1"))],
        &[
            (DnType::OrganizationName, utf8("a,b+c\"d\\e<f>g;h=i#")),
            (DnType::CommonName, utf8("x")),
        ],
        &[(DnType::CommonName, utf8("#lead")), (DnType::OrganizationName, utf8("  two  "))],
        &[(DnType::CommonName, utf8("Grüße\t€\u{7f}")), (DnType::LocalityName, bmp)],
        &[(DnType::OrganizationalUnitName, teletex), (device, utf8("id")), (unknown, utf8("v"))],
        &[(DnType::StateOrProvinceName, utf8(" ")), (DnType::CommonName, utf8("\u{1}"))],
    ];
    for subject in subjects {
        let (certificate, identity) = known_by(subject);
        let folder = folder::Folder::new();
        let path = folder.write("client.pem", identity.certificate.pem());
        let output = Command::new("openssl")
            .args(["x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in"])
            .arg(path)
            .output()
            .expect("the openssl command is there");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.trim_end_matches('\n'), format!("subject={}", certificate.subject));
    }
}

#[test]
fn common_names_that_could_be_mistaken_are_none() {
    let name = |value: &str| known_by(&[(DnType::CommonName, utf8(value))]).0.common_name;
    assert_eq!(name("client-1").as_deref(), Some("client-1"));
    assert_eq!(name("a\0b"), None);
    assert_eq!(name(""), None);
    let (certificate, _) = known_by(&[(DnType::OrganizationName, utf8("only"))]);
    assert_eq!((certificate.common_name, &*certificate.subject), (None, "O=only"));
}
