//! Extraction, parsing and comparison of any two texts: `cargo +nightly fuzz run verify` in `crates/hint-reward`.
//!
//! The input is two texts separated by a zero byte. Beyond not panicking, the verifier must agree with itself: the
//! same verdict twice, and the same either way round.
#![no_main]

use hint_reward::{Extraction, MathVerifier, RewardInput, Verifier, extract::BoxedAnswer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (completion, reference) = text.split_once('\0').unwrap_or((&text, "x"));
    for found in BoxedAnswer::all(completion) {
        assert!(completion[found.span.clone()].contains(found.content));
    }
    let _ = Extraction::default().extract(completion);
    let verifier = MathVerifier::new();
    let judgment = verifier.verify(&RewardInput::new(completion, reference));
    assert_eq!(judgment, verifier.verify(&RewardInput::new(completion, reference)));
    let forward = verifier.compare(completion, reference).verdict;
    let back = verifier.compare(reference, completion).verdict;
    assert_eq!(forward.is_correct(), back.is_correct());
});
