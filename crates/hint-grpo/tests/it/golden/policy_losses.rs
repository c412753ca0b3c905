//! The losses of TRL.

use hint_grpo::objective::{
    Aggregation, ImportanceCorrection, ImportanceLevel, KlConfig, KlEstimator, KlGroups,
    LossComposition, ObjectiveConfig, RatioLevel,
};
use hint_grpo::{Metrics, metrics};
use serde_json::Value;

use super::{Inputs, assert_all_close, assert_close, cases, matrix, number};

/// Everything a case can ask for. A file with anything else is newer than this test.
const KEYS: [&str; 11] = [
    "loss",
    "ratio_level",
    "kl_coef",
    "kl_importance_weighted",
    "clip_low",
    "clip_high",
    "dual_clip_max_ratio",
    "truncated_importance_sampling_max",
    "max_completion_length",
    "sapo_temperature_pos",
    "sapo_temperature_neg",
];

/// What TRL reports that we report under the same name.
const METRICS: [&str; 7] = [
    metrics::KL,
    metrics::CLIP_RATIO_LOW,
    metrics::CLIP_RATIO_HIGH,
    metrics::CLIP_RATIO_REGION,
    metrics::CLIP_RATIO_LOW_MIN,
    metrics::CLIP_RATIO_HIGH_MAX,
    metrics::CISPO_CLIP_RATIO,
];

#[test]
fn golden_policy_losses_agree_with_trl() {
    for case in cases("policy_losses") {
        let name = case["name"].as_str().expect("a name");
        let (config, expected) = (&case["config"], &case["expected"]);
        let keys = config.as_object().expect("a configuration").iter();
        for (key, value) in keys.filter(|(_, value)| !value.is_null()) {
            assert!(KEYS.contains(&key.as_str()), "{name}: unknown key `{key}` = {value}");
        }
        let ratio_level = ratio_level(name, config);
        let objective = objective(config);
        let objective = objective.build();
        let composition = LossComposition {
            objective: &*objective,
            ratio_level,
            kl: KlConfig {
                coef: number(&config["kl_coef"]),
                estimator: KlEstimator::K3,
                importance_weighted: config["kl_importance_weighted"].as_bool().unwrap_or(false),
                groups: KlGroups::All,
            },
            importance: importance(config),
            aggregation: aggregation(name, config, ratio_level),
        };
        let inputs = Inputs::read(&case["inputs"]);
        let (loss, measured) =
            composition.loss(&inputs.loss_input(), None, inputs.totals()).expect("a valid input");
        loss.backward();
        assert_close(name, "loss", loss.double_value(&[]), number(&expected["loss"]), 1e-9, 1e-12);
        let gradient = matrix(&expected["grad_logps"]);
        assert_all_close(name, "gradient", &inputs.logprobs.grad(), &gradient, 1e-9, 1e-12);
        check_metrics(name, &measured.read(), expected, ratio_level);
    }
}

fn ratio_level(case: &str, config: &Value) -> RatioLevel {
    match config["ratio_level"].as_str() {
        Some("token") => RatioLevel::Token,
        Some("sequence") => RatioLevel::Sequence,
        other => panic!("{case}: unknown ratio level {other:?}"),
    }
}

fn objective(config: &Value) -> ObjectiveConfig {
    match config["loss"].as_str() {
        Some("cispo") => ObjectiveConfig::Cispo { max_ratio: number(&config["clip_high"]) },
        Some("sapo") => {
            // TRL holds the two temperatures in an f32 tensor, so 1.05 is its nearest f32 there.
            #[expect(clippy::cast_possible_truncation, reason = "the rounding is meant")]
            let rounded = |key: &str| f64::from(number(&config[key]) as f32);
            ObjectiveConfig::Sapo {
                temperature_positive: rounded("sapo_temperature_pos"),
                temperature_negative: rounded("sapo_temperature_neg"),
            }
        }
        _ => ObjectiveConfig::ClippedSurrogate {
            clip_low: number(&config["clip_low"]),
            clip_high: number(&config["clip_high"]),
            max_ratio: config["dual_clip_max_ratio"].as_f64(),
            dual_clip: None,
        },
    }
}

fn importance(config: &Value) -> ImportanceCorrection {
    let cap = config["truncated_importance_sampling_max"].as_f64();
    cap.map_or(ImportanceCorrection::Off, |max_weight| ImportanceCorrection::Truncate {
        max_weight,
        level: ImportanceLevel::Token,
    })
}

fn aggregation(case: &str, config: &Value, ratio_level: RatioLevel) -> Aggregation {
    let kl = number(&config["kl_coef"]) != 0.0;
    match config["loss"].as_str() {
        Some("grpo" | "gspo" | "sapo") => Aggregation::SequenceMean,
        // The files hold one micro-batch, where TRL's local and step-wide means are the same.
        Some("bnpo") => Aggregation::LocalTokenMean,
        Some("dapo" | "cispo") => Aggregation::TokenMean,
        Some("dr_grpo") => Aggregation::Constant {
            max_completion_len: config["max_completion_length"]
                .as_u64()
                .and_then(|len| usize::try_from(len).ok())
                .unwrap_or_else(|| panic!("{case}: no `max_completion_length`")),
        },
        Some("luspo" | "luspo-sequence") if ratio_level == RatioLevel::Sequence && !kl => {
            Aggregation::SequenceSum
        }
        // TRL averages its token values over the padding too, which is no property of the loss.
        Some("luspo" | "luspo-sequence") => {
            panic!("{case}: LUSPO is only known on sequence ratios without KL")
        }
        other => panic!("{case}: unknown loss {other:?}"),
    }
}

/// Compares every number that TRL reported with our metric of that name.
fn check_metrics(case: &str, measured: &Metrics, expected: &Value, ratio_level: RatioLevel) {
    for (name, expected) in expected.as_object().expect("expected numbers") {
        if name == "loss" || name == "grad_logps" {
            continue;
        }
        assert!(METRICS.contains(&name.as_str()), "{case}: unknown metric `{name}`");
        let mut actual = measured.get(name).unwrap_or_else(|| panic!("{case}: no `{name}`"));
        if ratio_level == RatioLevel::Sequence && name != metrics::KL {
            // TRL averages the flags of sequences in f32.
            #[expect(clippy::cast_possible_truncation, reason = "the rounding is meant")]
            let rounded = f64::from(actual as f32);
            actual = rounded;
        }
        assert_close(case, name, actual, number(expected), 1e-9, 1e-12);
    }
}
