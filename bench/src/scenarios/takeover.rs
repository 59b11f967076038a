//! Clients that connect again under the identifier of a connection that is still open.

use super::churn::{Done, ShareOfClients};
use crate::clock::now_ns;
use crate::failure::Result;
use crate::handshake::{Opened, start};
use crate::link::{End, Link};
use crate::poller::{Readiness, Ready};
use crate::tally::new_histogram;
use crate::wire::raw_frame;
use hdrhistogram::Histogram;
use ringmq_mqtt::PacketType;
use std::ops::Range;

const READ_BYTES: usize = 4 * 1024;

/// The time that the broker may take to close a replaced connection.
const PATIENCE_NS: u64 = 5_000_000_000;

/// One thread's clients.
pub(crate) struct Takeovers {
    share: ShareOfClients,
    sessions: Vec<Session>,
    /// Connections by token; none where a token is free.
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// The client whose turn is next.
    turn: usize,
    /// Takeovers that wait for CONNACK.
    pending: usize,
    /// Connections that were replaced and that the broker has not closed.
    replaced: usize,
    times: Histogram<u64>,
    faults: u64,
}

/// A client's session.
struct Session {
    /// The token of the connection that has it.
    current: Option<usize>,
    /// Whether another connection is about to take it over.
    is_pending: bool,
}

struct Connection {
    link: Link,
    client: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The connection waits for CONNACK since then.
    Connecting(u64),
    /// The connection has the client's session.
    Current,
    /// The broker is to close the connection.
    Replaced,
}

impl Takeovers {
    pub(crate) fn new(mut share: ShareOfClients) -> Self {
        let opened = std::mem::take(&mut share.opened);
        let connection = |(client, opened): (usize, Opened)| {
            Some(Connection { link: opened.link, client, state: State::Current })
        };
        let session = |token| Session { current: Some(token), is_pending: false };
        let sessions = (0..opened.len()).map(session).collect();
        let connections = opened.into_iter().enumerate().map(connection).collect();
        Self {
            share,
            sessions,
            connections,
            free: Vec::new(),
            turn: 0,
            pending: 0,
            replaced: 0,
            times: new_histogram(),
            faults: 0,
        }
    }

    /// Keeps the window full until the end of the measurement; then all that was replaced must
    /// be closed soon.
    pub(crate) fn run(mut self, measured: Range<u64>) -> Result<Done> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let now_ns = now_ns();
            let is_open = now_ns < measured.end;
            let is_late = now_ns > measured.end + PATIENCE_NS;
            if !is_open && (self.pending + self.replaced == 0 || is_late) {
                break;
            }
            while is_open && self.pending < self.share.window.min(self.share.clients.len()) {
                self.take_over_next()?;
            }
            for index in 0..self.share.poller.wait(PATIENCE_NS / 10)? {
                if let Ready::Socket { token, readiness } = self.share.poller.ready(index) {
                    self.on_ready(token, readiness, &mut buffer, &measured);
                }
            }
        }
        let faults = self.faults + (self.pending + self.replaced) as u64;
        Ok(Done { times: self.times, faults })
    }

    fn take_over_next(&mut self) -> Result<()> {
        // There is one: fewer are pending than there are clients.
        while self.sessions[self.turn].is_pending {
            self.turn = (self.turn + 1) % self.sessions.len();
        }
        let client = self.turn;
        self.sessions[client].is_pending = true;
        let link = start(&self.share.endpoint, &self.share.clients[client])?;
        let token = self.free.pop().unwrap_or(self.connections.len());
        if token == self.connections.len() {
            self.connections.push(None);
        }
        self.share.poller.add(&link.socket, token)?;
        let state = State::Connecting(now_ns());
        self.connections[token] = Some(Connection { link, client, state });
        self.pending += 1;
        Ok(())
    }

    fn on_ready(
        &mut self,
        token: usize,
        readiness: Readiness,
        buffer: &mut [u8],
        measured: &Range<u64>,
    ) {
        // Otherwise it is an event of the connection that had the token before.
        let Some(connection) = &mut self.connections[token] else { return };
        let mut is_accepted = false;
        let end = connection.link.read(readiness, buffer, |bytes, _| {
            let mut used = 0;
            while let Some(frame) = raw_frame(&bytes[used..]) {
                used += frame.length;
                let is_connack = frame.first == PacketType::ConnAck.first_byte();
                is_accepted |= is_connack && frame.body.get(1) == Some(&0);
            }
            Some(used)
        });
        connection.link.flush();
        if is_accepted && let State::Connecting(start_ns) = connection.state {
            connection.state = State::Current;
            let client = connection.client;
            self.replace(token, client);
            let now_ns = now_ns();
            if measured.contains(&now_ns) {
                self.times.saturating_record(now_ns - start_ns);
            }
        }
        if end == End::Closed {
            self.on_closed(token);
        }
    }

    /// The connection with `token` has the session of `client` now.
    fn replace(&mut self, token: usize, client: usize) {
        self.pending -= 1;
        let session = &mut self.sessions[client];
        session.is_pending = false;
        let Some(old) = session.current.replace(token) else { return };
        if let Some(connection) = &mut self.connections[old] {
            connection.state = State::Replaced;
            self.replaced += 1;
        }
    }

    fn on_closed(&mut self, token: usize) {
        let Some(connection) = self.connections[token].take() else { return };
        self.free.push(token);
        let session = &mut self.sessions[connection.client];
        match connection.state {
            State::Replaced => self.replaced -= 1,
            State::Current => {
                session.current = None;
                // It may go before the new one has its answer, but not without one.
                self.faults += u64::from(!session.is_pending);
            }
            State::Connecting(_) => {
                session.is_pending = false;
                self.pending -= 1;
                self.faults += 1;
            }
        }
    }
}
