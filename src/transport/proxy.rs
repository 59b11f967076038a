//! The PROXY protocol's header, versions 1 and 2: the address of the client behind a proxy.
//!
//! The specification is `proxy-protocol.txt` of HAProxy.

use super::TransportError;
use crate::limits::PROXY_BYTES_MAX;
use ppp::{v1, v2};
use std::net::SocketAddr;

/// The beginnings of both versions, long enough to tell one from the other.
const TEXT_PREFIX: &[u8] = b"PROXY ";
/// The longest version 1 header, its CRLF included.
const TEXT_BYTES_MAX: usize = 107;
/// Signature, command, family and length of version 2.
const BINARY_HEAD_BYTES: usize = 16;
/// The index of version and command, and their value for a connection of the proxy's own.
const BINARY_COMMAND: (usize, u8) = (12, 0x20);

/// Collects the header of one connection.
#[derive(Debug, Default)]
pub(super) struct ProxyReader {
    /// The beginning of the header, when the header comes in pieces.
    carry: Vec<u8>,
}

/// A whole header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProxyHeader {
    /// The client, if the header names one.
    pub(super) peer: Option<SocketAddr>,
    /// The number of the last read's bytes that belong to the header.
    pub(super) bytes_used: usize,
}

impl ProxyReader {
    /// Reads on; none until the header is complete.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<ProxyHeader>, TransportError> {
        let held = self.carry.len();
        let taken = bytes.len().min(PROXY_BYTES_MAX - held);
        self.carry.extend_from_slice(&bytes[..taken]);
        let Some(length) = header_length(&self.carry)? else { return Ok(None) };
        let header = std::mem::take(&mut self.carry);
        let peer = parse(&header[..length])?.map(canonical);
        Ok(Some(ProxyHeader { peer, bytes_used: length - held }))
    }
}

/// The header's length; none until the whole header is there.
fn header_length(bytes: &[u8]) -> Result<Option<usize>, TransportError> {
    if begins_like(bytes, TEXT_PREFIX) {
        let end = bytes.windows(2).take(TEXT_BYTES_MAX - 1).position(|pair| pair == b"\r\n");
        return match end {
            Some(at) => Ok(Some(at + 2)),
            None if bytes.len() >= TEXT_BYTES_MAX => Err(malformed("its line is too long")),
            None => Ok(None),
        };
    }
    if !begins_like(bytes, v2::PROTOCOL_PREFIX) {
        return Err(TransportError::new("no PROXY header where the proxy must send one"));
    }
    let Some(&[high, low]) = bytes.get(BINARY_HEAD_BYTES - 2..BINARY_HEAD_BYTES) else {
        return Ok(None);
    };
    let length = BINARY_HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
    match length {
        _ if length > PROXY_BYTES_MAX => Err(malformed("it is too long")),
        _ => Ok((bytes.len() >= length).then_some(length)),
    }
}

/// True when `bytes` and `prefix` agree for the shorter one's length.
fn begins_like(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(byte, expected)| byte == expected)
}

/// The client that a whole header names.
fn parse(header: &[u8]) -> Result<Option<SocketAddr>, TransportError> {
    match header.starts_with(TEXT_PREFIX) {
        true => parse_text(header),
        false => parse_binary(header),
    }
}

fn parse_text(header: &[u8]) -> Result<Option<SocketAddr>, TransportError> {
    // Whatever follows UNKNOWN is to be ignored, so it is not looked at.
    if header.starts_with(b"PROXY UNKNOWN\r") || header.starts_with(b"PROXY UNKNOWN ") {
        return Ok(None);
    }
    let parsed = v1::Header::try_from(header).map_err(malformed)?;
    Ok(match parsed.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(tcp) => Some((tcp.source_address, tcp.source_port).into()),
        v1::Addresses::Tcp6(tcp) => Some((tcp.source_address, tcp.source_port).into()),
    })
}

fn parse_binary(header: &[u8]) -> Result<Option<SocketAddr>, TransportError> {
    let (at, local) = BINARY_COMMAND;
    // With LOCAL the family and the addresses are to be ignored, whatever they are.
    if header[at] == local {
        return Ok(None);
    }
    let parsed = v2::Header::try_from(header).map_err(malformed)?;
    Ok(match parsed.addresses {
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        v2::Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
        v2::Addresses::IPv6(ip) => Some((ip.source_address, ip.source_port).into()),
    })
}

/// The IPv4 address of an IPv4 client that the proxy writes as IPv6.
const fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn malformed(cause: impl std::fmt::Display) -> TransportError {
    TransportError::new(format!("malformed PROXY header: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A version 2 header.
    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, body].concat()
    }

    fn ipv4(tail: &[u8]) -> Vec<u8> {
        binary(0x21, 0x11, &[&[192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 7, 0x5b], tail].concat())
    }

    fn ipv6(source: std::net::Ipv6Addr) -> Vec<u8> {
        binary(0x21, 0x21, &[&source.octets()[..], &[0; 16], &[0x30, 0x39, 7, 0x5b]].concat())
    }

    /// Reads a header in one piece; the bytes behind the header must stay.
    fn read(header: &[u8]) -> Result<Option<SocketAddr>, String> {
        let bytes = [header, b"\x10next"].concat();
        let whole = ProxyReader::default().read(&bytes).map_err(|error| error.to_string())?;
        let whole = whole.ok_or("it is not complete")?;
        assert_eq!(whole.bytes_used, header.len());
        Ok(whole.peer)
    }

    fn peer(text: &str) -> Result<Option<SocketAddr>, String> {
        Ok(Some(text.parse().unwrap()))
    }

    fn headers() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
        let text = |line: &str| line.as_bytes().to_vec();
        let v4 = Some("192.0.2.1:12345".parse().unwrap());
        let v6 = Some("[2001:db8::1]:12345".parse().unwrap());
        vec![
            (text("PROXY TCP4 192.0.2.1 10.0.0.1 12345 1883\r\n"), v4),
            (text("PROXY TCP6 2001:db8::1 ::1 12345 1883\r\n"), v6),
            (text("PROXY TCP6 ::ffff:192.0.2.1 ::1 12345 1883\r\n"), v4),
            (text("PROXY UNKNOWN\r\n"), None),
            (text("PROXY UNKNOWN a b c d e f g h i\r\n"), None),
            (ipv4(&[]), v4),
            (ipv4(&[4, 0, 3, 1, 2, 3]), v4),
            (ipv6("2001:db8::1".parse().unwrap()), v6),
            (ipv6("::ffff:192.0.2.1".parse().unwrap()), v4),
            (binary(0x20, 0, &[]), None),
            (binary(0x20, 0x11, &[1, 2, 3]), None),
            (binary(0x21, 0, &[]), None),
            (binary(0x21, 0x31, &[b'/'; 216]), None),
        ]
    }

    #[test]
    fn every_form_gives_the_client() {
        for (header, peer) in headers() {
            assert_eq!(read(&header), Ok(peer), "{header:?}");
        }
        assert_eq!(read(&headers()[0].0), peer("192.0.2.1:12345"));
    }

    #[test]
    fn a_header_cut_anywhere_is_the_same_header() {
        for (header, peer) in headers() {
            let mut reader = ProxyReader::default();
            let (last, before) = header.split_last().unwrap();
            for byte in before {
                assert_eq!(reader.read(&[*byte]).unwrap(), None, "{header:?}");
            }
            let whole = reader.read(&[*last, 0x10]).unwrap().unwrap();
            assert_eq!(whole, ProxyHeader { peer, bytes_used: 1 });
        }
    }

    #[test]
    fn what_is_no_header_is_refused_and_not_collected() {
        let long = |length: usize| binary(0x21, 0x11, &vec![0; length]);
        let cases: [(&[u8], &str); 9] = [
            (b"\x10\x0c\0\x04MQTT", "no PROXY header"),
            (b"PROXX TCP4", "no PROXY header"),
            (b"\r\n\r\n\0\r\nQUIX", "no PROXY header"),
            (b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", "malformed"),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", "malformed"),
            (&[&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat(), "too long"),
            (&binary(0x31, 0x11, &[0; 12]), "malformed"),
            (&binary(0x21, 0x11, &[0; 11]), "malformed"),
            (&long(PROXY_BYTES_MAX), "too long"),
        ];
        for (bytes, cause) in cases {
            let error = ProxyReader::default().read(bytes).unwrap_err().to_string();
            assert!(error.contains(cause), "{error}");
        }
        assert!(read(&long(PROXY_BYTES_MAX - BINARY_HEAD_BYTES)).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(
            prefix in prop::sample::select(vec![&b""[..], TEXT_PREFIX, v2::PROTOCOL_PREFIX]),
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            piece in 1usize..50,
        ) {
            let wire = [prefix, &bytes].concat();
            let mut reader = ProxyReader::default();
            for part in wire.chunks(piece) {
                let outcome = reader.read(part);
                prop_assert!(reader.carry.len() <= PROXY_BYTES_MAX);
                match outcome {
                    Ok(None) => {}
                    Ok(Some(header)) => {
                        prop_assert!(header.bytes_used <= part.len());
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
    }
}
