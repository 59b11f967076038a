//! Packets that traces show: packets that come, and output where it leaves.

use super::aliases::Aliases;
use super::outbox::Outbox;
use super::shard::Shard;
use super::trace::{SHOWN_BYTES_MAX, Seen, SeenPublish, Watched, Witness};
use crate::base::ids::LinkId;
use crate::base::maps::HashSet;
use crate::base::time::Time;
use crate::mqtt::{Frame, Framed, Packet, PacketType, Sender, next_frame_of};

/// The links of one flush whose output is looked at for traces.
const LINKS_MAX: usize = 256;
/// The bytes of one link's output in one flush that are looked at.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

impl Shard {
    /// Begins a trace, which ends when its witness wants no more; false when there are too many.
    pub fn begin_trace(&mut self, watched: Watched, witness: Witness) -> bool {
        self.traces.begin(watched, witness)
    }

    /// Ends the traces that nobody reads any more.
    pub fn end_unread_traces(&mut self) {
        self.traces.end_unread();
    }

    /// True while somebody watches.
    #[inline]
    #[must_use]
    pub fn is_traced(&self) -> bool {
        !self.traces.is_empty()
    }

    /// Shows a packet that came.
    #[cold]
    pub(super) fn trace_received(&mut self, id: LinkId, frame: &Frame<'_>) {
        let Some(link) = self.clients.known_link(id) else { return };
        let (version, session) = (link.version, link.session());
        let aliases = link.aliases();
        let Ok(mut packet) = Packet::decode(frame, version, Sender::Client) else { return };
        name_topic(&mut packet, |alias| aliases.and_then(|aliases| aliases.topic(alias)));
        let now = self.clients.now;
        match &packet {
            Packet::Publish(publish) => self.traces.note_publish(publish, now),
            // The worker that the connection goes on to sees it again.
            Packet::Connect(it) if self.client_home(it.client_id) != self.index => return,
            _ => {}
        }
        let session = session.map(|session| &self.clients.sessions[session.slot]);
        let (client_id, user) = match (&packet, session) {
            (Packet::Connect(connect), _) => (connect.client_id, connect.user_name),
            (_, Some(session)) => (&*session.client_id, session.user()),
            _ => return,
        };
        let seen = seen(&packet, frame, (now, false, client_id));
        self.traces.show((client_id, user), &packet, seen);
    }

    /// The links with output that somebody may want to see.
    pub fn traced_links(&mut self) -> HashSet<LinkId> {
        let mut found = HashSet::default();
        for id in self.clients.outbox.dirty() {
            let is_watched = self
                .client_of(id)
                .is_some_and(|(client_id, user)| self.traces.watch(&client_id, user.as_deref()));
            if is_watched {
                found.insert(id);
            }
            if found.len() == LINKS_MAX {
                break;
            }
        }
        found
    }

    /// The client and the user of a link.
    fn client_of(&self, id: LinkId) -> Option<(String, Option<String>)> {
        let session = self.clients.known_link(id).and_then(|link| link.session());
        let session = session.and_then(|it| self.clients.sessions.get(it));
        let of_session =
            session.map(|it| (it.client_id.to_string(), it.user().map(ToOwned::to_owned)));
        of_session.or_else(|| self.traces.closing(id))
    }

    /// Remembers whose link it is that is about to be told why it closes.
    #[cold]
    pub(super) fn trace_closing(&mut self, id: LinkId) {
        if let Some((client_id, user)) = self.client_of(id) {
            self.traces.note_closing(id, &client_id, user.as_deref());
        }
    }

    /// Shows output that leaves.
    pub fn trace_sent(&mut self, id: LinkId, bytes: &[u8]) {
        let Some((client_id, user)) = self.client_of(id) else { return };
        let Some(link) = self.clients.known_link(id) else { return };
        let version = link.version;
        let topics = link.aliases().map(Aliases::topics_sent).unwrap_or_default();
        let (client, now) = ((&*client_id, user.as_deref()), self.clients.now);
        let mut at = 0;
        while let Ok(Framed::Whole(frame)) = next_frame_of(&bytes[at..], usize::MAX, Some(version))
        {
            if let Ok(mut packet) = Packet::decode(&frame, version, Sender::Server) {
                name_topic(&mut packet, |alias| topics.get(&alias).copied());
                let seen = seen(&packet, &frame, (now, true, client.0));
                self.traces.show(client, &packet, seen);
            }
            at += frame.length;
        }
    }
}

/// The bytes of a link's output, as many as are looked at.
#[must_use]
pub fn output_bytes(outbox: &Outbox, link: LinkId) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in outbox.segments(link) {
        bytes.extend_from_slice(segment);
        if bytes.len() > OUTPUT_BYTES_MAX {
            bytes.truncate(OUTPUT_BYTES_MAX);
            break;
        }
    }
    bytes
}

/// Gives a PUBLISH that has an alias alone the topic of that alias.
fn name_topic<'a>(packet: &mut Packet<'a>, topic_of: impl Fn(u16) -> Option<&'a str>) {
    if let Packet::Publish(publish) = packet
        && publish.topic.is_empty()
        && let Some(topic) = publish.topic_alias.and_then(topic_of)
    {
        publish.topic = topic;
    }
}

/// The facts of a packet that any trace shows. No payload, password or other secret is among them.
fn seen(packet: &Packet<'_>, frame: &Frame<'_>, about: (Time, bool, &str)) -> Seen {
    let cut = |text: &str| text.chars().take(SHOWN_BYTES_MAX / 4).collect::<String>();
    let (mut packet_id, mut codes, mut topics, mut publish) = (None, Vec::new(), Vec::new(), None);
    match packet {
        Packet::Publish(it) => {
            packet_id = (it.packet_id > 0).then_some(it.packet_id);
            topics.push(cut(it.topic));
            publish = Some(SeenPublish {
                qos: it.qos as u8,
                retain: it.retain,
                dup: it.dup,
                alias: it.topic_alias,
                payload_bytes: it.payload.len(),
                payload: None,
            });
        }
        Packet::Ack(it) => {
            packet_id = Some(it.packet_id);
            codes.push(it.code as u8);
        }
        Packet::Subscribe(it) => {
            packet_id = Some(it.packet_id);
            topics.extend(it.filters.iter().take(8).map(|filter| cut(filter.filter)));
        }
        Packet::Unsubscribe(it) => {
            packet_id = Some(it.packet_id);
            topics.extend(it.filters.iter().take(8).map(|filter| cut(filter)));
        }
        Packet::SubAck(it) => {
            packet_id = Some(it.packet_id);
            codes.extend(it.codes.iter().take(8));
        }
        Packet::UnsubAck(it) => {
            packet_id = Some(it.packet_id);
            codes.extend(it.codes.iter().take(8));
        }
        Packet::ConnAck(it) => codes.push(it.code as u8),
        Packet::Disconnect(it) => codes.push(it.code as u8),
        Packet::Auth(it) => codes.push(it.code as u8),
        Packet::Connect(_) | Packet::PingReq | Packet::PingResp => {}
    }
    let (at, is_sent, client_id) = about;
    Seen {
        at,
        is_sent,
        client_id: client_id.to_owned(),
        kind: frame.kind().unwrap_or(PacketType::Connect),
        bytes: frame.length,
        packet_id,
        codes,
        topics,
        publish,
        delay: None,
    }
}
