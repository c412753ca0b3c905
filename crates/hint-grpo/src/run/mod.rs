//! The run: one loop of steps, evaluations and checkpoints for every stage of training.
//!
//! [`Run::run`] is the loop. Its [`Stage`] makes the samples of a step, and the [`Learner`] updates the
//! weights on them. Observers, clock and files are behind the `RunContext`.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hint_dist::CollectiveError;
use hint_rollout::data::ProblemSet;
use hint_rollout::evaluate::Evaluation;
use hint_rollout::{Collector, PolicyVersion};
use serde::{Deserialize, Serialize};

use self::builder::tell_others;
use self::context::RunContext;
use self::restore::Restored;
use crate::config::{Change, GrpoConfig};
use crate::data_parallel::DataParallel;
use crate::error::GrpoError;
use crate::learner::Learner;
use crate::metrics::{self, Metrics};
use crate::observer::{Phase, StepReport, Timings};
use crate::optim::write_state;
use crate::run_dir::{CheckpointContent, Progress, RunDir};
use crate::stage::{PolicyGradient, Snapshot, Stage, StageState, Supervised};
use crate::weights::SharedWeights;

mod builder;
mod context;
mod evaluation;
mod parts;
mod restore;

pub use builder::RunBuilder;
pub use parts::{Hints, Parts, Rewards};

/// A run of policy gradient: collects groups, turns them into advantages and losses, takes optimizer
/// steps. Made by [`Trainer::from_config`].
///
/// ```no_run
/// use hint_grpo::prelude::*;
///
/// let model = LoadedModel::load("Qwen2.5-0.5B-Instruct", &LoadOptions::default())?;
/// let policy = SharedPolicy::new(model.policy);
/// let engine = LocalEngine::new(policy.clone(), model.stop_tokens.clone());
/// let format = ChatFormat::new(model.tokenizer.into(), model.stop_tokens);
/// let rewards = Rewards::own(Rubric::new(MathVerifier::new()));
/// let parts = Parts { policy, engine, format, rewards, hints: Hints::configured() };
///
/// let config = GrpoConfig::from_toml("run = { steps = 200 }")?;
/// let run_dir = RunDir::resume_or_create("runs/first", &config)?;
/// Trainer::from_config(config, parts)?
///     .run_dir(run_dir)
///     .build()?
///     .run(&read_problems("problems.jsonl")?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Trainer = Run<PolicyGradient>;

/// A run on demonstrations. Made by [`SupervisedTrainer::builder`].
pub type SupervisedTrainer = Run<Supervised>;

/// A run of one stage: steps, evaluations and checkpoints.
///
/// A killed run resumes to the same bytes.
pub struct Run<S> {
    stage: S,
    learner: Learner,
    config: GrpoConfig,
    context: RunContext,
    /// Problems to evaluate on.
    held_out: ProblemSet,
    /// The evaluation before the first step, where another run has made it.
    first_evaluation: Option<Evaluation>,
    progress: Progress,
    /// The checkpoint of the run that was resumed.
    restored: Option<Restored>,
    /// Further dependencies of the run.
    dependencies: BTreeMap<String, String>,
    /// Differences that a resumed run may have: keys, or names of its dependencies.
    changes: Vec<String>,
    /// Changes so far.
    history: Vec<Change>,
    /// A step that an earlier session could not finish.
    unfinished: Option<Unfinished>,
    /// The step of the newest checkpoint.
    last_checkpoint: Option<u64>,
    /// Those that share every step.
    processes: DataParallel,
    /// Whether the first of them writes files.
    has_folder: bool,
    /// Reports of steps that are finished and not written: one waits for its evaluation.
    held: VecDeque<HeldReport>,
}

/// The report of a finished step.
#[derive(Debug)]
struct HeldReport {
    report: StepReport,
    /// The time since 1970 when the step ended.
    wall: Duration,
    awaits_evaluation: bool,
}

impl<S> std::fmt::Debug for Run<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("config", &self.config)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// The way in which a call of [`Run::run`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Completed,
    /// An observer stopped the run.
    Stopped {
        /// Steps finished.
        step: u64,
        /// The checkpoint to resume from, when the run has a folder.
        checkpoint: Option<PathBuf>,
    },
}

impl Run<PolicyGradient> {
    /// The collector, for evaluation with the run's own engine, format and rubric.
    pub const fn collector_mut(&mut self) -> &mut Collector {
        self.stage.collector_mut()
    }
}

impl<S: Stage> Run<S> {
    /// Steps finished, including steps before a resume.
    pub const fn step(&self) -> u64 {
        self.progress.step
    }

    /// Tokens of prompts and completions, including those before a resume: [`metrics::NUM_TOKENS`].
    pub const fn num_tokens(&self) -> u64 {
        self.progress.num_tokens
    }

    /// The folder of the run.
    pub fn run_dir(&self) -> Option<&Path> {
        self.context.run_dir.as_ref().map(RunDir::root)
    }

    /// Trains until all steps are done or an observer stops the run, and writes checkpoints along
    /// the way. A resumed run continues where its checkpoint was written.
    ///
    /// # Errors
    ///
    /// [`GrpoError::NoProblems`]. [`GrpoError::Mismatch`] when the run was resumed and `items` are
    /// not those it was started with. [`GrpoError::NotFinite`] for a loss or a gradient that is not a
    /// number. [`GrpoError::Config`] when a problem is both trained on and held out. Also errors of
    /// the parts, and [`GrpoError::Panicked`] for a part that panics. The last checkpoint stays usable after any of
    /// them. A step that fails before it changed a weight is preceded by a checkpoint of its own. So is one that can be
    /// taken back: [`RunConfig::undo_mib`](crate::config::RunConfig::undo_mib). A step whose evaluation
    /// fails has one as well, from which a resumed run evaluates first. In a run shared by several processes, an error of one
    /// is [`GrpoError::Collective`] in all others. If they share the state of the optimizer, an error writes no checkpoint.
    pub fn run(&mut self, items: &S::Items) -> Result<Outcome, GrpoError> {
        let outcome = self.run_shared(items);
        outcome.map_err(|error| tell_others(self.processes.collective(), error))
    }

    fn run_shared(&mut self, items: &S::Items) -> Result<Outcome, GrpoError> {
        if S::is_empty(items) {
            return Err(GrpoError::NoProblems);
        }
        self.check_disjoint(items)?;
        self.stage.check(items)?;
        let data = self.fingerprints(items)?;
        self.processes.agree_on(&data)?;
        if let Some(restored) = &self.restored {
            let changes = restored.check_fingerprints(&data, &self.changes)?;
            self.context.changed(restored.changed.iter().chain(&changes));
            self.history.extend(changes);
        }
        std::thread::scope(|scope| {
            self.stage.start(scope, items);
            // A panic must end the thread that samples, too: the scope waits for it.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.train(items, &data)));
            // The others first: that thread may wait for them, and they for this process.
            let collective = self.processes.collective();
            let told =
                outcome.map(|outcome| outcome.map_err(|error| tell_others(collective, error)));
            if told.is_err() {
                collective.abort("it panicked");
            }
            match (told, self.stage.stop()) {
                (Err(panic), _) => resume_unwind(panic),
                // The others end because of this process, and it ends with the cause.
                (Ok(Err(GrpoError::Collective(_))), Some(error)) => Err(error),
                (Ok(outcome), _) => outcome,
            }
        })
    }

    /// The steps.
    fn train(
        &mut self,
        items: &S::Items,
        data: &BTreeMap<String, String>,
    ) -> Result<Outcome, GrpoError> {
        if S::SAMPLES {
            self.sync()?;
        }
        if self.progress.step == 0 && self.restored.is_none() {
            let stop = self.start()?;
            let stop = self.agree_to_stop(stop)?;
            // A run that is killed before its first regular checkpoint can be resumed, too.
            let checkpoint = self.checkpoint(data)?;
            if stop {
                return Ok(Outcome::Stopped { step: 0, checkpoint });
            }
        }
        if let Some(report) = self.unfinished.take()
            && let Some(outcome) = self.finish(self.resumed_report(report), data)?
        {
            return Ok(outcome);
        }
        while self.progress.step < self.config.run.steps {
            let has_folder = self.context.run_dir.is_some();
            let before = has_folder.then(|| self.snapshot());
            self.learner.keep_undo(has_folder && self.last_checkpoint != Some(self.progress.step));
            let step = catch_unwind(AssertUnwindSafe(|| self.step_once(items)));
            let report = match step.unwrap_or_else(|panic| Err(GrpoError::panicked(&*panic))) {
                Ok(report) => report,
                Err(error) => {
                    self.save_before(before, data);
                    return Err(error);
                }
            };
            if S::SAMPLES
                && let Err(error) = self.sync()
            {
                self.save_after(report, data);
                return Err(error);
            }
            if let Some(outcome) = self.finish(report, data)? {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Completed)
    }

    /// Finishes a step whose weights are in place: its evaluation, its report, its checkpoint. The outcome if an
    /// observer stops the run.
    fn finish(
        &mut self,
        mut report: StepReport,
        data: &BTreeMap<String, String>,
    ) -> Result<Option<Outcome>, GrpoError> {
        let awaits_evaluation = match self.evaluate(&mut report.metrics) {
            Ok(awaits_evaluation) => awaits_evaluation,
            Err(error) => {
                self.save_unfinished(&report, data);
                return Err(error);
            }
        };
        self.hold(report, awaits_evaluation);
        let stop = self.write_reports(false)?;
        let mut stop = self.agree_to_stop(stop)?;
        let step = self.progress.step;
        let mut checkpoint = None;
        if stop || self.config.run.checkpoint_is_due(step) {
            let late = self.write_reports(true)?;
            stop |= if self.samples_ahead() { self.any_stops(late)? } else { late };
            checkpoint = self.checkpoint(data)?;
        }
        let is_over = step >= self.config.run.steps;
        Ok((stop && !is_over).then_some(Outcome::Stopped { step, checkpoint }))
    }

    /// Takes one step: the stage's samples and the learner's update. The engine has the old weights still.
    fn step_once(&mut self, items: &S::Items) -> Result<StepReport, GrpoError> {
        let step = self.progress.step + 1;
        let at = self.config.run.progress(self.progress.step);
        if S::SAMPLES {
            self.context.enter(step, Phase::Rollout);
        }
        let batch = self.stage.next_batch(items, at)?;
        if !self.processes.is_alone() {
            self.processes.agree("samples", batch.samples.checksum())?;
        }
        self.context.enter(step, Phase::Update);
        let update = self.learner.update(&batch.samples, at)?;
        self.context.rollouts(step, &self.stage.rollouts(&update))?;
        self.learner.forget();
        self.progress.updates = self.learner.updates();
        self.progress.step = step;
        self.progress.num_tokens += batch.num_tokens;

        let (mut metrics, mut warnings) = (batch.metrics, batch.warnings);
        metrics.merge(&update.metrics);
        metrics.set(metrics::NUM_TOKENS, self.progress.num_tokens as f64);
        warnings.extend(update.warnings);
        Ok(StepReport { tokens: batch.tokens, warnings, ..self.report(metrics) })
    }

    /// Whether an observer of any process stops the run. Compares the weights as well: processes whose numbers part
    /// would train on without anybody noticing.
    fn agree_to_stop(&self, stop: bool) -> Result<bool, GrpoError> {
        if self.processes.is_alone() {
            return Ok(stop);
        }
        self.processes.agree("weights", self.learner.checksum())?;
        self.any_stops(stop)
    }

    /// Whether `stop` holds in any process.
    fn any_stops(&self, stop: bool) -> Result<bool, GrpoError> {
        Ok(self.processes.all_gather_values(stop)?.contains(&true))
    }

    /// Why batches that were ordered may not come: the group of a run that samples ahead has failed. A checkpoint would lack
    /// them, so the one before it serves.
    fn failed_group(&self) -> Option<CollectiveError> {
        self.processes.collective().failure().filter(|_| self.samples_ahead())
    }

    const fn samples_ahead(&self) -> bool {
        S::SAMPLES && self.config.run.samples_ahead()
    }

    /// A report of the present step.
    fn report(&self, metrics: Metrics) -> StepReport {
        StepReport {
            step: self.progress.step,
            total_steps: self.config.run.steps,
            metrics,
            timings: Timings::default(),
            tokens: 0,
            peak_memory: None,
            warnings: Vec::new(),
        }
    }

    /// Hands the weights to the engine.
    fn sync(&mut self) -> Result<(), GrpoError> {
        self.context.enter(self.progress.step.max(1), Phase::Sync);
        let version = PolicyVersion(self.progress.updates);
        self.stage.sync(&SharedWeights { policy: self.learner.policy(), version })
    }

    /// State of the parts that keep one, for later.
    fn snapshot(&self) -> Snapshot {
        let (stage, guard) = (self.stage.snapshot(), self.learner.state());
        Box::new(move || {
            let mut state = stage()?;
            state.parts.insert("guard".to_owned(), guard);
            Ok(state)
        })
    }

    fn checkpoint(
        &mut self,
        data: &BTreeMap<String, String>,
    ) -> Result<Option<PathBuf>, GrpoError> {
        let writes = self.context.run_dir.is_some();
        let helps = self.has_folder && self.learner.needs_others();
        let waits = self.has_folder && self.samples_ahead();
        if !(writes || helps || waits) {
            return Ok(None);
        }
        if waits {
            // Nothing is written before the sampler is done, and an observer may protect what is.
            self.context.count(Phase::Checkpoint);
        }
        // All wait for their samplers, and not for a process that does.
        let state = if writes || waits { self.snapshot()()? } else { StageState::default() };
        if let Some(failure) = self.failed_group() {
            return Err(failure.into());
        }
        if !(writes || helps) {
            return Ok(None);
        }
        if !writes {
            // It waits for the others.
            self.context.enter(self.progress.step, Phase::Checkpoint);
        }
        self.checkpoint_with(state, data)
    }

    /// Writes a checkpoint. All processes call it where [the learner needs the others](Learner::needs_others).
    fn checkpoint_with(
        &mut self,
        state: StageState,
        data: &BTreeMap<String, String>,
    ) -> Result<Option<PathBuf>, GrpoError> {
        if self.context.run_dir.is_none() {
            write_state(self.learner.state_parts(), &self.learner.holders(), None)?;
            self.last_checkpoint = Some(self.progress.step);
            return Ok(None);
        }
        let content = CheckpointContent {
            stage: S::NAME,
            progress: self.progress,
            parts: state.parts,
            batches: state.batches,
            fingerprints: data.clone(),
            history: &self.history,
            config: &self.config,
        };
        let path = self.context.checkpoint(&self.learner, &content)?;
        self.last_checkpoint = Some(self.progress.step);
        Ok(path)
    }

    /// After a step that failed: writes a checkpoint of the state before it. It does nothing if the
    /// step changed weights and cannot be taken back, or the newest checkpoint is that one already.
    fn save_before(&mut self, before: Option<Snapshot>, data: &BTreeMap<String, String>) {
        let is_newer = self.last_checkpoint != Some(self.progress.step);
        if let Some(before) = before.filter(|_| is_newer && self.is_complete())
            && self.is_before_step()
            && let Ok(state) = before()
            && self.failed_group().is_none()
            && self.write_reports(false).is_ok()
            && self.held.is_empty()
        {
            // The error of the step is the one to report; without this checkpoint, an older one serves.
            let _ = self.checkpoint_with(state, data);
        }
    }

    /// Whether weights and optimizer are those before a step that failed. Takes its optimizer steps back if it can.
    fn is_before_step(&mut self) -> bool {
        let is_untouched =
            self.learner.updates() == self.progress.updates && !self.learner.is_torn();
        is_untouched || self.learner.undo().unwrap_or(false)
    }

    /// After a step whose weights did not reach the engine: completes the step with a checkpoint.
    fn save_after(&mut self, report: StepReport, data: &BTreeMap<String, String>) {
        if self.evaluation_is_due() {
            self.save_unfinished(&report, data);
            return;
        }
        self.hold(report, false);
        if self.write_reports(false).is_ok() && self.held.is_empty() && self.is_complete() {
            // As above.
            let _ = self.checkpoint(data);
        }
    }

    /// After a step whose evaluation failed: writes a checkpoint of it, from which a resumed run evaluates first.
    fn save_unfinished(&mut self, report: &StepReport, data: &BTreeMap<String, String>) {
        let StepReport { metrics, tokens, .. } = report;
        // JSON has only finite numbers; with others, an older checkpoint serves.
        let is_finite = metrics.iter().all(|(_, value)| value.is_finite());
        // A row before this one that still waits for its evaluation would be lost.
        let has_state = self.context.run_dir.is_some() && self.is_complete();
        if has_state && is_finite && self.held.is_empty() {
            let unfinished = Unfinished { metrics: metrics.clone(), tokens: *tokens };
            let Ok(mut state) = self.snapshot()() else { return };
            if self.failed_group().is_some() {
                return;
            }
            state.parts.insert(UNFINISHED.to_owned(), serde_json::json!(unfinished));
            // As above.
            let _ = self.checkpoint_with(state, data);
        }
    }

    /// Whether this process can write a checkpoint without the others, after an error of one of them.
    fn is_complete(&self) -> bool {
        !self.learner.needs_others()
    }

    /// The report of a step that an earlier session left unfinished.
    fn resumed_report(&self, unfinished: Unfinished) -> StepReport {
        let Unfinished { metrics, tokens } = unfinished;
        StepReport { tokens, ..self.report(metrics) }
    }

    /// Fingerprints of the data that the run trains and evaluates on, and of its other
    /// dependencies.
    fn fingerprints(&self, items: &S::Items) -> Result<BTreeMap<String, String>, GrpoError> {
        let mut all = S::fingerprints(items)?;
        if !self.held_out.is_empty() {
            let held_out = PolicyGradient::fingerprints(&self.held_out)?;
            all.extend(
                held_out.into_iter().map(|(name, value)| (format!("held_out.{name}"), value)),
            );
        }
        all.extend(self.dependencies.clone());
        Ok(all)
    }
}

/// The part of a checkpoint that holds an [`Unfinished`].
const UNFINISHED: &str = "unfinished";

/// A step whose evaluation failed: its report, without a line in `metrics.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
struct Unfinished {
    metrics: Metrics,
    tokens: u64,
}
