//! `hint-rl train`: trains a policy with plain GRPO and with HINT from the same weights and seed.
//! Compares them on held-out problems without hints.
//!
//! ```text
//! cargo run --release --example hint_grpo
//! cargo run --release --example hint_grpo -- --model path/to/hf-folder --problems problems.jsonl
//! cargo run --release --example hint_grpo -- --method sft --set sft.tokens=all
//! cargo run --release --example hint_grpo -- --dry-run
//! ```
//!
//! Shows live lines on a terminal, one line per step elsewhere, and a table at the end; `--quiet` and `--json`
//! change that. `--out DIR` keeps metrics, evaluations, checkpoints and
//! `summary.json`. The default takes under three minutes on two CPU cores: GRPO stays where it
//! started, HINT learns to work step by step. `--help` lists the options.

mod changes;
mod dry_run;
mod engine;
mod fingerprint;
mod lengths;
mod lora;
mod memory;
mod options;
mod resume;
mod same_options;
mod settings;
mod summary;
mod transfer;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, ensure};
use hint_grpo::run_dir::FolderLock;
use hint_grpo::stage::PolicyGradient;
use hint_grpo::verdict::History;
use hint_grpo::{
    GrpoConfig, GrpoError, Observer, Outcome, RunBuilder, RunDir, Stage, SupervisedTrainer,
    Trainer, observer_from_fn,
};
use hint_policy::{SharedPolicy, Tokenizer};
use hint_process::{StopSignals, clock, wall_clock};
use hint_rollout::data::ProblemSet;
use hint_rollout::evaluate::Evaluation;
use hint_rollout::run::Activity;
use hint_rollout::{Collector, RolloutEngine};
use serde::{Deserialize, Serialize};
use tch::Device;

use self::changes::KeepChanges;
use self::dry_run::{dry_run, refuse_untried};
use self::engine::{engine, follow};
pub(crate) use self::engine::{explain_key, report_server, server_key};
use self::fingerprint::Hashing;
pub(crate) use self::lora::parse as parse_lora;
pub use self::options::Options;
pub(crate) use self::settings::SETTINGS;
pub(crate) use self::settings::{Method, MethodKind, Settings};
use self::summary::{RunSummary, Summary};
pub(crate) use self::transfer::VllmWeights;
use crate::launch::{Backend, ProcessGroup};
use crate::process::{catch_signals, keep_freed_memory, peak_memory_on, set_threads_beside};
use crate::progress::{Output, Progress};
use crate::run_log::RunLog;
use crate::run_state::End;
use crate::terminal::{hush, quoted};
use crate::workload::{Model, Workload, report_refusals};

/// Longest wait for another process, in seconds, where `--collective-timeout` is not given.
const COLLECTIVE_TIMEOUT: u64 = 600;

/// Runs the command.
///
/// # Errors
///
/// Options that do not fit together, files that cannot be read or written, a run that fails.
pub fn run(options: Options) -> Result<ExitCode> {
    run_with(options, policy_gradient)
}

/// As [`run`], where `hint_grpo` assembles and runs what trains with GRPO and HINT, as
/// `examples/hint_grpo.rs` does. The rest is the command's: options, the dry run, the supervised
/// method, the summary.
///
/// # Errors
///
/// As [`run`].
pub fn run_with(
    options: Options,
    hint_grpo: impl Fn(&mut Job<'_>) -> Result<Outcome>,
) -> Result<ExitCode> {
    let stop = catch_signals("finishing the step or the download")?;
    let timeout = options.launch.collective_timeout;
    let processes = ProcessGroup::join(
        Duration::from_secs(timeout.unwrap_or(COLLECTIVE_TIMEOUT)),
        options.launch.bind_address.clone(),
    )?;
    ensure!(
        timeout.is_none() || processes.world_size() > 1,
        "--collective-timeout is for several processes, and this one is alone: WORLD_SIZE is not above 1"
    );
    if options.output.quiet || !processes.is_first() {
        hush();
    }
    options.fast_paths.apply();
    let result = run_in(options, &processes, &stop, &hint_grpo);
    processes.end(result)
}

/// Runs the command in one of the processes.
fn run_in(
    options: Options,
    processes: &ProcessGroup,
    stop: &StopSignals,
    hint_grpo: &impl Fn(&mut Job<'_>) -> Result<Outcome>,
) -> Result<ExitCode> {
    let world_size = options.world_size;
    let (mut settings, asked) = resolve(options, processes)?;
    if asked.only_print {
        if processes.is_first() {
            say!("{}", settings.config_toml()?.trim_end());
        }
        return Ok(ExitCode::SUCCESS);
    }
    set_threads_beside(settings.threads, processes.on_machine());
    if asked.only_try {
        processes.refuse(true, "--dry-run", "it looks at one process")?;
        refuse_untried(&settings, asked.backend)?;
        dry_run(&settings, world_size, |line| say!("{line}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let workload = settings.workload()?;
    let way = processes.connect_devices(workload.device(), asked.backend)?;
    let (train, held_out) = (workload.train.len(), workload.held_out.len());
    let (model, problems) = (&settings.model, &settings.problems);
    let unused = match workload.unused {
        0 => String::new(),
        unused => format!(" ({unused} more of those are left out: `evaluation.max_problems`)"),
    };
    let output = settings.output;
    output.note(format_args!(
        "{model} on {problems}: {train} problems to train on, {held_out} held out{unused}"
    ));
    if let Some(line) = way {
        output.note(format_args!("{line}"));
    }
    for line in &workload.left_out {
        note!("warning: {line}");
    }
    for line in &workload.notes {
        output.note(format_args!("{line}"));
    }
    settings.check_hints(&workload.train)?;
    settings.out = processes.broadcast_value(|| {
        settings.claim()?;
        Ok(settings.out.clone())
    })?;
    output.note(format_args!("writing to {}", settings.out.display()));
    let (settings, workload, first_evaluation) = (&settings, &workload, None);
    let session = Session { settings, workload, processes, stop, first_evaluation };
    let result = session.train(hint_grpo);
    if result.is_err() && processes.is_first() {
        // A folder in which nothing was written is of no use; one with files stays.
        let _ = std::fs::remove_dir(&settings.out);
    }
    result
}

/// What the options of the first process ask of all, beside the settings of a run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Asked {
    backend: Backend,
    only_print: bool,
    only_try: bool,
}

/// The settings that the options of the first process ask for, for all processes.
fn resolve(options: Options, processes: &ProcessGroup) -> Result<(Settings, Asked)> {
    let output = options.output;
    let (only_print, only_try) = (options.print_config, options.dry_run);
    let asked = Asked { backend: options.launch.backend, only_print, only_try };
    let shared = processes.broadcast_value(|| {
        let has_out = options.out.is_some() || options.resume.is_some();
        ensure!(
            has_out || !processes.is_restart(),
            "name the run's folder with --out, and add --auto-resume, so that processes that are started again find it"
        );
        let mut options = options;
        options.launch.auto_resume |= processes.is_restart();
        // The step was for the first start: later ones continue from the newest checkpoint.
        options.from_step = options.from_step.filter(|_| !processes.is_restart());
        let mut settings = options.resolve()?;
        if !only_print {
            settings.pin()?;
        }
        // A run does not remember these.
        let Settings { out, only, from_step, is_new, vllm_weights, .. } = &settings;
        let beside = (out.clone(), only.clone(), *from_step, *is_new, *vllm_weights);
        Ok((settings, beside, asked))
    })?;
    let (mut settings, (out, only, from_step, is_new, vllm_weights), asked) = shared;
    (settings.out, settings.only, settings.from_step) = (out, only, from_step);
    (settings.is_new, settings.vllm_weights) = (is_new, vllm_weights);
    settings.local_rank = processes.local_rank();
    settings.output =
        if processes.is_first() { output } else { Output { quiet: true, json: false } };
    Ok((settings, asked))
}

/// What the runs of all methods share.
#[derive(Debug, Clone, Copy)]
struct Session<'a> {
    settings: &'a Settings,
    workload: &'a Workload,
    processes: &'a ProcessGroup,
    stop: &'a StopSignals,
    /// The evaluation before the first step, if it is known.
    first_evaluation: Option<&'a Evaluation>,
}

impl Session<'_> {
    /// Trains all methods, and reports them.
    fn train(self, hint_grpo: &impl Fn(&mut Job<'_>) -> Result<Outcome>) -> Result<ExitCode> {
        let Self { settings, processes, stop, .. } = self;
        let Some(summary) = self.train_methods(hint_grpo)? else {
            if processes.is_first() {
                let out = quoted(&settings.out.display().to_string());
                note!("stopped; continue with: --resume {out}");
            }
            return Ok(stop.exit_code());
        };
        if !processes.is_first() {
            return Ok(ExitCode::SUCCESS);
        }
        settings.output.table(summary.table());
        if let Some(rules) = summary.rules() {
            settings.output.table(rules);
        }
        summary.write(&settings.out.join("summary.json"))?;
        Ok(ExitCode::SUCCESS)
    }

    /// The summary; nothing if a signal stopped a run.
    fn train_methods(
        self,
        hint_grpo: &impl Fn(&mut Job<'_>) -> Result<Outcome>,
    ) -> Result<Option<Summary>> {
        let Self { settings, workload, processes, stop, first_evaluation } = self;
        let (mut summary, mut lock) = (Summary::default(), None);
        let memory = Arc::new(Mutex::new(settings.clone()));
        for method in settings.chosen() {
            let config = settings.config(method);
            let dir = settings.out.join(&method.name);
            let (seed, steps) = (config.run.seed, config.run.steps);
            let (model_files, activity) = (Vec::new(), Activity::default());
            let mut job = Job {
                method,
                config,
                workload,
                settings,
                processes,
                stop,
                first_evaluation,
                dir,
                model_files,
                hashing: None,
                loaded: None,
                copy: None,
                lock: &mut lock,
                memory: &memory,
                activity,
            };
            let outcome =
                if method.is_supervised() { supervised(&mut job) } else { hint_grpo(&mut job) };
            let outcome = outcome.inspect_err(|error| job.explain(error))?;
            if let Outcome::Stopped { .. } = outcome {
                job.record(End::Stopped);
                return Ok(None);
            }
            if processes.is_first() {
                summary.runs.push(RunSummary::read(&job.dir, &method.name, seed, steps)?);
            }
        }
        Ok(Some(summary))
    }
}

/// Trains the methods of `settings`, each from the newest checkpoint of its folder. Whether they are done; not if a
/// signal stopped them. A run that starts takes `first_evaluation`, as [`RunBuilder::first_evaluation`] does.
///
/// # Errors
///
/// Hints that are not there, a run that fails.
pub(crate) fn train_quietly(
    settings: &Settings,
    workload: &Workload,
    stop: &StopSignals,
    first_evaluation: Option<&Evaluation>,
) -> Result<bool> {
    settings.check_hints(&workload.train)?;
    let processes = &ProcessGroup::default();
    let session = Session { settings, workload, processes, stop, first_evaluation };
    Ok(session.train_methods(&policy_gradient)?.is_some())
}

/// One run of one method, as the options ask for it.
#[derive(Debug)]
pub struct Job<'a> {
    /// The method.
    method: &'a Method,
    /// Its configuration. The only difference between GRPO and HINT is in it.
    pub config: GrpoConfig,
    /// Model and problems.
    pub workload: &'a Workload,
    settings: &'a Settings,
    processes: &'a ProcessGroup,
    stop: &'a StopSignals,
    /// The evaluation before the first step, if it is known.
    first_evaluation: Option<&'a Evaluation>,
    dir: PathBuf,
    /// Files that the model was loaded from.
    model_files: Vec<PathBuf>,
    /// Their hash, which is begun when the model is loaded and finished when the run opens.
    hashing: Option<Hashing>,
    /// Its tokenizer and its device, once it is loaded.
    loaded: Option<(Arc<Tokenizer>, Device)>,
    /// The copy of the policy that is sampled from ahead, if the configuration asks for that.
    copy: Option<SharedPolicy>,
    /// Of the folder of all methods, from the first of them on until the last has ended.
    lock: &'a mut Option<FolderLock>,
    /// The settings that are written.
    memory: &'a Arc<Mutex<Settings>>,
    /// Counters of the run for its display.
    activity: Activity,
}

impl Job<'_> {
    /// The model that is trained, on the device that the options choose, with adapters if they ask for some.
    ///
    /// # Errors
    ///
    /// As [`Workload::model`].
    pub fn model(&mut self) -> Result<Model> {
        // Beside the loading, which reads the same files.
        let hashing = Hashing::start(self.workload.own_files(), self.hashes_dir());
        let model = self.workload.model(self.config.run.seed)?;
        self.settings.output.note(format_args!("{}", model.report));
        report_refusals(&model.refusals, model.report.device);
        self.config.resolve_tokens(&model.tokenizer)?;
        self.model_files = self.workload.model_files(&model);
        self.hashing = Some(hashing);
        self.loaded = Some((Arc::clone(&model.tokenizer), model.report.device));
        let has_servers = !self.settings.vllm.is_empty();
        let needs_copy = self.processes.is_first() || !has_servers;
        if self.config.run.ahead > 0 && !self.method.is_supervised() && needs_copy {
            // Servers get their weights from the copy of the first process; it computes nothing.
            let device = has_servers.then_some(Device::Cpu);
            self.copy = Some(self.workload.copy(self.config.run.seed, device)?);
        }
        Ok(model)
    }

    /// The sampler: the policy in this process, or the copy of it that is sampled from ahead, or vLLM servers. Servers
    /// get weights only if no other process works in the run's folder. The first process of several asks them for all.
    ///
    /// # Errors
    ///
    /// Servers that cannot be used, with the reason of each; a folder that is in use.
    pub fn engine(&mut self, model: &Model) -> Result<Box<dyn RolloutEngine>> {
        let (settings, lock) = (self.settings, &mut *self.lock);
        let (copy, dir) = (self.copy.as_ref(), &self.dir);
        let mut connect = || engine(settings, model, copy, dir, || take_lock(lock, settings));
        if settings.vllm.is_empty() {
            return connect();
        }
        follow(self.processes, connect)
    }

    /// Gives the run its folder, whose newest checkpoint it continues from, and keeps other processes out of it.
    /// Names the dependencies of the run, and the changes that a resumed run may make. The run also gets its
    /// held-out problems, clock, gauge of memory and display, and its checkpoints the tokenizer. Ask for it when the
    /// model is there: a mistyped name leaves no folder behind.
    ///
    /// # Errors
    ///
    /// A folder that is in use or cannot be written, a damaged checkpoint.
    pub fn open<S: Stage>(&mut self, builder: RunBuilder<S>) -> Result<RunBuilder<S>> {
        let builder = if self.processes.is_first() {
            self.open_folder(builder)?
        } else {
            builder.observer(self.stopper())
        };
        let model = match self.hashing.take() {
            Some(hashing) => hashing.finish(&self.model_files, self.hashes_dir())?,
            None => self.fingerprint(&self.model_files)?,
        };
        let mut builder = builder;
        if let Some(copy) = self.copy.clone() {
            builder = builder.sampler_policy(copy);
        }
        if let Some(evaluation) = self.first_evaluation {
            builder = builder.first_evaluation(evaluation.clone());
        }
        if let Some((tokenizer, device)) = self.loaded.clone() {
            builder = builder
                .peak_memory(peak_memory_on(device))
                .extra_file(move |checkpoint| Ok(tokenizer.save(checkpoint)?));
        }
        Ok(builder
            .collective(self.processes.collective())
            .held_out(self.workload.held_out.clone())
            .clock(clock())
            .depends_on("model", model)
            .depends_on("engine", self.settings.engine_name())
            // They change numbers by float noise only, so they are recorded and not refused.
            .depends_on("device", self.settings.device_name())
            .depends_on("threads", self.settings.threads_name())
            .changes(["device", "threads"])
            .changes(self.settings.open_changes(&self.method.name))
            .activity(self.activity.clone())
            .wall_clock(wall_clock()))
    }

    /// The part of the first process alone: files and display.
    fn open_folder<S: Stage>(&mut self, builder: RunBuilder<S>) -> Result<RunBuilder<S>> {
        take_lock(self.lock, self.settings)?;
        End::forget(&self.dir)?;
        self.settings.save()?;
        let run_dir = match self.settings.from_step {
            Some(step) => RunDir::resume_at(&self.dir, step)?,
            None => RunDir::resume_or_create(&self.dir, &self.config)?,
        };
        let steps = self.config.run.steps;
        if let Some((done, _)) = RunDir::checkpoints(&self.dir)?.pop()
            && done >= steps
        {
            let name = &self.method.name;
            let line = format_args!("{name}: nothing to do, step {done} of {steps} is done");
            self.settings.output.note(line);
        }
        let builder = builder.run_dir(run_dir).observer(self.processes.writing());
        Ok(builder
            .observer(self.progress())
            .observer(KeepChanges::new(self.memory, &self.method.name)))
    }

    /// The hash of a model's files. The run compares it between the processes.
    fn fingerprint(&self, files: &[PathBuf]) -> Result<String> {
        fingerprint::of_model(files, self.hashes_dir())
    }

    /// The folder in which hashes are kept, if this process has it.
    fn hashes_dir(&self) -> Option<&Path> {
        self.processes.is_first().then_some(self.settings.out.as_path())
    }

    /// Ends the run when a signal asks for it.
    fn stopper(&self) -> impl Observer + 'static {
        let stop = self.stop.clone();
        observer_from_fn(move |_| {
            if stop.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    /// Gives the run the frozen policies that its loss asks for: the reference of a KL term, and the teacher.
    ///
    /// # Errors
    ///
    /// A model that cannot be read; a teacher with other tokens.
    pub fn frozen_policies(
        &self,
        builder: RunBuilder<PolicyGradient>,
        model: &Model,
    ) -> Result<RunBuilder<PolicyGradient>> {
        let (builder, teacher) =
            self.workload.with_frozen_policies(builder, &self.config, model)?;
        let Some(place) = teacher else { return Ok(builder) };
        let hash = self.fingerprint(&[place])?;
        Ok(builder.depends_on("teacher", hash))
    }

    /// Checks the problems once more with the model at hand, reports the findings, and returns the
    /// problems whose prompts fit.
    ///
    /// # Errors
    ///
    /// As [`Collector::check_problems`]; none that fit.
    pub fn problems(&self, collector: &Collector) -> Result<ProblemSet> {
        self.workload.fitting(collector, |line| self.settings.output.note(format_args!("{line}")))
    }

    /// Shows the run's progress and its verdict, and ends it when Ctrl-C was pressed. Ask for it when the run has
    /// its folder: the verdict takes up the steps of earlier sessions.
    fn progress(&self) -> Progress {
        let history = RunLog::read(&self.dir).map_or_else(|_| History::new(), |log| log.history());
        let (name, config, activity) = (&self.method.name, &self.config, &self.activity);
        let (output, stop) = (self.settings.output, self.stop.clone());
        Progress::new(name, config.clone(), history, activity.clone(), output, stop)
    }

    /// Leaves the end of the session in the run's folder, if this process has it.
    fn record(&self, end: End) {
        let is_here = self.lock.is_some() && self.dir.is_dir();
        if let Some(Err(error)) = is_here.then(|| end.write(&self.dir)) {
            note!("warning: {error:#}");
        }
    }

    /// Reports where a failed run can be continued, unless it was refused.
    fn explain(&self, error: &anyhow::Error) {
        let is_refused = matches!(
            error.downcast_ref(),
            Some(
                GrpoError::Mismatch { .. }
                    | GrpoError::Config(_)
                    | GrpoError::Checkpoint { .. }
                    | GrpoError::NoOptimizer { .. }
                    | GrpoError::InUse { .. }
            )
        );
        if !is_refused {
            self.record(End::Failed(format!("{error:#}")));
        }
        if self.lock.is_some()
            && !is_refused
            && let Ok(checkpoints) = RunDir::checkpoints(&self.dir)
            && let Some((step, _)) = checkpoints.last()
        {
            let out = quoted(&self.settings.out.display().to_string());
            note!("stopped by an error; continue after step {step} with: --resume {out}");
        }
    }
}

/// Keeps other processes out of the folder of all methods, from now on.
fn take_lock(lock: &mut Option<FolderLock>, settings: &Settings) -> Result<()> {
    if lock.is_none() {
        let taken = FolderLock::take(&settings.out)?;
        settings.check_new()?;
        if !taken.is_held() {
            let out = settings.out.display();
            note!("warning: `{out}` cannot be locked; start no other process there");
        }
        *lock = Some(taken);
    }
    Ok(())
}

fn policy_gradient(job: &mut Job<'_>) -> Result<Outcome> {
    let model = job.model()?;
    let parts = model.parts(job.engine(&model)?);
    let builder = job.open(Trainer::from_config(job.config.clone(), parts)?)?;
    let mut trainer = job.frozen_policies(builder, &model)?.build()?;
    // Not before: what was loaded moved into the optimizer's buffers, and leaves its memory to others.
    keep_freed_memory(model.report.device);
    let problems = job.problems(trainer.collector_mut())?;
    Ok(trainer.run(&problems)?)
}

fn supervised(job: &mut Job<'_>) -> Result<Outcome> {
    let model = job.model()?;
    let demonstrations = model.demonstrations(&job.workload.train, &job.config.verifier)?;
    let collector = model.collector(job.engine(&model)?, &job.config)?;
    let builder = SupervisedTrainer::builder(model.policy, job.config.clone());
    let mut trainer = job.open(builder.evaluator(collector))?.build()?;
    // As above.
    keep_freed_memory(model.report.device);
    Ok(trainer.run(&demonstrations)?)
}
