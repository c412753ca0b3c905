//! Denominators count the step, not the micro-batch.

use hint_grpo::PolicyLoss;
use hint_grpo::objective::{
    Aggregation, Cispo, ClippedSurrogate, GeometricMean, ImportanceCorrection, ImportanceLevel,
    KlConfig, KlEstimator, KlGroups, LossComposition, LossInput, RatioLevel, Reinforce, Sapo,
    ShapedRatio, StepTotals,
};
use proptest::prelude::*;
use tch::{Kind, Tensor};

use crate::{device, upload};

const INVARIANT: [Aggregation; 4] = [
    Aggregation::SequenceMean,
    Aggregation::TokenMean,
    Aggregation::Constant { max_completion_len: 9 },
    Aggregation::SequenceSum,
];

/// One completion: everything that a loss reads of it, per token.
#[derive(Debug, Clone)]
struct Row {
    logprobs: Vec<f64>,
    log_ratios: Vec<f64>,
    advantage: f64,
    zero_variance: bool,
    weight: f64,
}

/// How a step is cut: the rows of each micro-batch in order, and positions of padding before and
/// after the completions.
#[derive(Debug, Clone)]
struct Split {
    micro_batches: Vec<Vec<usize>>,
    before: usize,
    after: usize,
}

impl Split {
    fn whole(rows: usize) -> Self {
        Self { micro_batches: vec![(0..rows).collect()], before: 0, after: 0 }
    }
}

/// Gradient of each row's tokens.
fn gradients(
    composition: &LossComposition<'_>,
    rows: &[Row],
    split: &Split,
    kind: Kind,
) -> Vec<Vec<f64>> {
    let tokens = rows.iter().map(|row| row.logprobs.len()).sum();
    let totals = StepTotals::new(rows.len(), tokens).in_micro_batches(split.micro_batches.len());
    let mut result = vec![Vec::new(); rows.len()];
    for indices in &split.micro_batches {
        let slice = indices.iter().map(|&index| &rows[index]).collect::<Vec<_>>();
        let longest = slice.iter().map(|row| row.logprobs.len()).max().unwrap_or(0);
        // Completions start after prompts, which are as long as the row's index here.
        let start = |row: usize| split.before * (row % 3);
        let seq = (longest + 2 * split.before + split.after).max(1);
        let spread = |value: &dyn Fn(&Row, usize) -> f64, fill: f64| {
            let mut flat = vec![fill; slice.len() * seq];
            for (index, row) in slice.iter().enumerate() {
                for token in 0..row.logprobs.len() {
                    flat[index * seq + start(index) + token] = value(row, token);
                }
            }
            let rows = i64::try_from(slice.len()).expect("a small number");
            upload(&flat).view([rows, -1]).to_kind(kind)
        };
        // Garbage in the padding: it must not reach the gradient.
        let logprobs = spread(&|row, token| row.logprobs[token], -1e30).set_requires_grad(true);
        let old = spread(&|row, token| row.logprobs[token] - row.log_ratios[token], 1e30);
        let reference = spread(&|row, token| row.logprobs[token] + row.log_ratios[token], 7e29);
        let behavior =
            spread(&|row, token| row.logprobs[token] - 2.0 * row.log_ratios[token], -5.0);
        let token_weights = spread(&|_, token| 0.5 + token as f64, 3.0);
        let mask = spread(&|_, _| 1.0, 0.0).ne(0.0);
        let advantages = spread(&|row, _| row.advantage, 0.0);
        let flags = slice.iter().map(|row| row.zero_variance).collect::<Vec<_>>();
        let zero_variance = upload(&flags);
        let weights = slice.iter().map(|row| row.weight).collect::<Vec<_>>();
        let row_weights = upload(&weights).to_kind(kind);
        let input = LossInput::new(&logprobs, &old, &advantages, &mask)
            .with_reference(&reference)
            .with_behavior(&behavior)
            .with_token_weights(&token_weights)
            .with_zero_variance(&zero_variance);
        let (loss, _) = composition.loss(&input, Some(&row_weights), totals).expect("valid");
        loss.backward();
        let gradient = logprobs.grad().to_kind(Kind::Double).contiguous().view([-1]);
        let gradient = Vec::<f64>::try_from(gradient).expect("dense");
        for (position, (&index, gradient)) in indices.iter().zip(gradient.chunks(seq)).enumerate() {
            let first = start(position);
            let last = first + rows[index].logprobs.len();
            assert!(gradient[..first].iter().all(|value| *value == 0.0));
            assert!(gradient[last..].iter().all(|value| *value == 0.0));
            result[index] = gradient[first..last].to_vec();
        }
    }
    result
}

fn row() -> impl Strategy<Value = Row> {
    // Empty completions, which are rows of padding only, and rows without advantage are included.
    let tokens = prop::collection::vec((-3.0..0.0_f64, -0.4..0.4_f64), 0..7);
    let advantage = prop_oneof![3 => -2.0..2.0_f64, 1 => Just(0.0)];
    (tokens, advantage, any::<bool>(), 0.0..1.0_f64).prop_map(
        |(tokens, advantage, zero_variance, weight)| Row {
            logprobs: tokens.iter().map(|(logprob, _)| *logprob).collect(),
            log_ratios: tokens.iter().map(|(_, log_ratio)| *log_ratio).collect(),
            advantage,
            zero_variance,
            weight,
        },
    )
}

/// Rows, shuffled and cut into up to four micro-batches.
fn step() -> impl Strategy<Value = (Vec<Row>, Split)> {
    prop::collection::vec(row(), 1..9).prop_flat_map(|rows| {
        let order = Just((0..rows.len()).collect::<Vec<_>>()).prop_shuffle();
        let places = prop::collection::vec(0_usize..4, rows.len());
        (Just(rows), order, places, 0_usize..3, 0_usize..4).prop_map(
            |(rows, order, places, before, after)| {
                let mut micro_batches = vec![Vec::new(); 4];
                for index in order {
                    micro_batches[places[index]].push(index);
                }
                micro_batches.retain(|rows: &Vec<usize>| !rows.is_empty());
                (rows, Split { micro_batches, before, after })
            },
        )
    })
}

fn objectives() -> [Box<dyn PolicyLoss>; 7] {
    [
        Box::new(ClippedSurrogate::new(0.2, 0.2)),
        Box::new(ClippedSurrogate::new(0.2, 0.28).with_dual_clip(1.4).with_max_ratio(1.5)),
        Box::new(GeometricMean::new(0.2, 0.25)),
        Box::new(Cispo::new(1.1)),
        Box::new(Sapo::new(1.0, 1.05)),
        Box::new(Reinforce),
        Box::new(ShapedRatio::new(0.3)),
    ]
}

fn compositions(objective: &dyn PolicyLoss) -> Vec<LossComposition<'_>> {
    let kl =
        |estimator, groups| KlConfig { coef: 0.1, estimator, importance_weighted: true, groups };
    let (token, sequence) = (ImportanceLevel::Token, ImportanceLevel::Sequence);
    let parts = [
        (RatioLevel::Token, KlConfig::default(), ImportanceCorrection::Off),
        (
            RatioLevel::Sequence,
            kl(KlEstimator::K3, KlGroups::All),
            ImportanceCorrection::Truncate { max_weight: 1.2, level: sequence },
        ),
        (
            RatioLevel::Token,
            kl(KlEstimator::K2, KlGroups::Varied),
            ImportanceCorrection::Mask { min_weight: 0.7, max_weight: 1.3, level: token },
        ),
    ];
    let mut compositions = Vec::new();
    for aggregation in INVARIANT {
        for (ratio_level, kl, importance) in parts {
            let base = LossComposition::new(objective, aggregation);
            compositions.push(LossComposition { ratio_level, kl, importance, ..base });
        }
    }
    compositions
}

fn check(rows: &[Row], split: &Split, kind: Kind, rtol: f64) -> Result<(), TestCaseError> {
    tch::set_num_threads(1);
    for objective in objectives() {
        for composition in compositions(&*objective) {
            let whole = gradients(&composition, rows, &Split::whole(rows.len()), kind);
            let parts = gradients(&composition, rows, split, kind);
            for (whole, parts) in whole.iter().zip(&parts) {
                let size = whole.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
                for (left, right) in whole.iter().zip(parts) {
                    prop_assert!(
                        (left - right).abs() <= rtol * size,
                        "{left} is not {right}: {composition:?}"
                    );
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn gradients_depend_on_neither_split_nor_order_nor_padding_in_f64((rows, split) in step()) {
        check(&rows, &split, Kind::Double, 1e-12)?;
    }

    #[test]
    fn gradients_depend_on_neither_split_nor_order_nor_padding_in_f32((rows, split) in step()) {
        check(&rows, &split, Kind::Float, 1e-6)?;
    }
}

#[test]
fn only_the_local_token_mean_depends_on_the_split() {
    assert!(INVARIANT.iter().all(|aggregation| aggregation.is_split_invariant()));
    assert!(!Aggregation::LocalTokenMean.is_split_invariant());
    let row = |len: usize| Row {
        logprobs: vec![-1.0; len],
        log_ratios: vec![0.0; len],
        advantage: 1.0,
        zero_variance: false,
        weight: 1.0,
    };
    let rows = [row(1), row(3)];
    let composition = LossComposition::new(&Reinforce, Aggregation::LocalTokenMean);
    // Weights by position are 0.5, 1.5, 2.5. One micro-batch: each token has a share of 1/4.
    let whole = gradients(&composition, &rows, &Split::whole(2), Kind::Double);
    assert_eq!(whole, [vec![-0.125], vec![-0.125, -0.375, -0.625]]);
    // Two: the single token has a share of 1/2, the other three of 1/6 each.
    let split = Split { micro_batches: vec![vec![0], vec![1]], before: 0, after: 0 };
    let parts = gradients(&composition, &rows, &split, Kind::Double).concat();
    for (actual, expected) in parts.into_iter().zip([-0.25, -0.5 / 6.0, -1.5 / 6.0, -2.5 / 6.0]) {
        assert!((actual - expected).abs() < 1e-15);
    }
}

#[test]
fn denominators_are_those_of_the_literature() {
    let values = upload(&[1.0, 3.0, 5.0, 100.0]).view([2, 2]);
    let mask = upload(&[true, true, true, false]).view([2, 2]);
    let expected = [
        // (mean(1, 3) + 5) / 2, (1 + 3 + 5) / 3, 9 / (2 · 9), 9 / 2.
        3.5, 3.0, 0.5, 4.5,
    ];
    for (aggregation, expected) in INVARIANT.into_iter().zip(expected) {
        let actual = aggregation.reduce(&values, &mask, StepTotals::new(2, 3)).double_value(&[]);
        assert!((actual - expected).abs() < 1e-12, "{aggregation:?} {actual}");
    }
}

#[test]
fn an_empty_completion_contributes_nothing() {
    let values = Tensor::zeros([1, 2], (Kind::Double, device()));
    let mask = Tensor::zeros([1, 2], (Kind::Bool, device()));
    for aggregation in INVARIANT.into_iter().chain([Aggregation::LocalTokenMean]) {
        let loss = aggregation.reduce(&values, &mask, StepTotals::new(1, 0));
        assert_eq!(loss.double_value(&[]), 0.0);
    }
}
