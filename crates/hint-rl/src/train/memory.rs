//! Estimate of the memory of a run.

use std::path::Path;

use hint_grpo::objective::CreditTeacher;
use hint_grpo::{GrpoConfig, Optimizer};
use hint_policy::SampleOptions;
use hint_policy::estimate::{MemoryDemand, SampledBatch};
use tch::Tensor;

use super::lengths::Lengths;
use super::settings::{Method, Settings};
use crate::workload::{Model, model_path};

/// The demand of a run.
pub(crate) fn demand<'a>(
    settings: &Settings,
    (method, config): (&Method, &GrpoConfig),
    model: &'a Model,
    optimizer: &dyn Optimizer,
    lengths: &Lengths,
    held_out: usize,
) -> MemoryDemand<'a> {
    let bytes = |tensor: &Tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
    let run = &config.run;
    let (prompts, each) = (run.prompts_per_step, config.rollout.group_size);
    let evaluated = config.evaluation.completions_per_problem;
    let max_batch = settings.max_batch.unwrap_or(SampleOptions::default().max_batch);
    let batch = |prompts, each| SampledBatch { prompts, each, max_batch };
    let per_call = config.evaluation.problems_per_call;
    let mut sampled = vec![batch(held_out.min(per_call), evaluated)];
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
        gradient_bytes: optimizer
            .parameters()
            .iter()
            .map(|parameter| bytes(&parameter.tensor))
            .sum(),
        optimizer_bytes: optimizer.state_bytes(),
        reference: config.loss.needs_reference() && !method.is_supervised(),
        teacher_bytes: if method.is_supervised() { 0 } else { teacher(config, model) },
        gradient_checkpointing: settings.gradient_checkpointing,
        sampled,
        longest_prompt: lengths.prompt,
        longest_completion: config.rollout.sampling.max_completion_len,
        micro_batch_tokens: tokens,
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
