//! Judging completions. A reward that fails is a verdict of one completion, not the end of a run.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use hint_reward::{Judgment, RewardError, RewardInput, Rubric, Score, Verdict};
use serde::{Deserialize, Serialize};

use crate::data::Problem;
use crate::engine::{Completion, Peers, StopReason, in_processes};
use crate::error::RolloutError;
use crate::prompt::PromptFormat;
use crate::run::in_parallel;
use crate::sample::scoring::ScoringConfig;

/// The completions of one problem as rewards see them.
pub(crate) struct Answers {
    problem: Problem,
    pub(crate) texts: Vec<String>,
    /// Of each completion, whether it was cut off, and its number of tokens.
    shapes: Vec<(bool, usize)>,
}

/// Scores in the order of the completions, and how often a reward failed, by its name.
#[derive(Serialize, Deserialize)]
pub(crate) struct Scored {
    pub(crate) scores: Vec<Score>,
    pub(crate) failures: BTreeMap<String, usize>,
}

/// Scores the answers of several problems, each in one of the processes if there are peers. `on_scored` is called
/// whenever those of a problem are scored here.
pub(crate) fn score_all(
    peers: Option<&dyn Peers>,
    answers: &[Arc<Answers>],
    rubric: &Arc<Rubric>,
    scoring: ScoringConfig,
    on_scored: impl Fn() + Sync,
) -> Result<Vec<Scored>, RolloutError> {
    in_processes(peers, answers.len(), |indices| {
        let score = |at: usize| {
            let scored = answers[indices[at]].score_within(rubric, scoring.deadline());
            on_scored();
            scored
        };
        match in_parallel(indices.len(), scoring.threads, score) {
            (_, Some(error)) => Err(error),
            (scored, None) => Ok(scored.into_iter().map(|(_, scored)| scored).collect()),
        }
    })
}

/// Why there is no score: the name of the reward, the verdict, and the reason.
struct Failure {
    name: String,
    verdict: Verdict,
    reason: String,
}

impl Answers {
    /// Decodes completions, each of which continues `prefix`.
    pub(crate) fn new(
        format: &dyn PromptFormat,
        problem: &Problem,
        prefix: &str,
        completions: &[Completion],
    ) -> Result<Self, RolloutError> {
        let texts = completions
            .iter()
            .map(|completion| Ok(format!("{prefix}{}", format.decode(&completion.tokens)?)))
            .collect::<Result<Vec<_>, RolloutError>>()?;
        let shape = |completion: &Completion| {
            (completion.stop == StopReason::Length, completion.policy_tokens())
        };
        let shapes = completions.iter().map(shape).collect();
        Ok(Self { problem: problem.clone(), texts, shapes })
    }

    /// Scores them. A reward that fails or panics fails alone. The completions are scored one at a
    /// time then, and those without a score even so are judged [`Verdict::Error`].
    ///
    /// # Errors
    ///
    /// [`RolloutError::Reward`] for a rubric that scores nothing at all.
    pub(crate) fn score(&self, rubric: &Rubric) -> Result<Scored, RolloutError> {
        let inputs = self.inputs();
        let mut scored = Scored { scores: Vec::new(), failures: BTreeMap::new() };
        match attempt(rubric, &inputs) {
            Ok(Ok(scores)) => scored.scores = scores,
            Ok(Err(source @ RewardError::DuplicatePart { .. })) => {
                return Err(RolloutError::Reward { problem: self.problem.id.clone(), source });
            }
            _ => {
                for input in &inputs {
                    let score = match attempt(rubric, std::slice::from_ref(input)) {
                        Ok(Ok(mut alone)) => alone.pop(),
                        Ok(Err(error)) => Some(scored.fail(rubric, Failure::of(&error))),
                        Err(failure) => Some(scored.fail(rubric, failure)),
                    };
                    scored.scores.extend(score);
                }
            }
        }
        Ok(scored)
    }

    /// Scores them within `deadline`. Completions that are not scored by then are judged
    /// [`Verdict::Timeout`]; the thread that scores them is left behind.
    pub(crate) fn score_within(
        self: &Arc<Self>,
        rubric: &Arc<Rubric>,
        deadline: Option<Duration>,
    ) -> Result<Scored, RolloutError> {
        let Some(deadline) = deadline else { return self.score(rubric) };
        let (sender, receiver) = channel();
        let (answers, own) = (Arc::clone(self), Arc::clone(rubric));
        // The receiver is gone after a timeout.
        std::thread::spawn(move || drop(sender.send(answers.score(&own))));
        receiver.recv_timeout(deadline).unwrap_or_else(|error| {
            let (verdict, reason) = match error {
                RecvTimeoutError::Timeout => {
                    (Verdict::Timeout, format!("no score within {} s", deadline.as_secs_f64()))
                }
                RecvTimeoutError::Disconnected => {
                    (Verdict::Error, "the thread that scored ended".to_owned())
                }
            };
            let mut scored = Scored { scores: Vec::new(), failures: BTreeMap::new() };
            for _ in &self.texts {
                let (name, reason) = ("rubric".to_owned(), reason.clone());
                let score = scored.fail(rubric, Failure { name, verdict, reason });
                scored.scores.push(score);
            }
            Ok(scored)
        })
    }

    fn inputs(&self) -> Vec<RewardInput<'_>> {
        let problem = &self.problem;
        let mut inputs = Vec::with_capacity(self.texts.len());
        for (text, (truncated, tokens)) in self.texts.iter().zip(&self.shapes) {
            inputs.push(
                RewardInput::new(text, &problem.answer)
                    .with_accepted(&problem.accepted)
                    .with_prompt(&problem.question)
                    .with_problem_id(&problem.id)
                    .with_truncated(*truncated)
                    .with_completion_tokens(*tokens)
                    .with_columns(&problem.columns),
            );
        }
        inputs
    }
}

/// Scores, or the message of a panic.
fn attempt(
    rubric: &Rubric,
    inputs: &[RewardInput<'_>],
) -> Result<Result<Vec<Score>, RewardError>, Failure> {
    catch_unwind(AssertUnwindSafe(|| rubric.score_group(inputs))).map_err(|panic| {
        let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
        let reason = format!("a reward panicked: {}", message.unwrap_or_default());
        Failure { name: "panic".to_owned(), verdict: Verdict::Error, reason }
    })
}

impl Failure {
    fn of(error: &RewardError) -> Self {
        let name = match error {
            RewardError::NotFinite { name, .. }
            | RewardError::GroupLength { name, .. }
            | RewardError::Judge { name, .. } => name.clone(),
            RewardError::MissingInput { reward, .. } => (*reward).to_owned(),
            RewardError::Other { part, .. } => part.clone(),
            _ => "rubric".to_owned(),
        };
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        Self { name, verdict: Verdict::Error, reason }
    }
}

impl Scored {
    /// Counts a failure. The score has the rubric's parts, all 0, which nobody may read as a reward.
    fn fail(&mut self, rubric: &Rubric, failure: Failure) -> Score {
        let Failure { name, verdict, reason } = failure;
        *self.failures.entry(name).or_default() += 1;
        let parts = rubric.part_names().into_iter().map(|name| (name.to_owned(), 0.0)).collect();
        Score { value: 0.0, verdict, judgment: Judgment::new(verdict).with_reason(reason), parts }
    }
}
