//! Presets that train under the prompt that was sampled.

use super::follow::{
    PLAIN, RIGHT, SOLUTION, WRONG, assert_gradient, follow, follow_mixed, hinted, prefixed, term,
};
use super::{advantage, preset};

/// Coefficient of a token in a group of two successes and two failures; two rows each.
fn pair() -> f64 {
    2.0 * advantage() / 16.0
}

#[test]
fn answer_hint_climbs_until_a_completion_is_right() {
    // 25 % of five words is two of them, 50 % is three.
    let followed = follow(preset!("answer_hint"), 1, |prompt| prompt.len() >= 7);
    let helped = hinted(&[7, 1, 9]);
    assert_eq!(followed.prompts, [PLAIN.to_vec(), hinted(&[7, 1]), helped.clone()]);
    assert_eq!(followed.trained, vec![helped.clone(); 4]);
    // The plain prompt is scored for the behavior Affinity alone.
    assert_eq!(followed.scored, [PLAIN; 4]);
    let terms = [term(&helped, &RIGHT, -pair()), term(&helped, &WRONG, pair())];
    assert_gradient(&followed, &terms, 0.9);
}

#[test]
fn bread_keeps_the_shortest_prefix_that_is_enough_and_trains_the_continuation() {
    // Of five words: half is three, which is enough; a quarter is two, also enough; an eighth is one,
    // which is not; three sixteenths is one again.
    let followed = follow(preset!("bread"), 1, |prompt| prompt.len() >= 5);
    let prompts = [3, 2, 1, 1].map(prefixed);
    assert_eq!(followed.prompts, [vec![PLAIN.to_vec()], prompts.to_vec()].concat());
    let helped = prefixed(2);
    assert_eq!(followed.trained, vec![helped.clone(); 4]);
    let terms = [term(&helped, &RIGHT, -pair()), term(&helped, &WRONG, pair())];
    assert_gradient(&followed, &terms, 0.9);
}

#[test]
fn scaf_grpo_swaps_one_failure_for_the_first_success_after_a_part_of_the_run() {
    let before = follow(preset!("scaf_grpo"), 1, |_| true);
    assert_eq!(before.prompts, [PLAIN], "the first step comes too early for help");
    let followed = follow(preset!("scaf_grpo"), 20, |prompt| prompt.len() >= 6);
    let helped = hinted(&[1, 2]);
    assert_eq!(followed.prompts, [PLAIN.to_vec(), hinted(&[1]), helped.clone()]);
    // One success in four: mean 1/4, sample deviation 1/2.
    let scale = 16.0 * (0.5 + 1e-4);
    let terms = [term(&helped, &RIGHT, -0.75 / scale), term(&PLAIN, &WRONG, 3.0 * 0.25 / scale)];
    assert_gradient(&followed, &terms, 0.9);
    let mut trained = followed.trained.clone();
    trained.sort();
    assert_eq!(trained, [PLAIN.to_vec(), PLAIN.to_vec(), PLAIN.to_vec(), helped]);
}

#[test]
fn sage_lets_the_policy_write_the_hint() {
    // Level by level: the request to write, then the hint `000` that the script answers with.
    let followed = follow(preset!("sage"), 1, |prompt| prompt == hinted(&[0, 0, 0]));
    let helped = hinted(&[0, 0, 0]);
    let [plain, request, sampled] = &followed.prompts[..] else { panic!("three prompts") };
    assert_eq!((plain.as_slice(), sampled), (&PLAIN[..], &helped));
    // `12`, the solution and `1 of 3, where 1 … and 3 …`: the digits of the request.
    assert_eq!(request[..2], PLAIN[..2]);
    assert_eq!(request[2..7], SOLUTION);
    let terms = [term(&helped, &RIGHT, -pair()), term(&helped, &WRONG, pair())];
    assert_gradient(&followed, &terms, 0.9);
}

#[test]
fn uft_starts_from_a_prefix_and_learns_it_a_little() {
    let followed = follow(preset!("uft"), 1, |_| true);
    let [helped] = &followed.prompts[..] else { panic!("the plain prompt is not sampled") };
    let count = helped.len() - PLAIN.len();
    assert!(count > 0, "the seed draws a prefix");
    assert_eq!(*helped, prefixed(count));
    let coefficient = -0.001 / count as f64;
    let terms = [
        term(helped, &RIGHT, -pair()),
        term(helped, &WRONG, pair()),
        term(&PLAIN, &SOLUTION[..count], coefficient),
    ];
    assert_gradient(&followed, &terms, 0.9);
}

#[test]
fn adaprefix_continues_a_share_of_the_solution_that_follows_the_success_of_the_problem() {
    let followed = follow(preset!("adaprefix"), 1, |_| true);
    // Nothing is sampled without the prefix. Half of five words is three of them, and two of four completions are right.
    let helped = prefixed(3);
    assert_eq!(followed.prompts, std::slice::from_ref(&helped));
    assert_eq!(followed.trained, vec![helped.clone(); 4]);
    let coefficient = advantage() / 8.0;
    let rows = [term(&helped, &RIGHT, -coefficient), term(&helped, &WRONG, coefficient)];
    assert_gradient(&followed, &rows, 0.9);
    // The share was right at the first visit: it stays. Half of the run is five eighths of its way to 0.
    let second = follow(preset!("adaprefix"), 2, |_| true);
    assert_eq!(second.prompts, [prefixed(1)], "three eighths of a half");
    // Nobody was right: more help, and as much annealing.
    let harder = follow(preset!("adaprefix"), 2, |_| false);
    assert_eq!(harder.prompts, [prefixed(2)], "three eighths of three quarters");
}

#[test]
fn agent_g2_guides_a_group_that_is_stuck_at_one_wrong_answer() {
    let followed = follow(preset!("agent_g2"), 1, |_| true);
    let helped = hinted(&[7, 1, 9]);
    assert_eq!(followed.prompts, [PLAIN.to_vec(), helped.clone()]);
    assert_eq!(followed.trained, vec![helped.clone(); 4]);
    let coefficient = advantage() / 8.0;
    let rows = [term(&helped, &RIGHT, -coefficient), term(&helped, &WRONG, coefficient)];
    assert_gradient(&followed, &rows, 0.9);
    // Half right: not stuck.
    assert_eq!(follow_mixed(preset!("agent_g2")).prompts, [PLAIN.to_vec()]);
}
