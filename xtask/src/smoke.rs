//! A short run of the main example: does it end well and leave a summary?

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::host::Host;
use crate::process::{cargo, check};

/// Runs the main example for two optimizer steps, in the profile and with the features of the
/// tests, so that nothing is built a second time.
pub(crate) fn run(host: &Host) -> Result<()> {
    let out = std::env::temp_dir().join(format!("hint-rl-smoke-{}", std::process::id()));
    let result = check(
        cargo(host)
            .args(["run", "--locked", "--example", "hint_grpo", "--"])
            .args(["--steps", "2", "--out"])
            .arg(&out),
    )
    .and_then(|()| check_summary(&out.join("summary.json")));
    // A leftover in the temporary folder is not worth failing the gate for.
    let _ = std::fs::remove_dir_all(&out);
    result
}

/// Checks that the summary is JSON and lists at least one run with its method.
fn check_summary(file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("the example wrote no `{}`", file.display()))?;
    let summary: Value =
        serde_json::from_str(&text).with_context(|| format!("`{}` is not JSON", file.display()))?;
    let runs = summary["runs"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(
        !runs.is_empty() && runs.iter().all(|run| run["method"].is_string()),
        "`{}` must hold `runs`, a non-empty array with a `method` each",
        file.display()
    );
    eprintln!("smoke run: summary.json holds {} runs", runs.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(text: &str, expected: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("summary.json");
        std::fs::write(&file, text).unwrap();
        let error = check_summary(&file).err().map(|error| format!("{error:#}"));
        match (error, expected) {
            (None, None) => {}
            (Some(error), Some(part)) => assert!(error.contains(part), "{error}"),
            (error, expected) => panic!("got {error:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn summary_lists_runs_with_their_method() {
        check_text(r#"{"runs":[{"method":"hint"}]}"#, None);
        check_text(r#"{"runs":[]}"#, Some("non-empty"));
        check_text(r#"{"runs":[{}]}"#, Some("`method`"));
        check_text("{", Some("is not JSON"));
    }
}
