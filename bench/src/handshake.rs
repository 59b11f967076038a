//! Opens connections: TCP, CONNECT and CONNACK, SUBSCRIBE and SUBACK.

use crate::clock::now_ns;
use crate::failure::{Failure, Result};
use crate::layer::Below;
use crate::link::{End, Link, Sources};
use crate::poller::{Poller, Readiness, Ready};
use crate::wire::{RawFrame, raw_frame};
use ringmq_mqtt::{
    ConnAck, Connect, Frame, PacketType, QoS, ReasonCode, SubAck, Subscribe, SubscribeFilter,
    SubscriptionOptions, Version,
};
use std::net::SocketAddr;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// The time for which a broker may say nothing at all to connections that wait for it.
const PATIENCE_NS: u64 = 20_000_000_000;

/// The keep-alive: as long as there is, since nobody is to ping during a measurement.
const KEEP_ALIVE_S: u16 = u16::MAX;

/// Seconds for which a persistent session outlives its connection.
const SESSION_EXPIRY_S: u32 = 3600;

/// The broker, and how to talk to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) version: Version,
    pub(crate) qos: QoS,
    pub(crate) sources: Sources,
    pub(crate) below: Below,
    /// Sessions outlive their connections.
    pub(crate) persistent: bool,
}

/// A connection to be opened.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The connection's number in the whole run, which its source address follows from.
    pub(crate) index: u32,
    pub(crate) client_id: String,
    pub(crate) filter: Option<String>,
}

/// A connection that is open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) link: Link,
    /// Publishes above QoS 0 that the broker takes before it has answered one.
    pub(crate) receive_maximum: u16,
}

/// Opens all of `wanted`, at most `at_once` at a time. Connection `n` of it reports to `poller` as
/// token `n`. `opened` hears how long each took.
pub(crate) fn open_all(
    poller: &mut Poller,
    endpoint: &Endpoint,
    wanted: &[Wanted],
    at_once: usize,
    opened: impl FnMut(u64),
) -> Result<Vec<Opened>> {
    let entries = Vec::with_capacity(wanted.len());
    let buffer = vec![0; READ_BYTES];
    Opening { poller, endpoint, wanted, entries, buffer, done: 0, opened }.run(at_once)
}

/// Starts to connect: what comes next is CONNACK.
pub(crate) fn start(endpoint: &Endpoint, wanted: &Wanted) -> Result<Link> {
    let source = endpoint.sources.of(wanted.index);
    let mut link = Link::connect(endpoint.address, source, endpoint.below).map_err(|error| {
        Failure::new(format_args!("cannot connect to {}: {error}", endpoint.address))
    })?;
    let mut connect = Connect::new(endpoint.version, &wanted.client_id);
    connect.keep_alive_s = KEEP_ALIVE_S;
    if endpoint.persistent {
        connect.clean_start = false;
        connect.session_expiry_s = SESSION_EXPIRY_S;
    }
    connect.encode(&mut link.out);
    link.flush();
    Ok(link)
}

struct Opening<'a, F> {
    poller: &'a mut Poller,
    endpoint: &'a Endpoint,
    wanted: &'a [Wanted],
    entries: Vec<Entry>,
    buffer: Vec<u8>,
    done: usize,
    opened: F,
}

struct Entry {
    connection: Opened,
    start_ns: u64,
    is_done: bool,
}

impl<F: FnMut(u64)> Opening<'_, F> {
    fn run(mut self, at_once: usize) -> Result<Vec<Opened>> {
        while self.done < self.wanted.len() {
            while self.entries.len() < self.wanted.len() && self.entries.len() - self.done < at_once
            {
                self.start()?;
            }
            let count = self.poller.wait(PATIENCE_NS)?;
            if count == 0 {
                let missing = self.entries.len() - self.done;
                return Err(Failure::new(format_args!(
                    "the broker does not answer {missing} of {} connections",
                    self.wanted.len()
                )));
            }
            for index in 0..count {
                if let Ready::Socket { token, readiness } = self.poller.ready(index) {
                    self.on_ready(token, readiness)?;
                }
            }
        }
        Ok(self.entries.into_iter().map(|entry| entry.connection).collect())
    }

    fn start(&mut self) -> Result<()> {
        let token = self.entries.len();
        let wanted = &self.wanted[token];
        let start_ns = now_ns();
        let link = start(self.endpoint, wanted)?;
        self.poller.add(&link.socket, token)?;
        let connection = Opened { link, receive_maximum: u16::MAX };
        self.entries.push(Entry { connection, start_ns, is_done: false });
        Ok(())
    }

    fn on_ready(&mut self, token: usize, readiness: Readiness) -> Result<()> {
        let entry = &mut self.entries[token];
        let mut steps = Steps {
            endpoint: self.endpoint,
            wanted: &self.wanted[token],
            receive_maximum: &mut entry.connection.receive_maximum,
            is_done: entry.is_done,
            failure: None,
        };
        let link = &mut entry.connection.link;
        let end = link.read(readiness, &mut self.buffer, |bytes, out| steps.take(bytes, out));
        let (is_done, failure) = (steps.is_done, steps.failure);
        if let Some(failure) = failure {
            return Err(failure);
        }
        if end == End::Closed || !entry.connection.link.flush() {
            let client_id = &self.wanted[token].client_id;
            return Err(Failure::new(format_args!("the broker closed {client_id}")));
        }
        if is_done && !entry.is_done {
            entry.is_done = true;
            self.done += 1;
            (self.opened)(now_ns() - entry.start_ns);
        }
        Ok(())
    }
}

/// The next steps of a connection, by the broker's answers.
struct Steps<'a> {
    endpoint: &'a Endpoint,
    wanted: &'a Wanted,
    receive_maximum: &'a mut u16,
    is_done: bool,
    failure: Option<Failure>,
}

impl Steps<'_> {
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let mut used = 0;
        // What comes after the last answer belongs to whoever uses the connection.
        while !self.is_done
            && let Some(frame) = raw_frame(&bytes[used..])
        {
            if let Err(failure) = self.answer(&frame, out) {
                self.failure = Some(failure);
                return None;
            }
            used += frame.length;
        }
        Some(used)
    }

    fn answer(&mut self, raw: &RawFrame<'_>, out: &mut Vec<u8>) -> Result<()> {
        let version = self.endpoint.version;
        let frame = Frame { first: raw.first, body: raw.body, length: raw.length };
        match frame.kind() {
            Some(PacketType::ConnAck) => {
                let connack =
                    ConnAck::decode(&frame, version).map_err(|_| self.refused("CONNACK", 0x81))?;
                if connack.code != ReasonCode::Success {
                    return Err(self.refused("CONNECT", connack.code as u8));
                }
                *self.receive_maximum = connack.receive_maximum.unwrap_or(u16::MAX);
                self.subscribe(out);
            }
            Some(PacketType::SubAck) => {
                let suback =
                    SubAck::decode(&frame, version).map_err(|_| self.refused("SUBACK", 0x81))?;
                if let Some(code) = suback.codes.iter().find(|code| **code != self.granted()) {
                    return Err(self.refused("SUBSCRIBE", *code));
                }
                self.is_done = true;
            }
            _ => return Err(self.refused("an answer", raw.first)),
        }
        Ok(())
    }

    fn granted(&self) -> u8 {
        self.endpoint.qos as u8
    }

    fn subscribe(&mut self, out: &mut Vec<u8>) {
        let Some(filter) = &self.wanted.filter else {
            self.is_done = true;
            return;
        };
        let options = SubscriptionOptions { qos: self.endpoint.qos, ..Default::default() };
        let mut subscribe = Subscribe { packet_id: 1, ..Subscribe::default() };
        subscribe.filters.push(SubscribeFilter { filter, options });
        subscribe.encode(self.endpoint.version, out);
    }

    fn refused(&self, what: &str, code: u8) -> Failure {
        let client_id = &self.wanted.client_id;
        Failure::new(format_args!("{client_id}: {what} was not accepted (0x{code:02x})"))
    }
}
