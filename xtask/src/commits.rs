//! Whether every commit says why, in a body below its subject.

use std::path::Path;
use std::process::Command;

/// The last commit before the rule was checked.
const BEFORE: &str = "915df95084b38b8c15ccff147168e679e22741fd";

/// Names the commits since the rule that say nothing. They end no gate: a commit that others have seen stays as it is.
/// Without the history there is nothing to read.
pub(crate) fn report(repo: &Path) {
    let mut git = Command::new("git");
    git.current_dir(repo).args(["log", "--no-merges", "--format=%h %s%x00%b%x01"]);
    if let Ok(found) = git.arg(format!("{BEFORE}..HEAD")).output() {
        for commit in without_body(&String::from_utf8_lossy(&found.stdout)) {
            eprintln!("a commit without a body that says why: {commit}");
        }
    }
}

/// The commits of a log that have a subject alone.
fn without_body(log: &str) -> Vec<String> {
    let commits = log.split('\u{1}').filter_map(|commit| commit.split_once('\0'));
    let silent = commits.filter(|(_, body)| body.trim().is_empty());
    silent.map(|(subject, _)| subject.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_of_one_line_is_named() {
        let log = "1a Say it\0Because it was unsaid.\n\u{1}\n2b Do it\0\n\u{1}\n";
        assert_eq!(without_body(log), ["2b Do it"]);
    }
}
