//! Policy gradient: groups are sampled and judged, and their rewards become advantages.

use std::collections::{BTreeMap, HashSet};

use hint_rollout::collect::Collected;
use hint_rollout::data::Problems;
use hint_rollout::error::Violations;
use hint_rollout::hint::leak::LeakDetector;
use hint_rollout::run::{RunProgress, StepContext};
use hint_rollout::{Collector, PolicyVersion, RolloutError, Seed, WeightSource};
use serde::Deserialize;
use serde_json::{Value, json};

use self::advantages::advantages;
use self::table::Table;
use crate::advantage::AdvantageEstimator;
use crate::config::{GrpoConfig, configured_part};
use crate::error::{ConfigError, GrpoError};
use crate::learner::{LearnerParts, SftLoss, UpdateReport};
use crate::metrics::{self, Metrics};
use crate::objective::{Aggregation, CreditConfig};
use crate::rollout_table::RolloutRecord;
use crate::stage::{
    Batch, Snapshot, Stage, check_collector, check_reference, problem_fingerprints,
};
use crate::warning::Warning;

mod advantages;
mod assemble;
mod staleness;
mod stats;
mod table;

/// Samples groups with a [`Collector`], and turns rewards into advantages.
///
/// Plain GRPO is a collector without hints; the code never branches on a method's name.
pub struct PolicyGradient {
    collector: Collector,
    advantage: Box<dyn AdvantageEstimator>,
    has_own_advantage: bool,
    /// The name of a rubric that is not the configuration's.
    own_rubric: Option<String>,
    config: GrpoConfig,
    /// The weights that the engine has.
    version: PolicyVersion,
    /// The completions of the last batch, until they were measured.
    table: Table,
}

impl std::fmt::Debug for PolicyGradient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyGradient").field("collector", &self.collector).finish_non_exhaustive()
    }
}

impl PolicyGradient {
    /// A stage with the advantage estimator of the configuration.
    pub(crate) fn new(collector: Collector, config: &GrpoConfig) -> Self {
        Self {
            collector,
            advantage: config.advantage.build(),
            has_own_advantage: false,
            own_rubric: None,
            config: config.clone(),
            version: PolicyVersion::default(),
            table: Table::default(),
        }
    }

    /// Another advantage estimator than the configuration's.
    #[must_use]
    pub(crate) fn with_advantage(mut self, advantage: Box<dyn AdvantageEstimator>) -> Self {
        (self.advantage, self.has_own_advantage) = (advantage, true);
        self
    }

    /// Records by its name that the collector's rubric is not the one of the configuration's
    /// verifier.
    #[must_use]
    pub(crate) fn with_own_rubric(mut self, name: Option<String>) -> Self {
        self.own_rubric = name;
        self
    }

    /// Changes the collector.
    #[must_use]
    pub(crate) fn with_collector(mut self, change: impl FnOnce(Collector) -> Collector) -> Self {
        self.collector = change(self.collector);
        self
    }

    /// The collector.
    pub const fn collector_mut(&mut self) -> &mut Collector {
        &mut self.collector
    }
}

impl Stage for PolicyGradient {
    const NAME: &'static str = "policy_gradient";
    const SAMPLES: bool = true;
    type Items = dyn Problems;

    fn is_empty(problems: &dyn Problems) -> bool {
        problems.is_empty()
    }

    fn find_held_out(
        &self,
        problems: &dyn Problems,
        held_out: &dyn Problems,
    ) -> Result<Option<String>, GrpoError> {
        let contents = held_out.iter().map(|problem| Ok(problem?.content_hash()));
        let contents = contents.collect::<Result<HashSet<_>, RolloutError>>()?;
        for problem in problems.iter() {
            let problem = problem?;
            if contents.contains(&problem.content_hash()) {
                return Ok(Some(problem.id.clone()));
            }
        }
        Ok(None)
    }

    fn check(&self, problems: &dyn Problems) -> Result<(), GrpoError> {
        self.collector.check_data(problems)?;
        Ok(())
    }

    fn check_parts(&self, config: &GrpoConfig, parts: &LearnerParts) -> Result<(), GrpoError> {
        let loss = &config.loss;
        check_collector(config, &self.collector)?;
        check_reference(config, parts)?;
        if self.collector.teaches() {
            let checked = Violations::check(|at| at.within("loss", |at| loss.check_teaching(at)));
            return Ok(checked.map_err(ConfigError::from)?);
        }
        let found = match &parts.credit {
            Some(credit) => credit.name(),
            None if loss.credit != CreditConfig::default() => configured_part(config, "credit"),
            None => return Ok(()),
        };
        let expected = "must not be given unless rollout.combine.type is \"teach\"";
        Err(ConfigError::one("loss.credit", expected, found).into())
    }

    fn fingerprints(problems: &dyn Problems) -> Result<BTreeMap<String, String>, GrpoError> {
        Ok(problem_fingerprints(problems)?)
    }

    fn sft_loss(config: &GrpoConfig) -> SftLoss {
        let temperature = config.rollout.sampling.temperature;
        SftLoss { aggregation: Aggregation::TokenMean, temperature }
    }

    fn next_batch(
        &mut self,
        problems: &dyn Problems,
        progress: RunProgress,
    ) -> Result<Batch, GrpoError> {
        let run = self.config.run;
        let seed = Seed::new(run.seed).named("rollout").child(progress.step);
        let (count, context) = (run.prompts_per_step, StepContext { seed, progress });
        let collected = self.collector.collect_batch(problems, count, run.seed, context)?;
        let Collected { mut groups, unjudged, stats, .. } = collected;
        let (mut metrics, mut warnings) = (Metrics::new(), Vec::new());
        if stats.batch.missing_groups > 0 {
            warnings.push(Warning::MissingGroups {
                missing: stats.batch.missing_groups,
                wanted: run.prompts_per_step,
                drawn: stats.problems,
                rounds: stats.batch.rounds,
            });
        }
        staleness::admit(&mut groups, self.version, &run, &mut metrics, &mut warnings)?;
        let advantages = advantages(&mut *self.advantage, &groups, progress.step + 1)?;
        stats::observe_groups(&mut metrics, &groups);
        stats::observe_masked(&mut metrics, &groups, run.num_iterations);
        stats::observe_collection(&mut metrics, &stats);
        let gap = self.collector.record().internalization_gap();
        metrics.set_some(metrics::HINT_INTERNALIZATION_GAP_RUN, gap);
        let drawn = self.collector.drawn() as f64;
        metrics.set(metrics::EPOCH, drawn / problems.len() as f64);
        if self.config.rollout_table.is_on() {
            let all = groups.iter().chain(&unjudged).collect::<Vec<_>>();
            self.table = Table::new(progress.step + 1, &all, &advantages, problems)?;
        }
        let tokens = stats.sampled.tokens as u64;
        let (samples, indices) = assemble::samples(groups, &advantages, &self.config.loss);
        self.table.set_samples(indices);
        Ok(Batch {
            samples,
            metrics,
            warnings,
            tokens,
            num_tokens: tokens + stats.sampled.prompt_tokens as u64,
        })
    }

    fn rollouts(&mut self, update: &UpdateReport) -> Vec<RolloutRecord> {
        std::mem::take(&mut self.table).measured(update)
    }

    fn custom_parts(&self) -> BTreeMap<String, String> {
        let of_collector = self.collector.custom_parts().into_iter();
        let mut parts =
            of_collector.map(|(axis, name)| (axis.to_owned(), name)).collect::<BTreeMap<_, _>>();
        if self.has_own_advantage {
            parts.insert("advantage".to_owned(), self.advantage.name());
        }
        parts.extend(self.own_rubric.clone().map(|name| ("rubric".to_owned(), name)));
        let leaks = format!("{:?}", self.collector.leak_detector());
        let configured = LeakDetector::of(&self.config.verifier);
        if configured.is_ok_and(|configured| format!("{configured:?}") != leaks) {
            parts.insert("leak_detector".to_owned(), leaks);
        }
        parts
    }

    fn collector(&mut self) -> Option<&mut Collector> {
        Some(&mut self.collector)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), GrpoError> {
        self.version = weights.version();
        Ok(self.collector.sync(weights)?)
    }

    fn state(&self) -> BTreeMap<String, Value> {
        self.snapshot()()
    }

    fn snapshot(&self) -> Snapshot {
        let (advantage, collector) = (json!(self.advantage.state()), self.collector.snapshot());
        Box::new(move || {
            let collector = collector();
            BTreeMap::from([
                ("advantage".to_owned(), advantage),
                ("collector".to_owned(), collector),
            ])
        })
    }

    fn load_state(
        &mut self,
        part: &dyn Fn(&str) -> Result<Value, GrpoError>,
    ) -> Result<(), GrpoError> {
        let state = Vec::<f64>::deserialize(&part("advantage")?)
            .map_err(|error| GrpoError::other("advantage", error))?;
        self.advantage.load_state(&state)?;
        Ok(self.collector.load_state(&part("collector")?)?)
    }
}
