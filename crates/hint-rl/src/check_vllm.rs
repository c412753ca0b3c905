//! `hint-rl check-vllm`: trains through vLLM servers, and compares every log-probability that they report with the trainer's.
//!
//! ```text
//! cargo xtask e2e-vllm
//! hint-rl check-vllm --server http://127.0.0.1:8000 --model DIR
//! ```
//!
//! The first command installs vLLM, starts a server on SmolLM2 and calls this command. The second one uses
//! servers that run already, on the folder of `hint-rl export --untied-head` (docs/vllm.md). It first sends a
//! damaged checkpoint, which must leave the servers usable, and then makes five steps of HINT in f32. Prints
//! a line per step and writes weights into `--weights`. Fails if log-probabilities differ by more than the
//! tolerance after any change of weights. Takes about three minutes on two CPU cores.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use clap::Args;
use hint_grpo::{GrpoConfig, Hints, Observer, Parts, Rewards, StepReport, Trainer, metrics};
use hint_policy::{LoadOptions, LoadedModel, ScoreOptions, SharedPolicy, TokenBatch, TokenRow};
use hint_reward::{MathVerifier, Rubric, reward::Brevity};
use hint_rollout::engine::HeadWeights;
use hint_rollout::engine::vllm::{VllmEngine, VllmOptions};
use hint_rollout::evaluate::EvaluationOptions;
use hint_rollout::{
    ChatFormat, Completion, GenerationRequest, PolicyVersion, Problem, RolloutEngine, RolloutError,
    WeightSource,
};

use crate::train::report_server;

/// Compares vLLM servers with the trainer over a few steps.
#[derive(Debug, Args)]
pub struct Options {
    /// Address of a server; may be given several times.
    #[arg(long, required = true, value_name = "URL")]
    server: Vec<String>,

    /// Name under which the servers serve the model.
    #[arg(long, default_value = "policy")]
    served_name: String,

    /// The folder that the servers were started on.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// Folder for weights, which the servers see, too.
    #[arg(long, value_name = "DIR")]
    weights: PathBuf,

    /// Optimizer steps.
    #[arg(long, default_value_t = 5)]
    steps: u64,

    /// Largest difference of a log-probability, in nats.
    #[arg(long, default_value_t = 1e-3)]
    tolerance: f64,
}

/// Differences of log-probabilities over some tokens, in nats.
#[derive(Debug, Clone, Copy, Default)]
struct Difference {
    tokens: usize,
    sum: f64,
    max: f64,
}

impl Difference {
    fn observe(&mut self, ours: &[f64], theirs: &[f64]) {
        for (ours, theirs) in ours.iter().zip(theirs) {
            let difference = (ours - theirs).abs();
            self.tokens += 1;
            self.sum += difference;
            self.max = larger(self.max, difference);
        }
    }

    fn merge(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.sum += other.sum;
        self.max = larger(self.max, other.max);
    }

    fn mean(self) -> f64 {
        self.sum / self.tokens.max(1) as f64
    }
}

/// The larger of two numbers; `f64::max` would pass over a NaN.
fn larger(left: f64, right: f64) -> f64 {
    if right > left || right.is_nan() { right } else { left }
}

/// Observations under one version of the weights.
#[derive(Debug, Clone, Copy, Default)]
struct Comparison {
    /// Engine against trainer, under the same weights.
    same_weights: Difference,
    /// Engine under these weights against the trainer under the next ones: the error of an engine
    /// that kept its old weights.
    next_weights: Difference,
}

type Comparisons = Arc<Mutex<Vec<Comparison>>>;

/// Passes everything on to an engine, and scores its samples with the trainer's policy.
struct Compared {
    engine: VllmEngine,
    policy: SharedPolicy,
    version: PolicyVersion,
    /// Some samples under the present weights.
    kept: Vec<Sampled>,
    seen: Comparisons,
}

/// A completion with its source.
struct Sampled {
    prompt: Vec<u32>,
    temperature: f64,
    completion: Completion,
}

/// Completions that are scored once more when the weights change.
const KEPT: usize = 4;

impl Compared {
    /// Differences between the policy and the engine.
    fn compare(&self, sampled: &[Sampled]) -> Result<Difference, RolloutError> {
        let mut difference = Difference::default();
        let policy = self.policy.lock();
        for one in sampled {
            let Sampled { prompt, temperature, completion } = one;
            let row = TokenRow { prompt, completion: &completion.tokens };
            let batch = TokenBatch::new(&[row], policy.device())?;
            let options = ScoreOptions { temperature: *temperature, ..ScoreOptions::default() };
            let scores = tch::no_grad(|| policy.score(&batch, &options))?;
            let logprobs = Vec::<f64>::try_from(scores.logprobs.view([-1]))
                .map_err(|error| RolloutError::other("comparison", error))?;
            difference.observe(&logprobs[prompt.len()..], &completion.behavior_logprobs);
        }
        Ok(difference)
    }

    fn with_seen(&self, change: impl FnOnce(&mut Vec<Comparison>)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl RolloutEngine for Compared {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let groups = self.engine.generate(requests)?;
        let mut sampled = Vec::new();
        for (request, group) in requests.iter().zip(&groups) {
            for completion in group {
                if completion.version != self.version {
                    let text = format!("{:?}, expected {:?}", completion.version, self.version);
                    return Err(RolloutError::other("version of a completion", text));
                }
                sampled.push(Sampled {
                    prompt: request.prompt.clone(),
                    temperature: request.sampling.temperature,
                    completion: completion.clone(),
                });
            }
        }
        let difference = self.compare(&sampled)?;
        self.with_seen(|seen| {
            if let Some(last) = seen.last_mut() {
                last.same_weights.merge(difference);
            }
        });
        sampled.truncate(KEPT.saturating_sub(self.kept.len()));
        self.kept.append(&mut sampled);
        Ok(groups)
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        let moved = self.compare(&self.kept)?;
        self.engine.sync(weights)?;
        self.version = weights.version();
        self.kept.clear();
        self.with_seen(|seen| {
            if let Some(last) = seen.last_mut() {
                last.next_weights = moved;
            }
            seen.push(Comparison::default());
        });
        Ok(())
    }
}

/// A checkpoint that no server can load.
struct Damaged;

impl WeightSource for Damaged {
    fn version(&self) -> PolicyVersion {
        PolicyVersion(u64::MAX)
    }

    fn write_checkpoint(&self, dir: &Path, _head: HeadWeights) -> Result<(), RolloutError> {
        std::fs::write(dir.join("model.safetensors"), "no weights")
            .map_err(|error| RolloutError::other("damaged checkpoint", error))
    }
}

/// Prints a line a step.
struct Lines(Comparisons);

impl Observer for Lines {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one belongs to the weights that this step has made.
        let Some(comparison) = seen.len().checked_sub(2).and_then(|index| seen.get(index)) else {
            return ControlFlow::Continue(());
        };
        let share = |name| report.metrics.get(name).unwrap_or(0.0);
        say!(
            "{:>4} {:>8} {:>8.3} {:>8.3} {:>10.2e} {:>10.2e} {:>12.2e} {:>10.3}",
            report.step,
            comparison.same_weights.tokens,
            share(metrics::ROLLOUT_PASS_RATE),
            share(metrics::HINT_HINTED_FRAC),
            comparison.same_weights.mean(),
            comparison.same_weights.max,
            comparison.next_weights.max,
            share(metrics::GRAD_NORM),
        );
        ControlFlow::Continue(())
    }
}

/// Additions and products that a small model finds hard enough to need a hint now and then.
fn problems() -> Vec<Problem> {
    let hint = "Work with the tens first, then with the ones, and put the two together.";
    (2..22)
        .map(|n| {
            let (left, right) = (7 * n + 5, 3 * n + 8);
            let question = format!("What is {left} + {right}?");
            Problem::new(format!("sum-{n}"), question, (left + right).to_string()).with_hint(hint)
        })
        .collect()
}

const CONFIG: &str = r"
[run]
steps = 5
prompts_per_step = 2
max_tokens_per_micro_batch = 1024
[rollout]
group_size = 4
[rollout.sampling]
temperature = 0.9
max_completion_len = 48
[optimizer]
learning_rate = 1e-5
";

/// Runs the command.
///
/// # Errors
///
/// Servers that cannot be used, log-probabilities that differ by more than the tolerance.
pub fn run(options: &Options) -> Result<()> {
    let mut config = GrpoConfig::from_toml(CONFIG)?;
    config.run.steps = options.steps;
    let model = LoadedModel::load(&options.model, &LoadOptions::default())?;
    let policy = SharedPolicy::new(model.policy);

    let mut servers = VllmOptions::new(&options.server, &options.served_name, &options.weights);
    servers.dtype = Some("float32".to_owned());
    servers.request_timeout_s = 120.0;
    let mut engine = VllmEngine::builder(servers)
        .stop_tokens(model.stop_tokens.clone())
        .observer(report_server)
        .connect()?;
    let refused = engine.sync(&Damaged).err().context("a damaged checkpoint was accepted")?;
    say!("a damaged checkpoint is refused: {refused}");

    let seen = Comparisons::default();
    let engine = Compared {
        engine,
        policy: policy.clone(),
        version: PolicyVersion::default(),
        kept: Vec::new(),
        seen: Arc::clone(&seen),
    };
    let format = ChatFormat::new(model.tokenizer.into(), model.stop_tokens)
        .with_instruction("Put your final answer within \\boxed{}.");
    // Lengths always differ, so that every step has a gradient.
    let rubric = Rubric::new(MathVerifier::new()).with(0.2, Brevity::new(48)?);
    let sampling = config.rollout.sampling.clone();
    let parts =
        Parts { policy, engine, format, rewards: Rewards::own(rubric), hints: Hints::configured() };
    say!("step   tokens     pass   hinted  mean diff   max diff    if missed  grad norm");
    let mut trainer =
        Trainer::from_config(config, parts)?.observer(Lines(Arc::clone(&seen))).build()?;
    let problems = problems();
    trainer.run(&problems)?;
    // The weights of the last step are compared, too.
    let last = EvaluationOptions::sampled(2, sampling);
    trainer.collector_mut().evaluate(&&problems[..4], &last)?;
    drop(trainer);

    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let last = seen.last().context("nothing was compared")?.same_weights;
    let (tokens, mean, max) = (last.tokens, last.mean(), last.max);
    say!(" end {tokens:>8} {:>17} {mean:>10.2e} {max:>10.2e}", "");
    check(&seen, options.steps, options.tolerance)?;
    say!("engine and trainer agree within {:.0e} after every change of weights", options.tolerance);
    Ok(())
}

fn check(seen: &[Comparison], steps: u64, tolerance: f64) -> Result<()> {
    ensure!(
        seen.len() as u64 == steps + 1,
        "{} changes of weights, expected {}",
        seen.len(),
        steps + 1
    );
    for (version, comparison) in seen.iter().enumerate() {
        let Difference { tokens, max, .. } = comparison.same_weights;
        ensure!(tokens > 0, "nothing was sampled under version {version} of the weights");
        ensure!(max <= tolerance, "version {version}: a log-probability differs by {max:.2e} nats");
        let moved = comparison.next_weights.max;
        ensure!(
            version as u64 == steps || moved > tolerance,
            "the update of version {version} moved no log-probability by more than {moved:.2e} nats: \
             an engine with old weights would not be noticed"
        );
    }
    Ok(())
}
