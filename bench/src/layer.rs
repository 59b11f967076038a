//! Layers between a socket and MQTT: TLS or WebSocket, as a client.

use crate::failure::{Failure, Result};
use clap::ValueEnum;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

/// The layer below MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Below {
    /// Nothing: MQTT over TCP
    Tcp,
    /// TLS; certificates are not checked, sessions are not resumed
    Tls,
    /// WebSocket
    Ws,
}

impl Below {
    /// For the title of a run.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "",
            Self::Tls => " over TLS",
            Self::Ws => " over WebSocket",
        }
    }
}

/// One connection's layer.
#[derive(Debug)]
pub(crate) enum Layer {
    Tls(Box<ClientConnection>),
    WebSocket(WebSocket),
}

impl Layer {
    /// The layer of a new connection, and what it says first; None for bare TCP.
    pub(crate) fn open(below: Below, wire: &mut Vec<u8>) -> Option<Self> {
        match below {
            Below::Tcp => None,
            Below::Tls => {
                let name = ServerName::try_from("localhost").expect("a valid name");
                let connection = ClientConnection::new(config(), name);
                let mut connection = connection.expect("the configuration is complete");
                write_tls(&mut connection, wire);
                Some(Self::Tls(Box::new(connection)))
            }
            Below::Ws => {
                wire.extend_from_slice(REQUEST);
                Some(Self::WebSocket(WebSocket::default()))
            }
        }
    }

    /// Takes bytes as they came; appends what they hold of MQTT to `plain`, and to `wire` what is
    /// to be answered below it.
    pub(crate) fn receive(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<()> {
        let connection = match self {
            Self::WebSocket(websocket) => return websocket.receive(bytes, plain),
            Self::Tls(connection) => connection,
        };
        while !bytes.is_empty() {
            connection.read_tls(&mut bytes).map_err(Failure::new)?;
            let state = connection.process_new_packets().map_err(Failure::new)?;
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            connection.reader().read_exact(&mut plain[start..]).map_err(Failure::new)?;
        }
        write_tls(connection, wire);
        Ok(())
    }

    /// Moves MQTT bytes from `out` to `wire`, as they go over the socket.
    pub(crate) fn send(&mut self, out: &mut Vec<u8>, wire: &mut Vec<u8>) {
        if out.is_empty() {
            return;
        }
        match self {
            Self::Tls(connection) => {
                connection.writer().write_all(out).expect("its buffer has no limit");
                write_tls(connection, wire);
            }
            Self::WebSocket(websocket) if !websocket.is_open => return,
            Self::WebSocket(_) => put_frame(out, wire),
        }
        out.clear();
    }
}

fn write_tls(connection: &mut ClientConnection, wire: &mut Vec<u8>) {
    while connection.wants_write() {
        connection.write_tls(wire).expect("memory takes everything");
    }
}

const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// The frames of a WebSocket, whose payloads are MQTT's bytes in a row.
#[derive(Debug, Default)]
pub(crate) struct WebSocket {
    is_open: bool,
    /// The start of an answer or of a frame's head.
    partial: Vec<u8>,
    /// Bytes of the present frame that are still to come.
    left: usize,
}

impl WebSocket {
    fn receive(&mut self, received: &[u8], plain: &mut Vec<u8>) -> Result<()> {
        let joined;
        let mut bytes = received;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(received);
            joined = std::mem::take(&mut self.partial);
            bytes = &joined;
        }
        if !self.is_open {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                self.partial = bytes.to_vec();
                return Ok(());
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return Err(Failure::new("the broker refuses the WebSocket"));
            }
            self.is_open = true;
            bytes = &bytes[end + 4..];
        }
        loop {
            let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
            plain.extend_from_slice(payload);
            self.left -= payload.len();
            let Some((head, length)) = frame_head(rest) else {
                self.partial = rest.to_vec();
                return Ok(());
            };
            if rest[0] & 0x0f > 2 {
                return Err(Failure::new("the broker ends the WebSocket"));
            }
            (bytes, self.left) = (&rest[head..], length);
        }
    }
}

/// The lengths of a frame's head and payload, once the head is whole.
fn frame_head(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => Some((4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)))),
        127 => Some((10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize)),
        length => Some((2, usize::from(length))),
    }
}

/// One binary frame, with a mask that changes nothing.
fn put_frame(payload: &[u8], wire: &mut Vec<u8>) {
    wire.push(0x82);
    match payload.len() {
        length @ ..126 => wire.push(0x80 | length as u8),
        length @ ..0x1_0000 => {
            wire.push(0x80 | 126);
            wire.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            wire.push(0x80 | 127);
            wire.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    wire.extend_from_slice(&[0; 4]);
    wire.extend_from_slice(payload);
}

/// One configuration for all connections.
fn config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let make = || {
        let provider = Arc::new(default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    };
    Arc::clone(CONFIG.get_or_init(make))
}

/// Takes whatever certificate the broker has: what is measured is its work, not its name.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_together_however_they_are_cut() {
        let mut stream = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
        let mut expected = Vec::new();
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![length as u8; length];
            let mut frame = Vec::new();
            put_frame(&payload, &mut frame);
            // A server's frames have no mask.
            let head = frame.len() - length - 4;
            frame[1] &= 0x7f;
            frame.drain(head..head + 4);
            stream.extend(frame);
            expected.extend(payload);
        }
        for piece in [1, 7, 4096, stream.len()] {
            let (mut websocket, mut plain) = (WebSocket::default(), Vec::new());
            for bytes in stream.chunks(piece) {
                websocket.receive(bytes, &mut plain).unwrap();
            }
            assert!(plain == expected, "pieces of {piece}");
        }
    }

    #[test]
    fn a_refusal_and_a_close_are_the_end() {
        let mut plain = Vec::new();
        let mut refused = WebSocket::default();
        assert!(refused.receive(b"HTTP/1.1 404 Not Found\r\n\r\n", &mut plain).is_err());
        let mut open = WebSocket { is_open: true, ..WebSocket::default() };
        assert!(open.receive(&[0x88, 0], &mut plain).is_err());
    }
}
