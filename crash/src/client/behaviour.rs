//! Actions of clients of their own accord: leaving, coming back, taking over, beginning anew.

use super::{Client, DURABLE, Terms, Turn};
use crate::catalog::{Manner, PROBER, manner};
use ringmq_mqtt::{Disconnect, Packet};

/// The longest time between two such things.
const PATIENCE_US: u64 = 80_000;

impl Client {
    /// Decides when to do the next thing.
    pub(super) fn schedule(&mut self, turn: &mut Turn<'_>) {
        self.act_us = turn.now_us + 5_000 + turn.prng.u64(..PATIENCE_US);
    }

    /// Does something, if it is time.
    pub(super) fn act(&mut self, turn: &mut Turn<'_>) {
        if turn.now_us < self.act_us || !self.is_open {
            return;
        }
        if turn.is_draining {
            self.end_passing_session(turn);
            return;
        }
        self.schedule(turn);
        if self.index == PROBER {
            return;
        }
        if !self.is_subscriber() {
            if turn.prng.u8(..100) < 15 {
                self.leave(turn);
            }
            return;
        }
        if turn.prng.bool() {
            return self.wishes.change(turn);
        }
        match manner(self.index) {
            Manner::Steady => {}
            Manner::Late => self.incoming.lateness_us = turn.prng.u64(..4) * 15_000,
            Manner::Restless => self.leave(turn),
            Manner::Owed => self.incoming.lateness_us = 10_000 + turn.prng.u64(..30_000),
            Manner::Wayward => {
                self.incoming.lateness_us = turn.prng.u64(..4) * 15_000;
                self.leave(turn);
            }
            Manner::Twin => self.take_over(DURABLE, turn),
            Manner::Phoenix => self.begin_anew(turn),
        }
    }

    /// A session that ends with its connection gives way to one that does not.
    fn end_passing_session(&mut self, turn: &mut Turn<'_>) {
        if !self.terms.is_durable {
            self.take_over(DURABLE, turn);
        }
    }

    /// Goes, with or without a word, and comes back later.
    fn leave(&mut self, turn: &mut Turn<'_>) {
        if let Some(link) = self.link.as_mut().filter(|_| turn.prng.bool()) {
            link.send(&Packet::Disconnect(Disconnect::default()));
            let _ = link.flush();
        }
        self.wake_us = turn.now_us + turn.prng.u64(..100_000);
        self.disconnected(turn);
    }

    /// Connects again while it is connected.
    fn take_over(&mut self, terms: Terms, turn: &mut Turn<'_>) {
        let old = self.link.take();
        self.disconnected(turn);
        self.old = old;
        self.terms = terms;
        self.wake_us = turn.now_us;
        self.connect(turn);
    }

    /// Ends the client's session; unacknowledged messages do not matter any more.
    fn begin_anew(&mut self, turn: &mut Turn<'_>) {
        if turn.prng.u8(..100) >= 30 {
            return;
        }
        // Only in 5.0 a session that begins clean can outlive its connection.
        self.take_over(Terms { clean_start: true, is_durable: self.version.is_v5() }, turn);
    }
}
