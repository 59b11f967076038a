//! Loads: how much of something happened a minute, smoothed over 1, 5 and 15 minutes, as Mosquitto
//! computes it.

use std::time::Duration;

/// The minutes over which a load is smoothed, and their names in topics.
pub(super) const MINUTES: [(f64, &str); 3] = [(1.0, "1min"), (5.0, "5min"), (15.0, "15min")];

/// One load.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    last: u64,
    smoothed: [f64; 3],
}

impl Load {
    /// Takes the count up to now, `elapsed` after the time before. Returns the loads a minute.
    pub(super) fn update(&mut self, count: u64, elapsed: Duration) -> [f64; 3] {
        let minutes = elapsed.as_secs_f64().max(1e-3) / 60.0;
        let now = count.saturating_sub(self.last) as f64 / minutes;
        self.last = count;
        for (smoothed, (span, _)) in self.smoothed.iter_mut().zip(MINUTES) {
            *smoothed = now + (-minutes / span).exp() * (*smoothed - now);
        }
        self.smoothed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_approached_by_each_load_at_its_own_pace() {
        let mut load = Load::default();
        let mut count = 0;
        let mut shown = [0.0; 3];
        for _ in 0..6 {
            count += 100;
            shown = load.update(count, Duration::from_secs(10));
        }
        // 600 a minute; after a span of time 1 - 1/e of it.
        let expected = [1.0, 0.2, 1.0 / 15.0].map(|spans: f64| 600.0 * (1.0 - (-spans).exp()));
        for (shown, expected) in shown.into_iter().zip(expected) {
            assert!((shown - expected).abs() < 1e-6, "{shown} {expected}");
        }
    }
}
