//! Judging completions. A reward that fails is a verdict of one completion, not the end of a run.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hint_reward::{Judgment, RewardError, RewardInput, Rubric, Score, Verdict};
use serde::{Deserialize, Serialize};

use crate::data::Problem;
use crate::engine::{Completion, Peers, StopReason, in_processes};
use crate::error::RolloutError;
use crate::prompt::PromptFormat;
use crate::run::in_parallel;
use crate::sample::scoring::ScoringConfig;
use crate::sample::verdict_policy::{VerdictAction, VerdictPolicy};

/// The completions of one problem as rewards see them.
pub(crate) struct Answers {
    pub(crate) problem: Problem,
    pub(crate) texts: Vec<String>,
    /// Of each completion, whether it was cut off, and its number of tokens.
    shapes: Vec<(bool, usize)>,
    /// Their scores, if they were scored ahead.
    early: Mutex<Option<Scored>>,
}

/// Scores in the order of the completions, and how often a reward failed, by its name.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Scored {
    pub(crate) scores: Vec<Score>,
    pub(crate) failures: BTreeMap<String, usize>,
}

/// Scores the answers of several problems, each in one of the processes if there are peers. `on_scored` is called
/// whenever those of a problem are scored here; after an error of it, no others are.
pub(crate) fn score_all(
    peers: Option<&dyn Peers>,
    answers: &[Arc<Answers>],
    rubric: &Arc<Rubric>,
    scoring: ScoringConfig,
    on_scored: impl Fn(&Answers, &Scored) -> Result<(), RolloutError> + Sync,
) -> Result<Vec<Scored>, RolloutError> {
    in_processes(peers, answers.len(), |indices| {
        let score = |at: usize| {
            let answers = &answers[indices[at]];
            let early = answers.early.lock().unwrap_or_else(PoisonError::into_inner).take();
            let scored = early.map_or_else(|| answers.score_within(rubric, scoring), Ok)?;
            on_scored(answers, &scored)?;
            Ok::<_, RolloutError>(scored)
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
        Ok(Self { problem: problem.clone(), texts, shapes, early: Mutex::default() })
    }

    /// Scores them ahead of [`score_all`], which then has their scores. It scores once more what met an error, or was late. A
    /// reward may lack a processor, or a lock, that the engine has meanwhile. False for these, and where each completion failed.
    pub(crate) fn score_early(
        self: &Arc<Self>,
        rubric: &Arc<Rubric>,
        scoring: ScoringConfig,
    ) -> bool {
        let scored = self.start(rubric, 0..self.texts.len()).wait(scoring.deadline());
        let scored = scored.ok().and_then(Result::ok);
        let works =
            |scored: &Scored| scored.scores.iter().any(|score| score.verdict != Verdict::Error);
        let is_working = scored.as_ref().is_some_and(works);
        *self.early.lock().unwrap_or_else(PoisonError::into_inner) = scored;
        is_working
    }

    /// Whether they were scored ahead, and all are correct, or all count as wrong.
    pub(crate) fn agree(&self, policy: &VerdictPolicy) -> bool {
        let early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Scored { scores, .. }) = early.as_ref() else { return false };
        let is_member = |score: &Score| {
            matches!(policy.action(score.verdict), None | Some(VerdictAction::Wrong))
        };
        let correct = scores.iter().filter(|score| score.verdict.is_correct()).count();
        let agree = correct == 0 || correct == scores.len();
        !scores.is_empty() && agree && scores.iter().all(is_member)
    }

    /// Scores those in `range`. A reward that fails or panics costs one completion, which is judged
    /// [`Verdict::Error`]. `on_part` is called with the name of each part before it scores.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Reward`] for a rubric that scores nothing at all.
    fn score(
        &self,
        rubric: &Rubric,
        range: Range<usize>,
        on_part: impl FnMut(&str),
    ) -> Result<Scored, RolloutError> {
        let inputs = self.inputs();
        let results = rubric
            .score_each(&inputs[range], on_part)
            .map_err(|source| RolloutError::Reward { problem: self.problem.id.clone(), source })?;
        let mut scored = Scored::default();
        for result in results {
            let score = result.unwrap_or_else(|error| scored.fail(rubric, Failure::of(&error)));
            scored.scores.push(score);
        }
        Ok(scored)
    }

    /// Scores them within the deadline. If that is too short, completions are scored by themselves, within the deadline
    /// again, unless a part compares them. Those without a score then are judged [`Verdict::Timeout`]. The threads that
    /// score them are left behind.
    fn score_within(
        self: &Arc<Self>,
        rubric: &Arc<Rubric>,
        scoring: ScoringConfig,
    ) -> Result<Scored, RolloutError> {
        let count = self.texts.len();
        let failure = match self.start(rubric, 0..count).wait(scoring.deadline()) {
            Ok(scored) => return scored,
            Err(failure) => failure,
        };
        let mut found = (0..count).map(|_| None).collect::<Vec<_>>();
        let mut parts = vec![failure.name.clone(); count];
        if count > 1 && rubric.scores_apart() {
            self.score_singly(rubric, scoring, &mut found, &mut parts)?;
        }
        let mut scored = Scored::default();
        for (one, name) in found.into_iter().zip(parts) {
            if let Some(one) = one {
                scored.append(one);
            } else {
                let (verdict, reason) = (failure.verdict, failure.reason.clone());
                let score = scored.fail(rubric, Failure { name, verdict, reason });
                scored.scores.push(score);
            }
        }
        Ok(scored)
    }

    /// Scores each completion by itself on a few threads. Those that are done within the deadline are in `found`
    /// afterwards. The names of the parts that the others wait for are in `parts`.
    fn score_singly(
        self: &Arc<Self>,
        rubric: &Arc<Rubric>,
        scoring: ScoringConfig,
        found: &mut [Option<Scored>],
        parts: &mut [String],
    ) -> Result<(), RolloutError> {
        let (sender, receiver) = channel();
        let (next, count) = (Arc::new(AtomicUsize::new(0)), found.len());
        let current = Arc::new(Mutex::new(parts.to_vec()));
        // With a second thread, one that hangs does not keep the others waiting.
        for _ in 0..scoring.threads.max(2).min(count) {
            let (answers, rubric, sender) = (Arc::clone(self), Arc::clone(rubric), sender.clone());
            let (next, current) = (Arc::clone(&next), Arc::clone(&current));
            std::thread::spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let on_part = |name: &str| {
                        let mut parts = current.lock().unwrap_or_else(PoisonError::into_inner);
                        name.clone_into(&mut parts[index]);
                    };
                    let scored = answers.score(&rubric, index..index + 1, on_part);
                    // The receiver is gone after the deadline.
                    if sender.send(Some((index, scored))).is_err() {
                        return;
                    }
                }
            });
        }
        // Rings once for all of them, unless they are done before.
        let (done, is_done) = channel::<()>();
        std::thread::spawn(move || {
            if is_done.recv_timeout(scoring.deadline()) == Err(RecvTimeoutError::Timeout) {
                drop(sender.send(None));
            }
        });
        while found.iter().any(Option::is_none)
            && let Ok(Some((index, scored))) = receiver.recv()
        {
            found[index] = Some(scored?);
        }
        drop(done);
        parts.clone_from_slice(&current.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// Scores those in `range` on a thread of its own.
    fn start(self: &Arc<Self>, rubric: &Arc<Rubric>, range: Range<usize>) -> Pending {
        let (sender, receiver) = channel();
        let part = Arc::new(Mutex::new(String::new()));
        let (answers, rubric, current) = (Arc::clone(self), Arc::clone(rubric), Arc::clone(&part));
        std::thread::spawn(move || {
            let on_part = |name: &str| {
                name.clone_into(&mut current.lock().unwrap_or_else(PoisonError::into_inner));
            };
            // The receiver is gone after a timeout.
            drop(sender.send(answers.score(&rubric, range, on_part)));
        });
        Pending { receiver, part }
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

/// Completions that a thread scores.
struct Pending {
    receiver: Receiver<Result<Scored, RolloutError>>,
    /// Name of the part that scores now.
    part: Arc<Mutex<String>>,
}

impl Pending {
    /// The scores, if they come within `deadline`.
    fn wait(self, deadline: Duration) -> Result<Result<Scored, RolloutError>, Failure> {
        self.receiver.recv_timeout(deadline).map_err(|error| {
            let name = self.part.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let (verdict, reason) = match error {
                RecvTimeoutError::Timeout => {
                    tracing::warn!(
                        reward = name,
                        "gives no score in time; its thread is left behind"
                    );
                    (Verdict::Timeout, format!("no score of `{name}` in time"))
                }
                RecvTimeoutError::Disconnected => {
                    (Verdict::Error, "the thread that scored ended".to_owned())
                }
            };
            Failure { name, verdict, reason }
        })
    }
}

impl Failure {
    fn of(error: &RewardError) -> Self {
        let name = match error {
            RewardError::NotFinite { name, .. }
            | RewardError::GroupLength { name, .. }
            | RewardError::Panicked { name, .. }
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
    /// Adds the next completions.
    fn append(&mut self, next: Self) {
        self.scores.extend(next.scores);
        for (name, count) in next.failures {
            *self.failures.entry(name).or_default() += count;
        }
    }

    /// Counts a failure. The score has the rubric's parts, all 0, which nobody may read as a reward.
    fn fail(&mut self, rubric: &Rubric, failure: Failure) -> Score {
        let Failure { name, verdict, reason } = failure;
        *self.failures.entry(name).or_default() += 1;
        let parts = rubric.part_names().into_iter().map(|name| (name.to_owned(), 0.0)).collect();
        Score { value: 0.0, verdict, judgment: Judgment::new(verdict).with_reason(reason), parts }
    }
}
