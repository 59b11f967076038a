//! The loop of scenarios whose connections are few or do little: wait, read packets, write.

use crate::failure::{Failure, Result};
use crate::handshake::Opened;
use crate::link::End;
use crate::poller::{Poller, Ready};
use crate::wire::{RawFrame, raw_frame};

/// The time for which a broker may say nothing while it is waited for.
const PATIENCE_NS: u64 = 5_000_000_000;

/// Waits for any of `connections`, whose tokens are their places, and hands their packets to
/// `on_frame`, which may write answers. Returns which connections had something to say: none when
/// the broker has said nothing for 5 seconds.
pub(crate) fn pump(
    poller: &mut Poller,
    connections: &mut [Opened],
    buffer: &mut [u8],
    mut on_frame: impl FnMut(usize, &RawFrame<'_>, &mut Vec<u8>),
) -> Result<Vec<usize>> {
    let count = poller.wait(PATIENCE_NS)?;
    let mut active = Vec::with_capacity(count);
    for index in 0..count {
        let Ready::Socket { token, readiness } = poller.ready(index) else { continue };
        let link = &mut connections[token].link;
        let end = link.read(readiness, buffer, |bytes, out| {
            let mut used = 0;
            while let Some(frame) = raw_frame(&bytes[used..]) {
                used += frame.length;
                on_frame(token, &frame, out);
            }
            Some(used)
        });
        if end == End::Closed || !link.flush() {
            return Err(Failure::new("the broker closed a connection"));
        }
        active.push(token);
    }
    Ok(active)
}

/// The failure for a broker that was to answer.
pub(crate) fn silence() -> Failure {
    Failure::new("the broker does not answer any more")
}
