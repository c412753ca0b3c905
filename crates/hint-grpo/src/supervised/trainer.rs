//! Training on demonstrations alone, for warm starts and baselines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hint_policy::{SharedPolicy, catch_out_of_memory};
use hint_rollout::{Collector, Problem, Seed};

use super::{Demonstration, NllRow, NllTerm};
use crate::optim::Guard;
use crate::run_dir::{CheckpointContent, Progress};
use crate::trainer::evaluation::{Evaluator, check_disjoint, check_held_out};
use crate::trainer::host::{Host, host_methods};
use crate::trainer::restore::{Restored, materialize_gradients};
use crate::trainer::{order, with_held_out};
use crate::{
    GrpoConfig, GrpoError, Metrics, Optimizer, Outcome, Phase, RunDir, StepReport, Timings,
    Warning, clip_grad_norm, metrics,
};

/// The name of this kind of training in checkpoints.
const STAGE: &str = "supervised";

/// Trains a policy on demonstrations. (SFT-1)
///
/// Batching, optimizer, guard, schedule, observers, metrics and checkpoints are those of
/// [`Trainer`](crate::Trainer); a step takes `run.problems_per_step` demonstrations, and passes
/// `run.updates_per_batch` times over them, in `run.mini_batches` optimizer steps each. A killed run
/// resumes to the same bytes.
pub struct SupervisedTrainer {
    policy: SharedPolicy,
    config: GrpoConfig,
    optimizer: Box<dyn Optimizer>,
    guard: Guard,
    host: Host,
    /// What evaluates, and the problems that it evaluates on.
    held_out: Option<(Collector, Vec<Problem>)>,
    progress: Progress,
    /// The checkpoint of the run that was resumed.
    restored: Option<Restored>,
}

impl std::fmt::Debug for SupervisedTrainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SupervisedTrainer")
            .field("config", &self.config)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl SupervisedTrainer {
    /// Starts building a trainer of `policy`.
    pub fn builder(policy: SharedPolicy, config: GrpoConfig) -> SupervisedTrainerBuilder {
        let host = Host::default();
        SupervisedTrainerBuilder { policy, config, optimizer: None, held_out: None, host }
    }

    /// Steps finished, those before a resume included.
    pub const fn step(&self) -> u64 {
        self.progress.step
    }

    /// Trains until all steps are done or an observer stops the run, and writes checkpoints on the
    /// way. A resumed run goes on where its checkpoint was written.
    ///
    /// # Errors
    ///
    /// [`GrpoError::NoProblems`]; [`GrpoError::Mismatch`] when the run was resumed and the
    /// demonstrations are not those it was started with; [`GrpoError::NotFinite`]; and errors of
    /// the parts. The last checkpoint stays usable after any of them.
    pub fn run(&mut self, demonstrations: &[Demonstration]) -> Result<Outcome, GrpoError> {
        if demonstrations.is_empty() {
            return Err(GrpoError::NoProblems);
        }
        let held_out = self.held_out.as_ref().map_or(&[][..], |(_, problems)| problems);
        check_disjoint(demonstrations.iter().map(|one| one.id.as_str()), held_out)?;
        let fingerprint = with_held_out(fingerprint(demonstrations), held_out);
        if let Some(restored) = &self.restored {
            restored.check_problems(&fingerprint)?;
        }
        let mut last_checkpoint = None;
        if self.progress.step == 0 && self.restored.is_none() {
            let stop = self.evaluator().map_or(Ok(false), |evaluator| evaluator.start(false))?;
            last_checkpoint = self.checkpoint(&fingerprint)?;
            if stop {
                return Ok(Outcome::Stopped { step: 0, checkpoint: last_checkpoint });
            }
        }
        while self.progress.step < self.config.run.steps {
            let mut report = self.step_once(demonstrations)?;
            let progress = self.progress;
            if let Some(mut evaluator) = self.evaluator() {
                evaluator.run(progress, false, &mut report.metrics)?;
            }
            let stop = self.host.finish_step(report)?;
            let step = self.progress.step;
            if stop || self.config.run.checkpoint_is_due(step) {
                last_checkpoint = self.checkpoint(&fingerprint)?;
            }
            if stop && step < self.config.run.steps {
                return Ok(Outcome::Stopped { step, checkpoint: last_checkpoint });
            }
        }
        Ok(Outcome::Completed)
    }

    fn evaluator(&mut self) -> Option<Evaluator<'_>> {
        let (collector, held_out) = self.held_out.as_mut()?;
        let (host, policy, config) = (&mut self.host, &self.policy, &self.config);
        Some(Evaluator { host, policy, collector, config, held_out })
    }

    fn step_once(&mut self, demonstrations: &[Demonstration]) -> Result<StepReport, GrpoError> {
        let run = self.config.run;
        let index = self.progress.step;
        self.host.enter(index + 1, Phase::Update);
        let learned = self.config.supervised.tokens;
        let count = run.problems_per_step as u64;
        let rows = Seed::new(run.seed)
            .epochs(demonstrations.len(), index * count..(index + 1) * count)
            .into_iter()
            .map(|index| demonstrations[index].row(learned))
            .collect::<Vec<_>>();
        let term = NllTerm::new(1.0)
            .with_aggregation(self.config.supervised.aggregation)
            .with_max_tokens(run.max_tokens_per_micro_batch);
        let optimizer = &self.config.optimizer;
        let rate = optimizer.learning_rate * optimizer.schedule.factor(index, run.steps);
        let (mut metrics, mut warnings) = (Metrics::new(), Vec::new());
        for pass in 0..run.updates_per_batch as u64 {
            let seed = Seed::new(run.seed).named("mini_batch").child(index).child(pass);
            for members in order::parts(rows.len(), run.mini_batches, seed) {
                let some = members.into_iter().map(|index| rows[index]).collect::<Vec<_>>();
                catch_out_of_memory("train on the demonstrations", || {
                    self.optimizer_step(&term, &some, rate, &mut metrics, &mut warnings)
                })?;
            }
        }
        let tokens = rows.iter().map(NllRow::learned).sum::<usize>() as u64;
        self.progress.step += 1;
        let seen = rows.iter().map(NllRow::len).sum::<usize>() * run.updates_per_batch;
        self.progress.num_tokens += seen as u64;
        metrics.set(metrics::NUM_UPDATES, self.progress.updates as f64);
        metrics.set(metrics::SKIPPED_UPDATES, self.guard.skipped() as f64);
        metrics.set(metrics::LEARNING_RATE, rate);
        metrics.set(metrics::NUM_TOKENS, self.progress.num_tokens as f64);
        let seen = self.progress.step * run.problems_per_step as u64;
        metrics.set(metrics::EPOCH, seen as f64 / demonstrations.len() as f64);
        Ok(StepReport {
            step: self.progress.step,
            total_steps: run.steps,
            metrics,
            timings: Timings::default(),
            tokens,
            peak_memory: None,
            warnings,
        })
    }

    /// Takes one optimizer step on `rows`, unless the guard skips it.
    fn optimizer_step(
        &mut self,
        term: &NllTerm,
        rows: &[NllRow<'_>],
        rate: f64,
        metrics: &mut Metrics,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), GrpoError> {
        self.optimizer.zero_grad();
        let mut measured = Metrics::new();
        let (loss, packing) = term.accumulate_packed(&**self.policy.lock(), rows, &mut measured)?;
        packing.report(&mut measured, warnings);
        let max_norm = self.config.optimizer.max_grad_norm;
        let norm = clip_grad_norm(self.optimizer.parameters(), max_norm);
        if !self.guard.admits(loss, norm, self.progress.step + 1)? {
            return Ok(());
        }
        self.optimizer.step(rate)?;
        self.policy.lock().parameters_changed();
        self.progress.updates += 1;
        measured.add(metrics::LOSS, loss, 1.0);
        measured.add(metrics::GRAD_NORM, norm, 1.0);
        metrics.merge(&measured);
        Ok(())
    }

    fn checkpoint(&mut self, problems: &str) -> Result<Option<PathBuf>, GrpoError> {
        let content = CheckpointContent {
            stage: STAGE,
            progress: self.progress,
            optimizer: self.optimizer.state(),
            parts: BTreeMap::from([("guard".to_owned(), self.guard.state())]),
            problems: problems.to_owned(),
            config: &self.config,
        };
        self.host.checkpoint(&self.policy, &content)
    }
}

/// Ids, tokens and weights, in order.
fn fingerprint(demonstrations: &[Demonstration]) -> String {
    let bytes = |demonstration: &Demonstration| {
        let tokens =
            demonstration.prompt.iter().chain([&u32::MAX]).chain(&demonstration.completion);
        let mut bytes = demonstration.id.clone().into_bytes();
        bytes.extend(tokens.flat_map(|token| token.to_le_bytes()));
        bytes.extend(demonstration.weight.to_le_bytes());
        bytes
    };
    let items = demonstrations.iter().map(bytes).collect::<Vec<_>>();
    order::fingerprint(items.iter().map(|item| [item.as_slice()]))
}

/// Builds a [`SupervisedTrainer`]; made by [`SupervisedTrainer::builder`].
pub struct SupervisedTrainerBuilder {
    policy: SharedPolicy,
    config: GrpoConfig,
    optimizer: Option<Box<dyn Optimizer>>,
    held_out: Option<(Collector, Vec<Problem>)>,
    host: Host,
}

impl std::fmt::Debug for SupervisedTrainerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SupervisedTrainerBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl SupervisedTrainerBuilder {
    /// Another optimizer than the configuration's.
    #[must_use]
    pub fn optimizer(mut self, optimizer: impl Optimizer + 'static) -> Self {
        self.optimizer = Some(Box::new(optimizer));
        self
    }

    /// Problems to evaluate on, without hints, as `evaluation` of the configuration says, with the
    /// engine, the format and the rubric of `collector`. None of them may be demonstrated.
    #[must_use]
    pub fn held_out(mut self, collector: Collector, problems: Vec<Problem>) -> Self {
        self.held_out = Some((collector, problems));
        self
    }

    host_methods!();

    /// Checks the configuration, and restores the checkpoint of a resumed run.
    ///
    /// # Errors
    ///
    /// As [`TrainerBuilder::build`](crate::TrainerBuilder::build).
    pub fn build(self) -> Result<SupervisedTrainer, GrpoError> {
        let config = self.config;
        config.validate()?;
        check_held_out(&config, self.held_out.as_ref().map_or(&[][..], |(_, problems)| problems))?;
        let mut optimizer = match self.optimizer {
            Some(optimizer) => optimizer,
            None => config.optimizer.build(self.policy.lock().parameters())?,
        };
        materialize_gradients(optimizer.parameters())?;
        let mut guard = Guard::new(config.optimizer.guard);
        let mut restored = None;
        if let Some(dir) = self.host.run_dir.as_ref().and_then(RunDir::resume_from) {
            let found = Restored::load(dir, STAGE, &config, &self.policy, &mut optimizer)?;
            guard
                .load_state(found.part("guard")?)
                .map_err(|error| found.damaged("guard", error))?;
            restored = Some(found);
        }
        let progress = restored.as_ref().map_or_else(Progress::default, |run| run.state.progress);
        let (policy, host, held_out) = (self.policy, self.host, self.held_out);
        Ok(SupervisedTrainer {
            policy,
            config,
            optimizer,
            guard,
            host,
            held_out,
            progress,
            restored,
        })
    }
}
