//! TLS with another implementation at the other end: OpenSSL's, over a real socket.

mod transport_peer;

use ringmq::transport::{ClientCertificates, Flow, TlsSettings, Transport};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use transport_peer::client::protocol;
use transport_peer::pki::{self, Site};

/// Sends one connection's first line back and says goodbye. Gives the transport, for questions.
fn echo(listener: &TcpListener, settings: &Arc<TlsSettings>) -> Transport {
    let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
    let mut transport = protocol(settings).open().unwrap();
    let (mut bytes, mut plain) = ([0; 1000], Vec::new());
    while !plain.ends_with(b"\n") {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "the client has left");
        assert_eq!(transport.receive(&bytes[..count], &mut plain).unwrap(), Flow::Open);
        send(&mut transport, &mut stream, &[]);
    }
    transport.close();
    send(&mut transport, &mut stream, &[b"echo ", &plain]);
    transport
}

fn send(transport: &mut Transport, stream: &mut TcpStream, segments: &[&[u8]]) {
    let mut out = Vec::new();
    assert_eq!(transport.send(segments.iter().copied(), &mut out), Flow::Open);
    stream.write_all(&out).unwrap();
}

/// What `openssl s_client` prints when it is told a line, and what the server knows of it.
fn talk(settings: &Arc<TlsSettings>, arguments: &str) -> (String, Transport) {
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
    let transport = echo(&listener, settings);
    let output = client.wait_with_output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), transport)
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
