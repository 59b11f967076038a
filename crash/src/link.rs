//! A TCP connection that never blocks: bytes out, packets in.

use ringmq_mqtt::{Framed, Packet, Sender, Version, next_frame};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

const PACKET_BYTES_MAX: usize = 1 << 20;

/// The connection cannot be used any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// A packet, and its length in bytes.
pub(crate) type Whole<'a> = (Packet<'a>, usize);

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    version: Version,
    /// Received and not yet a whole packet.
    input: Vec<u8>,
    output: Vec<u8>,
    /// The peer has closed: nothing comes after `input`.
    is_ended: bool,
}

impl Link {
    /// Connects to a listener of this host.
    pub(crate) fn open(address: SocketAddr, version: Version) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let (input, output) = (Vec::new(), Vec::new());
        Ok(Self { stream, version, input, output, is_ended: false })
    }

    /// Puts a packet behind what is to be sent.
    pub(crate) fn send(&mut self, packet: &Packet<'_>) {
        packet.encode(self.version, &mut self.output);
    }

    /// Bytes that wait for the socket.
    pub(crate) fn unsent(&self) -> usize {
        self.output.len()
    }

    /// Sends what the socket takes.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        let mut sent = 0;
        while sent < self.output.len() {
            match self.stream.write(&self.output[sent..]) {
                Ok(count) if count > 0 => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                _ => return Err(Gone),
            }
        }
        self.output.drain(..sent);
        Ok(())
    }

    /// Everything that has been received: lend it to [`Self::packet`], and say with
    /// [`Self::give_back`] what was used.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut chunk = [0; 64 << 10];
        while !self.is_ended {
            match self.stream.read(&mut chunk) {
                Ok(count) if count > 0 => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                _ => self.is_ended = true,
            }
        }
        std::mem::take(&mut self.input)
    }

    /// The packet that `bytes` starts with, and its length; none when it is not all there.
    pub(crate) fn packet(bytes: &[u8], version: Version) -> Result<Option<Whole<'_>>, String> {
        let framed = next_frame(bytes, PACKET_BYTES_MAX).map_err(|error| error.to_string())?;
        let Framed::Whole(frame) = framed else { return Ok(None) };
        let packet = Packet::decode(&frame, version, Sender::Server);
        let packet = packet.map_err(|error| format!("{error} in {frame:02x?}"))?;
        Ok(Some((packet, frame.length)))
    }

    /// Keeps what is not a whole packet yet; [`Gone`] when nothing will complete it.
    pub(crate) fn give_back(&mut self, mut bytes: Vec<u8>, used: usize) -> Result<(), Gone> {
        bytes.drain(..used);
        self.input = bytes;
        if self.is_ended { Err(Gone) } else { Ok(()) }
    }
}
