//! Tests of the command: memory, warnings, table, JSON, and the check against made-up runs.

use std::path::PathBuf;

use clap::Parser;
use hint_grpo::GrpoConfig;
use hint_grpo::optim::{GradientMemory, OptimizerConfig, Shard};
use hint_policy::config::Architecture;
use hint_policy::{CausalLm, Policy as _};
use serde_json::{Value, json};

use super::*;

/// The configuration of Qwen2.5-7B, as published.
const QWEN: &str = include_str!("qwen2.5-7b.json");
/// The page whose table the program makes. It is beside the repository's crates, and in no package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/machines.md");

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    options: Options,
}

fn try_options(args: &[&str]) -> Result<Options, clap::Error> {
    let args = ["plan"].into_iter().chain(args.iter().copied());
    Program::try_parse_from(args).map(|program| program.options)
}

fn options(args: &[&str]) -> Options {
    try_options(args).unwrap()
}

fn qwen() -> ModelConfig {
    serde_json::from_str(QWEN).unwrap()
}

fn all_plans(args: &[&str]) -> Vec<Plan> {
    let options = options(&[&["--model", "config.json"], args].concat());
    plans(&options, &qwen(), &Machine::read(&options.machine).unwrap()).unwrap()
}

fn one_plan(args: &[&str]) -> Plan {
    let mut plans = all_plans(args);
    assert_eq!(plans.len(), 1);
    plans.remove(0)
}

#[test]
fn weights_and_moments_of_a_trainer_are_counted_and_what_does_not_fit_is_said() {
    let plan = one_plan(&["--machine", "h100", "--gpus", "4", "--servers", "4"]);
    let parameters = 7_615_616_512_u64;
    assert_eq!(plan.shape.parameters, parameters as f64);
    let part = |name| plan.trainer.lasting.iter().find(|(part, _)| *part == name).unwrap().1;
    assert_eq!(part("weights"), 4 * parameters);
    // Two moments, of which each of four processes has its part.
    assert_eq!(part("optimizer"), 2 * 4 * parameters / 4);
    assert_eq!((part("decoder"), part("reference")), (0, 0));
    // In a step alone, with what is sent and received for their sum.
    let gradients = plan.trainer.update.iter().find(|(part, _)| *part == "gradients").unwrap().1;
    assert_eq!(part("gradients"), 0);
    assert!((4 * parameters..5 * parameters).contains(&gradients));
    assert!(!plan.trainer_fits());
    let warning = plan.warnings.first().unwrap();
    // What lasts fits, and the activations do not.
    assert!(warning.starts_with("a trainer needs "), "{warning}");
    assert!(warning.contains("--gradient-checkpointing"), "{warning}");
    assert!(text::text(&plan).contains(&format!("warning      {warning}")));
    let server = plan.server.unwrap();
    assert_eq!(server.weights, 2.0 * parameters as f64);
    // Keys and values of 28 layers, 4 heads of 128, in two bytes, for a prompt of 256 and 512 tokens.
    assert_eq!(server.row, 2.0 * 28.0 * 2.0 * 512.0 * 768.0);
    assert_eq!((server.rows, plan.server_fits()), (256.0, true));

    let args = ["--machine", "h100", "--gpus", "4", "--servers", "4", "--adapters", "16"];
    let adapted = one_plan(&[&args[..], &["--gradient-checkpointing"]].concat());
    assert!(adapted.trainer_fits() && adapted.warnings.is_empty(), "{:?}", adapted.warnings);
    assert!(adapted.time.transfer < plan.time.transfer / 100.0);
}

#[test]
fn gradients_are_about_those_of_a_dry_run_in_any_number_of_processes() {
    for tie_word_embeddings in [true, false] {
        let config = ModelConfig {
            hidden_size: 256,
            intermediate_size: 512,
            num_hidden_layers: 8,
            tie_word_embeddings,
            ..ModelConfig::small(Architecture::Llama, 2000)
        };
        let policy = CausalLm::init(&config, 1, tch::Device::Cpu).unwrap();
        for (world_size, workers) in [(1, 4), (2, 2), (2, 8), (3, 3)] {
            let shard = Shard { rank: 0, world_size };
            let mut optimizer =
                OptimizerConfig::default().build_shard(policy.parameters(), shard).unwrap();
            let buffers = optimizer.shard(shard).unwrap();
            let exact = GradientMemory::new(&buffers, &policy, shard, workers);
            let shape = memory::shape(&config, None);
            let ratio = shape.buffers / buffers.len() as f64;
            assert!((0.75..1.1).contains(&ratio), "{} of {}", shape.buffers, buffers.len());
            // None has as much as two slices.
            assert_eq!(shape.operations, shape.buffers);
            let options = options(&["--model", "m", "--virtual-workers", &workers.to_string()]);
            let demand = demand(&options, world_size, 0);
            for (is_one, exact) in
                [(true, exact.one_micro_batch), (false, exact.many_micro_batches)]
            {
                let found = memory::gradients(&config, &shape, &demand, is_one) as f64;
                // Ranges are whole units, and buffers are not all full.
                let ratio = found / exact as f64;
                assert!((0.95..1.4).contains(&ratio), "{world_size} {workers} {is_one}: {ratio}");
            }
            let found = memory::weights(&config, &shape, &demand) as f64;
            let ratio = found / exact.weights as f64;
            assert!((0.9..1.4).contains(&ratio), "weights, {world_size} {workers}: {ratio}");
        }
    }
}

#[test]
fn virtual_workers_with_one_micro_batch_free_gradients_and_exchange_more() {
    let args = ["--gpus", "2", "--servers", "2", "--gradient-checkpointing"];
    let few = one_plan(&args);
    // A row each.
    let many = one_plan(&[&args[..], &["--virtual-workers", "1024"]].concat());
    let part =
        |plan: &Plan, name| plan.trainer.update.iter().find(|(part, _)| *part == name).unwrap().1;
    assert!(part(&many, "gradients") < part(&few, "gradients") * 2 / 3);
    // No micro-batch has more than a row: 256 tokens of a prompt and 2048 of a completion.
    assert_eq!(part(&few, "activations") * 2304, part(&many, "activations") * 16_384);
    let page = std::fs::read_to_string(PAGE).expect("the page is in the repository");
    for plan in [&few, &many] {
        let memory = mebibytes(plan.trainer.total());
        assert!(page.contains(&format!("needs {memory}")), "docs/machines.md has not: {memory}");
    }
    assert!(many.time.all_reduce > 250.0 * few.time.all_reduce);
    assert!(text::text(&many).contains("2 train, 2 sample, 1024 virtual workers"));
    assert_eq!(text::json(&many)["virtual_workers"], json!(1024.0));
}

#[test]
fn weights_in_parts_let_7b_train_on_two_gpus_and_are_gathered_for_every_pass() {
    let args = ["--gpus", "2", "--servers", "2", "--gradient-checkpointing"];
    let args = [&args[..], &["--virtual-workers", "1024"]].concat();
    let whole = one_plan(&args);
    let shared = one_plan(&[&args[..], &["--shard", "parameters"]].concat());
    assert!(!whole.trainer_fits() && shared.trainer_fits(), "{:?}", shared.warnings);
    let page = std::fs::read_to_string(PAGE).expect("the page is in the repository");
    let memory = mebibytes(shared.trainer.total());
    assert!(page.contains(&format!("it needs {memory}")), "docs/machines.md has not: {memory}");
    // Two tables in 33 slices each, 84 projections in 5, and the rest in 50 buffers.
    assert_eq!((whole.shape.buffers, whole.shape.operations), (136.0, 536.0));
    // 512 micro-batches on each GPU, and two gathers for each beside 513 exchanges. Each takes ½ · 4 bytes a weight at 1 GB/s, and
    // each operation two messages of 20 µs.
    let expect = |found: f64, exchanges: f64, operations: f64| {
        let expected = exchanges * 2.0 * 7_615_616_512.0 / 1e9 + operations * 2.0 * 20e-6;
        assert!((found / expected - 1.0).abs() < 1e-9, "{found}, not {expected}");
    };
    expect(whole.time.all_reduce, 513.0, 513.0 * 536.0 + 4.0);
    let asks = 1024.0 * 136.0 + 512.0 * 536.0 + 4.0;
    expect(shared.time.all_reduce, 1537.0, 1537.0 * 536.0 + 4.0 + asks);
    let nccl = one_plan(&[&args[..], &["--shard", "parameters", "--backend", "nccl"]].concat());
    let words = format!("{} from GPU to GPU", text::seconds(nccl.time.all_reduce));
    assert!(page.contains(&words), "docs/machines.md has not: {words}");
    assert!(text::text(&shared).contains("1024 virtual workers, weights in parts"));
    assert_eq!(text::json(&shared)["shard"], json!("parameters"));
    assert_eq!(text::json(&whole)["shard"], json!("gradients"));
}

#[test]
fn a_server_without_room_and_idle_gpus_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.toml");
    let peaks = "flops = 1e14\nmemory_bandwidth = 1e12\nmemory = 16e9\nlink_within = 1e10\nlink_between = 1e9\n";
    std::fs::write(&file, peaks).unwrap();
    let machine = file.to_string_lossy().into_owned();
    let args = ["--machine", &machine, "--servers", "256", "--ahead", "1"];
    let plan = one_plan(&args);
    assert_eq!((plan.server_fits(), plan.server.unwrap().rows), (false, 0.0));
    let warnings = plan.warnings.join("\n");
    assert!(warnings.contains("leaves no room for a completion"), "{warnings}");
    assert!(warnings.contains("128 of 256 GPUs have nothing to sample"), "{warnings}");
    let alone = one_plan(&["--ahead", "1", "--machine", "b200"]).warnings.join("\n");
    assert!(alone.contains("`--ahead` saves no time"), "{alone}");
}

#[test]
fn contradictions_are_refused_with_the_options() {
    #[track_caller]
    fn refused(args: &[&str], words: &str) {
        let options = options(&[&["--model", "config.json"], args].concat());
        let error = plans(&options, &qwen(), &Machine::read("h100").unwrap()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    refused(&["--mean-len", "4096"], "`--mean-len` is 4096, above `--max-len`, which is 2048");
    refused(&["--max-len", "40000"], "longer than the model's 32768");
    refused(&["--gpus", "1,2", "--servers", "1,2,3"], "`--gpus` has 2 numbers");
    refused(&["--gpus", "4,8", "--virtual-workers", "7"], "`--virtual-workers` is 7, and 8 GPUs");
    for args in [
        &["--hinted-frac", "1.5"][..],
        &["--price", "-1"],
        &["--gpus", "0"],
        &["--fit", "runs/one"],
        &[],
    ] {
        let args = if args.is_empty() { Vec::new() } else { [&["--model", "a"], args].concat() };
        assert!(try_options(&args).is_err(), "{args:?}");
    }
}

#[test]
fn options_that_a_measured_run_decides_are_refused_beside_it() {
    let measured = ["--measured", "runs/one"];
    for option in [
        ["--prompts", "64"],
        ["--group-size", "8"],
        ["--prompt-len", "9"],
        ["--mean-len", "9"],
        ["--max-len", "9"],
        ["--hinted-frac", "0"],
        ["--trained-frac", "1"],
        ["--virtual-workers", "2"],
        ["--shard", "gradients"],
        ["--updates", "1"],
        ["--passes", "1"],
        ["--scoring-passes", "old"],
        ["--ahead", "1"],
        ["--micro-batch-tokens", "9"],
        ["--steps", "9"],
        ["--price", "3"],
    ] {
        let error = try_options(&[measured, option].concat()).unwrap_err().to_string();
        assert!(error.contains("cannot be used with"), "{error}");
        assert!(error.contains(option[0]) && error.contains(measured[0]), "{error}");
    }
    // What no file of a run has.
    for option in [["--adapters", "4"], ["--backend", "nccl"], ["--max-batch", "9"]] {
        assert!(try_options(&[measured, option].concat()).is_ok(), "{option:?}");
    }
}

#[test]
fn json_and_text_have_the_same_numbers() {
    let plan = one_plan(&["--machine", "b200", "--gpus", "8", "--servers", "8", "--price", "3"]);
    let found = text::json(&plan);
    let seconds = &found["seconds"];
    let parts = ["sampling", "hinted", "transfer", "update", "optimizer", "all_reduce"];
    let sum = parts.iter().map(|name| seconds[name].as_f64().unwrap()).sum::<f64>();
    let step = seconds["step"].as_f64().unwrap();
    assert!((sum / step - 1.0).abs() < 1e-9, "{seconds}");
    assert_eq!(found["gpu_hours"], json!(16.0 * 200.0 * step / 3600.0));
    assert_eq!(found["cost"].as_f64(), found["gpu_hours"].as_f64().map(|hours| 3.0 * hours));
    assert_eq!((&found["machine"]["name"], &found["backend"]), (&json!("b200"), &json!("gloo")));
    assert_eq!(found["trainer"]["bytes"], json!(plan.trainer.total()));
    let (text, part) = (text::text(&plan), found["bottleneck"]["part"].as_str().unwrap());
    for words in [
        &format!("bottleneck   {part}: "),
        "8 train, 8 sample",
        "all-reduce",
        "NCCL would be faster",
        "GPU hours, cost ",
        "40 % of the arithmetic in training, 50 % of the bound in sampling",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// The options of the table in the book.
const TABLE: &[&str] = &[
    "--machine",
    "h200",
    "--gpus",
    "4,8,16,32,64,128,256,512",
    "--servers",
    "4,8,16,32,64,128,256,512",
    "--prompts",
    "1024",
    "--group-size",
    "16",
    "--prompt-len",
    "512",
    "--mean-len",
    "2048",
    "--max-len",
    "8192",
    "--hinted-frac",
    "0.3",
    "--gradient-checkpointing",
    "--ahead",
    "1",
    "--price",
    "3",
];

#[test]
fn the_golden_tables_of_the_book_are_those_of_the_program() {
    let page = std::fs::read_to_string(PAGE).expect("the page is in the repository");
    for backend in ["gloo", "nccl"] {
        let args = [TABLE, &["--backend", backend]].concat();
        let table = text::table(&all_plans(&args));
        assert!(page.contains(&table), "docs/machines.md has not:\n{table}");
    }
    // Wrapped lines of the page end in a backslash.
    let page = page.replace(" \\\n   ", "");
    let command = TABLE.join(" ");
    assert!(page.contains(&command), "docs/machines.md has not: {command}");
}

/// The folder of a run of four steps on a machine, which the model itself timed, with a slow first step.
fn write_run(folder: &Path, config: &ModelConfig, machine: &Machine, work: &Options) -> PathBuf {
    let dir = folder.join(format!("{}-{}", work.gpus[0], work.servers[0]));
    std::fs::create_dir_all(&dir).unwrap();
    let toml = format!(
        "run = {{ steps = 4, prompts_per_step = {}, num_minibatches = {} }}\nrollout.group_size = {}\n",
        work.prompts, work.updates, work.group_size
    );
    let toml = GrpoConfig::from_toml(&toml).unwrap().to_toml().unwrap();
    std::fs::write(dir.join("config.toml"), toml).unwrap();
    let (mut metrics, mut timings, mut counted) = (String::new(), String::new(), 0.0);
    for step in 1..=4_u32 {
        let demand = Demand {
            mean_len: 100.0 + 10.0 * f64::from(step),
            max_len: 200.0 + 50.0 * f64::from(step),
            hinted_frac: 0.5,
            trained_frac: 0.75,
            // Several minibatches need a pass of their own.
            scoring_passes: f64::from(u8::from(work.updates > 1)),
            ..demand(work, work.gpus[0], work.servers[0])
        };
        let shape = memory::shape(config, None);
        let server = (demand.servers > 0.0).then(|| memory::server(&shape, &demand, machine));
        let time = StepTime::new(&shape, &demand, machine, room(&demand, server.as_ref()));
        let slow = if step == 1 { 9.0 } else { 1.0 };
        let sampled = step::tokens(&demand);
        counted += sampled / demand.mean_len * (demand.mean_len + demand.prompt_len);
        let line = json!({
            "step": step, "num_tokens": counted, "completions/mean_length": demand.mean_len,
            "completions/max_length": demand.max_len, "hint/hinted_frac": 0.5,
            "tokens/no_gradient_frac": 0.25,
        });
        metrics.extend([&line.to_string(), "\n"]);
        let line = json!({
            "step": step, "rollout_s": slow * (time.sampling.seconds() + time.hinted.seconds()),
            "update_s": slow * time.trainer_side(), "sync_s": time.transfer,
            "step_time": slow * time.total(), "tokens": sampled,
        });
        timings.extend([&line.to_string(), "\n"]);
    }
    std::fs::write(dir.join("metrics.jsonl"), metrics).unwrap();
    std::fs::write(dir.join("timings.jsonl"), timings).unwrap();
    dir
}

#[test]
fn a_fit_finds_the_efficiencies_and_predicts_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = ModelConfig::small(Architecture::Llama, 60);
    let sheet = Machine::read("l40s").unwrap();
    let truth =
        Machine { mfu: 0.125, sampling_efficiency: 0.0625, disk_bandwidth: 1e5, ..sheet.clone() };
    let work = ["--model", "m", "--prompts", "16", "--group-size", "4", "--prompt-len", "40"];
    let one = options(&[&work[..], &["--servers", "1"]].concat());
    let one = write_run(folder.path(), &config, &truth, &one);
    // Two processes that divide the machine, with two updates in a step and a server for each.
    let two = [&work[..], &["--gpus", "2", "--servers", "2", "--updates", "2"]].concat();
    let two = write_run(folder.path(), &config, &truth.part(0.5), &options(&two));
    let (one, two) = (one.to_string_lossy(), two.to_string_lossy());
    let measured = ["--measured", &two, "--gpus", "2", "--servers", "2", "--machine-frac", "0.5"];
    let fit = options(&[&measured[..], &["--fit", &one, "--fit-servers", "1"]].concat());
    let found = measured::compare(&fit, &config, &sheet, Path::new(&*two)).unwrap();
    let json = serde_json::from_str::<Value>(&found.json()).unwrap();
    for (key, value) in [("mfu", 0.125), ("sampling_efficiency", 0.0625), ("disk_bandwidth", 1e5)] {
        let fitted = json["machine"][key].as_f64().unwrap();
        assert!((fitted / value - 1.0).abs() < 1e-6, "{key} {fitted}");
    }
    for part in ["sampling", "update", "transfer", "step"] {
        let error = json["seconds"][part]["error"].as_f64();
        assert!(error.is_none_or(|error| error.abs() < 1e-6), "{part}: {json:#}");
    }
    assert!(json["seconds"]["transfer"]["error"].is_number(), "{json:#}");
    let text = found.to_string();
    assert!(
        text.contains("means of 3 steps")
            && text.contains("12.5 % of the arithmetic")
            && text.contains(", 0.1 MB/s through the folder\n"),
        "{text}"
    );

    // Without a fit, the machine's own shares are far off.
    let assumed = options(&measured);
    let assumed = measured::compare(&assumed, &config, &sheet, Path::new(&*two)).unwrap();
    assert!(assumed.json().contains("-0."), "{}", assumed.json());
}

#[test]
fn a_run_without_steps_or_gradients_and_one_that_sampled_ahead_cannot_be_fitted() {
    let folder = tempfile::tempdir().unwrap();
    let config = ModelConfig::small(Architecture::Llama, 60);
    let sheet = Machine::read("l40s").unwrap();
    let work = options(&["--model", "m", "--prompts", "16", "--group-size", "4"]);
    let dir = write_run(folder.path(), &config, &sheet, &work);
    let run = dir.to_string_lossy().into_owned();
    let compare = || {
        let options = options(&["--measured", &run, "--fit", &run]);
        measured::compare(&options, &config, &sheet, &dir)
    };
    let fitted = serde_json::from_str::<Value>(&compare().unwrap().json()).unwrap();
    // Without servers nothing is handed over.
    assert_eq!(fitted["machine"]["disk_bandwidth"], json!(sheet.disk_bandwidth));
    let metrics = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let (share, all) = ("\"tokens/no_gradient_frac\":0.25", "\"tokens/no_gradient_frac\":1.0");
    std::fs::write(dir.join("metrics.jsonl"), metrics.replace(share, all)).unwrap();
    let error = format!("{:#}", compare().unwrap_err());
    assert!(error.contains("its steps have no gradient"), "{error}");
    std::fs::write(dir.join("metrics.jsonl"), metrics).unwrap();
    let ahead = "run = { prompts_per_step = 16, ahead = 1 }\nrollout.group_size = 4\n";
    let ahead = GrpoConfig::from_toml(ahead).unwrap().to_toml().unwrap();
    std::fs::write(dir.join("config.toml"), ahead).unwrap();
    let error = format!("{:#}", compare().unwrap_err());
    assert!(error.contains("`run.ahead` cannot be fitted"), "{error}");
    // It can be compared, by what it measures.
    let options = options(&["--measured", &run]);
    let found = measured::compare(&options, &config, &sheet, &dir).unwrap().to_string();
    assert!(found.contains("step") && !found.contains("sampling  "), "{found}");
    std::fs::write(dir.join("timings.jsonl"), "").unwrap();
    let error = format!("{:#}", compare().unwrap_err());
    assert!(error.contains("has no step with timings"), "{error}");
}

#[test]
fn a_configuration_is_read_from_its_file_its_folder_and_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, QWEN).unwrap();
    for place in [folder.path(), file.as_path()] {
        let options = options(&["--model", &place.to_string_lossy()]);
        assert_eq!(model_config(&options).unwrap(), qwen());
    }
    let tiny = model_config(&options(&["--model", "tiny"])).unwrap();
    assert_eq!(tiny.num_hidden_layers, 3);
    let error = model_config(&options(&["--model", "Qwen/Qwen2.5-7B"])).unwrap_err().to_string();
    assert!(error.contains("a plan needs only its `config.json`"), "{error}");
    std::fs::write(&file, QWEN.replace("3584", "0")).unwrap();
    let error = model_config(&options(&["--model", &file.to_string_lossy()])).unwrap_err();
    assert!(format!("{error:#}").contains("config.json"), "{error:#}");
}
