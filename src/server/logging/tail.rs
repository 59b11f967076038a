//! The last lines of the log, for those who look at them while the broker runs.

use crate::limits::{LOG_TAIL_BYTES, LOG_TAIL_LINE_BYTES, LOG_TAIL_LINES};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The last lines of the log, each with its number. Cheap to clone; the thread that writes the log
/// adds lines, so no thread that logs pays for them.
#[derive(Debug, Clone)]
pub(in crate::server) struct Tail {
    kept: Arc<Mutex<Kept>>,
    /// The number of the next line.
    next: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The number of the first line that is kept.
    first: u64,
}

impl Default for Tail {
    fn default() -> Self {
        Self { kept: Arc::default(), next: watch::Sender::new(0) }
    }
}

impl Tail {
    /// Adds a line as it is written, and forgets the oldest ones without room.
    pub(super) fn add(&self, mut line: Vec<u8>) {
        line.truncate(LOG_TAIL_LINE_BYTES);
        line.shrink_to_fit();
        let mut kept = self.kept();
        kept.bytes += line.len();
        kept.lines.push_back(line);
        while kept.lines.len() > LOG_TAIL_LINES || kept.bytes > LOG_TAIL_BYTES {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.len();
            kept.first += 1;
        }
    }

    /// Wakes those who wait for lines.
    pub(super) fn tell(&self) {
        let kept = self.kept();
        self.next.send_replace(kept.first + kept.lines.len() as u64);
    }

    /// Changes when there are new lines.
    pub(in crate::server) fn news(&self) -> watch::Receiver<u64> {
        self.next.subscribe()
    }

    /// Up to `count_max` lines from number `from` on, or from the oldest that is kept, with the
    /// number of the first one.
    pub(in crate::server) fn lines(&self, from: u64, count_max: usize) -> (u64, Vec<Vec<u8>>) {
        let kept = self.kept();
        let from = from.max(kept.first);
        let behind = (from - kept.first) as usize;
        (from, kept.lines.iter().skip(behind).take(count_max).cloned().collect())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_go_and_numbers_stay() {
        let tail = Tail::default();
        for number in 0..LOG_TAIL_LINES + 3 {
            tail.add(number.to_string().into_bytes());
        }
        assert_eq!(tail.lines(0, 2), (3, vec![b"3".to_vec(), b"4".to_vec()]));
        let last = LOG_TAIL_LINES as u64 + 2;
        assert_eq!(tail.lines(last, 9), (last, vec![last.to_string().into_bytes()]));
        assert_eq!(tail.lines(last + 1, 9).1, [[0u8; 0]; 0]);
    }

    #[test]
    fn long_lines_are_cut_and_many_of_them_leave_room() {
        let tail = Tail::default();
        for _ in 0..LOG_TAIL_LINES {
            tail.add(vec![b'x'; 10 * LOG_TAIL_LINE_BYTES]);
        }
        let (first, lines) = tail.lines(0, LOG_TAIL_LINES);
        assert!(lines.iter().all(|line| line.len() == LOG_TAIL_LINE_BYTES));
        assert_eq!(lines.len(), LOG_TAIL_BYTES / LOG_TAIL_LINE_BYTES);
        assert_eq!(first, (LOG_TAIL_LINES - lines.len()) as u64);
    }
}
