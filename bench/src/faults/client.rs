//! One connection that waits for its answers.

use super::packets::encode;
use crate::clock::{now_ns, seconds_ns};
use crate::failure::{Failure, Result};
use crate::wire::raw_frame;
use ringmq_mqtt::{Connect, PINGREQ, PacketType};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The time for an answer.
const PATIENCE_S: f64 = 20.0;

/// The longest wait for the kernel to take bytes.
const WRITE_S: u64 = 20;

/// A connection over plain TCP.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: TcpStream,
    bytes: Vec<u8>,
    /// Bytes of `bytes` that are taken.
    taken: usize,
}

/// A packet that came.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) first: u8,
    pub(super) body: Vec<u8>,
}

/// The end of a wait for a packet.
#[derive(Debug)]
pub(super) enum Heard {
    Packet(Packet),
    Silence,
    Closed,
}

/// The answer to CONNECT.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) has_session: bool,
    /// Reason code: 0 for a client that is let in.
    pub(super) code: u8,
}

impl Packet {
    pub(super) fn kind(&self) -> Option<PacketType> {
        PacketType::from_first(self.first)
    }
}

impl Client {
    /// A connection on which nothing was sent.
    pub(super) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(WRITE_S)))?;
        Ok(Self { stream, bytes: Vec::new(), taken: 0 })
    }

    /// A client that is let in.
    pub(super) fn connect(address: SocketAddr, connect: &Connect<'_>) -> Result<Self> {
        let (client, answer) = Self::ask(address, connect)?;
        match answer.code {
            0 => Ok(client),
            code => Err(Failure::new(format_args!(
                "{} is not let in (0x{code:02x})",
                connect.client_id
            ))),
        }
    }

    /// A client that is let in or not.
    pub(super) fn ask(address: SocketAddr, connect: &Connect<'_>) -> Result<(Self, Answer)> {
        let mut client = Self::open(address)?;
        client.send(&encode(connect))?;
        let packet = client.expect(PacketType::ConnAck)?;
        let (Some(flags), Some(&code)) = (packet.body.first(), packet.body.get(1)) else {
            return Err(Failure::new("CONNACK is too short"));
        };
        Ok((client, Answer { has_session: flags & 1 != 0, code }))
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(Failure::new)
    }

    /// The next packet within so many seconds.
    pub(super) fn hear(&mut self, seconds: f64) -> Heard {
        let end_ns = now_ns() + seconds_ns(seconds);
        loop {
            if let Some(frame) = raw_frame(&self.bytes[self.taken..]) {
                self.taken += frame.length;
                let packet = Packet { first: frame.first, body: frame.body.to_vec() };
                return Heard::Packet(packet);
            }
            self.bytes.drain(..self.taken);
            self.taken = 0;
            let left_ns = end_ns.saturating_sub(now_ns());
            if left_ns == 0 {
                return Heard::Silence;
            }
            match self.fill(left_ns, 64 * 1024) {
                Ok(0) => return Heard::Closed,
                Ok(_) => {}
                Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Heard::Silence,
                Err(ErrorKind::Interrupted) => {}
                Err(_) => return Heard::Closed,
            }
        }
    }

    /// Reads at most so many bytes.
    fn fill(&mut self, timeout_ns: u64, bytes_max: usize) -> std::result::Result<usize, ErrorKind> {
        let timeout = Duration::from_nanos(timeout_ns.max(1000));
        self.stream.set_read_timeout(Some(timeout)).map_err(|error| error.kind())?;
        let start = self.bytes.len();
        self.bytes.resize(start + bytes_max, 0);
        let count = self.stream.read(&mut self.bytes[start..]).map_err(|error| error.kind());
        self.bytes.truncate(start + *count.as_ref().unwrap_or(&0));
        count
    }

    /// The next packet of a kind; others before it are passed over.
    pub(super) fn expect(&mut self, kind: PacketType) -> Result<Packet> {
        let end_ns = now_ns() + seconds_ns(PATIENCE_S);
        loop {
            let left_s = end_ns.saturating_sub(now_ns()) as f64 / 1e9;
            match self.hear(left_s) {
                Heard::Packet(packet) if packet.kind() == Some(kind) => return Ok(packet),
                Heard::Packet(packet) if packet.kind() == Some(PacketType::Disconnect) => {
                    let code = packet.body.first().copied().unwrap_or(0);
                    return Err(Failure::new(format_args!(
                        "{kind:?} was to come, but DISCONNECT 0x{code:02x} did"
                    )));
                }
                Heard::Packet(_) => {}
                Heard::Silence => return Err(Failure::new(format_args!("no {kind:?} comes"))),
                Heard::Closed => {
                    return Err(Failure::new(format_args!("closed before {kind:?} came")));
                }
            }
        }
    }

    /// Publishes `count` messages at QoS 1, encoded by `message`, of which `window` are under way
    /// at once, until all are acknowledged.
    ///
    /// # Errors
    /// An acknowledgement that does not come, or one that refuses.
    pub(super) fn publish_all(
        &mut self,
        count: u32,
        window: u32,
        message: impl Fn(u32) -> Vec<u8>,
    ) -> Result<()> {
        let mut sent = 0;
        for answered in 0..count {
            let end = count.min(answered + window);
            let packets: Vec<u8> = (sent..end).flat_map(&message).collect();
            if !packets.is_empty() {
                self.send(&packets)?;
            }
            sent = end;
            let answer = self.expect(PacketType::PubAck)?;
            if answer.body.get(2).is_some_and(|code| *code >= 0x80) {
                return Err(Failure::new("the broker refuses a publish"));
            }
        }
        Ok(())
    }

    /// Sends a ping and waits for the answer: the nanoseconds that took.
    pub(super) fn ping(&mut self) -> Result<u64> {
        let start_ns = now_ns();
        self.send(&PINGREQ)?;
        self.expect(PacketType::PingResp)?;
        Ok(now_ns() - start_ns)
    }
}
