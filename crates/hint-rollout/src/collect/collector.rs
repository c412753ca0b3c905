//! The two-stage rollout: plain first, with help where the trigger says so.

use hint_reward::{Rubric, SoftOverlong};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::collect::config::CollectorConfig;
use crate::collect::curriculum::{ReplayBuffer, SuccessRecord};
use crate::collect::hinted::TriggerInput;
use crate::collect::pass::Workshop;
use crate::collect::search::Attempts;
use crate::collect::stats::{CollectStats, Collected};
use crate::data::Problem;
use crate::engine::{RolloutEngine, WeightSource};
use crate::error::RolloutError;
use crate::evaluate::{Evaluation, EvaluationOptions, evaluate};
use crate::hint::HintProvider;
use crate::prompt::PromptFormat;
use crate::run::Moment;
use crate::sample::{Failures, RolloutGroup, count_correct};

/// Samples groups, judges them, and samples again with help where the trigger says so.
///
/// Every method of the family is a choice on each of the axes that [`CollectorConfig`] lists, and
/// [`Collector::collect`] is where they meet. Nothing in it knows a method by name.
pub struct Collector {
    pub(super) engine: Box<dyn RolloutEngine>,
    pub(super) format: Box<dyn PromptFormat>,
    pub(super) rubric: Rubric,
    pub(super) hints: Option<Box<dyn HintProvider>>,
    pub(super) config: CollectorConfig,
    pub(super) record: SuccessRecord,
    /// Problems drawn since the start of the run.
    pub(super) drawn: u64,
    pub(super) replay: ReplayBuffer,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a collector keeps from step to step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectorState {
    hints: Value,
    record: SuccessRecord,
    drawn: u64,
    replay: ReplayBuffer,
}

impl Collector {
    /// A collector without hints.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Config`] for the first value that is out of range.
    pub fn new(
        engine: impl RolloutEngine + 'static,
        format: impl PromptFormat + 'static,
        rubric: impl Into<Rubric>,
        config: CollectorConfig,
    ) -> Result<Self, RolloutError> {
        if let Some((field, expected, found)) = config.violations().into_iter().next() {
            return Err(RolloutError::Config { field, expected, found });
        }
        let mut rubric = rubric.into();
        if let Some(soft) = config.soft_overlong {
            let limit = config.sampling.max_completion_len;
            let penalty = SoftOverlong::new(limit, soft.buffer(limit))
                .map_err(|source| RolloutError::other("soft overlong penalty", source))?;
            rubric = rubric.with(soft.weight, penalty);
        }
        Ok(Self {
            engine: Box::new(engine),
            format: Box::new(format),
            rubric,
            hints: None,
            config,
            record: SuccessRecord::default(),
            drawn: 0,
            replay: ReplayBuffer::default(),
        })
    }

    /// Gives hints to the groups that the trigger picks.
    #[must_use]
    pub fn with_hints(mut self, hints: impl HintProvider + 'static) -> Self {
        self.hints = Some(Box::new(hints));
        self
    }

    /// Evaluates on plain prompts with the collector's own engine, format and rubric. See
    /// [`evaluate`].
    ///
    /// # Errors
    ///
    /// As [`evaluate`].
    pub fn evaluate(
        &mut self,
        problems: &[Problem],
        options: &EvaluationOptions,
    ) -> Result<Evaluation, RolloutError> {
        evaluate(&mut *self.engine, &*self.format, &self.rubric, problems, options, &mut |_| {})
    }

    /// The configuration.
    pub const fn config(&self) -> &CollectorConfig {
        &self.config
    }

    /// How often each problem was solved so far.
    pub const fn record(&self) -> &SuccessRecord {
        &self.record
    }

    /// Everything that a resumed run needs to go on with the same rollouts: the state of the hint
    /// provider, the success of the problems so far, how many were drawn, and the groups that may train
    /// again. It goes into every checkpoint.
    pub fn state(&self) -> Value {
        let hints = self.hints.as_ref().map_or(Value::Null, HintProvider::state);
        let (record, replay) = (self.record.clone(), self.replay.clone());
        json!(CollectorState { hints, record, drawn: self.drawn, replay })
    }

    /// Restores what [`Collector::state`] returned.
    ///
    /// # Errors
    ///
    /// [`RolloutError::State`] for a state that this collector cannot have returned.
    pub fn load_state(&mut self, state: &Value) -> Result<(), RolloutError> {
        let CollectorState { hints, record, drawn, replay } =
            crate::run::state::read("collector", state)?;
        (self.record, self.drawn, self.replay) = (record, drawn, replay);
        match &self.hints {
            Some(provider) => provider.load_state(&hints),
            None => crate::run::state::expect_none("hint provider", &hints),
        }
    }

    /// Hands new weights to the engine.
    ///
    /// # Errors
    ///
    /// What [`RolloutEngine::sync`] returns.
    pub fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.engine.sync(weights)
    }

    /// Collects one group for each of `problems`: samples it on the plain prompt, asks the
    /// [trigger](crate::collect::hinted::HintTrigger) whether it gets help, [searches](crate::collect::hinted::LevelSearch) for the
    /// level of help, and [merges](crate::collect::hinted::Merge) what was sampled with help if it is
    /// [accepted](crate::collect::hinted::Acceptance).
    ///
    /// Every random number depends on the moment's seed, on the problem's index and on the stage
    /// alone.
    ///
    /// # Errors
    ///
    /// Errors of the engine, the rubric and the hint provider, broken engine contracts, and what the
    /// [`VerdictPolicy`](crate::sample::VerdictPolicy) says to stop for.
    pub fn collect(
        &mut self,
        problems: &[&Problem],
        moment: impl Into<Moment>,
    ) -> Result<Collected, RolloutError> {
        let moment = moment.into();
        let Self { engine, format, rubric, hints, config, record, .. } = self;
        let (engine, format) = (&mut **engine, &**format);
        let stats = CollectStats { problems: problems.len(), ..CollectStats::default() };
        let failures = Failures::default();
        let mut shop = Workshop { engine, format, rubric, config, stats, failures };

        let encode = |problem: &&Problem| {
            let prompt = format.encode(problem, None)?;
            Ok(RolloutGroup::plain(&problem.id, prompt, Vec::new()))
        };
        let mut groups = problems.iter().map(encode).collect::<Result<Vec<_>, RolloutError>>()?;
        let everyone = (0..groups.len()).collect::<Vec<_>>();
        let triggered = |groups: &[RolloutGroup]| {
            let fires = |index: &usize| fires(config, &groups[*index], *index, moment);
            everyone.iter().copied().filter(fires).collect::<Vec<_>>()
        };
        let mut helped = Vec::new();
        match hints.as_deref() {
            // Plain completions that nobody would look at are not sampled.
            Some(provider) if config.skips_plain() => {
                helped = shop.help(provider, problems, &groups, &triggered(&groups), moment)?;
                helped.retain(Attempts::has_rollouts);
                let mut rest = everyone.clone();
                rest.retain(|index| helped.iter().all(|attempts| attempts.index != *index));
                shop.sample_plain(problems, &mut groups, &rest, moment)?;
            }
            provider => {
                shop.sample_plain(problems, &mut groups, &everyone, moment)?;
                if let Some(provider) = provider {
                    helped = shop.help(provider, problems, &groups, &triggered(&groups), moment)?;
                }
            }
        }

        for group in &groups {
            shop.stats.observe_plain(&group.rollouts);
            record.observe_plain(&group.problem_id, &group.rollouts);
        }
        for attempts in helped {
            let index = attempts.index;
            let Some(rollouts) = attempts.into_rollouts() else { continue };
            shop.stats.observe_helped(&rollouts, &groups[index].rollouts);
            record.observe_helped(&groups[index].problem_id, &rollouts);
            if config.accept.accepts(count_correct(&rollouts), rollouts.len()) {
                shop.stats.rescued_groups += 1;
                config.merge.merge(&mut groups[index], rollouts);
            }
        }

        let Workshop { stats, failures, .. } = shop;
        failures.check(config.verdicts.max_dropped_frac, stats.completions)?;
        // A baseline needs a sibling.
        groups.retain(|group| group.rollouts.len() >= 2);
        Ok(Collected { groups, stats })
    }
}

/// Whether the group at `index` gets help.
fn fires(config: &CollectorConfig, group: &RolloutGroup, index: usize, moment: Moment) -> bool {
    let seed = moment.seed.named("trigger").child(index as u64);
    let input = TriggerInput::new(group.num_correct(), group.rollouts.len())
        .with_progress(moment.progress)
        .with_seed(seed);
    config.trigger.fires(&input)
}
