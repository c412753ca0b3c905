//! A verifier of your own: a plan is correct if it has the requested length and repeats no step.
//!
//! ```text
//! cargo run --release --example custom_verifier
//! ```
//!
//! Prints the verdict on five completions, then those of a verifier that is a closure. Takes less than a second.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use hint_reward::{Judgment, RewardInput, Verdict, Verifier, verifier_from_fn};

/// Accepts every plan with the right number of different steps. Many answers are correct, so no reference text could match.
struct PlanOf;

impl Verifier for PlanOf {
    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        let Ok(wanted) = input.reference.parse::<usize>() else {
            // The problem is at fault, not the completion: such a problem is left out instead of counted as wrong.
            return Judgment::new(Verdict::ReferenceUnparseable)
                .with_reason(format!("`{}` is no number of steps", input.reference));
        };
        let Some((_, plan)) = input.completion.split_once("Plan:") else {
            return Judgment::new(Verdict::NoAnswer);
        };
        let steps: Vec<&str> = plan.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
        let mut distinct = steps.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let reason = match (steps.len(), distinct.len()) {
            (len, _) if len != wanted => format!("{len} steps, {wanted} were asked for"),
            (len, distinct) if distinct < len => "a step occurs twice".to_owned(),
            _ => return Judgment::new(Verdict::Correct).with_extracted(plan.trim()),
        };
        Judgment::new(Verdict::Incorrect).with_extracted(plan.trim()).with_reason(reason)
    }
}

fn main() {
    let completions = [
        ("Plan: mix, bake, cool", "3"),
        ("Plan: mix, bake, bake", "3"),
        ("Plan: mix, bake", "3"),
        ("I would mix it first.", "3"),
        ("Plan: mix, bake, cool", "some"),
    ];
    for (completion, reference) in completions {
        let judgment = PlanOf.verify(&RewardInput::new(completion, reference));
        let reason = judgment.reason.as_deref().unwrap_or("");
        println!("{:<22} {completion:<22} {reason}", judgment.verdict.to_string());
    }

    // A closure does, too.
    let polite = verifier_from_fn("polite", |input: &RewardInput<'_>| {
        let polite = input.completion.contains("please");
        Judgment::new(if polite { Verdict::Correct } else { Verdict::Incorrect })
    });
    for completion in ["Would you please sit?", "Sit!"] {
        let judgment = polite.verify(&RewardInput::new(completion, ""));
        println!("{:<22} {completion}", judgment.verdict.to_string());
    }
}
