//! Policy gradient: groups are sampled and judged, and their rewards become advantages.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::thread::Scope;

use hint_policy::SharedPolicy;
use hint_rollout::data::{ProblemSet, Problems};
use hint_rollout::engine::Peers;
use hint_rollout::error::Violations;
use hint_rollout::evaluate::Evaluation;
use hint_rollout::hint::leak::LeakDetector;
use hint_rollout::run::RunProgress;
use hint_rollout::{Collector, PolicyVersion, RolloutError, WeightSource};
use serde::Deserialize;
use serde_json::{Value, json};

use self::advantages::advantages;
use self::ahead::{SharedAhead, lock};
use self::collected::{CollectedStep, collect};
use self::table::Table;
use crate::advantage::AdvantageEstimator;
use crate::config::{GrpoConfig, configured_part};
use crate::error::{ConfigError, GrpoError};
use crate::learner::{LearnerParts, SftLoss, UpdateReport};
use crate::metrics::Metrics;
use crate::objective::{Aggregation, CreditConfig};
use crate::rollout_table::RolloutRecord;
use crate::stage::{
    Batch, Evaluated, Snapshot, Stage, StageState, check_collector, check_reference, evaluate_now,
    evaluation_options, problem_fingerprints,
};
use crate::warning::Warning;
use crate::weights::check_copy;

mod advantages;
mod ahead;
mod assemble;
mod collected;
mod staleness;
mod stats;
mod table;

/// Samples groups with a [`Collector`], and turns rewards into advantages.
///
/// Plain GRPO is a collector without hints; the code never branches on a method's name.
pub struct PolicyGradient {
    /// `None` while it is with the thread that samples ahead.
    collector: Option<Collector>,
    /// Batches that wait for their steps, and the thread that samples them.
    ahead: SharedAhead,
    advantage: Box<dyn AdvantageEstimator>,
    has_own_advantage: bool,
    /// The name of a rubric that is not the configuration's.
    own_rubric: Option<String>,
    config: GrpoConfig,
    /// The weights that the engine has.
    version: PolicyVersion,
    /// The completions of the last batch, until they were measured.
    table: Table,
    /// Whether this session has warned of what its configuration leaves out.
    is_warned: bool,
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
            collector: Some(collector),
            ahead: SharedAhead::default(),
            advantage: config.advantage.build(),
            has_own_advantage: false,
            own_rubric: None,
            config: config.clone(),
            version: PolicyVersion::default(),
            table: Table::default(),
            is_warned: false,
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

    /// Changes the collector. Another rubric is recorded by its name.
    #[must_use]
    pub(crate) fn with_collector(mut self, change: impl FnOnce(Collector) -> Collector) -> Self {
        let before = self.home().rubric().description();
        self.collector = self.collector.map(change);
        let rubric = self.home().rubric().description();
        if rubric != before {
            self.own_rubric = Some(format!("own {rubric}"));
        }
        self
    }

    /// The collector.
    ///
    /// # Panics
    ///
    /// After a call of [`Run::run`](crate::Run::run) that panicked.
    pub const fn collector_mut(&mut self) -> &mut Collector {
        self.collector.as_mut().expect("a thread that samples ahead brings the collector back")
    }

    fn home(&self) -> &Collector {
        self.collector.as_ref().expect("a thread that samples ahead brings the collector back")
    }

    /// The batch of the step after `progress`: one that waits, else a new one.
    fn take(
        &mut self,
        problems: &dyn Problems,
        progress: RunProgress,
    ) -> Result<CollectedStep, GrpoError> {
        let run = self.config.run;
        let mut ahead = lock(&self.ahead);
        if ahead.is_running() {
            return ahead.next(progress.step + 1, &run);
        }
        if let Some(batch) = ahead.pop(progress.step + 1) {
            return Ok(batch);
        }
        drop(ahead);
        collect(self.collector_mut(), problems, &run, progress)
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
        self.home().check_data(problems)?;
        Ok(())
    }

    fn check_parts(&self, config: &GrpoConfig, parts: &LearnerParts) -> Result<(), GrpoError> {
        let loss = &config.loss;
        check_collector(config, self.home())?;
        check_reference(config, parts)?;
        if self.home().teaches() {
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
        let collected = self.take(problems, progress)?;
        let CollectedStep { mut groups, untrained, metrics: counts, mut warnings, .. } = collected;
        let mut metrics = Metrics::new();
        staleness::admit(&mut groups, self.version, &run, &mut metrics, &mut warnings)?;
        let advantages = advantages(&mut *self.advantage, &groups, progress.step + 1)?;
        stats::observe_groups(&mut metrics, &groups);
        stats::observe_masked(&mut metrics, &groups, run.num_iterations);
        metrics.merge(&counts);
        if !std::mem::replace(&mut self.is_warned, true) && self.config.ignores_staleness() {
            warnings.push(Warning::UncorrectedStaleness { ahead: run.ahead });
        }
        if self.config.rollout_table.is_on() {
            let all = groups.iter().chain(&untrained).collect::<Vec<_>>();
            self.table = Table::new(progress.step + 1, &all, &advantages, problems)?;
        }
        let (samples, indices) = assemble::samples(groups, &advantages, &self.config.loss);
        self.table.set_samples(indices);
        let (tokens, prompt_tokens) = (collected.tokens, collected.prompt_tokens);
        Ok(Batch { samples, metrics, warnings, tokens, num_tokens: tokens + prompt_tokens })
    }

    fn rollouts(&mut self, update: &UpdateReport) -> Vec<RolloutRecord> {
        std::mem::take(&mut self.table).measured(update)
    }

    fn custom_parts(&self) -> BTreeMap<String, String> {
        let of_collector = self.home().custom_parts().into_iter();
        let mut parts =
            of_collector.map(|(axis, name)| (axis.to_owned(), name)).collect::<BTreeMap<_, _>>();
        if self.has_own_advantage {
            parts.insert("advantage".to_owned(), self.advantage.name());
        }
        parts.extend(self.own_rubric.clone().map(|name| ("rubric".to_owned(), name)));
        let leaks = format!("{:?}", self.home().leak_detector());
        let configured = LeakDetector::of(&self.config.verifier);
        if configured.is_ok_and(|configured| format!("{configured:?}") != leaks) {
            parts.insert("leak_detector".to_owned(), leaks);
        }
        parts
    }

    fn collector(&mut self) -> Option<&mut Collector> {
        self.collector.as_mut()
    }

    fn share_with(&mut self, peers: Arc<dyn Peers>) {
        lock(&self.ahead).share_with(Arc::clone(&peers));
        self.collector_mut().share_with(peers);
    }

    fn sample_ahead(
        &mut self,
        policy: &SharedPolicy,
        copy: Option<SharedPolicy>,
    ) -> Result<(), GrpoError> {
        if let Some(copy) = &copy {
            check_copy(policy, copy)?;
        }
        let copied = copy.as_ref().map(SharedPolicy::id);
        if self.home().policy_id().is_some_and(|sampled| Some(sampled) != copied) {
            let expected = "must come with an engine that samples from the copy of the policy (RunBuilder::sampler_policy)";
            let found = "one that samples from another policy";
            return Err(ConfigError::one("run.ahead", expected, found).into());
        }
        lock(&self.ahead).set_copies(policy, copy);
        Ok(())
    }

    fn start<'scope, 'env>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        problems: &'env dyn Problems,
    ) {
        lock(&self.ahead).start(scope, &mut self.collector, problems, self.config.run);
    }

    fn stop(&mut self) -> Option<GrpoError> {
        lock(&self.ahead).stop(&mut self.collector)
    }

    fn evaluate(
        &mut self,
        step: u64,
        problems: &ProblemSet,
        config: &GrpoConfig,
    ) -> Result<Evaluated, GrpoError> {
        let mut ahead = lock(&self.ahead);
        if ahead.is_running() {
            ahead.evaluate(step, problems, evaluation_options(config, &config.rollout))?;
            return Ok(Evaluated::Later);
        }
        drop(ahead);
        evaluate_now(self.collector_mut(), problems, config)
    }

    fn evaluations(&mut self, wait: bool) -> Result<Vec<(u64, Evaluation)>, GrpoError> {
        lock(&self.ahead).evaluations(wait)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), GrpoError> {
        self.version = weights.version();
        let mut ahead = lock(&self.ahead);
        if ahead.is_running() {
            ahead.set_version(self.version);
            return Ok(());
        }
        drop(ahead);
        Ok(self.collector_mut().sync(weights)?)
    }

    fn snapshot(&self) -> Snapshot {
        let advantage = json!(self.advantage.state());
        let shared = SharedAhead::clone(&self.ahead);
        let collector = self.collector.as_ref().map(Collector::snapshot);
        let ahead = lock(&self.ahead);
        let next = ahead.next_step();
        let waiting = ahead.waiting(next);
        drop(ahead);
        Box::new(move || {
            let (collector, waiting) = if let Some(collector) = collector {
                (collector(), waiting)
            } else {
                let (state, waiting) = lock(&shared).drain(next);
                (state.map_or(Value::Null, |state| state()), waiting)
            };
            let parts = BTreeMap::from([
                ("advantage".to_owned(), advantage),
                ("collector".to_owned(), collector),
            ]);
            Ok(StageState { parts, batches: collected::write(&waiting)? })
        })
    }

    fn load_state(
        &mut self,
        part: &dyn Fn(&str) -> Result<Value, GrpoError>,
    ) -> Result<(), GrpoError> {
        let state = Vec::<f64>::deserialize(&part("advantage")?)
            .map_err(|error| GrpoError::other("advantage", error))?;
        self.advantage.load_state(&state)?;
        Ok(self.collector_mut().load_state(&part("collector")?)?)
    }

    fn load_batches(&mut self, bytes: &[u8], step: u64) -> Result<(), GrpoError> {
        lock(&self.ahead).load(collected::read(bytes)?, step)
    }
}
