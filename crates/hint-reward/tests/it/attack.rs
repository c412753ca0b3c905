//! Wrong answers of every kind are refused.

use std::collections::BTreeSet;

use hint_reward::{MathVerifier, RewardInput, Verifier};

#[path = "../../examples/attack_verifier/wrong.rs"]
mod wrong;

#[test]
fn no_wrong_answer_is_accepted() {
    let mut choices = wrong::Choices(20_261_128);
    let verifier = MathVerifier::new();
    let strict = MathVerifier::strict();
    let (mut pairs, mut changes) = (0, BTreeSet::new());
    while pairs < 4000 {
        let Some(wrong) = choices.wrong() else { continue };
        pairs += 1;
        changes.insert(wrong.by);
        for verifier in [&verifier, &strict] {
            let judgment = verifier.verify(&RewardInput::new(&wrong.completion, &wrong.reference));
            assert!(!judgment.verdict.is_correct(), "{wrong:?}");
        }
    }
    assert!(changes.len() >= 10, "{changes:?}");
}
