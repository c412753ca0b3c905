//! The second stage: help at one level after another, until the search is over.

use std::sync::Arc;

use crate::collect::hinted::Search;
use crate::collect::pass::{Order, Workshop};
use crate::data::{Hint, HintKind, HintLevel, Problem};
use crate::engine::{Completion, PolicyVersion, StopReason};
use crate::error::RolloutError;
use crate::hint::{HintProvider, HintRequest};
use crate::prompt::PromptFormat;
use crate::run::Moment;
use crate::sample::{AppliedHint, Rollout, RolloutGroup, count_correct};

/// The help that one group gets.
pub(crate) struct Attempts {
    /// Index of the problem in the batch.
    pub(crate) index: usize,
    search: Search,
    /// The attempt that counts so far: its success rate, and its rollouts.
    best: Option<(f64, Vec<Rollout>)>,
}

impl Attempts {
    /// Whether any help was given.
    pub(crate) const fn has_rollouts(&self) -> bool {
        self.best.is_some()
    }

    /// The rollouts of the attempt that counts; `None` when no help was given.
    pub(crate) fn into_rollouts(self) -> Option<Vec<Rollout>> {
        self.best.map(|(_, rollouts)| rollouts)
    }
}

impl Workshop<'_> {
    /// Helps the groups at `indices`. Each round asks for the hints of all groups whose search goes
    /// on, and samples them together.
    pub(crate) fn help(
        &mut self,
        provider: &dyn HintProvider,
        problems: &[&Problem],
        groups: &[RolloutGroup],
        indices: &[usize],
        moment: Moment,
    ) -> Result<Vec<Attempts>, RolloutError> {
        let stage = moment.seed.named("hinted");
        let search = |index: usize| {
            let seed = stage.named("level").child(index as u64);
            let levels = provider.levels(problems[index]);
            let search = self.config.level.start(levels, moment.progress, seed);
            Attempts { index, search, best: None }
        };
        let mut all = indices.iter().map(|&index| search(index)).collect::<Vec<_>>();
        loop {
            let asking = self.ask(provider, problems, groups, &mut all, moment)?;
            if asking.is_empty() {
                return Ok(all);
            }
            let mut orders = Vec::new();
            let mut sampled_for = Vec::new();
            for (position, help) in asking {
                let Attempts { index, search, .. } = &all[position];
                let (problem, round) = (problems[*index], search.round() as u64);
                if help.hint.kind == HintKind::Demonstration {
                    let completion = demonstration(self.format, &help.hint)?;
                    let rollouts = self.judge(problem, vec![completion], Some(&help), false)?;
                    self.observe(&mut all[position], rollouts);
                    continue;
                }
                // The first round has the seed that it has without a search.
                let seed = stage.child(*index as u64);
                let seed = if round == 0 { seed } else { seed.named("round").child(round) };
                let count = self.config.helped_size.unwrap_or(self.config.group_size);
                let request = self.request(help.prompt.clone(), count, seed.value());
                orders.push(Order { problem, request, help: Some(help) });
                sampled_for.push(position);
            }
            let sampled = self.sample(orders)?;
            for (position, rollouts) in sampled_for.into_iter().zip(sampled) {
                self.observe(&mut all[position], rollouts);
            }
        }
    }

    /// The help of the next round, with the position of its group in `all`. Searches without any are
    /// over.
    fn ask(
        &mut self,
        provider: &dyn HintProvider,
        problems: &[&Problem],
        groups: &[RolloutGroup],
        all: &mut [Attempts],
        moment: Moment,
    ) -> Result<Vec<(usize, Arc<AppliedHint>)>, RolloutError> {
        let mut requests = Vec::new();
        let mut positions = Vec::new();
        for (position, attempts) in all.iter_mut().enumerate() {
            let Some(level) = attempts.search.next() else { continue };
            if level.share() == 0.0 {
                attempts.search.give_up();
                continue;
            }
            let round = attempts.search.round();
            let seed = moment.seed.named("hint").child(attempts.index as u64);
            let request = HintRequest::new(problems[attempts.index])
                .with_failed(&groups[attempts.index].rollouts)
                .with_level(level)
                .with_round(round)
                .with_progress(moment.progress)
                .with_seed(seed.child(round as u64));
            requests.push(request);
            positions.push(position);
        }
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let hints = self.config.leak_guard.hints(provider, &requests, self)?;
        let mut asking = Vec::new();
        for ((position, request), hint) in positions.into_iter().zip(&requests).zip(hints) {
            self.stats.leaks.observe(&hint);
            match hint.hint {
                None => all[position].search.give_up(),
                Some(hint) => {
                    let plain = &groups[all[position].index].prompt;
                    let help = apply(self.format, request.problem, hint, request.level, plain)?;
                    asking.push((position, Arc::new(help)));
                }
            }
        }
        Ok(asking)
    }

    fn observe(&mut self, attempts: &mut Attempts, rollouts: Vec<Rollout>) {
        self.stats.attempts += 1;
        let rate = count_correct(&rollouts) as f64 / rollouts.len().max(1) as f64;
        let best = attempts.best.as_ref().map(|(best, _)| *best);
        if best.is_none_or(|best| attempts.search.prefers(rate, best)) {
            attempts.best = Some((rate, rollouts));
        }
        attempts.search.observe(rate);
    }
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

/// A demonstration as a completion: its tokens and a stop token, each with probability 1 under the
/// distribution that drew it.
fn demonstration(format: &dyn PromptFormat, hint: &Hint) -> Result<Completion, RolloutError> {
    let mut tokens = format.encode_completion(&hint.text)?;
    tokens.extend(format.stop_tokens().first());
    let logprobs = vec![0.0; tokens.len()];
    Ok(Completion::new(tokens, logprobs, StopReason::Stop, PolicyVersion::default()))
}
