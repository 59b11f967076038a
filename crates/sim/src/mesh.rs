//! The rings between workers: one bounded FIFO for each ordered pair, and an overflow list at the
//! sender's end.

use ringmq::broker::MeshMessage;
use std::collections::VecDeque;

#[derive(Debug, Default)]
struct Ring {
    /// The messages that the receiver can see.
    queue: VecDeque<MeshMessage>,
    /// The messages that wait at the sender.
    overflow: VecDeque<MeshMessage>,
}

/// All rings.
#[derive(Debug)]
pub(super) struct Mesh {
    rings: Vec<Vec<Ring>>,
    capacity: usize,
    /// The number of messages under way.
    under_way: usize,
}

impl Mesh {
    pub(super) fn new(workers: usize, capacity: usize) -> Self {
        let row = || (0..workers).map(|_| Ring::default()).collect();
        Self { rings: (0..workers).map(|_| row()).collect(), capacity, under_way: 0 }
    }

    /// True when nothing is under way between any two workers.
    pub(super) const fn is_quiet(&self) -> bool {
        self.under_way == 0
    }

    /// Sends a message; true when it is the first that has to wait.
    pub(super) fn push(&mut self, from: usize, to: usize, message: MeshMessage) -> bool {
        self.under_way += 1;
        let ring = &mut self.rings[from][to];
        if ring.overflow.is_empty() && ring.queue.len() < self.capacity {
            ring.queue.push_back(message);
            return false;
        }
        ring.overflow.push_back(message);
        ring.overflow.len() == 1
    }

    /// Moves what waits at `from` into the rings that have room: those to whom nothing waits any
    /// more, and whether something still does.
    pub(super) fn retry(&mut self, from: usize) -> (Vec<usize>, bool) {
        let mut opened = Vec::new();
        let mut waits = false;
        for (to, ring) in self.rings[from].iter_mut().enumerate() {
            if ring.overflow.is_empty() {
                continue;
            }
            while ring.queue.len() < self.capacity
                && let Some(message) = ring.overflow.pop_front()
            {
                ring.queue.push_back(message);
            }
            if ring.overflow.is_empty() {
                opened.push(to);
            } else {
                waits = true;
            }
        }
        (opened, waits)
    }

    /// The number of messages from `from` that worker `to` can see.
    pub(super) fn visible(&self, from: usize, to: usize) -> usize {
        self.rings[from][to].queue.len()
    }

    /// True when something waits at `from` for room.
    pub(super) fn has_overflow(&self, from: usize) -> bool {
        self.rings[from].iter().any(|ring| !ring.overflow.is_empty())
    }

    pub(super) fn pop(&mut self, from: usize, to: usize) -> Option<MeshMessage> {
        let message = self.rings[from][to].queue.pop_front()?;
        self.under_way -= 1;
        Some(message)
    }
}
