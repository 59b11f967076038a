//! Late turns: workers that stand still for seconds, and clients that keep alive meanwhile.

use super::client::Kind;
use super::wire::{Item, Phase, Wire};
use super::world::{Event, World};
use ringmq::base::time::Time;
use ringmq::limits::CLOSE_WAIT_MAX;
use ringmq_mqtt::PINGREQ;
use std::time::Duration;

/// The Keep Alive of clients in a world with late turns. The broker waits half as long again, which
/// is longer than the network takes.
pub(super) const KEEP_ALIVE_S: u16 = 4;

impl World {
    /// A worker, or all of them, may begin to stand still: sometimes for longer than a client may
    /// be silent, or take to send CONNECT.
    pub(super) fn stand_still_perhaps(&mut self) {
        let is_standing = self.workers.iter().any(|worker| worker.stands_until > self.now);
        if self.late_turns_left == 0 || is_standing || !self.prng.chance(2) {
            return;
        }
        self.late_turns_left -= 1;
        let all = self.prng.chance(50);
        // What waits for a worker may be given up while the others go on.
        let most = if all { Duration::from_secs(12) } else { CLOSE_WAIT_MAX / 2 };
        let until = self.now.after(Duration::from_millis(self.prng.below(most.as_millis() as u64)));
        let one = self.prng.below(self.scenario.workers as u64) as usize;
        for index in (0..self.scenario.workers).filter(|index| all || *index == one) {
            self.flush(index);
            self.workers[index].stands_until = until;
        }
        self.model.late_turns.push((self.now, until));
        self.trace(|| format!("worker {one}, all {all}, stands still until {until:?}"));
    }

    /// Until when nobody is there for `event`, if it is due before.
    pub(super) fn stands_until(&self, event: Event) -> Option<Time> {
        let until = match event {
            Event::Up(wire) | Event::HangUp(wire) | Event::Finish(wire) => {
                self.workers[self.wires[wire].worker].stands_until
            }
            Event::Push(wire) | Event::Verify(wire) | Event::Arrive(wire) => {
                self.workers[self.wires[wire].worker].stands_until
            }
            Event::Reload(worker) | Event::Flush(worker) | Event::Sweep(worker) => {
                self.workers[worker].stands_until
            }
            Event::Retry(worker) | Event::Tick(worker) => self.workers[worker].stands_until,
            // Which worker hears of it is not decided yet.
            Event::Commit => self.workers.iter().map(|worker| worker.stands_until).max()?,
            Event::Act(_) | Event::Acknowledge(_) | Event::Down(_) | Event::Ping(_) => return None,
        };
        (until > self.now).then_some(until)
    }

    /// The client of a connection keeps it alive, and will again.
    pub(super) fn ping(&mut self, wire: usize) {
        if self.wires[wire].phase != Phase::Dead && !self.wires[wire].is_silent() {
            self.trace(|| format!("wire {wire} → PINGREQ"));
            self.send(wire, &PINGREQ, Item::Other);
            self.ping_in_time(wire);
        }
    }

    /// Lets a client that has named a Keep Alive and behaves keep it.
    pub(super) fn ping_in_time(&mut self, wire: usize) {
        let state = &self.wires[wire];
        let is_kept = self.clients[state.client].kind != Kind::Hostile;
        if is_kept && state.terms.keep_alive_s > 0 {
            let at = self.now.after_seconds(u32::from(state.terms.keep_alive_s));
            self.schedule(Event::Ping(wire), at);
        }
    }
}

impl Wire {
    /// The client sends nothing any more.
    fn is_silent(&self) -> bool {
        self.hung_up.is_some() || self.is_half_closed || self.is_leaving
    }

    /// The broker may find that out by its Keep Alive.
    pub(super) fn has_fallen_silent(&self) -> bool {
        self.is_silent() && self.terms.keep_alive_s > 0
    }
}
