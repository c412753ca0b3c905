//! One step of the official HINT code.

use hint_affinity::{ClipRange, affinity};
use hint_grpo::AdvantageEstimator;
use hint_grpo::advantage::{Baseline, GroupNormalized, ScoredGroup};
use hint_grpo::objective::{Aggregation, ClippedSurrogate, KlConfig, LossComposition};
use tch::{Kind, Tensor};

use super::{Inputs, assert_all_close, assert_close, cases, matrix, number, row};
use crate::device;

#[test]
fn golden_hint_step_agrees_with_the_official_code() {
    for case in cases("hint_step") {
        let name = case["name"].as_str().expect("a name");
        let (config, expected) = (&case["config"], &case["expected"]);
        let inputs = Inputs::read(&case["inputs"]);
        let (low, high) = (number(&config["clip_low"]), number(&config["clip_high"]));

        let (log_ratios, weights) = inputs.affinity_inputs();
        let clip = ClipRange::new(low, high).expect("a valid range");
        let affinity = affinity(&log_ratios, &weights, clip).expect("finite inputs");
        // The reference adds 1e-8 to its denominators; that is the 1e-7.
        assert_close(name, "affinity", affinity.value(), number(&expected["affinity"]), 0.0, 1e-7);

        let weight = match config["aapo"].as_bool() {
            Some(true) => affinity.weight(number(&config["affinity_lambda"])),
            _ => 1.0,
        };
        let rows = inputs.logprobs.size()[0];
        let row_weights = Tensor::full([rows], weight, (Kind::Double, device()));
        let objective = ClippedSurrogate::new(low, high);
        let composition = LossComposition {
            kl: KlConfig { coef: number(&config["kl_coef"]), ..KlConfig::default() },
            ..LossComposition::new(&objective, Aggregation::SequenceMean)
        };
        let (loss, _) = composition
            .loss(&inputs.loss_input(), Some(&row_weights), inputs.totals())
            .expect("a valid input");
        loss.backward();
        assert_close(name, "loss", loss.double_value(&[]), number(&expected["loss"]), 1e-6, 1e-9);
        let gradient = matrix(&expected["grad_logps"]);
        assert_all_close(name, "gradient", &inputs.logprobs.grad(), &gradient, 1e-6, 1e-9);

        let rewards = row(&case["inputs"]["rewards"]);
        let advantages = GroupNormalized::new(Baseline::Group)
            .estimate(&ScoredGroup::new(name, &rewards))
            .expect("a group of two or more");
        let expected = row(&case["inputs"]["advantages"]);
        if expected.iter().all(|advantage| *advantage == 0.0) {
            // A case about zero weights, whose advantages do not belong to its rewards.
            continue;
        }
        for (actual, expected) in advantages.iter().zip(&expected) {
            assert_close(name, "advantage", *actual, *expected, 1e-6, 1e-9);
        }
    }
}
