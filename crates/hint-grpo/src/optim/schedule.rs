//! Learning-rate schedules, as pure functions of the step.

use hint_rollout::run::no_fields;
use serde::{Deserialize, Serialize};

/// Linear warm-up to the peak, then one of a few shapes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Steps over which the learning rate rises linearly to its peak. 0 starts at the peak.
    pub warmup_steps: u64,
    /// The schedule after it.
    pub decay: Decay,
}

/// The schedule after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decay {
    /// The peak, to the end.
    #[serde(deserialize_with = "no_fields")]
    Constant,
    /// Half a cosine, from the peak to `final_frac` of it at the last step.
    Cosine {
        /// Share of the peak at the last step. In `[0, 1]`.
        final_frac: f64,
    },
}

impl Default for ScheduleConfig {
    /// Constant, as the HINT reference code.
    fn default() -> Self {
        Self { warmup_steps: 0, decay: Decay::Constant }
    }
}

impl ScheduleConfig {
    /// Factor on the peak learning rate in `step` (from 0) of `total_steps`.
    ///
    /// ```text
    /// warm-up:  (step + 1) / warmup_steps
    /// cosine:   f + (1 − f) · (1 + cos(π · p)) / 2,   p = share of the steps after warm-up
    /// ```
    pub fn factor(&self, step: u64, total_steps: u64) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / self.warmup_steps as f64;
        }
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine { final_frac } => {
                // The last step is `total_steps − 1`.
                let span = total_steps.saturating_sub(self.warmup_steps + 1).max(1);
                let progress = ((step - self.warmup_steps) as f64 / span as f64).min(1.0);
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
                final_frac + (1.0 - final_frac) * cosine
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warmup_is_linear_and_reaches_the_peak() {
        let schedule = ScheduleConfig { warmup_steps: 4, decay: Decay::Constant };
        let factors = (0..6).map(|step| schedule.factor(step, 6)).collect::<Vec<_>>();
        assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn cosine_falls_from_the_peak_to_its_final_share() {
        let schedule = ScheduleConfig { warmup_steps: 0, decay: Decay::Cosine { final_frac: 0.1 } };
        assert_eq!(schedule.factor(0, 11), 1.0);
        assert!((schedule.factor(5, 11) - 0.55).abs() < 1e-12);
        assert!((schedule.factor(10, 11) - 0.1).abs() < 1e-12);
    }
}
