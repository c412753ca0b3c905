//! The next-token loss, against numbers worked out by hand.

use std::path::Path;

use hint_grpo::{Aggregation, Metrics, NllRow, NllTerm, metrics};
use hint_policy::{Parameter, Policy, PolicyError, TokenBatch};
use tch::{Device, Tensor};

/// Predicts every token from the one before: row `i` of the table holds the logits after token `i`.
struct Bigram(Tensor);

impl Policy for Bigram {
    fn logits(&self, tokens: &TokenBatch) -> Result<Tensor, PolicyError> {
        Ok(Tensor::embedding(&self.0, tokens.tokens(), -1, false, false))
    }
    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter { name: "table".into(), tensor: self.0.shallow_clone() }]
    }
    fn device(&self) -> Device {
        Device::Cpu
    }
    fn vocab_size(&self) -> usize {
        3
    }
    fn max_positions(&self) -> usize {
        64
    }
    fn save(&self, _dir: &Path) -> Result<(), PolicyError> {
        Ok(())
    }
}

fn bigram(logits: &[f64; 9]) -> Bigram {
    Bigram(Tensor::from_slice(logits).view([3, 3]).set_requires_grad(true))
}

/// The term's value and the gradient of the table.
fn accumulate(logits: &[f64; 9], term: NllTerm, rows: &[NllRow<'_>]) -> (f64, Vec<f64>) {
    let policy = bigram(logits);
    let value = term.accumulate(&policy, rows, &mut Metrics::new()).expect("the rows are valid");
    let gradient = policy.0.grad();
    let gradient = if gradient.defined() { gradient } else { policy.0.zeros_like().detach() };
    (value, Vec::try_from(gradient.view([-1])).expect("f64"))
}

#[track_caller]
fn check(actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        assert!((actual - expected).abs() < 1e-12, "{actual} is not {expected}");
    }
}

#[test]
fn value_and_gradient_are_those_worked_out_by_hand() {
    // All tokens are equally likely: −log π = ln 3, and the gradient by the logits is π − 1 at the
    // token and π elsewhere, times w / Σ tokens. Transitions 0→1, 1→2 (weight 1) and 0→0 (weight 2).
    let rows = [NllRow::new(&[0], &[1, 2]), NllRow::new(&[0], &[0]).with_weight(2.0)];
    let (value, gradient) = accumulate(&[0.0; 9], NllTerm::new(1.0), &rows);
    check(&[value], &[(1.0 + 1.0 + 2.0) * 3.0_f64.ln() / 3.0]);
    let third = 1.0 / 3.0;
    let expected = [
        (third + 2.0 * (third - 1.0)) / 3.0,
        (third - 1.0 + 2.0 * third) / 3.0,
        (third + 2.0 * third) / 3.0,
        third / 3.0,
        third / 3.0,
        (third - 1.0) / 3.0,
        0.0,
        0.0,
        0.0,
    ];
    check(&gradient, &expected);
}

#[test]
fn a_sequence_mean_counts_sequences_and_the_coefficient_scales() {
    // exp logits after 0: 1, 2, 1; after 1: 1, 1, 2. −log π(0→1) = ln 2, −log π(1→2) = ln 2,
    // −log π(0→0) = ln 4. Means of the sequences: ln 2 and ln 4.
    let logits = [0.0, 2.0_f64.ln(), 0.0, 0.0, 0.0, 2.0_f64.ln(), 0.0, 0.0, 0.0];
    let rows = [NllRow::new(&[0], &[1, 2]), NllRow::new(&[0], &[0])];
    let term = NllTerm::new(0.1).with_aggregation(Aggregation::SequenceMean {});
    let (value, _) = accumulate(&logits, term, &rows);
    check(&[value], &[0.1 * f64::midpoint(2.0_f64.ln(), 4.0_f64.ln())]);
}

#[test]
fn a_learned_prompt_counts_all_but_its_first_token() {
    let logits = [0.0, 2.0_f64.ln(), 0.0, 0.0, 0.0, 2.0_f64.ln(), 0.0, 0.0, 0.0];
    let prompt_alone = [NllRow::new(&[0, 1, 2], &[]).with_learned_prompt()];
    let split = [NllRow::new(&[0, 1], &[2]).with_learned_prompt()];
    let expected = accumulate(&logits, NllTerm::new(1.0), &[NllRow::new(&[0], &[1, 2])]);
    assert_eq!(accumulate(&logits, NllTerm::new(1.0), &prompt_alone), expected);
    assert_eq!(accumulate(&logits, NllTerm::new(1.0), &split), expected);
}

#[test]
fn many_micro_batches_give_the_gradient_of_one() {
    let logits = [0.3, -0.2, 0.9, 0.1, 0.4, -1.0, 0.0, 0.7, -0.3];
    let rows = [
        NllRow::new(&[0], &[1, 2, 0, 1]),
        NllRow::new(&[1, 2], &[2]).with_weight(0.5),
        NllRow::new(&[2], &[]),
        NllRow::new(&[0, 1, 1], &[0, 0]).with_learned_prompt(),
    ];
    for aggregation in
        [Aggregation::TokenMean {}, Aggregation::SequenceMean {}, Aggregation::SequenceSum {}]
    {
        let term = NllTerm::new(1.0).with_aggregation(aggregation);
        let (value, gradient) = accumulate(&logits, term, &rows);
        for max_tokens in [1, 6, 10] {
            let (split, split_gradient) =
                accumulate(&logits, term.with_max_tokens(max_tokens), &rows);
            check(&[split], &[value]);
            check(&split_gradient, &gradient);
        }
        let reversed = rows.iter().rev().copied().collect::<Vec<_>>();
        check(&accumulate(&logits, term, &reversed).1, &gradient);
    }
}

#[test]
fn without_a_token_to_learn_nothing_is_added() {
    let policy = bigram(&[0.0; 9]);
    let mut metrics = Metrics::new();
    for rows in [&[][..], &[NllRow::new(&[0], &[])]] {
        let value = NllTerm::new(1.0).accumulate(&policy, rows, &mut metrics).expect("no rows");
        assert_eq!(value, 0.0);
    }
    assert!(!policy.0.grad().defined());
    assert_eq!(metrics.get(metrics::NLL), None);
}
