//! Sampling and judging.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hint_reward::{Rubric, Score};

use crate::collect::config::CollectorConfig;
use crate::collect::curriculum::SuccessRecord;
use crate::collect::early::EarlyJudge;
use crate::collect::job::{SampleJob, answers};
use crate::collect::parts::Parts;
use crate::collect::stats::CollectStats;
use crate::data::{HintLevel, Problem};
use crate::engine::{
    Completion, GenerationRequest, Peers, PolicyVersion, RolloutEngine, StopReason, TooLong,
    check_contract,
};
use crate::error::RolloutError;
use crate::hint::leak::LeakDetector;
use crate::hint::{EngineWriter, HintWriter, WriteRequest};
use crate::prompt::PromptFormat;
use crate::run::{Activity, StepContext, Work};
use crate::sample::{
    Answers, AppliedHint, FailureWindow, Failures, Rollout, RolloutGroup, Scored, Tally,
    VerdictAction, cut_at_stop, score_all,
};

/// Inputs of a collection.
pub(crate) struct CollectPass<'c> {
    pub(crate) problems: &'c [&'c Problem],
    pub(crate) context: StepContext,
    pub(crate) engine: &'c mut dyn RolloutEngine,
    pub(crate) format: &'c dyn PromptFormat,
    pub(crate) rubric: &'c Arc<Rubric>,
    pub(crate) config: &'c CollectorConfig,
    pub(crate) parts: Parts<'c>,
    pub(crate) leaks: &'c LeakDetector,
    pub(crate) record: &'c SuccessRecord,
    pub(crate) limits: Limits,
    pub(crate) stats: CollectStats,
    pub(crate) failures: Failures,
    /// Failures of earlier steps.
    pub(crate) window: &'c FailureWindow,
    /// Rollouts that could not be judged, with the indices of their problems.
    pub(crate) dropped: Vec<(usize, Rollout)>,
    /// By problem whose plain group may end early, how many of its rollouts are of its first completions: rates are over these.
    pub(crate) counted: BTreeMap<usize, usize>,
    pub(crate) activity: &'c Activity,
}

/// Tokens that the engine holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The longest prompt.
    pub(crate) prompt: usize,
    /// The longest prompt with its completion.
    pub(crate) row: usize,
}

impl CollectPass<'_> {
    /// Samples the groups at `indices` on their plain prompts.
    pub(crate) fn sample_plain(
        &mut self,
        groups: &mut [RolloutGroup],
        indices: &[usize],
    ) -> Result<(), RolloutError> {
        let stage = self.context.seed.named("plain");
        let needed = self.config.early_stop.map(|stop| stop.needed);
        let job = |&index: &usize| {
            let seed = stage.child(index as u64).value();
            let prompt = groups[index].prompt.clone();
            let request = self.request(prompt, self.config.group_size, seed);
            SampleJob { index, request, hint: None, needed }
        };
        let jobs = indices.iter().map(job).collect::<Vec<_>>();
        let sampled = self.sample(&jobs)?;
        for (&index, rollouts) in indices.iter().zip(sampled) {
            groups[index].rollouts = rollouts;
        }
        Ok(())
    }

    /// Samples and scores; the rollouts that could not be judged are left out. Groups are judged while others are sampled,
    /// if the engine tells of their completions.
    pub(crate) fn sample(&mut self, jobs: &[SampleJob]) -> Result<Vec<Vec<Rollout>>, RolloutError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let problem = |job: &SampleJob| self.problems[job.index];
        let ids = jobs.iter().map(|job| problem(job).id.as_str()).collect::<Vec<_>>();
        let request = |job: &SampleJob| GenerationRequest {
            expected_tokens: self.record.expected_tokens(&problem(job).id),
            ..job.request.clone()
        };
        let requests = jobs.iter().map(request).collect::<Vec<_>>();
        let is_hinted = jobs.iter().any(|job| job.hint.is_some());
        let work = if is_hinted { Work::SamplingHinted } else { Work::Sampling };
        let wanted = requests.iter().map(|request| request.num_completions).sum();
        self.activity.begin(work, wanted);
        let judge = EarlyJudge {
            jobs,
            problems: self.problems,
            format: self.format,
            rubric: self.rubric,
            config: self.config,
            process: process(self.engine.peers()),
        };
        let (mut sampled, early) =
            judge.while_sampling(|watch| self.engine.generate_watched(&requests, watch))?;
        self.activity.begin(Work::Judging, jobs.len());
        check_contract(&ids, &requests, &sampled)?;
        for ((job, completions), early) in jobs.iter().zip(&mut sampled).zip(&early) {
            if let Some(early) = early {
                let others = early.take_others(completions);
                self.stats.sampled.observe_others(job.request.prompt.len(), &others);
            }
        }
        for completion in sampled.iter_mut().flatten() {
            cut_at_stop(self.format, &self.config.sampling, completion)?;
        }
        for (job, completions) in jobs.iter().zip(&sampled) {
            let sampled = &mut self.stats.sampled;
            sampled.observe(job.request.prompt.len(), completions, job.needed);
            sampled.stoppable += usize::from(job.needed.is_some());
        }
        let answered = jobs.iter().zip(&sampled).zip(early).map(|((job, completions), early)| {
            let early = early.and_then(|early| early.answers_of(completions));
            let late = || answers(self.format, problem(job), job.hint.as_ref(), completions);
            early.map_or_else(late, Ok)
        });
        let judged = self.judged(self.engine.peers(), answered.collect::<Result<_, _>>()?)?;
        let mut result = Vec::with_capacity(sampled.len());
        for ((job, completions), judged) in jobs.iter().zip(sampled).zip(judged) {
            let counted = job.needed.unwrap_or(completions.len());
            self.stats.judged.observe(judged.1.scores.iter().take(counted));
            self.failures.observe(completions.len());
            let (rollouts, counted) =
                self.admit(job.index, completions, job.hint.as_ref(), judged, counted)?;
            if job.needed.is_some() {
                self.counted.insert(job.index, counted);
            }
            result.push(rollouts);
        }
        Ok(result)
    }

    /// Scores a completion of the problem at `index` that was not sampled.
    pub(crate) fn judge(
        &mut self,
        index: usize,
        completion: Completion,
        applied: &Arc<AppliedHint>,
    ) -> Result<Vec<Rollout>, RolloutError> {
        let completions = vec![completion];
        let answers = answers(self.format, self.problems[index], Some(applied), &completions)?;
        let judged = self.judged(self.engine.peers(), vec![answers])?.swap_remove(0);
        self.failures.observe(1);
        Ok(self.admit(index, completions, Some(applied), judged, 1)?.0)
    }

    /// Texts and scores of the answers of each problem. Peers each judge a part. A reward that fails all the time
    /// is found here, and not after hours of waiting for it.
    fn judged(
        &self,
        peers: Option<&dyn Peers>,
        answers: Vec<Arc<Answers>>,
    ) -> Result<Vec<(Vec<String>, Scored)>, RolloutError> {
        let all = answers.iter().map(|answers| answers.texts.len()).sum();
        let (policy, groups, failed) = (&self.config.verdicts, answers.len(), AtomicUsize::new(0));
        // Not all of `self`: engines stay on their thread.
        let (window, failures, activity) = (self.window, &self.failures, self.activity);
        let on_scored = |answers: &Answers, scored: &Scored| {
            activity.advance(1);
            let is_dropped =
                |score: &&Score| policy.action(score.verdict) == Some(VerdictAction::Drop);
            let mut dropped = scored.scores.iter().filter(is_dropped);
            let Some(first) = dropped.next() else { return Ok(()) };
            let count = 1 + dropped.count();
            let failed = failed.fetch_add(count, Ordering::Relaxed) + count;
            let (now, last) = (Tally::new(failed, all, groups), (&answers.problem, first));
            window.check_within(failures, now, last, policy)
        };
        let scored = score_all(peers, &answers, self.rubric, self.config.scoring, on_scored)?;
        let texts = answers.into_iter().map(|answers| match Arc::try_unwrap(answers) {
            Ok(answers) => answers.texts,
            // A reward that is past its deadline may still read them.
            Err(answers) => answers.texts.clone(),
        });
        Ok(texts.zip(scored).collect())
    }

    /// The rollouts that take part in the group of the problem at `index`. Also how many of them are of the first `counted`
    /// completions, which alone count in shares.
    fn admit(
        &mut self,
        index: usize,
        completions: Vec<Completion>,
        applied: Option<&Arc<AppliedHint>>,
        (texts, scored): (Vec<String>, Scored),
        counted: usize,
    ) -> Result<(Vec<Rollout>, usize), RolloutError> {
        for (name, count) in scored.failures {
            *self.stats.judged.reward_failures.entry(name).or_default() += count;
        }
        let mut rollouts = Vec::with_capacity(completions.len());
        let (mut first, problem) = (0, self.problems[index]);
        let judged = completions.into_iter().zip(texts).zip(scored.scores);
        for (place, ((completion, text), score)) in judged.enumerate() {
            let counts = usize::from(place < counted);
            let mut rollout = Rollout::new(completion, text, score);
            rollout.hint = applied.cloned();
            match self.config.verdicts.action(rollout.score.verdict) {
                None | Some(VerdictAction::Wrong) => {
                    let is_cut_off = rollout.completion.stop == StopReason::Length;
                    rollout.is_masked = self.config.mask_truncated && is_cut_off;
                    self.stats.judged.masked += counts * usize::from(rollout.is_masked);
                    first += counts;
                    rollouts.push(rollout);
                }
                Some(VerdictAction::Drop) => {
                    self.stats.judged.dropped += counts;
                    self.failures.record(problem, &rollout.score);
                    self.dropped.push((index, rollout));
                }
                Some(VerdictAction::Abort) => {
                    return Err(RolloutError::AbortVerdict {
                        problem: problem.id.clone(),
                        verdict: rollout.score.verdict.name(),
                        reason: rollout.score.judgment.reason,
                    });
                }
            }
        }
        Ok((rollouts, first))
    }

    /// Whether a plain prompt of `len` tokens can be asked; counts the ones that cannot.
    pub(crate) fn prompt_fits(&mut self, problem: &str, len: usize) -> Result<bool, RolloutError> {
        let limit = self.limits.prompt;
        if len <= limit {
            return Ok(true);
        }
        if self.config.too_long == TooLong::Abort {
            let problem = problem.to_owned();
            return Err(RolloutError::TooLong { problem, what: "prompt", len, limit });
        }
        self.stats.sampled.too_long_prompts += 1;
        Ok(false)
    }

    pub(crate) fn request(&self, prompt: Vec<u32>, count: usize, seed: u64) -> GenerationRequest {
        GenerationRequest::new(prompt, count, seed, self.config.sampling.clone())
    }
}

/// The number of this process, and how many of them judge a part each.
fn process(peers: Option<&dyn Peers>) -> (usize, usize) {
    let peers = peers.filter(|peers| peers.world_size() > 1);
    peers.map_or((0, 1), |peers| (peers.rank(), peers.world_size()))
}

/// A demonstration as a completion: its tokens and a stop token, each with probability 1 under the
/// distribution that drew it.
pub(crate) fn demonstration(
    format: &dyn PromptFormat,
    text: &str,
) -> Result<Completion, RolloutError> {
    let tokens = format.encode_demonstration(text)?;
    let logprobs = vec![0.0; tokens.len()];
    Ok(Completion::new(tokens, logprobs, StopReason::Stop, PolicyVersion::default()))
}

impl HintWriter for CollectPass<'_> {
    fn write(&mut self, requests: &[WriteRequest]) -> Result<Vec<String>, RolloutError> {
        let mut writer = EngineWriter::new(&mut *self.engine, self.format);
        let texts = writer.write(requests)?;
        self.stats.sampled.tokens += writer.tokens();
        self.stats.sampled.prompt_tokens += writer.prompt_tokens();
        Ok(texts)
    }

    fn is_correct(&mut self, problem: &Problem, solution: &str) -> Result<bool, RolloutError> {
        let completion = demonstration(self.format, solution)?;
        let answers = answers(self.format, problem, None, &[completion])?;
        // The source that asks may be one that a single process of several asks.
        let (_, scored) = self.judged(None, vec![answers])?.swap_remove(0);
        // A completion that could not be scored leaves none.
        Ok(matches!(scored.scores.as_slice(), [score] if score.verdict.is_correct()))
    }

    fn first_tokens(&mut self, text: &str, level: HintLevel) -> Result<String, RolloutError> {
        EngineWriter::new(&mut *self.engine, self.format).first_tokens(text, level)
    }
}
