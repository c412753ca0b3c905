//! The hinted stage: one hint level after another, until the search is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::collect::hinted::{LevelInput, Levels};
use crate::collect::job::SampleJob;
use crate::collect::pass::{CollectPass, demonstration};
use crate::data::{Hint, HintKind, HintLevel, Problem};
use crate::engine::TooLong;
use crate::error::RolloutError;
use crate::hint::leak::LeakKind;
use crate::hint::{HintProvider, HintRequest};
use crate::prompt::PromptFormat;
use crate::run::{RunProgress, Seed};
use crate::sample::{AppliedHint, Rollout, RolloutGroup, count_correct};

/// Hints that teach, by the index of the problem in the batch.
pub(crate) type TaughtHints = BTreeMap<usize, Arc<AppliedHint>>;

/// The search for a hint that helps one group.
pub(crate) struct HintSearch {
    /// Index of the problem in the batch.
    pub(crate) index: usize,
    /// Number of distinct levels of the source.
    levels: Option<usize>,
    seed: Seed,
    /// The memory of the problem.
    memory: Option<f64>,
    /// The levels that were tried, each with its success rate.
    tried: Vec<(HintLevel, f64)>,
    /// There is no hint at the last level.
    is_over: bool,
    /// The attempt that counts so far: its success rate, and its rollouts.
    best: Option<(f64, Vec<Rollout>)>,
    /// The rollouts of the other attempts.
    others: Vec<Rollout>,
}

impl HintSearch {
    /// A search that has tried nothing yet.
    pub(crate) const fn new(
        index: usize,
        levels: Option<usize>,
        seed: Seed,
        memory: Option<f64>,
    ) -> Self {
        Self {
            index,
            levels,
            seed,
            memory,
            tried: Vec::new(),
            is_over: false,
            best: None,
            others: Vec::new(),
        }
    }

    /// Whether any hint was given.
    pub(crate) const fn has_rollouts(&self) -> bool {
        self.best.is_some()
    }

    /// The next level to try, or `None` when the search is over.
    fn next(&self, levels: &dyn Levels, progress: RunProgress) -> Option<HintLevel> {
        let input = LevelInput::new(self.levels, &self.tried)
            .with_memory(self.memory)
            .with_progress(progress)
            .with_seed(self.seed);
        let next = (!self.is_over).then(|| levels.next(&input)).flatten();
        next.filter(|level| level.share() > 0.0)
    }

    /// The rollouts of the attempt that counts, and of the others; `None` when no hint was given.
    pub(crate) fn into_rollouts(self) -> Option<(Vec<Rollout>, Vec<Rollout>)> {
        self.best.map(|(_, rollouts)| (rollouts, self.others))
    }
}

impl CollectPass<'_> {
    /// Gives hints to the groups at `indices`. Each round asks for the hints of all groups whose
    /// search continues, and samples them together. The hints of the first round are `first`, if they were asked for.
    pub(crate) fn sample_hinted(
        &mut self,
        provider: &dyn HintProvider,
        groups: &[RolloutGroup],
        indices: &[usize],
        mut first: Option<TaughtHints>,
    ) -> Result<Vec<HintSearch>, RolloutError> {
        let seed = self.context.seed;
        let stage = seed.named("hinted");
        let mut all = self.searches(provider, indices);
        if self.parts.levels.samples_plain_first() {
            self.sample_plain_again(groups, &mut all)?;
        }
        loop {
            let asking = match first.take() {
                Some(hints) => given(&hints, &mut all),
                None => self.ask(provider, groups, &mut all, seed)?,
            };
            if asking.is_empty() {
                return Ok(all);
            }
            let mut jobs = Vec::new();
            let mut sampled_for = Vec::new();
            for (position, applied) in asking {
                let HintSearch { index, tried, .. } = &all[position];
                let (index, round) = (*index, tried.len() as u64);
                let level = HintLevel::new(applied.share);
                if applied.hint.kind == HintKind::Demonstration {
                    let completion = demonstration(self.format, &applied.hint.text)?;
                    let rollouts = self.judge(index, completion, &applied)?;
                    self.observe(&mut all[position], level, rollouts);
                    continue;
                }
                // The first round has the seed that it has without a search.
                let seed = stage.child(index as u64);
                let seed = if round == 0 { seed } else { seed.named("round").child(round) };
                let count = self.config.hinted_size.unwrap_or(self.config.group_size);
                let request = self.request(applied.prompt.clone(), count, seed.value());
                jobs.push(SampleJob { index, request, hint: Some(applied), needed: None });
                sampled_for.push((position, level));
            }
            let sampled = self.sample(&jobs)?;
            for ((position, level), rollouts) in sampled_for.into_iter().zip(sampled) {
                self.observe(&mut all[position], level, rollouts);
            }
        }
    }

    /// Samples the plain prompts once more. A search with a success there is over.
    fn sample_plain_again(
        &mut self,
        groups: &[RolloutGroup],
        all: &mut [HintSearch],
    ) -> Result<(), RolloutError> {
        let stage = self.context.seed.named("plain_again");
        let job = |search: &HintSearch| {
            let seed = stage.child(search.index as u64).value();
            let prompt = groups[search.index].prompt.clone();
            let request = self.request(prompt, self.config.group_size, seed);
            SampleJob { index: search.index, request, hint: None, needed: None }
        };
        let jobs = all.iter().map(job).collect::<Vec<_>>();
        let sampled = self.sample(&jobs)?;
        for (search, rollouts) in all.iter_mut().zip(sampled) {
            let rate = count_correct(&rollouts) as f64 / rollouts.len().max(1) as f64;
            if rate > 0.0 {
                (search.best, search.is_over) = (Some((rate, rollouts)), true);
            } else {
                search.others.extend(rollouts);
            }
        }
        Ok(())
    }

    /// A search for each of the groups at `indices`.
    pub(crate) fn searches(
        &self,
        provider: &dyn HintProvider,
        indices: &[usize],
    ) -> Vec<HintSearch> {
        let seeds = self.context.seed.named("hinted").named("level");
        let search = |&index: &usize| {
            let problem = self.problems[index];
            let (levels, memory) = (provider.levels(problem), self.record.level(&problem.id));
            HintSearch::new(index, levels, seeds.child(index as u64), memory)
        };
        indices.iter().map(search).collect()
    }

    /// The hints of the next round, each with the position of its group in `all`. A search without a
    /// hint is over.
    pub(crate) fn ask(
        &mut self,
        provider: &dyn HintProvider,
        groups: &[RolloutGroup],
        all: &mut [HintSearch],
        seed: Seed,
    ) -> Result<Vec<(usize, Arc<AppliedHint>)>, RolloutError> {
        let mut requests = Vec::new();
        let mut positions = Vec::new();
        for (position, search) in all.iter_mut().enumerate() {
            let progress = self.context.progress;
            let Some(level) = search.next(self.parts.levels, progress) else { continue };
            let round = search.tried.len();
            let seed = seed.named("hint").child(search.index as u64);
            let request = HintRequest::new(self.problems[search.index])
                .with_failed(&groups[search.index].rollouts)
                .with_problems(self.problems)
                .with_level(level)
                .with_round(round)
                .with_progress(progress)
                .with_seed(seed.child(round as u64));
            requests.push(request);
            positions.push(position);
        }
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let hints = self.config.leak_guard.hints(self.leaks, provider, &requests, self)?;
        let mut asking = Vec::new();
        for ((position, request), hint) in positions.into_iter().zip(&requests).zip(hints) {
            self.stats.hinted.leaks.observe(&hint);
            // Blanks give nothing away.
            let leaks = !hint.masked && hint.leaks.iter().any(|leak| leak.kind == LeakKind::Answer);
            match hint.hint {
                None => all[position].is_over = true,
                Some(hint) => {
                    let plain = &groups[all[position].index].prompt;
                    match self.fitting(request.problem, hint, request.level, plain)? {
                        Some(mut applied) => {
                            applied.leaks_answer = leaks;
                            asking.push((position, Arc::new(applied)));
                        }
                        // A higher level is longer still.
                        None => all[position].is_over = true,
                    }
                }
            }
        }
        Ok(asking)
    }

    /// The prompt that a hint makes, if the engine holds it; the hint may be cut for that.
    fn fitting(
        &mut self,
        problem: &Problem,
        mut hint: Hint,
        level: HintLevel,
        plain: &[u32],
    ) -> Result<Option<AppliedHint>, RolloutError> {
        let mut is_counted = false;
        loop {
            let applied = apply(self.format, problem, hint, level, plain)?;
            let (what, len, limit) = match applied.hint.kind {
                HintKind::Demonstration => {
                    let tokens = self.format.encode_demonstration(&applied.hint.text)?;
                    ("demonstration", plain.len() + tokens.len(), self.limits.row)
                }
                _ => ("hint", applied.prompt.len(), self.limits.prompt),
            };
            if len <= limit {
                return Ok(Some(applied));
            }
            self.stats.hinted.too_long += usize::from(!is_counted);
            is_counted = true;
            hint = applied.hint;
            match self.config.too_long {
                TooLong::Abort => {
                    let problem = problem.id.clone();
                    return Err(RolloutError::TooLong { problem, what, len, limit });
                }
                TooLong::TruncateHint if hint.kind != HintKind::Demonstration => {
                    // A token holds a character or more, so no cut is too long.
                    let kept = hint.text.chars().count().saturating_sub(len - limit);
                    hint.text = hint.text.chars().take(kept).collect();
                    if hint.text.trim().is_empty() {
                        return Ok(None);
                    }
                }
                TooLong::Drop | TooLong::TruncateHint => return Ok(None),
            }
        }
    }

    fn observe(&mut self, search: &mut HintSearch, level: HintLevel, rollouts: Vec<Rollout>) {
        self.stats.hinted.attempts += 1;
        let rate = count_correct(&rollouts) as f64 / rollouts.len().max(1) as f64;
        let best = search.best.as_ref().map(|(best, _)| *best);
        if best.is_none_or(|best| self.parts.levels.prefers(rate, best)) {
            let before = search.best.replace((rate, rollouts));
            search.others.extend(before.into_iter().flat_map(|(_, rollouts)| rollouts));
        } else {
            search.others.extend(rollouts);
        }
        search.tried.push((level, rate));
    }
}

/// The hints of a round, each with the position of its group in `all`. A search without one is over.
fn given(hints: &TaughtHints, all: &mut [HintSearch]) -> Vec<(usize, Arc<AppliedHint>)> {
    let mut asking = Vec::new();
    for (position, search) in all.iter_mut().enumerate() {
        match hints.get(&search.index) {
            Some(hint) => asking.push((position, Arc::clone(hint))),
            None => search.is_over = true,
        }
    }
    asking
}

/// The prompt that a hint makes.
fn apply(
    format: &dyn PromptFormat,
    problem: &Problem,
    hint: Hint,
    level: HintLevel,
    plain: &[u32],
) -> Result<AppliedHint, RolloutError> {
    let (prompt, prefix_len) = match hint.kind {
        HintKind::Guidance => (format.encode(problem, Some(&hint))?, 0),
        HintKind::Prefix => {
            let prefix = format.encode_completion(&hint.text)?;
            ([plain, &prefix].concat(), prefix.len())
        }
        HintKind::Demonstration => (plain.to_vec(), 0),
    };
    Ok(AppliedHint::new(hint, level, prompt, prefix_len))
}
