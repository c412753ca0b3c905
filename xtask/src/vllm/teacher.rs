//! Hints of a teacher behind the server, and the main example on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::SERVED_NAME;
use crate::process::{check, output, read};

/// Problems that a model of this size gets wrong.
pub(super) const PROBLEMS: &str = r#"{"id": "pencils", "question": "A box holds 12 pencils. Mia buys 3 boxes and gives 7 pencils away. How many pencils has she left?", "answer": "29", "solution": "3 * 12 = 36 pencils. 36 - 7 = 29."}
{"id": "train", "question": "A train goes 60 km in the first hour and 45 km in the second. How far does it go in both?", "answer": "105", "solution": "60 + 45 = 105 km."}
{"id": "eggs", "question": "Five hens lay 4 eggs each. Tom breaks 6 of them. How many eggs are whole?", "answer": "14", "solution": "5 * 4 = 20 eggs. 20 - 6 = 14."}
{"id": "rope", "question": "A rope of 48 m is cut into pieces of 6 m. Half of the pieces are sold. How many are left?", "answer": "4", "solution": "48 / 6 = 8 pieces. 8 / 2 = 4."}
"#;

/// Has the served model write hints, twice: the second time all of them are in the cache. Returns the
/// problems with their hints.
pub(super) fn hints(program: &Path, server: &str, work: &Path) -> Result<PathBuf> {
    let (problems, cache) = (work.join("problems.jsonl"), work.join("teacher-cache"));
    std::fs::write(&problems, PROBLEMS)
        .with_context(|| format!("cannot write `{}`", problems.display()))?;
    remove(&cache)?;
    let outs = [work.join("hinted.jsonl"), work.join("hinted-again.jsonl")];
    let mut made = Vec::new();
    for (out, is_first) in outs.iter().zip([true, false]) {
        // Left by an earlier run; it would be finished already.
        remove(out)?;
        remove(&out.with_extension("jsonl.made-with.json"))?;
        let source = format!(
            "rollout.source={{ type = \"teacher\", endpoint = \"{server}/v1\", model = \"{SERVED_NAME}\", \
             max_completion_len = 200, parallel = 2, cache = '{}' }}",
            cache.display()
        );
        let text = output(
            Command::new(program)
                .arg("generate-hints")
                .arg(&problems)
                .arg("--out")
                .arg(out)
                .args(["--set", &source]),
        )?;
        let counted = text.lines().find_map(|line| line.strip_prefix("requests to the teacher"));
        let counted = counted.and_then(|count| count.trim().parse::<u64>().ok());
        // A reply that cannot be used is asked for again, so the first run may ask more than once a problem.
        let expected = if is_first { 4..=8 } else { 0..=0 };
        ensure!(
            counted.is_some_and(|count| expected.contains(&count)),
            "the teacher was asked {counted:?} times, expected {expected:?}"
        );
        let file =
            std::fs::read(out).with_context(|| format!("cannot read `{}`", out.display()))?;
        made.push(file);
    }
    ensure!(made[0] == made[1], "the second run wrote other hints than the first one");
    let [out, _] = outs;
    Ok(out)
}

/// Two steps of the main example on `problems`, sampled by the server, in the folder `out`. `options` are further ones.
pub(super) fn train(
    program: &Path,
    server: &str,
    (model, problems): (&Path, &Path),
    options: &[&str],
    out: &Path,
) -> Result<()> {
    remove(out)?;
    check(
        Command::new(program)
            .args(["train", "--method", "hint"])
            .args(options)
            .arg("--model")
            .arg(model)
            .arg("--problems")
            .arg(problems)
            .args(["--vllm", server, "--steps", "2"])
            .args(["--set", "run.prompts_per_step=2"])
            .args(["--set", "rollout.sampling.max_completion_len=48"])
            .args(["--set", "evaluation.held_out={ type = \"none\" }"])
            .args(["--set", "evaluation.at_start=false"])
            .arg("--out")
            .arg(out),
    )?;
    let metrics = out.join("hint").join("metrics.jsonl");
    let text = read(&metrics)?;
    let hinted = text.lines().filter(|line| line.contains("\"hint/pass_rate\"")).count();
    ensure!(hinted == 2, "{hinted} of two steps sampled with the teacher's hints");
    Ok(())
}

/// Removes a file or folder, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed =
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}
