//! Presets in which the hint teaches: nothing is sampled under it, and plain completions are scored under it.

use super::follow::{
    Followed, PLAIN, REFERENCE, RIGHT, Term, WRONG, assert_gradient, assert_gradient_of_loss,
    distributions, follow, follow_beside, follow_mixed, hinted, hinted_question, logprobs,
    logprobs_of,
};
use super::{advantage, preset};
use hint_rollout::Problem;
use hint_tests::tiny_policy;
use tch::{Kind, Tensor};

/// The question with the solution `7 1 9 9 9`.
fn taught() -> Vec<u32> {
    hinted(&[7, 1, 9, 9, 9])
}

/// `Δ` of a completion's tokens, where the policy itself teaches.
fn delta(completion: &[u32]) -> Vec<f64> {
    delta_by(7, completion)
}

/// `Δ` of a completion's tokens, where the policy of this seed teaches.
fn delta_by(teacher: u64, completion: &[u32]) -> Vec<f64> {
    let teacher = logprobs_of(&tiny_policy(teacher), &taught(), completion, 0.9);
    teacher
        .iter()
        .zip(logprobs(&PLAIN, completion, 0.9))
        .map(|(hint, plain)| hint - plain)
        .collect()
}

/// The rows of a group, each token with its advantage. The loss of a token is `−r A_t / (|y| N)` with `r = 1`.
fn terms<'a>(rows: &[(&'a [u32], Vec<f64>)]) -> Vec<Term<'a>> {
    let row = |(completion, advantages): &(&'a [u32], Vec<f64>)| Term {
        prompt: &PLAIN,
        completion,
        coefficients: advantages.iter().map(|advantage| -advantage / 16.0).collect(),
    };
    rows.iter().map(row).collect()
}

/// One plain group was sampled, and `count` of its completions were scored under the hint.
#[track_caller]
fn assert_scored(followed: &Followed, count: usize) {
    assert_eq!(followed.prompts, [PLAIN.to_vec()], "nothing is sampled under the hint");
    assert_eq!(followed.scored, vec![taught(); count]);
}

#[test]
fn opsd_reinforces_what_the_solution_makes_likely_whatever_the_verdict() {
    let followed = follow(preset!("opsd"), 1, |_| true);
    // The reference is another policy, and is not recorded.
    assert_scored(&followed, 0);
    assert_eq!(followed.trained, [PLAIN; 4]);
    assert_gradient(&followed, &terms(&vec![(&WRONG[..], delta_by(REFERENCE, &WRONG)); 4]), 0.9);
}

#[test]
fn rlsd_weighs_tokens_and_keeps_the_direction_of_the_verifier() {
    let followed = follow_mixed(preset!("rlsd"));
    assert_scored(&followed, 4);
    let weighed = |completion: &'static [u32], advantage: f64| {
        let weight = |delta: &f64| (advantage.signum() * delta).exp().clamp(0.5, 2.0);
        (completion, delta(completion).iter().map(|delta| advantage * weight(delta)).collect())
    };
    let rows = [(&RIGHT, advantage()), (&WRONG, -advantage())];
    let rows = rows.map(|(completion, advantage)| weighed(completion, advantage));
    assert_gradient(&followed, &terms(&[rows.clone(), rows].concat()), 0.9);
}

#[test]
fn rlsd_learns_nothing_where_all_are_wrong() {
    let followed = follow(preset!("rlsd"), 1, |_| true);
    assert_scored(&followed, 0);
    assert!(followed.trained.is_empty(), "a weight of nothing is nothing");
}

#[test]
fn srpo_credits_wrong_completions_by_the_solution_and_right_ones_by_the_verifier() {
    let followed = follow_mixed(preset!("srpo"));
    assert_scored(&followed, 2);
    let rows = [
        (&RIGHT[..], vec![advantage(); 4]),
        (&WRONG[..], delta(&WRONG).iter().map(|delta| delta.clamp(-5.0, 5.0)).collect()),
    ];
    assert_gradient(&followed, &terms(&[rows.clone(), rows].concat()), 0.9);
}

/// `Σ p log(p / q)` at each token, of log-probabilities `[tokens, vocabulary]`.
fn kl(p: &Tensor, q: &Tensor) -> Tensor {
    (p.exp() * (p - q)).sum_dim_intlist([-1_i64].as_slice(), false, None::<Kind>)
}

/// Compares a followed gradient with the gradient of a divergence over the whole vocabulary. Every token is in the
/// supports here. It is a mean over the tokens of a completion, then over the four of them.
#[track_caller]
fn assert_divergence(
    followed: &Followed,
    completions: [&[u32]; 4],
    teacher: &[u32],
    divergence: fn(&Tensor, &Tensor) -> Tensor,
    coef: f64,
) {
    let policy = tiny_policy(7);
    let of = |completion: &[u32]| {
        let p = distributions(&policy, &PLAIN, completion);
        let q = distributions(&policy, teacher, completion).detach();
        divergence(&p, &q).mean(Kind::Float) * (coef / 4.0)
    };
    let loss = completions.into_iter().map(of).sum::<Tensor>();
    assert_gradient_of_loss(followed, &policy, &loss);
}

#[test]
fn sdft_follows_the_reverse_divergence_from_an_average_that_sees_the_solution() {
    let followed = follow(preset!("sdft"), 1, |_| true);
    // The average is another policy, and is not recorded.
    assert_scored(&followed, 0);
    assert_eq!(followed.trained, [PLAIN; 4]);
    assert_divergence(&followed, [&WRONG; 4], &taught(), kl, 1.0);
}

#[test]
fn sdpo_shows_the_average_a_success_of_the_group_and_trains_nothing_without_one() {
    let followed = follow_mixed(preset!("sdpo"));
    assert_scored(&followed, 0);
    let jsd = |p: &Tensor, q: &Tensor| {
        let m = ((p.exp() + q.exp()) / 2.0).log();
        (kl(p, &m) + kl(q, &m)) / 2.0
    };
    let group: [&[u32]; 4] = [&RIGHT, &WRONG, &RIGHT, &WRONG];
    assert_divergence(&followed, group, &hinted(&[9, 9, 9]), jsd, 1.0);
    let followed = follow(preset!("sdpo"), 1, |_| true);
    assert!(followed.trained.is_empty(), "nothing to learn from");
}

#[test]
fn hdpo_follows_the_forward_divergence_where_all_are_wrong_and_grpo_elsewhere() {
    let followed = follow(preset!("hdpo"), 1, |_| true);
    assert_scored(&followed, 4);
    assert_divergence(&followed, [&WRONG; 4], &taught(), |p, q| kl(q, p), 0.1);
    let followed = follow_mixed(preset!("hdpo"));
    assert_scored(&followed, 0);
    let rows = [(&RIGHT[..], vec![advantage(); 4]), (&WRONG[..], vec![-advantage(); 4])];
    assert_gradient(&followed, &terms(&[rows.clone(), rows].concat()), 0.9);
}

/// Two groups, of which every other completion is right. The solution of each is the wrong one of the other.
#[test]
fn rlcsd_contrasts_the_solution_with_that_of_the_other_problem() {
    let other = Problem::new("q", "21", "nines").with_hint("nine 9").with_solution("4 4 9 9 9");
    let followed = follow_beside(preset!("rlcsd"), &[other]);
    let problems: [(&[u32], &[u32]); 2] =
        [(&[1, 2], &[7, 1, 9, 9, 9]), (&[2, 1], &[4, 4, 9, 9, 9])];
    let plain = problems.map(|(question, _)| hinted_question(question, &[]));
    let plain =
        plain.map(|prompt| prompt.into_iter().filter(|token| *token != 3).collect::<Vec<_>>());
    let mut prompts = followed.prompts.clone();
    prompts.sort();
    assert_eq!(prompts, plain, "nothing is sampled under a solution");

    let policy = tiny_policy(7);
    let (mut scored, mut rows) = (Vec::new(), Vec::new());
    for (at, (question, own)) in problems.iter().enumerate() {
        let right = hinted_question(question, own);
        let wrong = hinted_question(question, problems[1 - at].1);
        for (completion, advantage) in [(&RIGHT, advantage()), (&WRONG, -advantage())] {
            let under = |prompt: &[u32]| logprobs_of(&policy, prompt, completion, 0.9);
            let contrast = under(&right).into_iter().zip(under(&wrong));
            let weights = contrast
                .map(|(right, wrong)| (advantage.signum() * (right - wrong)).exp().clamp(0.5, 2.0));
            // Two groups of four completions of four tokens each.
            let coefficients = weights.map(|weight| -advantage * weight / 32.0).collect::<Vec<_>>();
            for _ in 0..2 {
                let coefficients = coefficients.clone();
                rows.push(Term { prompt: &plain[at], completion, coefficients });
                scored.extend([right.clone(), wrong.clone()]);
            }
        }
    }
    let mut found = followed.scored.clone();
    found.sort();
    scored.sort();
    assert_eq!(found, scored, "each completion is scored under both solutions");
    assert_gradient(&followed, &rows, 0.9);
}

#[test]
fn rlcsd_teaches_nothing_without_another_problem() {
    let config = hint_grpo::GrpoConfig::from_toml(preset!("rlcsd")).expect("the preset is valid");
    assert!(config.run.prompts_per_step >= 2);
    let alone = format!("run.prompts_per_step = 1\n{}", preset!("rlcsd"));
    let error = hint_grpo::GrpoConfig::from_toml(&alone).expect_err("one problem has no other");
    assert!(error.to_string().contains("rollout.combine.contrast"), "{error}");
}
