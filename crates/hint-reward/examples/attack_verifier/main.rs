//! Attacks the mathematical verifier with wrong answers and lists the ones it accepts.
//!
//! `cargo run --release -p hint-reward --example attack_verifier -- [COUNT] [SEED]`
//!
//! Judges at both levels. Prints every false positive once, then how many pairs of each kind of change were judged. Exits with 1 if there is a
//! false positive. 100,000 pairs take a few seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;

use hint_reward::{MathVerifier, RewardInput, Verifier};

mod wrong;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let seed: u64 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let mut choices = wrong::Choices(seed);
    let verifiers = [MathVerifier::new(), MathVerifier::strict()];
    let (mut judged, mut accepted) = (BTreeMap::<&str, usize>::new(), BTreeSet::new());
    let mut pairs = 0;
    while pairs < count {
        let Some(wrong) = choices.wrong() else { continue };
        pairs += 1;
        *judged.entry(wrong.by).or_default() += 1;
        let input = RewardInput::new(&wrong.completion, &wrong.reference);
        if verifiers.iter().any(|verifier| verifier.verify(&input).verdict.is_correct()) {
            accepted.insert((wrong.by, wrong.reference, wrong.completion));
        }
    }
    let mut out = std::io::stdout().lock();
    for (by, reference, completion) in &accepted {
        writeln!(out, "{by}: {completion:?} for {reference:?}")?;
    }
    writeln!(out, "{pairs} wrong answers, {} accepted; by change: {judged:?}", accepted.len())?;
    Ok(if accepted.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
