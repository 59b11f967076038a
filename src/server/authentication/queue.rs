//! Logins that wait for a thread. Logins that were right before go first; the others go by their
//! address, fewest failures first. Addresses take turns, so that no client waits for a neighbour's
//! flood.

use super::desk::Job;
use crate::base::time::Time;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One login of this many is one that was never right, if any such login waits.
const KNOWN_IN_A_ROW: u64 = 4;
/// One login of this many comes from the address with most failures, so that it is served at all.
const BEST_IN_A_ROW: u64 = 8;

/// The rank of a login in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// The same user name and password were right before.
    Known,
    /// The login was never right; holds the number of failures from its address since the last
    /// success.
    New(u32),
}

/// The cause for which no login is taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Nothing {
    /// No login has come within the caller's patience.
    Idle,
    /// The queue is closed.
    Closed,
}

/// Logins in order of turn.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
    jobs_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    known: Lines,
    new: Lines,
    /// Delayed logins, by the time of their turn.
    delayed: BTreeMap<(Time, u64), Job>,
    /// The number of logins that came, and of logins that were taken.
    came: u64,
    taken: u64,
    is_closed: bool,
}

/// A line of logins for each address.
#[derive(Debug, Default)]
struct Lines {
    /// Ordered, since a peer may choose among many addresses.
    by_address: BTreeMap<Option<IpAddr>, Line>,
    /// The order of the lines: fewest failures of the address first, then the longest wait.
    turns: BTreeMap<(u32, u64), Option<IpAddr>>,
    next_turn: u64,
    jobs: usize,
}

#[derive(Debug)]
struct Line {
    jobs: VecDeque<Job>,
    turn: (u32, u64),
}

impl Queue {
    /// Makes a queue in which `jobs_max` logins may wait.
    pub(super) fn new(jobs_max: usize) -> Self {
        Self { waiting: Mutex::default(), news: Condvar::new(), jobs_max }
    }

    /// Adds a login, whose turn begins at `due` if that is later than `now`.
    ///
    /// # Errors
    /// A login without room: this one, or a waiting one with more failures.
    pub(super) fn push(&self, job: Job, due: Option<Time>, now: Time) -> Result<(), Box<Job>> {
        let mut waiting = self.lock();
        let excess = match waiting.jobs() >= self.jobs_max && !waiting.drop_gone() {
            true => match waiting.take_worse(job.rank) {
                Some(worse) => Some(worse),
                None => return Err(Box::new(job)),
            },
            false => None,
        };
        waiting.came += 1;
        match due.filter(|due| *due > now) {
            Some(due) => {
                let serial = waiting.came;
                waiting.delayed.insert((due, serial), job);
            }
            None => waiting.line_up(job),
        }
        drop(waiting);
        self.news.notify_one();
        excess.map_or(Ok(()), |job| Err(Box::new(job)))
    }

    /// Waits for the next login and takes it. `now` tells the time.
    ///
    /// # Errors
    /// The cause for which no login is taken.
    pub(super) fn pop(
        &self,
        patience: Option<Duration>,
        now: impl Fn() -> Time,
    ) -> Result<Job, Nothing> {
        let end = patience.map(|patience| now().after(patience));
        let mut waiting = self.lock();
        loop {
            if waiting.is_closed {
                return Err(Nothing::Closed);
            }
            let now = now();
            waiting.admit_delayed(now);
            if let Some(job) = waiting.take() {
                if !waiting.is_empty() {
                    self.news.notify_one();
                }
                return Ok(job);
            }
            if end.is_some_and(|end| end <= now) {
                return Err(Nothing::Idle);
            }
            let due = waiting.delayed.first_key_value().map(|((due, _), _)| *due);
            waiting = match end.into_iter().chain(due).min() {
                None => self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(next) => {
                    let waited = self.news.wait_timeout(waiting, next.since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The number of logins that wait.
    pub(super) fn len(&self) -> usize {
        self.lock().jobs()
    }

    /// Closes the queue: waiting threads get no login any more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.news.notify_all();
    }

    /// Locks the queue, also after a panic: each operation leaves it whole.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn jobs(&self) -> usize {
        self.known.jobs + self.new.jobs + self.delayed.len()
    }

    /// True when no login waits whose turn has begun.
    fn is_empty(&self) -> bool {
        self.known.jobs + self.new.jobs == 0
    }

    fn line_up(&mut self, job: Job) {
        match job.rank {
            Rank::Known => self.known.push(job, 0),
            Rank::New(failures) => self.new.push(job, failures),
        }
    }

    fn admit_delayed(&mut self, now: Time) {
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now
        {
            let job = entry.remove();
            self.line_up(job);
        }
    }

    /// The next login whose client still waits for the verdict.
    fn take(&mut self) -> Option<Job> {
        loop {
            self.taken += 1;
            let is_new = self.known.jobs == 0 || self.taken.is_multiple_of(KNOWN_IN_A_ROW);
            let is_worst = self.taken.is_multiple_of(BEST_IN_A_ROW);
            let job = match is_new && self.new.jobs > 0 {
                true => self.new.take(is_worst),
                false => self.known.take(false),
            };
            if job.as_ref().is_none_or(|job| job.login.is_waited_for()) {
                return job;
            }
        }
    }

    /// Drops logins whose connections have gone; true when there were any.
    fn drop_gone(&mut self) -> bool {
        let before = self.jobs();
        self.known.drop_gone();
        self.new.drop_gone();
        self.delayed.retain(|_, job| job.login.is_waited_for());
        self.jobs() < before
    }

    /// The newest login from the address with most failures, if they are more than those of `rank`.
    fn take_worse(&mut self, rank: Rank) -> Option<Job> {
        let (&(failures, _), _) = self.new.turns.last_key_value()?;
        let is_worse = match rank {
            Rank::Known => true,
            Rank::New(own) => failures > own,
        };
        if is_worse { self.new.take_newest_of_worst() } else { None }
    }
}

impl Lines {
    fn push(&mut self, job: Job, failures: u32) {
        self.jobs += 1;
        let address = job.login.address;
        if let Some(line) = self.by_address.get_mut(&address) {
            return line.jobs.push_back(job);
        }
        let turn = self.new_turn(failures, address);
        self.by_address.insert(address, Line { jobs: VecDeque::from([job]), turn });
    }

    fn new_turn(&mut self, failures: u32, address: Option<IpAddr>) -> (u32, u64) {
        self.next_turn += 1;
        let turn = (failures, self.next_turn);
        self.turns.insert(turn, address);
        turn
    }

    /// The oldest login of the first line, or of the last line if `is_worst`.
    fn take(&mut self, is_worst: bool) -> Option<Job> {
        let next = if is_worst { self.turns.pop_last() } else { self.turns.pop_first() };
        let (_, address) = next?;
        let line = self.by_address.get_mut(&address).expect("who has a turn has a line");
        let job = line.jobs.pop_front();
        self.jobs -= usize::from(job.is_some());
        match line.jobs.front().map(|job| job.rank) {
            None => {
                self.by_address.remove(&address);
            }
            Some(rank) => {
                let turn = self.new_turn(failures(rank), address);
                if let Some(line) = self.by_address.get_mut(&address) {
                    line.turn = turn;
                }
            }
        }
        job
    }

    fn take_newest_of_worst(&mut self) -> Option<Job> {
        let (_, address) = self.turns.last_key_value()?;
        let address = *address;
        let line = self.by_address.get_mut(&address)?;
        let job = line.jobs.pop_back();
        self.jobs -= usize::from(job.is_some());
        if line.jobs.is_empty() {
            self.turns.remove(&line.turn);
            self.by_address.remove(&address);
        }
        job
    }

    fn drop_gone(&mut self) {
        self.by_address.retain(|_, line| {
            let before = line.jobs.len();
            line.jobs.retain(|job| job.login.is_waited_for());
            self.jobs -= before - line.jobs.len();
            if line.jobs.is_empty() {
                self.turns.remove(&line.turn);
            }
            !line.jobs.is_empty()
        });
    }
}

const fn failures(rank: Rank) -> u32 {
    match rank {
        Rank::Known => 0,
        Rank::New(failures) => failures,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Login;
    use crate::base::ids::WorkerId;
    use crate::broker::LinkId;
    use std::sync::Arc;

    fn job(name: &str, address: u8, rank: Rank) -> Job {
        let login = Login {
            address: Some([192, 0, 2, address].into()),
            client_id: name.into(),
            ..Login::default()
        };
        Job { worker: WorkerId(0), link: LinkId { slot: 0, generation: 0 }, rank, login }
    }

    fn now() -> Time {
        Time::ZERO
    }

    fn push(queue: &Queue, name: &str, address: u8, rank: Rank) {
        queue.push(job(name, address, rank), None, now()).unwrap();
    }

    fn names(queue: &Queue) -> String {
        let pop = || queue.pop(Some(Duration::ZERO), now).ok();
        std::iter::from_fn(pop).map(|job| job.login.client_id.to_string()).collect()
    }

    #[test]
    fn addresses_take_turns() {
        let queue = Queue::new(100);
        "aaaa".chars().for_each(|name| push(&queue, &name.to_string(), 1, Rank::New(0)));
        push(&queue, "b", 2, Rank::New(0));
        "cc".chars().for_each(|name| push(&queue, &name.to_string(), 3, Rank::New(0)));
        assert_eq!(names(&queue), "abcacaa");
    }

    #[test]
    fn who_fails_less_goes_first_and_nobody_waits_for_ever() {
        let queue = Queue::new(100);
        "wwww".chars().for_each(|name| push(&queue, &name.to_string(), 1, Rank::New(9)));
        "gggggggggg".chars().for_each(|name| push(&queue, &name.to_string(), 2, Rank::New(0)));
        assert_eq!(names(&queue), "gggggggwggg".to_owned() + "www");
    }

    #[test]
    fn who_was_right_before_goes_first_and_does_not_keep_the_others_out() {
        let queue = Queue::new(100);
        "nn".chars().for_each(|name| push(&queue, &name.to_string(), 1, Rank::New(0)));
        "kkkkkkk".chars().for_each(|name| push(&queue, &name.to_string(), 2, Rank::Known));
        assert_eq!(names(&queue), "kkknkkknk");
    }

    #[test]
    fn what_is_delayed_comes_in_its_time() {
        let queue = Queue::new(100);
        let later = now().after(Duration::from_secs(5));
        queue.push(job("d", 1, Rank::New(0)), Some(later), now()).unwrap();
        push(&queue, "a", 1, Rank::New(0));
        assert_eq!(names(&queue), "a");
        let popped = queue.pop(Some(Duration::ZERO), || later).unwrap();
        assert_eq!(&*popped.login.client_id, "d");
        assert_eq!(queue.pop(Some(Duration::ZERO), now).unwrap_err(), Nothing::Idle);
        queue.close();
        assert_eq!(queue.pop(None, now).unwrap_err(), Nothing::Closed);
    }

    #[test]
    fn whose_connection_has_gone_is_not_served_and_takes_no_room() {
        let queue = Queue::new(4);
        let waits = Arc::new(());
        let waiting = |name: &str| {
            let mut job = job(name, 1, Rank::New(0));
            job.login.waits = Some(Arc::downgrade(&waits));
            job
        };
        queue.push(waiting("x"), None, now()).unwrap();
        queue.push(waiting("y"), Some(now().after_seconds(1)), now()).unwrap();
        push(&queue, "a", 1, Rank::New(0));
        push(&queue, "b", 2, Rank::Known);
        assert!(queue.push(job("c", 3, Rank::New(0)), None, now()).is_err(), "it is full");
        drop(waits);
        push(&queue, "c", 3, Rank::New(0));
        assert_eq!(names(&queue), "bac");
    }

    #[test]
    fn who_fails_most_makes_room() {
        let queue = Queue::new(3);
        push(&queue, "w", 1, Rank::New(2));
        push(&queue, "v", 1, Rank::New(2));
        push(&queue, "a", 2, Rank::New(0));
        let excess = queue.push(job("b", 3, Rank::New(1)), None, now()).unwrap_err();
        assert_eq!(&*excess.login.client_id, "v");
        let excess = queue.push(job("x", 4, Rank::New(2)), None, now()).unwrap_err();
        assert_eq!(&*excess.login.client_id, "x", "nobody is worse");
        assert_eq!(names(&queue), "abw");
    }
}
