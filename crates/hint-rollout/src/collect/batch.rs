//! The batch of a step: its problems, rounds and replay.

use std::sync::Arc;

use crate::collect::collector::Collector;
use crate::collect::curriculum::DrawContext;
use crate::collect::stats::{CollectStats, Collected};
use crate::data::Problems;
use crate::error::RolloutError;
use crate::run::{Seed, StepContext};
use crate::sample::RolloutGroup;

/// Groups of a kind, without a signal, that a step keeps to be looked at.
const KEPT: usize = 3;

/// The groups of a step that dynamic sampling left out, as far as they are kept.
#[derive(Default)]
struct LeftOut {
    kept: Vec<RolloutGroup>,
    /// How many of them are all wrong.
    all_wrong: usize,
}

impl LeftOut {
    fn take(&mut self, groups: Vec<RolloutGroup>) {
        for group in groups {
            let is_all_wrong = group.num_correct() == 0;
            let others = self.kept.len() - self.all_wrong;
            if (if is_all_wrong { self.all_wrong } else { others }) < KEPT {
                self.all_wrong += usize::from(is_all_wrong);
                self.kept.push(group);
            }
        }
    }
}

impl Collector {
    /// Collects the batch of a step: selects problems, [collects](Collector::collect) their groups, and
    /// treats groups without a signal as configured. With everything off, that is one group for each of
    /// the next `count` problems of the epoch.
    ///
    /// `run_seed` is the seed of the run, `context` the place and seed of the step.
    ///
    /// # Errors
    ///
    /// As [`Collector::collect`].
    ///
    /// # Panics
    ///
    /// If there are no problems.
    pub fn collect_batch(
        &mut self,
        problems: &dyn Problems,
        count: usize,
        run_seed: u64,
        context: StepContext,
    ) -> Result<Collected, RolloutError> {
        assert!(!problems.is_empty(), "a step needs problems");
        let (rounds, criterion) = self.config.dynamic_sampling.plan();
        // The curriculum of a step follows from what was known before it.
        let record = Arc::clone(&self.record);
        let (mut groups, mut untrained) = (Vec::new(), Vec::new());
        let mut left_out = LeftOut::default();
        let mut stats = CollectStats::default();
        let mut in_step = 0;
        for round in 0..rounds {
            let missing = count - groups.len();
            let place = DrawContext {
                run: Seed::new(run_seed),
                step: context.seed,
                drawn: self.drawn,
                in_step,
                record: &record,
            };
            let draws = &mut self.draws;
            let selected = self.config.selection.next(problems, missing, &place, draws)?;
            let selected = selected.into_iter().map(|index| problems.at(index));
            let selected = selected.collect::<Result<Vec<_>, _>>()?;
            let selected = selected.iter().map(|problem| &**problem).collect::<Vec<_>>();
            // The first round has the seed that it has without dynamic sampling.
            let seed = match round {
                0 => context.seed,
                _ => context.seed.named("round").child(round as u64),
            };
            let collected = self.collect(&selected, StepContext { seed, ..context })?;
            self.drawn += missing as u64;
            in_step += missing;
            stats.merge(collected.stats);
            stats.batch.rounds += 1;
            untrained.extend(collected.untrained);
            let has_signal =
                |group: &RolloutGroup| criterion.is_none_or(|one| one.has_signal(group));
            let (fresh, others) = collected.groups.into_iter().partition::<Vec<_>, _>(has_signal);
            stats.batch.without_signal += others.len();
            left_out.take(others);
            groups.extend(fresh);
            if criterion.is_none() || groups.len() >= count {
                break;
            }
        }
        let refill =
            self.replay.refill(&mut groups, count, self.config.replay, context.progress.step);
        stats.batch.replayed = refill.groups;
        stats.batch.replay_age_sum = refill.age_sum;
        if criterion.is_some() {
            stats.batch.missing_groups = count.saturating_sub(groups.len());
        }
        untrained.extend(left_out.kept);
        Ok(Collected { groups, untrained, stats })
    }

    /// Problems drawn by [`Collector::collect_batch`] since the start of the run.
    pub const fn drawn(&self) -> u64 {
        self.drawn
    }
}
