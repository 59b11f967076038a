//! The packets of one connection between two brokers, from one to the other.

use super::rules::Rules;
use crate::mqtt::{
    Ack, AckType, ConnAck, Connect, Disconnect, Frame, Framed, Packet, PacketType, ProtocolError,
    Publish, QoS, ReasonCode, RetainHandling, Sender, SubAck, Subscribe, SubscribeFilter,
    SubscriptionOptions, Version, Will, next_frame_of,
};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;

/// The filters that one SUBSCRIBE asks for.
const FILTERS_MAX: usize = 20;
/// The packet identifiers that were seen, as bits: 8 KiB.
const WORDS: usize = 65_536 / 64;

/// How a bridge introduces itself to both sides.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The version of MQTT, the same on both sides.
    pub(crate) version: Version,
    /// The rules of the bridge.
    pub(crate) rules: Arc<Rules>,
    /// The client identifier there.
    pub(crate) client_id: String,
    /// The client identifier here.
    pub(crate) local_client_id: String,
    /// The user name there.
    pub(crate) user: Option<String>,
    /// The password there.
    pub(crate) password: Option<String>,
    /// The keep-alive period there in seconds.
    pub(crate) keep_alive_s: u16,
    /// Whether the other broker begins anew.
    pub(crate) clean_session: bool,
    /// Whether this broker begins anew.
    pub(crate) local_clean_session: bool,
    /// Whether MQTT 3 is asked for what bridges need.
    pub(crate) is_private: bool,
    /// The topic of the bridge's state; None for no such messages.
    pub(crate) state_topic: Option<String>,
    /// Whether only this broker is told the state.
    pub(crate) is_state_local: bool,
    /// The most bytes of a packet for the other broker; None for as many as it says.
    pub(crate) packet_bytes_max: Option<u32>,
    /// Whether messages keep their RETAIN flag on their way out.
    pub(crate) keeps_retain: bool,
    /// The number of QoS 1 and 2 messages that may be on their way in at a time.
    pub(crate) receive_maximum: u16,
    /// The most bytes of a packet that this broker takes.
    pub(crate) local_bytes_max: u32,
}

impl Terms {
    /// The most bytes of a packet from the other broker, so that this one takes it with the topic
    /// that it has here.
    fn remote_bytes_max(&self) -> u32 {
        let growth = u32::try_from(self.rules.growth_max().1).unwrap_or(u32::MAX);
        self.local_bytes_max.saturating_sub(growth).max(1)
    }
}

/// The bytes for both sides.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// The bytes for the other broker.
    pub(crate) remote: Vec<u8>,
    /// The bytes for this broker.
    pub(crate) local: Vec<u8>,
}

/// The course of a connection, as far as others are to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// The other broker has let the bridge in.
    Connected,
    /// A broker refuses a subscription: the filter, the side, and the reason code.
    Denied(String, &'static str, u8),
    /// A message is not carried, for this reason; its topic.
    Dropped(&'static str, String),
}

/// The messages of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Carried {
    /// The messages that came in.
    pub(crate) inward: u64,
    /// The messages that went out.
    pub(crate) outward: u64,
}

impl Carried {
    /// The sum of both.
    #[must_use]
    pub(crate) const fn and(self, other: Self) -> Self {
        Self { inward: self.inward + other.inward, outward: self.outward + other.outward }
    }
}

/// The reason for which a connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The other broker refuses this version of MQTT, as bridges speak it.
    Version,
    /// A broker refuses the bridge: whose words these are, and the reason.
    Refused(&'static str, ReasonCode, String),
    /// A broker ends the connection.
    Disconnected(&'static str, ReasonCode),
    /// A broker breaks the protocol.
    Protocol(&'static str, ProtocolError),
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => formatter.write_str("the other broker does not speak this version"),
            Self::Refused(side, code, reason) if reason.is_empty() => {
                write!(formatter, "{side} refuses the bridge: {code}")
            }
            Self::Refused(side, code, reason) => {
                write!(formatter, "{side} refuses the bridge: {code}: {reason}")
            }
            Self::Disconnected(side, code) => write!(formatter, "{side} disconnects: {code}"),
            Self::Protocol(side, error) => write!(formatter, "{side} sends what is wrong: {error}"),
        }
    }
}

const REMOTE: &str = "the other broker";
const LOCAL: &str = "this broker";

/// The packets by which a bridge's session begins here before there is a connection, so that
/// messages wait for the first one; nothing retained is sent for them.
#[must_use]
pub(crate) fn preparation(terms: &Terms) -> Vec<u8> {
    let mut out = Vec::new();
    let connect = Connect {
        clean_start: false,
        session_expiry_s: u32::MAX,
        receive_maximum: 1,
        ..Connect::new(Version::V5, &terms.local_client_id)
    };
    connect.encode(&mut out);
    let filters: Vec<(&str, u8)> = terms.rules.local_filters().collect();
    subscribe(Version::V5, &filters, (2, RetainHandling::DoNotSend), &mut out);
    if let Some(topic) = &terms.state_topic {
        let is = Publish { topic, payload: b"0", retain: true, ..Publish::default() };
        is.encode(Version::V5, &mut out);
    }
    Disconnect::default().encode(Version::V5, &mut out);
    out
}

/// One connection between two brokers.
#[derive(Debug)]
pub(crate) struct Translator {
    terms: Terms,
    from_remote: Vec<u8>,
    from_local: Vec<u8>,
    is_connected: bool,
    /// The most bytes of a packet from the other broker.
    remote_bytes_max: u32,
    /// The other broker keeps what it is asked to retain.
    may_retain: bool,
    /// The filters of the SUBSCRIBE packets that are not answered: there, and here.
    asked: [Vec<(u16, Vec<String>)>; 2],
    /// The identifiers of the other broker's QoS 2 messages that this connection has begun with.
    begun: Box<[u64; WORDS]>,
    /// The identifier that is being freed here, before the other broker's next packet goes on.
    freed: Option<u16>,
    carried: Carried,
    news: Vec<News>,
}

impl Translator {
    /// The translator of a connection that is open; its first bytes are in `output`.
    pub(crate) fn open(terms: Terms, output: &mut Output) -> Self {
        let remote_bytes_max = terms.remote_bytes_max();
        let connect = Connect {
            is_bridge: terms.is_private && !terms.version.is_v5(),
            clean_start: terms.clean_session,
            keep_alive_s: terms.keep_alive_s,
            user_name: terms.user.as_deref(),
            password: terms.password.as_deref().map(str::as_bytes),
            will: terms.state_topic.as_deref().filter(|_| !terms.is_state_local).map(state_will),
            session_expiry_s: expiry_s(terms.clean_session),
            receive_maximum: terms.receive_maximum,
            packet_bytes_max: Some(remote_bytes_max),
            ..Connect::new(terms.version, &terms.client_id)
        };
        connect.encode(&mut output.remote);
        Self {
            terms,
            from_remote: Vec::new(),
            from_local: Vec::new(),
            is_connected: false,
            remote_bytes_max,
            may_retain: true,
            asked: [Vec::new(), Vec::new()],
            begun: Box::new([0; WORDS]),
            freed: None,
            carried: Carried::default(),
            news: Vec::new(),
        }
    }

    /// True once the other broker has let the bridge in.
    #[must_use]
    pub(crate) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The messages so far.
    #[must_use]
    pub(crate) const fn carried(&self) -> Carried {
        self.carried
    }

    /// The keep-alive period in seconds that the other broker goes by; 0 is none.
    #[must_use]
    pub(crate) const fn keep_alive_s(&self) -> u16 {
        self.terms.keep_alive_s
    }

    /// Takes what there is to tell.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// True while the other broker's packets wait for this one: more of them need not be read.
    #[must_use]
    pub(crate) const fn is_held(&self) -> bool {
        self.freed.is_some()
    }

    /// Takes bytes of the other broker, cut anywhere.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub(crate) fn remote(&mut self, bytes: &[u8], output: &mut Output) -> Result<(), Ended> {
        let mut held = std::mem::take(&mut self.from_remote);
        held.extend_from_slice(bytes);
        let version = self.terms.version;
        let most = self.remote_bytes_max as usize;
        let used = each(&held, (version, most), |frame, bytes| match self.is_held() {
            true => Ok(Flow::Held),
            false => self.remote_packet(frame, bytes, output),
        });
        held.drain(..used.map_err(|error| error.on(REMOTE))?);
        self.from_remote = held;
        Ok(())
    }

    /// Takes bytes of this broker, cut anywhere.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub(crate) fn local(&mut self, bytes: &[u8], output: &mut Output) -> Result<(), Ended> {
        let mut held = std::mem::take(&mut self.from_local);
        held.extend_from_slice(bytes);
        let version = self.terms.version;
        let was_held = self.is_held();
        let used = each(&held, (version, usize::MAX), |frame, bytes| {
            self.local_packet(frame, bytes, output).map(|()| Flow::Done)
        });
        held.drain(..used.map_err(|error| error.on(LOCAL))?);
        self.from_local = held;
        // What waited goes on.
        if was_held && !self.is_held() { self.remote(&[], output) } else { Ok(()) }
    }

    fn remote_packet(
        &mut self,
        frame: &Frame<'_>,
        bytes: &[u8],
        output: &mut Output,
    ) -> Result<Flow, Fault> {
        let version = self.terms.version;
        match frame.kind() {
            Some(PacketType::ConnAck) if !self.is_connected => {
                let connack = ConnAck::decode(frame, version)?;
                self.greeted(&connack, output)?;
            }
            _ if !self.is_connected => {
                return Err(ProtocolError::protocol("a packet before CONNACK").into());
            }
            Some(PacketType::Publish) => return self.remote_publish(frame, output),
            Some(
                PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp,
            ) => output.local.extend_from_slice(bytes),
            Some(PacketType::SubAck) => self.subscribed(0, frame)?,
            Some(PacketType::UnsubAck | PacketType::PingResp) => {}
            Some(PacketType::Disconnect) => {
                let disconnect = Disconnect::decode(frame, version, Sender::Server)?;
                return Err(Fault::Ended(Ended::Disconnected(REMOTE, disconnect.code)));
            }
            _ => return Err(ProtocolError::protocol("a packet that no server sends").into()),
        }
        Ok(Flow::Done)
    }

    /// The other broker answers CONNECT: when it lets the bridge in, both sides are asked for what
    /// is to be carried.
    fn greeted(&mut self, connack: &ConnAck<'_>, output: &mut Output) -> Result<(), Fault> {
        match connack.code {
            ReasonCode::Success => {}
            ReasonCode::UnsupportedProtocolVersion => return Err(Fault::Ended(Ended::Version)),
            _ => return Err(Fault::refused(REMOTE, connack)),
        }
        self.is_connected = true;
        self.may_retain = connack.retain_available != Some(false);
        self.terms.keep_alive_s = connack.server_keep_alive_s.unwrap_or(self.terms.keep_alive_s);
        self.news.push(News::Connected);
        let rules = Arc::clone(&self.terms.rules);
        let if_new = RetainHandling::SendIfNew;
        let filters: Vec<(&str, u8)> = rules.remote_filters().collect();
        self.asked[0] = subscribe(self.terms.version, &filters, (2, if_new), &mut output.remote);
        let qos_max = connack.maximum_qos.unwrap_or(2);
        let filters: Vec<(&str, u8)> = rules.local_filters().collect();
        let state = self.terms.state_topic.clone();
        let local = Connect {
            is_bridge: !self.terms.version.is_v5(),
            clean_start: self.terms.local_clean_session,
            will: state.as_deref().map(state_will),
            session_expiry_s: expiry_s(self.terms.local_clean_session),
            receive_maximum: connack.receive_maximum.unwrap_or(u16::MAX),
            packet_bytes_max: self.local_bytes_max(connack),
            ..Connect::new(self.terms.version, &self.terms.local_client_id)
        };
        local.encode(&mut output.local);
        self.asked[1] =
            subscribe(self.terms.version, &filters, (qos_max, if_new), &mut output.local);
        if let Some(topic) = &state {
            let version = self.terms.version;
            let is = Publish { topic, payload: b"1", retain: true, ..Publish::default() };
            is.encode(version, &mut output.local);
            if !self.terms.is_state_local {
                Publish { retain: self.may_retain, ..is }.encode(version, &mut output.remote);
            }
        }
        Ok(())
    }

    /// The largest packet that may come from this broker, so that the other one takes it with the
    /// topic that it has there.
    fn local_bytes_max(&self, connack: &ConnAck<'_>) -> Option<u32> {
        let most = [self.terms.packet_bytes_max, connack.packet_bytes_max];
        let most = most.into_iter().flatten().min()?;
        let growth = u32::try_from(self.terms.rules.growth_max().0).unwrap_or(u32::MAX);
        Some(most.saturating_sub(growth).max(1))
    }

    /// Publishes here what the other broker delivers. The identifier of a new QoS 2 message is
    /// freed before, the first time that the connection has it: an exchange which the other broker
    /// has forgotten may have had the same, and this one would be taken for its repetition. The
    /// packet stays until this broker has answered, since it takes no identifier again before.
    fn remote_publish(&mut self, frame: &Frame<'_>, output: &mut Output) -> Result<Flow, Fault> {
        let version = self.terms.version;
        let mut publish = Publish::decode(frame, version, Sender::Server)?;
        let is_new = publish.qos == QoS::ExactlyOnce && !publish.dup;
        if is_new && self.is_first(publish.packet_id) {
            let pubrel = Ack::new(AckType::PubRel, publish.packet_id, ReasonCode::Success);
            pubrel.encode(version, &mut output.local);
            self.freed = Some(publish.packet_id);
            return Ok(Flow::Held);
        }
        publish.subscription_ids = SmallVec::new();
        let topic = self.terms.rules.inward(publish.topic);
        let fits = |topic: &String| Publish { topic, ..publish.clone() }.is_encodable(version);
        let Some(topic) = topic.filter(fits) else {
            self.news.push(News::Dropped("no rule lets it in", publish.topic.to_owned()));
            acknowledge(&publish, version, &mut output.remote);
            return Ok(Flow::Done);
        };
        self.carried.inward += 1;
        Publish { topic: &topic, ..publish }.encode(version, &mut output.local);
        Ok(Flow::Done)
    }

    /// True for the first QoS 2 message with this identifier on the connection.
    fn is_first(&mut self, packet_id: u16) -> bool {
        let (word, bit) = (usize::from(packet_id) / 64, 1 << (packet_id % 64));
        let is_first = self.begun[word] & bit == 0;
        self.begun[word] |= bit;
        is_first
    }

    fn local_packet(
        &mut self,
        frame: &Frame<'_>,
        bytes: &[u8],
        output: &mut Output,
    ) -> Result<(), Fault> {
        let version = self.terms.version;
        match frame.kind() {
            Some(PacketType::Publish) => self.local_publish(frame, output),
            Some(PacketType::PubComp) if self.swallows(frame)? => Ok(()),
            Some(
                PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp,
            ) => {
                output.remote.extend_from_slice(bytes);
                Ok(())
            }
            Some(PacketType::ConnAck) => {
                let connack = ConnAck::decode(frame, version)?;
                match connack.code {
                    ReasonCode::Success => Ok(()),
                    _ => Err(Fault::refused(LOCAL, &connack)),
                }
            }
            Some(PacketType::SubAck) => self.subscribed(1, frame),
            Some(PacketType::Disconnect) => {
                let disconnect = Disconnect::decode(frame, version, Sender::Server)?;
                Err(Fault::Ended(Ended::Disconnected(LOCAL, disconnect.code)))
            }
            _ => Ok(()),
        }
    }

    /// True when a PUBCOMP answers the PUBREL of the bridge's own.
    fn swallows(&mut self, frame: &Frame<'_>) -> Result<bool, ProtocolError> {
        let Some(freed) = self.freed else { return Ok(false) };
        let is_it = Ack::decode(frame, self.terms.version)?.packet_id == freed;
        if is_it {
            self.freed = None;
        }
        Ok(is_it)
    }

    /// Publishes there what this broker delivers.
    fn local_publish(&mut self, frame: &Frame<'_>, output: &mut Output) -> Result<(), Fault> {
        let version = self.terms.version;
        let mut publish = Publish::decode(frame, version, Sender::Server)?;
        publish.subscription_ids = SmallVec::new();
        publish.retain &= self.terms.keeps_retain && self.may_retain;
        let topic = self.terms.rules.outward(publish.topic);
        let fits = |topic: &String| {
            let publish = Publish { topic, ..publish.clone() };
            publish.is_encodable(version) && self.takes(&publish)
        };
        let Some(topic) = topic.filter(fits) else {
            self.news.push(News::Dropped(
                "no rule lets it out, or it is too large",
                publish.topic.to_owned(),
            ));
            acknowledge(&publish, version, &mut output.local);
            return Ok(());
        };
        self.carried.outward += 1;
        Publish { topic: &topic, ..publish }.encode(version, &mut output.remote);
        Ok(())
    }

    /// True unless the packet is larger than the bridge may send.
    fn takes(&self, publish: &Publish<'_>) -> bool {
        let most = self.terms.packet_bytes_max.map_or(usize::MAX, |most| most as usize);
        publish.encoded_length(self.terms.version) <= most
    }

    /// A broker answers a SUBSCRIBE.
    fn subscribed(&mut self, side: usize, frame: &Frame<'_>) -> Result<(), Fault> {
        let suback = SubAck::decode(frame, self.terms.version)?;
        let place = self.asked[side].iter().position(|(id, _)| *id == suback.packet_id);
        let Some((_, filters)) = place.map(|place| self.asked[side].remove(place)) else {
            return Ok(());
        };
        for (filter, code) in filters.into_iter().zip(suback.codes) {
            if *code >= 0x80 {
                self.news.push(News::Denied(filter, [REMOTE, LOCAL][side], *code));
            }
        }
        Ok(())
    }
}

/// The reason for which a packet stops the translation.
enum Fault {
    Ended(Ended),
    Wrong(ProtocolError),
}

impl Fault {
    /// The answer to CONNECT that lets the bridge not in.
    fn refused(side: &'static str, connack: &ConnAck<'_>) -> Self {
        let reason = connack.reason.unwrap_or_default().to_owned();
        Self::Ended(Ended::Refused(side, connack.code, reason))
    }

    fn on(self, side: &'static str) -> Ended {
        match self {
            Self::Ended(ended) => ended,
            Self::Wrong(error) => Ended::Protocol(side, error),
        }
    }
}

impl From<ProtocolError> for Fault {
    fn from(error: ProtocolError) -> Self {
        Self::Wrong(error)
    }
}

/// The way of a packet.
enum Flow {
    /// The packet is done with.
    Done,
    /// The packet stays, and so do those behind it.
    Held,
}

/// Hands over each whole packet of at most so many bytes, with its bytes; returns the bytes that
/// are done.
fn each(
    bytes: &[u8],
    (version, packet_bytes_max): (Version, usize),
    mut handle: impl FnMut(&Frame<'_>, &[u8]) -> Result<Flow, Fault>,
) -> Result<usize, Fault> {
    let mut at = 0;
    while let Framed::Whole(frame) = next_frame_of(&bytes[at..], packet_bytes_max, Some(version))? {
        match handle(&frame, &bytes[at..at + frame.length])? {
            Flow::Done => at += frame.length,
            Flow::Held => break,
        }
    }
    Ok(at)
}

/// Asks a broker for filters; their packet identifiers count down from the highest, which
/// deliveries rarely reach.
fn subscribe(
    version: Version,
    filters: &[(&str, u8)],
    (qos_max, retain_handling): (u8, RetainHandling),
    out: &mut Vec<u8>,
) -> Vec<(u16, Vec<String>)> {
    let mut asked = Vec::new();
    for (packet_id, filters) in (1..=u16::MAX).rev().zip(filters.chunks(FILTERS_MAX)) {
        let one = |&(filter, qos): &(_, u8)| {
            let qos = QoS::from_bits(qos.min(qos_max)).unwrap_or_default();
            let options = SubscriptionOptions {
                qos,
                no_local: true,
                retain_as_published: true,
                retain_handling,
            };
            SubscribeFilter { filter, options }
        };
        let subscribe = Subscribe {
            packet_id,
            filters: filters.iter().map(one).collect(),
            ..Subscribe::default()
        };
        subscribe.encode(version, out);
        asked.push((packet_id, filters.iter().map(|(filter, _)| (*filter).to_owned()).collect()));
    }
    asked
}

/// Answers a message that goes no further.
fn acknowledge(publish: &Publish<'_>, version: Version, out: &mut Vec<u8>) {
    let kind = match publish.qos {
        QoS::AtMostOnce => return,
        QoS::AtLeastOnce => AckType::PubAck,
        QoS::ExactlyOnce => AckType::PubRec,
    };
    Packet::Ack(Ack::new(kind, publish.packet_id, ReasonCode::Success)).encode(version, out);
}

fn state_will(topic: &str) -> Will<'_> {
    Will { qos: QoS::AtLeastOnce, retain: true, topic, payload: b"0", ..Will::default() }
}

const fn expiry_s(is_clean: bool) -> u32 {
    if is_clean { 0 } else { u32::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::BridgeTopic;

    fn terms(version: Version) -> Terms {
        let rule = BridgeTopic {
            pattern: "q".into(),
            is_out: true,
            is_in: true,
            qos: 2,
            local_prefix: "here/".into(),
            remote_prefix: "there/".into(),
        };
        Terms {
            version,
            rules: Arc::new(Rules::new(&[rule])),
            client_id: "there".into(),
            local_client_id: "here".into(),
            user: None,
            password: None,
            keep_alive_s: 60,
            clean_session: false,
            local_clean_session: false,
            is_private: true,
            state_topic: None,
            is_state_local: false,
            packet_bytes_max: None,
            keeps_retain: true,
            receive_maximum: 10,
            local_bytes_max: 1000,
        }
    }

    /// A translator that the other broker has let in, and whose output is taken.
    fn connected(version: Version) -> Translator {
        let mut output = Output::default();
        let mut translator = Translator::open(terms(version), &mut output);
        let mut connack = Vec::new();
        ConnAck::default().encode(version, &mut connack);
        translator.remote(&connack, &mut output).unwrap();
        translator
    }

    fn publish(topic: &str, packet_id: u16, version: Version) -> Vec<u8> {
        let mut bytes = Vec::new();
        let qos = QoS::ExactlyOnce;
        let publish = Publish { topic, packet_id, qos, payload: b"x", ..Publish::default() };
        publish.encode(version, &mut bytes);
        bytes
    }

    fn ack(kind: AckType, packet_id: u16, version: Version) -> Vec<u8> {
        let mut bytes = Vec::new();
        Ack::new(kind, packet_id, ReasonCode::Success).encode(version, &mut bytes);
        bytes
    }

    #[test]
    fn an_identifier_is_freed_here_before_it_comes_from_there() {
        for version in [Version::V311, Version::V5] {
            let mut translator = connected(version);
            let both = [publish("there/q", 7, version), publish("there/q", 7, version)].concat();
            // One byte at a time, nothing else comes out.
            let mut output = Output::default();
            for byte in both.chunks(1) {
                translator.remote(byte, &mut output).unwrap();
            }
            assert_eq!(output.local, ack(AckType::PubRel, 7, version));
            assert!(translator.is_held());
            let mut output = Output::default();
            translator.local(&ack(AckType::PubComp, 7, version), &mut output).unwrap();
            let here = publish("here/q", 7, version);
            assert_eq!((output.remote.len(), output.local), (0, [&here[..], &here].concat()));
            // The exchange's own PUBCOMP goes on.
            let mut output = Output::default();
            let pubcomp = ack(AckType::PubComp, 7, version);
            translator.local(&pubcomp, &mut output).unwrap();
            assert_eq!((output.remote, output.local.len()), (pubcomp, 0));
            assert_eq!(translator.carried(), Carried { inward: 2, outward: 0 });
        }
    }

    #[test]
    fn what_no_rule_names_is_acknowledged_and_told() {
        let version = Version::V311;
        let mut translator = connected(version);
        drop(translator.take_news());
        let mut output = Output::default();
        translator.local(&publish("else", 9, version), &mut output).unwrap();
        assert_eq!((output.local, output.remote.len()), (ack(AckType::PubRec, 9, version), 0));
        let news = translator.take_news();
        assert!(matches!(&*news, [News::Dropped(_, topic)] if topic == "else"), "{news:?}");
    }

    #[test]
    fn refusals_and_nonsense_end_the_connection() {
        let open = || Translator::open(terms(Version::V311), &mut Output::default());
        let ended = |bytes: &[u8]| open().remote(bytes, &mut Output::default()).unwrap_err();
        assert_eq!(ended(&[0x20, 2, 0, 1]), Ended::Version);
        assert!(matches!(ended(&[0x20, 2, 0, 5]), Ended::Refused(REMOTE, ..)));
        assert!(matches!(ended(&publish("there/q", 1, Version::V311)), Ended::Protocol(REMOTE, _)));
        let nonsense = connected(Version::V311).remote(&[0, 0], &mut Output::default());
        assert!(matches!(nonsense, Err(Ended::Protocol(REMOTE, _))));
        // Refused as soon as its length is known.
        let large = connected(Version::V311).remote(&[0x30, 0xff, 0xff, 1], &mut Output::default());
        assert!(matches!(large, Err(Ended::Protocol(REMOTE, _))));
    }
}
