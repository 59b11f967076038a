//! The chunks of a Mosquitto database, formats 5 and 6, byte by byte.
//!
//! ```text
//! file  │ 00 B5 00 "mosquitto db" │ 0 u32 │ format u32 │ chunk │ chunk │ …
//! chunk │ kind u32 │ length u32 │ fixed part │ text, payload, properties
//! ```
//!
//! Lengths and packet identifiers are big-endian. Ids of messages and points in time are as the
//! machine has them: little-endian, on every machine that ringmq runs on. The fixed part of some
//! chunks ends in padding, which differs between machines; so its length is what the texts leave.

use super::super::error::ImportError;
use crate::limits::{IMPORT_CHUNK_BYTES_MAX, IMPORT_NAMES_BYTES_MAX};
use std::io::{self, BufRead, Read};

const MAGIC: &[u8; 15] = b"\x00\xB5\x00mosquitto db";

/// The fixed part of a message's chunk, and of a client message's: neither has padding.
const MESSAGE_FIXED: usize = 32;
const CLIENT_MESSAGE_FIXED: usize = 16;

/// A chunk, as the file has it.
#[derive(Debug)]
pub(super) enum Chunk {
    Config,
    Message(Message),
    ClientMessage(ClientMessage),
    Retained(u64),
    Subscription(Subscription),
    Client(Client),
    Unknown,
}

/// A message, which clients or a topic refer to by its id.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: u64,
    /// Seconds since 1970; 0 for never.
    pub(super) expires_s: i64,
    pub(super) source_id: String,
    pub(super) source_user: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// The topic, the payload and the properties with their length, one behind the other.
    pub(super) bytes: Vec<u8>,
    pub(super) topic_length: usize,
    pub(super) payload_length: usize,
}

/// A message on its way to a client, or from a client.
#[derive(Debug)]
pub(super) struct ClientMessage {
    pub(super) client_id: String,
    pub(super) message: u64,
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    pub(super) state: u8,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) is_outgoing: bool,
    /// The properties with their length.
    pub(super) properties: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) client_id: String,
    pub(super) filter: String,
    pub(super) identifier: u32,
    pub(super) qos: u8,
    pub(super) options: u8,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) client_id: String,
    pub(super) user: Option<String>,
    /// Seconds since 1970; 0 for never, or not yet.
    pub(super) ends_s: i64,
    /// Seconds; `u32::MAX` is for ever.
    pub(super) expiry_s: u32,
}

/// Reads the chunks of a file one by one.
#[derive(Debug)]
pub(super) struct Chunks<R> {
    input: R,
    format: u32,
    /// The offset of the next byte.
    offset: u64,
    /// The offset of the last chunk's first byte.
    chunk_offset: u64,
}

impl<R: BufRead> Chunks<R> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// The file is not Mosquitto's, or of another format.
    pub(super) fn open(mut input: R) -> Result<Self, ImportError> {
        let mut header = Vec::new();
        (&mut input).take(23).read_to_end(&mut header)?;
        let known = header.len().min(MAGIC.len());
        if header[..known] != MAGIC[..known] {
            return Err(ImportError::Foreign);
        }
        let Some(format) = header.get(19..23) else {
            return Err(ImportError::At {
                offset: header.len() as u64,
                cause: "the file ends within its header".to_owned(),
            });
        };
        match u32::from_be_bytes(format.try_into().expect("four bytes")) {
            format @ (5 | 6) => Ok(Self { input, format, offset: 23, chunk_offset: 23 }),
            format => Err(ImportError::UnknownFormat(format)),
        }
    }

    /// An error about the last chunk.
    pub(super) fn wrong(&self, cause: impl ToString) -> ImportError {
        ImportError::At { offset: self.chunk_offset, cause: cause.to_string() }
    }

    /// The next chunk; None at the end.
    ///
    /// # Errors
    /// The chunk is damaged, or the file ends in it.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, ImportError> {
        self.chunk_offset = self.offset;
        let header = self.read(8)?;
        if header.is_empty() {
            return Ok(None);
        }
        let (Some(kind), Some(length)) = (u32_at(&header, 0), u32_at(&header, 4)) else {
            return Err(self.wrong("the file ends within the head of a chunk"));
        };
        let length = u64::from(length);
        let (name, length_max) = match kind {
            1 => ("configuration", IMPORT_NAMES_BYTES_MAX),
            2 => ("message", IMPORT_CHUNK_BYTES_MAX),
            3 => ("client message", IMPORT_NAMES_BYTES_MAX),
            4 => ("retained message", IMPORT_NAMES_BYTES_MAX),
            5 => ("subscription", IMPORT_NAMES_BYTES_MAX),
            6 => ("client", IMPORT_NAMES_BYTES_MAX),
            _ => return self.skip(length).map(Some),
        };
        if length > length_max {
            return Err(self.wrong(format!(
                "the chunk of a {name} says that it has {length} bytes; at most {length_max} can be"
            )));
        }
        let bytes = self.read(length)?;
        if (bytes.len() as u64) < length {
            return Err(self.wrong(format!(
                "the file ends within the chunk of a {name}: {} of {length} bytes are there",
                bytes.len()
            )));
        }
        let chunk = self.decode(kind, bytes);
        let chunk = chunk.map_err(|cause| self.wrong(format!("the chunk of a {name} {cause}")))?;
        Ok(Some(chunk))
    }

    /// Reads so many bytes, or those that are left. Memory is taken for bytes that are there only.
    fn read(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.input).take(length).read_to_end(&mut bytes)?;
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }

    fn skip(&mut self, length: u64) -> Result<Chunk, ImportError> {
        let skipped = io::copy(&mut (&mut self.input).take(length), &mut io::sink())?;
        self.offset += skipped;
        match skipped == length {
            true => Ok(Chunk::Unknown),
            false => Err(self.wrong(format!(
                "the file ends within a chunk of an unknown kind: {skipped} of {length} bytes are \
                 there"
            ))),
        }
    }

    fn decode(&self, kind: u32, bytes: Vec<u8>) -> Result<Chunk, &'static str> {
        match kind {
            1 => config(&bytes),
            2 => message(bytes).map(Chunk::Message),
            3 => client_message(&bytes).map(Chunk::ClientMessage),
            4 => u64_at(&bytes, 0).map(Chunk::Retained).ok_or(SHORT),
            5 => subscription(&bytes).map(Chunk::Subscription),
            _ => client(&bytes, self.format).map(Chunk::Client),
        }
    }
}

const SHORT: &str = "is too short for what it says that it has";
const NO_TEXT: &str = "has a text that is no UTF-8, or has the character U+0000";

fn config(bytes: &[u8]) -> Result<Chunk, &'static str> {
    match bytes.get(9) {
        Some(8) => Ok(Chunk::Config),
        Some(_) => Err("is of a Mosquitto whose ids do not have 8 bytes"),
        None => Err(SHORT),
    }
}

fn message(mut bytes: Vec<u8>) -> Result<Message, &'static str> {
    let fixed = bytes.get(..MESSAGE_FIXED).ok_or(SHORT)?;
    let length_at = |at| u16_at(fixed, at).map(usize::from).ok_or(SHORT);
    let payload_length = u32_at(fixed, 16).ok_or(SHORT)? as usize;
    let (id_length, user_length, topic_length) = (length_at(22)?, length_at(24)?, length_at(26)?);
    let (qos, retain) = (fixed[30], fixed[31] != 0);
    let (id, expires_s) = (u64_at(fixed, 0).ok_or(SHORT)?, u64_at(fixed, 8).ok_or(SHORT)?);
    let user_start = MESSAGE_FIXED + id_length;
    let topic_start = user_start + user_length;
    let source_id = text(bytes.get(MESSAGE_FIXED..user_start))?;
    let source_user = text(bytes.get(user_start..topic_start))?;
    if bytes.len() < topic_start + topic_length + payload_length {
        return Err(SHORT);
    }
    if qos > 2 {
        return Err("has a QoS beyond 2");
    }
    bytes.drain(..topic_start);
    Ok(Message {
        id,
        expires_s: expires_s.cast_signed(),
        source_id,
        source_user,
        qos,
        retain,
        bytes,
        topic_length,
        payload_length,
    })
}

fn client_message(bytes: &[u8]) -> Result<ClientMessage, &'static str> {
    let fixed = bytes.get(..CLIENT_MESSAGE_FIXED).ok_or(SHORT)?;
    let id_length = usize::from(u16_at(fixed, 10).ok_or(SHORT)?);
    let properties_start = CLIENT_MESSAGE_FIXED + id_length;
    let client_id = text(bytes.get(CLIENT_MESSAGE_FIXED..properties_start))?;
    let (qos, state, retain_dup, direction) = (fixed[12], fixed[13], fixed[14], fixed[15]);
    if qos > 2 || direction > 1 {
        return Err("has a QoS beyond 2, or a direction that is none");
    }
    Ok(ClientMessage {
        client_id,
        message: u64_at(fixed, 0).ok_or(SHORT)?,
        packet_id: u16_at(fixed, 8).ok_or(SHORT)?,
        qos,
        state,
        retain: retain_dup & 0xF0 != 0,
        dup: retain_dup & 0x0F != 0,
        is_outgoing: direction == 1,
        properties: bytes[properties_start..].to_vec(),
    })
}

fn subscription(bytes: &[u8]) -> Result<Subscription, &'static str> {
    let identifier = u32_at(bytes, 0).ok_or(SHORT)?;
    let (id_length, filter_length) = (u16_at(bytes, 4), u16_at(bytes, 6));
    let lengths = id_length.zip(filter_length).ok_or(SHORT)?;
    let [client_id, filter] = texts(bytes, 10, [lengths.0, lengths.1])?;
    Ok(Subscription { client_id, filter, identifier, qos: bytes[8], options: bytes[9] })
}

fn client(bytes: &[u8], format: u32) -> Result<Client, &'static str> {
    let ends_s = u64_at(bytes, 0).ok_or(SHORT)?.cast_signed();
    let expiry_s = u32_at(bytes, 8).ok_or(SHORT)?;
    let id_length = u16_at(bytes, 14).ok_or(SHORT)?;
    let (user_length, fixed) = match format {
        5 => (0, 16),
        _ => (u16_at(bytes, 18).ok_or(SHORT)?, 20),
    };
    let [client_id, user] = texts(bytes, fixed, [id_length, user_length])?;
    Ok(Client { client_id, user: Some(user).filter(|user| !user.is_empty()), ends_s, expiry_s })
}

/// The texts of these lengths with which a chunk ends, behind a fixed part of at least `fixed`
/// bytes.
fn texts(bytes: &[u8], fixed: usize, lengths: [u16; 2]) -> Result<[String; 2], &'static str> {
    let [first, second] = lengths.map(usize::from);
    let start = bytes.len().checked_sub(first + second).filter(|start| *start >= fixed);
    let start = start.ok_or(SHORT)?;
    let middle = start + first;
    Ok([text(bytes.get(start..middle))?, text(bytes.get(middle..))?])
}

/// A text as MQTT has it.
fn text(bytes: Option<&[u8]>) -> Result<String, &'static str> {
    let text = std::str::from_utf8(bytes.ok_or(SHORT)?).map_err(|_| NO_TEXT)?;
    if text.contains('\0') { Err(NO_TEXT) } else { Ok(text.to_owned()) }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
