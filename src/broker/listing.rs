//! The clients of this worker as an operator sees them: a page at a time, in one bounded piece of
//! work.

use super::clients::Clients;
use super::delivery::Delivery;
use super::session::Session;
use super::shard::Shard;
use crate::base::ids::{LinkId, ListenerId, SessionId};
use crate::base::time::Time;
use crate::metrics::{Departed, Dropped};
use crate::mqtt::Version;
use crate::topics::{Matches, Subscriber};
use std::net::SocketAddr;
use std::time::Duration;

/// The sessions that one page looks at, whatever the number that it shows.
pub(super) const LOOKS_MAX: usize = 1024;

/// The clients that an operator asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientsQuery {
    /// The place behind the last page; 0 for the first one.
    pub from: u32,
    /// The beginning of the client identifier.
    pub prefix: String,
    /// The user's name.
    pub user: Option<String>,
    /// Whether the client is connected.
    pub is_connected: Option<bool>,
    /// Only clients for which messages wait, or whose socket has not taken all.
    pub is_waiting: bool,
}

/// Some clients of a worker.
#[derive(Debug, Clone, Default)]
pub struct ClientsPage {
    /// The clients that match, in the order of their places.
    pub rows: Vec<ClientRow>,
    /// The place from which to go on; None at the end.
    pub next: Option<u32>,
}

/// One client, or the session of one that is away.
#[derive(Debug, Clone)]
pub struct ClientRow {
    /// The client's place in the worker's table: [`ClientsQuery::from`] begins with it.
    pub slot: u32,
    /// The client identifier.
    pub client_id: String,
    /// The verified name of the client's user.
    pub user: Option<String>,
    /// The listener by which the client came last.
    pub listener: ListenerId,
    /// The present connection.
    pub connection: Option<ConnectionRow>,
    /// Seconds for which the session outlives a connection; `u32::MAX` is for ever.
    pub expiry_s: u32,
    /// Subscriptions, shared ones included.
    pub subscriptions: usize,
    /// Messages that wait for the client.
    pub queued_messages: usize,
    /// Bytes of them.
    pub queued_bytes: usize,
    /// Messages that were sent and not acknowledged.
    pub inflight_messages: usize,
    /// Bytes of memory of the session and the connection, with the messages that wait.
    pub memory: usize,
    /// The time since the oldest message came that waits for the client, or for its
    /// acknowledgement.
    pub oldest: Option<Duration>,
    /// The messages that did not reach the client, in the order of
    /// [`Dropped`](crate::metrics::Dropped).
    pub drops: [u64; Dropped::COUNT],
    /// The reason for which the last connection ended, while there is none.
    pub departed: Option<Departed>,
}

/// The connection of a client.
#[derive(Debug, Clone)]
pub struct ConnectionRow {
    /// The address of the client; None by a Unix socket.
    pub address: Option<SocketAddr>,
    /// The version of the protocol.
    pub version: Version,
    /// The keep-alive period in seconds; 0 is none.
    pub keep_alive_s: u16,
    /// The time since something last came from the client.
    pub silent_for: Duration,
    /// The socket has not taken all that was sent.
    pub is_blocked: bool,
    /// The link, for the driver to look at the socket.
    pub link: LinkId,
    /// The time since the client was let in.
    pub connected_for: Duration,
    /// The packets that came from the client.
    pub packets_received: u64,
    /// The PUBLISH packets that were sent to the client.
    pub messages_sent: u64,
    /// The time from a message's receipt until the client acknowledged it: the mean of late, and
    /// the greatest; None before the first one.
    pub acknowledged: Option<(Duration, Duration)>,
}

/// A message on its way to a client.
#[derive(Debug, Clone)]
pub struct WaitingRow {
    /// The packet identifier, once there is one.
    pub packet_id: Option<u16>,
    /// The topic; None for a message that has arrived and whose PUBREL or PUBCOMP is awaited.
    pub topic: Option<String>,
    /// The bytes of the payload.
    pub bytes: usize,
    /// The QoS.
    pub qos: u8,
    /// The time since the message came.
    pub age: Duration,
}

/// One client with what it has subscribed to.
#[derive(Debug, Clone)]
pub struct ClientDetails {
    /// The client.
    pub row: ClientRow,
    /// The filters of its subscriptions, with their QoS; at most [`FILTERS_MAX`].
    pub filters: Vec<(String, u8)>,
    /// The first messages in flight, at most [`WAITING_MAX`].
    pub inflight: Vec<WaitingRow>,
    /// The first messages that wait, at most [`WAITING_MAX`].
    pub queued: Vec<WaitingRow>,
}

/// The messages that are shown of those on their way to one client.
pub const WAITING_MAX: usize = 100;

/// The filters that are shown of one client.
pub const FILTERS_MAX: usize = 1000;

/// A client that gets what is published to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The client identifier.
    pub client_id: String,
    /// The filter that matches.
    pub filter: String,
    /// The QoS that was granted.
    pub qos: u8,
}

/// The subscriptions that an operator asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// Subscriptions that match this topic.
    Topic(String),
    /// Subscriptions to this very filter, a shared one with its share name.
    Filter(String),
}

/// The clients of one worker with such subscriptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipients {
    /// The first of them, at most [`RECIPIENTS_MAX`].
    pub rows: Vec<Recipient>,
    /// How many there are, once for each subscription.
    pub count: usize,
}

/// The recipients that one answer has.
pub const RECIPIENTS_MAX: usize = 1000;

impl Shard {
    /// The next clients that match.
    #[must_use]
    pub fn clients_page(&mut self, query: &ClientsQuery) -> ClientsPage {
        let mut page = ClientsPage::default();
        let end = self.clients.routes.len() as u32;
        let until = query.from.saturating_add(LOOKS_MAX as u32).min(end);
        self.clients.outbox.purse().spend_at_once(until.saturating_sub(query.from) as usize);
        for slot in query.from..until {
            let Some(id) = self.clients.sessions.id_at(slot) else { continue };
            let session = &self.clients.sessions[slot];
            let is_asked = !query.is_waiting || self.clients.is_waiting(session);
            if is_asked && self.clients.has_session(id) && query.matches(session) {
                page.rows.push(self.clients.row(id));
            }
        }
        page.next = (until < end).then_some(until);
        page
    }

    /// A client of this worker, if it has a session.
    #[must_use]
    pub fn client_details(&mut self, client_id: &str) -> Option<ClientDetails> {
        let id = self.clients.find_session(client_id)?;
        let row = self.clients.row(id);
        let places = self.clients.sessions[id.slot].subscriptions.iter().take(FILTERS_MAX);
        let filters: Vec<_> = places
            .filter_map(|place| {
                let subscriber = self.subscriptions.subscriber(id.slot, place)?;
                let qos = subscriber.options.qos as u8;
                Some((self.subscriptions.filter(place).to_string(), qos))
            })
            .collect();
        let session = &self.clients.sessions[id.slot];
        let now = self.clients.now;
        let entries = session.in_flight.iter().take(WAITING_MAX);
        let inflight: Vec<_> = entries
            .map(|entry| match entry.delivery() {
                Some(delivery) => WaitingRow::new(delivery, Some(entry.packet_id), now),
                None => WaitingRow::released(entry.packet_id),
            })
            .collect();
        let queued = session.queued().take(WAITING_MAX);
        let queued: Vec<_> = queued.map(|queued| WaitingRow::new(queued, None, now)).collect();
        let shown = filters.len() + inflight.len() + queued.len();
        self.clients.outbox.purse().spend_at_once(LOOKS_MAX.min(shown));
        Some(ClientDetails { row, filters, inflight, queued })
    }

    /// The clients of this worker with subscriptions that are sought, groups with all members.
    #[must_use]
    pub fn recipients(&mut self, sought: &Sought) -> Recipients {
        let mut all = Recipients::default();
        let mut matches = Matches::default();
        match sought {
            Sought::Topic(topic) => self.subscriptions.matching(topic, &mut matches),
            Sought::Filter(filter) => self.subscriptions.exactly(filter, &mut matches),
        }
        for &node in &matches.nodes {
            let filter = self.subscriptions.filter_of(node);
            self.clients.add_recipients(&filter, self.subscriptions.subscribers(node), &mut all);
        }
        for &group in &matches.groups {
            let group = self.subscriptions.group(group);
            self.clients.add_recipients(&group.filter, group.members.as_slice(), &mut all);
        }
        self.clients.outbox.purse().spend_at_once(all.rows.len() + matches.visits);
        all
    }
}

impl WaitingRow {
    fn new(delivery: &Delivery, packet_id: Option<u16>, now: Time) -> Self {
        Self {
            packet_id,
            topic: Some(delivery.message.topic().to_owned()),
            bytes: delivery.message.payload().len(),
            qos: delivery.qos as u8,
            age: now.since(delivery.message.received),
        }
    }

    const fn released(packet_id: u16) -> Self {
        let packet_id = Some(packet_id);
        Self { packet_id, topic: None, bytes: 0, qos: 2, age: Duration::ZERO }
    }
}

impl ClientsQuery {
    fn matches(&self, session: &Session) -> bool {
        session.client_id.starts_with(&self.prefix)
            && self.user.as_deref().is_none_or(|user| session.user() == Some(user))
            && self.is_connected.is_none_or(|wanted| session.link.is_some() == wanted)
    }
}

impl Clients {
    fn is_waiting(&self, session: &Session) -> bool {
        let link = session.link.and_then(|link| self.known_link(link));
        let link_waits = link.is_some_and(|it| it.blocked.socket || it.backlog_size().0 > 0);
        link_waits || session.queued_size().0 > 0
    }

    fn row(&self, id: SessionId) -> ClientRow {
        let session = &self.sessions[id.slot];
        let link = session.link.and_then(|link| self.links.get(link.slot as usize)?.as_deref());
        let queued_bytes = session.queue_bytes();
        let (waiting_messages, waiting_bytes) = link.map_or((0, 0), |link| link.backlog_size());
        ClientRow {
            slot: id.slot,
            client_id: session.client_id.to_string(),
            user: session.user().map(ToOwned::to_owned),
            listener: session.listener,
            connection: link.map(|link| ConnectionRow {
                address: link.origin.peer,
                version: link.version,
                keep_alive_s: link.keep_alive_s,
                silent_for: self.now.since(link.heard),
                is_blocked: link.blocked.socket,
                link: link.id,
                connected_for: self.now.since(link.awaited),
                packets_received: link.packets_received,
                messages_sent: self.outbox.messages(link.id),
                acknowledged: link.acknowledged.shown(),
            }),
            expiry_s: session.expiry_s,
            subscriptions: session.subscriptions.len(),
            queued_messages: session.waiting_len() + waiting_messages,
            queued_bytes: queued_bytes + waiting_bytes,
            inflight_messages: session.in_flight.sent_len() as usize,
            memory: session.memory()
                + link.map_or(0, |link| link.memory())
                + queued_bytes
                + waiting_bytes,
            oldest: session.oldest().map(|received| self.now.since(received)),
            drops: session.drops(),
            departed: session.departed,
        }
    }

    fn add_recipients(&self, filter: &str, subscribers: &[Subscriber], all: &mut Recipients) {
        all.count += subscribers.len();
        let room = RECIPIENTS_MAX - all.rows.len();
        let living = subscribers.iter().filter(|s| !self.sessions[s.session].is_over);
        all.rows.extend(living.take(room).map(|subscriber| Recipient {
            client_id: self.sessions[subscriber.session].client_id.to_string(),
            filter: filter.to_owned(),
            qos: subscriber.options.qos as u8,
        }));
    }
}
