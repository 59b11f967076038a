//! TLS with OpenSSL at the other end: versions, resumption, and who has to show what certificate.

use crate::realm::Realm;
use crate::support::peer::connect_v3;
use crate::support::server::{Program, Server, eventually};
use std::io::Write;
use std::process::{Command, Stdio};

/// A listener for each of these.
const KINDS: [&str; 4] = [
    "",
    "tls-min-version=1.3",
    "client-certificates=optional&allow-anonymous=true",
    "client-certificates=required&certificate-user=cn",
];

fn start(realm: &Realm) -> Server {
    let folder = realm.folder.path().display();
    let mut flags = realm.tls_flags().to_vec();
    for kind in KINDS {
        let mut url = format!("mqtts://127.0.0.1:0?{kind}");
        if kind.contains("certificates") {
            url += &format!("&tls-client-ca={folder}/clients.pem&tls-crl={folder}/clients.crl");
        }
        flags.extend(["--listen".into(), url]);
    }
    Server::start(&flags)
}

/// What `openssl s_client` prints while it connects, and perhaps is let in with MQTT.
fn talk(realm: &Realm, port: u16, arguments: &str) -> String {
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-connect", &address, "-servername", "localhost", "-alpn", "mqtt"])
        .args(["-verify_hostname", "localhost", "-verify_return_error", "-CAfile"])
        .arg(realm.path("ca.pem"))
        .args(["-nocommands", "-ign_eof"])
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = Program::start(&mut command);
    let id = format!("openssl-{arguments}").replace(['/', ' '], "-");
    let mut bytes = connect_v3(&id[..id.len().min(60)], None);
    bytes.extend([0xe0, 0]);
    // It may be refused and gone already.
    let _ = client.child().stdin.take().unwrap().write_all(&bytes);
    let (status, output) = client.finish();
    assert!(status.is_some(), "{arguments}: {output}");
    output
}

fn is_let_in(output: &str) -> bool {
    output.contains("\u{20}\u{2}\0\0")
}

#[test]
fn versions_that_are_spoken_and_sessions_that_are_resumed() {
    let realm = Realm::new();
    let server = start(&realm);
    for version in ["1_2", "1_3"] {
        let session = realm.path(&format!("session{version}")).display().to_string();
        for (round, kind) in [("-sess_out", "New, TLSv1"), ("-sess_in", "Reused, TLSv1")] {
            let printed = talk(&realm, server.port(0), &format!("-tls{version} {round} {session}"));
            assert!(is_let_in(&printed), "{printed}");
            assert!(printed.contains(kind), "{version} {round}: {printed}");
            assert!(printed.contains("ALPN protocol: mqtt"), "{printed}");
            let named = format!("Protocol  : TLSv{}", version.replace('_', "."));
            assert!(version == "1_3" || printed.contains(&named), "{printed}");
        }
    }
    let refused = [
        (0, "-tls1_1 -cipher DEFAULT@SECLEVEL=0"),
        (0, "-tls1 -cipher DEFAULT@SECLEVEL=0"),
        (1, "-tls1_2"),
    ];
    for (listener, arguments) in refused {
        let printed = talk(&realm, server.port(listener), arguments);
        assert!(!is_let_in(&printed), "{arguments}: {printed}");
        assert!(printed.contains("alert"), "{arguments}: {printed}\n{}", server.log());
    }
    assert!(is_let_in(&talk(&realm, server.port(1), "-tls1_3")));
    let is_told = || server.count("Client closed: TLS") == refused.len();
    assert!(eventually(is_told), "{}", server.log());
}

#[test]
fn a_handshake_that_fails_says_what_the_client_lacks() {
    let realm = Realm::new();
    let server = start(&realm);
    realm.folder.write("others.pem", crate::pki::authority("Others").pem());
    let others = realm.path("others.pem").display().to_string();
    let untrusting = |version: &str| format!("{version} -CAfile {others}");
    let old = "DEFAULT@SECLEVEL=0";
    let cases = [
        (0, format!("-tls1_1 -cipher {old}"), "offers TLS 1.1 at most"),
        (0, format!("-tls1 -cipher {old}"), "offers TLS 1.0 at most"),
        (1, "-tls1_2".into(), "offers TLS 1.2 at most, and at least TLS 1.3 (tls-min-version)"),
        (0, "-tls1_2 -cipher AES128-GCM-SHA256".into(), "offers RSA key exchange only"),
        (0, "-tls1_2 -cipher AES128-SHA -groups P-256".into(), "offers RSA key exchange only"),
        (0, "-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256".into(), "DHE and older key exchanges only"),
        (0, "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA".into(), "ECDHE with older ciphers only"),
        (
            0,
            "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256".into(),
            "wants a certificate with an RSA key",
        ),
        (0, "-tls1_2 -groups P-521".into(), "no common curve"),
        (0, "-tls1_3 -groups P-521".into(), "no common curve"),
        (0, "-tls1_2 -sigalgs RSA+SHA256".into(), "no common"),
        (0, "-tls1_3 -sigalgs RSA+SHA256".into(), "no common signature"),
        (0, untrusting("-tls1_2"), "the client does not trust our certificate"),
        (0, untrusting("-tls1_3"), "the client does not trust our certificate"),
        (3, "-tls1_2".into(), "the client has no certificate"),
        (3, "-tls1_3".into(), "the client has no certificate"),
    ];
    for (listener, arguments, cause) in cases {
        let before = server.count(cause);
        let printed = talk(&realm, server.port(listener), &arguments);
        assert!(!is_let_in(&printed), "{arguments}: {printed}");
        let is_told = eventually(|| server.count(cause) > before);
        assert!(is_told, "{arguments}: {cause:?} is not in {}", server.log());
    }
    assert_eq!(server.count("Other("), 0, "{}", server.log());
}

#[test]
fn certificates_that_clients_show_or_do_not() {
    let realm = Realm::new();
    let server = start(&realm);
    let cases = [
        (None, [true, false], "the client has no certificate"),
        (Some("cert-user"), [true, true], ""),
        (Some("foreign"), [false, false], "UnknownIssuer"),
        (Some("revoked"), [false, false], "revoked"),
        (Some("expired"), [false, false], "expired"),
    ];
    for version in ["-tls1_2", "-tls1_3"] {
        for (certificate, outcomes, cause) in cases {
            let shown = certificate.map_or(String::new(), |name| {
                let folder = realm.folder.path().display();
                format!("-cert {folder}/{name}.pem -key {folder}/{name}.key")
            });
            for (listener, expected) in [2, 3].into_iter().zip(outcomes) {
                let before = server.count(cause);
                let printed = talk(&realm, server.port(listener), &format!("{version} {shown}"));
                let case = format!("{version} {certificate:?} {}", KINDS[listener]);
                assert_eq!(is_let_in(&printed), expected, "{case}: {printed}");
                let is_told = || expected || server.count(cause) > before;
                assert!(eventually(is_told), "{case}: {}", server.log());
            }
        }
    }
}
