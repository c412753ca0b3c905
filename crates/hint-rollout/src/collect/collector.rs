//! The two-stage rollout: plain first, with hints where the trigger fires.

use std::collections::BTreeMap;
use std::sync::Arc;

use hint_reward::{Rubric, reward::SoftOverlong};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::collect::config::CollectorConfig;
use crate::collect::curriculum::{Draws, ReplayBuffer, SuccessRecord};
use crate::collect::hinted::{Combine, HintTrigger, Levels, Trigger};
use crate::collect::parts::OwnParts;
use crate::collect::pass::{CollectPass, Limits};
use crate::collect::settle::settle;
use crate::collect::stats::{CollectStats, Collected};
use crate::data::{Problem, Problems};
use crate::engine::{Peers, RolloutEngine, SharedEngine, WeightSource};
use crate::error::{RolloutError, Violations};
use crate::evaluate::{Evaluation, EvaluationOptions, evaluate};
use crate::hint::leak::LeakDetector;
use crate::hint::{HintProvider, SharedHints};
use crate::prompt::PromptFormat;
use crate::run::{Activity, StepContext, Work};
use crate::sample::{FailureWindow, Failures, RolloutGroup};

/// Samples groups, judges them, and samples again with hints where the trigger fires.
///
/// Every method of the family is a choice on each of the axes that [`CollectorConfig`] lists, and
/// [`Collector::collect`] is where they meet. No method has a name in it.
///
#[cfg_attr(feature = "local-engine", doc = "```no_run")]
#[cfg_attr(not(feature = "local-engine"), doc = "```ignore")]
/// use hint_policy::{LoadOptions, LoadedModel, SharedPolicy};
/// use hint_reward::{MathVerifier, Rubric};
/// use hint_rollout::collect::CollectorConfig;
/// use hint_rollout::{ChatFormat, Collector, DatasetHints, LocalEngine, Seed, read_problems};
///
/// let model = LoadedModel::load("Qwen2.5-0.5B-Instruct", &LoadOptions::default())?;
/// let engine = LocalEngine::new(SharedPolicy::new(model.policy), model.stop_tokens.clone());
/// let format = ChatFormat::new(model.tokenizer.into(), model.stop_tokens);
/// let rubric = Rubric::new(MathVerifier::new());
/// let mut collector = Collector::new(engine, format, rubric, CollectorConfig::default())?
///     .with_hints(DatasetHints::new());
///
/// let problems = read_problems("problems.jsonl")?;
/// let collected = collector.collect(&[&problems[0]], Seed::new(42))?;
/// for group in &collected.groups {
///     println!("{}: {} of {} right", group.problem_id, group.num_correct(), group.rollouts.len());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Collector {
    pub(super) engine: Box<SharedEngine>,
    pub(super) format: Box<dyn PromptFormat>,
    pub(super) rubric: Arc<Rubric>,
    pub(super) hints: Option<Box<dyn HintProvider>>,
    leaks: LeakDetector,
    pub(super) own: OwnParts,
    pub(super) config: CollectorConfig,
    /// Shared with the snapshot of a step.
    pub(super) record: Arc<SuccessRecord>,
    /// Problems drawn since the start of the run.
    pub(super) drawn: u64,
    /// They follow from `drawn`.
    pub(super) draws: Draws,
    pub(super) replay: ReplayBuffer,
    /// Completions of the latest steps that could not be judged.
    failures: FailureWindow,
    activity: Activity,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("config", &self.config).finish_non_exhaustive()
    }
}

/// State of a collector from step to step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectorState {
    hints: Value,
    record: Arc<SuccessRecord>,
    drawn: u64,
    replay: ReplayBuffer,
    failures: FailureWindow,
}

impl Collector {
    /// A collector without hints.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Config`] for values that are out of range.
    pub fn new(
        engine: impl RolloutEngine + 'static,
        format: impl PromptFormat + 'static,
        rubric: impl Into<Rubric>,
        config: CollectorConfig,
    ) -> Result<Self, RolloutError> {
        Violations::check(|at| config.check(at))?;
        let mut rubric = rubric.into();
        if let Some(soft) = config.soft_overlong {
            let limit = config.sampling.max_completion_len;
            let penalty = SoftOverlong::new(limit, soft.buffer(limit))
                .map_err(|source| RolloutError::other("soft overlong penalty", source))?;
            rubric = rubric.with(soft.weight, penalty);
        }
        Ok(Self {
            engine: Box::new(SharedEngine::new(Box::new(engine))),
            format: Box::new(format),
            rubric: Arc::new(rubric),
            hints: None,
            leaks: LeakDetector::new(),
            own: OwnParts::default(),
            config,
            record: Arc::default(),
            drawn: 0,
            draws: Draws::default(),
            replay: ReplayBuffer::default(),
            failures: FailureWindow::default(),
            activity: Activity::default(),
        })
    }

    /// Gives hints to the groups that the trigger picks.
    #[must_use]
    pub fn with_hints(mut self, hints: impl HintProvider + 'static) -> Self {
        self.hints = Some(Box::new(hints));
        self
    }

    /// Looks for leaks of hints with `detector`, which compares with answers as the rubric's verifier does. By default
    /// answers are mathematics.
    #[must_use]
    pub fn with_leak_detector(mut self, detector: LeakDetector) -> Self {
        self.leaks = detector;
        self
    }

    /// Decides by a trigger of your own, instead of [`CollectorConfig::trigger`], which groups get
    /// hints.
    ///
    /// ```
    /// # use hint_reward::{ExactMatch, Rubric};
    /// # use hint_rollout::{Collector, CollectorConfig, PromptFormat, RolloutEngine, RolloutError};
    /// use hint_rollout::collect::hinted::{TriggerInput, from_fn};
    ///
    /// # fn collector(
    /// #     engine: impl RolloutEngine + 'static,
    /// #     format: impl PromptFormat + 'static,
    /// # ) -> Result<(), RolloutError> {
    /// let trigger = from_fn("at_most_one", |input: &TriggerInput| input.correct <= 1);
    /// let rubric = Rubric::new(ExactMatch::new());
    /// let collector = Collector::new(engine, format, rubric, CollectorConfig::default())?
    ///     .with_trigger(trigger);
    /// assert!(collector.custom_parts().contains(&("trigger", "at_most_one".to_owned())));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_trigger(mut self, trigger: impl Trigger + 'static) -> Self {
        self.own.trigger = Some(Box::new(trigger));
        self
    }

    /// Searches for a level by an implementation of your own, instead of [`CollectorConfig::level`].
    #[must_use]
    pub fn with_levels(mut self, levels: impl Levels + 'static) -> Self {
        self.own.levels = Some(Box::new(levels));
        self
    }

    /// Combines plain and hinted completions by an implementation of your own, instead of
    /// [`CollectorConfig::combine`].
    #[must_use]
    pub fn with_combine(mut self, combine: impl Combine + 'static) -> Self {
        self.own.combine = Some(Box::new(combine));
        self
    }

    /// Collects every batch together with other processes: each samples and judges a part of it, and all of them get
    /// the whole. They must make the same calls in the same order, and hold the same problems and hints. A teacher behind
    /// a server is asked by the first process alone.
    pub fn share_with(&mut self, peers: Arc<dyn Peers>) {
        if let Some(hints) = self.hints.take() {
            let source = &self.config.source;
            let is_shared = source.asks_server() && hints.name() == source.provider_name();
            self.hints = Some(if is_shared {
                Box::new(SharedHints::new(hints, Arc::clone(&peers)))
            } else {
                hints
            });
        }
        self.engine.share_with(peers);
    }

    /// Counts completions, problems that are judged, and evaluations in `activity`, for a display.
    pub fn watch(&mut self, activity: Activity) {
        self.engine.watch(&activity);
        self.activity = activity;
    }

    /// The parts that differ from the configuration's, each as the key of its axis and its name. A
    /// run records them, so that it is not resumed with others.
    pub fn custom_parts(&self) -> Vec<(&'static str, String)> {
        let mut parts = self.own.names();
        // Without hints a trigger that may fire gives none.
        let never = self.own.trigger.is_none() && self.config.trigger == HintTrigger::Never;
        match self.hints.as_ref().map(HintProvider::name) {
            Some(name) if name == self.config.source.provider_name() => {}
            None if never => {}
            name => parts.push(("source", name.unwrap_or_else(|| "none".to_owned()))),
        }
        parts.extend(self.format.name().map(|name| ("format", name)));
        parts.extend(self.engine.name().map(|name| ("engine", name)));
        parts
    }

    /// Whether the engine of the first of several processes [samples for all](RolloutEngine::samples_for_all).
    pub fn samples_for_all(&self) -> bool {
        self.engine.samples_for_all()
    }

    /// Whether hints teach plain completions.
    pub fn teaches(&self) -> bool {
        self.own.or(&self.config).combine.teaching().is_some()
    }

    /// Evaluates on plain prompts with the collector's own engine, format and rubric. See
    /// [`evaluate`].
    ///
    /// # Errors
    ///
    /// As [`evaluate`].
    pub fn evaluate(
        &mut self,
        problems: &dyn Problems,
        options: &EvaluationOptions,
    ) -> Result<Evaluation, RolloutError> {
        let (activity, each) = (&self.activity, options.completions_per_problem);
        activity.begin(Work::Evaluating, problems.len() * each);
        let on_progress = &mut |done| activity.set(done * each);
        evaluate(&mut *self.engine, &*self.format, &self.rubric, problems, options, on_progress)
    }

    /// The prompt format.
    pub fn format(&self) -> &dyn PromptFormat {
        &*self.format
    }

    /// Judge and rewards of its completions.
    pub fn rubric(&self) -> &Rubric {
        &self.rubric
    }

    /// Detector of leaks in its hints.
    pub const fn leak_detector(&self) -> &LeakDetector {
        &self.leaks
    }

    /// The configuration.
    pub const fn config(&self) -> &CollectorConfig {
        &self.config
    }

    /// Record of how often each problem was solved so far.
    pub fn record(&self) -> &SuccessRecord {
        &self.record
    }

    /// The complete state that a resumed run needs to continue with the same rollouts. It holds the
    /// state of the hint provider, the success of the problems, the number drawn, and the groups for
    /// replay. It goes into every checkpoint.
    pub fn state(&self) -> Value {
        self.snapshot()()
    }

    /// The value that [`Collector::state`] would return now, for later. It shares large parts with the
    /// collector, which copies a part when a step changes it.
    pub fn snapshot(&self) -> impl Fn() -> Value + Send + Sync + 'static {
        let hints = self.hints.as_ref().map_or(Value::Null, HintProvider::state);
        let (record, replay) = (Arc::clone(&self.record), self.replay.clone());
        let (drawn, failures) = (self.drawn, self.failures.clone());
        let state = CollectorState { hints, record, drawn, replay, failures };
        move || json!(state)
    }

    /// Restores a value of [`Collector::state`].
    ///
    /// # Errors
    ///
    /// [`RolloutError::State`] for a state that this collector cannot have returned.
    pub fn load_state(&mut self, state: &Value) -> Result<(), RolloutError> {
        let CollectorState { hints, record, drawn, replay, failures } =
            crate::run::state::read("collector", state)?;
        (self.record, self.drawn, self.replay) = (record, drawn, replay);
        self.failures = failures;
        match &self.hints {
            Some(provider) => provider.load_state(&hints),
            None => crate::run::state::expect_none("hint provider", &hints),
        }
    }

    /// The policy that its engine samples from; see [`RolloutEngine::policy_id`].
    pub fn policy_id(&self) -> Option<usize> {
        self.engine.policy_id()
    }

    /// Hands new weights to the engine.
    ///
    /// # Errors
    ///
    /// Errors of [`RolloutEngine::sync`].
    pub fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.engine.sync(weights)
    }

    /// Collects one group for each of `problems`. It samples the group on the plain prompt and asks the
    /// [trigger](crate::collect::hinted::HintTrigger) whether it gets a hint. Then it
    /// [searches](crate::collect::hinted::LevelSearch) for the hint level, and
    /// [combines](crate::collect::hinted::CombineRule) both if the hinted group is
    /// [kept](crate::collect::hinted::KeepIf).
    ///
    /// Every random number depends on the context's seed, on the problem's index and on the stage
    /// alone.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Config`] for groups that are to end early where they cannot.
    /// Errors of the engine, the rubric and the hint provider, broken engine contracts, and verdicts
    /// that stop the run by its [`VerdictPolicy`](crate::sample::VerdictPolicy).
    pub fn collect(
        &mut self,
        problems: &[&Problem],
        context: impl Into<StepContext>,
    ) -> Result<Collected, RolloutError> {
        self.check_early_stop()?;
        let (engine, config) = (&mut *self.engine, &self.config);
        let parts = self.own.or(config);
        let limits = Limits {
            prompt: config.longest_prompt(engine).unwrap_or(usize::MAX),
            row: engine.max_positions().unwrap_or(usize::MAX),
        };
        let stats = CollectStats { problems: problems.len(), ..CollectStats::default() };
        let mut pass = CollectPass {
            problems,
            context: context.into(),
            engine,
            format: &*self.format,
            rubric: &self.rubric,
            config,
            parts,
            leaks: &self.leaks,
            record: &self.record,
            limits,
            stats,
            failures: Failures::default(),
            window: &self.failures,
            dropped: Vec::new(),
            counted: BTreeMap::new(),
            activity: &self.activity,
        };
        let (mut groups, hinted) = pass.sample_stages(self.hints.as_deref())?;
        let CollectPass { mut stats, failures, dropped, counted, .. } = pass;
        let record = Arc::make_mut(&mut self.record);
        settle(&mut groups, hinted, &counted, (parts, config.keep_if), record, &mut stats);
        self.failures.check(failures, &config.verdicts)?;
        for (index, rollout) in dropped {
            groups[index].dropped.push(rollout);
        }
        // A baseline needs a sibling.
        let has_baseline = |group: &RolloutGroup| group.rollouts.len() >= 2;
        let (groups, mut unjudged) = groups.into_iter().partition::<Vec<_>, _>(has_baseline);
        unjudged.retain(|group| !group.dropped.is_empty());
        for group in &mut unjudged {
            group.discarded.append(&mut group.rollouts);
        }
        Ok(Collected { groups, untrained: unjudged, stats })
    }
}
