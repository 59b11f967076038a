//! The bytes of one connection between two brokers.

use super::status::Shared;
use crate::bridge::{Ended, News, Output, Translator};
use crate::limits::BRIDGE_BYTES_MAX;
use crate::mqtt::PINGREQ;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// The time within which the other broker has to answer CONNECT.
const GREETING_MAX: Duration = Duration::from_secs(30);
/// The interval between two looks at how long both sides are silent.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The bytes that are read at a time.
const READ_BYTES: usize = 64 * 1024;

/// A connection to the other broker, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The reason for which a connection has ended.
#[derive(Debug)]
pub(super) enum Cause {
    /// A broker's words, or its mistakes.
    Ended(Ended),
    /// The other broker closes the connection, or the network fails.
    Remote(Option<io::Error>),
    /// The session here has lost the connection.
    Local,
    /// The other broker is silent.
    Silent,
    /// The other broker does not answer CONNECT.
    NoAnswer,
    /// Nothing was carried for as long as a lazy bridge waits.
    Idle,
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(ended) => ended.fmt(formatter),
            Self::Remote(None) => formatter.write_str("the other broker closes the connection"),
            Self::Remote(Some(error)) => error.fmt(formatter),
            Self::Local => formatter.write_str("this broker closes the bridge's session"),
            Self::Silent => formatter.write_str("the other broker is silent"),
            Self::NoAnswer => formatter.write_str("the other broker does not answer CONNECT"),
            Self::Idle => formatter.write_str("nothing is to be carried"),
        }
    }
}

/// Carries bytes both ways until the connection ends, which it does after `idle` without a message,
/// if there is such a time; returns why, and whether the other broker had let the bridge in.
pub(super) async fn carry(
    mut translator: Translator,
    mut output: Output,
    (local, remote): (UnixStream, Box<dyn Stream>),
    idle: Option<Duration>,
    shared: &Shared,
) -> (Cause, bool) {
    let (mut from_remote, mut to_remote) = tokio::io::split(remote);
    let (mut from_local, mut to_local) = local.into_split();
    let (mut heard, mut said, mut carried) = (Instant::now(), Instant::now(), Instant::now());
    let (began, mut counted) = (heard, translator.carried());
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut remote_bytes, mut local_bytes) = (Vec::new(), Vec::new());
    let cause = loop {
        let (has_remote, has_local) = (!output.remote.is_empty(), !output.local.is_empty());
        // What one side does not take stops the other one.
        let reads_remote = output.local.len() < BRIDGE_BYTES_MAX && !translator.is_held();
        let reads_local = output.remote.len() < BRIDGE_BYTES_MAX;
        let ended = tokio::select! {
            written = to_remote.write(&output.remote), if has_remote => match written {
                Ok(count) => {
                    output.remote.drain(..count);
                    said = Instant::now();
                    // TLS keeps what the socket did not take.
                    to_remote.flush().await.err().map(|error| Cause::Remote(Some(error)))
                }
                Err(error) => Some(Cause::Remote(Some(error))),
            },
            written = to_local.write(&output.local), if has_local => match written {
                Ok(count) => {
                    output.local.drain(..count);
                    None
                }
                Err(_) => Some(Cause::Local),
            },
            read = read(&mut from_remote, &mut remote_bytes), if reads_remote => match read {
                Ok(0) => Some(Cause::Remote(None)),
                Ok(_) => {
                    heard = Instant::now();
                    translator.remote(&remote_bytes, &mut output).err().map(Cause::Ended)
                }
                Err(error) => Some(Cause::Remote(Some(error))),
            },
            read = read(&mut from_local, &mut local_bytes), if reads_local => match read {
                Ok(0) | Err(_) => Some(Cause::Local),
                Ok(_) => translator.local(&local_bytes, &mut output).err().map(Cause::Ended),
            },
            _ = look.tick() => None,
        };
        let now = Instant::now();
        if translator.carried() != counted {
            (counted, carried) = (translator.carried(), now);
            shared.note_carried(counted);
        }
        for news in translator.take_news() {
            shared.tell(&news);
        }
        let keep_alive = Duration::from_secs(translator.keep_alive_s().into());
        if translator.is_connected() && !keep_alive.is_zero() && now - said >= keep_alive {
            output.remote.extend_from_slice(&PINGREQ);
            said = now;
        }
        let is_overdue = !translator.is_connected() && now - began > GREETING_MAX;
        let is_silent = !keep_alive.is_zero() && now - heard > keep_alive * 3 / 2;
        let is_idle = idle.is_some_and(|idle| now - carried > idle);
        let ended = ended
            .or(is_overdue.then_some(Cause::NoAnswer))
            .or((is_silent && reads_remote).then_some(Cause::Silent))
            .or(is_idle.then_some(Cause::Idle));
        if let Some(cause) = ended {
            break cause;
        }
    };
    (cause, translator.is_connected())
}

/// Reads some bytes in place of those before.
async fn read(from: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> io::Result<usize> {
    bytes.clear();
    bytes.reserve(READ_BYTES);
    from.read_buf(bytes).await
}

impl Shared {
    /// Tells the log.
    fn tell(&self, news: &News) {
        let name = &self.name;
        match news {
            News::Connected => self.note_connected(),
            News::Denied(filter, side, code) => {
                tracing::warn!("Bridge {name}: {side} refuses {filter:?}: {code:#04x}");
            }
            News::Dropped(cause, topic) => self.note_dropped(cause, topic),
        }
    }
}
