//! Values that change over a run.

use serde::{Deserialize, Serialize};

use crate::error::Violations;
use crate::run::progress::RunProgress;

/// A point of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RunPoint {
    /// After this many steps.
    Step {
        /// Steps finished.
        step: u64,
    },
    /// After this share of the run's steps.
    Fraction {
        /// In `[0, 1]`.
        fraction: f64,
    },
}

impl RunPoint {
    /// Whether a run has come this far.
    pub fn is_reached(self, progress: RunProgress) -> bool {
        self.share(progress) >= 1.0
    }

    /// Share of the way from the start of the run to this point that is done. At least 0, and above
    /// 1 after the point.
    fn share(self, progress: RunProgress) -> f64 {
        let (done, whole) = match self {
            Self::Step { step } => (progress.step as f64, step as f64),
            Self::Fraction { fraction } => (progress.fraction(), fraction),
        };
        if whole > 0.0 { done / whole } else { 1.0 }
    }

    pub(crate) fn is_valid(self) -> bool {
        match self {
            Self::Step { .. } => true,
            Self::Fraction { fraction } => (0.0..=1.0).contains(&fraction),
        }
    }
}

/// A value as a function of where the run is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ValueSchedule {
    /// Always the same.
    Constant {
        /// The value.
        value: f64,
    },
    /// A straight line.
    Linear {
        /// At the start of the run.
        from: f64,
        /// At `over`.
        to: f64,
        /// End of the line.
        over: RunPoint,
        /// The value from `over` on; `to` if it is not given.
        #[serde(default)]
        afterwards: Option<f64>,
    },
    /// Half a period of a cosine, flat at both ends.
    Cosine {
        /// At the start of the run.
        from: f64,
        /// At `over`.
        to: f64,
        /// End of the curve.
        over: RunPoint,
        /// The value from `over` on; `to` if it is not given.
        #[serde(default)]
        afterwards: Option<f64>,
    },
}

impl ValueSchedule {
    /// Always `value`.
    pub const fn constant(value: f64) -> Self {
        Self::Constant { value }
    }

    /// The value at a point of the run.
    ///
    /// ```
    /// use hint_rollout::run::{RunPoint, RunProgress, ValueSchedule};
    ///
    /// let over = RunPoint::Step { step: 10 };
    /// let annealed = ValueSchedule::Linear { from: 1.0, to: 0.0, over, afterwards: None };
    /// assert_eq!(annealed.at(RunProgress::new(5, 100)), 0.5);
    /// assert_eq!(annealed.at(RunProgress::new(50, 100)), 0.0);
    /// ```
    pub fn at(self, progress: RunProgress) -> f64 {
        let (from, to, over, afterwards, is_cosine) = match self {
            Self::Constant { value } => return value,
            Self::Linear { from, to, over, afterwards } => (from, to, over, afterwards, false),
            Self::Cosine { from, to, over, afterwards } => (from, to, over, afterwards, true),
        };
        let share = over.share(progress);
        if share >= 1.0 {
            return afterwards.unwrap_or(to);
        }
        let done =
            if is_cosine { (1.0 - (std::f64::consts::PI * share).cos()) / 2.0 } else { share };
        from + (to - from) * done
    }

    /// Reports a schedule that leaves `[0, 1]`.
    pub(crate) fn check(self, at: &mut Violations, field: &str) {
        let holds = self.all(|value| (0.0..=1.0).contains(&value));
        at.require(holds, field, "must be in [0, 1]", format_args!("{self:?}"));
    }

    /// Whether every value of the schedule satisfies `holds`, where it is enough to look at the ends.
    pub fn all(self, holds: impl Fn(f64) -> bool) -> bool {
        match self {
            Self::Constant { value } => holds(value),
            Self::Linear { from, to, over, afterwards }
            | Self::Cosine { from, to, over, afterwards } => {
                over.is_valid()
                    && [Some(from), Some(to), afterwards].into_iter().flatten().all(holds)
            }
        }
    }
}
