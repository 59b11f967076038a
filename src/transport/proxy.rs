//! The PROXY protocol's header, versions 1 and 2: who the client behind a proxy is.
//!
//! The specification is `proxy-protocol.txt` of HAProxy.

use super::TransportError;
use crate::limits::PROXY_BYTES_MAX;
use ppp::{v1, v2};
use std::net::SocketAddr;

/// What both versions begin with, as far as they can be told apart.
const TEXT_PREFIX: &[u8] = b"PROXY ";
/// The longest version 1 header, its CRLF included.
const TEXT_BYTES_MAX: usize = 107;
/// Signature, command, family and length of version 2.
const BINARY_HEAD_BYTES: usize = 16;
/// Where version and command stand, and what they are for a connection of the proxy's own.
const BINARY_COMMAND: (usize, u8) = (12, 0x20);

/// Collects the header of one connection.
#[derive(Debug, Default)]
pub(super) struct ProxyReader {
    /// The beginning of the header, whenever it has not come at once.
    carry: Vec<u8>,
}

/// A whole header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProxyHeader {
    /// The client, if the header names one.
    pub(super) peer: Option<SocketAddr>,
    /// How many of the bytes last read belong to the header.
    pub(super) bytes_used: usize,
}

impl ProxyReader {
    /// Reads on; none as long as the header is not complete.
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

/// The header's length when all of it is there.
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

/// True when `bytes` and `prefix` agree as far as both go.
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

/// An IPv4 client is the same one when the proxy writes it as IPv6.
const fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn malformed(cause: impl std::fmt::Display) -> TransportError {
    TransportError::new(format!("malformed PROXY header: {cause}"))
}
