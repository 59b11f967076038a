//! Closed loop: which messages all of their receivers have.
//!
//! A receiver gets a stream's messages in order, so they complete in order, and what a publisher
//! has sent and is not complete is a run of at most `window` messages. Each message has a slot in
//! a ring. Each thread counts its own receivers in a ring of its own; the thread that counts the
//! last one of them counts itself in the shared ring.

use crate::plan::{Plan, StreamShare};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The counts that the threads share of receivers that have messages.
#[derive(Debug)]
pub(crate) struct Completions {
    /// The number of threads that have all their copies; a ring for each stream.
    threads: Vec<AtomicU32>,
    /// The number of complete messages of each publisher.
    publishers: Vec<AtomicU64>,
}

impl Completions {
    pub(crate) fn new(plan: &Plan, window: u32) -> Self {
        let slots = window.next_power_of_two();
        let shares = plan.shares(0);
        let is_shared = shares.iter().any(|share| share.threads > 1);
        let threads = if is_shared { plan.streams.len() * slots as usize } else { 0 };
        Self {
            threads: (0..threads).map(|_| AtomicU32::new(0)).collect(),
            publishers: plan.publishers.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The number of messages of `publisher` that all of their receivers have.
    pub(crate) fn of(&self, publisher: u32) -> u64 {
        self.publishers[publisher as usize].load(Ordering::Relaxed)
    }

    /// Counts one thread; true when it was the last.
    fn count_thread(&self, slot: usize, threads: u32) -> bool {
        // AcqRel: whoever sees the message complete sees every thread's slot as it left it.
        let is_last = self.threads[slot].fetch_add(1, Ordering::AcqRel) + 1 == threads;
        if is_last {
            self.threads[slot].store(0, Ordering::Release);
        }
        is_last
    }
}

/// One thread's receivers.
#[derive(Debug)]
pub(crate) struct Counting {
    shares: Vec<StreamShare>,
    publishers: Vec<u32>,
    /// The number of this thread's receivers that have a message; a ring for each stream.
    receivers: Vec<u32>,
    slots: u32,
}

impl Counting {
    pub(crate) fn new(plan: &Plan, thread: usize, window: u32) -> Self {
        let slots = window.next_power_of_two();
        let shares = plan.shares(thread);
        let is_counted = shares.iter().any(|share| share.receivers > 1);
        let receivers = if is_counted { shares.len() * slots as usize } else { 0 };
        let publishers = plan.streams.iter().map(|stream| stream.publisher).collect();
        Self { shares, publishers, receivers: vec![0; receivers], slots }
    }

    /// One receiver on this thread has the `count` messages of `stream` from `first` on. Returns
    /// the publisher when that completes any of them.
    #[inline]
    pub(crate) fn accept(
        &mut self,
        stream: u32,
        first: u32,
        count: u32,
        shared: &Completions,
    ) -> Option<u32> {
        debug_assert!(count <= self.slots, "a window has as many slots as messages");
        let share = self.shares[stream as usize];
        let mut complete = 0;
        if share.receivers == 1 && share.threads == 1 {
            complete = count;
        } else {
            for sequence in first..first + count {
                let slot = (stream * self.slots + (sequence & (self.slots - 1))) as usize;
                let is_last_here = share.receivers == 1 || self.count_receiver(slot, share);
                let is_complete = is_last_here
                    && (share.threads == 1 || shared.count_thread(slot, share.threads));
                complete += u32::from(is_complete);
            }
        }
        let publisher = self.publishers[stream as usize];
        if complete > 0 {
            shared.publishers[publisher as usize].fetch_add(u64::from(complete), Ordering::Release);
        }
        (complete > 0).then_some(publisher)
    }

    /// Counts one receiver; true when it was this thread's last.
    #[inline]
    fn count_receiver(&mut self, slot: usize, share: StreamShare) -> bool {
        let counted = &mut self.receivers[slot];
        *counted += 1;
        let is_last = *counted == share.receivers;
        if is_last {
            *counted = 0;
        }
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Flags;
    use clap::Parser;

    fn plan(arguments: &str) -> Plan {
        let words = std::iter::once("ringmq-bench").chain(arguments.split(' '));
        Plan::new(&Flags::parse_from(words), "test")
    }

    #[test]
    fn a_message_is_complete_when_all_have_it() {
        let plan = plan("fanout --subscribers 3");
        let shared = Completions::new(&plan, 4);
        let mut counting = Counting::new(&plan, 0, 4);
        assert_eq!(counting.accept(0, 0, 4, &shared), None);
        assert_eq!(counting.accept(0, 0, 2, &shared), None);
        assert_eq!(counting.accept(0, 0, 1, &shared), Some(0));
        assert_eq!(shared.of(0), 1);
        assert_eq!(counting.accept(0, 2, 2, &shared), None);
        assert_eq!(counting.accept(0, 1, 3, &shared), Some(0));
        assert_eq!(shared.of(0), 4);
    }

    #[test]
    fn slots_are_used_again() {
        let plan = plan("fanout --subscribers 2");
        let shared = Completions::new(&plan, 3);
        let mut counting = Counting::new(&plan, 0, 3);
        for first in (0..300).step_by(3) {
            counting.accept(0, first, 3, &shared);
            counting.accept(0, first, 3, &shared);
        }
        assert_eq!(shared.of(0), 300);
    }

    #[test]
    fn threads_count_each_other() {
        let plan = plan("fanout --subscribers 5 --threads 2 --topics 2");
        let shared = Completions::new(&plan, 2);
        let mut first = Counting::new(&plan, 0, 2);
        let mut second = Counting::new(&plan, 1, 2);
        // Topic 0 has the subscribers 0, 2 and 4, all on thread 0; topic 1 has 1 and 3 on thread 1.
        assert_eq!(first.accept(0, 0, 1, &shared), None);
        assert_eq!(first.accept(0, 0, 1, &shared), None);
        assert_eq!(first.accept(0, 0, 1, &shared), Some(0));
        assert_eq!(second.accept(1, 0, 2, &shared), None);
        assert_eq!(second.accept(1, 0, 2, &shared), Some(0));
        assert_eq!(shared.of(0), 3);
    }

    #[test]
    fn the_last_thread_completes() {
        let plan = plan("fanout --subscribers 3 --threads 2");
        let shared = Completions::new(&plan, 2);
        let mut first = Counting::new(&plan, 0, 2);
        let mut second = Counting::new(&plan, 1, 2);
        for sequence in 0..10 {
            assert_eq!(first.accept(0, sequence, 1, &shared), None);
            assert_eq!(second.accept(0, sequence, 1, &shared), None);
            assert_eq!(first.accept(0, sequence, 1, &shared), Some(0));
        }
        assert_eq!(shared.of(0), 10);
    }
}
