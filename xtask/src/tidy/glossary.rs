//! Words that the glossary replaces by others do not occur as identifiers in the crates.

use super::code::words;
use super::{Finding, tree::Tree};

/// The word, and what to write.
const INSTEAD: [(&str, &str); 19] = [
    ("logps", "logprobs"),
    ("per_token_logps", "logprobs"),
    ("gen_logp", "old_logprobs"),
    ("gen_logps", "old_logprobs"),
    ("inference_logprobs", "behavior_logprobs"),
    ("sampling_logprobs", "behavior_logprobs"),
    ("behaviour_logprobs", "behavior_logprobs"),
    ("clip_eps", "clip_low, clip_high"),
    ("clip_param", "clip_low, clip_high"),
    ("rollout_num", "group_size"),
    ("num_generations", "group_size"),
    ("policy_prompt", "prompt"),
    ("rollout_prompt", "prompt"),
    ("correct_fn", "reward or verifier"),
    ("rerolled", "hinted"),
    ("kl_div", "kl"),
    ("affinity_lambda", "exponent"),
    ("coef_1", "ratio"),
    ("policy_ver", "policy_version"),
];

/// Runs the check.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust(&["crates/"]) {
        for (line, code) in file.code_lines() {
            for word in words(&code) {
                if let Some((_, instead)) = INSTEAD.iter().find(|(name, _)| *name == word) {
                    let message =
                        format!("`{word}` is not a word of the glossary; write `{instead}`");
                    findings.push(Finding::new(&file.path, line, message));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_checked_and_prose_is_not() {
        let text =
            "// The reference says gen_logps.\nlet old = x[\"gen_logps\"];\nlet gen_logps = old;\n";
        let found = check(&Tree::of(&[("crates/a/src/b.rs", text)]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 3);
        assert!(found[0].message.ends_with("write `old_logprobs`"), "{}", found[0]);
    }
}
