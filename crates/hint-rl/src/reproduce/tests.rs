//! Tests of the reproduction: every arm on every scale, and what the report says of finished runs. The smoke runs of `xtask`
//! stop one, continue it and write its report.

use std::cell::Cell;

use clap::FromArgMatches as _;
use hint_grpo::run_dir::FolderLock;
use hint_rollout::CollectorConfig;
use hint_rollout::evaluate::Lengths;
use serde_json::Value;

use super::arms::ARMS;
use super::results::Part;
use super::schedule::give_up_optimizer;
use super::*;
use crate::presets;

fn options(args: &[&str]) -> Options {
    let command = Options::augment_args(clap::Command::new("reproduce"));
    let args = std::iter::once("reproduce").chain(args.iter().copied());
    Options::from_arg_matches(&command.try_get_matches_from(args).unwrap()).unwrap()
}

fn tiny_data(folder: &Path) -> Data {
    Data::prepare(Scale::Tiny, folder, Given::default()).unwrap()
}

fn arm_named(name: &str) -> &'static Arm {
    chosen(&[name.to_owned()]).unwrap()[0]
}

fn plan<'p>(options: &'p Options, out: &'p Path, data: &'p Data) -> Plan<'p> {
    Plan { options, device: DeviceChoice::Cpu, compute: Compute::F32, out, data }
}

#[test]
fn every_arm_is_a_valid_configuration_and_no_two_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let data = tiny_data(folder.path());
    let options = options(&[]);
    let arms = chosen(&[]).unwrap();
    let mut seen = Vec::new();
    for arm in &arms {
        let Task { settings, .. } = plan(&options, folder.path(), &data).task(arm, 3).unwrap();
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
    let error = data(Scale::Paper, Given::default()).unwrap_err().to_string();
    assert!(error.contains("--problems"), "{error}");
    let set = |text: &str| [HeldOutSet::parse(text).unwrap()];
    let (inside, outside) = (set(&file.to_string_lossy()), set(&file.to_string_lossy()));
    let given = Given { train: Some(&file), inside: &inside, outside: &outside };
    let data = data(Scale::Paper, given).unwrap();
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
                &("out".to_owned(), Some(Part::Level("1".to_owned()))),
                &[("in/a".to_owned(), 0.25), ("out/a".to_owned(), 0.5)].into()
            )
            .unwrap(),
        [0.5]
    );
}

#[test]
fn other_problems_than_those_of_earlier_runs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    tiny_data(folder.path());
    tiny_data(folder.path());
    let held_out = folder.path().join("held_out.jsonl");
    let text = std::fs::read_to_string(&held_out).unwrap();
    std::fs::write(&held_out, text.lines().next().unwrap()).unwrap();
    let error =
        Data::prepare(Scale::Tiny, folder.path(), Given::default()).unwrap_err().to_string();
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
    let data = tiny_data(folder.path());
    let keep = |args: &[&str], model: &str, arm: &str| {
        let options = options(args);
        let task = plan(&options, folder.path(), &data).task(arm_named(arm), 0).unwrap();
        let path = folder.path().join("manifest.json");
        let (compute, usual_compute) = (Compute::F32, Compute::F32);
        let common = Common { train: &data.train, model, compute, usual_compute };
        manifest::keep(&path, common, std::iter::once(&task), None)
    };
    keep(&[], "tiny-tasks", "grpo").unwrap();
    keep(&[], "tiny-tasks", "hint").unwrap();
    keep(&[], "tiny-tasks", "grpo").unwrap();
    let error = keep(&["--set", "run.steps=3"], "tiny-tasks", "grpo").unwrap_err().to_string();
    assert!(error.contains("other settings of grpo"), "{error}");
    assert!(keep(&[], "smollm2", "hint").unwrap_err().to_string().contains("tiny-tasks"));
    let error = keep(&["--warmup-steps", "5"], "tiny-tasks", "grpo").unwrap_err().to_string();
    assert!(error.contains("other settings of grpo"), "{error}");
}

#[test]
fn problems_that_a_kill_cut_off_are_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let partial =
        ["train", "held_out"].map(|name| folder.path().join(format!(".{name}.jsonl.tmp")));
    for file in &partial {
        std::fs::write(file, "{\"id\": \"chains").unwrap();
    }
    let data = tiny_data(folder.path());
    let counts = [&data.train, &data.held_out].map(|file| read_problems(file).unwrap().len());
    assert_eq!(counts, [4000, 250]);
    assert!(partial.iter().all(|file| !file.exists()));
    tiny_data(folder.path());
}

#[test]
fn a_folder_has_one_number_format_and_that_of_the_device_where_none_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let data = tiny_data(folder.path());
    let options = options(&["--compute", "bf16"]);
    assert_eq!(options.compute, Some(Compute::Bf16));
    let plan = plan(&options, folder.path(), &data);
    let task = plan.task(arm_named("grpo"), 0).unwrap();
    let path = folder.path().join(MANIFEST);
    let keep_of = |compute, usual_compute, session| {
        let common = Common { train: &data.train, model: "tiny-tasks", compute, usual_compute };
        manifest::keep(&path, common, std::iter::once(&task), session)
    };
    let keep = |compute, usual_compute| keep_of(compute, usual_compute, Some(Session::now()));
    assert_eq!(manifest::compute(&path).unwrap(), None);
    keep(Compute::F32, Compute::F32).unwrap();
    assert_eq!(manifest::compute(&path).unwrap(), Some(Compute::F32));
    let error = keep(Compute::Bf16, Compute::Bf16).unwrap_err().to_string();
    assert!(error.contains("of runs with --compute f32; give the same"), "{error}");
    // As earlier versions wrote it.
    let forget = || {
        let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        record.as_object_mut().unwrap().remove("compute").unwrap();
        std::fs::write(&path, record.to_string()).unwrap();
        assert_eq!(manifest::compute(&path).unwrap(), None);
    };
    forget();
    assert!(keep(Compute::Bf16, Compute::F32).is_err());
    keep(Compute::F32, Compute::F32).unwrap();
    assert_eq!(manifest::compute(&path).unwrap(), Some(Compute::F32));
    // A report is written elsewhere than where the runs were trained.
    keep_of(Compute::F32, Compute::F32, None).unwrap();
    assert_eq!(manifest::compute(&path).unwrap(), Some(Compute::F32));
    forget();
    keep_of(Compute::F32, Compute::F32, None).unwrap();
    assert_eq!(manifest::compute(&path).unwrap(), None);
}

#[test]
fn a_run_alone_has_all_cores_unless_its_model_is_tiny() {
    let folder = tempfile::tempdir().unwrap();
    let data = tiny_data(folder.path());
    let threads = |more: &[&str]| {
        let options = options(&[&["--warmup-steps", "2"][..], more].concat());
        let plan = plan(&options, folder.path(), &data);
        let arm = arm_named("grpo");
        let (warmup, run) = (plan.warmup().unwrap().unwrap(), plan.task(arm, 0).unwrap());
        (warmup.settings.threads, run.settings.threads)
    };
    assert_eq!(threads(&["--model", "smollm2"]), (None, Some(1)));
    assert_eq!(threads(&["--model", "smollm2", "--jobs", "1"]), (None, None));
    assert_eq!(threads(&["--jobs", "1"]), (Some(1), Some(1)));
}

#[test]
fn all_arms_start_from_one_warm_up() {
    let folder = tempfile::tempdir().unwrap();
    let data = tiny_data(folder.path());
    let options = options(&["--warmup-steps", "7", "--seeds", "4,5"]);
    let plan = plan(&options, folder.path(), &data);
    let warmup = plan.warmup().unwrap().unwrap();
    assert_eq!((warmup.steps, warmup.settings.config.run.seed), (7, 4));
    assert_eq!((warmup.settings.model.as_str(), plan.first_model()), ("tiny-tasks", "tiny-tasks"));
    assert!(warmup.settings.methods[0].is_supervised());
    for (arm, seed) in [("grpo", 4), ("hint", 5)] {
        let task = plan.task(arm_named(arm), seed).unwrap();
        assert_eq!(Path::new(&task.settings.model), warmup.dir);
        assert_eq!((task.steps, task.settings.threads), (100, Some(1)));
    }
}

#[test]
fn arms_of_one_seed_have_one_evaluation_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let data = tiny_data(folder.path());
    let starts = |set: &[&str], arm: &str, seeds: [u64; 2]| {
        let options = options(set);
        let plan = plan(&options, folder.path(), &data);
        let task = |arm: &str, seed| plan.task(arm_named(arm), seed).unwrap();
        task("grpo", seeds[0]).starts_as(&task(arm, seeds[1]))
    };
    let arms = chosen(&[]).unwrap();
    for arm in &arms {
        assert!(starts(&[], arm.name, [3, 3]), "{}", arm.name);
    }
    assert!(!starts(&[], "hint", [3, 4]));
    assert!(!starts(&["--set", "evaluation.kept_completions=1"], "hint", [3, 3]));
    assert!(!starts(&["--set", "run.ahead=1"], "hint", [3, 3]));
    assert!(!starts(&["--vllm", "http://127.0.0.1:1"], "hint", [3, 3]));
    // What the evaluation depends on, as the preset of an arm leaves it.
    let options = options(&[]);
    let plan = plan(&options, folder.path(), &data);
    let decides = |arm: &Arm| {
        let Task { settings, .. } = plan.task(arm, 3).unwrap();
        let config = settings.config(&settings.methods[0]);
        let GrpoConfig { data, model, prompt, verifier, rollout, evaluation, .. } = config;
        let CollectorConfig { sampling, verdicts, too_long, max_prompt_len, .. } = rollout;
        (data, model, prompt, verifier, sampling, verdicts, too_long, max_prompt_len, evaluation)
    };
    let of_first = decides(arms[0]);
    for arm in arms {
        assert!(decides(arm) == of_first, "{} has another evaluation", arm.name);
    }
}

#[test]
fn an_arm_takes_the_first_evaluation_of_another_with_its_seed() {
    let folder = tempfile::tempdir().unwrap();
    let data = tiny_data(folder.path());
    let options = options(&[]);
    let plan = plan(&options, folder.path(), &data);
    let task = |arm: &str, seed| plan.task(arm_named(arm), seed).unwrap();
    let all = [task("grpo", 3), task("hint", 3), task("hint", 4)];
    let [grpo, hint, of_another_seed] = &all;
    assert_eq!(hint.first_evaluation(&all), None, "there is none yet");
    let file = grpo.dir.join("evaluations/step-00000000.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let scores = json!({
        "problems": 0, "completions": 0, "avg": { "value": 0.5, "low": 0.5, "high": 0.5 },
        "pass_at": {}, "maj_at": {}, "lengths": Lengths::default(), "truncated_frac": 0.0, "verdicts": {},
    });
    let evaluation = json!({
        "completions_per_problem": 1, "sampling": {}, "seed": 3, "resamples": 1, "overall": scores, "by": {}, "problems": [],
    });
    std::fs::write(&file, evaluation.to_string()).unwrap();
    assert_eq!(hint.first_evaluation(&all).unwrap().accuracy(), 0.5);
    assert_eq!(of_another_seed.first_evaluation(&all), None);
    assert_eq!(grpo.first_evaluation(&all), None, "its own is no other one");
    // As a kill of an earlier version left it.
    std::fs::write(&file, "{").unwrap();
    assert_eq!(hint.first_evaluation(&all), None);
}

#[test]
fn a_run_that_another_process_has_open_keeps_its_optimizer_until_later() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("checkpoints")).unwrap();
    let lock = FolderLock::take(folder.path()).unwrap();
    give_up_optimizer(folder.path()).unwrap();
    drop(lock);
    // It is looked into now, and has no checkpoint.
    assert!(give_up_optimizer(folder.path()).is_err());
}

#[test]
fn sets_and_repeats_become_parts_and_means() {
    let problem = |id: &str, set: &str, level: &str| {
        let mut problem = hint_rollout::Problem::new(id, "?", "1");
        problem.level = Some(level.to_owned());
        problem.columns.insert("distribution".to_owned(), json!("in"));
        problem.columns.insert("set".to_owned(), json!(set));
        problem
    };
    let problems = [
        problem("in/z/a", "z", "2"),
        problem("in/b/a", "b", "1"),
        problem("in/b/a#repeat-2", "b", "1"),
    ];
    let slices = Slices::of(&problems, &[]);
    let names = slices.of_distribution("in").map(results::part_name).collect::<Vec<_>>();
    assert_eq!(
        names,
        ["all", "z", "b", "level 1", "level 2"],
        "sets are in the order of the options"
    );
    let outcomes = [("in/z/a".to_owned(), 1.0), ("in/b/a".to_owned(), 0.5)].into();
    let all = slices.select(slices.of_distribution("in").next().unwrap(), &outcomes).unwrap();
    assert_eq!(all, [1.0, 0.5], "a copy is no problem of its own");
}

/// A run whose accuracy on the one problem goes from 0 to 1 after ten tokens, until `last`.
fn result(name: &str, seed: u64, last: u64) -> RunResult {
    let point = |step, tokens, value| results::Point {
        step,
        tokens,
        outcomes: [("in/a".to_owned(), value)].into(),
    };
    RunResult {
        arm: arm_named(name),
        seed,
        points: vec![point(0, 0, 0.0), point(1, 10, 0.0), point(2, last, 1.0)],
        curves: BTreeMap::new(),
        seconds: 0.0,
    }
}

fn one_problem() -> Vec<hint_rollout::Problem> {
    let mut problem = hint_rollout::Problem::new("in/a", "?", "1").with_hint("Think.");
    problem.columns.insert("distribution".to_owned(), json!("in"));
    vec![problem]
}

#[test]
fn equal_tokens_are_read_between_two_evaluations() {
    let at = |tokens| result("grpo", 0, 30).at_tokens(tokens).map(|point| point.outcomes["in/a"]);
    assert_eq!(
        [at(5), at(10), at(15), at(30), at(31)],
        [Some(0.0), Some(0.0), Some(0.25), Some(1.0), None]
    );
    assert!(result("sft", 0, 30).at_tokens(15).is_none());
}

/// The fewest tokens of the pair are `teach`'s 20, although one run of `grpo` sampled 40.
#[test]
fn equal_tokens_are_the_most_that_every_run_of_a_pair_sampled() {
    let runs = [
        result("grpo", 0, 40),
        result("grpo", 1, 30),
        result("sft", 0, 40),
        result("teach", 0, 20),
        result("teach", 1, 30),
    ];
    let slices = Slices::of(&one_problem(), &runs);
    let report = |budget| Report { runs: &runs, slices: &slices, budget, prompts_per_step: 1 };
    let tokens = |one: &str, other: &str, budget| {
        let report = report(budget);
        report.equal_tokens(report.arm(one).unwrap(), report.arm(other).unwrap())
    };
    assert_eq!(tokens("teach", "grpo", None), Some(20));
    assert_eq!(tokens("grpo", "grpo", None), Some(30));
    assert_eq!(tokens("teach", "grpo", Some(15)), Some(15));
    assert_eq!(tokens("teach", "grpo", Some(25)), None, "one run did not sample so many");
    assert_eq!(tokens("sft", "grpo", None), None, "nothing is sampled");
    let tables = report(None).tables().unwrap();
    let c3 = tables.iter().find(|table| table.id == "C3").unwrap();
    let column = |name: &str| c3.header.iter().position(|head| head == name).unwrap();
    let row = c3.rows.iter().find(|row| row[0] == "teach").unwrap();
    assert_eq!(row[column("equal tokens")], "20");
    // At 20 tokens, one run is at its end and the other is half way from 0 to 1.
    assert!(row[column("accuracy there")].starts_with("0.750 ["), "{row:?}");
}

#[test]
fn controls_stand_beside_what_they_control() {
    let names = ["grpo", "hint", "hint_placebo", "teach", "teach_placebo", "teach_unrelated"];
    let runs = names.iter().map(|name| result(name, 0, 20)).collect::<Vec<_>>();
    let slices = Slices::of(&one_problem(), &runs);
    let report = Report { runs: &runs, slices: &slices, budget: None, prompts_per_step: 1 };
    let tables = report.tables().unwrap();
    let arms = |id: &str| {
        let table = tables.iter().find(|table| table.id == id).unwrap();
        table.rows.iter().skip(1).map(|row| row[0].as_str()).collect::<Vec<_>>()
    };
    assert_eq!(arms("C2"), names);
    assert_eq!(arms("T1"), ["grpo", "hint", "hint_placebo"]);
    assert_eq!(arms("C3"), names);
    assert!(
        tables.iter().all(|table| table.rows.iter().all(|row| row.len() == table.header.len()))
    );
}

/// `hint` solves what `grpo` does not, in every seed; `teach` is as good as `hint`.
#[test]
fn a_question_is_settled_by_the_test_over_seeds() {
    let with = |name: &str, seed: u64, value: f64| {
        let mut run = result(name, seed, 20);
        run.points[2].outcomes = [("in/a".to_owned(), value)].into();
        run
    };
    let runs = (0..3).map(|seed| with("grpo", seed, 0.1));
    let runs = runs.chain((0..3).map(|seed| with("hint", seed, 0.8 + 0.01 * seed as f64)));
    let runs = runs.chain((0..3).map(|seed| with("teach", seed, 0.82 - 0.01 * seed as f64)));
    let runs = runs.collect::<Vec<_>>();
    let slices = Slices::of(&one_problem(), &runs);
    let report = Report { runs: &runs, slices: &slices, budget: None, prompts_per_step: 1 };
    let tables = report.questions().unwrap();
    let answer = |question: &str| {
        let row = tables[0].rows.iter().find(|row| row[1] == question).unwrap();
        row[8].clone()
    };
    assert_eq!(answer("hint − grpo"), "yes");
    assert_eq!(answer("hint − teach"), "open");
    let found = report.json().unwrap();
    let questions = found["questions"].as_array().unwrap();
    assert!(questions.iter().any(|one| one["arm"] == "hint" && one["against"] == "teach"));
    assert_eq!(found["curves"]["hint"]["accuracy/in"][2][0], 2.0);
    assert!(!report.figures().unwrap().contains("NaN"));
    assert_eq!(report.csv().unwrap().lines().count(), 1 + 9 * 3);
}

/// The hints of other problems help less than the problem's own. A session that is stopped keeps the kinds that are
/// measured. The next one ends with the bytes of an unbroken one.
#[test]
fn hints_are_measured_before_training_and_a_stop_loses_one_kind_at_most() {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let data = tiny_data(folder.path());
    let options = options(&["--arms", "hint_direct,hint_placebo"]);
    let plan = plan(&options, folder.path(), &data);
    let arms = chosen(&options.arms).unwrap();
    let tasks = arms.iter().map(|arm| plan.task(arm, 0).unwrap()).collect::<Vec<_>>();
    let file = |name: &str| folder.path().join(name);
    let trial = rivals::Trial { problems: 20, at_once: 10 };
    let measure = |name: &str, tasks: &[Task], answers: u64| {
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) >= answers;
        rivals::measure(&file(name), tasks, trial, &stop).unwrap()
    };
    assert_eq!(rivals::read(&file("whole")).unwrap(), []);
    assert_eq!(measure("whole", &tasks[..1], u64::MAX), [], "one kind has no rival");
    assert_eq!(measure("whole", &tasks, 0), [], "a signal came first");
    assert!(!file("whole").exists());
    let whole = measure("whole", &tasks, u64::MAX);
    assert_eq!(rivals::read(&file("whole")).unwrap(), whole);
    assert_eq!(measure("whole", &[], u64::MAX), whole);
    let gap = |source: &str| {
        let of = whole.iter().filter(|one| one.source == source);
        of.map(rivals::Measured::accuracy_gap).sum::<f64>()
    };
    assert!(gap("direct") > gap("placebo"), "{whole:?}");
    // It asks before the first kind, and before each of the two parts of a kind.
    let first = measure("broken", &tasks, 4);
    assert!(!first.is_empty() && first.iter().all(|one| one.source == "direct"), "{first:?}");
    assert_eq!(rivals::read(&file("broken")).unwrap(), first);
    std::fs::copy(file("broken"), file("later")).unwrap();
    let later = measure("later", &tasks[1..], u64::MAX);
    assert_eq!(later, whole, "a kind that is added has rivals in the file");
    assert_eq!(measure("broken", &tasks, u64::MAX), whole);
    let bytes = |name: &str| std::fs::read(file(name)).unwrap();
    assert!(bytes("broken") == bytes("whole"));
}
