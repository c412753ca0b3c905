//! The presets of methods, by name: the files of `examples/configs`, except the tasks.

use anyhow::{Result, bail};
use hint_grpo::GrpoConfig;
use hint_grpo::objective::Aggregation;
use hint_rollout::CollectorConfig;
use hint_rollout::collect::curriculum::ProblemSelection;

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../presets/", $name, ".toml")))),+]
    };
}

/// Each preset of a method: its name and its text.
pub(crate) const PRESETS: &[(&str, &str)] = presets![
    "adaprefix",
    "agent_g2",
    "answer_hint",
    "beacon",
    "bread",
    "cataopd",
    "dapo",
    "grpo",
    "guide_grpo",
    "hdpo",
    "hint",
    "hint_v1_affinity",
    "lte",
    "luffy",
    "oc_grpo",
    "opsd",
    "relift",
    "rlcsd",
    "rlsd",
    "sage",
    "scaf_grpo",
    "sdft",
    "sdpo",
    "sft_then_grpo",
    "srpo",
    "uft",
];

/// The text of the preset of a method.
///
/// # Errors
///
/// An unknown name.
pub(crate) fn text(name: &str) -> Result<&'static str> {
    match PRESETS.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Ok(text),
        None => bail!("there is no preset `{name}`; presets are {}", names().join(", ")),
    }
}

/// The names of the presets.
pub(crate) fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// The method of a preset on another task: its advantage, its loss, and which groups get which hints. Model, data,
/// optimizer, steps and sampling come from the task.
pub(crate) fn on_task(preset: &GrpoConfig, task: &GrpoConfig) -> GrpoConfig {
    let CollectorConfig {
        sampling, selection, verdicts, scoring, too_long, max_prompt_len, ..
    } = task.rollout.clone();
    let selection = match selection {
        ProblemSelection::Epochs => preset.rollout.selection.clone(),
        chosen => chosen,
    };
    let mut loss = preset.loss.clone();
    // A fixed length is the limit of completions.
    if let Aggregation::Constant { max_completion_len } = &mut loss.aggregation
        && *max_completion_len == preset.rollout.sampling.max_completion_len
    {
        *max_completion_len = sampling.max_completion_len;
    }
    GrpoConfig {
        advantage: preset.advantage,
        loss,
        rollout: CollectorConfig {
            sampling,
            selection,
            verdicts,
            scoring,
            too_long,
            max_prompt_len,
            ..preset.rollout.clone()
        },
        ..task.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hint_grpo::metrics;
    use hint_grpo::verdict::{Condition, History, RunVerdict};
    use hint_rollout::collect::hinted::Combine as _;
    use hint_rollout::hint::source::HintSourceConfig;

    use super::*;

    /// The presets whose verdict is `condition` after ten steps with these metrics. A teacher teaches every group, and
    /// solutions that are shown have the answer.
    fn with(condition: Condition, values: &[(&str, f64)]) -> Vec<&'static str> {
        let verdict = |config: &GrpoConfig| {
            let taught = f64::from(config.rollout.combine.teaching().is_some());
            let source = &config.rollout.source;
            let shown = f64::from(matches!(source, HintSourceConfig::SolutionPrefix { .. }));
            let own = [
                (metrics::HINT_TAUGHT_FRAC, taught),
                (metrics::HINT_HINTED_FRAC, 0.3 * (1.0 - taught)),
                (metrics::HINT_LEAKING_ANSWER_FRAC, shown),
            ];
            let mut history = History::new();
            for step in 1..=10 {
                history.record_with(step, |name| {
                    let mut values = own.iter().chain(values);
                    values.find(|(known, _)| *known == name).map(|(_, value)| *value)
                });
            }
            RunVerdict::of(&history, config).condition()
        };
        let has = |text: &str| verdict(&GrpoConfig::from_toml(text).unwrap()) == Some(condition);
        PRESETS.iter().filter(|(_, text)| has(text)).map(|(name, _)| *name).collect()
    }

    #[test]
    fn no_preset_that_teaches_leaks_by_design() {
        let values = [
            (metrics::ROLLOUT_ALL_WRONG_FRAC, 0.3),
            (metrics::ROLLOUT_ALL_RIGHT_FRAC, 0.2),
            (metrics::ROLLOUT_PASS_RATE, 0.4),
            (metrics::FRAC_REWARD_ZERO_STD, 0.5),
        ];
        // Completions of these continue a solution, or are sampled with one in the prompt.
        let leaking =
            ["adaprefix", "agent_g2", "answer_hint", "bread", "cataopd", "oc_grpo", "uft"];
        assert_eq!(with(Condition::Leaking, &values), leaking);
        let healthy = names().into_iter().filter(|name| !leaking.contains(name));
        assert_eq!(with(Condition::Healthy, &values), healthy.collect::<Vec<_>>());
    }

    #[test]
    fn presets_that_credit_tokens_by_a_hint_do_not_starve_where_all_are_wrong() {
        let values = [
            (metrics::ROLLOUT_ALL_WRONG_FRAC, 0.95),
            (metrics::ROLLOUT_ALL_RIGHT_FRAC, 0.0),
            (metrics::ROLLOUT_NO_SIGNAL_FRAC, 0.95),
            (metrics::ROLLOUT_PASS_RATE, 0.01),
            (metrics::FRAC_REWARD_ZERO_STD, 0.95),
        ];
        let healthy = ["hdpo", "opsd", "sdft", "srpo"];
        assert_eq!(with(Condition::Healthy, &values), healthy);
        let starved = with(Condition::Starved, &values);
        // SDPO shows successes, and these groups have none.
        for name in ["dapo", "grpo", "hint", "rlcsd", "rlsd", "sdpo"] {
            assert!(starved.contains(&name), "{name} is not in {starved:?}");
        }
    }

    #[test]
    fn every_file_is_a_method_or_a_task() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("presets");
        let files = std::fs::read_dir(folder).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let names = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
        let is_task = |name: &String| {
            ["tiny", "smollm2"].contains(&name.as_str()) || name.starts_with("reproduce_")
        };
        let mut names = names.filter(|name| !is_task(name)).collect::<Vec<_>>();
        names.sort();
        assert_eq!(names, super::names());
    }

    #[test]
    fn a_fixed_length_is_that_of_the_task() {
        let task = GrpoConfig::from_toml(include_str!("../presets/tiny.toml")).unwrap();
        let luffy = GrpoConfig::from_toml(text("luffy").unwrap()).unwrap();
        let config = on_task(&luffy, &task);
        assert_eq!(config.loss.aggregation, Aggregation::Constant { max_completion_len: 64 });
    }

    #[test]
    fn a_method_keeps_its_axes_and_takes_the_rest_from_the_task() {
        let task = GrpoConfig::from_toml(include_str!("../presets/tiny.toml")).unwrap();
        for (name, text) in PRESETS {
            let preset = GrpoConfig::from_toml(text).unwrap();
            let config = on_task(&preset, &task);
            assert_eq!(
                (&config.loss.ratio_scheme, &config.loss.hinted_weight, config.advantage),
                (&preset.loss.ratio_scheme, &preset.loss.hinted_weight, preset.advantage),
                "{name}"
            );
            assert_eq!(config.rollout.combine, preset.rollout.combine, "{name}");
            assert_eq!(config.rollout.sampling, task.rollout.sampling, "{name}");
            assert_eq!((config.run, &config.optimizer), (task.run, &task.optimizer), "{name}");
        }
    }
}
