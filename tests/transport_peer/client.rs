//! A TLS client without a socket, and the handshake with a server's transport.

use super::Server;
use super::pki::{Authority, Identity};
use ringmq::transport::{Protocol, TlsSettings, TransportError};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::sync::Arc;

pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// What a client is like.
#[derive(Clone)]
pub struct Client {
    pub config: ClientConfig,
    pub name: &'static str,
}

impl Client {
    pub fn new(
        trusted: &Authority,
        version: &'static SupportedProtocolVersion,
        identity: Option<&Identity>,
    ) -> Self {
        Self::with_chain(trusted, version, identity, &[])
    }

    /// A client that sends `others` along with its own certificate.
    pub fn with_chain(
        trusted: &Authority,
        version: &'static SupportedProtocolVersion,
        identity: Option<&Identity>,
        others: &[&Authority],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivatePkcs8KeyDer::from(identity.key.serialize_der());
                let own = std::iter::once(identity.certificate.der().clone());
                let chain = own.chain(others.iter().map(|other| other.der().clone())).collect();
                let key = default_provider().key_provider.load_private_key(key.into()).unwrap();
                // Whether they belong together is for the server to find out.
                let own = SingleCertAndKey::from(CertifiedKey::new(chain, key));
                builder.with_client_cert_resolver(Arc::new(own))
            }
        };
        config.resumption = Resumption::in_memory_sessions(4);
        Self { config, name: "localhost" }
    }

    pub fn with_name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub fn with_alpn(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        self
    }

    pub fn open(&self) -> ClientConnection {
        let name = ServerName::try_from(self.name).unwrap();
        ClientConnection::new(Arc::new(self.config.clone()), name).unwrap()
    }
}

pub fn protocol(settings: &Arc<TlsSettings>) -> Protocol {
    Protocol { tls: Some(settings.clone()), ..Protocol::default() }
}

/// A client and a server with only the wire between them.
pub struct Pair {
    pub client: ClientConnection,
    pub server: Server,
}

/// Why there is no connection, as each side sees it.
#[derive(Debug)]
pub struct Failure {
    pub server: Option<TransportError>,
    pub client: Option<rustls::Error>,
}

impl Pair {
    pub fn connect(client: &Client, settings: &Arc<TlsSettings>) -> Result<Self, Failure> {
        let mut pair = Self { client: client.open(), server: Server::new(&protocol(settings)) };
        pair.exchange(usize::MAX)?;
        Ok(pair)
    }

    /// Carries bytes in pieces of at most `piece` until nobody has any.
    pub fn exchange(&mut self, piece: usize) -> Result<(), Failure> {
        loop {
            let to_server = take_output(&mut self.client);
            let mut failure = None;
            for part in to_server.chunks(piece.min(to_server.len()).max(1)) {
                failure = self.server.receive(part).err();
                if failure.is_some() {
                    break;
                }
            }
            let to_client = self.server.output();
            let refused = give_input(&mut self.client, &to_client).err();
            if failure.is_some() || refused.is_some() {
                return Err(Failure { server: failure, client: refused });
            }
            if to_server.is_empty() && to_client.is_empty() {
                return Ok(());
            }
        }
    }

    /// What the client reads when it gets `bytes`.
    pub fn client_reads(&mut self, bytes: &[u8]) -> Vec<u8> {
        give_input(&mut self.client, bytes).unwrap()
    }

    /// What the client puts on the wire for `plain`.
    pub fn client_sends(&mut self, plain: &[u8]) -> Vec<u8> {
        self.client.writer().write_all(plain).unwrap();
        take_output(&mut self.client)
    }
}

pub fn take_output(client: &mut ClientConnection) -> Vec<u8> {
    let mut out = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut out).unwrap();
    }
    out
}

pub fn give_input(
    client: &mut ClientConnection,
    mut bytes: &[u8],
) -> Result<Vec<u8>, rustls::Error> {
    let mut plain = Vec::new();
    while !bytes.is_empty() && client.read_tls(&mut bytes).unwrap() > 0 {
        client.process_new_packets()?;
        if let Err(error) = client.reader().read_to_end(&mut plain) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        }
    }
    Ok(plain)
}

/// The lengths of the records in `bytes`, their headers included.
pub fn records(mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [_, _, _, high, low, ..] = bytes {
        let length = 5 + usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(length);
        bytes = &bytes[length..];
    }
    assert!(bytes.is_empty(), "records are whole");
    lengths
}
