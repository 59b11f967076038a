//! Certificates and keys as people have them: chains that are incomplete or out of order, folders
//! of authorities, certificates of old versions, and files that hold something else.

use crate::transport_peer::client::{Client, Pair, VERSIONS};
use crate::transport_peer::pki::{self, Authority, Identity, Site};
use crate::{openssl, refusal};
use rcgen::{BasicConstraints, IsCa};
use ringmq::transport::{ClientCertificates, TlsFiles, TlsSettings};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

/// A root, two authorities below it, and a server's certificate from the lower one.
struct Ladder {
    site: Site,
    upper: Authority,
    lower: Authority,
    own: Identity,
}

impl Ladder {
    fn new() -> Self {
        let site = Site::new();
        let upper = pki::intermediate("Upper", 1, &site.authority);
        let lower = pki::intermediate("Lower", 2, &upper);
        let own = pki::server(&lower, &["localhost"]);
        Self { site, upper, lower, own }
    }

    /// The server's files with these certificates in the first one.
    fn files(&self, certificates: &[String]) -> TlsFiles {
        let folder = &self.site.folder;
        TlsFiles {
            certificates: vec![folder.write("own.pem", certificates.concat())],
            keys: vec![pki::private(folder.write("own.key", self.own.key.serialize_pem()))],
            ..TlsFiles::default()
        }
    }

    fn pems(&self) -> [String; 4] {
        let root = self.site.authority.pem();
        [self.own.certificate.pem(), self.lower.pem(), self.upper.pem(), root]
    }

    /// A client that trusts the root alone gets in, with both versions, and is sent each
    /// certificate before its issuer's; how many there are.
    #[track_caller]
    fn serves(&self, settings: TlsSettings) -> usize {
        let settings = Arc::new(settings);
        let own = [self.own.certificate.der(), self.lower.der(), self.upper.der()];
        let all = [&own[..], &[self.site.authority.der()]].concat();
        let counts = VERSIONS.map(|version| {
            let client = Client::new(&self.site.authority, version, None);
            let pair = Pair::connect(&client, &settings).unwrap_or_else(|f| panic!("{f:?}"));
            let sent = pair.client.peer_certificates().unwrap();
            assert!(sent.iter().zip(&all).all(|(sent, right)| sent == *right));
            sent.len()
        });
        assert_eq!(counts[0], counts[1]);
        counts[0]
    }
}

#[test]
fn a_chain_is_completed_from_what_is_given_for_that() {
    let ladder = Ladder::new();
    let [own, lower, upper, root] = ladder.pems();
    let mut files = ladder.files(std::slice::from_ref(&own));
    let others = ladder.site.folder.write("chain.pem", [&*root, &upper, &lower].concat());
    files.chain = vec![others.clone()];
    let settings = TlsSettings::load(&files).unwrap();
    assert!(settings.warnings().is_empty(), "{:?}", settings.warnings());
    assert_eq!(ladder.serves(settings), 3, "the root is not sent");
    // What is there already is not sent twice.
    let half = TlsFiles { chain: vec![others.clone()], ..ladder.files(&[own.clone(), lower]) };
    assert_eq!(ladder.serves(TlsSettings::load(&half).unwrap()), 3);
    // Authorities of clients serve as well, but then the operator is told.
    let mut files = ladder.files(std::slice::from_ref(&own));
    files.client_cas = vec![others];
    files.client_certificates = ClientCertificates::Optional;
    let settings = TlsSettings::load(&files).unwrap();
    let warnings = settings.warnings().join("\n");
    assert!(warnings.contains("own.pem: the issuer of the certificate is missing"), "{warnings}");
    assert!(warnings.contains("tls-chain") && warnings.lines().count() == 1, "{warnings}");
    assert_eq!(ladder.serves(settings), 3);
}

#[test]
fn a_chain_in_any_order_is_sent_in_the_right_one() {
    let ladder = Ladder::new();
    let [own, lower, upper, root] = ladder.pems();
    let orders = [
        vec![root.clone(), upper.clone(), lower.clone(), own.clone()],
        vec![lower.clone(), own.clone(), upper.clone()],
        vec![own.clone(), upper.clone(), lower.clone()],
    ];
    for order in orders {
        let settings = TlsSettings::load(&ladder.files(&order)).unwrap();
        assert!(settings.warnings()[0].contains("own.pem: the certificates stand in the wrong"));
        assert_eq!(ladder.serves(settings), order.len());
    }
    let right = TlsSettings::load(&ladder.files(&[own, lower, upper, root])).unwrap();
    assert!(right.warnings().is_empty(), "{:?}", right.warnings());
    assert_eq!(ladder.serves(right), 4);
}

#[test]
fn byte_order_marks_before_and_between_certificates_hide_none() {
    let ladder = Ladder::new();
    let marked = ladder.pems().map(|pem| format!("\u{feff}{pem}"));
    let mut files = ladder.files(&marked[..3]);
    let key = format!("\u{feff}{}", ladder.own.key.serialize_pem());
    files.keys = vec![ladder.site.folder.write("marked.key", key)];
    files.client_cas = vec![ladder.site.folder.write("ca.pem", &marked[3])];
    files.crls = vec![
        ladder
            .site
            .folder
            .write("crl.pem", format!("\u{feff}{}", pki::crl(&ladder.site.authority, &[]))),
    ];
    files.client_certificates = ClientCertificates::Optional;
    assert_eq!(ladder.serves(TlsSettings::load(&files).unwrap()), 3);
}

/// Whether a client with this certificate is let in, and else why not, with both versions.
#[track_caller]
fn outcome(site: &Site, files: &TlsFiles, client: &Identity) -> Result<(), String> {
    let settings = Arc::new(TlsSettings::load(files).unwrap());
    let outcomes = VERSIONS.map(|version| {
        let client = Client::new(&site.authority, version, Some(client));
        let cause = |failure: crate::transport_peer::client::Failure| failure.server.unwrap();
        Pair::connect(&client, &settings).map(drop).map_err(|failure| cause(failure).to_string())
    });
    assert_eq!(outcomes[0], outcomes[1]);
    outcomes[0].clone()
}

#[test]
fn authorities_come_from_folders_as_well() {
    let site = Site::new();
    let (first, second) = (pki::authority("First"), pki::authority("Second"));
    let clients = [&first, &second].map(|by| pki::issue(by, pki::client_params("client", 1)));
    let folder = site.folder.path().join("authorities");
    std::fs::create_dir(&folder).unwrap();
    let files = TlsFiles {
        client_cas: vec![folder.clone()],
        client_certificates: ClientCertificates::Required,
        ..site.files.clone()
    };
    let error = refusal(&files);
    assert!(error.contains("holds no certificates") && error.contains("openssl rehash"), "{error}");
    std::fs::write(folder.join("first.pem"), first.pem()).unwrap();
    std::fs::write(folder.join("README"), "no certificate").unwrap();
    std::fs::write(folder.join("key.pem"), clients[0].key.serialize_pem()).unwrap();
    std::os::unix::fs::symlink("gone", folder.join("gone.pem")).unwrap();
    assert_eq!(outcome(&site, &files, &clients[0]), Ok(()));
    assert!(outcome(&site, &files, &clients[1]).is_err());
    // As OpenSSL has it: where names are hashes, only those count.
    std::fs::write(folder.join("other.pem"), second.pem()).unwrap();
    for name in ["gone.pem", "key.pem"] {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    openssl(&format!("rehash {}", folder.display()));
    assert_eq!(clients.each_ref().map(|client| outcome(&site, &files, client).is_ok()), [true; 2]);
    std::fs::write(folder.join("third.crt"), pki::authority("Third").pem()).unwrap();
    std::fs::write(folder.join("broken.crt"), "not looked at").unwrap();
    assert_eq!(outcome(&site, &files, &clients[1]), Ok(()));
    // A file besides the folder.
    let third = pki::authority("File");
    let more = pki::issue(&third, pki::client_params("client", 1));
    let mut both = files;
    both.client_cas.push(site.folder.write("third.pem", third.pem()));
    assert_eq!(outcome(&site, &both, &more), Ok(()));
    assert_eq!(outcome(&site, &both, &clients[0]), Ok(()));
}

/// What `openssl req -x509` makes: a certificate that is its own authority.
fn device(name: &str, serial: u64) -> Identity {
    let mut params = pki::client_params(name, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    pki::self_signed(params)
}

#[test]
fn a_self_signed_device_is_let_in_where_its_certificate_is_named() {
    let site = Site::new();
    let (ours, other, stranger) = (device("ours", 1), device("other", 2), device("ours", 1));
    let authority = pki::authority("Clients");
    let issued = pki::issue(&authority, pki::client_params("issued", 3));
    let named = [ours.certificate.pem(), other.certificate.pem(), authority.pem()].concat();
    let mut files = TlsFiles {
        client_cas: vec![site.folder.write("clients.pem", named)],
        client_certificates: ClientCertificates::Required,
        ..site.files.clone()
    };
    for client in [&ours, &other, &issued] {
        assert_eq!(outcome(&site, &files, client), Ok(()));
    }
    assert!(
        outcome(&site, &files, &stranger).is_err(),
        "the same name is not the same certificate"
    );
    // The certificate alone is not enough.
    let forged = Identity { certificate: ours.certificate.clone(), key: stranger.key };
    assert!(outcome(&site, &files, &forged).is_err());
    // With revocation lists it needs one that does not name it, as everybody.
    files.crls = vec![site.folder.write("a.crl", pki::crl(&authority, &[]))];
    assert_eq!(outcome(&site, &files, &issued), Ok(()));
    assert!(outcome(&site, &files, &ours).unwrap_err().contains("no revocation list"));
}

#[test]
fn a_named_device_may_be_revoked_as_any_client() {
    let site = Site::new();
    let mut params = pki::authority_params("Device");
    params.serial_number = Some(rcgen::SerialNumber::from(9u64));
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::KeyPair::from_pem(&key.serialize_pem()).unwrap();
    let device = Authority::self_signed(params, key).unwrap();
    let certificate: &rcgen::Certificate = device.as_ref();
    let identity = Identity { certificate: certificate.clone(), key: own };
    let (free, revoked) = (pki::crl(&device, &[8]), pki::crl(&device, &[9]));
    let old = pki::crl_until(&device, &[], 2021);
    let cases: [(&[&str], &str); 5] = [
        (&[&free], ""),
        (&[&revoked], "revoked"),
        (&[&old], "out of date"),
        (&[&old, &free], ""),
        (&[&free, &revoked], "revoked"),
    ];
    for (lists, cause) in cases {
        let files = TlsFiles {
            client_cas: vec![site.folder.write("device.pem", device.pem())],
            client_certificates: ClientCertificates::Required,
            crls: vec![site.folder.write("device.crl", lists.concat())],
            ..site.files.clone()
        };
        match outcome(&site, &files, &identity) {
            Ok(()) => assert_eq!(cause, ""),
            Err(told) => assert!(!cause.is_empty() && told.contains(cause), "{cause}: {told}"),
        }
    }
}

#[test]
fn a_named_device_is_judged_by_its_dates_and_purpose() {
    let site = Site::new();
    let mut old = pki::expired(pki::client_params("old", 1));
    old.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut server = pki::client_params("server", 2);
    server.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    for (params, cause) in [(old, "expired"), (server, "clientAuth")] {
        let device = pki::self_signed(params);
        let files = TlsFiles {
            client_cas: vec![site.folder.write("device.pem", device.certificate.pem())],
            client_certificates: ClientCertificates::Required,
            ..site.files.clone()
        };
        let refused = outcome(&site, &files, &device).unwrap_err();
        assert!(refused.contains(cause), "{refused}");
    }
}

/// Runs a line for the shell in a folder.
fn shell(folder: &std::path::Path, line: &str) {
    let output = Command::new("sh").args(["-ec", line]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_server_certificate_of_version_1_is_served() {
    let site = Site::new();
    let folder = site.folder.path();
    shell(
        folder,
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=Old -keyout ca.key -out ca.crt
         openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout one.key -out one.csr
         openssl x509 -req -in one.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out one.crt
         openssl x509 -in one.crt -noout -text | grep -q 'Version: 1'",
    );
    let files = TlsFiles {
        certificates: vec![folder.join("one.crt")],
        keys: vec![folder.join("one.key")],
        ..TlsFiles::default()
    };
    let settings = Arc::new(TlsSettings::load(&files).unwrap());
    for version in VERSIONS {
        // rustls's client takes no such certificate, and says so: it was sent.
        let failure = Pair::connect(&Client::new(&site.authority, version, None), &settings);
        let cause = failure.err().unwrap().client.unwrap().to_string();
        assert!(cause.contains("UnsupportedCertVersion"), "{cause}");
    }
    // And its key is checked as any other.
    let wrong = TlsFiles { keys: site.files.keys.clone(), ..files };
    let error = refusal(&wrong);
    assert!(error.contains("does not belong to any certificate"), "{error}");
}

/// Makes files of all kinds.
const OF_ALL_KINDS: &str =
    "new() { openssl req -x509 -nodes -subj /CN=x -keyout $1.key -out $1.crt -newkey $2; }
         new short rsa:1024
         openssl req -x509 -nodes \\
            -subj /CN=x -keyout koblitz.key -out koblitz.crt -newkey ec \\
            -pkeyopt ec_paramgen_curve:secp256k1
         openssl req -x509 -nodes -subj /CN=x -keyout brain.key -out brain.crt -newkey ec \\
            -pkeyopt ec_paramgen_curve:brainpoolP256r1
         openssl req -x509 -nodes -subj /CN=x -keyout good.key -out good.crt -newkey rsa:2048
         openssl x509 -in good.crt -outform DER -out crt.der
         openssl pkey -in good.key -outform DER -out key.der
         openssl pkcs12 -export -in good.crt -inkey good.key -passout pass: -out both.p12
         openssl crl2pkcs7 -nocrl -certfile good.crt -out good.p7b
         openssl crl2pkcs7 -nocrl -certfile good.crt -outform DER -out good.p7c
         openssl x509 -in good.crt -trustout -out trusted.crt
         openssl req -new -key good.key -subj /CN=x -out good.csr
         openssl pkey -in good.key -pubout -out public.key
         openssl pkey -in good.key -aes128 -passout pass:x -out 'se cret.key'
         iconv -f UTF-8 -t UTF-16 good.crt > wide.crt
         head -c 400 good.crt > cut.crt
         sed 's/^/  /' good.crt > blanks.crt
         sed 's/CERTIFICATE/X509 CERTIFICATE/' good.crt > older.crt
         openssl ecparam -name prime256v1 -param_enc explicit -genkey -noout -out spelt.key
         openssl req -x509 -key spelt.key -subj /CN=x -out spelt.crt";

/// A certificate's file and a key's, and what is said of them.
const MISTAKEN: [(&str, &str, &[&str]); 20] = [
    ("short.crt", "short.key", &["short.crt", "RSA key has 1024 bits", "2048", "genpkey"]),
    ("koblitz.crt", "koblitz.key", &["curve secp256k1", "P-256", "genpkey"]),
    ("brain.crt", "brain.key", &["curve brainpoolP256r1", "P-256", "genpkey"]),
    ("crt.der", "good.key", &["a certificate in DER", "openssl x509 -inform DER -in "]),
    ("good.crt", "key.der", &["a private key in DER", "openssl pkey -inform DER -in "]),
    ("both.p12", "good.key", &["PKCS#12", "openssl pkcs12 -in "]),
    ("good.p7b", "good.key", &["PKCS#7", "openssl pkcs7 -print_certs -in "]),
    ("good.p7c", "good.key", &["PKCS#7", "openssl pkcs7 -inform DER -print_certs"]),
    ("trusted.crt", "good.key", &["OpenSSL's own form", "openssl x509 -in "]),
    ("good.csr", "good.key", &["a request for a certificate", "authority"]),
    ("good.crt", "public.key", &["a public key", "private key"]),
    ("good.crt", "se cret.key", &["encrypted with a passphrase", "openssl pkey -in '"]),
    ("wide.crt", "good.key", &["UTF-16", "iconv -f UTF-16"]),
    ("cut.crt", "good.key", &["no END line", "copy the file anew"]),
    ("good.key", "good.crt", &["holds a private key, no certificate", "exchange"]),
    ("good.crt", "good.crt", &["holds a certificate, no private key", "exchange"]),
    ("good.crt", "short.key", &["cannot be used", "2048"]),
    ("blanks.crt", "good.key", &["a BEGIN line does not begin its line", "blanks"]),
    ("older.crt", "good.key", &["older name", "openssl x509 -in "]),
    ("spelt.crt", "spelt.key", &["spells its curve out", "genpkey"]),
];

#[test]
fn files_that_hold_something_else_are_told_from_each_other() {
    let site = Site::new();
    let folder = site.folder.path();
    shell(folder, OF_ALL_KINDS);
    for (certificate, key, parts) in MISTAKEN {
        let mut files = TlsFiles {
            certificates: vec![folder.join(certificate)],
            keys: vec![folder.join(key)],
            ..TlsFiles::default()
        };
        let error = refusal(&files);
        for part in parts {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert!(!error.contains("Other") && !error.contains('\n'), "{error}");
        // The command that is told does what it says.
        let Some((_, command)) = error.split_once("name the new file: ") else { continue };
        let passphrase = if command.contains("pkey -in '") { " -passin pass:x" } else { "" };
        let none = if command.contains("pkcs12") { " -passin pass:" } else { "" };
        shell(folder, &format!("{command}{passphrase}{none}"));
        let is_key = certificate == "good.crt";
        let new = if key == "se cret.key" { "plain" } else { "pem" };
        let old = if is_key { key } else { certificate };
        let named = folder.join(format!("{old}.{new}"));
        *if is_key { &mut files.keys[0] } else { &mut files.certificates[0] } = named;
        TlsSettings::load(&files).unwrap_or_else(|error| panic!("{command}: {error:?}"));
    }
}

#[test]
fn a_key_that_everybody_may_read_is_warned_of() {
    let site = Site::new();
    let key = &site.files.keys[0];
    let mode = |mode| {
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(mode)).unwrap();
        site.load().warnings().to_vec()
    };
    assert_eq!(mode(0o640), Vec::<String>::new());
    let warnings = mode(0o644);
    let fix = format!("chmod o-r {}", key.display());
    assert!(warnings.len() == 1 && warnings[0].contains(&fix), "{warnings:?}");
}

#[test]
fn clients_are_told_apart_by_what_is_wrong_with_their_certificates() {
    let site = Site::new();
    let folder = site.folder.path();
    shell(
        folder,
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=Old -keyout ca.key -out ca.crt
         openssl req -newkey rsa:2048 -nodes -subj /CN=c -keyout one.key -out one.csr
         openssl x509 -req -in one.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out one.crt
         printf 'basicConstraints=CA:FALSE\\n' > v3
         openssl req -newkey rsa:1024 -nodes -subj /CN=c -keyout short.key -out short.csr
         openssl x509 -req -in short.csr -CA ca.crt -CAkey ca.key -extfile v3 -out short.crt
         openssl x509 -req -sha1 -in one.csr -CA ca.crt -CAkey ca.key -extfile v3 -out sha1.crt
         printf 'extendedKeyUsage=serverAuth\\n' > eku
         openssl x509 -req -in one.csr -CA ca.crt -CAkey ca.key -extfile eku -out eku.crt
         printf 'basicConstraints=CA:TRUE\\n' > ca
         openssl x509 -req -in one.csr -CA ca.crt -CAkey ca.key -extfile ca -out authority.crt",
    );
    let files = TlsFiles {
        client_cas: vec![folder.join("ca.crt")],
        client_certificates: ClientCertificates::Required,
        ..site.files.clone()
    };
    let settings = Arc::new(TlsSettings::load(&files).unwrap());
    let cases = [
        ("one", "one", &["X.509 version 1", "-extfile"][..]),
        ("short", "short", &["RSA key has 1024 bits", "genpkey"]),
        ("sha1", "one", &["SHA-1", "SHA-256"]),
        ("eku", "one", &["clientAuth"]),
        ("authority", "one", &["CA:TRUE", "CA:FALSE"]),
    ];
    for (certificate, key, parts) in cases {
        let (printed, told) = crate::s_client(
            &settings,
            &format!(
                "-cert {0}/{certificate}.crt -key {0}/{key}.key -cipher DEFAULT@SECLEVEL=0",
                folder.display()
            ),
        );
        let told = told.unwrap_or_else(|| panic!("{certificate} is let in: {printed}"));
        parts.iter().for_each(|part| assert!(told.contains(part), "{part} is not in: {told}"));
        assert!(!told.contains("Other") && !told.contains('\n'), "{told}");
    }
}

#[test]
fn long_chains_are_refused_before_they_are_verified() {
    let site = Site::new();
    let root = pki::authority("Clients");
    let mut ladder = vec![pki::intermediate("Step 0", 1, &root)];
    for step in 1..4 {
        let next = pki::intermediate(&format!("Step {step}"), 1, &ladder[step - 1]);
        ladder.push(next);
    }
    let client = pki::issue(&ladder[3], pki::client_params("client", 1));
    let files = TlsFiles {
        client_cas: vec![site.folder.write("root.pem", root.pem())],
        client_certificates: ClientCertificates::Required,
        ..site.files.clone()
    };
    let settings = Arc::new(TlsSettings::load(&files).unwrap());
    let strangers: Vec<Authority> = (0..63).map(|n| pki::authority(&format!("{n}"))).collect();
    let namesakes: Vec<Authority> = (0..3).map(|_| pki::authority("Same")).collect();
    let steps: Vec<&Authority> = ladder.iter().rev().collect();
    let cases = [
        (steps.clone(), None),
        (strangers.iter().collect(), Some("a chain of 64 certificates")),
        ([&steps[..], &namesakes.iter().collect::<Vec<_>>()].concat(), Some("the same subject")),
    ];
    for version in VERSIONS {
        for (others, cause) in &cases {
            let client = Client::with_chain(&site.authority, version, Some(&client), others);
            let told = Pair::connect(&client, &settings).err().map(|f| f.server.unwrap());
            let told = told.map(|error| error.to_string());
            match cause {
                None => assert_eq!(told, None),
                Some(cause) => {
                    assert!(told.as_ref().is_some_and(|t| t.contains(cause)), "{told:?}")
                }
            }
        }
    }
}

#[test]
fn a_handshake_costs_more_of_a_turn_the_more_certificates_wait() {
    use crate::transport_peer::Server;
    use crate::transport_peer::client::{give_input, protocol, take_output};
    let root = pki::authority("Clients");
    let client = pki::issue(&root, pki::client_params("client", 1));
    let site = Site::new().with_clients(ClientCertificates::Required, &root);
    let settings = site.load();
    let strangers: Vec<Authority> = (0..12).map(|n| pki::authority(&format!("{n}"))).collect();
    let others: Vec<&Authority> = strangers.iter().collect();
    for version in VERSIONS {
        let client = Client::with_chain(&site.authority, version, Some(&client), &others);
        let (mut client, mut server) = (client.open(), Server::new(&protocol(&settings)));
        let hello = take_output(&mut client);
        assert_eq!(server.transport.handshake_steps(&hello), 1, "a hello is one step");
        server.receive(&hello).unwrap();
        give_input(&mut client, &server.output()).unwrap();
        let flight = take_output(&mut client);
        assert!(server.transport.handshake_steps(&flight) > 2);
        // In pieces it costs no less: what has come before counts.
        let (first, last) = flight.split_at(4000);
        server.receive(first).unwrap();
        assert!(server.transport.handshake_steps(&last[..1]) > 1 || version == VERSIONS[1]);
    }
}
