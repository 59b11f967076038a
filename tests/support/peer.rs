//! A bare client over any transport: whoever uses it says each byte.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Bytes = Box<dyn Socket>;

pub trait Socket: Read + Write + Send {
    fn set_timeout(&self, time: Duration);
}

impl Socket for TcpStream {
    fn set_timeout(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
        self.set_write_timeout(Some(time)).unwrap();
    }
}

impl Socket for UnixStream {
    fn set_timeout(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
        self.set_write_timeout(Some(time)).unwrap();
    }
}

/// TLS that still reads when nothing can be sent any more, as TCP does.
pub struct Tls(pub StreamOwned<ClientConnection, TcpStream>);

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let StreamOwned { conn, sock } = &mut self.0;
        loop {
            while conn.wants_write() && conn.write_tls(sock).is_ok() {}
            match conn.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            conn.read_tls(sock)?;
            conn.process_new_packets().map_err(Error::other)?;
        }
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

impl Socket for Tls {
    fn set_timeout(&self, time: Duration) {
        self.0.sock.set_timeout(time);
    }
}

/// One connection.
pub struct Peer {
    socket: Bytes,
    /// MQTT is in WebSocket frames.
    is_framed: bool,
    /// Received of MQTT.
    input: Vec<u8>,
}

/// Trusts `authority`, and shows the certificate and key in a pair of PEM texts, if any.
pub fn tls_client(authority: &str, identity: Option<(&str, &str)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    })
}

/// A socket to a port of this host.
pub fn socket(port: u16) -> TcpStream {
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_timeout(super::HANGS);
    stream
}

/// TLS on a socket; the handshake has not begun.
pub fn tls(config: &Arc<ClientConfig>, socket: TcpStream) -> Tls {
    let name = ServerName::try_from("localhost").unwrap();
    Tls(StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket))
}

pub const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

impl Peer {
    pub fn plain(port: u16) -> Self {
        Self::over(socket(port))
    }

    pub fn tls(port: u16, config: &Arc<ClientConfig>) -> Self {
        Self::over(tls(config, socket(port)))
    }

    pub fn websocket(port: u16) -> Self {
        Self::over(socket(port)).upgraded()
    }

    pub fn websocket_tls(port: u16, config: &Arc<ClientConfig>) -> Self {
        Self::over(tls(config, socket(port))).upgraded()
    }

    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_timeout(super::HANGS);
        Self::over(stream)
    }

    pub fn over(socket: impl Socket + 'static) -> Self {
        Self { socket: Box::new(socket), is_framed: false, input: Vec::new() }
    }

    pub fn set_timeout(&self, time: Duration) {
        self.socket.set_timeout(time);
    }

    /// Opens a WebSocket.
    pub fn upgraded(mut self) -> Self {
        self.send_raw(UPGRADE.as_bytes());
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.socket.read_exact(&mut byte).expect("the request is answered");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        self.is_framed = true;
        self
    }

    /// Sends bytes below WebSocket.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send_raw(bytes).unwrap();
    }

    /// The same, when the other side may have closed or take nothing.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes)?;
        self.socket.flush()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// The same, when the other side may have closed or take nothing.
    pub fn try_send(&mut self, bytes: &[u8]) -> Result<()> {
        match self.is_framed {
            true => self.try_send_raw(&frame(0x82, bytes)),
            false => self.try_send_raw(bytes),
        }
    }

    fn fill(&mut self) -> Option<()> {
        let mut chunk = [0; 4096];
        if !self.is_framed {
            let count = self.socket.read(&mut chunk).ok().filter(|count| *count > 0)?;
            self.input.extend_from_slice(&chunk[..count]);
            return Some(());
        }
        let mut head = [0; 2];
        self.socket.read_exact(&mut head).ok()?;
        let mut length = u64::from(head[1] & 127);
        if length >= 126 {
            let mut bytes = [0; 8];
            let from = if length == 126 { 6 } else { 0 };
            self.socket.read_exact(&mut bytes[from..]).ok()?;
            length = u64::from_be_bytes(bytes);
        }
        let mut payload = vec![0; length as usize];
        self.socket.read_exact(&mut payload).ok()?;
        match head[0] & 15 {
            0..=2 => self.input.extend_from_slice(&payload),
            8 => return None,
            _ => {}
        }
        Some(())
    }

    /// The next packet: its first byte and what follows the length. None when the peer closes, or
    /// says nothing.
    pub fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(length) = super::vectors::packet_length(&self.input) {
                let packet: Vec<u8> = self.input.drain(..length).collect();
                let body = 2 + packet[1..].iter().take_while(|byte| **byte >= 128).count();
                return Some((packet[0], packet[body..].to_vec()));
            }
            self.fill()?;
        }
    }

    /// True when the other side closes within the time limit; whatever it says before is dropped.
    pub fn closes(&mut self) -> bool {
        loop {
            match self.socket.read(&mut [0; 4096]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    use std::io::ErrorKind::{TimedOut, WouldBlock};
                    return !matches!(error.kind(), WouldBlock | TimedOut);
                }
            }
        }
    }

    /// Sends CONNECT; CONNACK's reason code. None when there is no CONNACK.
    pub fn connect(&mut self, connect: &[u8]) -> Option<u8> {
        self.send(connect);
        let (kind, body) = self.packet()?;
        assert_eq!(kind, 0x20, "{body:02x?}");
        Some(body[1])
    }

    /// How long PINGREQ took; None when it was not answered.
    pub fn ping(&mut self) -> Option<Duration> {
        let start = Instant::now();
        self.send(&[0xc0, 0]);
        (self.packet()? == (0xd0, Vec::new())).then(|| start.elapsed())
    }

    /// Publishes with QoS 1, in version 5; the reason code.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> Option<u8> {
        let body = [&text(topic)[..], &[0, 1, 0], payload].concat();
        self.send(&packet(0x32, &body));
        let (kind, body) = self.packet()?;
        assert_eq!(kind, 0x40, "{body:02x?}");
        Some(body.get(2).copied().unwrap_or(0))
    }

    /// Subscribes with QoS 1, in version 5; the reason code.
    pub fn subscribe(&mut self, filter: &str) -> Option<u8> {
        self.send(&packet(0x82, &[&[0, 2, 0][..], &text(filter), &[1]].concat()));
        let (kind, body) = self.packet()?;
        assert_eq!(kind, 0x90, "{body:02x?}");
        body.last().copied()
    }
}

/// A frame with a mask of zeros.
pub fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![head];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

pub fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut length = body.len();
    loop {
        packet.push((length % 128) as u8 | if length > 127 { 128 } else { 0 });
        length /= 128;
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// CONNECT of version 5 with a clean start, a keep-alive of 60 s, and perhaps name and password.
pub fn connect(client_id: &str, user: Option<(&str, &str)>) -> Vec<u8> {
    let flags = if user.is_some() { 0xc2 } else { 2 };
    let mut body = [&text("MQTT")[..], &[5, flags, 0, 60, 0], &text(client_id)].concat();
    if let Some((name, password)) = user {
        body.extend([text(name), text(password)].concat());
    }
    packet(0x10, &body)
}

/// The same of version 3.1.1.
pub fn connect_v3(client_id: &str, user: Option<(&str, &str)>) -> Vec<u8> {
    let flags = if user.is_some() { 0xc2 } else { 2 };
    let mut body = [&text("MQTT")[..], &[4, flags, 0, 60], &text(client_id)].concat();
    if let Some((name, password)) = user {
        body.extend([text(name), text(password)].concat());
    }
    packet(0x10, &body)
}

/// CONNECT of version 5 that goes on with a session which stays for so long, with a keep-alive of
/// `keep_alive_s`.
pub fn connect_stored(client_id: &str, expiry_s: u32, keep_alive_s: u16) -> Vec<u8> {
    let head = [&text("MQTT")[..], &[5, 0], &keep_alive_s.to_be_bytes(), &[5, 0x11]].concat();
    let body = [&head[..], &expiry_s.to_be_bytes(), &text(client_id)].concat();
    packet(0x10, &body)
}

/// A client subscribes to a filter at QoS 1 and goes, and its session stays for 1,000 s.
pub fn subscribe_and_go(port: u16, client_id: &str, filter: &str) {
    let mut peer = Peer::plain(port);
    assert_eq!(peer.connect(&connect_stored(client_id, 1000, 0)), Some(0));
    assert_eq!(peer.subscribe(filter), Some(1));
    peer.send(&packet(0xE0, &[]));
    assert!(peer.closes());
}

/// PUBLISH of version 5 with QoS 1, packet identifier 1 and a message expiry.
pub fn publish_expiring(topic: &str, payload: &[u8], retain: bool, expiry_s: u32) -> Vec<u8> {
    let head = [&text(topic)[..], &[0, 1, 5, 2], &expiry_s.to_be_bytes()].concat();
    packet(0x32 | u8::from(retain), &[&head[..], payload].concat())
}
