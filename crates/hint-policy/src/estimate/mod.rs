//! An estimate of the memory that a run takes, before it starts.
//!
//! [`MemoryDemand`] describes a run; [`MemoryEstimate`] is its memory, by part. It models this crate's own
//! forward pass, decoder and head, and is checked against measured peaks of real runs.

use std::fmt;

use tch::{Device, Kind};

use crate::config::ModelConfig;
use crate::config::plan::{DeltaNetPlan, MixerPlan};
use crate::forward::delta_rule;
use crate::model::report::LoadReport;

/// Inputs of an estimate.
#[derive(Debug, Clone)]
pub struct MemoryDemand<'a> {
    /// Shape of the model.
    pub model: &'a ModelConfig,
    /// The loaded model.
    pub report: &'a LoadReport,
    /// Gradients of the parameters that are trained, in bytes.
    pub gradient_bytes: u64,
    /// Whether gradients are there while learning alone, and not all the time.
    pub frees_gradients: bool,
    /// State of the optimizer, in bytes.
    pub optimizer_bytes: u64,
    /// Weights that are there at most while learning, in bytes, if each of several processes keeps its part alone then. They
    /// are its part, those of a block, and all that are not shared. `None` where the weights are whole all the time.
    pub gathered_bytes: Option<u64>,
    /// Whether a KL term has a frozen reference. Adapters are their own.
    pub reference: bool,
    /// Weights of a further policy that teaches, in bytes.
    pub teacher_bytes: u64,
    /// Weights that are sampled from while the policy trains, in bytes; 0 where sampling and training take turns.
    pub sampler_bytes: u64,
    /// Whether only the inputs of blocks are kept for the backward pass.
    pub gradient_checkpointing: bool,
    /// Batches that this process samples and that take turns; none if a server samples.
    pub sampled: Vec<SampledBatch>,
    /// The longest prompt that is sampled from, in tokens.
    pub longest_prompt: usize,
    /// The longest completion, in tokens.
    pub longest_completion: usize,
    /// Tokens of the largest micro-batch.
    pub micro_batch_tokens: usize,
}

/// Completions that are asked for in one call.
#[derive(Debug, Clone, Copy)]
pub struct SampledBatch {
    /// Prompts of the call.
    pub prompts: usize,
    /// Completions of each prompt.
    pub each: usize,
    /// Most completions that the engine decodes at the same time.
    pub max_batch: usize,
}

impl SampledBatch {
    /// Completions that the engine decodes at the same time, and the prompts that they share.
    fn side_by_side(self) -> (usize, usize) {
        let rows = (self.prompts * self.each).min(self.max_batch);
        (rows, self.prompts.min(rows.div_ceil(self.each.max(1))))
    }
}

/// An estimate of the memory that a run takes, by part, in bytes.
///
/// Rollouts, updates and checkpoints take turns, so the largest of them counts, unless the run samples ahead. Hints, which
/// lengthen the prompts that are sampled from, are not counted in.
///
/// ```
/// use hint_policy::config::Architecture;
/// use hint_policy::estimate::{MemoryDemand, MemoryEstimate, SampledBatch};
/// use hint_policy::{CausalLm, ModelConfig};
/// use tch::Device;
///
/// let config = ModelConfig::small(Architecture::Llama, 60);
/// let policy = CausalLm::init(&config, 1, Device::Cpu)?;
/// let estimate = MemoryEstimate::new(&MemoryDemand {
///     model: &config,
///     report: &policy.report(),
///     gradient_bytes: 1 << 20,
///     frees_gradients: false,
///     optimizer_bytes: 2 << 20,
///     gathered_bytes: None,
///     reference: false,
///     teacher_bytes: 0,
///     sampler_bytes: 0,
///     gradient_checkpointing: false,
///     sampled: vec![SampledBatch { prompts: 8, each: 8, max_batch: 64 }],
///     longest_prompt: 40,
///     longest_completion: 100,
///     micro_batch_tokens: 2000,
/// });
/// assert!(estimate.total() > 3 << 20);
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Permanent parts.
    pub lasting: Vec<(&'static str, u64)>,
    /// Parts during sampling.
    pub rollout: Vec<(&'static str, u64)>,
    /// Parts during forward and backward passes.
    pub update: Vec<(&'static str, u64)>,
    /// Parts while a checkpoint is written.
    pub checkpoint: Vec<(&'static str, u64)>,
    /// Whether rollouts and updates happen at the same time.
    pub at_once: bool,
}

impl MemoryEstimate {
    /// The estimate for a run.
    pub fn new(demand: &MemoryDemand<'_>) -> Self {
        Self {
            lasting: lasting(demand),
            rollout: rollout(demand),
            update: update(demand),
            checkpoint: checkpoint(demand),
            at_once: demand.sampler_bytes > 0,
        }
    }

    /// Largest sum of simultaneous parts.
    pub fn total(&self) -> u64 {
        let sum = |parts: &[(_, u64)]| parts.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let (rollout, learner) = (sum(&self.rollout), sum(&self.update).max(sum(&self.checkpoint)));
        sum(&self.lasting) + if self.at_once { rollout + learner } else { rollout.max(learner) }
    }
}

/// Weights, their gradients and moments, and copies of the weights. The decoder's copy exists from the
/// first completion to the next optimizer step. The frozen reference of a KL term is another. Adapters
/// have gradients and moments in place of the weights, which are their own reference. Reference and teacher keep copies of
/// their matrices in the compute kind.
fn lasting(demand: &MemoryDemand<'_>) -> Vec<(&'static str, u64)> {
    let MemoryDemand { model, report, .. } = demand;
    let adapts = report.trainable < report.parameters;
    let is_copied = demand.reference && !adapts;
    // Projections and head are laid out again; the embedding is copied if it is stored in another kind.
    let table = model.vocab_size * model.hidden_size;
    let tied_head = if model.tie_word_embeddings { table } else { 0 };
    let shared = if report.stored == report.compute { table } else { 0 };
    let adapters = if adapts { report.trainable } else { 0 };
    let copied = report.parameters - adapters + tied_head - shared;
    let copies = copies(demand);
    let of_teacher = if copies > 0 { demand.teacher_bytes * width(report.compute) / 4 } else { 0 };
    let decodes = demand.sampled.iter().any(|batch| batch.side_by_side().0 > 0);
    vec![
        ("program", if report.device == Device::Cpu { PROGRAM } else { PROGRAM_GPU }),
        ("weights", if demand.gathered_bytes.is_some() { 0 } else { report.bytes as u64 }),
        ("gradients", if demand.frees_gradients { 0 } else { demand.gradient_bytes }),
        ("optimizer", demand.optimizer_bytes),
        ("reference", if is_copied { report.bytes as u64 + copies } else { 0 }),
        ("teacher", demand.teacher_bytes + of_teacher),
        ("sampler", demand.sampler_bytes),
        ("decoder", if decodes { copied as u64 * width(report.compute) } else { 0 }),
    ]
}

/// All weights, while nothing is learned, if they are in parts otherwise.
fn whole(demand: &MemoryDemand<'_>) -> Vec<(&'static str, u64)> {
    let weights = demand.gathered_bytes.map(|_| ("weights", demand.report.bytes as u64));
    weights.into_iter().collect()
}

/// Copies on their way to the files of a checkpoint: a tensor of the model, or a slice of the optimizer's state. With a GPU
/// they are in the memory of the host.
fn checkpoint(demand: &MemoryDemand<'_>) -> Vec<(&'static str, u64)> {
    let MemoryDemand { model, report, .. } = demand;
    let mut parts = whole(demand);
    if report.device != Device::Cpu {
        return parts;
    }
    let adapts = report.trainable < report.parameters;
    let table = (model.vocab_size * model.hidden_size) as u64;
    let largest = if adapts { table.min(report.trainable as u64) } else { table };
    let copies = if report.stored == Kind::Float { 1 } else { 2 };
    parts.push(("written copies", 4 * (copies * largest).max(2 * largest.min(SLICE))));
    parts
}

/// Copies of the matrices in the compute kind, which forward and backward passes on a CPU keep.
fn copies(MemoryDemand { model, report, .. }: &MemoryDemand<'_>) -> u64 {
    if report.device != Device::Cpu || report.compute == report.stored {
        return 0;
    }
    let untied = if model.tie_word_embeddings { 0 } else { model.vocab_size * model.hidden_size };
    (report.parameters - untied) as u64 * width(report.compute)
}

/// Keys and values, or states, of the prompts and of the completions that are sampled side by side. While prompts
/// are read, also queries, keys and values of every layer. Also the logits of one token per completion.
fn rollout(demand: &MemoryDemand<'_>) -> Vec<(&'static str, u64)> {
    let MemoryDemand { model, report, .. } = demand;
    let shape = Shape::of(model);
    let length = demand.longest_prompt + demand.longest_completion;
    let length = length.min(model.max_positions());
    let size = |batch: &SampledBatch| {
        let (rows, texts) = batch.side_by_side();
        let prompts = texts * demand.longest_prompt;
        let states = |rows: usize| rows as u64 * shape.delta_layers * shape.state;
        let prefixes = prompts as u64 * shape.attention_layers * shape.key_values;
        let prefill = if report.device == Device::Cpu { PREFILL } else { PREFILL_GPU };
        let read = prompts.min(prefill.max(demand.longest_prompt)) as u64;
        let reading = read * (shape.attention_layers * shape.attention() + shape.block());
        let (last, before) = if demand.report.device == Device::Cpu {
            cached_positions(demand.longest_prompt + 1, length)
        } else {
            // All of them at once.
            (length.next_multiple_of(BUCKET), 0)
        };
        let positions = (rows * (last + before)) as u64 * shape.attention_layers;
        let width = width(report.compute);
        let logits = (rows * model.vocab_size) as u64 * 3 * width.max(4);
        let cache = positions * shape.key_values * width;
        let cache = cache.max(reading * width);
        // States are `Float` at least.
        [prefixes * width + cache + 4 * (states(rows) + states(texts)), logits]
    };
    let largest = demand.sampled.iter().map(size).max_by_key(|parts| parts.iter().sum::<u64>());
    let [cache, logits] = largest.unwrap_or_default();
    // The thread that samples ahead reads a copy of its own, and the learner's parts count the trained weights.
    let mut parts = if demand.sampler_bytes > 0 { Vec::new() } else { whole(demand) };
    parts.extend([("keys and values", cache), ("next tokens", logits)]);
    parts
}

/// Memory that [`Policy::forward`](crate::Policy::forward) keeps of one micro-batch. Of each token and layer, these
/// are norm inputs, queries and their attention, keys and values, gate and up projection. A gated delta-net keeps
/// its inputs and results in place of queries, keys and values. With gradient checkpointing, it keeps the input of
/// the layer, and the rest of one layer at a time. The backward pass adds the gradients of one layer. The head adds
/// the logits that are kept for the backward pass, and the logits of some tokens. Matrices are copied in the compute kind.
fn update(demand: &MemoryDemand<'_>) -> Vec<(&'static str, u64)> {
    let MemoryDemand { model, report, .. } = demand;
    let shape = Shape::of(model);
    let tokens = demand.micro_batch_tokens as u64;
    let (layers, hidden) = (model.num_hidden_layers as u64, model.hidden_size as u64);
    let (attention, delta_net) = (shape.kept_by_attention(), shape.kept_by_delta_net());
    let kept = if demand.gradient_checkpointing {
        layers * hidden + attention.max(delta_net)
    } else {
        shape.attention_layers * attention + shape.delta_layers * delta_net
    };
    let width = width(report.compute);
    let table = model.vocab_size as u64 * hidden * width;
    let head = match report.device {
        _ if report.compute == report.stored => 0,
        // What is added to its gradient.
        Device::Cpu => table,
        // The head is cast as well.
        _ => 2 * table,
    };
    let logits = tokens * model.vocab_size as u64;
    let (most, kept_most, softmax) = match report.device {
        Device::Cpu => (LOGITS, KEPT_LOGITS, SOFTMAX),
        // Softmax and its gradient, in `Float`, of as many logits as there are at a time.
        _ => (LOGITS_GPU, KEPT_LOGITS_GPU, 8 * logits.min(LOGITS_GPU)),
    };
    let logits = logits.min(most) * width + (logits * width).min(kept_most) + softmax;
    vec![
        ("weights", demand.gathered_bytes.unwrap_or(0)),
        ("gradients", if demand.frees_gradients { demand.gradient_bytes } else { 0 }),
        ("activations", tokens * kept * width),
        ("one layer", tokens * shape.block() * width + shape.delta_rule(tokens, report.device)),
        ("logits", logits + head),
        ("copies", copies(demand)),
    ]
}

/// Sizes of one token in one layer, in numbers.
struct Shape {
    hidden: u64,
    queries: u64,
    key_values: u64,
    /// Gates of the results of attention.
    gates: u64,
    inner: u64,
    attention_layers: u64,
    delta_layers: u64,
    /// Results of the projections of a gated delta-net: inputs of the convolution, and the others.
    channels: u64,
    delta_gates: u64,
    values: u64,
    /// The state of a row in a gated delta-net, and the memory of its convolution.
    state: u64,
    plan: Option<DeltaNetPlan>,
}

impl Shape {
    fn of(model: &ModelConfig) -> Self {
        let plans = model.layers();
        let delta_nets = plans.iter().filter_map(|layer| match layer.mixer {
            MixerPlan::DeltaNet(plan) => Some(plan),
            MixerPlan::Attention(_) => None,
        });
        let delta_nets: Vec<DeltaNetPlan> = delta_nets.collect();
        let plan = delta_nets.first().copied();
        let of_plan = |size: fn(&DeltaNetPlan) -> usize| plan.as_ref().map_or(0, size) as u64;
        let queries = model.num_attention_heads * model.head_dim;
        let is_gated = model.architecture.family().output_gate;
        Self {
            gates: if is_gated { queries as u64 } else { 0 },
            attention_layers: (plans.len() - delta_nets.len()) as u64,
            delta_layers: delta_nets.len() as u64,
            channels: of_plan(DeltaNetPlan::channels),
            delta_gates: of_plan(|plan| plan.values() + 2 * plan.value_heads),
            values: of_plan(DeltaNetPlan::values),
            state: of_plan(|plan| {
                plan.values() * plan.key_dim + (plan.kernel - 1) * plan.channels()
            }),
            plan,
            hidden: model.hidden_size as u64,
            queries: (model.num_attention_heads * model.head_dim) as u64,
            key_values: 2 * (model.num_key_value_heads * model.head_dim) as u64,
            inner: model.intermediate_size as u64,
        }
    }

    fn attention(&self) -> u64 {
        self.queries + self.key_values + self.gates
    }

    /// Numbers that a layer with attention keeps of a token.
    fn kept_by_attention(&self) -> u64 {
        2 * (self.hidden + self.queries + self.inner) + self.key_values + self.gates
    }

    /// Numbers that a layer with a gated delta-net keeps of a token.
    fn kept_by_delta_net(&self) -> u64 {
        if self.plan.is_none() {
            return 0;
        }
        2 * (self.hidden + self.inner) + self.channels + self.delta_gates + self.values
    }

    /// Bytes of the delta rule in the backward pass: inputs and gradients of all heads. Some heads at a time also have
    /// matrices of pairs in a chunk, some rows, and the states that chunks find.
    fn delta_rule(&self, tokens: u64, device: Device) -> u64 {
        let Some(plan) = self.plan else { return 0 };
        let (key_dim, value_dim) = (plan.key_dim as u64, plan.value_dim as u64);
        let (most, chunk) = match device {
            Device::Cpu => (delta_rule::TOKENS, delta_rule::CHUNK),
            _ => (delta_rule::TOKENS_GPU, delta_rule::CHUNK),
        };
        let (most, chunk) = (most.unsigned_abs(), chunk.unsigned_abs());
        let all = tokens * plan.value_heads as u64;
        let states = 5 * key_dim * value_dim / chunk;
        let at_a_time = 11 * chunk + 13 * key_dim + 8 * value_dim + states;
        4 * (all * (4 * key_dim + 3 * value_dim) + all.min(most.max(tokens)) * at_a_time)
    }

    /// Memory at one time while a feed-forward layer is computed or differentiated.
    fn block(&self) -> u64 {
        5 * self.inner + 6 * self.hidden
    }
}

/// Positions of a cache that grows from `first` to `length` positions, by half and in steps of 32.
/// They count the final cache, and the one from which it was copied at the last growth.
fn cached_positions(first: usize, length: usize) -> (usize, usize) {
    let (mut last, mut before) = (first.next_multiple_of(BUCKET), 0);
    while last < length {
        (before, last) = (last, (last + 1).max(last * 3 / 2).next_multiple_of(BUCKET));
    }
    (last, before)
}

fn width(kind: Kind) -> u64 {
    kind.elt_size_in_bytes() as u64
}

/// Memory of a run of the tiny model: libtorch, the tokenizer and small things.
const PROGRAM: u64 = 200 << 20;

/// Memory of CUDA and its libraries on a GPU: an estimate, not measured.
const PROGRAM_GPU: u64 = 600 << 20;

/// Logits that exist at the same time.
const LOGITS: u64 = 1 << 24;
const LOGITS_GPU: u64 = 1 << 28;

/// Bytes of logits that wait for the backward pass.
const KEPT_LOGITS: u64 = 1 << 27;
const KEPT_LOGITS_GPU: u64 = 1 << 32;

/// Four times 2²¹ numbers of a softmax, in bytes.
const SOFTMAX: u64 = 4 << 23;

/// Elements of the optimizer's state that are written at a time.
const SLICE: u64 = 1 << 24;

/// Tokens of prompts that are read at the same time.
const PREFILL: usize = 4096;
const PREFILL_GPU: usize = 1 << 15;

/// Cached positions are allocated in multiples of this.
const BUCKET: usize = 32;

impl fmt::Display for MemoryEstimate {
    /// A line for each part that takes anything, and one for the total.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (when, parts) in [
            ("all the time", &self.lasting),
            ("while sampling", &self.rollout),
            ("while learning", &self.update),
            ("while saving", &self.checkpoint),
        ] {
            for (name, bytes) in parts.iter().filter(|(_, bytes)| *bytes > 0) {
                writeln!(formatter, "{name:<16} {:>11}  {when}", mebibytes(*bytes))?;
            }
        }
        write!(formatter, "{:<16} {:>11}", "at most", mebibytes(self.total()))
    }
}

/// A size in MiB, or in GiB from ten of them on.
pub fn mebibytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 10_240.0 {
        format!("{mebibytes:.1} MiB")
    } else {
        format!("{:.1} GiB", mebibytes / 1024.0)
    }
}

#[cfg(test)]
mod tests;
