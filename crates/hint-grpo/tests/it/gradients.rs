//! Gradients of every composition against central differences, in f64. Advantages differ by token, as both forms of
//! credit make them.

use hint_grpo::objective::{
    Aggregation, Cispo, ClippedSurrogate, Credit as _, CreditForm, CreditInput, GeometricMean,
    ImportanceCorrection, ImportanceLevel, KlConfig, KlEstimator, KlGroups, LossComposition,
    LossInput, LossMetrics, RatioLevel, Reinforce, Sapo, ShapedRatio, StepTotals, TokenLoss,
};
use hint_grpo::{GrpoError, PolicyLoss};
use tch::{Device, Kind, Tensor};

use crate::{device, upload};

/// Three completions of 4, 3 and 2 tokens: log-probabilities, log-ratios away from the kinks of the
/// clips, and the reference's log-probabilities.
const LOGPROBS: [f64; 12] =
    [-0.5, -1.2, -0.1, -2.0, -0.7, -0.3, -0.9, -9.0, -1.1, -0.4, -9.0, -9.0];
const LOG_RATIOS: [f64; 12] = [0.05, -0.4, 0.5, 0.1, 0.35, -0.02, -0.6, 0.0, 0.9, 0.7, 0.0, 0.0];
const REFERENCE: [f64; 12] =
    [-0.6, -1.0, -0.4, -1.5, -0.7, -0.9, -0.8, -9.0, -1.6, -0.1, -9.0, -9.0];
const BEHAVIOR: [f64; 12] =
    [-0.7, -0.9, -0.4, -2.9, -0.8, -0.2, -0.9, -9.0, -2.4, -1.2, -9.0, -9.0];
/// What a hint adds to each log-probability: of both signs, within the bounds of the credit and beyond them.
const DELTA: [f64; 12] = [0.9, -0.3, -2.5, 1.5, -0.6, 0.4, 3.0, 0.0, 1.4, -1.1, 0.0, 0.0];
const LENS: [usize; 3] = [4, 3, 2];
const SHAPE: [i64; 2] = [3, 4];

const AGGREGATIONS: [Aggregation; 5] = [
    Aggregation::SequenceMean,
    Aggregation::TokenMean,
    Aggregation::Constant { max_completion_len: 16 },
    Aggregation::SequenceSum,
    Aggregation::LocalTokenMean,
];

fn tensor(values: &[f64]) -> Tensor {
    upload(values).view(SHAPE)
}

/// Credits the tokens of a row by the additive form and by the weight in turn. So each form meets advantages of both
/// signs.
fn credited(advantages: &Tensor, mask: &Tensor) -> Tensor {
    let delta = tensor(&DELTA);
    let credit = |form: CreditForm| {
        form.advantages(CreditInput::new(advantages, &delta, mask)).expect("it cannot fail")
    };
    let additive = credit(CreditForm::Advantage { mix: 0.5, max: Some(2.0) });
    let weighted = credit(CreditForm::Weight { min: 0.5, max: 2.0, inverse: false });
    let in_turn = upload(&[true, false, true, false]);
    additive.where_self(&in_turn, &weighted) * mask.to_kind(Kind::Double)
}

/// What the losses have in common, besides the log-probabilities. It is made once, since the losses are small and many.
struct Batch {
    old: Tensor,
    reference: Tensor,
    behavior: Tensor,
    mask: Tensor,
    advantages: Tensor,
    token_weights: Tensor,
    row_weights: Tensor,
    zero_variance: Tensor,
}

impl Batch {
    fn new() -> Self {
        let mask = LENS.map(|len| [0, 1, 2, 3].map(|position| position < len));
        let mask = upload(mask.as_flattened()).view(SHAPE);
        let advantages = upload(&[0.8, -1.3, -0.6]).unsqueeze(-1);
        let advantages = advantages * mask.to_kind(Kind::Double);
        Self {
            old: tensor(&LOGPROBS) - tensor(&LOG_RATIOS),
            reference: tensor(&REFERENCE),
            behavior: tensor(&BEHAVIOR),
            advantages: credited(&advantages, &mask),
            mask,
            token_weights: tensor(&[0.5, 1.0, 2.0, 0.1, 1.5, 1.0, 0.0, 1.0, 0.7, 0.9, 1.0, 1.0]),
            row_weights: upload(&[1.0, 0.4, 0.9]),
            zero_variance: upload(&[false, true, false]),
        }
    }

    fn loss(&self, composition: &LossComposition<'_>, logprobs: &Tensor) -> Tensor {
        let input = LossInput::new(logprobs, &self.old, &self.advantages, &self.mask)
            .with_reference(&self.reference)
            .with_behavior(&self.behavior)
            .with_token_weights(&self.token_weights)
            .with_zero_variance(&self.zero_variance);
        let totals = StepTotals::new(3, 9);
        composition.loss(&input, Some(&self.row_weights), totals).expect("a valid input").0
    }

    fn gradient(&self, composition: &LossComposition<'_>) -> Vec<f64> {
        let logprobs = tensor(&LOGPROBS).set_requires_grad(true);
        self.loss(composition, &logprobs).backward();
        Vec::<f64>::try_from(logprobs.grad().view([-1])).expect("dense")
    }

    /// Compares the gradient of `composition` with central differences of `value`, a loss of the same
    /// gradient that can be differentiated as it is.
    #[track_caller]
    fn check_against(&self, composition: &LossComposition<'_>, value: &LossComposition<'_>) {
        for (index, actual) in self.gradient(composition).into_iter().enumerate() {
            let shifted = |by: f64| {
                let mut values = LOGPROBS;
                values[index] += by;
                self.loss(value, &tensor(&values)).double_value(&[])
            };
            let expected = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!(
                (actual - expected).abs() <= 1e-6 * expected.abs().max(1e-3),
                "token {index}: {actual} is not {expected} for {composition:?}"
            );
        }
    }
}

/// Every objective that is the antiderivative of its gradient.
fn objectives() -> Vec<Box<dyn PolicyLoss>> {
    vec![
        Box::new(ClippedSurrogate::new(0.2, 0.2)),
        Box::new(ClippedSurrogate::new(0.2, 0.28).with_max_ratio(1.4)),
        Box::new(ClippedSurrogate::new(0.2, 0.28).with_dual_clip(1.35)),
        Box::new(GeometricMean::new(0.3, 0.45)),
        Box::new(Sapo::new(1.0, 1.05)),
        Box::new(Reinforce),
        Box::new(ShapedRatio::new(0.3)),
    ]
}

/// Away from the CPU one of so many compositions is checked, since small operations take longer there. With 23, they still
/// have every aggregation, ratio level, KL term and correction.
const STRIDE: usize = 23;

/// Runs `check` for every combination of aggregation, ratio level, KL term and importance correction.
fn for_each_composition(objective: &dyn PolicyLoss, check: impl FnMut(LossComposition<'_>)) {
    // The operations are too small for more.
    tch::set_num_threads(1);
    let stride = if device() == Device::Cpu { 1 } else { STRIDE };
    let mut kls = vec![KlConfig::default()];
    for estimator in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
        for importance_weighted in [false, true] {
            for groups in [KlGroups::All, KlGroups::Varied] {
                kls.push(KlConfig { coef: 0.3, estimator, importance_weighted, groups });
            }
        }
    }
    let (token, sequence) = (ImportanceLevel::Token, ImportanceLevel::Sequence);
    let corrections = [
        ImportanceCorrection::Off,
        ImportanceCorrection::Truncate { max_weight: 1.3, level: token },
        ImportanceCorrection::Truncate { max_weight: 1.3, level: sequence },
        ImportanceCorrection::Mask { min_weight: 0.5, max_weight: 2.0, level: token },
        ImportanceCorrection::Mask { min_weight: 0.5, max_weight: 2.0, level: sequence },
    ];
    let mut compositions = Vec::new();
    for aggregation in AGGREGATIONS {
        for ratio_level in [RatioLevel::Token, RatioLevel::Sequence] {
            for kl in &kls {
                for importance in corrections {
                    let base = LossComposition::new(objective, aggregation);
                    compositions.push(LossComposition { ratio_level, kl: *kl, importance, ..base });
                }
            }
        }
    }
    compositions.into_iter().step_by(stride).for_each(check);
}

#[test]
fn gradients_agree_with_central_differences_in_every_composition() {
    let batch = Batch::new();
    for objective in objectives() {
        for_each_composition(&*objective, |composition| {
            batch.check_against(&composition, &composition);
        });
    }
}

/// The likelihood with the weights that CISPO has at the point where it is differentiated.
struct WeightedLikelihood {
    ratios: [f64; 12],
}

impl PolicyLoss for WeightedLikelihood {
    fn token_loss(&self, input: &LossInput<'_>) -> Result<TokenLoss, GrpoError> {
        let values = -(tensor(&self.ratios) * input.advantages * input.logprobs);
        Ok(TokenLoss { values, metrics: LossMetrics::new() })
    }
}

#[test]
fn cispo_has_the_gradient_of_a_weighted_likelihood_in_every_composition() {
    let (batch, cispo) = (Batch::new(), Cispo::new(1.2));
    let mut sequence = [0.0; 12];
    for (row, len) in LENS.into_iter().enumerate() {
        let mean = LOG_RATIOS[row * 4..row * 4 + len].iter().sum::<f64>() / len as f64;
        sequence[row * 4..row * 4 + len].fill(mean);
    }
    for_each_composition(&cispo, |composition| {
        let log_ratios = match composition.ratio_level {
            RatioLevel::Token => LOG_RATIOS,
            RatioLevel::Sequence => sequence,
        };
        let ratios = log_ratios.map(|log_ratio| log_ratio.exp().min(1.2));
        let frozen = WeightedLikelihood { ratios };
        batch.check_against(&composition, &LossComposition { objective: &frozen, ..composition });
    });
}

#[test]
fn the_gradient_on_a_masked_position_is_zero() {
    let batch = Batch::new();
    for objective in objectives() {
        for_each_composition(&*objective, |composition| {
            let gradient = batch.gradient(&composition);
            for position in [7, 10, 11] {
                assert_eq!(gradient[position], 0.0, "{composition:?}");
            }
        });
    }
}
