//! Wrong answers of every kind are refused.

use std::collections::BTreeSet;

use hint_reward::{MathVerifier, RewardInput, Verifier};

#[path = "../../examples/attack_verifier/wrong.rs"]
mod wrong;

#[test]
fn no_sentence_is_rewarded_that_does_not_stand_by_its_box() {
    let levels = [MathVerifier::new(), MathVerifier::strict()];
    assert!(wrong::sentences::SENTENCES.len() >= 200);
    for sentence in wrong::sentences::SENTENCES {
        for reference in ["12", "x^2-1", r"\frac{3}{7}", "B", "(2,3)", r"5\text{ km}"] {
            let completion = sentence.replace('□', &format!(r"\boxed{{{reference}}}"));
            for verifier in &levels {
                let judgment = verifier.verify(&RewardInput::new(&completion, reference));
                assert!(!judgment.verdict.is_correct(), "{completion}: {judgment:?}");
            }
        }
    }
}

#[test]
fn sentences_that_end_with_their_answer_are_rewarded() {
    for sentence in [
        "@",
        "$@$.",
        "The answer is @.",
        "**Final Answer**\n\n\\[ @ \\]",
        "Therefore, the final answer is: $@$",
        "Hence $x = @$.",
        "So the total is @. I hope it is correct.",
        "We compute.\n\n1. First, $a=3$.\n2. Then $b=4$.\n\nThe number of ways is $@$. $\\blacksquare$",
        "It is not 13; the value is @.",
        "Since 5 is not prime, the sum is @, as desired.",
        "@\n\nThe final answer is $12$.",
        "<think>Perhaps 13.</think>\n<answer>@</answer>",
        "$$\\begin{aligned} x &= 3\\cdot4 \\\\ &= @ \\end{aligned}$$",
        "Therefore Bob has @ apples left.",
        "@ is even.",
    ] {
        let completion = sentence.replace('@', r"\boxed{12}");
        let judgment = MathVerifier::strict().verify(&RewardInput::new(&completion, "12"));
        assert!(judgment.verdict.is_correct(), "{completion}: {judgment:?}");
    }
}

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
