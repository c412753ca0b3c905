//! The learner: turns a batch of samples into optimizer steps.
//!
//! It handles no problems, hints, files or clocks. A [`SampleBatch`] comes in, an [`UpdateReport`] goes
//! out, and the weights of the policy have changed. A step of [`Learner::update`] is
//!
//! 1. the log-probabilities that do not change during the optimizer steps (`fixed`),
//! 2. the minibatches, each one optimizer step (`minibatch`),
//! 3. for each of them the weights of hinted samples (`weights`), then its micro-batches (`packing`):
//!    gather, forward, loss, backward, observe (`micro_batch`, `sft`),
//! 4. gradient clipping, the guard, and the optimizer.

use std::collections::BTreeMap;

use hint_affinity::Affinity;
use hint_policy::{SharedPolicy, catch_out_of_memory};
use hint_rollout::Seed;
use hint_rollout::run::{Activity, RunProgress};
use serde_json::Value;

use self::affinity::AffinityTracker;
use self::fixed::FixedLogprobs;
use self::micro_batch::{Observed, PolicyStep};
use self::minibatch::Minibatch;
use self::parameters::SharedWeights;
use self::probe::WeightProbe;
use self::sample::Context;
use self::shards::{Shards, build_optimizer, stages_of};
use self::undo::Undo;
use self::weights::LossWeights;
use crate::config::GrpoConfig;
use crate::data_parallel::DataParallel;
use crate::error::GrpoError;
use crate::metrics::{self, Metrics};
use crate::objective::{Credit, HintedWeight, KlConfig, KlGroups, LossConfig, PolicyLoss};
use crate::optim::{Guard, Optimizer, OptimizerConfig, SavedState, materialize_gradients};
use crate::warning::Warning;

mod affinity;
mod column;
mod fixed;
mod gradients;
mod measured;
mod micro_batch;
mod minibatch;
mod packing;
mod parameters;
mod probe;
mod sample;
mod sft;
mod shards;
mod staged;
mod teacher;
mod teacher_scores;
mod undo;
mod weights;

pub use sample::{Contexts, Sample, SampleBatch};
pub use sft::SftLoss;

/// Turns a batch of samples into optimizer steps.
///
/// ```
/// # use std::path::Path;
/// # use hint_policy::{Parameter, Policy, PolicyError, TokenBatch};
/// # use tch::{Device, Kind, Tensor};
/// # struct Bigram(Tensor);
/// # impl Policy for Bigram {
/// #     fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
/// #         Ok(Tensor::embedding(&self.0, tokens.tokens(), -1, false, false))
/// #     }
/// #     fn parameters(&self) -> Vec<Parameter> {
/// #         vec![Parameter { name: "table".into(), tensor: self.0.shallow_clone() }]
/// #     }
/// #     fn vocab_size(&self) -> usize { 4 }
/// #     fn max_positions(&self) -> usize { 64 }
/// #     fn save(&self, _dir: &Path) -> Result<(), PolicyError> { Ok(()) }
/// # }
/// use hint_grpo::learner::{Learner, LearnerParts, Sample, SampleBatch, SftLoss};
/// use hint_grpo::{GrpoConfig, metrics};
/// use hint_policy::SharedPolicy;
/// use hint_rollout::run::RunProgress;
///
/// // A policy that finds all four tokens equally likely.
/// let policy = Bigram(Tensor::zeros([4, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true));
/// let mut learner = Learner::new(
///     SharedPolicy::new(policy),
///     &GrpoConfig::default(),
///     SftLoss::default(),
///     LearnerParts::default(),
/// )?;
/// let samples = vec![Sample::demonstration(0, [0], vec![1, 2], 0.5)];
/// let report = learner.update(&SampleBatch::new(1, samples), RunProgress::new(0, 1))?;
/// let loss = report.metrics.get(metrics::LOSS).expect("one optimizer step");
/// assert!((loss - 0.5 * 4.0_f64.ln()).abs() < 1e-6);
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
pub struct Learner {
    policy: SharedPolicy,
    reference: Option<SharedPolicy>,
    /// The average or the other model that teaches.
    teacher: Option<SharedPolicy>,
    objective: Box<dyn PolicyLoss>,
    hinted_weights: Vec<Box<dyn HintedWeight>>,
    /// Division of the advantage of taught samples over their tokens.
    credit: Box<dyn Credit>,
    optimizer: Box<dyn Optimizer>,
    guard: Guard,
    /// Optimizer steps taken.
    updates: u64,
    /// Whether an optimizer step has begun and not ended.
    is_stepping: bool,
    /// The state before a batch of several optimizer steps.
    undo: Undo,
    loss: LossConfig,
    sft: SftLoss,
    settings: OptimizerConfig,
    seed: u64,
    num_iterations: usize,
    num_minibatches: usize,
    max_tokens_per_micro_batch: usize,
    full_entropy: bool,
    temperature: f64,
    keeps_logprobs: bool,
    activity: Activity,
    processes: DataParallel,
    /// The buffers of an optimizer whose state the processes share.
    shards: Option<Shards>,
    /// The weights, of which each process holds a part while it learns.
    shared_weights: Option<SharedWeights>,
}

impl std::fmt::Debug for Learner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner").field("updates", &self.updates).finish_non_exhaustive()
    }
}

/// Parts of a [`Learner`] that replace the configured ones.
#[derive(Default)]
pub struct LearnerParts {
    /// The frozen policy of the KL term and of a teacher. Needed when `loss.kl.coef` is not 0, and when
    /// `loss.credit.teacher` is `reference`.
    pub reference: Option<SharedPolicy>,
    /// A further policy that teaches. Needed when `loss.credit.teacher` is `average`, a copy of the policy whose weights
    /// the learner then moves, and when it is `model`.
    pub teacher: Option<SharedPolicy>,
    /// Another objective than the configuration's.
    pub objective: Option<Box<dyn PolicyLoss>>,
    /// Further weights of hinted samples, after the configuration's.
    pub hinted_weights: Vec<Box<dyn HintedWeight>>,
    /// Another credit of taught samples' tokens than the configuration's.
    pub credit: Option<Box<dyn Credit>>,
    /// Another optimizer than the configuration's.
    pub optimizer: Option<Box<dyn Optimizer>>,
}

impl std::fmt::Debug for LearnerParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LearnerParts").finish_non_exhaustive()
    }
}

impl LearnerParts {
    /// The names of the parts, by their kind.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        if let Some(objective) = &self.objective {
            names.push(("objective".to_owned(), objective.name()));
        }
        if let Some(credit) = &self.credit {
            names.push(("credit".to_owned(), credit.name()));
        }
        if let Some(optimizer) = &self.optimizer {
            names.push(("optimizer".to_owned(), optimizer.name()));
        }
        if !self.hinted_weights.is_empty() {
            let weights = self.hinted_weights.iter().map(HintedWeight::name);
            names.push(("hinted_weight".to_owned(), weights.collect::<Vec<_>>().join(", ")));
        }
        names
    }
}

/// Measurements of [`Learner::update`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct UpdateReport {
    /// Metrics of the optimizer steps.
    pub metrics: Metrics,
    /// Findings that did not stop the update.
    pub warnings: Vec<Warning>,
    /// Measurements of each group's last optimizer step, by the index of the group.
    pub groups: BTreeMap<usize, GroupStats>,
    /// The log-probabilities of each sample's response at its first optimizer step, by the index of the
    /// sample. Samples without a gradient are left out. Empty with `rollout_table.every = 0`.
    pub logprobs: BTreeMap<usize, RatioLogprobs>,
}

/// Numerator and denominator of the ratio of one sample. One value per token of the response, in nats.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct RatioLogprobs {
    /// `log π_θ`, on the numerator's prompt.
    pub logprobs: Vec<f32>,
    /// The denominator.
    pub old_logprobs: Vec<f32>,
    /// `log π_old` on the plain prompt, where it was scored besides these. That is so for hinted samples whose
    /// numerator has another prompt, or whose weight needs it.
    pub plain_logprobs: Option<Vec<f32>>,
    /// Those of the reference policy on the numerator's prompt, with a KL term.
    pub ref_logprobs: Option<Vec<f32>>,
    /// Those of the policy that teaches, on the teacher's prompt; `None` where no hint teaches the response.
    pub teacher_logprobs: Option<Vec<f32>>,
    /// Counterpart of the teacher's: on the contrast's prompt, or of the policy itself. `None` where that is the
    /// denominator.
    pub contrast_logprobs: Option<Vec<f32>>,
}

/// Measurements of a group's last optimizer step.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct GroupStats {
    /// Affinity of the ratio that trains; `None` where nothing trained.
    pub affinity: Option<Affinity>,
    /// Affinity on the plain prompt against the distribution that drew the tokens.
    pub behavior_affinity: Option<Affinity>,
    /// The weight of its hinted samples.
    pub hinted_weight: Option<f64>,
}

impl Learner {
    /// A learner of `policy`.
    ///
    /// # Errors
    ///
    /// Errors of building the optimizer.
    pub fn new(
        policy: SharedPolicy,
        config: &GrpoConfig,
        sft: SftLoss,
        parts: LearnerParts,
    ) -> Result<Self, GrpoError> {
        Self::shared(policy, config, sft, parts, DataParallel::default())
    }

    /// A learner that shares every update with other processes, which hold the same samples. They get the weights of the
    /// first one.
    pub(crate) fn shared(
        policy: SharedPolicy,
        config: &GrpoConfig,
        sft: SftLoss,
        parts: LearnerParts,
        processes: DataParallel,
    ) -> Result<Self, GrpoError> {
        let (loss, run) = (config.loss.clone(), config.run);
        teacher::prepare(&loss.credit.teacher, parts.teacher.as_ref(), &policy)?;
        // Before the optimizer takes master weights of them.
        for policy in [Some(&policy), parts.reference.as_ref(), parts.teacher.as_ref()] {
            let Some(policy) = policy.map(SharedPolicy::lock) else { continue };
            processes.share_weights(&policy.parameters())?;
            if !processes.is_alone() {
                policy.parameters_changed();
            }
        }
        let mut optimizer = match parts.optimizer {
            Some(optimizer) => optimizer,
            None => build_optimizer(config, policy.lock().parameters(), &processes)?,
        };
        let stages = stages_of(&**policy.lock());
        let shards = Shards::new(&mut *optimizer, &stages, &processes);
        let shared_weights = SharedWeights::new(
            shards.as_ref(),
            &**policy.lock(),
            &loss.credit.teacher,
            &processes,
        )?;
        if shards.is_none() {
            catch_out_of_memory("make room for gradients", || {
                materialize_gradients(optimizer.parameters())
            })?;
        }
        let mut hinted_weights = loss.build_hinted_weights();
        hinted_weights.extend(parts.hinted_weights);
        Ok(Self {
            policy,
            reference: parts.reference,
            teacher: parts.teacher,
            objective: parts.objective.unwrap_or_else(|| loss.objective.build()),
            hinted_weights,
            credit: parts.credit.unwrap_or_else(|| Box::new(loss.credit.form)),
            optimizer,
            guard: Guard::new(config.optimizer.guard),
            updates: 0,
            is_stepping: false,
            undo: Undo::new(run.undo_mib),
            loss,
            sft,
            settings: config.optimizer.clone(),
            seed: run.seed,
            num_iterations: run.num_iterations,
            num_minibatches: run.num_minibatches,
            max_tokens_per_micro_batch: run.max_tokens_per_micro_batch,
            full_entropy: run.full_entropy,
            temperature: config.rollout.sampling.temperature,
            keeps_logprobs: config.rollout_table.is_on(),
            activity: Activity::default(),
            processes,
            shards,
            shared_weights,
        })
    }

    /// A checksum of a sample of the weights.
    pub(crate) fn checksum(&self) -> String {
        WeightProbe::of(self.optimizer.parameters())
            .map_or_else(String::new, |probe| probe.checksum())
    }

    /// The policy.
    pub const fn policy(&self) -> &SharedPolicy {
        &self.policy
    }

    /// Counts the micro-batches of each optimizer step in `activity`, for a display.
    pub fn watch(&mut self, activity: Activity) {
        self.activity = activity;
    }

    /// Whether an optimizer step failed half-way, so that weights and moments are of no one step.
    pub(crate) const fn is_torn(&self) -> bool {
        self.is_stepping
    }

    /// Optimizer steps taken.
    pub const fn updates(&self) -> u64 {
        self.updates
    }

    /// Takes the optimizer steps of a batch. All randomness derives from the seed of the run and from
    /// `progress`.
    ///
    /// # Errors
    ///
    /// [`GrpoError::SampleColumn`] for a column that has not one value per token, [`GrpoError::SampleGroup`].
    /// [`GrpoError::NotFinite`] and [`GrpoError::GradientOutlier`] after too many skipped optimizer steps in
    /// a row. [`PolicyError::OutOfMemory`](hint_policy::PolicyError::OutOfMemory), and errors of the parts.
    pub fn update(
        &mut self,
        batch: &SampleBatch,
        progress: RunProgress,
    ) -> Result<UpdateReport, GrpoError> {
        batch.check()?;
        self.undo.begin(self.state());
        catch_out_of_memory("train on the batch", || {
            let before = WeightProbe::of(self.optimizer.parameters());
            self.share_weights();
            let mut report = self.take_steps(batch, progress)?;
            self.gather_weights()?;
            let after = WeightProbe::of(self.optimizer.parameters());
            let changed = before.zip(after).map(|(before, after)| before.changed(&after));
            report.metrics.set_some(metrics::WEIGHTS_CHANGED_FRAC, changed);
            Ok(report)
        })
    }

    fn take_steps(
        &mut self,
        batch: &SampleBatch,
        progress: RunProgress,
    ) -> Result<UpdateReport, GrpoError> {
        let mut report = UpdateReport::default();
        let has_gradient =
            batch.samples.iter().map(|one| self.has_gradient(one)).collect::<Vec<_>>();
        let trained = (0..batch.samples.len()).filter(|&index| has_gradient[index]);
        let left_out = left_out(&batch.samples, &has_gradient);
        let counts_all = self.full_entropy || left_out.is_empty();
        if self.full_entropy {
            let passes = self.num_iterations as f64;
            let (entropy, count) = self.entropy(&batch.samples, &left_out)?;
            report.metrics.add(metrics::ENTROPY, entropy * passes, count * passes);
        }
        let many = self.num_iterations * self.num_minibatches > 1;
        let trained = trained.collect::<Vec<_>>();
        let seed = Seed::new(self.seed).named("mini_batch").child(progress.step);
        let count = self.num_minibatches;
        let split = |pass: u64| minibatch::split(batch.groups, count, seed.child(pass));
        let of_first = |groups: &Vec<usize>| Minibatch::new(batch, groups, &has_gradient, true);
        let first = split(0).first().map_or_else(Vec::new, |groups| of_first(groups).policy);
        let mut fixed = self.fixed_logprobs(&batch.samples, &trained, many, &first)?;
        let mut is_first = true;
        for pass in 0..self.num_iterations as u64 {
            for groups in split(pass) {
                let minibatch = Minibatch::new(batch, &groups, &has_gradient, is_first);
                let minibatch = Minibatch { counts_all, ..minibatch };
                self.optimizer_step(batch, &minibatch, &mut fixed, progress, &mut report)?;
                is_first = false;
            }
        }
        report.metrics.set(metrics::NUM_UPDATES, self.updates as f64);
        report.metrics.set(metrics::SKIPPED_UPDATES, self.guard.skipped() as f64);
        report.metrics.set(metrics::LEARNING_RATE, self.learning_rate(progress));
        Ok(report)
    }

    /// Whether the policy objective of a sample has a forward pass. Samples without a gradient have none,
    /// unless their tokens are in the denominators of their micro-batch.
    fn has_gradient(&self, sample: &Sample) -> bool {
        let is_local = !self.loss.aggregation.is_split_invariant();
        let is_counted = is_local && sample.policy_weight.is_some() && sample.trained_tokens() > 0;
        is_counted || self.moves(sample)
    }

    /// Whether the tokens of a sample have a gradient of the policy objective, unless they are clipped.
    fn moves(&self, sample: &Sample) -> bool {
        if sample.policy_weight.is_none() || sample.trained_tokens() == 0 {
            return false;
        }
        if sample.is_taught() && !self.credit.ignores_zero_advantage() {
            return true;
        }
        let is_skipped = sample.advantage == 0.0
            && match self.loss.kl {
                KlConfig { coef: 0.0, .. } => true,
                KlConfig { groups: KlGroups::Varied, .. } => sample.zero_variance,
                KlConfig { groups: KlGroups::All, .. } => false,
            };
        !(is_skipped && self.objective.ignores_zero_advantage())
    }

    /// Tokens of a minibatch that are in the denominators and have no gradient.
    fn tokens_without_gradient(
        &self,
        samples: &[Sample],
        minibatch: &Minibatch,
        clipped: f64,
    ) -> f64 {
        let (mut passed, mut moved) = (0, 0);
        for sample in minibatch.policy.iter().map(|&index| &samples[index]) {
            passed += sample.trained_tokens();
            moved += if self.moves(sample) { sample.trained_tokens() } else { 0 };
        }
        // The share of clipped ones is of all tokens that passed; none of those without an advantage is clipped.
        (minibatch.totals.tokens - moved) as f64 + clipped * passed as f64
    }

    /// Takes one optimizer step, unless the guard skips it.
    fn optimizer_step(
        &mut self,
        batch: &SampleBatch,
        minibatch: &Minibatch,
        fixed: &mut FixedLogprobs,
        progress: RunProgress,
        report: &mut UpdateReport,
    ) -> Result<(), GrpoError> {
        let samples = batch.samples.as_slice();
        let band = self.loss.affinity_band()?;
        let weights = self.loss_weights(samples, minibatch, fixed, band, progress)?;
        self.optimizer.zero_grad();
        let mut observed = Observed::new(band);
        let has_policy_samples = batch.has_policy_samples();
        let rows = if has_policy_samples { minibatch.policy.as_slice() } else { &[] };
        let packing = self.packing(samples, rows, Context::Numerator);
        let totals = minibatch.totals.in_micro_batches(packing.batches.len());
        let step = PolicyStep { samples, minibatch, fixed, weights: &weights, progress, totals };
        let sft = self.sft_parts(batch, &minibatch.sft);
        let measured = self.differentiate(step, &packing, batch, &sft)?;
        if has_policy_samples {
            packing.report(&mut observed.metrics, &mut report.warnings);
        }
        for (positions, measured) in packing.batches.iter().zip(&measured.policy) {
            self.observe(step, positions, measured, &mut observed)?;
        }
        if fixed.waits {
            self.keep_denominators(fixed, samples, minibatch, &packing, &measured.policy)?;
        }
        let mut all_sources = 0.0;
        for (sft, measured) in sft.iter().zip(&measured.sft) {
            all_sources += sft.observe(measured, &mut observed, &mut report.warnings);
        }
        observed.loss += all_sources;
        let norm = self.clip()?;
        let tokens = minibatch.totals.tokens as f64;
        if !self.guard.admits(observed.loss, norm, progress.step + 1)? {
            report.metrics.add(metrics::TOKENS_NO_GRADIENT_FRAC, tokens, tokens);
            let (loss, norm) = (observed.loss.to_string(), norm.to_string());
            report.warnings.push(Warning::SkippedUpdate { loss, norm });
            self.drop_gradients();
            return Ok(());
        }
        self.remember();
        self.is_stepping = true;
        self.apply_gradient(self.learning_rate(progress))?;
        self.drop_gradients();
        fixed.waits = false;
        self.follow_with_average();
        self.updates += 1;
        self.is_stepping = false;

        let clipped = observed.metrics.get(metrics::CLIP_RATIO_REGION).unwrap_or(0.0);
        let flat = self.tokens_without_gradient(samples, minibatch, clipped);
        observed.metrics.add(metrics::TOKENS_NO_GRADIENT_FRAC, flat, tokens);
        observed.metrics.add(metrics::LOSS, observed.loss, 1.0);
        observed.metrics.add(metrics::GRAD_NORM, norm, 1.0);
        for weight in weights.rows.iter().flatten() {
            observed.metrics.add(metrics::HINTED_WEIGHT, *weight, 1.0);
        }
        report.metrics.merge(&observed.metrics);
        observed.affinity.report(&mut report.metrics);
        for (index, logprobs) in observed.logprobs {
            report.logprobs.entry(index).or_insert(logprobs);
        }
        report.observe_groups(samples, minibatch, &observed.affinity, &weights);
        Ok(())
    }

    fn learning_rate(&self, progress: RunProgress) -> f64 {
        let schedule = &self.settings.schedule;
        self.settings.learning_rate * schedule.factor(progress.step, progress.total_steps)
    }

    /// State of the guard, for a resumed run.
    pub(crate) fn state(&self) -> Value {
        self.guard.state()
    }

    /// Restores the tensors of [`Learner::state_parts`], and the value of [`Learner::state`], after `updates` optimizer steps.
    pub(crate) fn load_state(
        &mut self,
        updates: u64,
        saved: &SavedState<'_>,
        state: &Value,
    ) -> Result<(), GrpoError> {
        catch_out_of_memory("restore the optimizer", || {
            let moments = self.load_average(saved)?;
            self.optimizer.load_parts(&moments)
        })?;
        self.guard.load_state(state).map_err(|error| GrpoError::other("guard", error))?;
        self.updates = updates;
        Ok(())
    }
}

/// The samples of the policy objective that have tokens to train and no gradient.
fn left_out(samples: &[Sample], has_gradient: &[bool]) -> Vec<usize> {
    let is_left_out = |index: &usize| {
        let sample = &samples[*index];
        !has_gradient[*index] && sample.policy_weight.is_some() && sample.trained_tokens() > 0
    };
    (0..samples.len()).filter(is_left_out).collect()
}

impl UpdateReport {
    /// Takes the measurements of one optimizer step on its groups.
    fn observe_groups(
        &mut self,
        samples: &[Sample],
        minibatch: &Minibatch,
        affinity: &AffinityTracker,
        weights: &LossWeights,
    ) {
        for (group, [trained, behavior]) in affinity.by_group() {
            let stats = self.groups.entry(group).or_default();
            (stats.affinity, stats.behavior_affinity) = (trained, behavior);
        }
        for (position, &index) in minibatch.policy.iter().enumerate() {
            if let Some(weight) = weights.row(position) {
                let stats = self.groups.entry(samples[index].group).or_default();
                stats.hinted_weight = Some(weight);
            }
        }
    }
}
