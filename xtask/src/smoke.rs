//! Short runs of the first programs of a user, on the embedded model: do they end well and leave the promised files?

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{build, check, output, read, scratch};
use crate::tidy::markdown::Markdown;
use crate::torchrun;
use hint_libtorch::Host;

/// Runs the main example: dry, for two steps of each method, supervised, and with a teacher. Runs an evaluation,
/// several processes, a reproduction and the tutorial of the book. Profile and features are those of the tests, so that
/// nothing is built a second time.
pub(crate) fn run(host: &Host) -> Result<()> {
    run_all(host, scratch()?.path())
}

/// The main example, and the program with all commands.
const EXAMPLE: &str = "hint_grpo";
const PROGRAM: &str = "hint-rl";

fn run_all(host: &Host, out: &Path) -> Result<()> {
    let targets = ["--example", EXAMPLE, "--example", "custom_hints", "--bin", PROGRAM];
    let programs = build(host, &targets)?;
    let command = |program: &str, options: &str, paths: &[(&str, &Path)]| {
        let mut command = Command::new(&programs[program]);
        command.current_dir(&host.repo).args(options.split(' '));
        for (option, path) in paths {
            command.arg(option).arg(path);
        }
        command
    };
    let run = |program: &str, options: &str, paths: &[(&str, &Path)]| {
        check(&mut command(program, options, paths))
    };
    let [trained, others, scores] = ["trained", "others", "scores.json"].map(|name| out.join(name));

    run(EXAMPLE, "--dry-run", &[("--out", &trained)])?;
    ensure!(!trained.exists(), "a dry run wrote `{}`", trained.display());
    run(EXAMPLE, "--steps 2 --held-out 40", &[("--out", &trained)])?;
    check_summary(&trained.join("summary.json"), &["grpo", "hint"])?;
    run(EXAMPLE, "--method sft,sdft --steps 2 --held-out 40", &[("--out", &others)])?;
    check_summary(&others.join("summary.json"), &["sft", "sdft"])?;
    let model = others.join("sft");
    let paths = [("--model", model.as_path()), ("--out", scores.as_path())];
    run(PROGRAM, "evaluate --samples 2 --held-out 20", &paths)?;
    check_scores(&scores)?;
    several_processes(&programs[PROGRAM], "0", out)?;
    several_processes(&programs[PROGRAM], "1", &out.join("ahead"))?;
    torchrun::run(host, &programs[PROGRAM], &out.join("torchrun"))?;
    reproduction(&programs[PROGRAM], &out.join("reproductions"))?;
    tutorial(host, &programs, &out.join("tutorial"))
}

/// Trains in two processes, as a launcher starts them, and compares the files of the run with those of one process. Both
/// sample so many batches ahead.
fn several_processes(program: &Path, ahead: &str, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out)?;
    let train = |name: &str| {
        let options =
            "train --method hint --steps 2 --held-out 20 --set run.virtual_workers=2 --out";
        let mut command = Command::new(program);
        command.args(options.split(' ')).arg(out.join(name));
        command.args(["--set", &format!("run.ahead={ahead}")]);
        command
    };
    check(&mut train("alone"))?;
    // With the restarts that the launcher of each process has counted.
    let share = |restarts: [&str; 2]| -> Result<()> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        let place = [
            ("WORLD_SIZE", "2"),
            ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", &port),
        ];
        let start = |rank: &str, restarts: &str| {
            let mut command = train("shared");
            command.envs(place).env("RANK", rank).env("LOCAL_RANK", rank);
            command.env("TORCHELASTIC_RESTART_COUNT", restarts).spawn()
        };
        let ranks = [start("0", restarts[0])?, start("1", restarts[1])?];
        for (rank, mut child) in ranks.into_iter().enumerate() {
            ensure!(child.wait()?.success(), "rank {rank} of the shared run failed");
        }
        Ok(())
    };
    share(["0", "0"])?;
    // The same command continues the run, which is done, where one of two machines has counted a failure.
    share(["0", "1"])?;
    torchrun::same_run(&out.join("alone/hint"), &out.join("shared/hint"), 2)
}

/// Runs a small reproduction. Kills another one while it writes its problems, stops it in its first run, and continues it.
/// Both must have the same results, and `--report-only` must write them once more. Runs that are done have no moments, and
/// refuse to go on.
fn reproduction(program: &Path, out: &Path) -> Result<()> {
    let command = |name: &str, more: &[&str]| {
        let options = "reproduce --arms grpo,hint --seeds 0 --jobs 1 --set run.steps=4 --set run.checkpoint_every=1 \
                       --set evaluation.every=2 --set evaluation.max_problems=40 \
                       --set evaluation.completions_per_problem=1 --out";
        let mut command = Command::new(program);
        command.args(options.split_whitespace()).arg(out.join(name)).args(more);
        command
    };
    check(&mut command("unbroken", &[]))?;
    let broken = out.join("broken");
    let mut child = command("broken", &[]).spawn()?;
    while !broken.exists() && child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill()?;
    child.wait()?;
    let mut child = command("broken", &[]).spawn()?;
    let first = broken.join("runs/grpo/seed-0/grpo/checkpoints/step-00000001");
    while !first.exists() && child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Shells start jobs in the background with SIGINT ignored.
    check(Command::new("kill").arg("-TERM").arg(child.id().to_string()))?;
    let code = child.wait()?.code();
    ensure!(code == Some(143), "the reproduction was to be stopped; its exit code is {code:?}");
    ensure!(!broken.join("runs/hint").exists(), "the reproduction went on after the signal");
    check(&mut command("broken", &[]))?;
    for arm in ["grpo", "hint"] {
        let last = broken.join(format!("runs/{arm}/seed-0/{arm}/checkpoints/step-00000004"));
        let has = |file: &str| last.join(file).exists();
        ensure!(has("model.safetensors"), "`{}` has no weights", last.display());
        ensure!(!has("optimizer.safetensors"), "`{}` has moments still", last.display());
    }
    // Both have one evaluation before the first step.
    let first = |arm: &str| {
        read(&broken.join(format!("runs/{arm}/seed-0/{arm}/evaluations/step-00000000.json")))
    };
    ensure!(first("grpo")? == first("hint")?, "the arms differ before the first step");
    let mut longer = Command::new(program);
    longer.args(["train", "--steps", "6", "--resume"]).arg(broken.join("runs/hint/seed-0"));
    refused(&mut longer, "takes no more steps")?;
    refused(&mut command("broken", &["--compute", "bf16"]), "is of runs with --compute f32")?;
    let results = |name: &str| read(&out.join(name).join("results.csv"));
    let unbroken = results("unbroken")?;
    ensure!(unbroken.lines().count() > 12, "the results have too few rows");
    ensure!(results("broken")? == unbroken, "the results of a continued reproduction differ");
    std::fs::remove_file(broken.join("results.csv"))?;
    check(&mut command("broken", &["--report-only"]))?;
    ensure!(results("broken")? == unbroken, "the results of `--report-only` differ");
    let json = read_json(&broken.join("results.json"))?;
    let runs = json["runs"].as_array().map_or(0, Vec::len);
    ensure!(runs == 2, "`results.json` has {runs} runs");
    let page = read(&broken.join("report.html"))?;
    for part in ["id=\"Q1\"", "id=\"T1\"", "id=\"T4\"", "<polygon", "hint-rl reproduce --arms"] {
        ensure!(page.contains(part), "the report of the reproduction lacks `{part}`");
    }
    Ok(())
}

/// Checks that a command fails, and that `part` of its message says why.
fn refused(command: &mut Command, part: &str) -> Result<()> {
    let output = command.output().context("cannot start the program")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && errors.contains(part),
        "a command was to be refused with `{part}`; it ended with {} and {errors}",
        output.status
    );
    Ok(())
}

/// Runs the commands of the book's tutorial, in a folder like the clone: its blocks of `console`, in order.
fn tutorial(host: &Host, programs: &BTreeMap<String, PathBuf>, folder: &Path) -> Result<()> {
    let page = host.repo.join("docs/tutorial.md");
    let text = read(&page)?;
    let blocks = Markdown::parse(&text).code.into_iter();
    let commands: String =
        blocks.filter(|(_, language, _)| language == "console").map(|(_, _, text)| text).collect();
    ensure!(commands.contains("hint-rl train"), "`{}` trains nothing", page.display());
    std::fs::create_dir_all(folder)?;
    symlink(host.repo.join("examples"), folder.join("examples"))?;
    let program = |name: &str| format!("'{}'", programs[name].display());
    let script = format!(
        "set -eu\nhint-rl() {{ {} \"$@\"; }}\ncargo() {{ {}; }}\nset -x\n{commands}",
        program(PROGRAM),
        program("custom_hints")
    );
    check(Command::new("bash").arg("-c").arg(script).current_dir(folder))
        .with_context(|| format!("a command of `{}` failed", page.display()))?;
    check_summary(&folder.join("runs/hint/summary.json"), &["hint"])?;
    let mut report = Command::new(&programs[PROGRAM]);
    let report = output(report.args(["report", "--rows", "2", "runs/hint"]).current_dir(folder))?;
    for part in ["hint: step 20 of 20", "held-out accuracy", "rollout"] {
        ensure!(report.contains(part), "the report of the run lacks `{part}`");
    }
    let page = read(&folder.join("report.html"))?;
    ensure!(page.contains("id=\"shard-0\""), "the page of the run holds no completions");
    Ok(())
}

/// Checks that the summary is JSON and lists the runs of `methods`, in order.
pub(crate) fn check_summary(file: &Path, methods: &[&str]) -> Result<()> {
    let summary = read_json(file)?;
    let runs = summary["runs"].as_array().map_or(&[][..], Vec::as_slice);
    let found = runs.iter().filter_map(|run| run["method"].as_str()).collect::<Vec<_>>();
    ensure!(
        found == methods,
        "`{}` must hold `runs` with the methods {methods:?}, it holds {found:?}",
        file.display()
    );
    eprintln!("smoke run: summary.json holds {}", found.join(", "));
    Ok(())
}

/// Checks that the results of an evaluation are JSON and hold greedy and sampled accuracies.
fn check_scores(file: &Path) -> Result<()> {
    let scores = read_json(file)?;
    for part in ["greedy", "sampled"] {
        let accuracy = scores[part]["overall"]["avg"]["value"].as_f64();
        ensure!(
            accuracy.is_some_and(|accuracy| (0.0..=1.0).contains(&accuracy)),
            "`{}` must hold `{part}.overall.avg.value`, a number from 0 to 1",
            file.display()
        );
    }
    Ok(())
}

/// The value of a JSON file.
pub(crate) fn read_json(file: &Path) -> Result<Value> {
    serde_json::from_str(&read(file)?).with_context(|| format!("`{}` is not JSON", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(check: impl Fn(&Path) -> Result<()>, text: &str, expected: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("result.json");
        std::fs::write(&file, text).unwrap();
        let error = check(&file).err().map(|error| format!("{error:#}"));
        match (error, expected) {
            (None, None) => {}
            (Some(error), Some(part)) => assert!(error.contains(part), "{error}"),
            (error, expected) => panic!("got {error:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn summary_lists_the_runs_of_its_methods() {
        let check = |file: &Path| check_summary(file, &["hint"]);
        check_text(check, r#"{"runs":[{"method":"hint"}]}"#, None);
        check_text(check, r#"{"runs":[]}"#, Some("it holds []"));
        check_text(
            check,
            r#"{"runs":[{"method":"grpo"}]}"#,
            Some(r#"["hint"], it holds ["grpo"]"#),
        );
        check_text(check, "{", Some("is not JSON"));
    }

    #[test]
    fn scores_hold_greedy_and_sampled_accuracy() {
        let scores = r#"{"greedy":{"overall":{"avg":{"value":0.5}}},"sampled":VALUE}"#;
        let with = |sampled: &str| scores.replace("VALUE", sampled);
        check_text(check_scores, &with(r#"{"overall":{"avg":{"value":1.0}}}"#), None);
        check_text(check_scores, &with("null"), Some("`sampled.overall.avg.value`"));
        check_text(check_scores, &with(r#"{"overall":{"avg":{"value":2.0}}}"#), Some("0 to 1"));
    }
}
