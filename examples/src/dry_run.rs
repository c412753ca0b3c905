//! Everything that a run does, once and in small, without training anything.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hint_grpo::{
    AdvantageEstimator, EvaluationConfig, GrpoConfig, GrpoError, Observer, Optimizer, ScoredGroup,
    StepReport, SupervisedTrainer, Trainer, metrics,
};
use hint_policy::{Parameter, Policy as _};
use hint_rollout::Problem;
use tch::Kind;

use crate::engine::local;
use crate::memory::{MemoryEstimate, mebibytes, peak_memory};
use crate::options::{Compute, Method, Settings};
use crate::workload::{Assembly, Workload};

/// Runs `method` in small: one group, one forward and backward pass, no update. Returns what there
/// is to say about it.
///
/// # Errors
///
/// Whatever would end the run in its first step.
pub fn dry_run(method: Method, settings: &Settings, workload: &Workload) -> Result<String> {
    let config = settings.config(method);
    let assembly = workload.assemble(&config, local)?;
    let mut lines = String::new();
    // Writing to a string cannot fail.
    let mut say = |what: &str, text: &str| {
        let _ = writeln!(lines, "{what:<12} {text}");
    };
    let parameters = assembly.policy.lock().parameters();
    say("model", &assembly.report.to_string());
    let longest = longest_prompt(&assembly, &workload.train)?;
    let room = assembly.policy.lock().max_positions();
    let most = longest + config.rollout.sampling.max_completion_len;
    let fits = if most <= room { "fit into" } else { "do not all fit into" };
    let limit = config.rollout.sampling.max_completion_len;
    say(
        "lengths",
        &format!(
            "plain prompts of up to {longest} tokens and completions of up to {limit} {fits} the model's {room}"
        ),
    );
    let compute = match settings.compute {
        Compute::F32 => Kind::Float,
        Compute::Bf16 => Kind::BFloat16,
    };
    let estimate = MemoryEstimate::new(&assembly.model, parameters, &config, longest, compute)?;
    say("memory", &format!("estimate\n{estimate}"));

    let report = match method {
        Method::Sft => supervised_step(config, assembly, workload)?,
        Method::Grpo | Method::Hint => policy_gradient_step(config, assembly, workload)?,
    };
    let value = |name| report.metrics.get(name);
    if let Some(length) = value(metrics::COMPLETIONS_MEAN_LENGTH) {
        let rate = value(metrics::ROLLOUT_PASS_RATE).unwrap_or(0.0);
        let seconds = report.timings.rollout.as_secs_f64();
        let verdicts = report.metrics.iter().filter_map(|(name, share)| {
            Some(format!("{} {share:.2}", name.strip_prefix("verdict/")?))
        });
        let verdicts = verdicts.collect::<Vec<_>>().join(", ");
        say(
            "rollout",
            &format!("pass rate {rate:.2} ({verdicts}), {length:.0} tokens each, {seconds:.1} s"),
        );
    }
    let loss = value(metrics::LOSS).context("the step had no loss")?;
    let norm = value(metrics::GRAD_NORM).context("the step had no gradient")?;
    ensure!(
        norm > 0.0,
        "the gradient of the step is zero: its completions have no tokens to learn"
    );
    let seconds = report.timings.update.as_secs_f64();
    say("update", &format!("loss {loss:.4}, gradient norm {norm:.3e}, {seconds:.1} s"));
    if let Some(peak) = peak_memory() {
        say("peak so far", &mebibytes(peak));
    }
    Ok(lines)
}

/// Length of the longest plain prompt, in tokens.
fn longest_prompt(assembly: &Assembly, problems: &[Problem]) -> Result<usize> {
    let mut longest = 0;
    for problem in problems {
        longest = longest.max(assembly.format.encode(problem, None)?.len());
    }
    Ok(longest)
}

/// The configuration of a single step on a single problem.
fn in_small(mut config: GrpoConfig) -> GrpoConfig {
    config.run.steps = 1;
    config.run.problems_per_step = 1;
    config.run.updates_per_batch = 1;
    config.run.mini_batches = 1;
    config.evaluation = EvaluationConfig::default();
    config
}

fn policy_gradient_step(
    config: GrpoConfig,
    assembly: Assembly,
    workload: &Workload,
) -> Result<StepReport> {
    let config = in_small(config);
    let Assembly { policy, collector, .. } = assembly;
    let (still, last) = (Still::new(policy.lock().parameters()), Last::default());
    let mut builder = Trainer::builder(policy.clone(), collector, config.clone())
        .optimizer(still)
        .advantage(Alternating)
        .clock(clock())
        .observer(last.clone());
    if config.kl.coef != 0.0 {
        let reference = hint_policy::SharedPolicy::new(workload.load_model()?.policy);
        builder = builder.reference(reference);
    }
    builder.build()?.run(&workload.train)?;
    last.take()
}

fn supervised_step(
    config: GrpoConfig,
    assembly: Assembly,
    workload: &Workload,
) -> Result<StepReport> {
    let demonstrations = workload.demonstrations(&*assembly.format, &assembly.tokenizer)?;
    let policy = assembly.policy;
    let (still, last) = (Still::new(policy.lock().parameters()), Last::default());
    SupervisedTrainer::builder(policy, in_small(config))
        .optimizer(still)
        .clock(clock())
        .observer(last.clone())
        .build()?
        .run(&demonstrations)?;
    last.take()
}

fn clock() -> impl Fn() -> std::time::Duration + Send {
    #[expect(clippy::disallowed_methods, reason = "a program may read the clock")]
    let start = Instant::now();
    move || start.elapsed()
}

/// An optimizer that leaves the weights as they are.
struct Still {
    parameters: Vec<Parameter>,
}

impl Still {
    fn new(parameters: Vec<Parameter>) -> Self {
        Self { parameters }
    }
}

impl Optimizer for Still {
    fn step(&mut self, _learning_rate: f64) -> Result<(), GrpoError> {
        Ok(())
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
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

/// Keeps the last report.
#[derive(Clone, Default)]
struct Last(Arc<Mutex<Option<StepReport>>>);

impl Last {
    fn take(&self) -> Result<StepReport> {
        self.0.lock().expect("no observer panics").take().context("the step was not reported")
    }
}

impl Observer for Last {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        *self.0.lock().expect("no observer panics") = Some(report.clone());
        ControlFlow::Continue(())
    }
}
