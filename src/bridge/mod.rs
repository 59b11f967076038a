//! The way of packets between this broker and another one, without sockets and clocks.
//!
//! A bridge is a client of both brokers, and so are its packets: what the other broker publishes is
//! published here, what this broker delivers is published there, and each acknowledgement goes on
//! to the side that waits for it. Packet identifiers stay what they are, since those of each
//! direction are their sender's alone; only topics change. So the bridge keeps no message: both
//! sessions do, and an exchange that a cut connection interrupts goes on with the next one.
#![forbid(unsafe_code)]

mod rules;
mod translator;

pub(crate) use rules::Rules;
pub(crate) use translator::{Carried, Ended, News, Output, Terms, Translator, preparation};
