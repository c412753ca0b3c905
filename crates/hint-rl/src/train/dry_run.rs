//! Everything that a run does, once and in small, without training anything.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use hint_grpo::advantage::ScoredGroup;
use hint_grpo::config::{EvaluationConfig, Sharding};
use hint_grpo::objective::CreditTeacher;
use hint_grpo::observer::Phase;
use hint_grpo::optim::{FlatBuffer, GradientMemory, Shard};
use hint_grpo::{
    AdvantageEstimator, Demonstration, GrpoConfig, GrpoError, Observer, Optimizer, StepReport,
    SupervisedTrainer, Trainer, metrics,
};
use hint_policy::Parameter;
use hint_policy::estimate::{MemoryEstimate, mebibytes};
use hint_policy::runtime::{DeviceMemory, device_memory};
use hint_process::clock;
use hint_rollout::RolloutEngine;

use super::engine::local;
use super::lengths::Lengths;
use super::memory::{Sharing, demand};
use super::settings::Settings;
use super::transfer::VllmWeights;
use crate::launch::Backend;
use crate::process::{keep_freed_memory, peak_memory_on};
use crate::workload::{Model, Workload, report_refusals};

/// Goes through all parts of a run, once and in small. They are configuration, problems and reference
/// answers, model, memory, and one step of one group without its update. Of several methods, the last one
/// takes the step. Passes each finding to `say` when it is made, and long work when it begins. The memory is that of one of
/// `world_size` processes.
///
/// # Errors
///
/// Any error that would end the run in its first step.
pub(crate) fn dry_run(
    settings: &Settings,
    world_size: usize,
    say: impl Fn(&str) + Clone + Send + 'static,
) -> Result<()> {
    let say = Say(say);
    let method = settings.chosen().last().context("there is no method to run")?;
    let is_supervised = method.is_supervised();
    let mut config = settings.config(method);
    say.line("config", &plan(settings, &config));
    let workers = config.run.virtual_workers.unwrap_or(world_size);
    ensure!(
        workers >= world_size,
        "`run.virtual_workers` is {workers}, and must be at least 1 for each of the {world_size} processes"
    );
    let workload = settings.workload()?;
    let (train, held_out) = (workload.train.len(), workload.held_out.len());
    let problems = &settings.problems;
    say.line("problems", &format!("{problems}: {train} to train on, {held_out} held out"));
    for line in workload.left_out.iter().chain(&workload.notes) {
        say.line("problems", line);
    }
    settings.check_hints(&workload.train)?;
    say.line("model", &format!("loading {} …", settings.model));
    let model = workload.model(config.run.seed)?;
    say.line("model", &model.report.to_string());
    report_refusals(&model.refusals, model.report.device);
    config.resolve_tokens(&model.tokenizer)?;
    let device = model.report.device;

    let demonstrations = if is_supervised {
        model.demonstrations(&workload.train, &config.verifier)?
    } else {
        Vec::new()
    };
    let lengths = Lengths::new(&workload, &model, &config, &demonstrations)?;
    say.line("lengths", &lengths.to_string());
    let (optimizer, sharing) = optimizer(&config, &model, world_size, &say)?;
    let demand =
        demand(settings, (method, &config), &model, &*optimizer, &lengths, held_out, sharing);
    let estimate = MemoryEstimate::new(&demand);
    for line in estimate.to_string().lines() {
        say.line("memory", line);
    }

    if let Some(DeviceMemory { free, total }) = device_memory(model.report.device) {
        let (free, total) = (mebibytes(free), mebibytes(total));
        say.line("memory", &format!("{:<16} {free:>11}  of {total} on the GPU", "free"));
    }

    keep_freed_memory(model.report.device);
    let parts = Parts { config: in_small(config), optimizer: Still(optimizer), say: say.clone() };
    let report = if is_supervised {
        supervised_step(parts, &model, &demonstrations)?
    } else {
        policy_gradient_step(parts, local(settings, &model, None), &model, &workload)?
    };
    say_rollout(&report, &say);
    say_update(&report, is_supervised, &say)?;
    if let Some(peak) = peak_memory_on(device)() {
        say.line("memory", &format!("{:<16} {:>11}", "peak so far", mebibytes(peak)));
    }
    say.line("done", "nothing was trained, nothing was written");
    Ok(())
}

/// Refuses options that ask for a connection, which a dry run does not try.
///
/// # Errors
///
/// Such an option.
pub(super) fn refuse_untried(settings: &Settings, backend: Backend) -> Result<()> {
    ensure!(
        backend != Backend::Nccl,
        "--backend nccl is for several processes, and --dry-run takes one; leave one of the two out"
    );
    ensure!(
        settings.vllm_weights != VllmWeights::Nccl,
        "--vllm-weights nccl is not tried by --dry-run, which asks no server; leave one of the two out"
    );
    Ok(())
}

/// The optimizer, with the state that the first of `world_size` processes holds, and what they share.
fn optimizer(
    config: &GrpoConfig,
    model: &Model,
    world_size: usize,
    say: &Say<impl Fn(&str)>,
) -> Result<(Box<dyn Optimizer>, Sharing)> {
    let shard = Shard { rank: 0, world_size };
    let parameters = model.policy.lock().parameters();
    let mut optimizer = config.optimizer.build_shard(parameters, shard)?;
    let workers = config.run.virtual_workers.unwrap_or(world_size);
    let buffers = if workers > 1 { optimizer.shard(shard) } else { None };
    let shares_weights = world_size > 1 && config.run.shard == Sharding::Parameters;
    let can_share = |buffers: &Vec<FlatBuffer>| buffers.iter().all(|one| one.own.is_some());
    ensure!(
        !shares_weights || buffers.as_ref().is_some_and(can_share),
        "`run.shard` is `parameters`, which needs AdamW; take that, or `gradients`"
    );
    ensure!(
        !shares_weights || !matches!(config.loss.credit.teacher, CreditTeacher::Average { .. }),
        "`run.shard` is `parameters`, and an average of the weights teaches; take another teacher, or `gradients`"
    );
    let of = |buffers: Vec<FlatBuffer>| {
        GradientMemory::new(&buffers, &**model.policy.lock(), shard, workers)
    };
    let gradients = buffers.map(of);
    if world_size > 1 {
        let held = if shares_weights {
            "a part of the optimizer's state and of the sum of gradients, and of the weights while it learns"
        } else if gradients.is_some() {
            "a part of the optimizer's state and of the sum of gradients"
        } else {
            "all of the optimizer's state: this algorithm cannot share it"
        };
        say.line("memory", &format!("one of {world_size} processes holds {held}"));
    }
    Ok((optimizer, Sharing { world_size, gradients }))
}

/// Prints the completions of the step, unless it sampled none.
fn say_rollout(report: &StepReport, say: &Say<impl Fn(&str)>) {
    let value = |name| report.metrics.get(name);
    let Some(length) = value(metrics::COMPLETIONS_MEAN_LENGTH) else { return };
    let rate = value(metrics::ROLLOUT_PASS_RATE).unwrap_or(0.0);
    let verdicts = report.metrics.iter().filter_map(|(name, share)| {
        Some(format!("{} {share:.2}", metrics::which(metrics::VERDICT, name)?))
    });
    let verdicts = verdicts.collect::<Vec<_>>().join(", ");
    let hinted = value(metrics::HINT_PASS_RATE);
    let hinted = hinted.map_or_else(String::new, |rate| format!(", with a hint {rate:.2}"));
    let seconds = report.timings.rollout.as_secs_f64();
    say.line(
        "rollout",
        &format!("pass rate {rate:.2}{hinted}; {length:.0} tokens a completion, {seconds:.1} s"),
    );
    say.line("rewards", &format!("verdicts: {verdicts}"));
}

/// Prints the gradient of the step, and the tokens of its largest micro-batch.
fn say_update(report: &StepReport, is_supervised: bool, say: &Say<impl Fn(&str)>) -> Result<()> {
    let value = |name| report.metrics.get(name);
    let mut found = Vec::new();
    if is_supervised {
        let loss = value(metrics::LOSS).context("the step had no loss")?;
        found.push(format!("loss {loss:.4}"));
    }
    let norm = value(metrics::GRAD_NORM).context("the step had no gradient")?;
    ensure!(
        norm > 0.0,
        "the gradient of the step is zero: its completions have no tokens to learn"
    );
    let (tokens, seconds) =
        (value(metrics::MICRO_BATCH_TOKENS).unwrap_or(0.0), report.timings.update.as_secs_f64());
    found.push(format!("gradient norm {norm:.3e}"));
    found.push(format!("at most {tokens:.0} tokens at a time, {seconds:.1} s"));
    say.line("update", &found.join(", "));
    Ok(())
}

/// The planned runs.
fn plan(settings: &Settings, config: &GrpoConfig) -> String {
    let chosen = settings.chosen().collect::<Vec<_>>();
    let methods = chosen.iter().map(|method| method.name.as_str()).collect::<Vec<_>>();
    let run = &config.run;
    let each = match chosen.as_slice() {
        [one] if one.is_supervised() => "demonstrations".to_owned(),
        _ => format!("problems with {} completions each", config.rollout.group_size),
    };
    let (methods, steps, count) = (methods.join(" and "), run.steps, run.prompts_per_step);
    format!("valid; {methods}: {steps} steps of {count} {each}")
}

/// Receiver of lines, each behind its topic.
#[derive(Clone)]
struct Say<S>(S);

impl<S: Fn(&str)> Say<S> {
    fn line(&self, what: &str, text: &str) {
        (self.0)(&format!("{what:<12} {text}"));
    }
}

/// Parts of a step in small.
struct Parts<S> {
    config: GrpoConfig,
    optimizer: Still,
    say: Say<S>,
}

/// The configuration of a single step on a single problem.
fn in_small(mut config: GrpoConfig) -> GrpoConfig {
    config.run.steps = 1;
    config.run.prompts_per_step = 1;
    config.run.num_iterations = 1;
    config.run.num_minibatches = 1;
    config.run.ahead = 0;
    config.evaluation = EvaluationConfig::default();
    config
}

fn policy_gradient_step<S: Fn(&str) + Clone + Send + 'static>(
    parts: Parts<S>,
    engine: Box<dyn RolloutEngine>,
    model: &Model,
    workload: &Workload,
) -> Result<StepReport> {
    let Parts { config, optimizer, say } = parts;
    let run = model.parts(engine);
    let watch = Watch::new(say.clone(), config.rollout.sampling.max_completion_len);
    let builder = Trainer::from_config(config.clone(), run)?
        .optimizer(optimizer)
        .advantage(Alternating)
        .clock(clock())
        .observer(watch.clone());
    let (builder, _) = workload.with_frozen_policies(builder, &config, model)?;
    let mut trainer = builder.build()?;
    let train = workload.fitting(trainer.collector_mut(), |line| say.line("problems", line))?;
    trainer.run(&train)?;
    watch.last()
}

fn supervised_step<S: Fn(&str) + Clone + Send + 'static>(
    parts: Parts<S>,
    model: &Model,
    demonstrations: &[Demonstration],
) -> Result<StepReport> {
    let Parts { config, optimizer, say } = parts;
    let watch = Watch::new(say, 0);
    SupervisedTrainer::builder(model.policy.clone(), config)
        .optimizer(optimizer)
        .clock(clock())
        .observer(watch.clone())
        .build()?
        .run(demonstrations)?;
    watch.last()
}

/// An optimizer that does not change the weights, with all the memory of the one that it stands for.
struct Still(Box<dyn Optimizer>);

impl Optimizer for Still {
    fn step(&mut self, _learning_rate: f64) -> Result<(), GrpoError> {
        Ok(())
    }

    fn parameters(&self) -> &[Parameter] {
        self.0.parameters()
    }

    fn zero_grad(&mut self) {
        self.0.zero_grad();
    }
}

/// Advantages of 1 and −1 in turn, so that a group whose rewards are all equal has a gradient as
/// well.
struct Alternating;

impl AdvantageEstimator for Alternating {
    fn estimate(&mut self, group: &ScoredGroup<'_>) -> Result<Vec<f64>, GrpoError> {
        Ok((0..group.rewards.len()).map(|index| if index % 2 == 0 { 1.0 } else { -1.0 }).collect())
    }
}

/// Announces new work, and keeps the report.
#[derive(Clone)]
struct Watch<S> {
    say: Say<S>,
    limit: usize,
    report: Arc<Mutex<Option<StepReport>>>,
}

impl<S: Fn(&str)> Watch<S> {
    fn new(say: Say<S>, limit: usize) -> Self {
        Self { say, limit, report: Arc::default() }
    }

    fn last(&self) -> Result<StepReport> {
        let mut report = self.report.lock().expect("no observer panics");
        report.take().context("the step was not reported")
    }
}

impl<S: Fn(&str) + Send> Observer for Watch<S> {
    fn on_phase(&mut self, _step: u64, phase: Phase) {
        match phase {
            Phase::Rollout => {
                let text = format!("sampling a group, up to {} tokens a completion …", self.limit);
                self.say.line("rollout", &text);
            }
            Phase::Update => self.say.line("update", "forward and backward pass …"),
            _ => {}
        }
    }

    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        *self.report.lock().expect("no observer panics") = Some(report.clone());
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;

    fn lines(args: &[&str]) -> Vec<String> {
        try_lines(args).unwrap()
    }

    fn try_lines(args: &[&str]) -> Result<Vec<String>> {
        let args = ["hint_grpo", "--dry-run"].into_iter().chain(args.iter().copied());
        let options = Options::parse(args).unwrap();
        let world_size = options.world_size;
        let settings = options.resolve().unwrap();
        tch::set_num_threads(1);
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&said);
        dry_run(&settings, world_size, move |line| lines.lock().unwrap().push(line.to_owned()))?;
        Ok(std::mem::take(&mut *said.lock().unwrap()))
    }

    /// Topics of the lines, repetitions in a row left out.
    fn topics(lines: &[String]) -> Vec<&str> {
        let mut topics = lines.iter().filter_map(|line| line.split(' ').next()).collect::<Vec<_>>();
        topics.dedup();
        topics
    }

    #[test]
    fn every_part_is_told_once_and_as_it_comes() {
        let small =
            ["--set", "rollout.group_size=2", "--set", "rollout.sampling.max_completion_len=4"];
        let lines = lines(&small);
        let expected = [
            "config", "problems", "model", "lengths", "memory", "problems", "rollout", "update",
            "rollout", "rewards", "update", "memory", "done",
        ];
        assert_eq!(topics(&lines), expected, "{lines:#?}");
        assert!(
            lines[0].ends_with("grpo and hint: 30 steps of 12 problems with 2 completions each")
        );
    }

    #[test]
    fn connections_that_it_does_not_try_are_refused() {
        let check = |args: &[&str]| {
            let args = ["hint_grpo", "--dry-run"].into_iter().chain(args.iter().copied());
            let options = Options::parse(args).unwrap();
            let backend = options.launch.backend;
            let settings = options.resolve().unwrap();
            refuse_untried(&settings, backend).map_err(|error| error.to_string())
        };
        assert_eq!(check(&["--backend", "gloo"]), Ok(()));
        let error = check(&["--backend", "nccl"]).unwrap_err();
        assert!(error.starts_with("--backend nccl is for several processes"), "{error}");
        let weights = |way| check(&["--vllm", "http://127.0.0.1:8000", "--vllm-weights", way]);
        assert_eq!(weights("folder"), Ok(()));
        let error = weights("nccl").unwrap_err();
        assert!(error.starts_with("--vllm-weights nccl is not tried by --dry-run"), "{error}");
    }

    #[test]
    fn one_of_several_processes_holds_its_part_of_the_state() {
        let small =
            ["--set", "rollout.group_size=2", "--set", "rollout.sampling.max_completion_len=4"];
        let optimizer = |more: &[&str]| {
            let lines = lines(&[&small, more].concat());
            let line = lines.iter().find(|line| line.starts_with("memory       optimizer"));
            let line = line.unwrap_or_else(|| panic!("{lines:#?}"));
            let number = line.split_whitespace().nth(2).expect("a number");
            number.parse::<f64>().unwrap_or_else(|_| panic!("{line}"))
        };
        let (alone, shared) = (optimizer(&[]), optimizer(&["--world-size", "4"]));
        // A part is cut at 24 576 weights.
        assert!((alone / 4.0..alone / 2.0).contains(&shared), "{shared} of {alone} MiB");
        let sgd = ["--set", "optimizer.algorithm={ type = 'sgd', momentum = 0.9 }"];
        let sgd = |more: &[&str]| optimizer(&[&sgd, more].concat());
        assert_eq!(sgd(&[]), sgd(&["--world-size", "4"]));
    }

    #[test]
    fn weights_in_parts_are_whole_except_while_learning() {
        let small =
            ["--set", "rollout.group_size=2", "--set", "rollout.sampling.max_completion_len=4"];
        let shared = ["--world-size", "2", "--set", "run.shard='parameters'"];
        let lines = lines(&[&small[..], &shared].concat());
        let weights = lines.iter().filter(|line| line.starts_with("memory       weights"));
        let weights = weights.map(|line| line.rsplit("  ").next().unwrap()).collect::<Vec<_>>();
        assert_eq!(weights, ["while sampling", "while learning", "while saving"], "{lines:#?}");
        let words = "and of the weights while it learns";
        assert!(lines.iter().any(|line| line.ends_with(words)), "{lines:#?}");
        let average = ["--set", "loss.credit.teacher={ type = 'average', decay = 0.5 }"];
        let error = try_lines(&[&small[..], &shared, &average].concat()).unwrap_err();
        assert!(format!("{error:#}").contains("an average of the weights teaches"), "{error:#}");
        let few = ["--world-size", "4", "--set", "run.virtual_workers=2"];
        let error = format!("{:#}", try_lines(&few).unwrap_err());
        assert!(error.contains("`run.virtual_workers` is 2, and must be at least 1"), "{error}");
    }

    #[test]
    fn gradients_of_several_processes_are_there_while_learning_alone() {
        let small =
            ["--set", "rollout.group_size=2", "--set", "rollout.sampling.max_completion_len=4"];
        let gradients = |more: &[&str]| {
            let lines = lines(&[&small, more].concat());
            let line = lines.iter().find(|line| line.starts_with("memory       gradients"));
            let line = line.unwrap_or_else(|| panic!("{lines:#?}"));
            let number = line.split_whitespace().nth(2).expect("a number");
            let number = number.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            (number, line.ends_with("all the time"), line.ends_with("while learning"))
        };
        let (_, always, _) = gradients(&[]);
        assert!(always, "one worker keeps them");
        // A row each, and several micro-batches each.
        let one = gradients(&["--world-size", "4", "--set", "run.virtual_workers=24"]);
        let many = gradients(&["--world-size", "4", "--set", "run.max_tokens_per_micro_batch=100"]);
        assert!(one.2 && many.2 && one.0 > 0.0, "{one:?} {many:?}");
    }
}
