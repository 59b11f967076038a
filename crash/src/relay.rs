//! Registers that several clients write in turn: each write begins when the one before it is
//! acknowledged in full, and another client sends it. So the versions that the broker gives grow
//! across workers.

use crate::catalog::{CLIENTS, RELAYS};

/// One register that clients write in turn.
#[derive(Debug, Default, Clone, Copy)]
struct Relay {
    /// The client that wrote last.
    writer: Option<usize>,
    /// The last write is not acknowledged.
    is_busy: bool,
}

/// All such registers; each is an author of its own.
#[derive(Debug, Default)]
pub(crate) struct Relays([Relay; RELAYS]);

impl Relays {
    /// Whether the next write may come from this client; then it must.
    pub(crate) fn begin(&mut self, number: usize, client: usize) -> bool {
        let relay = &mut self.0[number];
        if relay.is_busy || relay.writer == Some(client) {
            return false;
        }
        *relay = Relay { writer: Some(client), is_busy: true };
        true
    }

    /// A message of this author is acknowledged in full, or given up.
    pub(crate) fn finish(&mut self, author: u32) {
        let number = (author as usize).checked_sub(CLIENTS);
        if let Some(relay) = number.and_then(|number| self.0.get_mut(number)) {
            relay.is_busy = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_take_turns() {
        let mut relays = Relays::default();
        assert!(relays.begin(1, 0));
        assert!(!relays.begin(1, 2), "the write before is not acknowledged");
        relays.finish(CLIENTS as u32 + 1);
        assert!(!relays.begin(1, 0), "another client's turn");
        assert!(relays.begin(1, 2));
    }
}
