//! SUBSCRIBE and UNSUBSCRIBE.

use super::deferred::ResponseId;
use super::mesh_message::{MeshMessage, News, Ticket};
use super::peer::Peer;
use super::replay::Wanted;
use super::shard::Shard;
use super::told;
use crate::base::ids::{LinkId, SessionId};
use crate::mqtt::{
    Frame, Packet, ProtocolError, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeFilter,
    TopicFilter, UnsubAck, Unsubscribe, Version,
};
use crate::store::record::Owed;
use crate::topics::{Place, Subscriber};
use std::sync::Arc;

/// The outcome of the filters of one SUBSCRIBE.
#[derive(Debug, Default)]
struct Outcome {
    codes: Vec<u8>,
    news: Vec<News>,
    wanted: Vec<Wanted>,
}

impl Shard {
    pub(super) fn handle_subscribe(
        &mut self,
        peer: Peer,
        frame: &Frame<'_>,
    ) -> Result<(), ProtocolError> {
        let Peer { link: id, session, version } = peer;
        let subscribe = Subscribe::decode(frame, version)?;
        let mut outcome = Outcome::default();
        let mark = self.clients.mark();
        let subscription_id = subscribe.subscription_id.unwrap_or(0);
        for filter in &subscribe.filters {
            let subscribed =
                self.subscribe(session, version, subscription_id, filter, &mut outcome);
            if let Err(error) = subscribed {
                // The filters before this one stay subscribed to.
                self.tell_interest(outcome.news, None);
                return Err(error);
            }
        }
        let codes = outcome.codes.as_slice();
        let suback = SubAck { packet_id: subscribe.packet_id, codes, ..SubAck::default() };
        let bytes = self.clients.encode(id, &Packet::SubAck(suback));
        let is_noted = self.clients.is_noted_since(mark);
        let response = self.defer_for_news(id, bytes, outcome.news, is_noted);
        for wanted in outcome.wanted {
            self.begin_replay(session, wanted, response.map(|response| (id, response)));
        }
        self.pump_replays(session);
        Ok(())
    }

    fn subscribe(
        &mut self,
        session: SessionId,
        version: Version,
        subscription_id: u32,
        requested: &SubscribeFilter<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), ProtocolError> {
        let SubscribeFilter { filter: text, options } = *requested;
        let levels_max = self.clients.options.max_topic_levels as usize;
        let filter = match TopicFilter::parse(text, levels_max) {
            Ok(filter) => filter,
            // 3.1 has no code for it.
            Err(error) if version == Version::V31 => return Err(error),
            Err(error) => {
                told::subscribe_denied(
                    &self.clients.sessions[session.slot].client_id,
                    text,
                    error.cause,
                );
                outcome.codes.push(error.code as u8);
                return Ok(());
            }
        };
        let is_shared = filter.share_name.is_some();
        if is_shared && options.no_local {
            // [MQTT-3.8.3-4]
            return Err(ProtocolError::protocol("No Local on a shared subscription"));
        }
        let Some(extras) = self.extras(session, filter.filter, subscription_id) else {
            let client_id = &self.clients.sessions[session.slot].client_id;
            told::subscribe_denied(client_id, text, "not authorised");
            // 3.1 has no code for it.
            let code = ReasonCode::NotAuthorized as u8;
            outcome.codes.push(if version == Version::V31 { options.qos as u8 } else { code });
            return Ok(());
        };
        let subscriber = Subscriber { session: session.slot, extras, options };
        let subscribed = self.subscriptions.subscribe(filter, subscriber);
        self.remember(session, subscribed.place);
        outcome.codes.push(options.qos as u8);
        // What another subscriber of the filter has just told is perhaps not applied yet.
        let may_wait = self.neighbours.awaits_answers();
        let again = || may_wait.then(|| self.subscriptions.interest(subscribed.place));
        let news = subscribed.news.or_else(again);
        outcome.news.extend(news.map(|news| News::new((Arc::from(text), news))));
        let sends_retained = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !subscribed.existed,
            RetainHandling::DoNotSend => false,
        };
        // [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]; a shared one gets none (4.8.2).
        let is_owed = sends_retained && !is_shared && self.clients.options.retain_available;
        let mut owed = None;
        if is_owed {
            let rare = self.clients.sessions[session.slot].rare();
            rare.replays_begun += 1;
            let (number, qos) = (rare.replays_begun, options.qos);
            owed = Some(Owed { number, ..Owed::default() });
            outcome.wanted.push(Wanted { number, filter: text.into(), qos, subscription_id });
        }
        self.clients.note_subscribed(session, text, options, subscription_id, owed);
        Ok(())
    }

    /// The session's own list of its subscriptions.
    pub(super) fn remember(&mut self, session: SessionId, place: Place) {
        self.clients.sessions[session.slot].subscriptions.insert(place);
    }

    fn forget(&mut self, session: SessionId, place: Place) {
        self.clients.sessions[session.slot].subscriptions.remove(place);
    }

    /// Sends a response once every other worker has applied the news; names it if it waits.
    /// Otherwise a publish through another worker could be missed after SUBACK.
    fn defer_for_news(
        &mut self,
        id: LinkId,
        bytes: Vec<u8>,
        news: Vec<News>,
        is_noted: bool,
    ) -> Option<ResponseId> {
        let waits = if news.is_empty() { 0 } else { self.workers - 1 };
        if waits == 0 && !is_noted {
            self.clients.respond_bytes(id, &bytes);
            return None;
        }
        let response = self.clients.defer_response(id, waits as u32, is_noted, bytes)?;
        self.neighbours.await_answers(waits);
        let ticket = Some(Ticket { link: id, response, is_interest: true });
        self.tell_interest(news, ticket);
        Some(response)
    }

    /// Tells every other worker the news of this one's filters, in one message.
    pub(super) fn tell_interest(&mut self, news: Vec<News>, ticket: Option<Ticket>) {
        if news.is_empty() {
            return;
        }
        let news: Arc<[News]> = news.into();
        for to in self.others() {
            let news = news.clone();
            self.mesh(to, MeshMessage::Interest { news, ticket });
        }
    }

    /// The session's client came or went: its shared groups are chosen from accordingly.
    pub(super) fn tell_online(&mut self, session: SessionId, online: bool) {
        let session = &self.clients.sessions[session.slot];
        let groups: Vec<_> = session.subscriptions.iter().filter_map(|p| p.group()).collect();
        let set = |group| News::new(self.subscriptions.set_online(group, online));
        let news = groups.into_iter().map(set).collect();
        self.tell_interest(news, None);
    }

    pub(super) fn handle_unsubscribe(
        &mut self,
        peer: Peer,
        frame: &Frame<'_>,
    ) -> Result<(), ProtocolError> {
        let Peer { link: id, session, version } = peer;
        let unsubscribe = Unsubscribe::decode(frame, version)?;
        let mark = self.clients.mark();
        let mut news = Vec::new();
        let one = |text: &&str| self.unsubscribe(session, text, &mut news) as u8;
        let codes: Vec<u8> = unsubscribe.filters.iter().map(one).collect();
        self.tell_interest(news, None);
        let packet_id = unsubscribe.packet_id;
        let codes = codes.as_slice();
        let unsuback = UnsubAck { packet_id, codes, ..UnsubAck::default() };
        let bytes = self.clients.encode(id, &Packet::UnsubAck(unsuback));
        let is_noted = self.clients.is_noted_since(mark);
        self.defer_for_news(id, bytes, Vec::new(), is_noted);
        Ok(())
    }

    fn unsubscribe(&mut self, session: SessionId, text: &str, news: &mut Vec<News>) -> ReasonCode {
        let Ok(filter) = TopicFilter::parse(text, usize::MAX) else {
            return ReasonCode::TopicFilterInvalid;
        };
        let gone = self.subscriptions.unsubscribe(session.slot, filter, true);
        let Some(gone) = gone else { return ReasonCode::NoSubscriptionExisted };
        self.forget(session, gone.place);
        news.extend(gone.news.map(News::new));
        self.end_replay(session, text);
        self.clients.note_unsubscribed(session, text);
        ReasonCode::Success
    }
}
