//! The other end of a transport: certificates, a TLS client, a WebSocket client, and the wire
//! between them and the server's [`Transport`].
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "every test binary has its own copy")]

pub mod client;
#[path = "../support/folder.rs"]
pub mod folder;
pub mod memory;
pub mod pki;
pub mod websocket;

use ringmq::transport::{Flow, Transport, TransportError};

/// The server's end: what it was sent, and what came of it.
pub struct Server {
    pub transport: Transport,
    pub plain: Vec<u8>,
    pub flow: Flow,
}

impl Server {
    pub fn new(protocol: &ringmq::transport::Protocol) -> Self {
        let transport = protocol.open().expect("the protocol has a layer");
        Self { transport, plain: Vec::new(), flow: Flow::Open }
    }

    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.flow = self.transport.receive(bytes, &mut self.plain)?;
        Ok(())
    }

    /// What the layers have to say by themselves.
    pub fn output(&mut self) -> Vec<u8> {
        let said_so = self.transport.has_output();
        let out = self.send(&[]);
        assert_eq!(said_so, !out.is_empty(), "has_output tells what send does");
        assert!(!self.transport.has_output(), "a send takes all output");
        out
    }

    pub fn send(&mut self, segments: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        assert_eq!(self.transport.send(segments.iter().copied(), &mut out), Flow::Open);
        out
    }

    pub fn take_plain(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plain)
    }
}
