//! Tests of the reproduction: every arm on every scale, and a run that is stopped, continued and reported.

use clap::FromArgMatches as _;

use super::arms::ARMS;
use super::*;
use crate::presets;

fn options(args: &[&str]) -> Options {
    let command = Options::augment_args(clap::Command::new("reproduce"));
    let args = std::iter::once("reproduce").chain(args.iter().copied());
    Options::from_arg_matches(&command.try_get_matches_from(args).unwrap()).unwrap()
}

#[test]
fn every_arm_is_a_valid_configuration_and_no_two_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let data = Data::prepare(Scale::Tiny, folder.path(), [None; 3]).unwrap();
    let options = options(&[]);
    let arms = chosen(&[]).unwrap();
    let mut seen = Vec::new();
    for arm in &arms {
        let Task { settings, .. } =
            task(&options, (DeviceChoice::Cpu, Compute::F32), folder.path(), &data, arm, 3)
                .unwrap();
        let method = &settings.methods[0];
        let config = settings.config(method);
        assert_eq!((config.run.seed, config.run.num_minibatches), (3, 2), "{}", arm.name);
        let same = seen
            .iter()
            .find(|(supervised, other)| *supervised == method.is_supervised() && *other == config);
        assert!(same.is_none(), "{} is another arm", arm.name);
        seen.push((method.is_supervised(), config));
    }
    let missing = ARMS.iter().filter(|arm| !arm.is_available()).map(|arm| arm.name);
    assert!(missing.into_iter().all(|name| presets::text(name).is_err()));
    assert_eq!(
        ARMS.iter().map(|arm| arm.name).collect::<std::collections::HashSet<_>>().len(),
        ARMS.len()
    );
}

#[test]
fn an_arm_is_chosen_by_its_name_and_the_first_stays_first() {
    let names = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        chosen(&names).map(|arms| arms.iter().map(|arm| arm.name).collect::<Vec<_>>())
    };
    assert_eq!(names(&["hint", "grpo"]).unwrap(), ["grpo", "hint"]);
    let error = names(&["hnit"]).unwrap_err().to_string();
    assert!(error.contains("no arm `hnit`") && error.contains("hint_placebo"), "{error}");
}

#[test]
fn the_published_setting_is_that_of_the_paper_and_takes_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("problems.jsonl");
    std::fs::write(&file, r#"{"id": "a", "question": "1 + 1?", "answer": "2", "level": 1}"#)
        .unwrap();
    let data = |scale, files| Data::prepare(scale, &folder.path().join("out"), files);
    let error = data(Scale::Paper, [None; 3]).unwrap_err().to_string();
    assert!(error.contains("--problems"), "{error}");
    let data = data(Scale::Paper, [Some(&file), Some(&file), Some(&file)]).unwrap();
    let config = data.config(Scale::Paper, &[], 42).unwrap();
    let default = GrpoConfig::default();
    assert_eq!(config.optimizer.learning_rate, default.optimizer.learning_rate);
    assert_eq!(config.rollout.sampling, default.rollout.sampling);
    let groups = config.run.prompts_per_step / config.run.num_minibatches;
    assert_eq!((groups, config.rollout.group_size), (64, 8));
    let held_out = read_problems(&data.held_out).unwrap();
    assert_eq!(
        held_out.iter().map(|problem| problem.id.as_str()).collect::<Vec<_>>(),
        ["in/a", "out/a"]
    );
    let slices = Slices::of(&held_out, &[]);
    assert_eq!(
        slices
            .select(
                &("out".to_owned(), Some("1".to_owned())),
                &[("in/a".to_owned(), 0.25), ("out/a".to_owned(), 0.5)].into()
            )
            .unwrap(),
        [0.5]
    );
}

#[test]
fn other_problems_than_those_of_earlier_runs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    Data::prepare(Scale::Tiny, folder.path(), [None; 3]).unwrap();
    Data::prepare(Scale::Tiny, folder.path(), [None; 3]).unwrap();
    let held_out = folder.path().join("held_out.jsonl");
    let text = std::fs::read_to_string(&held_out).unwrap();
    std::fs::write(&held_out, text.lines().next().unwrap()).unwrap();
    let error = Data::prepare(Scale::Tiny, folder.path(), [None; 3]).unwrap_err().to_string();
    assert!(error.contains("choose another --out"), "{error}");
}

#[test]
fn settings_of_the_method_and_other_settings_than_before_are_refused() {
    for (entry, holds) in [
        ("run.steps=3", true),
        ("rollout.sampling.temperature=1", true),
        ("rollout.group_size=4", false),
        ("loss.kl.coef=1", false),
        ("advantage.type='reinforce'", false),
    ] {
        assert_eq!(scale::is_of_all_arms(entry).is_ok(), holds, "{entry}");
    }
    let folder = tempfile::tempdir().unwrap();
    let data = Data::prepare(Scale::Tiny, folder.path(), [None; 3]).unwrap();
    let keep = |args: &[&str], model: &str, arm: &str| {
        let arms = chosen(&[arm.to_owned()]).unwrap();
        let place = (DeviceChoice::Cpu, Compute::F32);
        let task = task(&options(args), place, folder.path(), &data, arms[0], 0).unwrap();
        manifest::keep(&folder.path().join("manifest.json"), &data.train, model, &[task])
    };
    keep(&[], "tiny-tasks", "grpo").unwrap();
    keep(&[], "tiny-tasks", "hint").unwrap();
    keep(&[], "tiny-tasks", "grpo").unwrap();
    let error = keep(&["--set", "run.steps=3"], "tiny-tasks", "grpo").unwrap_err().to_string();
    assert!(error.contains("other settings of grpo"), "{error}");
    assert!(keep(&[], "smollm2", "hint").unwrap_err().to_string().contains("tiny-tasks"));
}

/// Between 10 and 30 tokens, accuracy goes from 0 to 1.
#[test]
fn equal_tokens_are_read_between_two_evaluations() {
    let point = |step, tokens, value| results::Point {
        step,
        tokens,
        outcomes: [("a".to_owned(), value)].into(),
    };
    let run = |name: &str| RunResult {
        arm: chosen(&[name.to_owned()]).unwrap()[0],
        seed: 0,
        points: vec![point(0, 0, 0.0), point(1, 10, 0.0), point(2, 30, 1.0)],
        curves: std::collections::BTreeMap::new(),
        seconds: 0.0,
    };
    let at = |budget| run("grpo").at_tokens(budget).map(|point| point.outcomes["a"]);
    assert_eq!(
        [at(5), at(10), at(15), at(30), at(31)],
        [Some(0.0), Some(0.0), Some(0.25), Some(1.0), None]
    );
    assert!(run("sft").at_tokens(15).is_none());
}
