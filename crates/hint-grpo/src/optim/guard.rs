//! The guard against gradients that would ruin a run.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::error::GrpoError;

/// When an optimizer step is skipped. A loss or gradient that is not finite always is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// Skip a gradient whose norm is more than this many times the median of the last ones. More
    /// than 1; off by default.
    pub outlier_factor: Option<f64>,
    /// Number of norms of taken steps that the median is over. At least 1. Nothing is an outlier
    /// before a quarter of them is there.
    pub window: usize,
    /// The run stops when this many optimizer steps in a row are skipped. At least 1.
    pub max_consecutive: u64,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self { outlier_factor: None, window: 64, max_consecutive: 5 }
    }
}

/// Judges gradients before they are applied.
#[derive(Debug)]
pub(crate) struct Guard {
    config: GuardConfig,
    /// Norms of the last steps that were taken, oldest first.
    norms: VecDeque<f64>,
    consecutive: u64,
    skipped: u64,
}

impl Guard {
    pub(crate) const fn new(config: GuardConfig) -> Self {
        Self { config, norms: VecDeque::new(), consecutive: 0, skipped: 0 }
    }

    /// Optimizer steps skipped since the start of the run.
    pub(crate) const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether to take the optimizer step, or an error when too many in a row were skipped. `step`
    /// counts from 1.
    pub(crate) fn admits(&mut self, loss: f64, norm: f64, step: u64) -> Result<bool, GrpoError> {
        let not_finite = [("the loss", loss), ("the gradient norm", norm)];
        let not_finite = not_finite.into_iter().find(|(_, value)| !value.is_finite());
        let outlier = self.outlier(norm);
        if not_finite.is_none() && outlier.is_none() {
            self.consecutive = 0;
            self.norms.push_back(norm);
            if self.norms.len() > self.config.window {
                self.norms.pop_front();
            }
            return Ok(true);
        }
        self.consecutive += 1;
        self.skipped += 1;
        if self.consecutive < self.config.max_consecutive {
            return Ok(false);
        }
        match not_finite {
            Some((what, value)) => Err(GrpoError::NotFinite { what, value, step }),
            None => Err(GrpoError::GradientOutlier {
                norm,
                median: outlier.unwrap_or_default(),
                in_a_row: self.consecutive,
                step,
            }),
        }
    }

    /// The median that makes `norm` an outlier.
    fn outlier(&self, norm: f64) -> Option<f64> {
        let factor = self.config.outlier_factor?;
        if self.norms.len() < self.config.window.div_ceil(4) {
            return None;
        }
        let mut norms = self.norms.iter().copied().collect::<Vec<_>>();
        norms.sort_by(f64::total_cmp);
        let median = norms[norms.len() / 2];
        (norm > factor * median).then_some(median)
    }

    /// State for a resumed run.
    pub(crate) fn state(&self) -> serde_json::Value {
        serde_json::json!(State {
            // Bits, because a decimal number need not come back as the same one.
            norms: self.norms.iter().map(|norm| norm.to_bits()).collect(),
            consecutive: self.consecutive,
            skipped: self.skipped,
        })
    }

    /// Restores a value of [`Guard::state`].
    pub(crate) fn load_state(
        &mut self,
        state: &serde_json::Value,
    ) -> Result<(), serde_json::Error> {
        let State { norms, consecutive, skipped } = State::deserialize(state)?;
        self.norms = norms.into_iter().map(f64::from_bits).collect();
        (self.consecutive, self.skipped) = (consecutive, skipped);
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    norms: Vec<u64>,
    consecutive: u64,
    skipped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(outlier_factor: Option<f64>) -> Guard {
        Guard::new(GuardConfig { outlier_factor, window: 8, max_consecutive: 3 })
    }

    #[test]
    fn what_is_not_finite_is_skipped_and_stops_the_run_in_the_end() {
        let mut guard = guard(None);
        assert!(guard.admits(1.0, 1.0, 1).expect("fine"));
        assert!(!guard.admits(f64::NAN, 1.0, 2).expect("skipped"));
        assert!(!guard.admits(1.0, f64::INFINITY, 3).expect("skipped"));
        assert!(guard.admits(1.0, 1e9, 4).expect("no outliers without a factor"));
        assert_eq!(guard.skipped(), 2);
        assert!(!guard.admits(1.0, f64::NAN, 5).expect("skipped"));
        assert!(!guard.admits(1.0, f64::NAN, 6).expect("skipped"));
        let error = guard.admits(1.0, f64::NAN, 7).expect_err("three in a row");
        assert!(matches!(error, GrpoError::NotFinite { what: "the gradient norm", step: 7, .. }));
    }

    #[test]
    fn an_outlier_is_measured_against_the_median_of_steps_that_were_taken() {
        let mut guard = guard(Some(10.0));
        assert!(guard.admits(1.0, 100.0, 1).expect("nothing to compare with"));
        for norm in [1.0, 2.0, 1.5, 1.2] {
            assert!(guard.admits(1.0, norm, 2).expect("fine"));
        }
        assert!(guard.admits(1.0, 14.9, 3).expect("below ten times 1.5"));
        assert!(!guard.admits(1.0, 25.0, 4).expect("skipped"));
        assert!(!guard.admits(1.0, 25.0, 5).expect("skipped"));
        let error = guard.admits(1.0, 25.0, 6).expect_err("three in a row");
        assert!(matches!(error, GrpoError::GradientOutlier { in_a_row: 3, step: 6, .. }));
    }

    #[test]
    fn a_restored_guard_judges_as_the_first_one() {
        let mut first = guard(Some(10.0));
        for norm in [1.0, 2.0, 1.5, 90.0] {
            first.admits(1.0, norm, 1).expect("fewer than three in a row");
        }
        let mut second = guard(Some(10.0));
        second.load_state(&first.state()).expect("its own state");
        assert_eq!(second.norms, first.norms);
        assert_eq!((second.skipped, second.consecutive), (1, 1));
        let mut empty = guard(None);
        empty.load_state(&guard(None).state()).expect("its own state");
        assert!(empty.norms.is_empty());
    }
}
