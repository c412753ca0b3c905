//! Presets with the ratio to the hinted prompt, shaped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::json;

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

/// A chat endpoint that returns `solution` when it is asked to solve, and a hint when it is shown a solution. With it
/// the questions.
fn teacher(solution: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}/v1", listener.local_addr().expect("a bound socket"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            let (mut line, mut len) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    len = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut body = vec![0; len];
            reader.read_exact(&mut body).expect("the whole body");
            let body = String::from_utf8(body).expect("JSON");
            let text = if body.contains("A correct solution") { "think of 4" } else { solution };
            log.lock().expect("no test panics here").push(body);
            let answer = json!({"choices": [{"message": {"content": text}}]}).to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}", answer.len());
            let _ = write!(stream, "{head}\r\n\r\n{answer}");
        }
    });
    (address, asked)
}

#[test]
fn beacon_draws_a_hint_from_a_solution_that_the_verifier_approves() {
    let (address, asked) = teacher("it is 999");
    let preset = preset!("beacon").replace("http://127.0.0.1:8000/v1", &address);
    let followed = follow(&preset, 1, |_| true);
    let helped = hinted(&[4]);
    assert_eq!(followed.prompts, [PLAIN.to_vec(), helped.clone()]);
    assert_eq!(followed.trained, [PLAIN; 4]);
    let asked = asked.lock().expect("no test panics here");
    assert_eq!(asked.len(), 2);
    assert!(!asked[0].contains("7 1 9 9 9"), "the teacher solves by itself: {}", asked[0]);
    assert!(asked[1].contains("it is 999"), "{}", asked[1]);
    // The ratio is clipped at 0.8 and 1.2: a clipped token has no gradient.
    let row = |completion: &'static [u32], advantage: f64| {
        let coefficient = |log_ratio: &f64| {
            let ratio = log_ratio.exp();
            let is_clipped = if advantage > 0.0 { ratio > 1.2 } else { ratio < 0.8 };
            if is_clipped { 0.0 } else { -2.0 * advantage * ratio / 16.0 }
        };
        let coefficients = log_ratios(&helped, completion).iter().map(coefficient).collect();
        Term { prompt: &PLAIN, completion, coefficients }
    };
    assert_gradient(&followed, &[row(&RIGHT, advantage()), row(&WRONG, -advantage())], 0.9);
}

#[test]
fn beacon_gives_no_hint_where_the_teacher_is_wrong() {
    let (address, asked) = teacher("it is 7");
    let preset = preset!("beacon").replace("http://127.0.0.1:8000/v1", &address);
    let followed = follow(&preset, 1, |_| true);
    assert_eq!(followed.prompts, [PLAIN.to_vec()]);
    assert_eq!(asked.lock().expect("no test panics here").len(), 1, "nothing to draw a hint from");
}
