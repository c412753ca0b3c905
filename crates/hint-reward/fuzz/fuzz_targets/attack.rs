//! Wrong answers are refused: `cargo +nightly fuzz run attack` in `crates/hint-reward`.
//!
//! The input is a seed for the generator of `examples/attack_verifier`, which changes references by one operation.
#![no_main]

use hint_reward::{MathVerifier, RewardInput, Verifier};
use libfuzzer_sys::fuzz_target;

#[path = "../../examples/attack_verifier/wrong.rs"]
mod wrong;

fuzz_target!(|seed: u64| {
    let mut choices = wrong::Choices(seed);
    let verifier = MathVerifier::new();
    for wrong in (0..64).filter_map(|_| choices.wrong()) {
        let judgment = verifier.verify(&RewardInput::new(&wrong.completion, &wrong.reference));
        assert!(!judgment.verdict.is_correct(), "{wrong:?}");
    }
});
