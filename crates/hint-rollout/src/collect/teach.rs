//! Hints that teach: they become prompts that plain completions are scored under.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::collect::curriculum::SuccessRecord;
use crate::collect::hinted::{Contrast, Taught};
use crate::collect::pass::CollectPass;
use crate::collect::search::HintSearch;
use crate::data::{HintKind, Problem};
use crate::error::RolloutError;
use crate::hint::HintProvider;
use crate::hint::source::Placebo;
use crate::run::{Seed, StepContext};
use crate::sample::{AppliedHint, RolloutGroup, TeacherPrompts};

impl CollectPass<'_> {
    /// Gives the groups at `indices` the prompts that teach them. Each gets the first level of the search:
    /// nothing is sampled that could say whether another one is better.
    pub(crate) fn teach(
        &mut self,
        provider: &dyn HintProvider,
        problems: &[&Problem],
        groups: &mut [RolloutGroup],
        indices: &[usize],
        record: &SuccessRecord,
        context: StepContext,
    ) -> Result<(), RolloutError> {
        let Some(teaching) = self.parts.combine.teaching() else { return Ok(()) };
        let levels = context.seed.named("hinted").named("level");
        let taught =
            self.prompts(provider, problems, groups, indices, (levels, record), context)?;
        let mut contrasts = match teaching.contrast {
            Contrast::None => BTreeMap::new(),
            Contrast::Placebo => {
                let indices = taught.keys().copied().collect::<Vec<_>>();
                let seed = context.seed.named("contrast");
                let context = StepContext { seed, ..context };
                // What a placebo gives away of another problem says nothing about the source.
                let (leaks, too_long) = (self.stats.leaks, self.stats.too_long_hints);
                let placebo = Placebo::new(provider);
                let levels = (levels, record);
                let found = self.prompts(&placebo, problems, groups, &indices, levels, context)?;
                (self.stats.leaks, self.stats.too_long_hints) = (leaks, too_long);
                found
            }
        };
        for (index, hint) in taught {
            let contrast = contrasts.remove(&index);
            if contrast.is_none() && teaching.contrast != Contrast::None {
                continue;
            }
            let rollouts = groups[index].rollouts.iter();
            let is_taught = rollouts.map(|rollout| match teaching.completions {
                Taught::All => true,
                Taught::Wrong => !rollout.is_correct(),
                Taught::Correct => rollout.is_correct(),
            });
            let is_taught = is_taught.collect::<Vec<_>>();
            self.stats.taught_groups += usize::from(is_taught.contains(&true));
            groups[index].teacher = Some(TeacherPrompts { hint, contrast, is_taught });
        }
        Ok(())
    }

    /// The hinted prompts of the groups at `indices` for which `provider` has a hint.
    fn prompts(
        &mut self,
        provider: &dyn HintProvider,
        problems: &[&Problem],
        groups: &[RolloutGroup],
        indices: &[usize],
        (levels, record): (Seed, &SuccessRecord),
        context: StepContext,
    ) -> Result<BTreeMap<usize, Arc<AppliedHint>>, RolloutError> {
        let search = |&index: &usize| {
            let (problem, seed) = (problems[index], levels.child(index as u64));
            HintSearch::new(index, provider.levels(problem), seed, record.level(&problem.id))
        };
        let mut all = indices.iter().map(search).collect::<Vec<_>>();
        let asking = self.ask(provider, problems, groups, &mut all, context)?;
        let prompt = |(position, applied): (usize, Arc<AppliedHint>)| {
            let index = all[position].index;
            if applied.hint.kind != HintKind::Guidance {
                let problem = problems[index].id.clone();
                return Err(RolloutError::TeachesNothing { problem });
            }
            Ok((index, applied))
        };
        asking.into_iter().map(prompt).collect()
    }
}
