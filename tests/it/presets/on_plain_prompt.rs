//! Presets that credit hinted successes to the plain prompt, on-policy there by definition.

use super::follow::{
    PLAIN, RIGHT, Term, WRONG, assert_gradient, assert_gradient_of, follow, follow_second_update,
    hinted, logprobs, logprobs_of, moved_policy, term,
};
use super::{advantage, preset};

/// Two successes and two failures on the plain prompt. The loss of a token is `−r Â w / (|y| N)` with
/// `r = 1`, so its coefficient is `−Â w / 16`.
fn terms(weight: f64) -> Vec<Term<'static>> {
    let coefficient = advantage() * weight / 16.0;
    [(RIGHT, -coefficient), (WRONG, coefficient), (RIGHT, -coefficient), (WRONG, coefficient)]
        .map(|(completion, coefficient)| term(&PLAIN, Box::leak(Box::new(completion)), coefficient))
        .into()
}

#[test]
fn hint_trains_the_plain_prompt_with_an_affinity_of_one() {
    let followed = follow(preset!("hint"), 1, |_| true);
    assert_eq!(followed.prompts, [PLAIN.to_vec(), hinted(&[9])]);
    assert!(followed.scored.is_empty(), "old and current policy are the same");
    assert_eq!(followed.trained, [PLAIN; 4]);
    assert_gradient(&followed, &terms(1.0), 0.9);
}

#[test]
fn hint_v1_affinity_is_also_one_on_policy() {
    let followed = follow(preset!("hint_v1_affinity"), 1, |_| true);
    assert_eq!(followed.prompts, [PLAIN.to_vec(), hinted(&[9])]);
    assert_eq!(followed.trained, [PLAIN; 4]);
    assert_gradient(&followed, &terms(1.0), 0.9);
}

/// Log-ratios of the two kinds of completion in the second update, on the plain prompt.
fn second_log_ratios() -> [Vec<f64>; 2] {
    let moved = moved_policy();
    [RIGHT, WRONG].map(|completion| {
        let new = logprobs_of(&moved, &PLAIN, &completion, 0.9);
        let old = logprobs(&PLAIN, &completion, 0.9);
        new.iter().zip(&old).map(|(new, old)| new - old).collect()
    })
}

/// The log-ratios within the clip range [0.8, 1.2], and their share. There are two successes and two
/// failures, all with the same |Â|, so every token weighs the same.
fn in_band() -> (Vec<f64>, f64) {
    let all = second_log_ratios().concat();
    let inside = all.iter().copied().filter(|log_ratio| (0.8..=1.2).contains(&log_ratio.exp()));
    let inside = inside.collect::<Vec<_>>();
    let share = inside.len() as f64 / all.len() as f64;
    (inside, share)
}

fn variance(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
}

/// (AFF-1) by hand: EUR · exp(−UC / τ) with τ = ln(1.2) / 2.
fn second_affinity() -> f64 {
    let (inside, eur) = in_band();
    eur * (-variance(&inside).sqrt() / (1.2_f64.ln() / 2.0)).exp()
}

/// The first variant by hand: EUR · exp(−Var r).
fn second_affinity_v1() -> f64 {
    let (inside, eur) = in_band();
    eur * (-variance(&inside.iter().map(|log_ratio| log_ratio.exp()).collect::<Vec<_>>())).exp()
}

/// Follows the second update of a preset, whose group has the weight `weight`. The loss of a token is
/// `−min(r Â, clip(r) Â) w / 16`. If the clipped branch is the smaller one it is constant; elsewhere
/// its slope in log π is `−r Â w / 16`.
#[track_caller]
fn check_second_update(preset: &str, weight: f64) {
    let followed = follow_second_update(preset);
    assert_eq!(followed.scored, [PLAIN; 4], "the Affinity of the moved policy");
    assert_eq!(followed.trained, [PLAIN; 4]);
    let [right, wrong] = second_log_ratios();
    let row = |completion: &'static [u32], log_ratios: &[f64], advantage: f64| {
        let coefficient = |log_ratio: &f64| {
            let ratio = log_ratio.exp();
            let clipped = if advantage > 0.0 { ratio > 1.2 } else { ratio < 0.8 };
            // Two rows of each kind.
            if clipped { 0.0 } else { -2.0 * ratio * advantage * weight / 16.0 }
        };
        let coefficients = log_ratios.iter().map(coefficient).collect();
        Term { prompt: &PLAIN, completion, coefficients }
    };
    let terms = [row(&RIGHT, &right, advantage()), row(&WRONG, &wrong, -advantage())];
    assert_gradient_of(&moved_policy(), &followed, &terms, 0.9);
}

#[test]
fn hint_weights_a_later_update_by_its_affinity() {
    check_second_update(preset!("hint"), second_affinity());
}

#[test]
fn hint_v1_affinity_weights_a_later_update_by_the_first_variant() {
    check_second_update(preset!("hint_v1_affinity"), second_affinity_v1());
}

#[test]
fn the_two_variants_weigh_a_later_update_differently() {
    let (inside, share) = in_band();
    let (published, first) = (second_affinity(), second_affinity_v1());
    let shown = format!("{published} against {first}, in band {inside:?} of {share}");
    assert!(!inside.is_empty() && share < 1.0, "some ratios leave the band: {shown}");
    // Far more than the tolerance of a gradient, 1e-5 of its largest entry.
    assert!((published - first).abs() > 0.01 && published < 0.99 && first < 0.99, "{shown}");
}

#[test]
fn oc_grpo_weights_each_token_by_what_the_hint_did_to_it() {
    // A fifth, two fifths, three fifths of the solution `7 1 9 9 9`, in the prompt; the third helps.
    let followed = follow(preset!("oc_grpo"), 1, |prompt| prompt.len() >= 7);
    let helped = hinted(&[7, 1, 9]);
    assert_eq!(followed.prompts, [PLAIN.to_vec(), hinted(&[7]), hinted(&[7, 1]), helped.clone()]);
    assert_eq!(followed.trained, [PLAIN; 4]);
    let mut scored = vec![PLAIN.to_vec(); 4];
    scored.extend(vec![helped.clone(); 4]);
    assert_eq!(followed.scored, scored, "both contexts of the weight");
    let weighted = |completion: &'static [u32], sign: f64| {
        let (plain, with) = (logprobs(&PLAIN, completion, 0.9), logprobs(&helped, completion, 0.9));
        let weight = |(plain, with): (&f64, &f64)| (plain - with).exp().clamp(0.01, 1.0);
        let weights = plain.iter().zip(&with).map(weight);
        let coefficients = weights.map(|weight| sign * weight * advantage() / 16.0).collect();
        Term { prompt: &PLAIN, completion, coefficients }
    };
    let (right, wrong) = (weighted(&RIGHT, -2.0), weighted(&WRONG, 2.0));
    assert_gradient(&followed, &[right, wrong], 0.9);
}

#[test]
fn cataopd_samples_the_plain_prompt_twice_and_raises_what_the_solution_made_likely() {
    let followed = follow(preset!("cataopd"), 1, |prompt| prompt != PLAIN);
    // Half of the solution's five words is three of them.
    let helped = hinted(&[7, 1, 9]);
    assert_eq!(followed.prompts, [PLAIN.to_vec(), PLAIN.to_vec(), helped.clone()]);
    assert_eq!(followed.trained, [PLAIN; 4]);
    let weighed = |completion: &'static [u32], advantage: f64| {
        let (plain, with) = (logprobs(&PLAIN, completion, 0.9), logprobs(&helped, completion, 0.9));
        let weight = |(plain, with): (&f64, &f64)| (with - plain).exp().clamp(0.5, 2.0);
        let coefficients =
            plain.iter().zip(&with).map(|both| -advantage * weight(both) / 16.0).collect();
        Term { prompt: &PLAIN, completion, coefficients }
    };
    let rows = || [weighed(&RIGHT, advantage()), weighed(&WRONG, -advantage())];
    assert_gradient(&followed, &[rows(), rows()].into_iter().flatten().collect::<Vec<_>>(), 0.9);
}
