//! Denominators count the step, not the micro-batch.

use hint_grpo::{Aggregation, ClippedSurrogate, KlConfig, LossComposition, LossInput, StepTotals};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

const ALL: [Aggregation; 4] = [
    Aggregation::SequenceMean {},
    Aggregation::TokenMean {},
    Aggregation::Constant { max_completion_len: 9 },
    Aggregation::SequenceSum {},
];

/// Rows of random lengths: values by row and position, lengths.
#[derive(Debug)]
struct Case {
    logprobs: Vec<Vec<f64>>,
    old: Vec<Vec<f64>>,
    advantages: Vec<f64>,
}

impl Case {
    fn rows(&self) -> usize {
        self.advantages.len()
    }

    fn totals(&self) -> StepTotals {
        StepTotals { rows: self.rows(), tokens: self.logprobs.iter().map(Vec::len).sum() }
    }

    /// Gradient of each row's tokens when `split` rows go into the first micro-batch, with
    /// `padding` more positions than needed.
    fn gradients(&self, aggregation: Aggregation, split: usize, padding: usize) -> Vec<Vec<f64>> {
        let mut result = Vec::new();
        for range in [0..split, split..self.rows()] {
            if range.is_empty() {
                continue;
            }
            let longest = self.logprobs[range.clone()].iter().map(Vec::len).max().unwrap_or(0);
            let seq = longest + padding;
            let pad = |values: &[Vec<f64>], fill: f64| {
                let rows = values[range.clone()].iter();
                let flat = rows
                    .flat_map(|row| row.iter().copied().chain(std::iter::repeat(fill)).take(seq));
                Tensor::from_slice(&flat.collect::<Vec<_>>())
                    .view([-1, i64::try_from(seq).expect("a length")])
            };
            // Garbage in the padding: it must not reach the gradient.
            let logprobs = pad(&self.logprobs, -1e30).set_requires_grad(true);
            let old = pad(&self.old, 1e30);
            let ones = self.logprobs.iter().map(|row| vec![1.0; row.len()]).collect::<Vec<_>>();
            let mask = pad(&ones, 0.0).ne(0.0);
            let advantages = Tensor::from_slice(&self.advantages[range.clone()]).unsqueeze(-1)
                * mask.to_kind(Kind::Double);
            let composition = LossComposition {
                objective: &ClippedSurrogate::new(0.2, 0.2),
                kl: KlConfig::default(),
                truncated_importance: None,
                aggregation,
            };
            let input = LossInput::new(&logprobs, &old, &advantages, &mask);
            let (loss, _) = composition.loss(&input, None, self.totals()).expect("a valid input");
            loss.backward();
            let gradient =
                Vec::<f64>::try_from(logprobs.grad().contiguous().view([-1])).expect("dense");
            for (row, gradient) in self.logprobs[range].iter().zip(gradient.chunks(seq)) {
                assert!(gradient[row.len()..].iter().all(|value| *value == 0.0));
                result.push(gradient[..row.len()].to_vec());
            }
        }
        result
    }
}

fn case() -> impl Strategy<Value = (Case, usize, usize)> {
    let row = prop::collection::vec((-3.0..0.0_f64, -0.4..0.4_f64), 1..7);
    (prop::collection::vec((row, -2.0..2.0_f64), 1..7), 0_usize..7, 0_usize..4).prop_map(
        |(rows, split, padding)| {
            let logprobs =
                rows.iter().map(|(row, _)| row.iter().map(|(lp, _)| *lp).collect()).collect();
            let old =
                rows.iter().map(|(row, _)| row.iter().map(|(lp, d)| lp - d).collect()).collect();
            let advantages = rows.iter().map(|(_, advantage)| *advantage).collect::<Vec<_>>();
            let split = split.min(advantages.len());
            (Case { logprobs, old, advantages }, split, padding)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn gradients_depend_neither_on_the_split_nor_on_padding((case, split, padding) in case()) {
        for aggregation in ALL {
            let whole = case.gradients(aggregation, case.rows(), 0);
            let parts = case.gradients(aggregation, split, padding);
            for (whole, parts) in whole.iter().flatten().zip(parts.iter().flatten()) {
                prop_assert!((whole - parts).abs() <= 1e-12 * whole.abs(), "{aggregation:?}");
            }
        }
    }
}

#[test]
fn denominators_are_those_of_the_literature() {
    let values = Tensor::from_slice(&[1.0, 3.0, 5.0, 100.0]).view([2, 2]);
    let mask = Tensor::from_slice(&[true, true, true, false]).view([2, 2]);
    let totals = StepTotals { rows: 2, tokens: 3 };
    let expected = [
        // (mean(1, 3) + 5) / 2, (1 + 3 + 5) / 3, 9 / (2 · 9), 9 / 2.
        3.5, 3.0, 0.5, 4.5,
    ];
    for (aggregation, expected) in ALL.into_iter().zip(expected) {
        let actual = aggregation.reduce(&values, &mask, totals).double_value(&[]);
        assert!((actual - expected).abs() < 1e-12, "{aggregation:?} {actual}");
    }
}

#[test]
fn an_empty_completion_contributes_nothing() {
    let values = Tensor::zeros([1, 2], (Kind::Double, Device::Cpu));
    let mask = Tensor::zeros([1, 2], (Kind::Bool, Device::Cpu));
    for aggregation in ALL {
        let totals = StepTotals { rows: 1, tokens: 0 };
        assert_eq!(aggregation.reduce(&values, &mask, totals).double_value(&[]), 0.0);
    }
}
