//! Comparison of a command line with the run that it continues by itself.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::settings::Settings;

/// Refuses options that the run in the folder does not have: they would be ignored. Device and threads may change,
/// and servers if some are given (`has_servers`). The default of `--compute` depends on the device, so only one
/// that is given (`has_compute`) counts.
///
/// # Errors
///
/// Every difference with both values, and what to do.
pub(super) fn check(
    run: &Settings,
    given: &Settings,
    (has_compute, has_servers): (bool, bool),
) -> Result<()> {
    let mut differences = Vec::new();
    let side = |settings: &Settings| {
        let methods = settings.methods.iter().map(|method| method.name.clone());
        json!({
            "methods": methods.collect::<Vec<_>>().join(", "),
            "model": settings.model,
            "problems": settings.problems,
            "compute": has_compute.then_some(settings.compute),
            "lora": settings.lora,
            "gradient_checkpointing": settings.gradient_checkpointing,
            "max_batch": settings.max_batch,
            "vllm": (!has_servers).then_some(&settings.vllm),
            "config": settings.config,
        })
    };
    compare("", &side(run), &side(given), &mut differences);
    // What the run itself changed on its way differs from its start.
    let is_changed = |(path, _): &(String, String)| {
        run.changes.iter().any(|key| path.strip_prefix(key.as_str()).is_some_and(is_end_of_key))
    };
    differences.retain(|difference| !is_changed(difference));
    let differences = differences.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    let out = run.out.display();
    ensure!(
        differences.is_empty(),
        "`{out}` holds a run with other options: {}; continue it with `--resume {out}`, where `--change` and `--steps` \
         change some of them, or choose another `--out`",
        differences.join("; ")
    );
    Ok(())
}

fn is_end_of_key(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.')
}

fn compare(path: &str, run: &Value, given: &Value, differences: &mut Vec<(String, String)>) {
    match (run, given) {
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
            for key in keys {
                let path = match path {
                    "" | "config" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                let of = |side: &serde_json::Map<String, Value>| side.get(key).cloned();
                let (left, right) = (of(left).unwrap_or_default(), of(right).unwrap_or_default());
                compare(&path, &left, &right, differences);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (at, (left, right)) in left.iter().zip(right).enumerate() {
                compare(&format!("{path}.{at}"), left, right, differences);
            }
        }
        _ if is_same(path, run, given) => {}
        _ => {
            let text = format!("`{path}` is {run} in the run, {given} here");
            differences.push((path.to_owned(), text));
        }
    }
}

/// Whether both values mean the same. A run names the commit of a Hub repository and the newest checkpoint of another
/// run. A data file that it pins keeps its former name.
fn is_same(path: &str, run: &Value, given: &Value) -> bool {
    let is_pinned = match (run, given) {
        (Value::String(run), Value::String(given)) => {
            // Of another run, the newest checkpoint of then and of now.
            let of_run =
                |text: &str| text.rsplit_once("/checkpoints/step-").map(|(run, _)| run.to_owned());
            let is_run = path == "model" && of_run(run).is_some() && of_run(run) == of_run(given);
            is_run
                || run.strip_prefix(given.as_str()).is_some_and(|rest| rest.starts_with(['@', '/']))
        }
        (Value::String(_), Value::Null) => {
            path == "model.base"
                || path.starts_with("data.files.") && path.rsplit('.').next() == Some("name")
        }
        _ => false,
    };
    is_pinned || run == given
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use super::*;

    fn settings(args: &[&str]) -> Settings {
        let args = std::iter::once("hint_grpo").chain(args.iter().copied());
        Options::parse(args).and_then(Options::resolve).expect("the options fit together")
    }

    #[track_caller]
    fn check(run: &[&str], given: &[&str], expected: Option<&str>) {
        let found = super::check(&settings(run), &settings(given), (false, false));
        match (found, expected) {
            (Ok(()), None) => {}
            (Err(error), Some(expected)) => {
                let error = error.to_string();
                assert!(error.contains(expected), "{error}");
            }
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn options_that_would_be_ignored_are_refused_with_both_values() {
        let rate = |value| ["--set", value];
        let (run, edited) =
            (rate("optimizer.learning_rate=1e-6"), rate("optimizer.learning_rate=1e-5"));
        let expected = "`optimizer.learning_rate` is 1e-6 in the run, 0.00001 here";
        check(&run, &edited, Some(expected));
        check(&run, &run, None);
        check(&run, &["--set", "optimizer.learning_rate=1e-6", "--threads", "2"], None);
        check(&[], &["--steps", "7"], Some("`run.steps` is "));
        check(&[], &["--lora"], Some("`lora` is null in the run, {"));
        check(&[], &["--method", "hint"], Some("`methods` is \"grpo, hint\" in the run"));
        check(&["--problems", "a.jsonl"], &["--problems", "b.jsonl"], Some("`problems` is "));
        check(&[], &["--vllm", "http://localhost:1"], Some("`vllm` is [] in the run"));
    }

    #[test]
    fn what_the_run_changed_on_its_way_is_not_compared() {
        let mut run = settings(&["--steps", "200"]);
        check(&["--steps", "200"], &["--steps", "100"], Some("`run.steps` is 200"));
        run.may_change("run.steps");
        super::check(&run, &settings(&["--steps", "100"]), (false, false))
            .expect("as at the start");
    }

    #[test]
    fn names_that_a_run_pins_are_the_same() {
        let same = |run: &str, given: &str| is_same("model", &json!(run), &json!(given));
        assert!(same("org/name@0123", "org/name"));
        assert!(same("runs/a/hint/checkpoints/step-00000002", "runs/a"));
        assert!(!same("runs/ab", "runs/a"));
        let newest = |step: u64| format!("runs/a/hint/checkpoints/step-{step:08}");
        assert!(same(&newest(2), &newest(4)));
        assert!(is_same("model.base", &json!("org/base@0123"), &Value::Null));
        assert!(is_same("data.files.0.name", &json!("a"), &Value::Null));
        assert!(!is_same("lora", &json!("a"), &Value::Null));
    }
}
