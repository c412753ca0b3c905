//! The batch of a step: its problems, rounds and replay.

use std::sync::Arc;

use crate::collect::collector::Collector;
use crate::collect::curriculum::DrawContext;
use crate::collect::stats::{CollectStats, Collected};
use crate::data::Problems;
use crate::error::RolloutError;
use crate::run::{Seed, StepContext};

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
        let (mut groups, mut unjudged) = (Vec::new(), Vec::new());
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
            unjudged.extend(collected.unjudged);
            let mut fresh = collected.groups;
            if let Some(criterion) = criterion {
                let before = fresh.len();
                fresh.retain(|group| criterion.has_signal(group));
                stats.batch.without_signal += before - fresh.len();
            }
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
        Ok(Collected { groups, unjudged, stats })
    }

    /// Problems drawn by [`Collector::collect_batch`] since the start of the run.
    pub const fn drawn(&self) -> u64 {
        self.drawn
    }
}
