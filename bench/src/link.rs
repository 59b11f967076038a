//! A connection's bytes: what was read in part, and what is to be written.

use crate::layer::{Below, Layer};
use crate::poller::Readiness;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Connections from one source address: a part of the ports that the kernel chooses from.
const PER_SOURCE: u32 = 5000;

/// A nonblocking socket with the ends of packets that wait on either side.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: OwnedFd,
    /// The layer between the socket and MQTT.
    layer: Option<Layer>,
    /// The start of a packet whose end has not come.
    partial: Vec<u8>,
    /// The bytes that are to be written.
    pub(crate) out: Vec<u8>,
    /// The same bytes as they go over the socket, where there is a layer.
    wire: Vec<u8>,
    /// The number of those bytes that are written.
    written: usize,
    /// Whether the kernel takes no more for now.
    is_blocked: bool,
}

/// The end of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing more for now.
    Drained,
    /// The peer has closed, or sent bytes that are no packet.
    Closed,
}

impl Link {
    /// Starts to connect; writing works when it has come about.
    pub(crate) fn connect(
        broker: SocketAddr,
        source: Option<Ipv4Addr>,
        below: Below,
    ) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(broker), kind, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&broker.into()) {
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
            other => other?,
        }
        let mut link = Self::over(OwnedFd::from(socket));
        link.layer = Layer::open(below, &mut link.wire);
        Ok(link)
    }

    /// A link over a nonblocking socket.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self {
            socket,
            layer: None,
            partial: Vec::new(),
            out: Vec::new(),
            wire: Vec::new(),
            written: 0,
            is_blocked: false,
        }
    }

    /// Reads what the socket is ready for and hands each piece to `take`, which says how many of
    /// its bytes are whole packets, or that they are none.
    #[inline]
    pub(crate) fn read(
        &mut self,
        readiness: Readiness,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8], &mut Vec<u8>) -> Option<usize>,
    ) -> End {
        if readiness.is_writable {
            self.is_blocked = false;
        }
        let mut is_readable = readiness.is_readable;
        if self.layer.is_some() {
            return self.read_layer(is_readable, readiness.is_ending, buffer, take);
        }
        while is_readable {
            let kept = self.partial.len();
            buffer[..kept].copy_from_slice(&self.partial);
            self.partial.clear();
            let count = match rustix::io::read(&self.socket, &mut buffer[kept..]) {
                Ok(0) => return End::Closed,
                Ok(count) => count,
                Err(error) => {
                    self.partial.extend_from_slice(&buffer[..kept]);
                    if error == Errno::AGAIN {
                        return End::Drained;
                    }
                    return End::Closed;
                }
            };
            let filled = kept + count;
            let Some(used) = take(&buffer[..filled], &mut self.out) else { return End::Closed };
            self.partial.extend_from_slice(&buffer[used..filled]);
            // Less than there was room for: the next byte makes a new event, or the end does.
            is_readable = filled == buffer.len() || readiness.is_ending;
        }
        End::Drained
    }

    /// The same through the layer.
    fn read_layer(
        &mut self,
        mut is_readable: bool,
        is_ending: bool,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8], &mut Vec<u8>) -> Option<usize>,
    ) -> End {
        let Some(layer) = &mut self.layer else { return End::Closed };
        while is_readable {
            let count = match rustix::io::read(&self.socket, &mut *buffer) {
                Ok(0) => return End::Closed,
                Ok(count) => count,
                Err(Errno::AGAIN) => return End::Drained,
                Err(_) => return End::Closed,
            };
            if layer.receive(&buffer[..count], &mut self.partial, &mut self.wire).is_err() {
                return End::Closed;
            }
            let Some(used) = take(&self.partial, &mut self.out) else { return End::Closed };
            self.partial.drain(..used);
            is_readable = count == buffer.len() || is_ending;
        }
        End::Drained
    }

    /// Writes what there is to write; false when the connection is gone.
    #[inline]
    pub(crate) fn flush(&mut self) -> bool {
        if let Some(layer) = &mut self.layer {
            layer.send(&mut self.out, &mut self.wire);
        }
        let bytes = if self.layer.is_some() { &mut self.wire } else { &mut self.out };
        while self.written < bytes.len() && !self.is_blocked {
            match send(&self.socket, &bytes[self.written..], SendFlags::NOSIGNAL) {
                Ok(count) => self.written += count,
                // Not connected yet: it becomes writable when it is.
                Err(Errno::AGAIN | Errno::NOTCONN) => self.is_blocked = true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        if self.written == bytes.len() {
            bytes.clear();
            self.written = 0;
        }
        true
    }

    /// Bytes that the kernel has not taken.
    #[inline]
    pub(crate) fn backlog(&self) -> usize {
        let bytes = if self.layer.is_some() { &self.wire } else { &self.out };
        bytes.len() - self.written
    }
}

/// Addresses of 127.0.0.0/8 to connect from, so that ports suffice for any number of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources {
    /// The first address as a number; none when the broker is elsewhere.
    first: Option<u32>,
}

impl Sources {
    /// Addresses that `seed` chooses, so that runs in a row meet no port still in TIME-WAIT.
    pub(crate) fn new(broker: SocketAddr, seed: u32) -> Self {
        let is_loopback = matches!(broker.ip(), IpAddr::V4(address) if address.is_loopback());
        let base = u32::from(Ipv4Addr::new(127, 1, 0, 1));
        Self { first: is_loopback.then(|| base + (seed % 0x8000) * 0x100) }
    }

    /// The address of the connection with this number.
    pub(crate) fn of(self, index: u32) -> Option<Ipv4Addr> {
        self.first.map(|first| Ipv4Addr::from(first + index / PER_SOURCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    const READABLE: Readiness =
        Readiness { is_readable: true, is_writable: false, is_ending: false };

    fn pair() -> (Link, OwnedFd) {
        let flags = SocketFlags::NONBLOCK;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        (Link::over(near), far)
    }

    #[test]
    fn pieces_come_together() {
        let (mut link, far) = pair();
        let mut buffer = [0; 64];
        let mut whole = Vec::new();
        for piece in [&b"abc"[..], b"d", b"efgh"] {
            rustix::io::write(&far, piece).unwrap();
            let end = link.read(READABLE, &mut buffer, |bytes, _| {
                let used = bytes.len() / 4 * 4;
                whole.extend_from_slice(&bytes[..used]);
                Some(used)
            });
            assert_eq!(end, End::Drained);
        }
        assert_eq!(whole, b"abcdefgh");
        drop(far);
        assert_eq!(link.read(READABLE, &mut buffer, |_, _| Some(0)), End::Closed);
    }

    #[test]
    fn the_end_is_seen_behind_the_last_bytes() {
        let (mut link, far) = pair();
        rustix::io::write(&far, b"bye").unwrap();
        drop(far);
        let ending = Readiness { is_ending: true, ..READABLE };
        let mut count = 0;
        let end = link.read(ending, &mut [0; 64], |bytes, _| {
            count += bytes.len();
            Some(bytes.len())
        });
        assert_eq!((end, count), (End::Closed, 3));
    }

    #[test]
    fn what_the_kernel_does_not_take_waits() {
        let (mut link, far) = pair();
        link.out.resize(10_000_000, 7);
        assert!(link.flush());
        let backlog = link.backlog();
        assert!(backlog > 0);
        let mut sink = vec![0; 100_000];
        while rustix::io::read(&far, &mut sink).is_ok() {}
        assert!(link.flush());
        assert_eq!(link.backlog(), backlog);
        let writable = Readiness { is_readable: false, is_writable: true, is_ending: false };
        link.read(writable, &mut sink, |_, _| None);
        assert!(link.flush());
        assert!(link.backlog() < backlog);
    }

    #[test]
    fn sources_stay_loopback_and_hold_a_hundred_thousand() {
        let broker = "127.0.0.1:1883".parse().unwrap();
        for seed in [0, 1, u32::MAX] {
            let sources = Sources::new(broker, seed);
            assert!(sources.of(100_000).unwrap().is_loopback());
            assert_eq!(sources.of(0), sources.of(PER_SOURCE - 1));
            assert_ne!(sources.of(0), sources.of(PER_SOURCE));
        }
        assert_eq!(Sources::new("[::1]:1883".parse().unwrap(), 0).of(0), None);
    }
}
