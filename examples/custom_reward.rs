//! A reward and a verifier of one's own, beside those of the library, in one rubric.
//!
//! `cargo run --release --example custom_reward`
//!
//! Prints the verdict, the score and the parts of four completions of one problem. One is right in one sentence, one is
//! right but rambles, and one is wrong. The verifier cannot judge the fourth, which therefore has no score. Takes less
//! than a second.

use hint_reward::{
    Judgment, MathVerifier, Reward, RewardError, RewardInput, Rubric, Verdict, Verifier,
    reward::BoxedOnce,
};

/// 1 for a completion of one sentence, falling by `step` for each further one, but never below 0.
struct FewSentences {
    step: f64,
}

impl Reward for FewSentences {
    fn name(&self) -> &'static str {
        "few_sentences"
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        let sentences = input.completion.matches(". ").count();
        Ok((1.0 - self.step * sentences as f64).max(0.0))
    }
}

/// The library's verifier, except that a person looks at a completion that only claims to have an answer.
struct NoClaims(MathVerifier);

impl Verifier for NoClaims {
    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        if input.completion.contains("trust me") {
            // Not `Incorrect`: a group of wrong answers asks for a hint, and nobody knows that this one is wrong.
            return Judgment::new(Verdict::Error).with_reason("the completion argues by trust");
        }
        self.0.verify(input)
    }
}

#[expect(clippy::print_stdout, reason = "the output of a program")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rubric = Rubric::new(NoClaims(MathVerifier::new()))
        .with(0.1, BoxedOnce)
        .with(0.2, FewSentences { step: 0.5 });
    let completions = [
        r"Half of three quarters is \boxed{\frac{3}{8}}.",
        r"Half of it. That is 0.75 / 2. And so we find \boxed{0.375}.",
        r"Half of three quarters is \boxed{\frac{3}{4}}.",
        r"It is \boxed{\frac{3}{8}}, trust me.",
    ];
    let group = completions.map(|completion| RewardInput::new(completion, "3/8"));
    for (completion, score) in completions.iter().zip(rubric.score_group(&group)?) {
        println!("{completion}\n  {}: {:.2} {:?}", score.verdict, score.value, score.parts);
        if let Some(reason) = &score.judgment.reason {
            println!("  {reason}");
        }
    }
    Ok(())
}
