//! SUBSCRIBE and UNSUBSCRIBE.

use super::deferred::ResponseId;
use super::mesh_message::{MeshMessage, News, Ticket};
use super::ongoing::{FilterTally, Ongoing, Progress};
use super::peer::Peer;
use super::pressure::{NO_MEMORY, Pressure};
use super::purse::{MOVED_BYTES, SHARE_STEPS, filter_steps};
use super::replay::Terms;
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

/// The outcome of some filters of one SUBSCRIBE.
#[derive(Debug, Default)]
struct Outcome {
    /// The reason codes of all filters so far.
    codes: Vec<u8>,
    news: Vec<News>,
    /// The replays that follow, by number.
    wanted: Vec<(u32, Terms)>,
    /// The number of filters that were refused for a limit, and the first refusal.
    refused: Option<(u64, ProtocolError)>,
    /// All filters so far, for the audit log; None when there is none.
    tally: Option<Box<FilterTally>>,
}

impl Outcome {
    /// Notes a filter that is refused with this code.
    fn refuse(&mut self, filter: &str, code: u8, reason: &str) {
        self.codes.push(code);
        if let Some(tally) = &mut self.tally {
            tally.refused.add(filter, Some(("reason", reason.into())));
        }
    }
}

/// The piece of a packet that one turn has done.
#[derive(Debug)]
struct Piece {
    /// The response that the pieces before this one have deferred; None for the first.
    response: Option<ResponseId>,
    /// The reason codes of all filters so far.
    codes: Vec<u8>,
    /// News for the other workers that the response waits for.
    news: Vec<News>,
    /// Whether the journal has been told something that the response waits for.
    is_noted: bool,
    /// All filters so far, for the audit log; None when there is none.
    tally: Option<Box<FilterTally>>,
}

impl Shard {
    pub(super) fn handle_subscribe(
        &mut self,
        peer: Peer,
        frame: &Frame<'_>,
    ) -> Result<Progress, ProtocolError> {
        let Peer { link: id, session, version } = peer;
        let (subscribe, mut filters) = Subscribe::decode_head(frame, version)?;
        let before = self.clients.link(id).and_then(|link| link.take_ongoing());
        match &before {
            Some(before) => filters.go_to(before.position),
            // Of a malformed packet nothing is done.
            None => filters.clone().try_for_each(|filter| filter.map(drop))?,
        }
        let new = || (Vec::new(), None, self.clients.new_tally());
        let (codes, response, tally) = before.map_or_else(new, |before| before.parts());
        let mut outcome = Outcome { codes, tally, ..Outcome::default() };
        let mark = self.clients.mark();
        let subscription_id = subscribe.subscription_id.unwrap_or(0);
        let mut rest = None;
        let is_bridge = self.clients.link(id).is_some_and(|link| link.is_bridge);
        while let Some(mut filter) = filters.next().transpose()? {
            if is_bridge {
                filter.options.no_local = !filter.filter.starts_with("$share/");
                filter.options.retain_as_published = true;
            }
            let subscribed =
                self.subscribe(session, version, subscription_id, &filter, &mut outcome);
            if let Err(error) = subscribed {
                // The filters before this one stay subscribed to.
                self.tell_interest(outcome.news, None);
                outcome.tally.iter().for_each(|t| self.clients.audit_subscribed(session, t));
                self.abandon(id, response);
                return Err(error);
            }
            if self.clients.outbox.purse().is_empty() {
                rest = Some(filters.position()).filter(|&position| position < frame.body.len());
                break;
            }
        }
        let Outcome { codes, news, wanted, refused, tally } = outcome;
        self.tell_refused(session, refused);
        let is_noted = self.clients.is_noted_since(mark);
        if rest.is_none() {
            tally.iter().for_each(|tally| self.clients.audit_subscribed(session, tally));
        }
        let piece = Piece { response, codes, news, is_noted, tally };
        let response = self.end_piece(id, piece, rest, |codes| {
            let packet_id = subscribe.packet_id;
            Packet::SubAck(SubAck { packet_id, codes, ..SubAck::default() })
        });
        self.add_replays(session, wanted, response.map(|response| (id, response)));
        if rest.is_some() {
            return Ok(Progress::Paused);
        }
        self.pump_replays(session);
        Ok(Progress::Done)
    }

    /// Ends the piece of a packet that this turn has done. The response to `packet` goes behind the
    /// news and notes of all pieces; until the last piece is done the packet waits, to go on at
    /// `rest`. Names the response if it waits.
    fn end_piece(
        &mut self,
        id: LinkId,
        piece: Piece,
        rest: Option<usize>,
        packet: impl FnOnce(&[u8]) -> Packet<'_>,
    ) -> Option<ResponseId> {
        let Piece { response, codes, news, is_noted, tally } = piece;
        let waits = if news.is_empty() { 0 } else { self.workers - 1 };
        if response.is_none() && rest.is_none() && waits == 0 && !is_noted {
            let bytes = self.clients.encode(id, &packet(&codes));
            self.clients.respond_bytes(id, &bytes);
            return None;
        }
        // One more is for the rest of the packet.
        let response =
            response.or_else(|| self.clients.defer_response(id, 1, false, Vec::new()))?;
        self.clients.wait_more(id, response, waits as u32, is_noted);
        self.neighbours.await_answers(waits);
        self.tell_interest(news, Some(Ticket { link: id, response, is_interest: true }));
        if let Some(position) = rest {
            let ongoing = Ongoing { position, codes, response, tally };
            self.clients.link(id)?.keep_ongoing(ongoing);
            self.clients.pause_for_turn(id);
            return Some(response);
        }
        let bytes = self.clients.encode(id, &packet(&codes));
        self.clients.fill_response(id, response, bytes);
        self.response_ready(id, response);
        Some(response)
    }

    /// Gives up the response to a packet whose rest is wrong.
    fn abandon(&mut self, id: LinkId, response: Option<ResponseId>) {
        if let Some(response) = response {
            self.response_ready(id, response);
        }
    }

    fn subscribe(
        &mut self,
        session: SessionId,
        version: Version,
        subscription_id: u32,
        requested: &SubscribeFilter<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), ProtocolError> {
        let SubscribeFilter { filter: text, mut options } = *requested;
        options.qos = options.qos.min(self.clients.sessions[session.slot].max_qos);
        self.pay_for_filter(text);
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
                outcome.refuse(text, error.code as u8, error.cause);
                return Ok(());
            }
        };
        let is_shared = filter.share_name.is_some();
        if is_shared && options.no_local {
            // [MQTT-3.8.3-4]
            return Err(ProtocolError::protocol("No Local on a shared subscription"));
        }
        // 3.1 has no code for a refusal.
        let code = |code: ReasonCode| match version {
            Version::V31 => options.qos as u8,
            Version::V311 | Version::V5 => code as u8,
        };
        if let Some(error) = self.refuses_subscription(session, filter) {
            outcome.refuse(text, code(error.code), error.cause);
            outcome.refused.get_or_insert((0, error)).0 += 1;
            return Ok(());
        }
        let Some(extras) = self.extras(session, filter.filter, subscription_id) else {
            let client_id = &self.clients.sessions[session.slot].client_id;
            told::subscribe_denied(client_id, text, "not authorised");
            outcome.refuse(text, code(ReasonCode::NotAuthorized), "not authorised");
            return Ok(());
        };
        let subscriber = Subscriber { session: session.slot, extras, options };
        let subscribed = self.subscriptions.subscribe(filter, subscriber);
        self.pay_for_moves();
        self.remember(session, subscribed.place, text);
        outcome.codes.push(options.qos as u8);
        if let Some(tally) = &mut outcome.tally {
            tally.granted.add(text, Some(("qos", (options.qos as u8).into())));
        }
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
            let place = subscribed.place;
            let terms = Terms { place, qos, subscription_id, is_restored: false };
            outcome.wanted.push((number, terms));
        }
        self.clients.note_subscribed(session, text, options, subscription_id, owed);
        Ok(())
    }

    fn pay_for_filter(&mut self, filter: &str) {
        self.clients.outbox.purse().spend(filter_steps(filter));
    }

    /// The reason not to give a session one more subscription. One that it has may be replaced.
    fn refuses_subscription(
        &mut self,
        session: SessionId,
        filter: TopicFilter<'_>,
    ) -> Option<ProtocolError> {
        let options = &self.clients.options;
        let known = &self.clients.sessions[session.slot].subscriptions;
        let is_shared = filter.share_name.is_some();
        let refuse = |cause| Some(ProtocolError::new(ReasonCode::QuotaExceeded, cause));
        let error = if self.clients.pressure >= Pressure::Tight {
            Some(NO_MEMORY)
        } else if known.len() >= options.max_subscriptions as usize {
            refuse("the session has as many subscriptions as it may: see --max-subscriptions")
        } else if is_shared && known.shared() >= options.max_shared_subscriptions as usize {
            refuse("the session has as many as it may: see --max-shared-subscriptions")
        } else if known.filter_bytes() + filter.text.len() > options.max_filter_bytes as usize {
            refuse("the session's filters are as long as they may be: see --max-filter-bytes")
        } else {
            None
        };
        error.filter(|_| !self.subscriptions.has(session.slot, filter))
    }

    /// Tells the log of filters that are too many, and counts them.
    fn tell_refused(&mut self, session: SessionId, refused: Option<(u64, ProtocolError)>) {
        let Some((count, error)) = refused else { return };
        self.count_refused(count, error);
        told::filters_refused(&self.clients.sessions[session.slot].client_id, count, error.cause);
    }

    /// The session's own list of its subscriptions.
    pub(super) fn remember(&mut self, session: SessionId, place: Place, filter: &str) {
        self.clients.sessions[session.slot].subscriptions.insert(place, filter.len());
    }

    /// Pays for the levels of other filters that a change of the tree has moved.
    pub(super) fn pay_for_moves(&mut self) {
        let steps = self.subscriptions.take_moved_bytes() / MOVED_BYTES;
        self.clients.outbox.purse().spend(steps);
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
    pub(super) fn tell_online(&mut self, id: SessionId, online: bool) {
        let session = &self.clients.sessions[id.slot];
        let places = session.subscriptions.shared_places();
        let groups: Vec<_> = places.filter_map(|place| place.group()).collect();
        self.clients.outbox.purse().spend_at_once(SHARE_STEPS * groups.len());
        let set = |group| News::new(self.subscriptions.set_online(id.slot, group, online));
        let news = groups.into_iter().map(set).collect();
        self.tell_interest(news, None);
    }

    pub(super) fn handle_unsubscribe(
        &mut self,
        peer: Peer,
        frame: &Frame<'_>,
    ) -> Result<Progress, ProtocolError> {
        let Peer { link: id, session, version } = peer;
        let (unsubscribe, mut filters) = Unsubscribe::decode_head(frame, version)?;
        let before = self.clients.link(id).and_then(|link| link.take_ongoing());
        match &before {
            Some(before) => filters.go_to(before.position),
            None => filters.clone().try_for_each(|filter| filter.map(drop))?,
        }
        let new = || (Vec::new(), None, self.clients.new_tally());
        let (mut codes, response, mut tally) = before.map_or_else(new, |before| before.parts());
        let mark = self.clients.mark();
        let mut news = Vec::new();
        let mut rest = None;
        while let Some(filter) = filters.next().transpose()? {
            let code = self.unsubscribe(session, filter, &mut news);
            codes.push(code as u8);
            if let Some(tally) = tally.as_mut().filter(|_| code == ReasonCode::Success) {
                tally.granted.add(filter, None);
            }
            if self.clients.outbox.purse().is_empty() {
                rest = Some(filters.position()).filter(|&position| position < frame.body.len());
                break;
            }
        }
        // A message that is on its way meanwhile does no harm: the response need not wait.
        self.tell_interest(news, None);
        let is_noted = self.clients.is_noted_since(mark);
        if rest.is_none() {
            tally.iter().for_each(|tally| self.clients.audit_unsubscribed(session, tally));
        }
        let piece = Piece { response, codes, news: Vec::new(), is_noted, tally };
        self.end_piece(id, piece, rest, |codes| {
            let packet_id = unsubscribe.packet_id;
            Packet::UnsubAck(UnsubAck { packet_id, codes, ..UnsubAck::default() })
        });
        Ok(if rest.is_some() { Progress::Paused } else { Progress::Done })
    }

    fn unsubscribe(&mut self, session: SessionId, text: &str, news: &mut Vec<News>) -> ReasonCode {
        self.pay_for_filter(text);
        let Ok(filter) = TopicFilter::parse(text, usize::MAX) else {
            return ReasonCode::TopicFilterInvalid;
        };
        let gone = self.subscriptions.unsubscribe(session.slot, filter);
        let Some(gone) = gone else { return ReasonCode::NoSubscriptionExisted };
        self.pay_for_moves();
        news.extend(gone.news.map(News::new));
        let subscriptions = &mut self.clients.sessions[session.slot].subscriptions;
        let replay = subscriptions.remove(gone.place, text.len());
        self.end_replay(session, replay);
        self.clients.note_unsubscribed(session, text);
        ReasonCode::Success
    }
}
