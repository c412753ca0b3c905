//! Comparison of a checkpoint's configuration with that of a resumed run.

use hint_rollout::data::DataConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{GrpoConfig, Sharding};

/// Keys that a resumed run may change if it declares them: each with all keys below it.
pub const CHANGEABLE: [&str; 29] = [
    "run.steps",
    "run.schedule_steps",
    "run.max_tokens_per_micro_batch",
    "run.ahead",
    "run.virtual_workers",
    "run.shard",
    "run.max_staleness",
    "run.stale_groups",
    "run.full_entropy",
    "run.tensorboard",
    "run.checkpoint_every",
    "run.keep_checkpoints",
    "run.undo_mib",
    "rollout.sampling.max_completion_len",
    "rollout.max_prompt_len",
    "rollout.too_long",
    "rollout.scoring",
    "rollout.verdicts",
    "rollout.source",
    "rollout.allow_no_hints",
    "loss.importance_correction",
    "optimizer.learning_rate",
    "optimizer.schedule",
    "optimizer.max_grad_norm",
    "optimizer.guard",
    "evaluation",
    "rollout_table",
    "data.memory_mib",
    "data.spill_dir",
];

/// Whether a resumed run may change the configuration's `key`.
pub fn is_changeable(key: &str) -> bool {
    let key = key.strip_prefix("grpo.").unwrap_or(key);
    CHANGEABLE.iter().any(|known| is_below(key, known))
}

/// Something that a resumed run does in another way than before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Steps that were finished.
    pub step: u64,
    /// A key of the configuration, or the name of something else that the run depends on.
    pub key: String,
    /// The old value; null for nothing.
    pub before: Value,
    /// The new value.
    pub after: Value,
}

/// Whether `key` is `table` or a key in it.
pub(crate) fn is_below(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The keys in which two configurations differ, with both values. Some keys change no number. They say how often
/// checkpoints are written, whether TensorBoard gets a file, where problems are kept, or what processes hold. More steps
/// change none either, unless schedules depend on their number, or batches are sampled ahead: none is beyond the end.
pub(crate) fn differences(saved: &GrpoConfig, current: &GrpoConfig) -> Vec<(String, Value, Value)> {
    let (mut before, mut after) = (comparable(saved), comparable(current));
    // A number of steps that counts in one of them counts in both.
    if before["run"]["steps"].is_null() != after["run"]["steps"].is_null() {
        before["run"]["steps"] = saved.run.steps.into();
        after["run"]["steps"] = current.run.steps.into();
    }
    let mut found = Vec::new();
    compare("", &before, &after, &mut found);
    found
}

fn comparable(config: &GrpoConfig) -> Value {
    let mut config = config.clone();
    config.run.checkpoint_every = 0;
    config.run.keep_checkpoints = 1;
    config.run.tensorboard = true;
    config.run.undo_mib = 0;
    config.run.shard = Sharding::default();
    config.evaluation.problems_per_call = 1;
    let DataConfig { memory_mib, spill_dir, .. } = DataConfig::default();
    (config.data.memory_mib, config.data.spill_dir) = (memory_mib, spill_dir);
    let mut value = serde_json::json!(config);
    let is_free = config.run.schedule_steps.is_some() || !depends_on_steps(&value);
    if is_free && !config.run.samples_ahead() {
        value["run"]["steps"] = Value::Null;
    }
    // Left out while it is empty, but compared part by part.
    if let Some(keys) = value.as_object_mut() {
        keys.entry("custom_parts").or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    value
}

/// The name that the configuration has for an axis, where a user's own part may stand.
pub(crate) fn configured_part(config: &GrpoConfig, axis: &str) -> String {
    let place = match axis {
        "advantage" => "/advantage",
        "optimizer" => "/optimizer/algorithm",
        "objective" => "/loss/objective",
        "hinted_weight" => "/loss/hinted_weight",
        "credit" => "/loss/credit/form",
        "rubric" => "/verifier/equality",
        "source" => "/rollout/source",
        "trigger" => "/rollout/trigger",
        "level" => "/rollout/level",
        "combine" => "/rollout/combine",
        _ => return "built-in one".to_owned(),
    };
    let name = |part: &Value| part.get("type").and_then(Value::as_str).unwrap_or("none").to_owned();
    match serde_json::json!(config).pointer(place) {
        Some(Value::Array(parts)) if !parts.is_empty() => {
            parts.iter().map(name).collect::<Vec<_>>().join(", ")
        }
        Some(part) => name(part),
        None => "none".to_owned(),
    }
}

/// Whether any value is a function of the share of the run that is done.
fn depends_on_steps(config: &Value) -> bool {
    fn has_fraction(value: &Value) -> bool {
        match value {
            Value::Object(keys) => {
                keys.get("type").is_some_and(|name| name == "fraction")
                    || keys.values().any(has_fraction)
            }
            Value::Array(items) => items.iter().any(has_fraction),
            _ => false,
        }
    }
    config["optimizer"]["schedule"]["decay"]["type"] != "constant" || has_fraction(config)
}

fn compare(path: &str, saved: &Value, current: &Value, found: &mut Vec<(String, Value, Value)>) {
    if let (Some(left), Some(right)) = (saved.as_object(), current.as_object()) {
        let keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let of = |side: &serde_json::Map<String, Value>| side.get(key).cloned();
            let (left, right) = (of(left).unwrap_or_default(), of(right).unwrap_or_default());
            compare(&path, &left, &right, found);
        }
    } else if saved != current {
        found.push((path.to_owned(), saved.clone(), current.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(saved: &str, current: &str) -> Vec<String> {
        let config = |text| GrpoConfig::from_toml(text).expect("a valid configuration");
        let found = differences(&config(saved), &config(current));
        found.into_iter().map(|(key, ..)| key).collect()
    }

    #[test]
    fn steps_matter_where_schedules_are_in_shares_of_the_run() {
        let steps = |count: u64, more: &str| format!("run.steps = {count}\n{more}");
        let differ = |more: &str| keys(&steps(5, more), &steps(9, more));
        assert_eq!(differ(""), [""; 0]);
        let cosine = "optimizer.schedule.decay = { type = \"cosine\", final_frac = 0.1 }";
        assert_eq!(differ(cosine), ["run.steps"]);
        let late = "rollout.trigger = { type = \"not_before\", start = { type = \"fraction\", fraction = 0.5 } }";
        assert_eq!(differ(late), ["run.steps"]);
        let by_step =
            "rollout.trigger = { type = \"not_before\", start = { type = \"step\", step = 5 } }";
        assert_eq!(differ(by_step), [""; 0]);
        assert_eq!(differ(&format!("run.schedule_steps = 5\n{late}")), [""; 0]);
        // To state it afterwards is a change.
        let stated = format!("run.schedule_steps = 5\nrun.steps = 9\n{cosine}");
        assert_eq!(keys(&steps(5, cosine), &stated), ["run.schedule_steps", "run.steps"]);
    }

    #[test]
    fn learning_rates_limits_and_servers_may_change() {
        for key in [
            "optimizer.learning_rate",
            "grpo.run.steps",
            "rollout.source.endpoint",
            "evaluation.every",
            "run.checkpoint_every",
            "run.keep_checkpoints",
        ] {
            assert!(is_changeable(key), "{key}");
        }
        for key in ["run.seed", "run.stepsize", "optimizer.algorithm.type", "rollout.group_size"] {
            assert!(!is_changeable(key), "{key}");
        }
    }
}
