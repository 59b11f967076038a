//! Data on its way into a data directory and out of it: Mosquitto's database, and lines of JSON.
//!
//! Everything here is a [`State`] on one side and bytes on the other; directories belong to
//! `journal`. See "Moving data" in `docs/STORAGE.md`.
#![forbid(unsafe_code)]

mod counts;
mod error;
mod export;
mod lines;
mod mosquitto;
mod read_lines;
mod values;

pub use counts::Counts;
pub use error::ImportError;
pub use export::export;

use crate::base::ids::MessageId;
use crate::store::record::{Body, Published, Record};
use crate::store::{Reading, State};
use std::io::BufRead;

/// The circumstances of an import.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The machine's clocks now.
    pub now: Reading,
    /// The longest session expiry interval of a client with a user's name, and of one without, for
    /// sessions of other brokers.
    pub expiry_max_s: (u32, u32),
    /// True when the part before the first damage is taken, and the damage told with it.
    pub accepts_damage: bool,
}

/// The content of a file.
#[derive(Debug)]
pub struct Imported {
    /// The state, as a journal holds it. Points in time are the journal's.
    pub state: State,
    /// The numbers of what was taken and left out.
    pub counts: Counts,
    /// The damage at which the file was left, where it was accepted.
    pub damage: Option<ImportError>,
}

/// Reads a database of Mosquitto's or the lines of an export; the first bytes tell which.
///
/// # Errors
/// The file is neither of them, or damaged: the cause and the place.
pub fn import(mut input: impl BufRead, terms: &Terms) -> Result<Imported, ImportError> {
    let first = input.fill_buf()?.first().copied();
    match first {
        None => Err(ImportError::Empty),
        Some(b'{') => read_lines::read(input, terms),
        Some(_) => mosquitto::read(input, terms),
    }
}

/// The record of a message that nobody has got so far.
fn published(message: MessageId, body: Option<Body<'_>>, retained: Option<u64>) -> Record<'_> {
    Record::Published(Published {
        message,
        body,
        retained,
        received: None,
        taken: None,
        groups: Vec::new(),
        others: Vec::new(),
    })
}
