//! `hint-rl reproduce`: the experiments of HINT's paper with controls, as one command that can be stopped at any moment.
//!
//! ```text
//! hint-rl reproduce
//! hint-rl reproduce --arms grpo,hint,hint_placebo --seeds 0,1,2
//! hint-rl reproduce --scale paper --problems dapo.jsonl --held-out math500.jsonl --held-out aime24.jsonl:32 --dry-run
//! ```
//!
//! Each arm is a preset, and has a run below `--out` with each seed. Two runs go side by side, with one thread each. The
//! same command continues where it was stopped or killed; Ctrl-C ends it after a step, with exit code 130. At the end, and
//! whenever it is stopped, it writes `report.html`, `results.json` and `results.csv` about the runs that are done. These keep
//! their weights, and not the state of their optimizers.

mod arms;
mod data;
mod disk;
mod figures;
mod held_out;
mod hints;
mod html;
mod manifest;
mod questions;
mod report;
mod results;
mod rivals;
mod scale;
mod schedule;
mod stats;
mod svg;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hint_grpo::GrpoConfig;
use hint_policy::runtime::DeviceChoice;
use hint_rollout::read_problems;
use serde_json::json;

use self::arms::{Arm, chosen};
use self::disk::Disk;
use self::held_out::HeldOutSet;
use self::html::page;
use self::manifest::{Common, Session};
use self::report::Report;
use self::results::{RunResult, Slices};
use self::scale::{Data, Given, Scale};
use self::schedule::{Task, run_all};
use crate::process::{catch_signals, is_small, replace_file, set_threads};
use crate::progress::Output;
use crate::train::{Settings, VllmWeights};
use crate::workload::{Compute, device};

/// Runs the experiments of HINT's paper with controls, and writes a report.
#[derive(Debug, Args)]
pub struct Options {
    /// `tiny` runs on a CPU with the repository alone; `small` and `paper` take problems from files.
    #[arg(long, value_enum, default_value = "tiny")]
    scale: Scale,
    /// The arms to run [default: all].
    #[arg(long, value_delimiter = ',')]
    arms: Vec<String>,
    /// Seeds.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2,3,4")]
    seeds: Vec<u64>,
    /// Sets one key of the settings that all arms have, such as `run.steps=20`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder for runs and report [default: `runs/reproduce-SCALE`].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Runs side by side, with one thread each on a CPU. A single one has all cores, unless its model is one of the tiny ones.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The model, as `train` takes it [default: the model of the scale].
    #[arg(long)]
    model: Option<String>,
    /// Problems to train on.
    #[arg(long, value_name = "FILE")]
    problems: Option<PathBuf>,
    /// Problems to evaluate on, in distribution, with `REPEATS` completions each; may be given several times.
    #[arg(long, value_name = "[NAME=]FILE[:REPEATS]", value_parser = HeldOutSet::parse)]
    held_out: Vec<HeldOutSet>,
    /// The same, out of distribution.
    #[arg(long, value_name = "[NAME=]FILE[:REPEATS]", value_parser = HeldOutSet::parse)]
    out_of_distribution: Vec<HeldOutSet>,
    /// Supervised steps that come first: one run of the arm `sft`, from whose weights every arm and seed starts.
    #[arg(long, value_name = "STEPS")]
    warmup_steps: Option<u64>,
    /// `cpu`, `cuda`, `cuda:N`, or `auto` for the first GPU if there is one [default: `cpu` for the scale `tiny`, else `auto`].
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Number format of the passes [default: that of the runs in `--out`, else bf16 on a GPU, f32 on a CPU]. Weights and
    /// moments are f32 either way. All runs of a folder have the same.
    #[arg(long, value_enum)]
    compute: Option<Compute>,
    /// Sample with the vLLM server at this address; may be given several times. Runs share it, so give `--jobs 1`.
    #[arg(long, value_name = "URL")]
    vllm: Vec<String>,
    /// Sampled tokens at which arms are compared [default: for each pair of arms, the most that all of its runs sampled].
    #[arg(long)]
    budget: Option<u64>,
    /// Check arms, settings and problems, print the plan, and train nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write the report about the runs that are done, and train nothing.
    #[arg(long, conflicts_with = "dry_run")]
    report_only: bool,
}

/// Runs the command.
///
/// # Errors
///
/// Options that do not fit together, problems that cannot be read, runs that fail.
pub fn run(options: &Options) -> Result<ExitCode> {
    let stop = catch_signals("finishing the steps")?;
    let arms = chosen(&options.arms)?;
    let out = options.out.clone();
    let out =
        out.unwrap_or_else(|| PathBuf::from(format!("runs/reproduce-{}", options.scale.name())));
    ensure!(!options.seeds.is_empty(), "--seeds names none");
    // A dry run leaves nothing behind.
    let scratch = tempfile::tempdir()?;
    let data_out = if options.dry_run { scratch.path() } else { &out };
    let given = Given {
        train: options.problems.as_deref(),
        inside: &options.held_out,
        outside: &options.out_of_distribution,
    };
    let data = Data::prepare(options.scale, data_out, given)?;
    options.set.iter().try_for_each(|entry| scale::is_of_all_arms(entry))?;
    let choice = options.device.unwrap_or(match options.scale {
        Scale::Tiny => DeviceChoice::Cpu,
        Scale::Small | Scale::Paper => DeviceChoice::Auto,
    });
    let usual_compute = Compute::or_default(None, device(choice)?);
    let compute = match options.compute {
        Some(compute) => compute,
        None => manifest::compute(&out.join(MANIFEST))?.unwrap_or(usual_compute),
    };
    let plan = Plan { options, device: choice, compute, out: &out, data: &data };
    let warmup = plan.warmup()?;
    let mut tasks = Vec::new();
    for &seed in &options.seeds {
        for arm in &arms {
            let task = plan.task(arm, seed);
            tasks.push(task.with_context(|| format!("arm `{}`", arm.name))?);
        }
    }
    let does_train = !options.dry_run && !options.report_only;
    let session = does_train.then(Session::now);
    let all = || warmup.iter().chain(&tasks);
    let model = plan.first_model();
    let common = Common { train: &data.train, model, compute, usual_compute };
    let sessions = manifest::keep(&data_out.join(MANIFEST), common, all(), session)?;
    if options.dry_run {
        let disk = Disk::of(model, all(), options.jobs)?;
        show(options, warmup.as_ref(), &tasks, &data, disk)?;
        return Ok(ExitCode::SUCCESS);
    }
    let alone = plan.threads(1);
    hint_policy::runtime::keep_freed_memory();
    let result = if does_train {
        let first = warmup.map_or(Ok(true), |task| run_all(&[task], 1, &stop));
        first.and_then(|done| {
            // With a server, the model is not here.
            if done && options.vllm.is_empty() {
                set_threads(alone);
                let (path, trial) = (out.join(RIVALS), options.scale.trial());
                rivals::measure(&path, &tasks, trial, &|| stop.requested())?;
            }
            Ok(done && run_all(&tasks, options.jobs, &stop)?)
        })
    } else {
        Ok(true)
    };
    write_report(options, &out, &data, &arms, &sessions)?;
    if result? { Ok(ExitCode::SUCCESS) } else { Ok(stop.exit_code()) }
}

/// The folder of the runs of an arm with a seed, in which its run has the arm's name.
fn folder(out: &Path, arm: &Arm, seed: u64) -> PathBuf {
    out.join("runs").join(arm.name).join(format!("seed-{seed}"))
}

/// Everything that the runs of all arms have in common.
struct Plan<'p> {
    options: &'p Options,
    device: DeviceChoice,
    compute: Compute,
    out: &'p Path,
    data: &'p Data,
}

impl Plan<'_> {
    /// The model that is given, which the warm-up starts from.
    fn first_model(&self) -> &str {
        self.options.model.as_deref().unwrap_or(self.options.scale.model())
    }

    /// Threads of each of so many runs side by side; `None` for all cores.
    fn threads(&self, jobs: usize) -> Option<i32> {
        (is_small(self.first_model()) || jobs > 1).then_some(1)
    }

    /// The run of an arm with a seed.
    fn task(&self, arm: &Arm, seed: u64) -> Result<Task> {
        let model = match self.options.warmup_steps {
            None => self.first_model().to_owned(),
            Some(_) => self.out.join("warmup").join(WARMUP).display().to_string(),
        };
        let config = self.data.config(self.options.scale, &self.options.set, seed)?;
        let name = format!("{}, seed {seed}", arm.name);
        self.task_of(name, arm, config, model, folder(self.out, arm, seed))
    }

    /// The warm-up, with the first seed.
    fn warmup(&self) -> Result<Option<Task>> {
        let Some(steps) = self.options.warmup_steps else { return Ok(None) };
        ensure!(steps > 0, "--warmup-steps must be at least 1");
        let seed = self.options.seeds[0];
        let mut config = self.data.config(self.options.scale, &self.options.set, seed)?;
        config.run.steps = steps;
        let arm = chosen(&[WARMUP.to_owned()])?[0];
        let (model, out) = (self.first_model().to_owned(), self.out.join("warmup"));
        let mut task = self.task_of("warm-up".to_owned(), arm, config, model, out)?;
        // No other run is beside it.
        task.settings.threads = self.threads(1);
        Ok(Some(task))
    }

    fn task_of(
        &self,
        name: String,
        arm: &Arm,
        config: GrpoConfig,
        model: String,
        out: PathBuf,
    ) -> Result<Task> {
        let settings = Settings {
            problems: self.data.train.display().to_string(),
            device: self.device,
            compute: self.compute,
            lora: None,
            gradient_checkpointing: false,
            vllm: self.options.vllm.clone(),
            vllm_key_env: None,
            vllm_merged: false,
            vllm_weights: VllmWeights::Auto,
            threads: self.threads(self.options.jobs),
            max_batch: None,
            model,
            out,
            output: Output { quiet: true, json: false },
            only: Vec::new(),
            from_step: None,
            local_rank: None,
            changes: Vec::new(),
            settled: BTreeMap::new(),
            is_new: false,
            methods: vec![arm.method()?],
            config,
        };
        settings.config(&settings.methods[0]).validate()?;
        let steps = settings.config.run.steps;
        Ok(Task { name, dir: settings.out.join(arm.name), steps, settings })
    }
}

/// The record of the settings.
const MANIFEST: &str = "manifest.json";

/// The file of the measures before training.
const RIVALS: &str = "rivals.json";

/// The arm that a warm-up is a run of.
const WARMUP: &str = "sft";

/// Prints the planned runs.
fn show(
    options: &Options,
    warmup: Option<&Task>,
    tasks: &[Task],
    data: &Data,
    disk: Option<Disk>,
) -> Result<()> {
    let held_out = read_problems(&data.held_out)?;
    let first = tasks.first().context("there is no run")?;
    let GrpoConfig { run, rollout, optimizer, .. } = &first.settings.config;
    say!("model      {}", first.settings.model);
    say!("problems   {}; {} held out", first.settings.problems, held_out.len());
    say!(
        "settings   {} steps of {} problems, groups of {}, learning rate {:e}, at most {} tokens",
        run.steps,
        run.prompts_per_step,
        rollout.group_size,
        optimizer.learning_rate,
        rollout.sampling.max_completion_len
    );
    if let Some(Task { steps, settings, .. }) = warmup {
        say!("warm-up    {steps} supervised steps from {}", settings.model);
    }
    say!("compute    {}", first.settings.compute.name());
    match disk {
        Some(disk) => say!("disk       {disk}"),
        None => say!("disk       unknown, because the model is no file here"),
    }
    let arms = tasks.len() / options.seeds.len();
    say!(
        "runs       {} arms with {} seeds, {} side by side",
        arms,
        options.seeds.len(),
        options.jobs
    );
    for Task { name, settings, .. } in &tasks[..arms] {
        let config = settings.config(&settings.methods[0]);
        let trigger = serde_json::to_value(&config.rollout.trigger)?;
        let combine = serde_json::to_value(config.rollout.combine)?;
        let what = if settings.methods[0].is_supervised() {
            "supervised".to_owned()
        } else {
            format!(
                "trigger {}, source {}, combine {}",
                trigger["type"],
                config.rollout.source.name(),
                combine["type"]
            )
        };
        say!("  {name}: {what}");
    }
    say!("nothing was trained, nothing was written");
    Ok(())
}

/// Reads the finished runs, and writes the report and its data.
fn write_report(
    options: &Options,
    out: &Path,
    data: &Data,
    arms: &[&'static Arm],
    sessions: &[Session],
) -> Result<()> {
    let config = data.config(options.scale, &options.set, 0)?;
    let mut runs = Vec::new();
    for arm in arms {
        for &seed in &options.seeds {
            let dir = folder(out, arm, seed).join(arm.name);
            runs.extend(RunResult::read(&dir, arm, seed, config.run.steps)?);
        }
    }
    let held_out = read_problems(&data.held_out)?;
    let slices = Slices::of(&held_out, &runs);
    let prompts_per_step = config.run.prompts_per_step as u64;
    let report = Report { runs: &runs, slices: &slices, budget: options.budget, prompts_per_step };
    let audit = hints::audit(&read_problems(&data.train)?, &config.verifier)?;
    let mut tables = report.questions()?;
    tables.extend(report.tables()?);
    tables.push(hints::table(&audit));
    let measured = rivals::read(&out.join(RIVALS))?;
    tables.extend(report.rivals(&measured)?);
    let mut json = report.json()?;
    json["rivals"] = report.rivals_json(&measured)?;
    json["hints"] = json!(audit);
    json["sessions"] = json!(sessions);
    let title = format!("HINT, reproduced at the scale {}", options.scale.name());
    let planned = arms.len() * options.seeds.len();
    let about = format!(
        "<p>{} runs of {planned} are done. Source: <i>paper</i> is an arm of HINT's paper, <i>code</i> of its reference code, \
         <i>ours</i> one that this repository adds. Numbers are ours, except those of the last two tables. All arms and seeds \
         start from the same weights. {} of {} held-out problems are not in every evaluation, and left out.</p>",
        runs.len(),
        slices.missing,
        held_out.len()
    );
    let html = tables.iter().map(html::Table::html).collect::<String>();
    let sessions = manifest::html(sessions);
    let published = hints::published().iter().map(html::Table::html).collect::<String>();
    let body = about + &sessions + &html + &report.figures()? + &published;
    let style = include_str!("../report/html/style.css");
    replace_file(&out.join("report.html"), &page(&title, style, &body))?;
    replace_file(&out.join("results.json"), &(json.to_string() + "\n"))?;
    replace_file(&out.join("results.csv"), &report.csv()?)?;
    say!("{} of {planned} runs; {}", runs.len(), out.join("report.html").display());
    Ok(())
}

#[cfg(test)]
mod tests;
