//! Estimate of the memory of a run.

use std::path::Path;

use hint_grpo::objective::CreditTeacher;
use hint_grpo::{GrpoConfig, Optimizer};
use hint_policy::estimate::{MemoryDemand, SampledBatch};
use hint_policy::{Policy as _, SampleOptions};
use tch::{Device, Tensor};

use super::lengths::Lengths;
use super::settings::{Method, Settings};
use crate::workload::{Model, model_path};

/// Gradients that are on their way between processes at a time, in bytes: sent and received.
const IN_FLIGHT: u64 = 2 * (4 << 24);

/// The demand of a run, in one of `world_size` processes.
pub(crate) fn demand<'a>(
    settings: &Settings,
    (method, config): (&Method, &GrpoConfig),
    model: &'a Model,
    optimizer: &dyn Optimizer,
    lengths: &Lengths,
    held_out: usize,
    world_size: usize,
) -> MemoryDemand<'a> {
    let bytes = |tensor: &Tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
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
    let gradient = optimizer.parameters().iter().map(|one| bytes(&one.tensor)).sum::<u64>();
    // The copy of the state before a step of several optimizer steps, which is on the host.
    let state = gradient + optimizer.state_bytes();
    let has_copy = run.num_iterations * run.num_minibatches > 1
        && world_size == 1
        && model.report.device == Device::Cpu
        && state <= run.undo_mib.saturating_mul(1 << 20);
    let copy = if has_copy { state } else { 0 };
    // The sum over the workers is in parts.
    let exchanged = gradient.div_ceil(world_size as u64) + IN_FLIGHT.min(2 * gradient);
    MemoryDemand {
        model: &model.config,
        report: &model.report,
        gradient_bytes: gradient + if world_size > 1 { exchanged } else { 0 },
        optimizer_bytes: optimizer.state_bytes() + copy,
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

/// The copy of the policy that is sampled from ahead, and the weights that may be on their way to it. With servers both
/// are in the memory of the host, and not on a GPU.
fn copies(settings: &Settings, config: &GrpoConfig, model: &Model) -> u64 {
    let parameters = model.policy.lock().parameters();
    let size = |tensor: &Tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
    let on_the_way = parameters.iter().map(|parameter| size(&parameter.tensor)).sum::<u64>();
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
