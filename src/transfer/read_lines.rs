//! The lines of an export as a state.

use super::counts::Counts;
use super::error::ImportError;
use super::lines::{
    DeliveryLine, FORMAT, Line, MessageLine, ReceivedLine, SentLine, SessionLine, SubscriptionLine,
};
use super::{Imported, Terms, published};
use crate::base::ids::{DeliveryNumber, MessageId, SessionNumber};
use crate::base::maps::{HashMap, HashSet};
use crate::limits::IMPORT_LINE_BYTES_MAX;
use crate::store::record::{Record, Whole};
use crate::store::{Epoch, State};
use std::collections::BTreeSet;
use std::io::{BufRead, Read};

/// Reads all lines.
///
/// # Errors
/// A line is wrong, or the file is not whole where no damage is accepted.
pub(super) fn read(mut input: impl BufRead, terms: &Terms) -> Result<Imported, ImportError> {
    let mut lines = Lines::default();
    let mut text = Vec::new();
    let mut number = 0;
    let damage = loop {
        number += 1;
        match lines.next(&mut input, &mut text, number) {
            Ok(true) => {}
            Ok(false) => break None,
            // Something may be taken only when the file is an export at all.
            Err(cause) if terms.accepts_damage && lines.has_begun => {
                break Some(ImportError::Line { number, cause });
            }
            Err(cause) => return Err(ImportError::Line { number, cause }),
        }
    };
    let (state, counts) = lines.finish();
    Ok(Imported { state, counts, damage })
}

/// The content of the lines so far.
struct Lines {
    state: State,
    has_begun: bool,
    has_ended: bool,
    messages: HashSet<MessageId>,
    client_ids: BTreeSet<Box<str>>,
    /// The places of the sessions.
    places: HashMap<SessionNumber, usize>,
    sessions: Vec<Session>,
}

/// A session, and what is known of its deliveries.
struct Session {
    whole: Whole<'static>,
    numbers: HashSet<DeliveryNumber>,
    sent: Option<Vec<(DeliveryNumber, u16)>>,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            state: State::new(Epoch(0)),
            has_begun: false,
            has_ended: false,
            messages: HashSet::default(),
            client_ids: BTreeSet::new(),
            places: HashMap::default(),
            sessions: Vec::new(),
        }
    }
}

impl Lines {
    /// Takes the next line; false at the end of the file.
    fn next(
        &mut self,
        input: &mut impl BufRead,
        text: &mut Vec<u8>,
        number: u64,
    ) -> Result<bool, String> {
        text.clear();
        let mut limited = Read::take(&mut *input, IMPORT_LINE_BYTES_MAX + 1);
        let read = limited.read_until(b'\n', text).map_err(|error| error.to_string())?;
        if read == 0 && self.has_ended {
            return Ok(false);
        }
        if read == 0 {
            return Err("the file ends without the line of kind \"end\": it is not whole".into());
        }
        if read as u64 > IMPORT_LINE_BYTES_MAX {
            return Err(format!("the line has more than {IMPORT_LINE_BYTES_MAX} bytes"));
        }
        if self.has_ended {
            return Err("something follows the line of kind \"end\"".into());
        }
        let line = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        self.take(line, number)?;
        Ok(true)
    }

    fn take(&mut self, line: Line<'_>, number: u64) -> Result<(), String> {
        if self.has_begun == matches!(line, Line::Export(_)) {
            return Err("the line of kind \"export\" stands first, and only there".into());
        }
        match line {
            Line::Export(export) if export.format != FORMAT => Err(format!(
                "format {} is not known, only {FORMAT}: version {} wrote it",
                export.format, export.ringmq
            )),
            Line::Export(export) => {
                self.has_begun = true;
                let note = export.clock.map(|clock| clock.note()).transpose()?;
                note.into_iter().for_each(|note| self.state.apply(Record::Clock(note)));
                Ok(())
            }
            Line::Message(message) => self.message(message),
            Line::Session(session) => self.session(session),
            Line::Subscription(subscription) => self.subscription(subscription),
            Line::Delivery(delivery) => self.delivery(delivery),
            Line::Received(received) => self.received(&received),
            Line::Sent(sent) => self.sent(sent),
            Line::End(end) if end.lines == number - 1 => {
                self.has_ended = true;
                Ok(())
            }
            Line::End(end) => {
                Err(format!("{} lines were written before, {} are here", end.lines, number - 1))
            }
        }
    }

    fn message(&mut self, line: MessageLine<'_>) -> Result<(), String> {
        let (message, retained) = (line.id, line.retained);
        let body = Some(line.body()?);
        if !self.messages.insert(message) {
            return Err(format!("id: {message} belongs to two messages"));
        }
        self.state.apply(published(message, body, retained));
        Ok(())
    }

    fn session(&mut self, line: SessionLine<'_>) -> Result<(), String> {
        let attributes = line.attributes()?.owned();
        let (number, client_id) = (attributes.session, &*attributes.client_id);
        if self.places.insert(number, self.sessions.len()).is_some() {
            return Err(format!("session: {number} belongs to two sessions"));
        }
        if !self.client_ids.insert(client_id.into()) {
            return Err(format!("client_id: {client_id:?} has two sessions"));
        }
        let (subscriptions, deliveries, received) = (Vec::new(), Vec::new(), Vec::new());
        let whole = Whole { attributes, subscriptions, deliveries, received };
        self.sessions.push(Session { whole, numbers: HashSet::default(), sent: None });
        Ok(())
    }

    fn of(&mut self, session: SessionNumber) -> Result<&mut Session, String> {
        let place = self.places.get(&session);
        let place = place.ok_or_else(|| format!("session: no line tells of session {session}"))?;
        Ok(&mut self.sessions[*place])
    }

    fn subscription(&mut self, line: SubscriptionLine<'_>) -> Result<(), String> {
        let session = self.of(line.session)?;
        session.whole.subscriptions.push(line.subscription()?.owned());
        Ok(())
    }

    fn delivery(&mut self, line: DeliveryLine<'_>) -> Result<(), String> {
        let message = line.message;
        if !line.is_released && !self.messages.contains(&message) {
            return Err(format!("message: no line tells of message {message}"));
        }
        let session = self.of(line.session)?;
        let delivery = line.delivery()?.owned();
        let number = delivery.number_of(message);
        if !session.numbers.insert(number) {
            return Err(format!("number: {number} belongs to two deliveries of the session"));
        }
        session.whole.deliveries.push((message, delivery));
        Ok(())
    }

    fn received(&mut self, line: &ReceivedLine) -> Result<(), String> {
        let session = self.of(line.session)?;
        session.whole.received.extend_from_slice(&line.packet_ids);
        Ok(())
    }

    fn sent(&mut self, line: SentLine) -> Result<(), String> {
        let session = self.of(line.session)?;
        let mut numbers = HashSet::default();
        if let Some((twice, _)) = line.deliveries.iter().find(|each| !numbers.insert(each.0)) {
            return Err(format!("deliveries: {twice} is there twice"));
        }
        session.sent = Some(line.deliveries);
        Ok(())
    }

    /// All lines were read.
    fn finish(mut self) -> (State, Counts) {
        let mut counts = Counts::default();
        for Session { whole, sent, .. } in self.sessions {
            let session = whole.attributes.session;
            counts.add(&whole);
            self.state.apply(Record::Whole(whole));
            if let Some(deliveries) = sent {
                counts.note_sent(deliveries.len());
                self.state.apply(Record::Sent { session, deliveries });
            }
        }
        self.state.finish();
        counts.retained = self.state.retained().count() as u64;
        (self.state, counts)
    }
}
