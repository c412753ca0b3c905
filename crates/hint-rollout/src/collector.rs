//! The two-stage rollout: plain first, with a hint where that failed.

use std::collections::BTreeMap;

use hint_reward::{RewardInput, Rubric, Score};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::group::count_correct;
use crate::{
    AppliedHint, Completion, Evaluation, EvaluationOptions, GenerationRequest, HintProvider,
    HintRequest, HintTrigger, Problem, PromptFormat, Rollout, RolloutEngine, RolloutError,
    RolloutGroup, Sampling, Seed, StopReason, VerdictAction, VerdictPolicy, WeightSource, evaluate,
};

/// How groups are collected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorConfig {
    /// Completions per problem and stage, `G`. At least 2. (HINT reference: 8)
    pub group_size: usize,
    /// How completions are sampled, in both stages.
    pub sampling: Sampling,
    /// When a group gets a hint.
    pub trigger: HintTrigger,
    /// What verdicts other than correct and incorrect mean.
    pub verdicts: VerdictPolicy,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            group_size: 8,
            sampling: Sampling::default(),
            trigger: HintTrigger::AllWrong {},
            verdicts: VerdictPolicy::default(),
        }
    }
}

impl CollectorConfig {
    /// Every violated constraint, as `(field, what it must satisfy, its value)`.
    pub fn violations(&self) -> Vec<(&'static str, &'static str, String)> {
        let Sampling { temperature, top_k, top_p, min_p, max_completion_len } = self.sampling;
        let mut found = Vec::new();
        let mut check = |field, holds: bool, expected, value: String| {
            if !holds {
                found.push((field, expected, value));
            }
        };
        check(
            "group_size",
            self.group_size >= 2,
            "must be at least 2",
            self.group_size.to_string(),
        );
        check(
            "sampling.temperature",
            temperature > 0.0 && temperature.is_finite(),
            "must be positive (a greedy group has no differences to learn from)",
            temperature.to_string(),
        );
        check("sampling.top_k", top_k != Some(0), "must be at least 1", format!("{top_k:?}"));
        check(
            "sampling.top_p",
            top_p > 0.0 && top_p <= 1.0,
            "must be in (0, 1]",
            top_p.to_string(),
        );
        check(
            "sampling.min_p",
            (0.0..1.0).contains(&min_p),
            "must be in [0, 1)",
            min_p.to_string(),
        );
        check(
            "sampling.max_completion_len",
            max_completion_len >= 1,
            "must be at least 1",
            max_completion_len.to_string(),
        );
        if let HintTrigger::SuccessRateBelow { rate } = self.trigger {
            check("trigger.rate", rate > 0.0 && rate <= 1.0, "must be in (0, 1]", rate.to_string());
        }
        let frac = self.verdicts.max_dropped_frac;
        check(
            "verdicts.max_dropped_frac",
            (0.0..=1.0).contains(&frac),
            "must be in [0, 1]",
            frac.to_string(),
        );
        found
    }
}

/// What a collection gathered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Collected {
    /// The groups that can train, in problem order. A problem whose completions could not be judged
    /// has none.
    pub groups: Vec<RolloutGroup>,
    /// Counts over both stages.
    pub stats: CollectStats,
}

/// Counts over the two stages of a collection.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CollectStats {
    /// Problems asked.
    pub problems: usize,
    /// Plain completions with a verdict, and how many of them were correct.
    pub plain: SuccessCount,
    /// Hinted completions with a verdict, and how many of them were correct.
    pub hinted: SuccessCount,
    /// Plain groups in which every completion was wrong.
    pub all_wrong: usize,
    /// Plain groups in which every completion was correct.
    pub all_right: usize,
    /// Groups that were sampled again with a hint.
    pub hinted_groups: usize,
    /// Hinted groups with at least one correct completion, which took the plain group's place.
    pub rescued_groups: usize,
    /// Plain success of the problems that were hinted, for the internalisation gap.
    pub plain_of_hinted: SuccessCount,
    /// Completions per verdict, both stages.
    pub verdicts: BTreeMap<&'static str, usize>,
    /// Completions dropped because they could not be judged, both stages.
    pub dropped: usize,
    /// Completions sampled, both stages.
    pub completions: usize,
    /// Completions cut off at the token limit, both stages.
    pub truncated: usize,
    /// Completion tokens sampled, both stages.
    pub tokens: usize,
}

/// Correct completions out of judged ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SuccessCount {
    /// Correct completions.
    pub correct: usize,
    /// Judged completions.
    pub total: usize,
}

impl SuccessCount {
    /// Share of correct completions; `None` when there were none at all.
    pub fn rate(self) -> Option<f64> {
        (self.total > 0).then(|| self.correct as f64 / self.total as f64)
    }

    fn observe(&mut self, rollouts: &[Rollout]) {
        self.correct += count_correct(rollouts);
        self.total += rollouts.len();
    }
}

impl std::ops::Add for SuccessCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { correct: self.correct + other.correct, total: self.total + other.total }
    }
}

/// Samples groups, judges them, and samples again with a hint where the trigger says so.
///
/// A hinted group that is still all wrong does not replace anything: the plain group stays, so that
/// no training slot is spent on completions that teach nothing under a prompt that drew none of
/// them (Deviation D2).
pub struct Collector {
    engine: Box<dyn RolloutEngine>,
    format: Box<dyn PromptFormat>,
    rubric: Rubric,
    hints: Option<Box<dyn HintProvider>>,
    config: CollectorConfig,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a collector keeps from step to step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectorState {
    hints: Value,
}

impl Collector {
    /// A collector without hints.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Config`] for the first value that is out of range.
    pub fn new(
        engine: impl RolloutEngine + 'static,
        format: impl PromptFormat + 'static,
        rubric: impl Into<Rubric>,
        config: CollectorConfig,
    ) -> Result<Self, RolloutError> {
        if let Some((field, expected, found)) = config.violations().into_iter().next() {
            return Err(RolloutError::Config { field, expected, found });
        }
        Ok(Self {
            engine: Box::new(engine),
            format: Box::new(format),
            rubric: rubric.into(),
            hints: None,
            config,
        })
    }

    /// Gives hints to the groups that the trigger picks.
    #[must_use]
    pub fn with_hints(mut self, hints: impl HintProvider + 'static) -> Self {
        self.hints = Some(Box::new(hints));
        self
    }

    /// Evaluates on plain prompts with the collector's own engine, format and rubric. See
    /// [`evaluate`].
    ///
    /// # Errors
    ///
    /// As [`evaluate`].
    pub fn evaluate(
        &mut self,
        problems: &[Problem],
        options: &EvaluationOptions,
    ) -> Result<Evaluation, RolloutError> {
        evaluate(&mut *self.engine, &*self.format, &self.rubric, problems, options)
    }

    /// The configuration.
    pub const fn config(&self) -> &CollectorConfig {
        &self.config
    }

    /// Everything that a resumed run needs to go on with the same rollouts: the state of the hint
    /// provider. It goes into every checkpoint.
    pub fn state(&self) -> Value {
        let hints = self.hints.as_ref().map_or(Value::Null, HintProvider::state);
        json!(CollectorState { hints })
    }

    /// Restores what [`Collector::state`] returned.
    ///
    /// # Errors
    ///
    /// [`RolloutError::State`] for a state that this collector cannot have returned.
    pub fn load_state(&mut self, state: &Value) -> Result<(), RolloutError> {
        let CollectorState { hints } = crate::state::read("collector", state)?;
        match &self.hints {
            Some(provider) => provider.load_state(&hints),
            None => crate::state::expect_none("hint provider", &hints),
        }
    }

    /// Hands new weights to the engine.
    ///
    /// # Errors
    ///
    /// What [`RolloutEngine::sync`] returns.
    pub fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.engine.sync(weights)
    }

    /// Collects one group for each of `problems`.
    ///
    /// Every random number depends on `seed`, on the problem's index and on the stage alone.
    ///
    /// # Errors
    ///
    /// Errors of the engine, the rubric and the hint provider, broken engine contracts, and what the
    /// [`VerdictPolicy`] says to stop for.
    pub fn collect(
        &mut self,
        problems: &[&Problem],
        seed: Seed,
    ) -> Result<Collected, RolloutError> {
        let mut stats = CollectStats { problems: problems.len(), ..CollectStats::default() };
        let mut failures = Failures::default();

        let prompts = problems
            .iter()
            .map(|problem| self.format.encode(problem, None))
            .collect::<Result<Vec<_>, _>>()?;
        let stage = seed.named("plain");
        let requests = (0_u64..)
            .zip(&prompts)
            .map(|(index, prompt)| self.request(prompt.clone(), stage.child(index)))
            .collect::<Vec<_>>();
        let plain = self.sample(problems, &requests, &mut stats, &mut failures)?;

        let mut groups = Vec::with_capacity(problems.len());
        for ((problem, prompt), rollouts) in problems.iter().zip(prompts).zip(plain) {
            let correct = count_correct(&rollouts);
            stats.plain.observe(&rollouts);
            stats.all_wrong += usize::from(!rollouts.is_empty() && correct == 0);
            stats.all_right += usize::from(!rollouts.is_empty() && correct == rollouts.len());
            groups.push(RolloutGroup::plain(&problem.id, prompt, rollouts));
        }

        let applied = self.applied_hints(problems, &groups)?;
        let stage = seed.named("hinted");
        let picked = applied.iter().map(|(index, _)| problems[*index]).collect::<Vec<_>>();
        let requests = applied
            .iter()
            .map(|(index, hint)| self.request(hint.prompt.clone(), stage.child(*index as u64)))
            .collect::<Vec<_>>();
        let hinted = self.sample(&picked, &requests, &mut stats, &mut failures)?;
        for ((index, hint), rollouts) in applied.into_iter().zip(hinted) {
            stats.hinted_groups += 1;
            stats.hinted.observe(&rollouts);
            stats.plain_of_hinted.observe(&groups[index].rollouts);
            if count_correct(&rollouts) > 0 {
                stats.rescued_groups += 1;
                groups[index] = groups[index].clone().replaced_by(hint, rollouts);
            }
        }

        failures.check(self.config.verdicts.max_dropped_frac, stats.completions)?;
        // A baseline needs a sibling.
        groups.retain(|group| group.rollouts.len() >= 2);
        Ok(Collected { groups, stats })
    }

    fn request(&self, prompt: Vec<u32>, seed: Seed) -> GenerationRequest {
        let config = &self.config;
        GenerationRequest::new(prompt, config.group_size, seed.value(), config.sampling.clone())
    }

    /// The hints of the groups that the trigger picks, with the index of the group.
    fn applied_hints(
        &self,
        problems: &[&Problem],
        groups: &[RolloutGroup],
    ) -> Result<Vec<(usize, AppliedHint)>, RolloutError> {
        let Some(provider) = &self.hints else { return Ok(Vec::new()) };
        let mut applied = Vec::new();
        for (index, (problem, group)) in problems.iter().zip(groups).enumerate() {
            if !self.config.trigger.fires(group.num_correct(), group.rollouts.len()) {
                continue;
            }
            let request = HintRequest::new(problem).with_failed(&group.rollouts);
            if let Some(hint) = provider.hint(&request)? {
                let prompt = self.format.encode(problem, Some(&hint))?;
                applied.push((index, AppliedHint::new(hint, prompt)));
            }
        }
        Ok(applied)
    }

    /// Samples and scores; the rollouts that could not be judged are left out.
    fn sample(
        &mut self,
        problems: &[&Problem],
        requests: &[GenerationRequest],
        stats: &mut CollectStats,
        failures: &mut Failures,
    ) -> Result<Vec<Vec<Rollout>>, RolloutError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let sampled = self.engine.generate(requests)?;
        check_contract(problems, requests, &sampled)?;
        let mut result = Vec::with_capacity(sampled.len());
        for (problem, completions) in problems.iter().zip(sampled) {
            let (texts, scores) =
                score_completions(&*self.format, &self.rubric, problem, &completions)?;
            let mut rollouts = Vec::with_capacity(completions.len());
            for ((completion, text), score) in completions.into_iter().zip(texts).zip(scores) {
                stats.completions += 1;
                stats.tokens += completion.tokens.len();
                stats.truncated += usize::from(completion.stop == StopReason::Length);
                *stats.verdicts.entry(score.verdict.name()).or_default() += 1;
                match self.config.verdicts.action(score.verdict) {
                    None | Some(VerdictAction::Wrong) => {
                        rollouts.push(Rollout::new(completion, text, score));
                    }
                    Some(VerdictAction::Drop) => {
                        stats.dropped += 1;
                        failures.record(problem, &score);
                    }
                    Some(VerdictAction::Abort) => {
                        return Err(RolloutError::AbortVerdict {
                            problem: problem.id.clone(),
                            verdict: score.verdict.name(),
                            reason: score.judgment.reason,
                        });
                    }
                }
            }
            result.push(rollouts);
        }
        Ok(result)
    }
}

/// Decodes and scores the completions of one problem.
pub(crate) fn score_completions(
    format: &dyn PromptFormat,
    rubric: &Rubric,
    problem: &Problem,
    completions: &[Completion],
) -> Result<(Vec<String>, Vec<Score>), RolloutError> {
    let texts = completions
        .iter()
        .map(|completion| format.decode(&completion.tokens))
        .collect::<Result<Vec<_>, _>>()?;
    let inputs = completions
        .iter()
        .zip(&texts)
        .map(|(completion, text)| {
            RewardInput::new(text, &problem.answer)
                .with_prompt(&problem.question)
                .with_problem_id(&problem.id)
                .with_truncated(completion.stop == StopReason::Length)
                .with_completion_tokens(completion.tokens.len())
        })
        .collect::<Vec<_>>();
    let scores = rubric
        .score_group(&inputs)
        .map_err(|source| RolloutError::Reward { problem: problem.id.clone(), source })?;
    Ok((texts, scores))
}

/// Checks what an engine promises: counts, one log-probability per token, all of them finite.
pub(crate) fn check_contract(
    problems: &[&Problem],
    requests: &[GenerationRequest],
    sampled: &[Vec<Completion>],
) -> Result<(), RolloutError> {
    let expect = |what, expected, found| {
        if expected == found {
            Ok(())
        } else {
            Err(RolloutError::EngineContract { what, expected, found })
        }
    };
    expect("groups of completions", requests.len(), sampled.len())?;
    for ((problem, request), completions) in problems.iter().zip(requests).zip(sampled) {
        expect("completions", request.num_completions, completions.len())?;
        for completion in completions {
            let logprobs = &completion.behavior_logprobs;
            expect("log-probabilities", completion.tokens.len(), logprobs.len())?;
            if let Some(position) = logprobs.iter().position(|value| !value.is_finite()) {
                return Err(RolloutError::EngineNotFinite {
                    problem: problem.id.clone(),
                    position,
                    value: logprobs[position],
                });
            }
        }
    }
    Ok(())
}

/// Completions that could not be judged, and the last of them for the error message.
#[derive(Debug, Default)]
struct Failures {
    count: usize,
    last: Option<(String, &'static str, Option<String>)>,
}

impl Failures {
    fn record(&mut self, problem: &Problem, score: &Score) {
        self.count += 1;
        let reason = score.judgment.reason.clone();
        self.last = Some((problem.id.clone(), score.verdict.name(), reason));
    }

    fn check(self, limit_frac: f64, judged: usize) -> Result<(), RolloutError> {
        let Some((problem, verdict, reason)) = self.last else { return Ok(()) };
        if self.count as f64 <= limit_frac * judged as f64 {
            return Ok(());
        }
        Err(RolloutError::TooManyFailures {
            failed: self.count,
            judged,
            limit_frac,
            problem,
            verdict,
            reason,
        })
    }
}
