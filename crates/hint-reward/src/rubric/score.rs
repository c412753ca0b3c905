//! A verdict and a weighted sum of named rewards.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::RewardError;
use crate::input::RewardInput;
use crate::reward::Reward;
use crate::verifier::Verifier;
use crate::verifier::{Judgment, Verdict};

/// Result of a [`Rubric`] for one completion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Weighted sum of the parts; 0 when the verdict is a failure, which callers look at first.
    pub value: f64,
    /// The verdict. Hints are triggered by it, not by `value`.
    pub verdict: Verdict,
    /// The verdict with the extracted and compared answers.
    pub judgment: Judgment,
    /// The unweighted parts by name, in the order they were added.
    pub parts: Vec<(String, f64)>,
}

/// Judges completions: a verdict from one source, and a score that is a weighted sum of named parts.
///
/// The verdict decides whether a group failed; shaping rewards added with [`Rubric::with`] move the score and never
/// the verdict.
///
/// # Examples
///
/// ```
/// use hint_reward::{ExactMatch, RewardInput, Rubric, from_fn};
///
/// let short = from_fn("short", |input| if input.completion.len() < 20 { 1.0 } else { 0.0 });
/// let rubric = Rubric::new(ExactMatch::new()).with(0.1, short);
///
/// let scores = rubric.score_group(&[RewardInput::new(r"\boxed{4}", "4")])?;
/// assert!(scores[0].verdict.is_correct());
/// assert_eq!(scores[0].value, 1.1);
/// assert_eq!(scores[0].parts, [("correct".to_owned(), 1.0), ("short".to_owned(), 1.0)]);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
pub struct Rubric {
    source: VerdictSource,
    source_weight: f64,
    parts: Vec<(f64, Box<dyn Reward>)>,
}

/// Source of the verdict.
enum VerdictSource {
    Verifier(Box<dyn Verifier>),
    Reward { reward: Box<dyn Reward>, threshold: f64 },
}

/// Name of the part a verifier contributes.
const CORRECT: &str = "correct";

impl Rubric {
    /// Returns the rubric whose verdict is the verifier's. Its part `correct` is 1 or 0 and has weight 1.
    pub fn new(verifier: impl Verifier + 'static) -> Self {
        Self {
            source: VerdictSource::Verifier(Box::new(verifier)),
            source_weight: 1.0,
            parts: Vec::new(),
        }
    }

    /// Returns the rubric whose verdict is [`Verdict::Correct`] when the reward is above `threshold`, else
    /// [`Verdict::Incorrect`]. The reward is a part of its own name and has weight 1.
    pub fn from_reward(reward: impl Reward + 'static, threshold: f64) -> Self {
        let source = VerdictSource::Reward { reward: Box::new(reward), threshold };
        Self { source, source_weight: 1.0, parts: Vec::new() }
    }

    /// Sets the weight of the part the verdict comes from.
    #[must_use]
    pub fn with_verifier_weight(mut self, weight: f64) -> Self {
        self.source_weight = weight;
        self
    }

    /// Adds a reward with its weight.
    #[must_use]
    pub fn with(mut self, weight: f64, reward: impl Reward + 'static) -> Self {
        self.parts.push((weight, Box::new(reward)));
        self
    }

    /// Names of the parts, in the order of [`Score::parts`].
    pub fn part_names(&self) -> Vec<&str> {
        let first = match &self.source {
            VerdictSource::Verifier(_) => CORRECT,
            VerdictSource::Reward { reward, .. } => reward.name(),
        };
        std::iter::once(first).chain(self.parts.iter().map(|(_, reward)| reward.name())).collect()
    }

    /// The parts with their weights, for the record of a run, such as `1 ExactMatch { whole_text: false } + 0.1 short`.
    pub fn description(&self) -> String {
        let first = match &self.source {
            VerdictSource::Verifier(verifier) => verifier.name(),
            VerdictSource::Reward { reward, threshold } => {
                format!("{} > {threshold}", reward.description())
            }
        };
        let others = self
            .parts
            .iter()
            .map(|(weight, reward)| format!(" + {weight} {}", reward.description()));
        std::iter::once(format!("{} {first}", self.source_weight)).chain(others).collect()
    }

    /// Whether two extracted answers are equal to the verifier. A rubric whose verdict comes from a reward
    /// extracts none.
    pub fn same_answer(&self, left: &str, right: &str) -> bool {
        match &self.source {
            VerdictSource::Verifier(verifier) => verifier.same_answer(left, right),
            VerdictSource::Reward { .. } => left == right,
        }
    }

    /// Scores of all completions of one problem, in input order.
    ///
    /// # Errors
    ///
    /// An error of a part. [`RewardError::NotFinite`] if a part is NaN or infinite. [`RewardError::GroupLength`] if
    /// a part returns too few or too many scores. [`RewardError::DuplicatePart`] if two parts share a name.
    pub fn score_group(&self, inputs: &[RewardInput<'_>]) -> Result<Vec<Score>, RewardError> {
        self.check_names()?;
        let mut scores = self.source_scores(inputs)?;
        for (weight, reward) in &self.parts {
            let values = group_values(reward.as_ref(), inputs)?;
            for (score, value) in scores.iter_mut().zip(values) {
                score.parts.push((reward.name().to_owned(), value));
                score.value += weight * value;
            }
        }
        for score in &mut scores {
            if score.verdict.is_failure() {
                score.value = 0.0;
            }
        }
        Ok(scores)
    }

    /// Verdicts with the first part filled in.
    fn source_scores(&self, inputs: &[RewardInput<'_>]) -> Result<Vec<Score>, RewardError> {
        let scored = |judgment: Judgment, name: &str, part: f64| Score {
            value: self.source_weight * part,
            verdict: judgment.verdict,
            judgment,
            parts: vec![(name.to_owned(), part)],
        };
        match &self.source {
            VerdictSource::Verifier(verifier) => Ok(verifier
                .verify_group(inputs)
                .into_iter()
                .map(|judgment| {
                    let part = if judgment.verdict.is_correct() { 1.0 } else { 0.0 };
                    scored(judgment, CORRECT, part)
                })
                .collect()),
            VerdictSource::Reward { reward, threshold } => {
                Ok(group_values(reward.as_ref(), inputs)?
                    .into_iter()
                    .map(|value| {
                        let verdict =
                            if value > *threshold { Verdict::Correct } else { Verdict::Incorrect };
                        scored(Judgment::new(verdict), reward.name(), value)
                    })
                    .collect())
            }
        }
    }

    fn check_names(&self) -> Result<(), RewardError> {
        let mut names = self.part_names();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(RewardError::DuplicatePart { name: pair[0].to_owned() }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Rubric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rubric").field("parts", &self.part_names()).finish_non_exhaustive()
    }
}

impl<R: Reward + 'static> From<R> for Rubric {
    /// The rubric of a single reward; a completion is correct when its score is above 0.
    fn from(reward: R) -> Self {
        Self::from_reward(reward, 0.0)
    }
}

/// Scores of one reward, checked for number and finiteness.
fn group_values(reward: &dyn Reward, inputs: &[RewardInput<'_>]) -> Result<Vec<f64>, RewardError> {
    let values = reward.score_group(inputs)?;
    if values.len() != inputs.len() {
        return Err(RewardError::GroupLength {
            name: reward.name().to_owned(),
            found: values.len(),
            expected: inputs.len(),
        });
    }
    for (value, input) in values.iter().zip(inputs) {
        if !value.is_finite() {
            return Err(RewardError::NotFinite {
                name: reward.name().to_owned(),
                problem: input.problem_id.to_owned(),
                found: *value,
            });
        }
    }
    Ok(values)
}
