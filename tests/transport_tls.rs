//! TLS as a filter: both versions, records, resumption, names, and peers that misbehave.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

#[path = "transport_tls/layouts.rs"]
mod layouts;
mod transport_peer;

use proptest::prelude::*;
use ringmq::base::causes;
use ringmq::transport::{Flow, Protocol, TlsFiles, TlsSettings, TlsVersion};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use std::process::Command;
use std::sync::Arc;
use transport_peer::Server;
use transport_peer::client::{Client, Pair, VERSIONS, give_input, protocol, records, take_output};
use transport_peer::pki::{self, Site};

/// The line that an operator sees of files that cannot be used.
fn refusal(files: &TlsFiles) -> String {
    causes::line(&TlsSettings::load(files).unwrap_err())
}

fn pair(version: &'static rustls::SupportedProtocolVersion) -> Pair {
    let site = Site::new();
    Pair::connect(&Client::new(&site.authority, version, None), &site.load()).unwrap()
}

#[test]
fn bytes_go_both_ways_in_both_versions() {
    for version in VERSIONS {
        let mut pair = pair(version);
        assert!(pair.server.transport.is_ready() && !pair.server.transport.is_handshaking());
        assert!(pair.server.transport.certificate().is_none());
        let wire = pair.client_sends(b"a packet");
        pair.server.receive(&wire).unwrap();
        assert_eq!(pair.server.take_plain(), b"a packet");
        let wire = pair.server.send(&[b"an ", b"", b"answer"]);
        assert_eq!(pair.client_reads(&wire), b"an answer");
    }
}

#[test]
fn a_handshake_cut_at_every_byte_is_the_same_handshake() {
    let site = Site::new();
    let settings = site.load();
    for version in VERSIONS {
        let client = Client::new(&site.authority, version, None);
        let mut pair = Pair { client: client.open(), server: Server::new(&protocol(&settings)) };
        pair.client.writer();
        pair.exchange(1).unwrap();
        let wire = pair.client_sends(&[7; 3000]);
        wire.iter().for_each(|byte| pair.server.receive(&[*byte]).unwrap());
        assert_eq!(pair.server.take_plain(), [7; 3000]);
    }
}

#[test]
fn segments_share_as_few_records_as_possible() {
    for version in VERSIONS {
        let mut pair = pair(version);
        let small: Vec<&[u8]> = vec![&[1; 700]; 10];
        let cases: [(&[&[u8]], usize); 5] = [
            (&small, 1),
            (&[&[2; 16_384]], 1),
            (&[&[2; 16_385]], 2),
            (&[&[3; 10], &[4; 40_000], &[5; 10]], 3),
            (&[&[3; 16_383], &[4; 1], &[5; 1]], 2),
        ];
        for (segments, count) in cases {
            let wire = pair.server.send(segments);
            let lengths = records(&wire);
            assert_eq!(lengths.len(), count, "{lengths:?}");
            assert_eq!(pair.client_reads(&wire), segments.concat());
        }
    }
}

#[test]
fn a_session_is_resumed_and_survives_a_reload() {
    for version in VERSIONS {
        let site = Site::new();
        let settings = site.load();
        let client = Client::new(&site.authority, version, None);
        let kinds = |settings: &Arc<TlsSettings>| {
            let pair = Pair::connect(&client, settings).unwrap();
            pair.client.handshake_kind().unwrap()
        };
        assert_eq!(kinds(&settings), HandshakeKind::Full);
        assert_eq!(kinds(&settings), HandshakeKind::Resumed);
        let reloaded = Arc::new(settings.reload(&site.files).unwrap());
        assert_eq!(kinds(&reloaded), HandshakeKind::Resumed);
        assert_ne!(kinds(&site.load()), HandshakeKind::Resumed, "other keys open no ticket");
    }
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let mut site = Site::new();
    for (number, names) in [["a.example"], ["*.b.example"], ["a.example"]].iter().enumerate() {
        let own = pki::server(&site.authority, names);
        let (pem, key) = (format!("{number}.pem"), format!("{number}.key"));
        site.files.certificates.push(site.folder.write(&pem, own.certificate.pem()));
        site.files.keys.push(site.folder.write(&key, own.key.serialize_pem()));
    }
    let settings = site.load();
    let client = |name| Client::new(&site.authority, &TLS13, None).with_name(name);
    let certificate_for = |name| {
        let pair = Pair::connect(&client(name), &settings).unwrap();
        pair.client.peer_certificates().unwrap()[0].clone()
    };
    let certificate = |index: usize| {
        use rustls::pki_types::pem::PemObject;
        let path = &site.files.certificates[index];
        rustls::pki_types::CertificateDer::from_pem_file(path).unwrap()
    };
    assert_eq!(certificate_for("localhost"), certificate(0));
    assert_eq!(certificate_for("a.example"), certificate(1), "the first that matches");
    assert_eq!(certificate_for("x.b.example"), certificate(2));
    // For any other name the client gets the first, and it is for the client to refuse it.
    let failure = Pair::connect(&client("c.example"), &settings).err().unwrap();
    assert!(failure.client.unwrap().to_string().contains("localhost"));
}

#[test]
fn protocols_are_agreed_on_and_those_of_others_change_nothing() {
    let mut site = Site::new();
    let agreed = |site: &Site, offered: &[&str]| {
        let client = Client::new(&site.authority, &TLS13, None).with_alpn(offered);
        let pair = Pair::connect(&client, &site.load());
        pair.ok().map(|pair| pair.client.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(agreed(&site, &[]), Some(None));
    assert_eq!(agreed(&site, &["h2", "mqtt"]), Some(Some(b"mqtt".to_vec())));
    assert_eq!(agreed(&site, &["http/1.1"]), Some(None));
    assert_eq!(agreed(&site, &["x-amzn-mqtt-ca"]), Some(None));
    assert_eq!(agreed(&site, &["x-amzn-mqtt-ca", "mqtt"]), Some(Some(b"mqtt".to_vec())));
    site.files.websocket = true;
    assert_eq!(agreed(&site, &["http/1.1"]), Some(Some(b"http/1.1".to_vec())));
    assert_eq!(agreed(&site, &["h2"]), Some(None));
}

#[test]
fn an_old_version_is_refused() {
    let mut site = Site::new();
    site.files.min_version = TlsVersion::V1_3;
    let settings = site.load();
    assert!(Pair::connect(&Client::new(&site.authority, &TLS12, None), &settings).is_err());
    assert!(Pair::connect(&Client::new(&site.authority, &TLS13, None), &settings).is_ok());
}

#[test]
fn goodbyes_go_both_ways() {
    for version in VERSIONS {
        let mut first = pair(version);
        first.client.send_close_notify();
        let wire = first.client_sends(b"");
        first.server.receive(&wire).unwrap();
        assert_eq!(first.server.flow, Flow::Ended);
        // The client can still be answered.
        let wire = first.server.send(&[b"an answer"]);
        assert_eq!(first.client_reads(&wire), b"an answer");
        first.server.transport.close();
        let goodbye = first.server.output();
        give_input(&mut first.client, &goodbye).unwrap();
        assert!(first.client.process_new_packets().unwrap().peer_has_closed());

        let mut second = pair(version);
        second.server.transport.close();
        let wire = second.server.send(&[b"last words"]);
        assert_eq!(second.client_reads(&wire), b"last words");
        assert!(second.client.process_new_packets().unwrap().peer_has_closed());
        assert!(second.server.send(&[b"too late"]).is_empty());
    }
}

#[test]
fn a_goodbye_within_the_handshake_ends_it() {
    let site = Site::new();
    let settings = site.load();
    for version in VERSIONS {
        let client = Client::new(&site.authority, version, None);
        let mut server = Server::new(&protocol(&settings));
        server.receive(&take_output(&mut client.open())).unwrap();
        assert!(!server.output().is_empty() && server.transport.is_handshaking());
        // An alert record: warning, close_notify. Nobody has signed it, so it ends nothing in TLS
        // 1.2; but a few of them are enough.
        let alert = [21, 3, 3, 0, 2, 1, 0];
        assert!((0..5).any(|_| server.receive(&alert).is_err()));
        assert!(!server.transport.is_ready() && server.plain.is_empty());
        server.transport.close();
        server.output();
    }
}

#[test]
fn plain_text_is_called_what_it_is() {
    let settings = Site::new().load();
    let refused = |bytes: &[u8]| {
        let mut server = Server::new(&protocol(&settings));
        let error = server.receive(bytes).unwrap_err().to_string();
        assert!(server.output().is_empty(), "no alert for what is no TLS");
        assert_eq!(server.transport.receive(bytes, &mut Vec::new()).unwrap(), Flow::Ended);
        error
    };
    assert!(refused(b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0").contains("plain text on a TLS port"));
    assert!(refused(b"GET / HTTP/1.1\r\n").contains("plain text on a TLS port: HTTP"));
}

#[test]
fn a_forged_record_gets_an_alert_and_nothing_else() {
    for version in VERSIONS {
        let mut pair = pair(version);
        let mut wire = pair.client_sends(b"good");
        wire.extend(pair.client_sends(b"bad"));
        *wire.last_mut().unwrap() ^= 1;
        assert!(pair.server.receive(&wire).is_err());
        assert!(pair.server.plain.is_empty());
        let alert = pair.server.output();
        assert!(give_input(&mut pair.client, &alert).is_err(), "the client is told");
        assert!(pair.server.send(&[b"x"]).is_empty());
    }
}

/// Input that is a handshake message announced to be 60 KiB long, in records.
fn endless_hello() -> Vec<u8> {
    let mut message = vec![1, 0, 0xf0, 0];
    message.resize(60_000, 3);
    let record = |part: &[u8]| {
        let [high, low] = (part.len() as u16).to_be_bytes();
        [&[22, 3, 1, high, low], part].concat()
    };
    message.chunks(4096).flat_map(record).collect()
}

#[test]
fn an_endless_hello_is_refused() {
    let settings = Site::new().load();
    let mut server = Server::new(&protocol(&settings));
    let hello = endless_hello();
    let refused = hello.chunks(1000).position(|part| server.receive(part).is_err());
    assert!(refused.is_some_and(|count| count * 1000 <= 36 * 1024), "{refused:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_taken_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        head in 0usize..300,
        piece in 1usize..64,
    ) {
        thread_local! {
            static HELLO: (Arc<TlsSettings>, Vec<u8>) = {
                let site = Site::new();
                let client = Client::new(&site.authority, &TLS13, None);
                (site.load(), take_output(&mut client.open()))
            };
        }
        let (settings, hello) = HELLO.with(Clone::clone);
        let wire = [&hello[..head.min(hello.len())], &bytes].concat();
        let mut server = Server::new(&protocol(&settings));
        for part in wire.chunks(piece) {
            if server.receive(part).is_err() {
                break;
            }
        }
        server.output();
        prop_assert!(server.plain.is_empty());
    }
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let site = Site::new();
    let other = pki::server(&site.authority, &["other"]);
    let text = |name: &str, text: &str| vec![site.folder.write(name, text)];
    let missing = vec![site.folder.path().join("missing.pem")];
    let with = |change: &dyn Fn(&mut TlsFiles)| {
        let mut files = site.files.clone();
        change(&mut files);
        let error = refusal(&files);
        assert!(!error.contains('\n'), "one line: {error}");
        error
    };
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n\
                     -----END ENCRYPTED PRIVATE KEY-----\n";
    let cases: [(String, &[&str]); 8] = [
        (with(&|f| f.certificates = missing.clone()), &["missing.pem", "No such file"]),
        (with(&|f| f.certificates = f.keys.clone()), &["server.key", "no certificate"]),
        (with(&|f| f.keys = f.certificates.clone()), &["server.pem", "no private key"]),
        (with(&|f| f.keys = text("e.key", encrypted)), &["e.key", "encrypted", "openssl"]),
        (
            with(&|f| f.keys = text("o.key", &other.key.serialize_pem())),
            &["o.key", "does not belong", "server.pem"],
        ),
        (with(&|f| f.keys.clear()), &["1 certificate files and 0 key files"]),
        (
            with(&|f| {
                f.client_certificates = "required".parse().unwrap();
                f.client_cas = text("ca.pem", "");
            }),
            &["ca.pem", "no certificate"],
        ),
        (
            with(&|f| f.client_certificates = "optional".parse().unwrap()),
            &["no file of authorities"],
        ),
    ];
    for (error, parts) in cases {
        parts.iter().for_each(|part| assert!(error.contains(part), "{part} in: {error}"));
    }
}

/// What `openssl s_client` prints that connects once, and why the server refuses it, if it does.
fn s_client(settings: &Arc<TlsSettings>, arguments: &str) -> (String, Option<String>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-nocommands"])
        .args(arguments.split(' '))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the openssl command is there");
    let (mut stream, _) = listener.accept().unwrap();
    let mut server = Server::new(&protocol(settings));
    let mut bytes = [0; 4096];
    let cause = loop {
        let count = stream.read(&mut bytes).unwrap_or(0);
        let received = server.receive(&bytes[..count]);
        let _ = stream.write_all(&server.output());
        match received {
            Err(error) => break Some(error.to_string()),
            Ok(()) if count == 0 || server.flow == Flow::Ended => break None,
            Ok(()) => {}
        }
    };
    drop(stream);
    let output = client.wait_with_output().unwrap();
    (String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(), cause)
}

fn openssl(arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).output();
    let output = output.expect("the openssl command is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn keys_are_read_in_every_form() {
    let mut site = Site::new();
    let path = |name: &str| site.folder.path().join(name).display().to_string();
    let (key, certificate) = (path("other.key"), path("other.pem"));
    let kinds = [
        ("BEGIN RSA PRIVATE KEY", format!("genrsa -traditional -out {key} 2048")),
        ("BEGIN EC PRIVATE KEY", format!("ecparam -name prime256v1 -genkey -out {key}")),
        ("BEGIN PRIVATE KEY", format!("genpkey -algorithm ed25519 -out {key}")),
    ];
    site.files.keys = vec![key.clone().into()];
    site.files.certificates = vec![certificate.clone().into()];
    for (label, command) in kinds {
        openssl(&command);
        assert!(std::fs::read_to_string(&key).unwrap().contains(label));
        openssl(&format!("req -x509 -subj /CN=x -key {key} -out {certificate}"));
        TlsSettings::load(&site.files).unwrap();
    }
    let (plain, secret) = (path("plain.key"), path("secret.key"));
    openssl(&format!("genrsa -traditional -out {plain} 2048"));
    openssl(&format!("rsa -traditional -aes128 -passout pass:x -in {plain} -out {secret}"));
    site.files.keys = vec![secret.into()];
    assert!(refusal(&site.files).contains("encrypted"));
}

#[test]
fn an_expired_certificate_of_our_own_is_a_warning() {
    let mut site = Site::new();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_string()]).unwrap();
    let own = pki::issue(&site.authority, pki::expired(params));
    site.files.certificates = vec![site.folder.write("old.pem", own.certificate.pem())];
    site.files.keys = vec![site.folder.write("old.key", own.key.serialize_pem())];
    let settings = site.load();
    let is_told = |warning: &String| warning.contains("old.pem: the certificate has expired");
    assert!(settings.warnings().iter().any(is_told), "{:?}", settings.warnings());
    assert!(!Site::new().load().warnings().iter().any(|warning| warning.contains("expired")));
}

#[test]
fn a_protocol_without_layers_needs_no_transport() {
    assert!(Protocol::default().is_plain() && Protocol::default().open().is_none());
    let proxied = Protocol { proxy: true, ..Protocol::default() };
    assert!(!proxied.is_plain() && proxied.open().is_some());
}
