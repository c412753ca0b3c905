//! Presets that learn from texts as demonstrations.

use super::follow::{PLAIN, SOLUTION, Term, WRONG, assert_gradient, follow, logprobs, term};
use super::preset;

/// The demonstration: the solution and the stop token.
const SHOWN: [u32; 6] = [SOLUTION[0], SOLUTION[1], SOLUTION[2], SOLUTION[3], SOLUTION[4], 1];

#[test]
fn luffy_shapes_the_probability_of_the_appended_demonstration() {
    let followed = follow(preset!("luffy"), 1, |_| true);
    assert_eq!(followed.prompts, [PLAIN]);
    assert!(followed.scored.is_empty(), "the ratio has no denominator");
    assert_eq!(followed.trained, [PLAIN; 5]);
    // Rewards 0, 0, 0, 0, 1: Â = R − 1/5. N · L = 5 · 8192.
    let norm = 5.0 * 8192.0;
    let probabilities = logprobs(&PLAIN, &SHOWN, 1.0);
    let slope = |logprob: &f64| 0.1 * logprob.exp() / (logprob.exp() + 0.1).powi(2);
    let coefficients = probabilities.iter().map(|logprob| -0.8 * slope(logprob) / norm).collect();
    let shown = Term { prompt: &PLAIN, completion: &SHOWN, coefficients };
    assert_gradient(&followed, &[shown, term(&PLAIN, &WRONG, 4.0 * 0.2 / norm)], 1.0);
}

#[test]
fn relift_learns_the_demonstration_of_a_failed_problem() {
    let followed = follow(preset!("relift"), 1, |_| true);
    assert_eq!(followed.prompts, [PLAIN]);
    assert_eq!(followed.trained, [PLAIN], "the group itself teaches nothing");
    assert_gradient(&followed, &[term(&PLAIN, &SHOWN, -1.0 / 6.0)], 0.9);
}

#[test]
fn sft_then_grpo_stops_showing_demonstrations() {
    let first = follow(preset!("sft_then_grpo"), 1, |_| true);
    assert_eq!(first.prompts, [PLAIN]);
    assert_gradient(&first, &[term(&PLAIN, &SHOWN, -1.0 / 6.0)], 0.9);
    let last = follow(preset!("sft_then_grpo"), 20, |_| true);
    assert_eq!(last.prompts, [PLAIN]);
    assert!(last.trained.is_empty());
    assert_gradient(&last, &[], 0.9);
}
