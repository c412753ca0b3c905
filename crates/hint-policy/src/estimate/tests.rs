//! Tests of the estimate: against counts by hand, and what each choice of a run adds.

use super::*;
use crate::config::architecture::Architecture;
use crate::config::lora::LoraConfig;
use crate::policy::decoder::DecoderOptions;
use crate::{CausalLm, Decoder as _, Policy as _, ScoreOptions, TokenBatch, TokenRow};

#[test]
fn rollout_and_update_share_their_memory() {
    let estimate = MemoryEstimate {
        lasting: vec![("weights", 5), ("decoder", 2)],
        rollout: vec![("keys and values", 7)],
        update: vec![("activations", 4), ("logits", 1)],
        checkpoint: vec![("copies", 3)],
        at_once: false,
    };
    assert_eq!(estimate.total(), 5 + 2 + 7);
    let ahead = MemoryEstimate { at_once: true, ..estimate };
    assert_eq!(ahead.total(), 5 + 2 + 7 + 5);
    let large = MemoryEstimate { checkpoint: vec![("copies", 9)], ..ahead };
    assert_eq!(large.total(), 5 + 2 + 7 + 9);
}

const TOKENS: usize = 4096;

/// The estimate for a small model with `change`s, and whether it has adapters.
fn estimate(adapts: bool, change: impl FnOnce(&mut MemoryDemand<'_>)) -> MemoryEstimate {
    let small = ModelConfig::small(Architecture::Llama, 60);
    let model = CausalLm::init(&small, 1, Device::Cpu).unwrap();
    let lora = LoraConfig { rank: 1, ..LoraConfig::default() };
    let model = if adapts { model.with_lora(&lora, 1).unwrap() } else { model };
    let trained = model.parameters().iter().map(|p| 4 * p.tensor.numel() as u64).sum();
    let mut demand = MemoryDemand {
        model: &small,
        report: &model.report(),
        gradient_bytes: trained,
        frees_gradients: false,
        optimizer_bytes: 2 * trained,
        gathered_bytes: None,
        reference: true,
        teacher_bytes: 0,
        sampler_bytes: 0,
        gradient_checkpointing: false,
        sampled: vec![SampledBatch { prompts: 16, each: 8, max_batch: 256 }],
        longest_prompt: 100,
        longest_completion: 200,
        micro_batch_tokens: TOKENS,
    };
    change(&mut demand);
    MemoryEstimate::new(&demand)
}

fn part(parts: &[(&str, u64)], name: &str) -> u64 {
    parts.iter().find(|(found, _)| *found == name).unwrap().1
}

#[test]
fn adapters_have_gradients_of_their_own_and_need_no_reference() {
    let (full, adapted) = (estimate(false, |_| {}), estimate(true, |_| {}));
    let of = |estimate: &MemoryEstimate, name| part(&estimate.lasting, name);
    let weights = of(&full, "weights");
    assert!(weights > 0);
    for name in ["gradients", "decoder", "reference"] {
        assert_eq!(of(&full, name), weights, "{name}");
    }
    assert_eq!(of(&adapted, "weights"), weights + of(&adapted, "gradients"));
    assert!(of(&adapted, "gradients") < weights / 2);
    assert_eq!((of(&adapted, "decoder"), of(&adapted, "reference")), (weights, 0));
}

#[test]
fn gradients_that_are_freed_leave_their_room_to_sampling() {
    let (kept, freed) =
        (estimate(false, |_| {}), estimate(false, |demand| demand.frees_gradients = true));
    let gradients = part(&kept.lasting, "gradients");
    assert_eq!((part(&freed.lasting, "gradients"), part(&kept.update, "gradients")), (0, 0));
    assert_eq!(part(&freed.update, "gradients"), gradients);
    assert!((kept.total() - gradients..=kept.total()).contains(&freed.total()));
}

#[test]
fn weights_in_parts_are_whole_except_while_learning() {
    let whole = estimate(false, |_| {});
    let shared = estimate(false, |demand| demand.gathered_bytes = Some(1000));
    let weights = part(&whole.lasting, "weights");
    assert_eq!((part(&shared.lasting, "weights"), part(&shared.update, "weights")), (0, 1000));
    for parts in [&shared.rollout, &shared.checkpoint] {
        assert_eq!(part(parts, "weights"), weights);
    }
    assert!((whole.total() - weights..=whole.total()).contains(&shared.total()));
}

#[test]
fn weights_in_parts_count_once_beside_the_copy_that_is_sampled_from() {
    let whole = estimate(false, |demand| demand.sampler_bytes = 500);
    let shared = estimate(false, |demand| {
        (demand.sampler_bytes, demand.gathered_bytes) = (500, Some(1000));
    });
    let weights = part(&whole.lasting, "weights");
    assert_eq!(part(&shared.lasting, "sampler"), 500);
    assert_eq!(shared.rollout, whole.rollout);
    assert_eq!((part(&shared.lasting, "weights"), part(&shared.update, "weights")), (0, 1000));
    assert_eq!(part(&shared.checkpoint, "weights"), weights);
    assert!((whole.total() - weights..=whole.total()).contains(&shared.total()));
}

#[test]
fn checkpointing_keeps_the_inputs_of_layers_and_the_rest_of_one() {
    let (all, inputs) =
        (estimate(false, |_| {}), estimate(false, |demand| demand.gradient_checkpointing = true));
    let small = ModelConfig::small(Architecture::Llama, 60);
    let (kept, layers) = (part(&all.update, "activations"), small.num_hidden_layers as u64);
    let input = 4 * TOKENS as u64 * small.hidden_size as u64;
    assert_eq!(part(&inputs.update, "activations"), layers * input + kept / layers);
    assert_eq!(inputs.lasting, all.lasting);
}

#[test]
fn blocks_keep_and_rows_remember_what_is_estimated() {
    for architecture in [Architecture::Llama, Architecture::Qwen35] {
        let small = ModelConfig::small(architecture, 60);
        let model = CausalLm::init(&small, 1, Device::Cpu).unwrap();
        let shape = Shape::of(&small);
        let rows: Vec<Vec<u32>> = vec![(0..40).collect(), (0..3).collect()];
        let rows: Vec<TokenRow<'_>> =
            rows.iter().map(|row| TokenRow { prompt: &row[..1], completion: &row[1..] }).collect();
        let batch = TokenBatch::new(&rows, Device::Cpu).unwrap();
        let kept = model.kept_numbers(&batch);
        let of_token = shape.attention_layers * shape.kept_by_attention()
            + shape.delta_layers * shape.kept_by_delta_net();
        assert_eq!(kept as u64, 43 * of_token, "{architecture:?}");

        let mut decoder = model.cached_decoder(&DecoderOptions {
            max_rows: 3,
            max_positions: 60,
            batch_invariant: false,
        });
        let prefix = decoder.prefill(&[&[1, 2, 3]]).unwrap().prefixes[0];
        decoder.fork(prefix, 3).unwrap();
        let expected = shape.delta_layers * shape.state;
        assert_eq!(decoder.state_numbers() as u64, expected, "{architecture:?}");
    }
}

#[test]
fn copies_in_the_compute_kind_are_estimated_and_dropped_when_weights_change() {
    for tied in [false, true] {
        let small = ModelConfig {
            tie_word_embeddings: tied,
            ..ModelConfig::small(Architecture::Llama, 60)
        };
        let model = CausalLm::init(&small, 1, Device::Cpu).unwrap();
        let model = model.with_compute(Kind::BFloat16).unwrap();
        let estimate = |model: &CausalLm| {
            MemoryEstimate::new(&MemoryDemand {
                model: &small,
                report: &model.report(),
                gradient_bytes: 0,
                frees_gradients: false,
                optimizer_bytes: 0,
                gathered_bytes: None,
                reference: true,
                teacher_bytes: 400,
                sampler_bytes: 0,
                gradient_checkpointing: false,
                sampled: Vec::new(),
                longest_prompt: 1,
                longest_completion: 1,
                micro_batch_tokens: 1,
            })
        };
        let found = estimate(&model);
        let rows = [TokenRow { prompt: &[1, 2], completion: &[3] }];
        let batch = TokenBatch::new(&rows, Device::Cpu).unwrap();
        tch::no_grad(|| model.score(&batch, &ScoreOptions::default())).unwrap();
        let kept = 2 * model.kept_casts() as u64;
        let norms = 2 * (2 * small.num_hidden_layers + 1) as u64 * small.hidden_size as u64;
        assert_eq!(part(&found.update, "copies"), kept + norms, "{tied}");
        let weights = part(&found.lasting, "weights");
        assert_eq!(part(&found.lasting, "reference"), weights + kept + norms);
        assert_eq!(part(&found.lasting, "teacher"), 600);
        model.parameters_changed();
        assert_eq!(model.kept_casts(), 0);
        let exact = model.with_compute(Kind::Float).unwrap();
        tch::no_grad(|| exact.score(&batch, &ScoreOptions::default())).unwrap();
        assert_eq!((exact.kept_casts(), part(&estimate(&exact).update, "copies")), (0, 0));
    }
}

#[test]
fn what_samples_elsewhere_has_no_decoder() {
    let estimate = estimate(false, |demand| demand.sampled.clear());
    assert_eq!(part(&estimate.lasting, "decoder"), 0);
    assert_eq!(estimate.rollout.iter().map(|(_, bytes)| bytes).sum::<u64>(), 0);
}

#[test]
fn a_cache_grows_by_half() {
    assert_eq!(cached_positions(10, 20), (32, 0));
    assert_eq!(cached_positions(188, 315), (448, 288));
}

#[test]
fn sizes_are_readable() {
    assert_eq!(mebibytes(3 << 19), "1.5 MiB");
    assert_eq!(mebibytes(20 << 30), "20.0 GiB");
}
