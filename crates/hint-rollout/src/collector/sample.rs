//! Sampling and judging.

use std::sync::Arc;

use hint_reward::{RewardInput, Rubric, Score};

use super::stats::CollectStats;
use crate::{
    AppliedHint, CollectorConfig, Completion, EngineWriter, GenerationRequest, HintLevel,
    HintWriter, Moment, Problem, PromptFormat, Rollout, RolloutEngine, RolloutError, RolloutGroup,
    StopReason, VerdictAction, WriteRequest,
};

/// What a collection works with.
pub(super) struct Workshop<'c> {
    pub(super) engine: &'c mut dyn RolloutEngine,
    pub(super) format: &'c dyn PromptFormat,
    pub(super) rubric: &'c Rubric,
    pub(super) config: &'c CollectorConfig,
    pub(super) stats: CollectStats,
    pub(super) failures: Failures,
}

/// One prompt to sample from.
pub(super) struct Order<'p> {
    pub(super) problem: &'p Problem,
    pub(super) request: GenerationRequest,
    /// The help in the prompt.
    pub(super) help: Option<Arc<AppliedHint>>,
}

impl Workshop<'_> {
    /// Samples the groups at `indices` on their plain prompts.
    pub(super) fn sample_plain(
        &mut self,
        problems: &[&Problem],
        groups: &mut [RolloutGroup],
        indices: &[usize],
        moment: Moment,
    ) -> Result<(), RolloutError> {
        let stage = moment.seed.named("plain");
        let order = |&index: &usize| {
            let seed = stage.child(index as u64).value();
            let prompt = groups[index].prompt.clone();
            let request = self.request(prompt, self.config.group_size, seed);
            Order { problem: problems[index], request, help: None }
        };
        let sampled = self.sample(indices.iter().map(order).collect())?;
        for (&index, rollouts) in indices.iter().zip(sampled) {
            groups[index].rollouts = rollouts;
        }
        Ok(())
    }

    /// Samples and scores; the rollouts that could not be judged are left out.
    pub(super) fn sample(
        &mut self,
        orders: Vec<Order<'_>>,
    ) -> Result<Vec<Vec<Rollout>>, RolloutError> {
        if orders.is_empty() {
            return Ok(Vec::new());
        }
        let problems = orders.iter().map(|order| order.problem).collect::<Vec<_>>();
        let requests = orders.iter().map(|order| order.request.clone()).collect::<Vec<_>>();
        let sampled = self.engine.generate(&requests)?;
        check_contract(&problems, &requests, &sampled)?;
        let mut result = Vec::with_capacity(sampled.len());
        for (order, completions) in orders.into_iter().zip(sampled) {
            self.stats.completions += completions.len();
            self.stats.prompt_tokens += order.request.prompt.len() * completions.len();
            for completion in &completions {
                let length = completion.tokens.len();
                self.stats.tokens += length;
                self.stats.lengths.observe(length);
                match completion.stop {
                    StopReason::Stop => self.stats.terminated.observe(length),
                    StopReason::Length => self.stats.truncated += 1,
                }
            }
            result.push(self.judge(order.problem, completions, order.help.as_ref(), true)?);
        }
        Ok(result)
    }

    /// Scores completions, sampled or not.
    pub(super) fn judge(
        &mut self,
        problem: &Problem,
        completions: Vec<Completion>,
        help: Option<&Arc<AppliedHint>>,
        is_sampled: bool,
    ) -> Result<Vec<Rollout>, RolloutError> {
        let prefix = help.filter(|help| help.prefix_len > 0).map_or("", |help| &help.hint.text);
        let (texts, scores) =
            score_completions(self.format, self.rubric, problem, prefix, &completions)?;
        let mut rollouts = Vec::with_capacity(completions.len());
        for ((completion, text), score) in completions.into_iter().zip(texts).zip(scores) {
            if is_sampled {
                *self.stats.verdicts.entry(score.verdict.name()).or_default() += 1;
            }
            match self.config.verdicts.action(score.verdict) {
                None | Some(VerdictAction::Wrong) => {
                    let is_cut_off = completion.stop == StopReason::Length;
                    let mut rollout = Rollout::new(completion, text, score);
                    rollout.is_masked = self.config.mask_truncated && is_cut_off;
                    self.stats.masked += usize::from(rollout.is_masked);
                    rollouts.push(match help {
                        Some(help) => rollout.with_help(Arc::clone(help)),
                        None => rollout,
                    });
                }
                Some(VerdictAction::Drop) => {
                    self.stats.dropped += 1;
                    self.failures.record(problem, &score);
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
        Ok(rollouts)
    }

    pub(super) fn request(&self, prompt: Vec<u32>, count: usize, seed: u64) -> GenerationRequest {
        GenerationRequest::new(prompt, count, seed, self.config.sampling.clone())
    }
}

impl HintWriter for Workshop<'_> {
    fn write(&mut self, requests: &[WriteRequest]) -> Result<Vec<String>, RolloutError> {
        let mut writer = EngineWriter::new(&mut *self.engine, self.format);
        let texts = writer.write(requests)?;
        self.stats.tokens += writer.tokens();
        self.stats.prompt_tokens += writer.prompt_tokens();
        Ok(texts)
    }

    fn first_tokens(&mut self, text: &str, level: HintLevel) -> Result<String, RolloutError> {
        EngineWriter::new(&mut *self.engine, self.format).first_tokens(text, level)
    }
}

/// Decodes and scores the completions of one problem, each of which continues `prefix`.
pub(crate) fn score_completions(
    format: &dyn PromptFormat,
    rubric: &Rubric,
    problem: &Problem,
    prefix: &str,
    completions: &[Completion],
) -> Result<(Vec<String>, Vec<Score>), RolloutError> {
    let texts = completions
        .iter()
        .map(|completion| Ok(format!("{prefix}{}", format.decode(&completion.tokens)?)))
        .collect::<Result<Vec<_>, RolloutError>>()?;
    let inputs = completions
        .iter()
        .zip(&texts)
        .map(|(completion, text)| {
            RewardInput::new(text, &problem.answer)
                .with_prompt(&problem.question)
                .with_problem_id(&problem.id)
                .with_truncated(completion.stop == StopReason::Length)
                .with_completion_tokens(completion.tokens.len())
                .with_columns(&problem.columns)
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
    check_counts(requests, sampled)?;
    for (problem, completions) in problems.iter().zip(sampled) {
        for completion in completions {
            let logprobs = &completion.behavior_logprobs;
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

pub(crate) fn check_counts(
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
    for (request, completions) in requests.iter().zip(sampled) {
        expect("completions", request.num_completions, completions.len())?;
        for completion in completions {
            let logprobs = &completion.behavior_logprobs;
            expect("log-probabilities", completion.tokens.len(), logprobs.len())?;
        }
    }
    Ok(())
}

/// Completions that could not be judged, and the last of them for the error message.
#[derive(Debug, Default)]
pub(super) struct Failures {
    count: usize,
    last: Option<(String, &'static str, Option<String>)>,
}

impl Failures {
    fn record(&mut self, problem: &Problem, score: &Score) {
        self.count += 1;
        let reason = score.judgment.reason.clone();
        self.last = Some((problem.id.clone(), score.verdict.name(), reason));
    }

    pub(super) fn check(self, limit_frac: f64, judged: usize) -> Result<(), RolloutError> {
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
