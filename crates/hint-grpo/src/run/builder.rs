//! Building a run, from scratch or from a checkpoint.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hint_dist::{Collective, Single};
use hint_policy::SharedPolicy;
use hint_rollout::data::ProblemSet;
use hint_rollout::error::Violations;
use hint_rollout::evaluate::Evaluation;
use hint_rollout::run::Activity;
use hint_rollout::{Collector, PromptFormat, RolloutEngine};

use super::Run;
use super::context::RunContext;
use super::evaluation::{check_first, check_held_out};
use super::parts::Parts;
use super::restore::Restored;
use crate::advantage::AdvantageEstimator;
use crate::config::{GrpoConfig, Sharding, configured_part};
use crate::data_parallel::DataParallel;
use crate::error::{ConfigError, GrpoError};
use crate::learner::{Learner, LearnerParts};
use crate::objective::{Credit, HintedWeight, PolicyLoss};
use crate::observer::Observer;
use crate::optim::Optimizer;
use crate::run_dir::{Progress, RunDir};
use crate::stage::{PolicyGradient, Stage, Supervised, fingerprint};

/// Builds a [`Run`]; made by [`Trainer::from_config`](super::Trainer), by
/// [`SupervisedTrainer::builder`](super::SupervisedTrainer), or for a stage of your own by
/// [`Run::of_stage`].
///
/// ```
/// use hint_grpo::{GrpoConfig, Observer, RunDir, SupervisedTrainer};
/// # use hint_policy::SharedPolicy;
///
/// # fn example(policy: SharedPolicy, observer: impl Observer + 'static) -> Result<(), hint_grpo::GrpoError> {
/// let config = GrpoConfig::default();
/// let run_dir = RunDir::resume_or_create("runs/sft", &config)?;
/// let trainer = SupervisedTrainer::builder(policy, config).run_dir(run_dir).observer(observer).build()?;
/// # Ok(())
/// # }
/// ```
pub struct RunBuilder<S> {
    stage: S,
    policy: SharedPolicy,
    config: GrpoConfig,
    parts: LearnerParts,
    held_out: ProblemSet,
    first_evaluation: Option<Evaluation>,
    context: RunContext,
    dependencies: BTreeMap<String, String>,
    changes: Vec<String>,
    activity: Activity,
    collective: Arc<dyn Collective>,
    sampler_policy: Option<SharedPolicy>,
}

impl<S> std::fmt::Debug for RunBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Run<PolicyGradient> {
    /// Starts building a run on groups that a collector of `config.rollout` and `parts` samples.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Config`] for values out of range, and errors of making the source of hints.
    pub fn from_config<E, F>(
        config: GrpoConfig,
        parts: Parts<E, F>,
    ) -> Result<RunBuilder<PolicyGradient>, GrpoError>
    where
        E: RolloutEngine + 'static,
        F: PromptFormat + 'static,
    {
        config.validate()?;
        let (policy, collector, own_rubric) = parts.collector(&config)?;
        let stage = PolicyGradient::new(collector, &config).with_own_rubric(own_rubric);
        Ok(Self::of_stage(stage, policy, config))
    }
}

impl Run<Supervised> {
    /// Starts building a run that trains `policy` on demonstrations.
    pub fn builder(policy: SharedPolicy, config: GrpoConfig) -> RunBuilder<Supervised> {
        Self::of_stage(Supervised::new(&config), policy, config)
    }
}

impl<S: Stage> Run<S> {
    /// Starts building a run of `stage` that trains `policy`.
    pub fn of_stage(stage: S, policy: SharedPolicy, config: GrpoConfig) -> RunBuilder<S> {
        RunBuilder {
            stage,
            policy,
            config,
            parts: LearnerParts::default(),
            held_out: ProblemSet::default(),
            first_evaluation: None,
            context: RunContext::default(),
            dependencies: BTreeMap::new(),
            changes: Vec::new(),
            activity: Activity::default(),
            collective: Arc::new(Single),
            sampler_policy: None,
        }
    }
}

impl RunBuilder<PolicyGradient> {
    /// Another advantage estimator than the configuration's.
    #[must_use]
    pub fn advantage(mut self, advantage: impl AdvantageEstimator + 'static) -> Self {
        self.stage = self.stage.with_advantage(Box::new(advantage));
        self
    }

    /// Changes the collector, such as by [`Collector::with_trigger`].
    #[must_use]
    pub fn collector(mut self, change: impl FnOnce(Collector) -> Collector) -> Self {
        self.stage = self.stage.with_collector(change);
        self
    }
}

impl RunBuilder<Supervised> {
    /// Evaluates the [held-out](Self::held_out) problems: the engine, the format and the rubric of a collector.
    #[must_use]
    pub fn evaluator(mut self, collector: Collector) -> Self {
        self.stage = self.stage.with_evaluator(collector);
        self
    }
}

impl<S: Stage> RunBuilder<S> {
    /// The frozen policy of the KL term and of a teacher. Needed when `loss.kl.coef` is not 0, and when
    /// `loss.credit.teacher` is `reference`.
    #[must_use]
    pub fn reference(mut self, reference: SharedPolicy) -> Self {
        self.parts.reference = Some(reference);
        self
    }

    /// A further policy that teaches. For the teacher `average` it is a copy of the policy, whose weights the run
    /// moves. With `model` it is another model: name it by [`RunBuilder::depends_on`], so that the run is not resumed
    /// with a different one.
    #[must_use]
    pub fn teacher(mut self, teacher: SharedPolicy) -> Self {
        self.parts.teacher = Some(teacher);
        self
    }

    /// Another objective than the configuration's.
    #[must_use]
    pub fn objective(mut self, objective: impl PolicyLoss + 'static) -> Self {
        self.parts.objective = Some(Box::new(objective));
        self
    }

    /// A further weight of hinted samples, beside the configuration's. May be called several times.
    #[must_use]
    pub fn hinted_weight(mut self, weight: impl HintedWeight + 'static) -> Self {
        self.parts.hinted_weights.push(Box::new(weight));
        self
    }

    /// Another credit of the tokens that a hint teaches than the configuration's.
    #[must_use]
    pub fn credit(mut self, credit: impl Credit + 'static) -> Self {
        self.parts.credit = Some(Box::new(credit));
        self
    }

    /// Problems to evaluate on, without hints, as configured in `evaluation`; see
    /// [`EvaluationConfig::split`](crate::config::EvaluationConfig::split). None of them may be trained on.
    /// The stage's [collector](Stage::collector) evaluates them.
    #[must_use]
    pub fn held_out(mut self, problems: impl Into<ProblemSet>) -> Self {
        self.held_out = problems.into();
        self
    }

    /// The evaluation before the first step, in place of one that this run makes. It is of another run with the same
    /// weights, seed, sampling and held-out problems, which [`RunDir::evaluation`] reads. [`RunBuilder::build`] compares
    /// these, but not the weights and the rubric. Its completions are not part of that, so none are kept. Several processes
    /// take the same one, or none. A run that is resumed after its first step ignores it.
    #[must_use]
    pub fn first_evaluation(mut self, evaluation: Evaluation) -> Self {
        self.first_evaluation = Some(evaluation);
        self
    }

    /// Another optimizer than the configuration's.
    #[must_use]
    pub fn optimizer(mut self, optimizer: impl Optimizer + 'static) -> Self {
        self.parts.optimizer = Some(Box::new(optimizer));
        self
    }

    /// Watches the run. May be called several times.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.context.observers.push(Box::new(observer));
        self
    }

    /// Shares every step with other processes, which build the same run: each samples, judges and trains on a part of it.
    /// The first one alone writes files; the others need no [run directory](Self::run_dir) and no observers. Where one
    /// of them fails, all end with [`GrpoError::Collective`].
    ///
    /// Parts of your own must decide alike in all processes: from their arguments, and not by chance or the clock.
    /// With `run.ahead`, the threads that sample talk over a [duplicate](Collective::duplicate) of the group.
    #[must_use]
    pub fn collective(mut self, collective: Arc<dyn Collective>) -> Self {
        self.collective = collective;
        self
    }

    /// A copy of the policy, to sample from while the policy trains. Needed when `run.ahead` is not 0: the run gives it the
    /// new weights before each batch that is sampled from it. A [`LocalEngine`](hint_rollout::LocalEngine) samples from
    /// the copy then; an engine elsewhere gets its weights from there. Several processes have a copy each, or the first one
    /// alone if its engine [samples for all](RolloutEngine::samples_for_all).
    #[must_use]
    pub fn sampler_policy(mut self, copy: SharedPolicy) -> Self {
        self.sampler_policy = Some(copy);
        self
    }

    /// Counts the run's activity in `activity`, for a display that reads it from another thread.
    #[must_use]
    pub fn activity(mut self, activity: Activity) -> Self {
        self.activity = activity;
        self
    }

    /// A monotonic clock, for timings. Libraries read none themselves.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Duration + Send + 'static) -> Self {
        self.context.clock = Some(Box::new(clock));
        self
    }

    /// A clock of the time since 1970, for the event file of TensorBoard.
    #[must_use]
    pub fn wall_clock(mut self, clock: impl Fn() -> Duration + Send + 'static) -> Self {
        self.context.wall_clock = Some(Box::new(clock));
        self
    }

    /// A gauge of the largest memory the process has used so far, in bytes, for timings. Libraries
    /// ask the system for nothing themselves.
    #[must_use]
    pub fn peak_memory(mut self, gauge: impl Fn() -> Option<u64> + Send + 'static) -> Self {
        self.context.peak_memory = Some(Box::new(gauge));
        self
    }

    /// Folder for metrics and checkpoints, or the folder to resume from.
    #[must_use]
    pub fn run_dir(mut self, run_dir: RunDir) -> Self {
        self.context.run_dir = Some(run_dir);
        self
    }

    /// Records something else that the run depends on, such as a hash of the base model. A run is not
    /// resumed with another value. May be called several times.
    #[must_use]
    pub fn depends_on(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.dependencies.insert(name.into(), value.into());
        self
    }

    /// Lets a resumed run differ in these keys of the configuration, each with all keys below it. It may
    /// also name entries of [`depends_on`](Self::depends_on). Each difference is recorded in the history
    /// of its checkpoints.
    ///
    /// The training data are `problems`, `hints`, `solutions` and `columns`; the held-out ones are below
    /// `held_out`. [`is_changeable`](crate::config::is_changeable) decides whether a change of the
    /// configuration makes sense.
    #[must_use]
    pub fn changes(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.changes.extend(keys.into_iter().map(Into::into));
        self
    }

    /// Adds files to every checkpoint, such as the tokenizer's. May be called several times.
    #[must_use]
    pub fn extra_file<F>(mut self, write: F) -> Self
    where
        F: Fn(&Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        self.context.extra_files.push(Box::new(write));
        self
    }

    /// Checks the configuration, and restores the checkpoint of a resumed run.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Config`], also for a [first evaluation](Self::first_evaluation) that this run would not make.
    /// [`GrpoError::Diverged`] when the processes differ. For a resumed run, [`GrpoError::Mismatch`] when its configuration was
    /// another one. [`RunBuilder::changes`] lists exceptions, and more steps are allowed where no schedule
    /// depends on their number. [`GrpoError::Checkpoint`] or [`GrpoError::Read`] when its checkpoint
    /// cannot be used.
    pub fn build(self) -> Result<Run<S>, GrpoError> {
        let collective = Arc::clone(&self.collective);
        self.build_shared().map_err(|error| tell_others(&*collective, error))
    }

    fn build_shared(self) -> Result<Run<S>, GrpoError> {
        let Self {
            mut stage,
            policy,
            mut config,
            parts,
            held_out,
            first_evaluation,
            mut context,
            dependencies,
            changes,
            activity,
            collective,
            sampler_policy,
        } = self;
        config.validate()?;
        let processes = shared_by(collective, &config)?;
        if !processes.is_first() {
            context.run_dir = None;
        }
        check_held_out(&config, &held_out)?;
        let mut custom = stage.custom_parts();
        custom.extend(parts.names());
        check_custom_parts(&config, &custom)?;
        config.custom_parts = custom;
        stage.check_parts(&config, &parts)?;
        if S::SAMPLES {
            place_sampler(&mut stage, &config, &policy, sampler_policy, &processes)?;
        }
        let sft = S::sft_loss(&config);
        let mut learner = Learner::shared(policy, &config, sft, parts, processes.clone())?;
        learner.watch(activity.clone());
        let has_folder = processes.broadcast_value(|| Ok(context.run_dir.is_some()))?;
        let samples_ahead = S::SAMPLES && config.run.samples_ahead();
        if processes.num_virtual_workers() > 1 {
            let is_beside = samples_ahead && !processes.is_alone();
            let samplers = if is_beside { processes.duplicate()? } else { processes.clone() };
            stage.share_with(Arc::new(samplers));
        }
        // Two threads would count in one another's work; the display shows the learner's.
        let activity = if samples_ahead { Activity::default() } else { activity };
        if let Some(collector) = stage.collector() {
            collector.watch(activity);
        }
        let dir = context.run_dir.as_ref().and_then(RunDir::resume_from);
        let restored =
            Restored::load(dir, &config, &changes, &mut learner, &mut stage, &processes)?;
        let is_new = !config.custom_parts.is_empty() || restored.is_some();
        if let (Some(run_dir), true) = (&context.run_dir, is_new) {
            run_dir.write_config(&config)?;
        }
        let progress = restored.as_ref().map_or_else(Progress::default, Restored::progress);
        if progress.step == 0 {
            check_first(first_evaluation.as_ref(), &held_out, &mut stage, &config, &processes)?;
        }
        if let Some(run_dir) = &mut context.run_dir {
            run_dir.set_config(&config, progress.step)?;
        }
        let history = restored.as_ref().map_or_else(Vec::new, Restored::history);
        let unfinished = restored.as_ref().map(Restored::unfinished).transpose()?.flatten();
        let last_checkpoint = restored.as_ref().map(|_| progress.step);
        Ok(Run {
            stage,
            learner,
            config,
            context,
            held_out,
            first_evaluation,
            progress,
            restored,
            dependencies,
            changes,
            history,
            unfinished,
            last_checkpoint,
            processes,
            has_folder,
            held: VecDeque::new(),
        })
    }
}

/// Lets a stage sample ahead from the copy of the policy, if the configuration asks for that, and else from the policy.
fn place_sampler<S: Stage>(
    stage: &mut S,
    config: &GrpoConfig,
    policy: &SharedPolicy,
    copy: Option<SharedPolicy>,
    processes: &DataParallel,
) -> Result<(), GrpoError> {
    let ahead = config.run.ahead;
    let refuse = |expected: &str| Err(ConfigError::one("run.ahead", expected, ahead).into());
    if !config.run.samples_ahead() {
        let sampled = stage.collector().and_then(|collector| collector.policy_id());
        return match copy {
            // Nothing would ever give the copy new weights.
            Some(copy) if sampled == Some(copy.id()) => refuse(
                "must be more than 0 with an engine that samples from the copy of the policy",
            ),
            _ => Ok(()),
        };
    }
    // The engine of the first process takes up the weights for all.
    let follows = !processes.is_first()
        && stage.collector().is_some_and(|collector| collector.samples_for_all());
    if copy.is_none() && !follows {
        return refuse(
            "must be 0 without a copy of the policy to sample from (RunBuilder::sampler_policy)",
        );
    }
    stage.sample_ahead(policy, copy)
}

/// The processes that share a run of this configuration. All of them must have the same.
fn shared_by(
    collective: Arc<dyn Collective>,
    config: &GrpoConfig,
) -> Result<DataParallel, GrpoError> {
    let world_size = collective.world_size();
    let workers = config.run.virtual_workers.unwrap_or(world_size);
    let processes = match config.run.shard {
        Sharding::Parameters if world_size > 1 => DataParallel::in_turns(collective, workers),
        _ => DataParallel::new(collective, workers),
    };
    let text = config.to_toml()?;
    processes.agree("configuration", fingerprint([[text.as_bytes()]]))?;
    if workers < world_size {
        let expected = format!("must be at least 1 for each of the {world_size} processes");
        return Err(ConfigError::one("run.virtual_workers", expected, workers).into());
    }
    Ok(processes)
}

/// Tells the other processes of an error here. One that comes from them is returned as they found it.
pub(super) fn tell_others(collective: &dyn Collective, error: GrpoError) -> GrpoError {
    if error.comes_from_others()
        && let Some(failure) = collective.failure()
    {
        return GrpoError::Collective(failure);
    }
    collective.abort(&error.chain());
    error
}

/// Compares the custom parts in the configuration with the program's parts.
fn check_custom_parts(
    config: &GrpoConfig,
    brought: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    Ok(Violations::check(|at| {
        at.within("custom_parts", |at| {
            for (axis, name) in &config.custom_parts {
                let found =
                    brought.get(axis).map_or_else(|| configured_part(config, axis), Clone::clone);
                at.require(found == *name, axis, format!("must be `{name}`"), format!("`{found}`"));
            }
        });
    })?)
}
