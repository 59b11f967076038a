//! A client that says just enough MQTT 3.1.1 over a blocking socket.

use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream }
    }

    pub(crate) fn connect(address: SocketAddr, name: &str) -> Self {
        let mut client = Self::open(address);
        client.send(&connect(name));
        client.expect_connack();
        client
    }

    /// One whose socket holds little that is not read.
    pub(crate) fn connect_narrow(address: SocketAddr, name: &str) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut client = Self { stream: socket.into() };
        client.send(&connect(name));
        client.expect_connack();
        client
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends to a broker that may close at any moment.
    pub(crate) fn send_some(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Another handle of the same connection.
    pub(crate) fn clone(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap() }
    }

    pub(crate) fn expect_pings(&mut self, count: usize) {
        let mut bytes = vec![0; 2 * count];
        self.stream.read_exact(&mut bytes).unwrap();
        assert!(bytes == [0xD0, 0].repeat(count));
    }

    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        let mut body = vec![0, 1];
        body.extend(string(filter.as_bytes()));
        body.push(qos);
        self.send(&packet(0x82, &body));
        assert_eq!(self.read_packet(), (0x90, vec![0, 1, qos]));
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) {
        self.send(&publish(topic, payload, qos, 7));
    }

    pub(crate) fn ping(&mut self) {
        self.send(&[0xC0, 0]);
        while self.peek() == 0x30 {
            self.expect_publish();
        }
    }

    pub(crate) fn expect_connack(&mut self) {
        let (head, body) = self.read_packet();
        assert_eq!((head, body[1]), (0x20, 0));
    }

    pub(crate) fn expect_puback(&mut self) {
        assert_eq!(self.read_packet(), (0x40, vec![0, 7]));
    }

    /// The next PUBLISH, acknowledged; PINGRESPs before it are skipped.
    pub(crate) fn expect_publish(&mut self) -> (String, Vec<u8>) {
        loop {
            let (head, body) = self.read_packet();
            if head == 0xD0 {
                continue;
            }
            assert_eq!(head & 0xF0, 0x30, "a PUBLISH");
            let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
            let topic = String::from_utf8(body[2..topic_end].to_vec()).unwrap();
            if head & 0x06 == 0 {
                return (topic, body[topic_end..].to_vec());
            }
            self.send(&[0x40, 2, body[topic_end], body[topic_end + 1]]);
            return (topic, body[topic_end + 2..].to_vec());
        }
    }

    /// The broker closes the connection.
    pub(crate) fn expect_end(&mut self) {
        let end = self.stream.read(&mut [0; 1]);
        assert!(
            matches!(end, Ok(0))
                || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
        );
    }

    fn peek(&self) -> u8 {
        let mut byte = [0];
        self.stream.peek(&mut byte).unwrap();
        byte[0]
    }

    fn read_packet(&mut self) -> (u8, Vec<u8>) {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).unwrap();
        let head = byte[0];
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            self.stream.read_exact(&mut byte).unwrap();
            length |= usize::from(byte[0] & 0x7F) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (head, body)
    }
}

pub(crate) fn connect(name: &str) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04\x02\0\x3C".to_vec();
    body.extend(string(name.as_bytes()));
    packet(0x10, &body)
}

pub(crate) fn connect_with_will(name: &str, will: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04\x06\0\x3C".to_vec();
    body.extend(string(name.as_bytes()));
    body.extend(string(b"will"));
    body.extend(string(will));
    packet(0x10, &body)
}

pub(crate) fn publish(topic: &str, payload: &[u8], qos: u8, id: u8) -> Vec<u8> {
    let mut body = string(topic.as_bytes());
    if qos > 0 {
        body.extend([0, id]);
    }
    body.extend(payload);
    packet(0x30 | qos << 1, &body)
}

fn string(text: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text);
    bytes
}

fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![head];
    let mut length = body.len();
    loop {
        let more = length > 0x7F;
        bytes.push((length & 0x7F) as u8 | u8::from(more) << 7);
        length >>= 7;
        if !more {
            break;
        }
    }
    bytes.extend(body);
    bytes
}
