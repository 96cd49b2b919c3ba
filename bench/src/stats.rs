//! Figures of several rounds, and ratios within a round.

/// One contender's figures, one for each round.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) values: Vec<f64>,
}

impl Series {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, values: Vec::new() }
    }

    pub(crate) fn min(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The value below which that share of the values lies, such as 0.99.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (share * (sorted.len().saturating_sub(1)) as f64).round();
        // A share is at most 1, so the place is that of a value.
        sorted.get(place as usize).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }
}

/// By how much the quantile of `over` lies above that of `under` in each round of `size` values that they took in turns. A
/// round that a stall of the machine fell into, on either side, is one of many here, and decides nothing by itself.
pub(crate) fn added(over: &Series, under: &Series, share: f64, size: usize) -> Series {
    let quantile = |values: &[f64]| Series { values: values.to_vec(), ..Series::new("", "") }.quantile(share);
    let rounds = over.values.chunks(size).zip(under.values.chunks(size));
    Series {
        values: rounds.map(|(over, under)| quantile(over) - quantile(under)).collect(),
        ..Series::new(format!("{} above {}, of each round", over.name, under.name), over.unit)
    }
}

/// How one contender compares with another: the ratio of the medians, and that of each round.
#[derive(Debug, Clone)]
pub(crate) struct Ratio {
    pub(crate) name: String,
    pub(crate) of_medians: f64,
    pub(crate) rounds: Series,
}

impl Ratio {
    /// `over` divided by `under`.
    pub(crate) fn of(over: &Series, under: &Series) -> Self {
        let name = format!("{} / {}", over.name, under.name);
        let mut rounds = Series::new(name.clone(), "");
        rounds.values = over.values.iter().zip(&under.values).map(|(over, under)| over / under).collect();
        Self { name, of_medians: over.median() / under.median(), rounds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let series = Series { values: (0..=100).rev().map(f64::from).collect(), ..Series::new("x", "ms") };
        assert!((series.quantile(0.99) - 99.0).abs() < 1e-9);
        assert!((series.quantile(0.0) - 0.0).abs() < 1e-9 && (series.quantile(1.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_added_is_compared_round_by_round_and_a_stall_decides_one_of_them() {
        let series = |values: Vec<f64>| Series { values, ..Series::new("x", "ms") };
        let mut over: Vec<f64> = (0..300).map(|n| f64::from(n % 100) + 1.0).collect();
        over[5] = 5000.0;
        over[6] = 5000.0;
        let under = (0..300).map(|n| f64::from(n % 100)).collect();
        let added = added(&series(over), &series(under), 0.99, 100);
        assert!(added.values[0] > 1000.0 && added.values.len() == 3, "{added:?}");
        assert!((added.median() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let series = |values: &[f64]| Series { values: values.to_vec(), ..Series::new("x", "ms") };
        assert!((series(&[3.0, 1.0, 2.0]).median() - 2.0).abs() < 1e-9);
        assert!((series(&[4.0, 1.0, 2.0, 3.0]).median() - 2.5).abs() < 1e-9);
        let ratio = Ratio::of(&series(&[4.0, 8.0]), &series(&[2.0, 2.0]));
        assert!((ratio.of_medians - 3.0).abs() < 1e-9);
        assert!((ratio.rounds.min() - 2.0).abs() < 1e-9 && (ratio.rounds.max() - 4.0).abs() < 1e-9);
    }
}
