//! Hints that teach: they become prompts that plain completions are scored under.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::collect::hinted::{Contrast, Taught, Teaching};
use crate::collect::pass::CollectPass;
use crate::collect::search::TaughtHints;
use crate::data::HintKind;
use crate::error::RolloutError;
use crate::hint::HintProvider;
use crate::hint::source::Placebo;
use crate::run::Seed;
use crate::sample::{AppliedHint, RolloutGroup, TeacherPrompts};

impl CollectPass<'_> {
    /// Gives the groups at `indices` the prompts that teach them. Each gets the first level of the search.
    pub(crate) fn teach(
        &mut self,
        provider: &dyn HintProvider,
        teaching: Teaching,
        groups: &mut [RolloutGroup],
        indices: &[usize],
    ) -> Result<TaughtHints, RolloutError> {
        let seed = self.context.seed;
        let taught = self.prompts(provider, groups, indices, seed)?;
        let mut contrasts = match teaching.contrast {
            Contrast::None => BTreeMap::new(),
            Contrast::Placebo => {
                let indices = taught.keys().copied().collect::<Vec<_>>();
                // What a placebo gives away of another problem says nothing about the source.
                let (leaks, too_long) = (self.stats.hinted.leaks, self.stats.hinted.too_long);
                let (placebo, seed) = (Placebo::new(provider), seed.named("contrast"));
                let found = self.prompts(&placebo, groups, &indices, seed)?;
                (self.stats.hinted.leaks, self.stats.hinted.too_long) = (leaks, too_long);
                found
            }
        };
        for (&index, hint) in &taught {
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
            self.stats.hinted.taught += usize::from(is_taught.contains(&true));
            groups[index].teacher =
                Some(TeacherPrompts { hint: Arc::clone(hint), contrast, is_taught });
        }
        Ok(taught)
    }

    /// The hinted prompts of the groups at `indices` for which `provider` has a hint.
    fn prompts(
        &mut self,
        provider: &dyn HintProvider,
        groups: &[RolloutGroup],
        indices: &[usize],
        seed: Seed,
    ) -> Result<TaughtHints, RolloutError> {
        let mut all = self.searches(provider, indices);
        let asking = self.ask(provider, groups, &mut all, seed)?;
        let prompt = |(position, applied): (usize, Arc<AppliedHint>)| {
            let index = all[position].index;
            if applied.hint.kind != HintKind::Guidance {
                let problem = self.problems[index].id.clone();
                return Err(RolloutError::TeachesNothing { problem });
            }
            Ok((index, applied))
        };
        asking.into_iter().map(prompt).collect()
    }
}
