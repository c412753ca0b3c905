//! Estimate of the memory of a run.

use std::path::Path;

use hint_grpo::config::Sharding;
use hint_grpo::objective::CreditTeacher;
use hint_grpo::optim::GradientMemory;
use hint_grpo::{GrpoConfig, Optimizer};
use hint_policy::estimate::{MemoryDemand, SampledBatch};
use hint_policy::{Parameter, Policy as _, SampleOptions};
use tch::{Device, Tensor};

use super::lengths::Lengths;
use super::settings::{Method, Settings};
use crate::workload::{Model, model_path};

/// Elements of gradients that are sent at a time, to all processes together.
const IN_FLIGHT: u64 = 1 << 24;

/// The processes of a run, as one of them sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sharing {
    /// How many there are.
    pub(crate) world_size: usize,
    /// The gradients of one, if virtual workers share buffers of the optimizer. Then processes share its state as well.
    pub(crate) gradients: Option<GradientMemory>,
}

/// The demand of a run, in the first of its processes.
pub(crate) fn demand<'a>(
    settings: &Settings,
    (method, config): (&Method, &GrpoConfig),
    model: &'a Model,
    optimizer: &dyn Optimizer,
    lengths: &Lengths,
    held_out: usize,
    sharing: Sharing,
) -> MemoryDemand<'a> {
    let world_size = sharing.world_size;
    let run = &config.run;
    let (prompts, each) = (run.prompts_per_step.div_ceil(world_size), config.rollout.group_size);
    let evaluated = config.evaluation.completions_per_problem;
    let max_batch = settings.max_batch.unwrap_or(SampleOptions::default().max_batch);
    let batch = |prompts, each| SampledBatch { prompts, each, max_batch };
    let per_call = config.evaluation.problems_per_call;
    let mut sampled = vec![batch(held_out.min(per_call).div_ceil(world_size), evaluated)];
    if !method.is_supervised() {
        sampled.push(batch(prompts, each));
    }
    sampled.retain(|_| settings.vllm.is_empty());
    let each = if method.is_supervised() { 1 } else { each };
    let rows = rows_of_worker(config, each, world_size);
    // A worker may have fewer tokens than a micro-batch may hold, and a row may have more.
    let tokens = rows.saturating_mul(lengths.row);
    let tokens = tokens.min(run.max_tokens_per_micro_batch).max(lengths.row);
    let is_one_micro_batch = has_one_micro_batch(config, rows, lengths.row);
    MemoryDemand {
        model: &model.config,
        report: &model.report,
        gradient_bytes: gradients(optimizer.parameters(), config, is_one_micro_batch, sharing),
        frees_gradients: sharing.gradients.is_some(),
        optimizer_bytes: optimizer.state_bytes() + undo(optimizer, config, model, sharing),
        gathered_bytes: gathered(optimizer.parameters(), config, model, sharing),
        reference: config.loss.needs_reference() && !method.is_supervised(),
        teacher_bytes: if method.is_supervised() { 0 } else { teacher(config, model) },
        sampler_bytes: if method.is_supervised() { 0 } else { copies(settings, config, model) },
        gradient_checkpointing: settings.gradient_checkpointing,
        sampled,
        longest_prompt: lengths.prompt,
        longest_completion: config.rollout.sampling.max_completion_len,
        micro_batch_tokens: tokens,
    }
}

fn bytes(tensor: &Tensor) -> u64 {
    (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64
}

/// Virtual workers of the run. At least one for each process.
fn workers(config: &GrpoConfig, world_size: usize) -> usize {
    config.run.virtual_workers.unwrap_or(world_size)
}

/// Rows of a virtual worker in an optimizer step, at most, with `each` rows for a prompt.
fn rows_of_worker(config: &GrpoConfig, each: usize, world_size: usize) -> usize {
    let run = &config.run;
    let rows = (run.prompts_per_step * each).div_ceil(run.num_minibatches);
    rows.div_ceil(workers(config, world_size))
}

/// Whether each virtual worker has one micro-batch at most in an optimizer step, of `rows` rows of `tokens`.
fn has_one_micro_batch(config: &GrpoConfig, rows: usize, tokens: usize) -> bool {
    let (run, sft) = (&config.run, &config.loss.sft);
    // A micro-batch costs a sixteenth of its limit besides its tokens. So rows of no more tokens are never packed apart.
    let is_together = rows.saturating_mul(tokens) <= run.max_tokens_per_micro_batch / 16;
    // Terms of the supervised loss have micro-batches of their own.
    let has_terms = sft.demonstration_coef > 0.0 || sft.prefix_coef > 0.0;
    (rows <= 1 || is_together) && !has_terms
}

/// The gradient. Several virtual workers also need their sum, of which each process has a part, and what is sent and
/// received for it. Without buffers that the processes share, a parameter travels as a whole.
fn gradients(
    parameters: &[Parameter],
    config: &GrpoConfig,
    is_one_micro_batch: bool,
    sharing: Sharing,
) -> u64 {
    let Sharing { world_size, gradients } = sharing;
    if let Some(shared) = gradients {
        return if is_one_micro_batch { shared.one_micro_batch } else { shared.many_micro_batches };
    }
    let sizes = parameters.iter().map(|one| bytes(&one.tensor));
    let gradient = sizes.clone().sum::<u64>();
    if workers(config, world_size) == 1 {
        return gradient;
    }
    let widths = parameters.iter().map(|one| one.tensor.kind().elt_size_in_bytes() as u64);
    let bucket = IN_FLIGHT * widths.max().unwrap_or(0);
    let largest = sizes.max().unwrap_or(0);
    let sent = bucket.max(largest).min(gradient);
    gradient + gradient.div_ceil(world_size as u64) + 2 * sent
}

/// Weights while learning, where each process keeps its part of the trained ones alone.
fn gathered(
    parameters: &[Parameter],
    config: &GrpoConfig,
    model: &Model,
    sharing: Sharing,
) -> Option<u64> {
    let Sharing { world_size, gradients } = sharing;
    if world_size == 1 || config.run.shard != Sharding::Parameters {
        return None;
    }
    let trained = parameters.iter().map(|one| bytes(&one.tensor)).sum::<u64>();
    let others = (model.report.bytes as u64).saturating_sub(trained);
    gradients.map(|shared| others + shared.weights)
}

/// The copy of the state before a step of several optimizer steps, where it fits its limit. It is on the host. Processes
/// that share the state have none.
fn undo(optimizer: &dyn Optimizer, config: &GrpoConfig, model: &Model, sharing: Sharing) -> u64 {
    let run = &config.run;
    let needs_others = sharing.gradients.is_some() && sharing.world_size > 1;
    if run.num_iterations * run.num_minibatches == 1
        || needs_others
        || model.report.device != Device::Cpu
    {
        return 0;
    }
    let parameters = model.policy.lock().parameters();
    let weights = parameters.iter().map(|one| bytes(&one.tensor)).sum::<u64>();
    let is_averaged = matches!(config.loss.credit.teacher, CreditTeacher::Average { .. });
    let average = if is_averaged { weights } else { 0 };
    let copy = weights + average + optimizer.state_bytes();
    if copy <= run.undo_mib.saturating_mul(1 << 20) { copy } else { 0 }
}

/// The copy of the policy that is sampled from ahead, and the weights that may be on their way to it. With servers both
/// are in the memory of the host, and not on a GPU.
fn copies(settings: &Settings, config: &GrpoConfig, model: &Model) -> u64 {
    let parameters = model.policy.lock().parameters();
    let on_the_way = parameters.iter().map(|parameter| bytes(&parameter.tensor)).sum::<u64>();
    let is_elsewhere = !settings.vllm.is_empty() && model.report.device != Device::Cpu;
    match config.run.ahead {
        0 => 0,
        _ if is_elsewhere => 0,
        ahead => model.report.bytes as u64 + on_the_way.saturating_mul(ahead),
    }
}

/// Weights of a further policy that teaches. Another model takes four bytes for each parameter, which its files may
/// hold in two.
fn teacher(config: &GrpoConfig, model: &Model) -> u64 {
    match config.loss.further_teacher() {
        Some(CreditTeacher::Model { path }) => {
            let place = model_path(&path.to_string_lossy()).unwrap_or_else(|_| path.clone());
            let size = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
            let entries = std::fs::read_dir(&place).into_iter().flatten().flatten();
            let weights = entries
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
            let files =
                if place.is_dir() { weights.map(|path| size(&path)).sum() } else { size(&place) };
            2 * files
        }
        Some(_) => model.report.bytes as u64,
        None => 0,
    }
}
