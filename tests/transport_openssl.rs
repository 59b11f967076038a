//! TLS with another implementation at the other end: OpenSSL's, over a real socket.

mod transport_peer;

use ringmq::transport::{ClientCertificates, Flow, TlsSettings, Transport};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use transport_peer::client::{protocol, records};
use transport_peer::pki::{self, Site};

/// Sends one connection's first line back, behind so many bytes, and says goodbye. Gives the
/// transport, for questions, and the lengths of all records that were sent.
fn echo(
    listener: &TcpListener,
    settings: &Arc<TlsSettings>,
    more: usize,
) -> (Transport, Vec<usize>) {
    let mut sent = Vec::new();
    let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
    let mut transport = protocol(settings).open().unwrap();
    let (mut bytes, mut plain) = ([0; 1000], Vec::new());
    while !plain.ends_with(b"\n") {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "the client has left");
        assert_eq!(transport.receive(&bytes[..count], &mut plain).unwrap(), Flow::Open);
        sent.extend(send(&mut transport, &mut stream, &[]));
    }
    transport.close();
    let more = vec![b'x'; more];
    sent.extend(send(&mut transport, &mut stream, &[&more, b"echo ", &plain]));
    (transport, records(&sent))
}

fn send(transport: &mut Transport, stream: &mut TcpStream, segments: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(transport.send(segments.iter().copied(), &mut out), Flow::Open);
    stream.write_all(&out).unwrap();
    out
}

/// What `openssl s_client` prints when it is told a line, and what the server knows of it.
fn talk(settings: &Arc<TlsSettings>, arguments: &str) -> (String, Transport) {
    let (printed, transport, _) = converse(settings, arguments, 0);
    (printed, transport)
}

/// The same, with so many bytes before the answer, and the lengths of the server's records.
fn converse(
    settings: &Arc<TlsSettings>,
    arguments: &str,
    more: usize,
) -> (String, Transport, Vec<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "localhost"])
        .args(["-verify_hostname", "localhost", "-verify_return_error", "-alpn", "mqtt"])
        .args(["-nocommands", "-ign_eof"])
        .args(arguments.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the openssl command is there");
    client.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
    let (transport, records) = echo(&listener, settings, more);
    let output = client.wait_with_output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), transport, records)
}

#[test]
fn records_are_no_longer_than_the_client_asks() {
    let site = Site::new();
    let settings = site.load();
    let trusted = site.folder.write("authority.pem", site.authority.pem()).display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        for bytes in [512, 1024, 2048, 4096] {
            let arguments = format!("{version} -CAfile {trusted} -maxfraglen {bytes}");
            let (printed, transport, records) = converse(&settings, &arguments, 9000);
            assert!(printed.contains(&"x".repeat(9000)), "{version} {bytes}");
            assert!(transport.is_ready());
            // Beside the plaintext a record has a head, a nonce, a type and a tag.
            let longest = records.iter().max().unwrap();
            assert!((bytes..=bytes + 40).contains(longest), "{version} {bytes}: {records:?}");
        }
        let arguments = format!("{version} -CAfile {trusted}");
        let (_, _, records) = converse(&settings, &arguments, 9000);
        assert!(records.iter().any(|length| *length > 9000), "{version}: {records:?}");
    }
}

#[test]
fn openssl_talks_both_versions_and_resumes() {
    let clients = pki::authority("Clients");
    let identity = pki::issue(&clients, pki::client_params("client", 1));
    let site = Site::new().with_clients(ClientCertificates::Required, &clients);
    let settings = site.load();
    let file = |name: &str, text: String| site.folder.write(name, text).display().to_string();
    let trusted = file("authority.pem", site.authority.pem());
    let certificate = file("client.pem", identity.certificate.pem());
    let key = file("client.key", identity.key.serialize_pem());
    for version in ["-tls1_2", "-tls1_3"] {
        let session = site.folder.path().join(format!("session{version}")).display().to_string();
        let common = format!("{version} -CAfile {trusted} -cert {certificate} -key {key}");
        let cases = [
            (format!("-sess_out {session}"), "New, TLSv1"),
            (format!("-sess_in {session}"), "Reused, TLSv1"),
        ];
        for (option, kind) in cases {
            let (printed, transport) = talk(&settings, &format!("{common} {option}"));
            assert!(printed.contains("echo hello\n"), "{version}: {printed}");
            assert!(printed.contains(kind), "{version}: {printed}");
            assert!(printed.contains("ALPN protocol: mqtt"), "{version}: {printed}");
            let name = transport.certificate().and_then(|certificate| certificate.common_name);
            assert_eq!(name.as_deref(), Some("client"));
        }
    }
}
