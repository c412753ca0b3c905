//! Presets that credit hinted successes to the plain prompt, on-policy there by definition.

use super::follow::{PLAIN, RIGHT, Term, WRONG, assert_gradient, follow, hinted, logprobs, term};
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
