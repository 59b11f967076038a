//! The straight line through samples: its slope, and how sure that is.

/// A slope and its standard error, in units of the samples' second part for one of the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slope {
    pub(super) value: f64,
    pub(super) error: f64,
}

/// The slope by least squares; none for fewer than three samples.
pub(super) fn of(samples: &[(f64, f64)]) -> Option<Slope> {
    if samples.len() < 3 {
        return None;
    }
    let count = samples.len() as f64;
    let mean = |part: fn(&(f64, f64)) -> f64| samples.iter().map(part).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let spread: f64 = samples.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let both: f64 = samples.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    if spread == 0.0 {
        return None;
    }
    let value = both / spread;
    let rest = |(x, y): &(f64, f64)| (y - y_mean - value * (x - x_mean)).powi(2);
    let rests: f64 = samples.iter().map(rest).sum();
    Some(Slope { value, error: (rests / (count - 2.0) / spread).sqrt() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_no_error() {
        let samples: Vec<_> = (0..10).map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x))).collect();
        let slope = of(&samples).unwrap();
        assert!((slope.value - 2.0).abs() < 1e-9 && slope.error < 1e-9, "{slope:?}");
        assert_eq!(of(&samples[..2]), None);
    }

    #[test]
    fn noise_shows_in_the_error() {
        let samples: Vec<_> =
            (0..1000).map(|x| (f64::from(x), if x % 2 == 0 { 5.0 } else { -5.0 })).collect();
        let slope = of(&samples).unwrap();
        assert!(slope.value.abs() < 2.0 * slope.error && slope.error < 0.01, "{slope:?}");
    }
}
