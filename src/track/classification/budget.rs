//! Time that a second network may take.

/// Milliseconds of a second that the budget saves at most: what arrives at once is spread over some frames.
const BURST_S: f64 = 0.2;
/// Share of the newest measurement in the mean time of a crop.
const NEWEST: f64 = 0.1;

/// A token bucket of milliseconds: `ms_per_s` flow in each second of the stream, and what crops take flows out.
#[derive(Clone, Debug)]
pub struct TimeBudget {
    ms_per_s: f64,
    saved_ms: f64,
    t_ms: Option<f64>,
    crop_ms: Option<f64>,
}

impl TimeBudget {
    /// `ms_per_s` milliseconds in each second.
    pub fn new(ms_per_s: f64) -> Self {
        Self {
            ms_per_s,
            saved_ms: ms_per_s * BURST_S,
            t_ms: None,
            crop_ms: None,
        }
    }

    /// How many crops there is time for at `t_ms` of the stream; one before any was measured.
    pub fn crops(&mut self, t_ms: f64) -> usize {
        let before = self.t_ms.replace(t_ms).unwrap_or(t_ms);
        let most = (self.ms_per_s * BURST_S).max(self.crop_ms.unwrap_or(0.0));
        let gained = (t_ms - before).max(0.0) / 1000.0 * self.ms_per_s;
        self.saved_ms = (self.saved_ms + gained).min(most);
        match self.crop_ms {
            None => 1,
            // Not less than a microsecond, in case a clock stands still.
            Some(crop_ms) => (self.saved_ms / crop_ms.max(1e-3)).max(0.0) as usize,
        }
    }

    /// `crops` crops took `ms` milliseconds. More than there was is paid back, but not for longer than a second:
    /// a machine that stood still is no reason to stop.
    pub fn spend(&mut self, crops: usize, ms: f64) {
        if crops == 0 {
            return;
        }
        let each = ms / crops as f64;
        let mean = self.crop_ms.get_or_insert(each);
        *mean += (each - *mean) * NEWEST;
        self.saved_ms = (self.saved_ms - ms).max(-self.ms_per_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Crops of so many milliseconds each that were done in `seconds` at 25 frames/s, of as many as wanted.
    fn done(ms_per_s: f64, crop_ms: f64, seconds: usize) -> (usize, usize) {
        let mut budget = TimeBudget::new(ms_per_s);
        let (mut all, mut most) = (0, 0);
        for frame in 0..25 * seconds {
            let crops = budget.crops(frame as f64 * 40.0);
            budget.spend(crops, crops as f64 * crop_ms);
            all += crops;
            most = most.max(crops);
        }
        (all, most)
    }

    #[test]
    fn it_allows_what_fits_into_its_time_and_no_more() {
        // 200 ms a second at 4 ms each: 50 a second, and the 40 ms that were saved at the beginning.
        let (all, most) = done(200.0, 4.0, 10);
        assert!((490..=512).contains(&all), "{all}");
        assert!(most <= 10, "{most} at once");
        // A crop that takes more than is saved at most: one at a time, as rarely as it must be.
        let (all, most) = done(50.0, 100.0, 10);
        assert!((4..=7).contains(&all), "{all}");
        assert_eq!(most, 1);
    }

    #[test]
    fn a_standstill_is_paid_back_for_a_second_at_most() {
        let mut budget = TimeBudget::new(100.0);
        assert_eq!(budget.crops(0.0), 1);
        for _ in 0..100 {
            budget.spend(1, 2.0);
        }
        budget.spend(1, 60_000.0);
        assert_eq!(budget.crops(900.0), 0);
        for _ in 0..100 {
            budget.spend(1, 2.0);
        }
        // A second's debt, then a tenth of a second's gain.
        assert_eq!(budget.crops(1900.0), 0);
        assert!(budget.crops(3000.0) > 0);
    }

    #[test]
    fn time_that_goes_backwards_gains_nothing() {
        let mut budget = TimeBudget::new(100.0);
        budget.spend(1, 20.0);
        assert_eq!(budget.crops(5000.0), 0);
        assert_eq!(budget.crops(0.0), 0);
        assert_eq!(budget.crops(200.0), 1);
    }
}
