//! Sockets: those that listen, and calls that go past the ring because they never wait.

use crate::limits::{LISTEN_BACKLOG, SOCKET_AHEAD_BYTES_MAX, TCP_PROBE_INTERVAL_MAX, TCP_PROBES};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// A listening socket of one worker, and its address.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Option<SocketAddr>,
}

impl Listener {
    /// Listens on `address` next to other listeners of this user with the same address; the kernel
    /// spreads the connections over them. Accepted sockets inherit that small packets are sent at
    /// once, that the kernel takes little ahead of what it can send, and that it probes a peer that
    /// has been silent for `keep_alive`.
    ///
    /// # Errors
    /// The errors of `bind` and `listen`.
    pub fn bind(address: SocketAddr, keep_alive: Option<Duration>) -> io::Result<Self> {
        let socket = prepared(address)?;
        socket.set_reuse_port(true)?;
        prepare_accepted(&socket, keep_alive)?;
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        socket.listen(LISTEN_BACKLOG)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket, address: Some(address) })
    }

    /// Listens on a socket in the file system, which must not exist yet.
    ///
    /// # Errors
    /// The errors of `bind` and `listen`; `AddrInUse` when the file exists.
    pub(crate) fn bind_unix(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(LISTEN_BACKLOG)?;
        Ok(Self { socket, address: None })
    }

    /// Goes on with a socket that listens already. Accepted sockets inherit what those of
    /// [`Self::bind`] do.
    ///
    /// # Errors
    /// The errors of `setsockopt`.
    pub(super) fn take_over(socket: Socket, keep_alive: Option<Duration>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?.as_socket();
        if address.is_some() {
            prepare_accepted(&socket, keep_alive)?;
        }
        Ok(Self { socket, address })
    }

    /// True when no process listens on the socket in the file system any more. Never waits.
    ///
    /// # Errors
    /// The error of `connect`, where that leaves the question open: this process may not connect,
    /// or the file is no such socket.
    pub(crate) fn is_deserted(path: &Path) -> io::Result<bool> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
        match socket.connect(&SockAddr::unix(path)?) {
            Ok(()) => Ok(false),
            Err(error) => match error.raw_os_error() {
                Some(libc::ECONNREFUSED) => Ok(true),
                // The process that listens has not come to the connections that wait already.
                Some(libc::EAGAIN | libc::EINPROGRESS) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Another descriptor of the same socket: the kernel spreads the connections over those that
    /// accept.
    ///
    /// # Errors
    /// The lack of a descriptor.
    pub(crate) fn share(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, address: self.address })
    }

    /// The next connection, whose own calls wait, and the address of its peer. Never waits.
    ///
    /// # Errors
    /// The errors of `accept`; `WouldBlock` when no connection waits.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        let (socket, peer) = self.socket.accept()?;
        Ok((socket.into(), peer.as_socket().map(canonical)))
    }

    /// The address, with the real port when 0 was asked for; None in the file system.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Fails when any process listens on `address`, also one that would share it: two brokers would
/// silently get half of the connections each.
///
/// # Errors
/// `EADDRINUSE` then, or another error of `bind`.
pub fn check_free(address: SocketAddr) -> io::Result<()> {
    prepared(address)?.bind(&address.into())
}

/// Sets on a listening socket what the sockets that it accepts inherit.
fn prepare_accepted(socket: &Socket, keep_alive: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(SOCKET_AHEAD_BYTES_MAX)?;
    keep_alive.map_or(Ok(()), |idle| keep_alive_after(socket, idle))
}

/// Makes the kernel probe a peer that is silent for `idle`, and give up a peer that acknowledges
/// neither probes nor data, or takes nothing, for about as long.
fn keep_alive_after(socket: &Socket, idle: Duration) -> io::Result<()> {
    let interval = idle.min(TCP_PROBE_INTERVAL_MAX);
    let probes = TcpKeepalive::new().with_time(idle).with_interval(interval);
    socket.set_tcp_keepalive(&probes.with_retries(TCP_PROBES))?;
    socket.set_tcp_user_timeout(Some(idle + interval * TCP_PROBES))
}

fn prepared(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// The address of the peer; None for a Unix socket, and for a connection that has ended.
pub(crate) fn peer_address(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    SockRef::from(&socket).peer_addr().ok()?.as_socket().map(canonical)
}

/// The IPv4 address of a peer that came by IPv4 to a socket of both protocols, which only a service
/// manager opens.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Sends the FIN behind all output.
pub(crate) fn finish(socket: BorrowedFd<'_>) {
    // The call fails only when the connection has ended already.
    let _ = SockRef::from(&socket).shutdown(Shutdown::Write);
}

/// Ends both directions, which completes every operation on the socket.
pub(crate) fn end(socket: BorrowedFd<'_>) {
    let _ = SockRef::from(&socket).shutdown(Shutdown::Both);
}

/// Makes the close drop the bytes that the peer has not taken, instead of keeping them in the
/// kernel.
pub fn abandon(socket: BorrowedFd<'_>) {
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}

/// The number of bytes that wait to be received.
pub(crate) fn waiting_bytes(socket: BorrowedFd<'_>) -> usize {
    // When the call fails, nothing waits.
    rustix::io::ioctl_fionread(socket).map_or(0, |count| count as usize)
}

/// Makes the socket readable only when `count` bytes wait; 1 is usual. The kernel cuts `count` to
/// half of the largest receive buffer.
pub fn set_low_water(socket: BorrowedFd<'_>, count: usize) {
    let count = libc::c_int::try_from(count).unwrap_or(libc::c_int::MAX);
    // SAFETY: the option's value is one readable `c_int` for the duration of the call. When the
    // call fails, the socket becomes readable earlier, which costs only time.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const count).cast(),
            size_of_val(&count) as libc::socklen_t,
        );
    }
}

/// The kernel's figures of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFigures {
    /// The time for a packet there and back, as TCP has measured it.
    pub round_trip: Duration,
    /// The bytes that have come.
    pub received_bytes: u64,
    /// The bytes that the peer has acknowledged.
    pub acknowledged_bytes: u64,
    /// The bytes that the kernel has taken and not sent yet.
    pub unsent_bytes: u32,
    /// The segments that were sent more than once.
    pub resent_segments: u32,
}

/// The kernel's figures of a connection; None when it is not TCP, or has ended.
pub fn tcp_figures(socket: BorrowedFd<'_>) -> Option<TcpFigures> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the option's value is `length` writable bytes for the duration of the call. An older
    // kernel fills less of them; zeros are valid for the rest.
    let info = unsafe {
        let result = libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        );
        (result == 0).then(|| info.assume_init())?
    };
    Some(TcpFigures {
        round_trip: Duration::from_micros(info.tcpi_rtt.into()),
        received_bytes: info.tcpi_bytes_received,
        acknowledged_bytes: info.tcpi_bytes_acked,
        unsent_bytes: info.tcpi_notsent_bytes,
        resent_segments: info.tcpi_total_retrans,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn accepted_sockets_inherit_what_the_listener_was_told() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, Some(Duration::from_secs(7))).unwrap();
        let _peer = TcpStream::connect(listener.address().unwrap()).unwrap();
        rustix::event::poll(
            &mut [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)],
            None,
        )
        .unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), SOCKET_AHEAD_BYTES_MAX);
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(7));
    }
}
