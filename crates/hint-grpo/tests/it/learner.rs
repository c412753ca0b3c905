//! The learner without a collector: batches of samples against losses and gradients worked out by hand.

use std::sync::{Arc, Mutex};

use hint_grpo::learner::{
    Contexts, GroupStats, Learner, LearnerParts, Sample, SampleBatch, SftLoss, UpdateReport,
};
use hint_grpo::objective::{
    AffinityBand, Aggregation, CreditForm, CreditTeacher, HintedWeightConfig, ObjectiveConfig,
    OldLogprobs, RatioShaping,
};
use hint_grpo::{GrpoConfig, GrpoError, metrics};
use hint_policy::{PolicyError, SharedPolicy};
use hint_rollout::run::{RunProgress, ValueSchedule};
use hint_rollout::sample::RolloutSource;
use tch::Tensor;

use crate::bigram::{Bigram, Keep};
use crate::{device, upload};

const EVEN: [f64; 9] = [0.0; 9];

/// A configuration without clipping of the gradient, at temperature 1.
pub(crate) fn config() -> GrpoConfig {
    let mut config = GrpoConfig::default();
    config.optimizer.max_grad_norm = 1e9;
    config.rollout.sampling.temperature = 1.0;
    config.loss.hinted_weight.clear();
    config
}

/// What one update of a table of `logits` reports, and its gradient.
fn update_with(
    logits: &[f64; 9],
    config: &GrpoConfig,
    sft: SftLoss,
    samples: Vec<Sample>,
) -> Result<(UpdateReport, Vec<f64>), GrpoError> {
    let table = upload(logits).view([3, 3]).set_requires_grad(true);
    let policy = SharedPolicy::new(Bigram::new(table));
    let gradient = Arc::new(Mutex::new(Vec::new()));
    let parameters = policy.lock().parameters();
    let optimizer = Keep { parameters, gradient: Arc::clone(&gradient) };
    let parts = LearnerParts { optimizer: Some(Box::new(optimizer)), ..LearnerParts::default() };
    let mut learner = Learner::new(policy, config, sft, parts)?;
    let groups = samples.iter().map(|sample| sample.group + 1).max().unwrap_or(0);
    let report = learner.update(&SampleBatch::new(groups, samples), RunProgress::new(0, 1))?;
    let gradient = gradient.lock().expect("no test panics here").clone();
    Ok((report, gradient))
}

#[track_caller]
fn update(logits: &[f64; 9], config: &GrpoConfig, samples: Vec<Sample>) -> (f64, Vec<f64>) {
    let (report, gradient) =
        update_with(logits, config, SftLoss::default(), samples).expect("the samples are valid");
    (report.metrics.get(metrics::LOSS).expect("one optimizer step"), gradient)
}

#[track_caller]
fn check(actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        assert!((actual - expected).abs() < 1e-12, "{actual} is not {expected}");
    }
}

/// `Σ c · ∇ log π(to | from)` of an even table: `c` times 1 − 1/3 at the token, −1/3 elsewhere.
fn gradient(terms: &[(usize, usize, f64)]) -> Vec<f64> {
    let mut gradient = vec![0.0; 9];
    for &(from, to, coefficient) in terms {
        for token in 0..3 {
            let hit = if token == to { 1.0 } else { 0.0 };
            gradient[3 * from + token] += coefficient * (hit - 1.0 / 3.0);
        }
    }
    gradient
}

pub(crate) fn demonstration(group: usize, prompt: &[u32], response: &[u32], weight: f64) -> Sample {
    Sample::demonstration(group, prompt, response.to_vec(), weight)
}

/// A plain sample with the log-probabilities of an even table.
pub(crate) fn sampled(group: usize, prompt: &[u32], response: &[u32], advantage: f64) -> Sample {
    let logprobs = vec![-(3.0_f64.ln()); response.len()];
    Sample::new(group, prompt, response.to_vec(), logprobs).with_advantage(advantage)
}

#[test]
fn the_supervised_loss_and_its_gradient_are_those_worked_out_by_hand() {
    // Transitions 0→1, 1→2 (weight 1) and 0→0 (weight 2), divided by three tokens.
    let samples = vec![demonstration(0, &[0], &[1, 2], 1.0), demonstration(1, &[0], &[0], 2.0)];
    let (loss, found) = update(&EVEN, &config(), samples);
    check(&[loss], &[(1.0 + 1.0 + 2.0) * 3.0_f64.ln() / 3.0]);
    let third = 1.0 / 3.0;
    check(&found, &gradient(&[(0, 1, -third), (1, 2, -third), (0, 0, -2.0 * third)]));
}

#[test]
fn a_sequence_mean_counts_sequences() {
    // exp logits after 0: 1, 2, 1; after 1: 1, 1, 2. −log π(0→1) = ln 2, −log π(1→2) = ln 2,
    // −log π(0→0) = ln 4. Means of the sequences: ln 2 and ln 4.
    let logits = [0.0, 2.0_f64.ln(), 0.0, 0.0, 0.0, 2.0_f64.ln(), 0.0, 0.0, 0.0];
    let samples = vec![demonstration(0, &[0], &[1, 2], 0.1), demonstration(1, &[0], &[0], 0.1)];
    let sft = SftLoss { aggregation: Aggregation::SequenceMean, ..SftLoss::default() };
    let (report, _) = update_with(&logits, &config(), sft, samples).expect("valid samples");
    let loss = report.metrics.get(metrics::LOSS).expect("one optimizer step");
    check(&[loss], &[0.1 * f64::midpoint(2.0_f64.ln(), 4.0_f64.ln())]);
}

#[test]
fn each_source_of_the_supervised_loss_has_a_mean_of_its_own() {
    // Two tokens of a demonstration with coefficient 1, one of a prefix with coefficient 0.5.
    let prefix = demonstration(0, &[2], &[0], 0.5).with_source(RolloutSource::Prefix);
    let samples = vec![demonstration(0, &[0], &[1, 2], 1.0), prefix];
    let (loss, found) = update(&EVEN, &config(), samples);
    check(&[loss], &[1.5 * 3.0_f64.ln()]);
    check(&found, &gradient(&[(0, 1, -0.5), (1, 2, -0.5), (2, 0, -0.5)]));
}

#[test]
fn without_a_token_to_learn_nothing_is_added() {
    for samples in [vec![], vec![demonstration(0, &[0], &[], 1.0)]] {
        let (report, found) =
            update_with(&EVEN, &config(), SftLoss::default(), samples).expect("valid samples");
        assert!(found.iter().all(|value| *value == 0.0), "{found:?}");
        assert_eq!(report.metrics.get(metrics::NLL), None);
    }
}

#[test]
fn a_hole_in_the_loss_mask_neither_trains_nor_counts() {
    // 0→1, 1→2, 2→0, 0→2; somebody else wrote the second and the third token. The ratio is 1, so the
    // gradient of a token is −Â ∇ log π; the sequence mean is over two tokens.
    let turn = |advantage| {
        sampled(0, &[0], &[1, 2, 0, 2], advantage).with_loss_mask(vec![true, false, false, true])
    };
    let samples = || vec![turn(1.0), sampled(0, &[1], &[1], -1.0)];
    let (_, found) = update(&EVEN, &config(), samples());
    check(&found, &gradient(&[(0, 1, -0.25), (0, 2, -0.25), (1, 1, 0.5)]));

    // Of the whole step three tokens train.
    let expected = |own: f64, other: f64| gradient(&[(0, 1, -own), (0, 2, -own), (1, 1, other)]);
    for (aggregation, own, other) in [
        (Aggregation::SequenceMean, 0.25, 0.5),
        (Aggregation::TokenMean, 1.0 / 3.0, 1.0 / 3.0),
        (Aggregation::Constant { max_completion_len: 4 }, 0.125, 0.125),
        (Aggregation::SequenceSum, 0.5, 0.5),
        (Aggregation::LocalTokenMean, 1.0 / 3.0, 1.0 / 3.0),
    ] {
        let mut config = config();
        config.loss.aggregation = aggregation;
        check(&update(&EVEN, &config, samples()).1, &expected(own, other));
    }
    // Each sample in a micro-batch of its own: the same, except for the mean of each micro-batch.
    for aggregation in [Aggregation::SequenceMean, Aggregation::TokenMean] {
        let mut config = config();
        config.loss.aggregation = aggregation;
        let whole = update(&EVEN, &config, samples()).1;
        config.run.max_tokens_per_micro_batch = 1;
        check(&update(&EVEN, &config, samples()).1, &whole);
    }
}

#[test]
fn a_hole_in_the_loss_mask_is_left_out_of_every_objective() {
    // What the engine says of tokens that it did not draw may be anything.
    let turn = |filler: f64| {
        let mut sample = sampled(0, &[0], &[1, 2, 2], 1.0);
        sample.behavior_logprobs[1] = filler;
        sample.with_loss_mask(vec![true, false, true])
    };
    for objective in [
        ObjectiveConfig::default(),
        ObjectiveConfig::GeometricMean { clip_low: 0.2, clip_high: 0.2 },
        ObjectiveConfig::Cispo { max_ratio: 5.0 },
        ObjectiveConfig::Sapo { temperature_positive: 1.0, temperature_negative: 1.0 },
        ObjectiveConfig::Reinforce,
    ] {
        let mut config = config();
        config.loss.objective = objective;
        config.loss.old_logprobs = OldLogprobs::Engine;
        let samples = |filler| vec![turn(filler), sampled(0, &[1], &[0], -1.0)];
        let (loss, found) = update(&EVEN, &config, samples(-1.0));
        let (other_loss, other) = update(&EVEN, &config, samples(-90.0));
        assert_eq!((loss, &found), (other_loss, &other), "{objective:?}");
        // 2→2 would have pushed row 2; only 0→1 and 2→2 train, 1→2 does not.
        assert!(
            found[3..6]
                .iter()
                .zip(gradient(&[(1, 0, 0.5)])[3..6].iter())
                .all(|(found, expected)| (found - expected).abs() < 1e-12)
        );
    }
}

#[test]
fn a_hole_in_the_loss_mask_of_a_demonstration_neither_trains_nor_counts() {
    let masked =
        |mask: &[bool]| vec![demonstration(0, &[0], &[1, 2, 0], 1.0).with_loss_mask(mask.to_vec())];
    let (loss, found) = update(&EVEN, &config(), masked(&[true, false, true]));
    check(&[loss], &[3.0_f64.ln()]);
    check(&found, &gradient(&[(0, 1, -0.5), (2, 0, -0.5)]));
    let (report, found) =
        update_with(&EVEN, &config(), SftLoss::default(), masked(&[false; 3])).expect("valid");
    assert!(found.iter().all(|value| *value == 0.0));
    assert_eq!(report.metrics.get(metrics::NLL), None);
}

/// A hinted sample whose engine found every token half as likely as an even table does.
pub(crate) fn hinted(group: usize, response: &[u32], mask: &[bool], advantage: f64) -> Sample {
    let mut sample = sampled(group, &[0], response, advantage)
        .with_source(RolloutSource::Hinted)
        .with_contexts(Contexts::plain([0]).with_sampled([0, 1]))
        .with_loss_mask(mask.to_vec());
    for (logprob, trains) in sample.behavior_logprobs.iter_mut().zip(mask) {
        // Far outside the band where nothing trains.
        *logprob = if *trains { -(6.0_f64.ln()) } else { -50.0 };
    }
    sample
}

#[test]
fn affinity_and_its_metrics_see_only_what_trains() {
    let samples =
        |mask: &[bool]| vec![hinted(0, &[1, 2, 0], mask, 1.0), sampled(0, &[1], &[1], -1.0)];
    let measure = |samples| {
        let (report, _) =
            update_with(&EVEN, &config(), SftLoss::default(), samples).expect("valid samples");
        (report.metrics, report.groups[&0])
    };
    let (metrics, stats): (_, GroupStats) = measure(samples(&[true, false, true]));
    // The tokens that train have a ratio of 2 against the engine, outside the band.
    assert_eq!(metrics.get("affinity/behavior/hinted/eur"), Some(0.0));
    assert_eq!(metrics.get("affinity/hinted/eur"), Some(1.0));
    // Of three trained tokens in the group one is inside: that of the plain sample.
    let behavior = stats.behavior_affinity.expect("something trained");
    assert!((behavior.eur() - 1.0 / 3.0).abs() < 1e-12, "{behavior:?}");
    // Entropy and loss are over three tokens, too.
    assert!((metrics.get(metrics::ENTROPY).expect("measured") - 3.0_f64.ln()).abs() < 1e-12);
    assert_eq!(metrics.get(metrics::ENTROPY), metrics.get(metrics::ENTROPY_TRAINED));
    assert!(metrics.get(metrics::SAMPLING_LOGP_DIFFERENCE_MAX).expect("measured") < 1e-12);
}

#[test]
fn a_skipped_optimizer_step_is_a_warning() {
    let (report, _) = update_with(
        &EVEN,
        &config(),
        SftLoss::default(),
        vec![sampled(0, &[0], &[1], f64::INFINITY), sampled(0, &[0], &[2], 0.5)],
    )
    .expect("one in a row is allowed");
    let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
    assert!(
        warning.to_string().starts_with("an optimizer step was skipped: the loss is "),
        "{warning}"
    );
    assert_eq!(report.metrics.get(metrics::SKIPPED_UPDATES), Some(1.0));
    assert_eq!(report.metrics.get(metrics::TOKENS_NO_GRADIENT_FRAC), Some(1.0));
}

#[test]
fn tokens_without_a_gradient_are_counted() {
    let share = |config: &GrpoConfig, samples| {
        let (report, _) =
            update_with(&EVEN, config, SftLoss::default(), samples).expect("valid samples");
        // The optimizer of these tests changes nothing.
        assert_eq!(report.metrics.get(metrics::WEIGHTS_CHANGED_FRAC), Some(0.0));
        report.metrics.get(metrics::TOKENS_NO_GRADIENT_FRAC).expect("measured")
    };
    let samples = |advantage: f64| {
        vec![sampled(0, &[0], &[1, 2, 0], advantage), sampled(1, &[0], &[2], -1.0)]
    };
    assert_eq!(share(&config(), samples(0.0)), 0.75);
    assert_eq!(share(&config(), samples(1.0)), 0.0);
    // A ratio of 2 against the engine is clipped where the advantage is positive: three tokens of four.
    let mut engine = config();
    engine.loss.old_logprobs = OldLogprobs::Engine;
    let mut clipped = samples(1.0);
    clipped[0].behavior_logprobs = vec![-(6.0_f64.ln()); 3];
    assert!((share(&engine, clipped) - 0.75).abs() < 1e-12);
    // Where micro-batches have denominators of their own, all have a forward pass, and no more have a gradient.
    let mut local = config();
    local.loss.aggregation = Aggregation::LocalTokenMean;
    assert_eq!(share(&local, samples(0.0)), 0.75);
    // The clipped token is one of four that passed.
    local.loss.old_logprobs = OldLogprobs::Engine;
    let mut clipped = vec![sampled(0, &[0], &[1, 2, 0], 0.0), sampled(1, &[0], &[2], 1.0)];
    clipped[1].behavior_logprobs = vec![-(6.0_f64.ln())];
    assert!((share(&local, clipped) - 1.0).abs() < 1e-12);
}

#[test]
fn entropy_is_that_of_all_completions_or_has_another_name() {
    // Prompt 1 is followed by a certain token, prompt 0 by any of three.
    let table = [0.0, 0.0, 0.0, 50.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let samples = || {
        let without_signal = sampled(0, &[1], &[0, 1], 0.0);
        vec![without_signal, sampled(1, &[0], &[2], 1.0), sampled(1, &[0], &[1], -1.0)]
    };
    let measure = |full_entropy| {
        let mut config = config();
        config.run.full_entropy = full_entropy;
        let (report, weights) =
            update_with(&table, &config, SftLoss::default(), samples()).expect("valid samples");
        let value = |name| report.metrics.get(name);
        ((value(metrics::ENTROPY), value(metrics::ENTROPY_TRAINED)), weights)
    };
    let ((entropy, trained), weights) = measure(false);
    assert_eq!(entropy, None);
    assert!((trained.expect("measured") - 3.0_f64.ln()).abs() < 1e-12);
    let ((entropy, trained), same) = measure(true);
    // Four tokens: a certain one, and three of ln 3.
    assert!((entropy.expect("measured") - 0.75 * 3.0_f64.ln()).abs() < 1e-9, "{entropy:?}");
    assert!((trained.expect("measured") - 3.0_f64.ln()).abs() < 1e-12);
    assert_eq!(weights, same, "it measures and changes nothing");
}

#[test]
fn weights_and_shapes_of_hinted_samples_see_only_what_trains() {
    let samples =
        || vec![hinted(0, &[1, 2, 0], &[true, false, true], 1.0), sampled(0, &[1], &[1], -1.0)];
    let mut config = config();
    config.loss.old_logprobs = OldLogprobs::Engine;
    // The engine's log-probabilities are those of the hinted prompt, so the ratio to it is 2 everywhere.
    config.loss.ratio_shaping = RatioShaping::Quantile { quantile: 0.5 };
    let mut off_context = samples();
    let plain = std::sync::Arc::<[u32]>::from([0]);
    let sampled_from = std::sync::Arc::<[u32]>::from([0, 1]);
    off_context[0].contexts = Contexts::plain(std::sync::Arc::clone(&plain))
        .with_sampled(std::sync::Arc::clone(&sampled_from))
        .with_ratio(plain, Some(sampled_from));
    let (_, found) = update(&EVEN, &config, off_context);
    // γ is the median of the ratios that train, 2: the slope γ r / (r + γ)² is 1/4. Sequence means.
    let own = -0.25 / 2.0 / 2.0;
    check(&found, &gradient(&[(0, 1, own), (2, 0, own), (1, 1, 0.5)]));
}

#[test]
fn all_weights_of_hinted_samples_are_multiplied() {
    let constant =
        |value| HintedWeightConfig::Schedule { value: ValueSchedule::Constant { value } };
    // On an even table both prompts give the same probabilities: the ratio of 1 is clamped.
    let off_context =
        |bound| HintedWeightConfig::OffContext { exponent: 1.0, min: 0.0, max: bound };
    let samples = || vec![hinted(0, &[1], &[true], 1.0), sampled(0, &[1], &[1], -1.0)];
    let mut config = config();
    config.loss.hinted_weight =
        vec![constant(0.5), off_context(0.5), constant(3.0), off_context(0.25)];
    let (_, found) = update(&EVEN, &config, samples());
    let weight = 0.5 * 3.0 * 0.5 * 0.25;
    check(&found, &gradient(&[(0, 1, -0.5 * weight), (1, 1, 0.5)]));
}

#[test]
fn many_micro_batches_give_the_gradient_of_one() {
    let logits = [0.3, -0.2, 0.9, 0.1, 0.4, -1.0, 0.0, 0.7, -0.3];
    let samples = || {
        vec![
            demonstration(0, &[0], &[1, 2, 0, 1], 1.0),
            demonstration(1, &[1, 2], &[2], 0.5),
            demonstration(2, &[2], &[], 1.0),
            demonstration(3, &[0], &[1, 1, 0, 0], 1.0)
                .with_loss_mask(vec![true, false, true, true]),
            sampled(4, &[0, 2], &[1, 0], 1.0),
            sampled(4, &[0, 2], &[2, 2, 2], -1.0),
        ]
    };
    for aggregation in [Aggregation::TokenMean, Aggregation::SequenceMean, Aggregation::SequenceSum]
    {
        let sft = SftLoss { aggregation, ..SftLoss::default() };
        let gradient_of = |max_tokens: usize, samples: Vec<Sample>| {
            let mut config = config();
            config.loss.aggregation = aggregation;
            config.run.max_tokens_per_micro_batch = max_tokens;
            update_with(&logits, &config, sft, samples).expect("valid samples").1
        };
        let whole = gradient_of(1 << 20, samples());
        for max_tokens in [1, 6, 10] {
            check(&gradient_of(max_tokens, samples()), &whole);
        }
        let mut reversed = samples();
        reversed.reverse();
        check(&gradient_of(1 << 20, reversed), &whole);
    }
}

#[test]
fn a_column_that_does_not_fit_is_refused() {
    let sample = sampled(0, &[0], &[1, 2], 1.0).with_loss_mask(vec![true]);
    let error = update_with(&EVEN, &config(), SftLoss::default(), vec![sample])
        .map(|_| ())
        .expect_err("one value is missing");
    assert_eq!(error.to_string(), "sample 0 has 1 values of `loss_mask`, expected 2");
}

#[test]
fn a_row_without_a_prompt_is_named_by_its_place_in_the_batch() {
    for max_tokens in [1, 1 << 20] {
        let mut config = config();
        config.run.max_tokens_per_micro_batch = max_tokens;
        for short in [sampled(1, &[], &[1], 1.0), demonstration(1, &[], &[1], 1.0)] {
            // Micro-batches take rows in the order of their length: the last one comes first.
            let (one, two) =
                (sampled(0, &[0], &[1, 2, 0], 1.0), sampled(0, &[2, 1], &[1, 2], -1.0));
            let error = update_with(&EVEN, &config, SftLoss::default(), vec![one, two, short])
                .map(|_| ())
                .expect_err("a prompt is missing");
            let is_named = matches!(error, GrpoError::Policy(PolicyError::EmptyPrompt { row: 2 }));
            assert!(is_named, "{error}");
        }
    }
}

#[test]
fn an_optimizer_without_memory_is_an_error() {
    // 4 PiB of weights that are one number: there is no room for a copy of them.
    let vast = Tensor::zeros([1], (tch::Kind::Float, device())).expand([1 << 50], false);
    let policy = SharedPolicy::new(Bigram::new(vast.detach().set_requires_grad(true)));
    let error = Learner::new(policy, &config(), SftLoss::default(), LearnerParts::default()).err();
    let error = error.expect("no process can address so much");
    assert!(matches!(error, GrpoError::Policy(PolicyError::OutOfMemory { .. })), "{error}");
}

/// A response `[1]` to the prompt `[0]`, whose teacher sees `[1]` last and whose contrast `[2]`.
fn taught(advantage: f64, contrast: bool) -> Sample {
    let sample = Sample::new(0, [0], vec![1], vec![-0.25]).with_advantage(advantage);
    let contrast = contrast.then(|| Arc::from([2]));
    sample.with_contexts(Contexts::plain([0]).with_teacher(Arc::from([1]), contrast))
}

/// Log-probabilities of token 1 after tokens 0, 1 and 2.
const TAUGHT: [f64; 9] = [0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, -1.0, 0.0];

fn logprob_of_one(from: usize) -> f64 {
    let row = &TAUGHT[3 * from..3 * from + 3];
    row[1] - row.iter().map(|logit| logit.exp()).sum::<f64>().ln()
}

/// The advantage with which a taught sample trained: its gradient is that of `−A log π(1 | 0)` of an even row.
fn credited(config: &GrpoConfig, sample: Sample) -> f64 {
    let (_, gradient) = update(&TAUGHT, config, vec![sample]);
    check(&gradient[3..], &[0.0; 6]);
    -gradient[1] * 1.5
}

#[test]
fn a_hint_that_teaches_is_compared_with_the_policy_itself() {
    let mut config = config();
    config.loss.credit.form = CreditForm::Advantage { mix: 0.25, max: None };
    let delta = logprob_of_one(1) - logprob_of_one(0);
    for advantage in [0.0, 2.0] {
        let expected = 0.25 * advantage + 0.75 * delta;
        check(&[credited(&config, taught(advantage, false))], &[expected]);
    }
    // A sample that no hint teaches keeps its advantage.
    let plain = Sample::new(0, [0], vec![1], vec![-0.25]).with_advantage(2.0);
    check(&[credited(&config, plain)], &[2.0]);
    // The trainer's own log-probabilities count, not the engine's.
    config.loss.old_logprobs = OldLogprobs::Engine;
    config.loss.objective = ObjectiveConfig::Reinforce;
    check(&[credited(&config, taught(0.0, false))], &[0.75 * delta]);
}

#[test]
fn a_contrast_takes_the_place_of_the_policy_without_a_hint() {
    let mut config = config();
    config.loss.credit.form = CreditForm::Advantage { mix: 0.0, max: None };
    let delta = logprob_of_one(1) - logprob_of_one(2);
    check(&[credited(&config, taught(1.0, true))], &[delta]);
    config.loss.credit.form = CreditForm::Weight { min: 0.0, max: 100.0, inverse: false };
    check(&[credited(&config, taught(3.0, true))], &[3.0 * delta.exp()]);
    check(&[credited(&config, taught(-3.0, true))], &[-3.0 * (-delta).exp()]);
}

#[test]
fn affinity_of_a_teacher_weighs_all_tokens_the_same() {
    let mut config = config();
    config.loss.credit.form = CreditForm::Weight { min: 0.5, max: 2.0, inverse: false };
    // The second is taught by what it would be without a hint, and worth more.
    let same = Contexts::plain([0]).with_teacher(Arc::from([0]), None);
    let samples = vec![taught(1.0, false), taught(3.0, false).with_contexts(same)];
    let (report, _) =
        update_with(&TAUGHT, &config, SftLoss::default(), samples).expect("the samples are valid");
    let delta = logprob_of_one(1) - logprob_of_one(0);
    let of = |name| report.metrics.get(name).expect("both are taught");
    check(&[of(metrics::TEACHER_DELTA)], &[delta / 2.0]);
    // exp(Δ) of the first is far above the band.
    assert_eq!(of(metrics::AFFINITY_TEACHER_EUR), 0.5);
    config.loss.affinity_band = Some(AffinityBand { clip_low: 0.5, clip_high: 9.0 });
    let samples = vec![taught(1.0, false)];
    let (report, _) =
        update_with(&TAUGHT, &config, SftLoss::default(), samples).expect("the samples are valid");
    assert_eq!(report.metrics.get(metrics::AFFINITY_TEACHER_EUR), Some(1.0));
}

#[test]
fn a_teacher_that_is_the_reference_needs_one() {
    let mut config = config();
    config.loss.credit.form = CreditForm::Advantage { mix: 0.0, max: None };
    config.loss.credit.teacher = CreditTeacher::Reference;
    let error = update_with(&EVEN, &config, SftLoss::default(), vec![taught(1.0, false)]);
    let error = error.expect_err("there is no reference").to_string();
    assert!(error.contains("loss.credit.teacher"), "{error}");
}
