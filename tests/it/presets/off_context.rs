//! Presets with the ratio to the hinted prompt, shaped.

use super::follow::{PLAIN, RIGHT, Term, WRONG, assert_gradient, follow, hinted, logprobs, term};
use super::{advantage, preset};

/// Of each token, on the plain prompt and on the helped one.
fn log_ratios(helped: &[u32], completion: &[u32]) -> Vec<f64> {
    let (plain, with) = (logprobs(&PLAIN, completion, 0.9), logprobs(helped, completion, 0.9));
    plain.iter().zip(&with).map(|(plain, with)| plain - with).collect()
}

/// d/d(log r) of r / (r + γ), which is γ r / (r + γ)².
fn slope(log_ratio: f64, gamma: f64) -> f64 {
    gamma * log_ratio.exp() / (log_ratio.exp() + gamma).powi(2)
}

#[test]
fn guide_grpo_shapes_the_ratio_between_the_two_prompts() {
    let followed = follow(preset!("guide_grpo"), 1, |_| true);
    let helped = hinted(&[9]);
    assert_eq!(followed.prompts, [PLAIN.to_vec(), helped.clone()]);
    assert_eq!(followed.trained, [PLAIN; 4]);
    // The denominator, then the numerator for the quantile.
    let scored = [vec![helped.clone(); 4], vec![PLAIN.to_vec(); 4]].concat();
    assert_eq!(followed.scored, scored);

    let (right, wrong) = (log_ratios(&helped, &RIGHT), log_ratios(&helped, &WRONG));
    let mut all = [&right[..], &wrong, &right, &wrong].concat();
    all.sort_by(f64::total_cmp);
    // The 90th percentile of 16 values lies half-way between the 14th and the 15th, counted from 0 at
    // position 13.5.
    let gamma = f64::midpoint(all[13], all[14]).exp();
    let row = |completion: &'static [u32], log_ratios: &[f64], sign: f64| {
        let coefficient =
            |log_ratio: &f64| sign * 2.0 * advantage() * slope(*log_ratio, gamma) / 16.0;
        Term {
            prompt: &PLAIN,
            completion,
            coefficients: log_ratios.iter().map(coefficient).collect(),
        }
    };
    assert_gradient(&followed, &[row(&RIGHT, &right, -1.0), row(&WRONG, &wrong, 1.0)], 0.9);
}

#[test]
fn guide_grpo_keeps_the_plain_group_when_the_hint_solves_nothing() {
    let followed = follow(preset!("guide_grpo"), 1, |_| false);
    assert!(followed.trained.is_empty());
    assert_gradient(&followed, &[], 0.9);
}

#[test]
fn lte_shapes_the_ratio_of_the_successes_that_take_the_place_of_failures() {
    let followed = follow(preset!("lte"), 1, |_| true);
    // All four completions say `000`.
    let helped = hinted(&[0, 0, 0]);
    assert_eq!(followed.prompts, [PLAIN.to_vec(), helped.clone()]);
    assert_eq!(followed.trained, [PLAIN; 4]);
    assert_eq!(followed.scored, vec![helped.clone(); 2], "the denominator of the two successes");
    let coefficient = 2.0 * advantage() / 16.0;
    let log_ratios = log_ratios(&helped, &RIGHT);
    let coefficients =
        log_ratios.iter().map(|log_ratio| -coefficient * slope(*log_ratio, 0.1)).collect();
    let right = Term { prompt: &PLAIN, completion: &RIGHT, coefficients };
    assert_gradient(&followed, &[right, term(&PLAIN, &WRONG, coefficient)], 0.9);
}
