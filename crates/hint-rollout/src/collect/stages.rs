//! The two stages: plain prompts, and hints where the trigger fires.

use std::collections::BTreeSet;

use crate::collect::hinted::TriggerInput;
use crate::collect::pass::CollectPass;
use crate::collect::search::HintSearch;
use crate::data::Problem;
use crate::error::RolloutError;
use crate::hint::HintProvider;
use crate::sample::{Rollout, RolloutGroup};

impl CollectPass<'_> {
    /// One group for each problem, and the searches of groups that were sampled with hints. A problem whose prompt
    /// is too long has an empty group.
    pub(crate) fn sample_stages(
        &mut self,
        hints: Option<&dyn HintProvider>,
    ) -> Result<(Vec<RolloutGroup>, Vec<HintSearch>), RolloutError> {
        let (mut groups, asked) = self.ask_plain()?;
        if let Some(provider) = hints.filter(|_| self.parts.skips_plain()) {
            // Plain completions that nobody would look at are not sampled.
            let indices = self.triggered(&groups, &asked);
            let mut hinted = self.sample_hinted(provider, &groups, &indices, None)?;
            hinted.retain(HintSearch::has_rollouts);
            let is_hinted = |index: &usize| hinted.iter().any(|search| search.index == *index);
            let rest = asked.into_iter().filter(|index| !is_hinted(index)).collect::<Vec<_>>();
            self.sample_plain(&mut groups, &rest)?;
            return Ok((groups, hinted));
        }
        self.sample_plain(&mut groups, &asked)?;
        let Some(provider) = hints else { return Ok((groups, Vec::new())) };
        let indices = self.triggered(&groups, &asked);
        let hinted = match self.parts.combine.teaching() {
            None => self.sample_hinted(provider, &groups, &indices, None)?,
            Some(teaching) => {
                let taught = self.teach(provider, teaching, &mut groups, &indices)?;
                if !teaching.samples {
                    return Ok((groups, Vec::new()));
                }
                self.sample_hinted(provider, &groups, &indices, Some(taught))?
            }
        };
        Ok((groups, hinted))
    }

    /// A group without completions for each problem, and the indices of groups whose prompts the engine
    /// holds.
    fn ask_plain(&mut self) -> Result<(Vec<RolloutGroup>, Vec<usize>), RolloutError> {
        let encode = |problem: &&Problem| {
            let prompt = self.format.encode(problem, None)?;
            Ok(RolloutGroup::plain(&problem.id, prompt, Vec::new()))
        };
        let groups = self.problems.iter().map(encode).collect::<Result<Vec<_>, RolloutError>>()?;
        let mut asked = Vec::with_capacity(groups.len());
        for (index, group) in groups.iter().enumerate() {
            if self.prompt_fits(&group.problem_id, group.prompt.len())? {
                asked.push(index);
            }
        }
        Ok((groups, asked))
    }

    /// The entries of `indices` whose groups get a hint.
    fn triggered(&self, groups: &[RolloutGroup], indices: &[usize]) -> Vec<usize> {
        let fires = |index: &usize| {
            let group = &groups[*index];
            let answer = |rollout: &Rollout| rollout.score.judgment.extracted.clone();
            let answers = group.rollouts.iter().map(answer).collect::<BTreeSet<_>>().len();
            let input = TriggerInput::new(group.num_correct(), group.rollouts.len())
                .with_answers(answers)
                .with_progress(self.context.progress)
                .with_seed(self.context.seed.named("trigger").child(*index as u64));
            self.parts.trigger.fires(&input)
        };
        indices.iter().copied().filter(fires).collect()
    }
}
