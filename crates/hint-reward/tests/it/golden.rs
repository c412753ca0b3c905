//! Conformance on files of labeled pairs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hint_reward::{MathVerifier, RewardInput, Verifier};
use serde_json::Value;

/// The folder of the caller's choice; by default the golden files of the repository. A relative path is taken from the
/// root of the workspace.
#[expect(
    clippy::disallowed_methods,
    reason = "the golden folder is chosen by the caller of the test"
)]
fn golden_dir() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("HINT_GOLDEN_DIR").map(PathBuf::from);
    root.join(named.unwrap_or_else(|| "tests/golden".into()))
}

fn golden_files() -> Vec<PathBuf> {
    let dir = golden_dir();
    let entries = std::fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("cannot read `{}`: {error}", dir.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("math_equivalence")
                && path.extension().is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    files.sort();
    files
}

#[derive(Default)]
struct Tally {
    pairs: usize,
    false_positives: usize,
    false_negatives: usize,
}

impl Tally {
    fn accuracy(&self) -> f64 {
        1.0 - (self.false_positives + self.false_negatives) as f64 / self.pairs as f64
    }
}

#[test]
fn golden_pairs_are_judged_as_labeled_without_a_false_positive() {
    let files = golden_files();
    if files.is_empty() {
        println!("no math_equivalence*.jsonl in `{}`: nothing to check", golden_dir().display());
    }
    let (verifier, strict) = (MathVerifier::new(), MathVerifier::strict());
    let mut tallies = BTreeMap::<String, Tally>::new();
    for path in &files {
        let text = std::fs::read_to_string(path).expect("a readable file");
        for (line, row) in text.lines().enumerate().filter(|(_, row)| !row.trim().is_empty()) {
            let row: Value = serde_json::from_str(row).expect("valid JSON");
            let gold = row["gold"].as_str().expect("`gold` is a string");
            let answer = row["answer"].as_str().expect("`answer` is a string");
            let equal = row["equal"].as_bool().expect("`equal` is a boolean");
            let judgment = verifier.verify(&RewardInput::new(answer, gold));
            let tally =
                tallies.entry(row["kind"].as_str().unwrap_or("unlabeled").to_owned()).or_default();
            tally.pairs += 1;
            // The level that trains accepts nothing more.
            let is_rewarded = strict.verify(&RewardInput::new(answer, gold)).verdict.is_correct();
            assert!(equal || !is_rewarded, "strict: {answer:?} against {gold:?}");
            if judgment.verdict.is_correct() != equal {
                let error = if equal { "false negative" } else { "false positive" };
                println!(
                    "{}:{}: {error}: {answer:?} against {gold:?}: {judgment:?}",
                    path.display(),
                    line + 1
                );
                tally.false_negatives += usize::from(equal);
                tally.false_positives += usize::from(!equal);
            }
        }
    }
    for (kind, tally) in &tallies {
        println!(
            "{kind}: {} pairs, accuracy {:.4}, {} false positives, {} false negatives",
            tally.pairs,
            tally.accuracy(),
            tally.false_positives,
            tally.false_negatives
        );
    }
    for (kind, tally) in &tallies {
        assert_eq!(tally.false_positives, 0, "false positives of kind {kind}");
    }
    let (strict, rest): (Vec<_>, Vec<_>) =
        tallies.iter().partition(|(kind, _)| matches!(kind.as_str(), "ours" | "own"));
    for (kind, tally) in strict {
        assert_eq!(tally.false_negatives, 0, "false negatives of kind {kind}");
    }
    let pairs: usize = rest.iter().map(|(_, tally)| tally.pairs).sum();
    let errors: usize = rest.iter().map(|(_, tally)| tally.false_negatives).sum();
    assert!(
        errors * 50 <= pairs,
        "{errors} of {pairs} pairs of other kinds, more than 2 %, are judged otherwise"
    );
}
