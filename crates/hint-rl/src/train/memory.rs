//! Estimate of the memory of a run.

use std::path::Path;

use hint_grpo::objective::CreditTeacher;
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
    /// Whether virtual workers share buffers of the optimizer, and so processes its state.
    pub(crate) shares_state: bool,
}

/// The demand of a run, in one of its processes: the first one, which holds most.
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
    let rows = if method.is_supervised() {
        prompts
    } else {
        sampled.push(batch(prompts, each));
        prompts * each
    };
    sampled.retain(|_| settings.vllm.is_empty());
    // An optimizer step may have fewer tokens than a micro-batch may hold, and a row may have more.
    let tokens = rows.div_ceil(run.num_minibatches) * lengths.row;
    let tokens = tokens.min(run.max_tokens_per_micro_batch).max(lengths.row);
    MemoryDemand {
        model: &model.config,
        report: &model.report,
        gradient_bytes: gradients(optimizer.parameters(), config, sharing),
        optimizer_bytes: optimizer.state_bytes() + undo(optimizer, config, model, sharing),
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

/// The gradient. Several virtual workers also need their sum, of which each process has a part, and what is sent and
/// received for it. Without buffers that the processes share, a parameter travels as a whole.
fn gradients(parameters: &[Parameter], config: &GrpoConfig, sharing: Sharing) -> u64 {
    let Sharing { world_size, shares_state } = sharing;
    let sizes = parameters.iter().map(|one| bytes(&one.tensor));
    let gradient = sizes.clone().sum::<u64>();
    let workers = config.run.virtual_workers.unwrap_or(world_size).max(world_size);
    if workers == 1 {
        return gradient;
    }
    let widths = parameters.iter().map(|one| one.tensor.kind().elt_size_in_bytes() as u64);
    let bucket = IN_FLIGHT * widths.max().unwrap_or(0);
    let largest = if shares_state { 0 } else { sizes.max().unwrap_or(0) };
    let sent = bucket.max(largest).min(gradient);
    // With one worker in each process, a part of the gradient gives its place to the sum.
    let is_in_place = shares_state && workers == world_size;
    let sum = if is_in_place { 0 } else { gradient.div_ceil(world_size as u64) };
    gradient + sum + 2 * sent
}

/// The copy of the state before a step of several optimizer steps, where it fits its limit. It is on the host. Processes
/// that share the state have none.
fn undo(optimizer: &dyn Optimizer, config: &GrpoConfig, model: &Model, sharing: Sharing) -> u64 {
    let run = &config.run;
    let needs_others = sharing.shares_state && sharing.world_size > 1;
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
