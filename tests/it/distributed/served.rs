//! Runs whose first process samples for all of them, as with servers.

use std::path::Path;
use std::sync::Arc;

use hint_dist::Collective;
use hint_grpo::{GrpoConfig, GrpoError, Outcome, Parts, RunDir, Trainer};
use hint_policy::SharedPolicy;
use hint_rollout::collect::curriculum::{DynamicSampling, SignalCriterion};
use hint_rollout::{
    Completion, GenerationRequest, LocalEngine, RolloutEngine, RolloutError, WeightSource,
};
use hint_tests::{lenient_rubric, parts, tiny_policy};

use super::{assert_same, held_out, outcome, run_in, shared_config, training};

/// The sampler of the first process, and what the others have in its place.
struct Served {
    engine: Option<LocalEngine>,
    max_positions: Option<usize>,
}

impl Served {
    fn engine(&mut self) -> &mut LocalEngine {
        self.engine.as_mut().expect("the first process alone samples")
    }
}

impl RolloutEngine for Served {
    fn name(&self) -> Option<String> {
        None
    }

    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        self.engine().generate(requests)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.engine().sync(weights)
    }

    fn max_positions(&self) -> Option<usize> {
        self.engine.as_ref().map_or(self.max_positions, RolloutEngine::max_positions)
    }

    fn samples_for_all(&self) -> bool {
        true
    }

    fn follow(&mut self, max_positions: Option<usize>) {
        self.max_positions = max_positions;
    }
}

fn run(
    config: &GrpoConfig,
    dir: &Path,
    collective: Arc<dyn Collective>,
) -> Result<Outcome, GrpoError> {
    let is_first = collective.rank() == 0;
    // The weights of the others become those of the first one.
    let policy = SharedPolicy::new(tiny_policy(if is_first { 7 } else { 11 }));
    // The others need no copy.
    let is_copied = is_first && config.run.ahead > 0;
    let copy = is_copied.then(|| SharedPolicy::new(tiny_policy(13)));
    let sampled = copy.as_ref().unwrap_or(&policy);
    let Parts { engine, format, rewards, hints, .. } = parts(sampled, lenient_rubric(), true);
    let max_positions = engine.max_positions();
    let engine = Served { engine: is_first.then_some(engine), max_positions };
    let parts = Parts { policy, engine, format, rewards, hints };
    let mut builder = Trainer::from_config(config.clone(), parts)?;
    if is_first {
        builder = builder.run_dir(RunDir::resume_or_create(dir, config)?);
    }
    if let Some(copy) = copy {
        builder = builder.sampler_policy(copy);
    }
    builder.held_out(held_out()).collective(collective).build()?.run(&training())
}

#[test]
fn a_run_whose_first_process_samples_for_all_has_the_bytes_of_one() {
    let mut config = shared_config(3);
    config.evaluation.every = 2;
    config.rollout.dynamic_sampling =
        DynamicSampling::UntilSignal { max_rounds: 3, criterion: SignalCriterion::Verdicts };
    for ahead in [0, 1] {
        config.run.ahead = ahead;
        let outcome_in = |world_size: usize| {
            let dir = tempfile::tempdir().expect("a temporary folder");
            run_in(world_size, |collective| run(&config, dir.path(), collective));
            outcome(dir.path())
        };
        let alone = outcome_in(1);
        for world_size in [2, 3] {
            let what = format!("{world_size} processes, ahead {ahead}");
            assert_same(&what, &outcome_in(world_size), &alone);
        }
    }
}
