//! The backward pass of passs against that of autograd.

use std::path::Path;

use hint_policy::{
    Alternatives, CausalLm, ForwardPass, LoraConfig, Parameter, Policy, PolicyError, ScoreOptions,
    TokenBatch, TokenRow, TokenScores,
};
use proptest::prelude::*;
use serde_json::json;
use tch::{Kind, Tensor};

use crate::device;
use crate::model::{configs, random_model, windows, with_keys};

/// Some loss that weighs every log-probability differently.
fn loss(scores: &TokenScores) -> Tensor {
    let shape = scores.logprobs.size();
    let count = shape.iter().product::<i64>();
    let weights = Tensor::arange(count, (Kind::Double, device())).sin().view(shape.as_slice());
    let loss = (scores.logprobs.exp() * weights).sum(Kind::Double);
    let Some(Alternatives { tokens, logprobs }) = &scores.alternatives else { return loss };
    loss + (logprobs.exp() * (tokens + 1).cos()).sum(Kind::Double)
}

/// The gradient of every parameter, which is taken away from it.
fn gradients(policy: &CausalLm) -> Vec<Tensor> {
    policy
        .parameters()
        .into_iter()
        .map(|mut parameter| {
            let grad = parameter.tensor.grad();
            let copy = if grad.defined() { grad.copy() } else { parameter.tensor.zeros_like() };
            parameter.tensor.zero_grad();
            copy.to_kind(Kind::Double)
        })
        .collect()
}

fn difference(a: &[Tensor], b: &[Tensor]) -> f64 {
    let pairs = a.iter().zip(b).filter(|(a, _)| a.numel() > 0);
    pairs.map(|(a, b)| (a - b).abs().max().double_value(&[])).fold(0.0, f64::max)
}

fn largest(tensors: &[Tensor]) -> f64 {
    tensors.iter().map(|tensor| tensor.abs().max().double_value(&[])).fold(0.0, f64::max)
}

fn run(pass: ForwardPass<'_>) -> TokenScores {
    let loss = loss(pass.scores());
    let scores = TokenScores {
        logprobs: pass.scores().logprobs.detach(),
        entropy: pass.scores().entropy.as_ref().map(Tensor::detach),
        alternatives: pass.scores().alternatives.as_ref().map(Alternatives::detach),
    };
    pass.backward(&loss).unwrap();
    scores
}

/// Rows of these lengths (prompt, completion), with ids below `vocab`.
fn with_batch<T>(vocab: usize, lens: &[(usize, usize)], f: impl FnOnce(&TokenBatch) -> T) -> T {
    let longest = lens.iter().map(|(p, c)| p + c).max().unwrap();
    let tokens: Vec<u32> =
        (0..longest + lens.len()).map(|i| (i * i + 3 * i) as u32 % vocab as u32).collect();
    let rows: Vec<_> = lens
        .iter()
        .enumerate()
        .map(|(row, &(prompt, completion))| TokenRow {
            prompt: &tokens[row..row + prompt],
            completion: &tokens[row + prompt..row + prompt + completion],
        })
        .collect();
    f(&TokenBatch::new(&rows, device()).unwrap())
}

/// How far the gradients of autograd in `Float` are from those in `Double`, relative to the largest.
fn rounding(policy: &CausalLm, batch: &TokenBatch, options: &ScoreOptions) -> f64 {
    let of = |compute| {
        let policy = copied(policy, compute);
        run(ForwardPass::by_autograd(policy.score(batch, options).unwrap()));
        gradients(&policy)
    };
    let exact = of(Kind::Double);
    difference(&of(policy.compute()), &exact) / largest(&exact).max(1e-3)
}

/// The same weights, computing in another kind.
fn copied(policy: &CausalLm, compute: Kind) -> CausalLm {
    let copy = CausalLm::init(policy.config(), 0, device()).unwrap().with_compute(compute).unwrap();
    tch::no_grad(|| {
        for (mut to, from) in copy.parameters().into_iter().zip(policy.parameters()) {
            to.tensor.copy_(&from.tensor);
        }
    });
    copy
}

/// Largest difference of scores and gradients from those of autograd, relative to the largest
/// gradient.
fn deviation(policy: &CausalLm, batch: &TokenBatch, options: &ScoreOptions) -> f64 {
    let by_autograd = run(ForwardPass::by_autograd(policy.score(batch, options).unwrap()));
    let expected = gradients(policy);
    let recorded = run(policy.forward(batch, options).unwrap());
    let gradient = difference(&gradients(policy), &expected) / largest(&expected).max(1e-3);
    let plain = tch::no_grad(|| policy.score(batch, options)).unwrap();
    assert_eq!(plain.logprobs, recorded.logprobs, "the same pass with and without gradient");
    let entropies = |scores: &TokenScores| scores.entropy.as_ref().unwrap().shallow_clone();
    let of = |scores: &TokenScores| scores.alternatives.as_ref().map(Alternatives::detach);
    let [one, two, three] = [&plain, &recorded, &by_autograd].map(of);
    let others = match (one, two, three) {
        (None, None, None) => 0.0,
        (Some(one), Some(two), Some(three)) => {
            assert_eq!((one.tokens, one.logprobs), (two.tokens.copy(), two.logprobs.copy()));
            assert_eq!(two.tokens, three.tokens, "the likeliest tokens are the same");
            difference(&[two.logprobs], &[three.logprobs])
        }
        different => panic!("alternatives in one way and not in another: {different:?}"),
    };
    let scores = difference(
        &[recorded.logprobs.shallow_clone(), entropies(&recorded)],
        &[by_autograd.logprobs.shallow_clone(), entropies(&by_autograd)],
    );
    gradient.max(scores).max(others)
}

/// Asserts that each gradient is zero before its stages, and complete after them.
fn assert_stages(policy: &CausalLm, batch: &TokenBatch, options: &ScoreOptions) {
    let pass = policy.forward(batch, options).unwrap();
    let loss = loss(pass.scores());
    let mut seen = Vec::new();
    let present = || {
        let gradient = |tensor: &Tensor| {
            let grad = tensor.grad();
            let copy = if grad.defined() { grad.copy() } else { tensor.detach().zeros_like() };
            copy.to_kind(Kind::Double)
        };
        policy.parameters().iter().map(|one| gradient(&one.tensor)).collect::<Vec<_>>()
    };
    pass.backward_in_stages(&loss, &mut |stages| seen.push((stages, present()))).unwrap();
    let complete = gradients(policy);
    let of_parameters = policy.gradient_stages();
    assert_eq!(of_parameters.len(), complete.len());
    let last = of_parameters.iter().map(|stages| stages.end).max().unwrap();
    let announced = seen.iter().map(|(stages, _)| stages.clone()).collect::<Vec<_>>();
    assert!(announced.windows(2).all(|pair| pair[0].end == pair[1].start), "{announced:?}");
    assert!(announced[0].start == 0 && announced.last().unwrap().end >= last, "{announced:?}");
    for (stages, found) in seen {
        for ((own, found), complete) in of_parameters.iter().zip(&found).zip(&complete) {
            if own.end <= stages.start {
                assert_eq!(found, complete, "{own:?} before {stages:?}");
            }
            if own.start >= stages.start {
                assert_eq!(*found, found.zeros_like(), "{own:?} before {stages:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn recorded_gradients_equal_those_of_autograd(
        config in configs(),
        seed in 0_u64..1000,
        temperature in 0.5_f64..1.5,
        top_k in 0_usize..4,
        kind in prop::sample::select(vec![(Kind::Double, 1e-6), (Kind::Float, 1e-4)]),
        lens in prop::collection::vec((1_usize..20, 0_usize..20), 1..7),
    ) {
        let (kind, tolerance) = kind;
        // In `Float` two tokens may be as likely.
        let top_k = if kind == Kind::Double { top_k } else { 0 };
        let policy = random_model(&config, seed).with_compute(kind).unwrap();
        let options = ScoreOptions { temperature, entropy: true, top_k, ..ScoreOptions::default() };
        with_batch(config.vocab_size, &lens, |batch| {
            let found = deviation(&policy, batch, &options);
            // Parameters and their gradients are kept in `Float`. A model that amplifies rounding, such as a gated
            // delta-net that divides short keys by their length, makes autograd inexact, too.
            let lost = if found < tolerance { 0.0 } else { rounding(&policy, batch, &options) };
            prop_assert!(found < tolerance + 4.0 * lost, "{kind:?} {found}, autograd itself {lost}");
            Ok(())
        })?;
    }

    #[test]
    fn recorded_gradients_of_adapters_equal_those_of_autograd(
        config in configs(),
        seed in 0_u64..1000,
        dropout: bool,
        len in (1_usize..20, 1_usize..20),
    ) {
        let dropout = if dropout { 0.3 } else { 0.0 };
        let lora = LoraConfig { rank: 3, dropout, ..LoraConfig::default() };
        let policy = random_model(&config, seed).with_compute(Kind::Double).unwrap();
        let policy = policy.with_lora(&lora, seed).unwrap();
        tch::no_grad(|| {
            for mut parameter in policy.parameters() {
                let count = parameter.tensor.numel() as i64;
                let wave = Tensor::arange(count, (Kind::Float, device())).cos() * 0.1;
                let _ = parameter.tensor.g_add_(&wave.view(parameter.tensor.size().as_slice()));
            }
        });
        let options = ScoreOptions { entropy: true, dropout_seed: Some(seed), ..ScoreOptions::default() };
        // Masks of dropout go by place in the batch, so it has no padding here.
        let deviation = with_batch(config.vocab_size, &[len, len], |batch| deviation(&policy, batch, &options));
        prop_assert!(deviation < 1e-6, "{deviation}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gradients_change_in_their_stages_alone(
        config in configs(),
        seed in 0_u64..1000,
        adapts: bool,
        len in (1_usize..20, 1_usize..20),
    ) {
        let mut policy = random_model(&config, seed);
        if adapts {
            policy = policy.with_lora(&LoraConfig { rank: 2, ..LoraConfig::default() }, seed).unwrap();
        }
        let options = ScoreOptions::default();
        with_batch(config.vocab_size, &[len, len], |batch| assert_stages(&policy, batch, &options));
    }
}

#[test]
fn a_pass_of_autograd_has_one_stage() {
    let config = hint_policy::ModelConfig::small(hint_policy::config::Architecture::Llama, 30);
    let policy = random_model(&config, 1);
    with_batch(30, &[(3, 4)], |batch| {
        let pass = ForwardPass::by_autograd(policy.score(batch, &ScoreOptions::default()).unwrap());
        let loss = loss(pass.scores());
        let mut seen = Vec::new();
        pass.backward_in_stages(&loss, &mut |stages| seen.push(stages)).unwrap();
        assert!(seen.len() == 1 && seen[0] == (0..usize::MAX), "{seen:?}");
    });
}

/// A policy whose passes are those of autograd.
struct ByAutograd(CausalLm);

impl Policy for ByAutograd {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        self.0.logits(tokens)
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.0.parameters()
    }

    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    fn max_positions(&self) -> usize {
        self.0.max_positions()
    }

    fn save(&self, dir: &Path) -> Result<(), PolicyError> {
        self.0.save(dir)
    }
}

#[test]
fn a_pass_makes_room_for_gradients_whose_room_was_taken() {
    let config = hint_policy::ModelConfig::small(hint_policy::config::Architecture::Llama, 30);
    let policy = ByAutograd(random_model(&config, 1));
    let options = ScoreOptions::default();
    with_batch(30, &[(3, 4)], |batch| {
        for policy in [&policy as &dyn Policy, &policy.0] {
            run(policy.forward(batch, &options).unwrap());
            let take = |parameter: &Parameter| {
                let mut grad = parameter.tensor.grad();
                let copy = grad.copy();
                grad.set_data(&Tensor::zeros([0], (grad.kind(), grad.device())));
                copy
            };
            let expected = policy.parameters().iter().map(take).collect::<Vec<_>>();
            run(policy.forward(batch, &options).unwrap());
            for (mut parameter, expected) in policy.parameters().into_iter().zip(expected) {
                assert_eq!(parameter.tensor.grad(), expected, "{}", parameter.name);
                parameter.tensor.zero_grad();
            }
        }
    });
}

#[test]
fn rows_longer_than_a_block_of_queries_are_attended_to_in_whole() {
    for (window, architecture) in [
        (None, hint_policy::config::Architecture::Llama),
        (Some(150), hint_policy::config::Architecture::Mistral),
        (Some(700), hint_policy::config::Architecture::Mistral),
    ] {
        let config = hint_policy::ModelConfig {
            hidden_size: 24,
            intermediate_size: 20,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 6,
            initializer_range: 0.3,
            max_position_embeddings: 1024,
            sliding_windows: vec![window; 2],
            ..hint_policy::ModelConfig::small(architecture, 30)
        };
        for (kind, tolerance) in [(Kind::Double, 1e-6), (Kind::Float, 1e-4)] {
            let policy = random_model(&config, 1).with_compute(kind).unwrap();
            let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
            let deviation = with_batch(30, &[(20, 500), (3, 610), (1, 0), (400, 1)], |batch| {
                deviation(&policy, batch, &options)
            });
            assert!(deviation < tolerance, "{window:?} {kind:?}: {deviation}");
        }
    }
}

#[test]
fn named_alternatives_are_scored_in_place_of_the_likeliest_tokens() {
    let config = hint_policy::ModelConfig::small(hint_policy::config::Architecture::Gemma2, 30);
    for (kind, tolerance) in [(Kind::Double, 1e-6), (Kind::Float, 1e-4)] {
        let policy = random_model(&config, 3).with_compute(kind).unwrap();
        // Seven completion tokens with two alternatives each: 28 and 29, 0 and 1, and so on.
        let tokens = (Tensor::arange(14, (Kind::Int64, device())) + 28).remainder(30).view([7, 2]);
        let rows = [
            TokenRow { prompt: &[1, 2, 3], completion: &[4, 5] },
            TokenRow { prompt: &[7], completion: &[] },
            TokenRow { prompt: &[9], completion: &[8, 4, 4, 2, 11] },
        ];
        let batch = || TokenBatch::new(&rows, device()).unwrap();
        let named = batch().with_alternatives(&tokens).unwrap();
        let options = ScoreOptions { entropy: true, top_k: 5, ..ScoreOptions::default() };
        let found = deviation(&policy, &named, &options);
        assert!(found < tolerance, "{kind:?}: {found}");
        let scores = tch::no_grad(|| policy.score(&named, &options)).unwrap();
        let alternatives = scores.alternatives.unwrap();
        assert_eq!(alternatives.tokens, tokens);
        // An alternative of the fourth completion token is that token itself.
        let own = scores.logprobs.double_value(&[2, 2]);
        let found = alternatives.logprobs.double_value(&[3, 0]);
        assert!((found - own).abs() < 1e-5, "{kind:?}: {found} {own}");
        assert!(batch().with_alternatives(&tokens.narrow(0, 0, 6)).is_err());
    }
}

/// Chunks of 64 tokens, whole and cut, in rows that are padded to each other.
#[test]
fn rows_longer_than_a_chunk_go_through_delta_nets_in_whole() {
    let small = hint_policy::ModelConfig::small(hint_policy::config::Architecture::Qwen35, 30);
    let config = hint_policy::ModelConfig {
        hidden_size: 24,
        intermediate_size: 20,
        num_hidden_layers: 2,
        initializer_range: 0.3,
        ..small
    };
    for (kind, tolerance) in [(Kind::Double, 1e-6), (Kind::Float, 1e-4)] {
        let policy = random_model(&config, 1).with_compute(kind).unwrap();
        let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
        let deviation = with_batch(30, &[(20, 130), (3, 125), (1, 0), (64, 64)], |batch| {
            deviation(&policy, batch, &options)
        });
        assert!(deviation < tolerance, "{kind:?}: {deviation}");
    }
}

#[test]
fn gradients_add_up() {
    let config = hint_policy::ModelConfig::small(hint_policy::config::Architecture::Llama, 30);
    let policy = random_model(&config, 1);
    let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
    with_batch(30, &[(2, 3), (4, 9)], |batch| {
        run(policy.forward(batch, &options).unwrap());
        let once = gradients(&policy);
        run(policy.forward(batch, &options).unwrap());
        run(policy.forward(batch, &options).unwrap());
        let twice: Vec<_> = once.iter().map(|gradient| gradient * 2.0).collect();
        assert!(difference(&gradients(&policy), &twice) < 1e-6 * largest(&twice));
    });
}

#[test]
fn gradient_checkpointing_changes_no_bit() {
    use hint_policy::config::Architecture;
    let lora = LoraConfig { rank: 3, dropout: 0.3, ..LoraConfig::default() };
    let options = ScoreOptions { entropy: true, dropout_seed: Some(5), ..ScoreOptions::default() };
    for architecture in [Architecture::Gemma3, Architecture::Qwen35] {
        let config = hint_policy::ModelConfig::small(architecture, 30);
        with_batch(30, &[(2, 3), (4, 9), (5, 8)], |batch| {
            for adapted in [false, true] {
                let policy = || {
                    let plain = random_model(&config, 1);
                    if adapted { plain.with_lora(&lora, 2).unwrap() } else { plain }
                };
                let run = |policy: CausalLm| {
                    let scores = run(policy.forward(batch, &options).unwrap());
                    (scores.logprobs, gradients(&policy))
                };
                let kept = run(policy());
                assert!(largest(&kept.1) > 0.0);
                assert_eq!(run(policy().with_gradient_checkpointing(true)), kept);
            }
        });
    }
}

/// Lets parameters, and with them their gradients, be `Double`.
fn doubled(policy: CausalLm) -> CausalLm {
    for mut parameter in policy.parameters() {
        let wide = parameter.tensor.detach().to_kind(Kind::Double);
        parameter.tensor.set_data(&wide);
    }
    policy
}

/// A model of every architecture, with windows that are shorter than the prompts where it may have some.
fn with_windows(architecture: hint_policy::config::Architecture) -> hint_policy::ModelConfig {
    use hint_policy::config::DeltaNet;
    let small = hint_policy::ModelConfig::small(architecture, 30);
    let config = hint_policy::ModelConfig {
        hidden_size: 24,
        intermediate_size: 20,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        // An even number of its dimensions is rotated, also by a quarter.
        head_dim: if small.partial_rotary_factor < 1.0 { 8 } else { 6 },
        initializer_range: 0.3,
        // Gated attention alone.
        delta_net: small.delta_net.clone().map(|net| DeltaNet { layers: vec![false; 2], ..net }),
        ..small
    };
    let layers = [true, false];
    with_keys(&config, &[json!({"no_rope_layers": layers.map(u8::from)}), windows(20, &layers)])
}

/// Rows that share a prompt of 80 tokens, and some that look as if they did.
fn with_shared_prompts<T>(f: impl FnOnce(&TokenBatch) -> T) -> T {
    let tokens: Vec<u32> = (0..200_u32).map(|i| (i * i + 3 * i) % 29).collect();
    let mut other = tokens[..80].to_vec();
    other[79] = 29;
    let row = |prompt, completion| TokenRow { prompt, completion };
    let prompt = &tokens[..80];
    f(&TokenBatch::new(
        &[
            row(prompt, &tokens[90..120]),
            row(prompt, &[]),
            row(&other, &tokens[80..110]),
            row(&tokens[..70], &tokens[70..110]),
            row(prompt, &tokens[80..81]),
            row(&tokens[..3], &tokens[80..85]),
            row(prompt, &tokens[100..130]),
            row(prompt, &tokens[80..170]),
        ],
        device(),
    )
    .unwrap())
}

#[test]
fn rows_that_share_prompts_have_the_scores_and_gradients_of_autograd() {
    use hint_policy::config::Architecture as A;
    for architecture in A::ALL {
        let config = with_windows(architecture);
        for checkpointing in [false, true] {
            let policy = random_model(&config, 1).with_compute(Kind::Double).unwrap();
            let policy = doubled(policy.with_gradient_checkpointing(checkpointing));
            let options = ScoreOptions { entropy: true, top_k: 3, ..ScoreOptions::default() };
            let found = with_shared_prompts(|batch| deviation(&policy, batch, &options));
            assert!(found < 1e-10, "{architecture:?}: {found}");
            // All of one length.
            let prompt: Vec<u32> = (0..70).map(|i| i * 7 % 30).collect();
            let rows = [1, 2, 3].map(|token| [token, 4, token, 5]);
            let rows = rows.each_ref().map(|row| TokenRow { prompt: &prompt, completion: row });
            let batch = TokenBatch::new(&rows, device()).unwrap();
            let found = deviation(&policy, &batch, &options);
            assert!(found < 1e-10, "{architecture:?}: {found}");
        }
        let policy = random_model(&config, 1);
        let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
        let found = with_shared_prompts(|batch| deviation(&policy, batch, &options));
        assert!(found < 1e-4, "{architecture:?} in Float: {found}");
    }
}

/// So a trainer may take the scores of the one for those of the other.
#[test]
fn a_pass_with_gradient_over_shared_prompts_has_the_bits_of_one_without() {
    for architecture in hint_policy::config::Architecture::ALL {
        let config = with_windows(architecture);
        let ways = [(Kind::Float, false), (Kind::Float, true), (Kind::BFloat16, true)];
        for (compute, checkpointing) in ways {
            let policy = random_model(&config, 1).with_compute(compute).unwrap();
            let policy = policy.with_gradient_checkpointing(checkpointing);
            let is_same = with_shared_prompts(|batch| {
                let options = ScoreOptions { temperature: 0.9, ..ScoreOptions::default() };
                let scores = tch::no_grad(|| policy.score(batch, &options)).unwrap();
                let trained = ScoreOptions { entropy: true, top_k: 2, ..options };
                let pass = policy.forward(batch, &trained).unwrap();
                pass.scores().logprobs.equal(&scores.logprobs)
            });
            assert!(is_same, "{architecture:?} in {compute:?}, {checkpointing}");
        }
    }
}

#[test]
fn scores_of_rows_that_share_prompts_are_those_of_each_row_alone() {
    let config = with_windows(hint_policy::config::Architecture::Llama);
    let policy = random_model(&config, 1).with_compute(Kind::Double).unwrap();
    let prompt: Vec<u32> = (0..70).map(|i| i * 7 % 30).collect();
    let completions = [vec![1_u32, 2, 3], vec![4; 40], vec![], vec![2, 1]];
    let row = |completion| TokenRow { prompt: prompt.as_slice(), completion };
    let score = |rows: &[TokenRow<'_>]| {
        let batch = TokenBatch::new(rows, device()).unwrap();
        tch::no_grad(|| policy.score(&batch, &ScoreOptions::default())).unwrap().logprobs
    };
    let together = score(&completions.each_ref().map(|completion| row(completion)));
    for (index, completion) in completions.iter().enumerate() {
        let alone = score(&[row(completion)]);
        let own = together.get(index as i64).narrow(0, 0, alone.size()[1]);
        assert!(difference(&[own], &[alone.get(0)]) < 1e-12);
    }
}

#[test]
fn adapters_on_shared_prompts_have_the_gradients_of_autograd() {
    let config = with_windows(hint_policy::config::Architecture::Llama);
    for dropout in [0.0, 0.3] {
        let lora = LoraConfig { rank: 3, dropout, ..LoraConfig::default() };
        let policy = random_model(&config, 1).with_compute(Kind::Double).unwrap();
        let policy = doubled(policy.with_lora(&lora, 1).unwrap());
        tch::no_grad(|| {
            for mut parameter in policy.parameters() {
                let count = parameter.tensor.numel() as i64;
                let wave = Tensor::arange(count, (Kind::Double, device())).cos() * 0.1;
                let _ = parameter.tensor.g_add_(&wave.view(parameter.tensor.size().as_slice()));
            }
        });
        let prompt: Vec<u32> = (0..70).map(|i| i * 7 % 30).collect();
        let rows = [[1_u32, 2, 3], [4, 5, 6]];
        let rows = rows.each_ref().map(|row| TokenRow { prompt: &prompt, completion: row });
        let batch = TokenBatch::new(&rows, device()).unwrap();
        let options =
            ScoreOptions { entropy: true, dropout_seed: Some(4), ..ScoreOptions::default() };
        let found = deviation(&policy, &batch, &options);
        assert!(found < 1e-10, "dropout {dropout}: {found}");
    }
}

#[test]
fn copies_of_weights_change_no_bit_and_follow_their_weights() {
    let config = with_windows(hint_policy::config::Architecture::Llama);
    let options = ScoreOptions { entropy: true, ..ScoreOptions::default() };
    let policy = random_model(&config, 1).with_compute(Kind::BFloat16).unwrap();
    let one = |policy: &CausalLm| {
        with_batch(30, &[(2, 3), (4, 9), (5, 8)], |batch| {
            let scores = run(policy.forward(batch, &options).unwrap());
            (scores.logprobs, gradients(policy))
        })
    };
    let fresh = one(&policy);
    assert!(largest(&fresh.1) > 0.0);
    assert_eq!(one(&policy), fresh, "with the copies of the first pass");
    // In place, as a plain optimizer does, and in the storage, as one over flat buffers does.
    let change = |in_storage: bool| {
        tch::no_grad(|| {
            for mut parameter in policy.parameters() {
                if in_storage {
                    let mut storage = parameter.tensor.detach();
                    storage.set_data(&parameter.tensor);
                    let _ = storage.g_mul_scalar_(1.5);
                } else {
                    let _ = parameter.tensor.g_mul_scalar_(1.5);
                }
            }
        });
        if in_storage {
            policy.parameters_changed();
        }
    };
    for in_storage in [false, true] {
        change(in_storage);
        let found = one(&policy);
        assert_ne!(found.0, fresh.0);
        let expected = one(&copied(&policy, Kind::BFloat16));
        assert_eq!(found, expected, "{in_storage}");
    }
}
