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

    use super::*;

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
