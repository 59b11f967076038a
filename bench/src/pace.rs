//! Open loop: when each publish of the whole run is due, whatever became of the earlier ones.

/// One thread's publishers within the schedule of all.
///
/// Publish `n` of the run is due at `n / rate` and belongs to publisher `n % publishers`.
#[derive(Debug)]
pub(crate) struct Schedule {
    start_ns: u64,
    interval_ns: f64,
    publishers: u64,
    /// The numbers in the run of this thread's publishers.
    own: Vec<u64>,
    /// The number of publishes of this thread that have been due.
    due: u64,
}

impl Schedule {
    /// The schedule of `rate` publishes per second of `publishers`, `own` among them.
    pub(crate) fn new(rate: f64, publishers: usize, own: Vec<u64>) -> Self {
        let interval_ns = 1e9 / rate;
        Self { start_ns: 0, interval_ns, publishers: publishers as u64, own, due: 0 }
    }

    /// The first publish of the run is due at `start_ns`.
    pub(crate) fn start(&mut self, start_ns: u64) {
        self.start_ns = start_ns;
    }

    /// When the next publish is due; never when this thread has no publishers.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        let place = self.due.checked_rem(self.own.len() as u64)?;
        let round = self.due / self.own.len() as u64;
        let number = round * self.publishers + self.own[place as usize];
        Some(self.start_ns + (number as f64 * self.interval_ns) as u64)
    }

    /// The next publish if it is due by `now_ns`: the publisher's place on this thread, and when
    /// it was due.
    pub(crate) fn due(&self, now_ns: u64) -> Option<(usize, u64)> {
        let next_ns = self.next_ns().filter(|next_ns| *next_ns <= now_ns)?;
        let place = self.due % self.own.len() as u64;
        Some((place as usize, next_ns))
    }

    /// The next publish has been made.
    pub(crate) fn advance(&mut self) {
        self.due += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_due(schedule: &mut Schedule, now_ns: u64) -> Option<(usize, u64)> {
        let due = schedule.due(now_ns);
        due.inspect(|_| schedule.advance())
    }

    #[test]
    fn publishers_take_turns_at_even_distances() {
        let mut schedule = Schedule::new(1e6, 3, vec![0, 1, 2]);
        schedule.start(1000);
        assert_eq!(take_due(&mut schedule, 999), None);
        assert_eq!(take_due(&mut schedule, 1000), Some((0, 1000)));
        assert_eq!(take_due(&mut schedule, 1000), None);
        assert_eq!(schedule.next_ns(), Some(2000));
        let rest: Vec<_> = std::iter::from_fn(|| take_due(&mut schedule, 5000)).collect();
        assert_eq!(rest, [(1, 2000), (2, 3000), (0, 4000), (1, 5000)]);
    }

    #[test]
    fn threads_share_one_schedule() {
        let mut schedule = Schedule::new(1e6, 3, vec![1]);
        let all: Vec<_> = std::iter::from_fn(|| take_due(&mut schedule, 8000)).collect();
        assert_eq!(all, [(0, 1000), (0, 4000), (0, 7000)]);
        assert_eq!(Schedule::new(1e6, 3, Vec::new()).next_ns(), None);
    }
}
