//! Configuration of the evaluation on held-out problems.

use hint_rollout::data::{DataConfig, HeldOut, ProblemSet, Split};
use hint_rollout::error::Violations;
use hint_rollout::evaluate::EvaluationOptions;
use hint_rollout::{RolloutError, Sampling, Seed};
use serde::{Deserialize, Serialize};

/// When and how held-out problems are evaluated, without hints.
///
/// A program splits its problems by [`EvaluationConfig::split`], and hands the held-out ones over by
/// [`RunBuilder::held_out`](crate::run::RunBuilder::held_out). Evaluation has seeds of its own and
/// changes no number of the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Choice of the problems that are held out.
    pub held_out: HeldOut,
    /// Evaluate on at most this many of them, with the lowest hashes of ids. All by default.
    pub max_problems: Option<usize>,
    /// Whether to evaluate before the first step.
    pub at_start: bool,
    /// Steps between evaluations. The last step is followed by one in any case.
    pub every: u64,
    /// Completions per problem; 1 when sampling is greedy.
    pub completions_per_problem: usize,
    /// The `k` of pass@k and maj@k. Empty: `completions_per_problem`, and the powers of two below it.
    pub k: Vec<usize>,
    /// Temperature; 0 is greedy. At other temperatures `rollout.sampling` sets the truncation; it
    /// always sets the length limit.
    pub temperature: f64,
    /// Columns to report by.
    pub by: Vec<String>,
    /// Completions of each problem, the first ones, that are written down with their texts after an
    /// evaluation; 0 for none.
    pub kept_completions: usize,
    /// Resamples behind each 95 % interval.
    pub resamples: usize,
    /// Problems handed to the engine at once; changes no result, but memory and how often progress is reported.
    pub problems_per_call: usize,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        let options = EvaluationOptions::default();
        Self {
            held_out: HeldOut::None,
            max_problems: None,
            at_start: true,
            every: 0,
            completions_per_problem: options.completions_per_problem,
            k: options.k,
            temperature: 0.0,
            by: options.by,
            kept_completions: 4,
            resamples: options.resamples,
            problems_per_call: options.problems_per_call,
        }
    }
}

impl EvaluationConfig {
    /// The problems to train on, and the problems to evaluate on. `data` applies to a held-out file.
    ///
    /// # Errors
    ///
    /// As [`HeldOut::split`].
    pub fn split(
        &self,
        problems: impl Into<ProblemSet>,
        data: &DataConfig,
    ) -> Result<Split, RolloutError> {
        let mut split = self.held_out.split(problems, data)?;
        let count = split.held_out.len();
        split.held_out = split.held_out.sample_by_hash(self.max_problems.unwrap_or(usize::MAX))?;
        split.unused = count - split.held_out.len();
        Ok(split)
    }

    /// Whether an evaluation follows step `step` of `steps`; step 0 is before the first one.
    pub fn is_due(&self, step: u64, steps: u64) -> bool {
        match step {
            0 => self.at_start,
            step => step == steps || (self.every > 0 && step.is_multiple_of(self.every)),
        }
    }

    /// Options of an evaluation in a run with this sampling (`rollout`) and this seed. The seeds of
    /// an evaluation are the same in every step, so that scores differ by the weights alone.
    pub fn options(&self, rollout: &Sampling, seed: u64) -> EvaluationOptions {
        let sampling = if self.temperature == 0.0 {
            rollout.greedy()
        } else {
            Sampling { temperature: self.temperature, ..rollout.clone() }
        };
        EvaluationOptions {
            completions_per_problem: self.completions_per_problem,
            k: self.k.clone(),
            sampling,
            by: self.by.clone(),
            kept_completions: self.kept_completions,
            resamples: self.resamples,
            problems_per_call: self.problems_per_call,
            seed: Seed::new(seed).named("evaluation").value(),
            ..EvaluationOptions::default()
        }
    }

    pub(super) fn check(&self, at: &mut Violations) {
        if let HeldOut::Share { frac } = self.held_out {
            at.require(0.0 < frac && frac < 1.0, "held_out.frac", "must be in (0, 1)", frac);
        }
        if let Some(most) = self.max_problems {
            at.at_least("max_problems", most as u64, 1);
        }
        let mut options = Violations::new();
        self.options(&Sampling::default(), 0).check(&mut options);
        for violation in &options {
            let field = violation.field.strip_prefix("sampling.").unwrap_or(&violation.field);
            at.require(false, field, &violation.expected, &violation.found);
        }
    }
}
