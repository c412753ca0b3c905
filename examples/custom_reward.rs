//! A reward of your own, beside one of the library and a verifier, in one rubric.
//!
//! ```text
//! cargo run --release --example custom_reward
//! ```
//!
//! Prints verdict, score and parts of three completions of one problem. One is right in one sentence, one is right but
//! rambles, and one is wrong. Takes less than a second.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use hint_reward::reward::BoxedOnce;
use hint_reward::{MathVerifier, Reward, RewardError, RewardInput, Rubric};

/// 1 for a completion of one sentence, falling by `step` for each further one, but never below 0.
struct FewSentences {
    step: f64,
}

impl Reward for FewSentences {
    // The metrics are `rewards/few_sentences/mean` and `rewards/few_sentences/std`.
    fn name(&self) -> &'static str {
        "few_sentences"
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        let sentences = input.completion.matches(". ").count();
        Ok((1.0 - self.step * sentences as f64).max(0.0))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rubric =
        Rubric::new(MathVerifier::new()).with(0.1, BoxedOnce).with(0.2, FewSentences { step: 0.5 });
    let completions = [
        r"Half of three quarters is \boxed{\frac{3}{8}}.",
        r"Half of it. That is 0.75 / 2. And so we find \boxed{0.375}.",
        r"Half of three quarters is \boxed{\frac{3}{4}}.",
    ];
    let group = completions.map(|completion| RewardInput::new(completion, "3/8"));
    for (completion, score) in completions.iter().zip(rubric.score_group(&group)?) {
        println!("{completion}\n  {}: {:.2} {:?}", score.verdict, score.value, score.parts);
    }
    Ok(())
}
