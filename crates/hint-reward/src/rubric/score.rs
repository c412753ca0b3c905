//! A verdict and a weighted sum of named rewards.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
        let others = self.parts.iter().map(|(_, reward)| reward.name());
        std::iter::once(self.source_name()).chain(others).collect()
    }

    /// The parts with their weights, for the record of a run, such as `1 ExactMatch { whole_text: false } + 0.1 short`.
    pub fn description(&self) -> String {
        let first = self.verdict_source();
        let others = self
            .parts
            .iter()
            .map(|(weight, reward)| format!(" + {weight} {}", reward.description()));
        std::iter::once(format!("{} {first}", self.source_weight)).chain(others).collect()
    }

    /// What verdicts come from: the verifier's name, or the reward and its threshold.
    pub fn verdict_source(&self) -> String {
        match &self.source {
            VerdictSource::Verifier(verifier) => verifier.name(),
            VerdictSource::Reward { reward, threshold } => {
                format!("{} > {threshold}", reward.description())
            }
        }
    }

    /// Whether two extracted answers are equal to the verifier. A rubric whose verdict comes from a reward
    /// extracts none.
    pub fn same_answer(&self, left: &str, right: &str) -> bool {
        match &self.source {
            VerdictSource::Verifier(verifier) => verifier.same_answer(left, right),
            VerdictSource::Reward { .. } => left == right,
        }
    }

    /// Whether each part gives a completion the score that it has among others.
    pub fn scores_apart(&self) -> bool {
        let is_apart = match &self.source {
            VerdictSource::Verifier(_) => true,
            VerdictSource::Reward { reward, .. } => reward.scores_apart(),
        };
        is_apart && self.parts.iter().all(|(_, reward)| reward.scores_apart())
    }

    /// Scores of all completions of one problem, in input order.
    ///
    /// # Errors
    ///
    /// The first error of [`Rubric::score_each`].
    pub fn score_group(&self, inputs: &[RewardInput<'_>]) -> Result<Vec<Score>, RewardError> {
        self.score_each(inputs, |_| {})?.into_iter().collect()
    }

    /// Scores of all completions of one problem, in input order, each with its own error. `on_part` is called with
    /// the name of each part before it scores. A completion that a part cannot score is not given to the later parts.
    ///
    /// The error of a completion is the one of a part. It is [`RewardError::NotFinite`] if a part is NaN or infinite,
    /// and [`RewardError::Panicked`] if it panics. All have [`RewardError::GroupLength`] if a part returns too few or
    /// too many scores.
    ///
    /// # Errors
    ///
    /// [`RewardError::DuplicatePart`] if two parts share a name.
    pub fn score_each(
        &self,
        inputs: &[RewardInput<'_>],
        mut on_part: impl FnMut(&str),
    ) -> Result<Vec<Result<Score, RewardError>>, RewardError> {
        self.check_names()?;
        on_part(self.source_name());
        let mut scores = self.source_scores(inputs);
        for (weight, reward) in &self.parts {
            on_part(reward.name());
            let open = (0..inputs.len()).filter(|&index| scores[index].is_ok());
            let open = open.collect::<Vec<_>>();
            let left = open.iter().map(|&index| inputs[index]).collect::<Vec<_>>();
            for (index, value) in open.into_iter().zip(each_value(reward.as_ref(), &left)) {
                match (&mut scores[index], value) {
                    (Ok(score), Ok(value)) => {
                        score.parts.push((reward.name().to_owned(), value));
                        score.value += weight * value;
                    }
                    (place, Err(error)) => *place = Err(error),
                    (Err(_), Ok(_)) => {}
                }
            }
        }
        for score in scores.iter_mut().flatten() {
            if score.verdict.is_failure() {
                score.value = 0.0;
            }
        }
        Ok(scores)
    }

    /// Verdicts with the first part filled in.
    fn source_scores(&self, inputs: &[RewardInput<'_>]) -> Vec<Result<Score, RewardError>> {
        let scored = |judgment: Judgment, part: f64| Score {
            value: self.source_weight * part,
            verdict: judgment.verdict,
            judgment,
            parts: vec![(self.source_name().to_owned(), part)],
        };
        match &self.source {
            VerdictSource::Verifier(verifier) => {
                let judgments = each_judgment(verifier.as_ref(), inputs).into_iter();
                let score = |judgment: Judgment| {
                    let part = if judgment.verdict.is_correct() { 1.0 } else { 0.0 };
                    scored(judgment, part)
                };
                judgments.map(|judgment| judgment.map(score)).collect()
            }
            VerdictSource::Reward { reward, threshold } => {
                let score = |value: f64| {
                    let is_correct = value > *threshold;
                    let verdict = if is_correct { Verdict::Correct } else { Verdict::Incorrect };
                    scored(Judgment::new(verdict), value)
                };
                let values = each_value(reward.as_ref(), inputs).into_iter();
                values.map(|value| value.map(score)).collect()
            }
        }
    }

    fn source_name(&self) -> &str {
        match &self.source {
            VerdictSource::Verifier(_) => CORRECT,
            VerdictSource::Reward { reward, .. } => reward.name(),
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

/// Scores of one reward, checked for number and finiteness. After a panic, the completions are scored one at a time.
fn each_value(reward: &dyn Reward, inputs: &[RewardInput<'_>]) -> Vec<Result<f64, RewardError>> {
    let name = reward.name();
    if inputs.is_empty() {
        return Vec::new();
    }
    let scores = match caught(name, || reward.score_each(inputs)) {
        Ok(scores) if scores.len() == inputs.len() => scores,
        Ok(scores) => {
            let (found, expected) = (scores.len(), inputs.len());
            let error = || RewardError::GroupLength { name: name.to_owned(), found, expected };
            inputs.iter().map(|_| Err(error())).collect()
        }
        Err(_) => {
            let alone = |input| caught(name, || reward.score(input)).flatten();
            inputs.iter().map(alone).collect()
        }
    };
    let finite = |(score, input): (Result<f64, RewardError>, &RewardInput<'_>)| match score {
        Ok(found) if !found.is_finite() => {
            let problem = input.problem_id.to_owned();
            Err(RewardError::NotFinite { name: name.to_owned(), problem, found })
        }
        score => score,
    };
    scores.into_iter().zip(inputs).map(finite).collect()
}

/// Judgments of a verifier. After a panic, the completions are judged one at a time.
fn each_judgment(
    verifier: &dyn Verifier,
    inputs: &[RewardInput<'_>],
) -> Vec<Result<Judgment, RewardError>> {
    match caught(CORRECT, || verifier.verify_group(inputs)) {
        Ok(judgments) if judgments.len() == inputs.len() => judgments.into_iter().map(Ok).collect(),
        Ok(judgments) => {
            let (found, expected) = (judgments.len(), inputs.len());
            let error = || RewardError::GroupLength { name: CORRECT.to_owned(), found, expected };
            inputs.iter().map(|_| Err(error())).collect()
        }
        Err(_) => inputs.iter().map(|input| caught(CORRECT, || verifier.verify(input))).collect(),
    }
}

/// The result of a part, or its panic.
fn caught<T>(name: &str, score: impl FnOnce() -> T) -> Result<T, RewardError> {
    catch_unwind(AssertUnwindSafe(score)).map_err(|panic| {
        let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
        RewardError::Panicked { name: name.to_owned(), message: message.unwrap_or_default() }
    })
}
