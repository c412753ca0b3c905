//! Content of a page, read back as a browser reads it.

use std::fs;
use std::path::{Path, PathBuf};

use hint_grpo::GrpoConfig;
use hint_grpo::rollout_table::{RolloutRecord, write_rollouts};
use serde_json::{Value, json};

use super::block::unpacked;
use super::run::Run;
use super::{SCRIPT, STYLE, Written, page, write};
use crate::report::Item;

const NASTY: &str = "</script><img src=x onerror=alert(1)>\u{202e}\u{1b}[2J\u{0}";

const METRICS: &str = r#"{"step":0,"eval/avg":0.1,"eval/avg_low":0.05,"eval/avg_high":0.2}
{"step":1,"reward":0.5,"rollout/pass_rate":0.25,"rollout/all_wrong_frac":0.5,"hint/hinted_frac":0.5,"hint/rescued_frac":1.0,"affinity/hinted/value":0.7123456789012345,"rewards/own/mean":-3.5}
{"step":2,"reward":0.75,"rollout/pass_rate":0.3,"eval/avg":0.4,"eval/avg_low":0.3,"eval/avg_high":0.5}
{"step":3,"reward":1.0"#;
const TIMINGS: &str = r#"{"step":1,"rollout_s":3.0,"update_s":1.0,"step_time":4.0,"evaluation_s":1.5,"tokens":100}
{"step":2,"rollout_s":2.0,"update_s":1.0,"step_time":3.0,"checkpoint_s":0.5,"tokens":50}
"#;

/// A run in a folder of this name.
fn run(root: &Path, name: &str, config: &str) -> PathBuf {
    let dir = root.join(name);
    fs::create_dir_all(dir.join("rollouts")).unwrap();
    let config = GrpoConfig::from_toml(config).unwrap().to_toml().unwrap();
    for (file, text) in
        [("metrics.jsonl", METRICS), ("timings.jsonl", TIMINGS), ("config.toml", &config)]
    {
        fs::write(dir.join(file), text).unwrap();
    }
    dir
}

fn record(step: u64, group: usize, completion: usize, changes: &Value) -> RolloutRecord {
    let mut record = json!({
        "step": step, "group": group, "completion": completion, "problem": format!("p{group}"),
        "question": "What is 6 · 7?", "reference": "42", "role": "trained", "source": "plain",
        "text": "It is 41.", "prompt": [1], "tokens": [7, 8], "stop": "stop", "version": 0,
        "verdict": "incorrect", "extracted": "41", "extracted_by": "phrase", "level": "strict",
        "reward": 0.0, "reward_parts": {"math": 0.0}, "advantage": -0.5,
        "behavior_logprobs": [-0.5, -1.25], "logprobs": [-0.5, -1.5], "old_logprobs": [-0.5, -1.25],
    });
    for (key, value) in changes.as_object().unwrap() {
        record[key] = value.clone();
    }
    serde_json::from_value(record).unwrap()
}

fn table(dir: &Path, step: u64, records: &[RolloutRecord]) {
    write_rollouts(&dir.join(format!("rollouts/step-{step:08}.parquet")), records).unwrap();
}

const LIMIT: usize = 8 << 20;

fn page_of(dirs: &[PathBuf], limit: usize) -> (String, Written) {
    let mut runs = dirs.iter().map(|dir| Run::read(dir).unwrap()).collect::<Vec<_>>();
    page(&mut runs, None, limit).unwrap()
}

/// A block of the page, unpacked.
fn data(page: &str, id: &str) -> Value {
    let (_, rest) = page.split_once(&format!("id=\"{id}\">")).unwrap();
    unpacked(rest.split_once('<').unwrap().0)
}

fn column<'d>(overview: &'d Value, run: usize, name: &str) -> &'d Value {
    &overview["runs"][run]["columns"][name]
}

#[test]
fn numbers_are_those_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "hint", "run = { steps = 5, seed = 3 }");
    let overview = data(&page_of(&[dir], LIMIT).0, "overview");
    assert_eq!(overview["runs"][0]["steps"], json!([0, 1, 2]));
    for (point, line) in METRICS.lines().take(3).enumerate() {
        let line = serde_json::from_str::<Value>(line).unwrap();
        for (name, value) in line.as_object().unwrap().iter().filter(|(name, _)| *name != "step") {
            assert_eq!(column(&overview, 0, name)[point], *value, "{name} of point {point}");
        }
    }
    assert_eq!(column(&overview, 0, "timing/rollout_s"), &json!([null, 3.0, 2.0]));
    // Of the half that is all wrong, all are rescued.
    assert_eq!(column(&overview, 0, "report/all_wrong_frac_after_hints")[1], json!(0.0));
    let found = &overview["runs"][0];
    assert_eq!((&found["tokens"], &found["seconds"]), (&json!([0.0, 100.0, 150.0]), &json!(9.0)));
    assert_eq!((&found["step"], &found["total_steps"]), (&json!(2), &json!(5)));
    let titles = overview["charts"].as_array().unwrap().iter().map(|chart| &chart["title"]);
    let titles = titles.filter_map(Value::as_str).collect::<Vec<_>>();
    assert!(titles.contains(&"Accuracy without hints") && titles.contains(&"Time by phase"));
    assert!(!titles.contains(&"Entropy"), "{titles:?}");
}

#[test]
fn seeds_are_one_curve_and_other_settings_another() {
    let folder = tempfile::tempdir().unwrap();
    let runs = [
        run(folder.path(), "a", "run = { steps = 5, seed = 0 }"),
        run(folder.path(), "b", "run = { steps = 5, seed = 1 }"),
        run(folder.path(), "c", "run.seed = 0\nrun.steps = 5\noptimizer.learning_rate = 0.5"),
        run(folder.path(), "grpo", "run.steps = 5\nrollout.trigger.type = \"never\""),
    ];
    let overview = data(&page_of(&runs, LIMIT).0, "overview");
    let of_runs = (0..4).map(|run| overview["runs"][run]["series"].as_u64().unwrap());
    assert_eq!(of_runs.collect::<Vec<_>>(), [0, 0, 1, 2]);
    let labels = overview["series"].as_array().unwrap();
    assert!(labels[0].as_str().unwrap().starts_with("hint, learning_rate "), "{labels:?}");
    assert_eq!((&labels[1], &labels[2]), (&json!("hint, learning_rate 0.5"), &json!("grpo")));
}

#[test]
fn a_verdict_has_its_evidence_and_groups_that_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "grpo", "run = { steps = 5 }");
    let step = |step: u64| {
        let of_step =
            json!({"step": step, "rollout/all_wrong_frac": 1.0, "rollout/pass_rate": 0.0});
        format!("{of_step}\n")
    };
    fs::write(dir.join("metrics.jsonl"), (1..=4).map(step).collect::<String>()).unwrap();
    let groups = |of_step: u64| (0..6).map(move |group| record(of_step, group, 0, &json!({})));
    for of_step in 1..=4 {
        table(&dir, of_step, &groups(of_step).collect::<Vec<_>>());
    }
    // Too few bytes for any group: only those of the verdict stay.
    let (page, written) = page_of(&[dir], 1);
    assert_eq!((written.groups, written.total), (3, 24));
    assert!(
        written.in_words().contains("above the limit for the groups"),
        "{}",
        written.in_words()
    );
    let verdict = data(&page, "overview")["runs"][0]["verdict"].clone();
    assert_eq!((&verdict["condition"], &verdict["tone"]), (&json!("STARVED"), &json!("wrong")));
    let finding = &verdict["findings"][0];
    assert_eq!(finding["steps"], "steps 1–4");
    assert!(finding["evidence"].as_str().unwrap().starts_with("100 % of the groups"), "{finding}");
    assert!(finding["advice"].as_str().unwrap().contains("`rollout.source`"), "{finding}");
    let index = data(&page, "index");
    for (example, row) in finding["examples"].as_array().unwrap().iter().zip(0..3) {
        let row = &index["rows"][row];
        assert_eq!((&example["step"], &example["group"]), (&row[1], &row[2]));
    }
}

#[test]
fn completions_of_evaluations_are_groups_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "hint", "run = { steps = 5 }");
    table(&dir, 1, &[record(1, 0, 0, &json!({}))]);
    fs::create_dir_all(dir.join("evaluations")).unwrap();
    // The same id and place, another question.
    let held_out = json!({"role": "evaluated", "question": "What is 2 + 2?", "advantage": null});
    let file = dir.join("evaluations/step-00000001.parquet");
    write_rollouts(&file, &[record(1, 0, 0, &held_out)]).unwrap();
    let index = data(&page_of(&[dir], LIMIT).0, "index");
    let rows = index["rows"].as_array().unwrap();
    let kind =
        |row: &Value| index["kinds"][usize::try_from(row[4].as_u64().unwrap()).unwrap()].clone();
    assert_eq!(rows.iter().map(kind).collect::<Vec<_>>(), ["all wrong", "evaluation"]);
    let title = |row: &Value| {
        index["problems"][usize::try_from(row[3].as_u64().unwrap()).unwrap()][1].clone()
    };
    assert_eq!(rows.iter().map(title).collect::<Vec<_>>(), ["What is 6 · 7?", "What is 2 + 2?"]);
}

#[test]
fn an_audit_is_a_page_with_and_without_runs() {
    let audit =
        json!({"file": NASTY, "problems": 1, "references": null, "hints": null, "trial": null});
    let (page, _) = page(&mut [], Some(&audit), LIMIT).unwrap();
    assert_eq!(data(&page, "audit-data"), audit);
    assert!(!page.contains("<img"), "the text of a file is in the page");
    assert!(page.contains("<title>&lt;&#x2f;script&gt;"), "the title is the file's name");
    assert!(!page_of(&[], LIMIT).0.contains("id=\"audit-data\""));
}

#[test]
fn a_fall_in_accuracy_is_shown_by_groups_of_evaluations() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "hint", "run = { steps = 5 }");
    let step = |step: u64| {
        let avg = if step == 4 { 0.2 } else { 0.8 };
        let of_step = json!({"step": step, "eval/avg": avg, "eval/avg_low": avg - 0.1, "eval/avg_high": avg + 0.1});
        format!("{of_step}\n")
    };
    fs::write(dir.join("metrics.jsonl"), (0..=4).map(step).collect::<String>()).unwrap();
    fs::create_dir_all(dir.join("evaluations")).unwrap();
    for (step, verdict) in [(0, "correct"), (2, "correct"), (4, "incorrect")] {
        let role = json!({"role": "evaluated", "verdict": verdict, "advantage": null});
        let file = dir.join(format!("evaluations/step-{step:08}.parquet"));
        write_rollouts(&file, &[record(step, 0, 0, &role)]).unwrap();
    }
    // A group of training with the same place is another one.
    table(&dir, 4, &[record(4, 0, 0, &json!({}))]);
    let (page, written) = page_of(std::slice::from_ref(&dir), 1);
    assert_eq!((written.groups, written.total), (1, 4));
    let finding = data(&page, "overview")["runs"][0]["verdict"]["findings"][0].clone();
    assert_eq!(
        (&finding["condition"], &finding["steps"]),
        (&json!("WORSENING"), &json!("steps 0–4"))
    );
    let example = &finding["examples"][0];
    assert_eq!((&example["evaluated"], &example["step"]), (&json!(true), &json!(4)));
    assert_eq!(example["why"], "1 of 1 kept completions right at step 0, now 0 of 1");
    let log = crate::run_log::RunLog::read(&dir).unwrap();
    let verdict = super::run::Verdict::read(&dir, &log, &GrpoConfig::default()).unwrap();
    let lines = verdict.items(&dir).into_iter().flat_map(Item::lines).collect::<Vec<_>>();
    let command = lines.last().unwrap();
    assert!(command.starts_with("  hint-rl show /"), "{lines:?}");
    assert!(command.ends_with("/hint --evaluation --step 4 --group 0"), "{lines:?}");
}

#[test]
fn a_finding_between_two_files_of_the_table_is_shown_by_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "grpo", "run = { steps = 20 }");
    let step = |step: u64| format!("{}\n", json!({"step": step, "rollout/all_wrong_frac": 1.0}));
    fs::write(dir.join("metrics.jsonl"), (1..=20).map(step).collect::<String>()).unwrap();
    for step in [1, 11] {
        table(&dir, step, &[record(step, 0, 0, &json!({}))]);
    }
    let finding =
        data(&page_of(&[dir], LIMIT).0, "overview")["runs"][0]["verdict"]["findings"][0].clone();
    assert_eq!(finding["steps"], "steps 16–20");
    assert_eq!(finding["examples"][0]["step"], 11);
}

#[test]
fn a_hint_that_teaches_is_with_the_completion_that_it_teaches() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "sdft", "run = { steps = 5 }");
    let taught = json!({
        "teacher_hint": "Six sevens.", "teacher_prompt": [1, 2], "teacher_logprobs": [-0.25, -2.0],
        "ref_logprobs": [-0.5, -1.0], "hint_leaks": false,
    });
    let mut compared = taught.clone();
    compared["contrast_logprobs"] = json!([-1.25, -2.0]);
    compared["contrast_hint"] = json!("Another.");
    let records =
        [record(1, 0, 0, &taught), record(1, 0, 1, &compared), record(1, 0, 2, &json!({}))];
    table(&dir, 1, &records);
    let group = data(&page_of(&[dir], LIMIT).0, "shard-0")[0].clone();
    assert_eq!(group["hints"][0][0], "Six sevens.");
    let [taught, compared, plain] = [0, 1, 2].map(|at| group["completions"][at].clone());
    assert_eq!(
        (&taught["source"], &taught["hint"], &taught["taught"]),
        (&json!("plain"), &json!(0), &json!(true))
    );
    // Against the denominator, and against another hint.
    assert_eq!((&taught["deltas"], &compared["deltas"]), (&json!([25, -75]), &json!([100, 0])));
    assert_eq!((&taught["drifts"], &plain["drifts"]), (&json!([0, -500]), &Value::Null));
    assert_eq!((&plain["hint"], &plain["taught"]), (&Value::Null, &Value::Null));
}

#[test]
fn hints_that_took_no_part_do_not_rescue_a_group() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "hint", "run = { steps = 5 }");
    let in_vain = json!({
        "role": "discarded", "source": "hinted", "hint": "Six sevens.", "verdict": "correct",
        "advantage": null, "logprobs": null,
    });
    table(&dir, 1, &[record(1, 0, 0, &json!({})), record(1, 0, 1, &in_vain)]);
    let (page, _) = page_of(&[dir], LIMIT);
    let index = data(&page, "index");
    let kind = usize::try_from(index["rows"][0][4].as_u64().unwrap()).unwrap();
    assert_eq!(index["kinds"][kind], json!("all wrong with hint"));
    let counted = index["rows"][0][5].as_array().unwrap().iter().filter_map(Value::as_u64);
    assert_eq!(counted.sum::<u64>(), 1, "only what took part is counted");
}

#[test]
fn a_group_that_dynamic_sampling_left_out_is_of_its_own_kind() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "dapo", "run = { steps = 5 }");
    let wrong = json!({"role": "left_out", "advantage": null, "logprobs": null});
    let right = json!({"role": "left_out", "advantage": null, "verdict": "correct", "reward": 1.0});
    let records = [&wrong, &wrong, &right, &right];
    let records = (0..)
        .zip(records)
        .map(|(at, changes)| record(1, at / 2, at % 2, changes))
        .collect::<Vec<_>>();
    table(&dir, 1, &records);
    let index = data(&page_of(&[dir], LIMIT).0, "index");
    let kind = |row: usize| {
        let kind = usize::try_from(index["rows"][row][4].as_u64().unwrap()).unwrap();
        (index["kinds"][kind].clone(), index["rows"][row][8].clone())
    };
    assert_eq!(kind(0), (json!("all wrong"), json!(0.0)));
    assert_eq!(kind(1), (json!("all correct"), json!(1.0)));
}

#[test]
fn a_group_has_everything_that_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "hint", "run = { steps = 5 }");
    let hinted = json!({
        "source": "hinted", "hint": "Six sevens.", "sampled_prompt": [1, 2], "verdict": "correct",
        "reward": 1.0, "advantage": 0.5, "text": "\\boxed{42}", "extracted": "42",
        "affinity": {"eur": 1.0, "uc": 0.0, "value": 1.0}, "affinity_eur": 1.0,
    });
    table(
        &dir,
        1,
        &[
            record(1, 0, 0, &hinted),
            record(1, 0, 1, &json!({"role": "replaced", "advantage": null, "logprobs": null})),
            record(1, 1, 0, &json!({"verdict": "correct"})),
        ],
    );
    let (page, written) = page_of(&[dir], LIMIT);
    assert_eq!((written.groups, written.total, written.ended), (2, 2, false));
    let (index, groups) = (data(&page, "index"), data(&page, "shard-0"));
    let number = |row: usize, field: usize| {
        usize::try_from(index["rows"][row][field].as_u64().unwrap()).unwrap()
    };
    let kinds = |row: usize| index["kinds"][number(row, 4)].clone();
    assert_eq!((kinds(0), kinds(1)), (json!("rescued by hint"), json!("all correct")));
    assert_eq!(index["rows"][0][5], json!([1, 1, 0, 0, 0, 0, 0]));
    let group = &groups[number(0, 10)];
    let [hinted, plain] = [&group["completions"][0], &group["completions"][1]];
    assert_eq!(group["hints"][0][0], "Six sevens.");
    assert_eq!((&hinted["verdict"], &hinted["extracted"]), (&json!("correct"), &json!("42")));
    assert_eq!((&hinted["text"], &hinted["rule"]), (&json!("\\boxed{42}"), &json!("phrase")));
    assert_eq!(hinted["logprobs"], json!([-50, -125]));
    // log π_θ − log π_old, and the sampler's minus the policy's on the plain prompt.
    assert_eq!(hinted["ratios"], json!([0, -250]));
    assert_eq!(hinted["deltas"], json!([0, 25]));
    assert_eq!((&plain["deltas"], &plain["ratios"]), (&Value::Null, &Value::Null));
    let why = data(&page, "overview")["runs"][0]["uncolored"].clone();
    assert_eq!(why, "the run has no checkpoint yet");
}

#[test]
fn an_interval_is_shown_where_the_table_has_the_whole_step() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "hint", "run = { steps = 5 }");
    // Plain completions of step 1: one of four is correct, as the metric says; rewards are another matter.
    let correct = json!({"verdict": "correct"});
    let wrong = json!({});
    table(
        &dir,
        1,
        &[
            record(1, 0, 0, &correct),
            record(1, 0, 1, &wrong),
            record(1, 1, 0, &wrong),
            record(1, 1, 1, &wrong),
        ],
    );
    let overview = data(&page_of(&[dir], LIMIT).0, "overview");
    // Means 1/2 and 0 of two groups: standard error 1/4, so 0.25 ± 0.49.
    assert_eq!(column(&overview, 0, "report/pass_rate_low"), &json!([null, 0.0, null]));
    let high = column(&overview, 0, "report/pass_rate_high")[1].as_f64().unwrap();
    assert!((high - 0.74).abs() < 1e-12, "{high}");
    assert_eq!(column(&overview, 0, "report/reward_low"), &Value::Null);
}

#[test]
fn no_text_is_markup() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "<img src=x onerror=alert(1)>", "run = { steps = 5 }");
    let texts = json!({"question": NASTY, "reference": NASTY, "text": NASTY, "extracted": NASTY,
        "reason": NASTY, "hint": NASTY, "problem": NASTY, "reward_parts": {NASTY: 1.0, "b": 0.0}});
    table(&dir, 1, &[record(1, 0, 0, &texts)]);
    let (page, _) = page_of(&[dir], LIMIT);
    assert!(!page.contains("<img"), "the text of a run is in the page");
    assert!(page.contains("&lt;img src=x"), "the title is missing");
    assert_eq!(page.matches("</script>").count(), 3 + 1, "three blocks and the script");
    assert_eq!(data(&page, "shard-0")[0]["completions"][0]["text"], NASTY);
    // The page sets no markup from texts, and neither part ends its element early.
    for way in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "</script",
        "<!--",
    ] {
        assert!(!SCRIPT.contains(way), "the script has `{way}`");
    }
    assert!(!STYLE.contains("</"));
    for address in SCRIPT.split("http").skip(1).chain(STYLE.split("http").skip(1)) {
        assert!(address.starts_with("://www.w3.org/2000/svg"), "an address: http{address:.40}");
    }
}

#[test]
fn a_page_keeps_its_size_and_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "hint", "run = { steps = 40 }");
    // Numbers that do not compress: a congruential generator.
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_digit(state >> 28, 16).unwrap()
    };
    for step in 1..=40 {
        let mut records = Vec::new();
        for group in 0..12 {
            let verdict = if group == 7 { "timeout" } else { "incorrect" };
            let text = (0..2400).map(|_| next()).collect::<String>();
            records.push(record(step, group, 0, &json!({"text": text, "verdict": verdict})));
        }
        table(&dir, step, &records);
    }
    let limit = 700 << 10;
    let (page, written) = page_of(std::slice::from_ref(&dir), limit);
    assert!(page.len() <= limit, "{} bytes of {limit}", page.len());
    assert!(page.len() > limit * 8 / 10, "{} bytes of {limit}", page.len());
    assert_eq!((written.bytes, written.total), (page.len(), 480));
    let index = data(&page, "index");
    let rows = index["rows"].as_array().unwrap();
    assert_eq!(rows.len(), written.groups);
    // Every step has its share; the one at which the first shard corrects the estimate may have more.
    let per_step = (1..=40).map(|step| rows.iter().filter(|row| row[1] == step).count());
    let per_step = per_step.collect::<Vec<_>>();
    let mean = written.groups / 40;
    let is_fair = |count: &usize| (mean - 1..=2 * mean).contains(count);
    assert!(per_step.iter().all(is_fair), "{per_step:?}");
    // The group that could not be judged is in all of them.
    for step in 1..=40 {
        assert!(rows.iter().any(|row| row[1] == step && row[2] == 7), "step {step}");
    }
    let words = written.in_words();
    assert!(words.contains(&format!("{} of 480 groups", written.groups)), "{words}");
    assert_eq!(page_of(&[dir], 64 << 20).1.groups, 480);
}

#[test]
fn folders_that_are_no_runs_are_refused_and_young_runs_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let dir = run(folder.path(), "hint", "run = { steps = 5 }");
    let file = folder.path().join("report.html");
    fs::write(dir.join("metrics.jsonl"), "").unwrap();
    fs::write(dir.join("timings.jsonl"), "").unwrap();
    let written = write(std::slice::from_ref(&dir), None, &file, LIMIT).unwrap();
    assert!(written.in_words().contains("no rollout table"), "{}", written.in_words());
    assert_eq!(
        data(&fs::read_to_string(&file).unwrap(), "overview")["runs"][0]["steps"],
        json!([])
    );

    let refused = |expected: &str| {
        let error =
            format!("{:#}", write(std::slice::from_ref(&dir), None, &file, LIMIT).unwrap_err());
        assert!(error.contains(expected), "{error}");
    };
    fs::write(dir.join("rollouts/step-00000001.parquet"), "not a table").unwrap();
    refused("step-00000001.parquet");
    fs::write(dir.join("config.toml"), "no = 1").unwrap();
    refused("config.toml");
    fs::write(dir.join("metrics.jsonl"), "{}\nno\n").unwrap();
    refused("line 2 is not JSON");
    let error = write(&[dir], None, &folder.path().join("none/report.html"), LIMIT);
    assert!(error.is_err(), "a folder that is not there");
}
