//! `hint-rl check-vllm`: trains through vLLM servers, and compares every log-probability that they report with the trainer's.
//!
//! ```text
//! cargo xtask e2e-vllm
//! hint-rl check-vllm --server http://127.0.0.1:8000 --model DIR
//! ```
//!
//! The first command installs vLLM, starts a server on SmolLM2 and calls this command. The second one uses
//! servers that run already, on the folder of `hint-rl export --untied-head` (docs/vllm.md). It first sends a
//! damaged checkpoint, which must leave the servers usable, and then makes five steps of HINT in f32. At the end it
//! samples with stop texts, a least length and banned tokens. With `--lora` it trains adapters, and the servers get each
//! version of them by name. Prints a line per step and writes weights into `--weights`. Fails if log-probabilities
//! differ by more than the tolerance after any change of weights, or a completion exceeds its limits. Takes about three
//! minutes on two CPU cores.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use clap::Args;
use hint_grpo::{GrpoConfig, Hints, Observer, Parts, Rewards, StepReport, Trainer, metrics};
use hint_policy::{
    LoadOptions, LoadedModel, Policy, ScoreOptions, SharedPolicy, TokenBatch, TokenRow, Tokenizer,
};
use hint_reward::{MathVerifier, Rubric, reward::Brevity};
use hint_rollout::engine::HeadWeights;
use hint_rollout::engine::vllm::{VllmEngine, VllmOptions};
use hint_rollout::evaluate::{Evaluation, EvaluationOptions};
use hint_rollout::{
    ChatFormat, Completion, GenerationRequest, PolicyVersion, Problem, RolloutEngine, RolloutError,
    Sampling, StopReason, WeightSource,
};
use tch::{Kind, Tensor};

use crate::train::{explain_key, parse_lora, report_server, server_key};

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

    /// Train low-rank adapters, as `hint-rl train --lora` does, and give the servers these alone.
    #[arg(long, value_name = "KEY=VALUE,...", num_args = 0..=1, default_missing_value = "")]
    lora: Option<String>,

    /// The environment variable that holds the API key of the servers [default: `VLLM_API_KEY`, if it is set].
    #[arg(long, value_name = "VARIABLE")]
    vllm_key_env: Option<String>,

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
    /// Tokens that end a completion.
    stop_tokens: Vec<u32>,
    /// Some samples under the present weights.
    kept: Vec<Sampled>,
    seen: Comparisons,
}

/// A completion with its source.
struct Sampled {
    prompt: Vec<u32>,
    sampling: Sampling,
    completion: Completion,
}

impl Sampled {
    /// Log-probabilities of its tokens under `policy`, in nats.
    fn logprobs(&self, policy: &dyn Policy, stop_tokens: &[u32]) -> Result<Vec<f64>, RolloutError> {
        let Self { prompt, sampling, completion } = self;
        let row = TokenRow { prompt, completion: &completion.tokens };
        let batch = TokenBatch::new(&[row], policy.device())?;
        let scores = if sampling.truncates() {
            self.limited(&policy.logits(&batch)?, stop_tokens)?
        } else {
            let options =
                ScoreOptions { temperature: sampling.temperature, ..ScoreOptions::default() };
            let scores = policy.score(&batch, &options)?.logprobs.view([-1]);
            scores.narrow(0, size(prompt.len())?, size(completion.tokens.len())?)
        };
        Vec::try_from(scores).map_err(|error| RolloutError::other("comparison", error))
    }

    /// Log-probabilities of its tokens where some cannot be drawn: the banned ones, and `stop_tokens` before the least
    /// length. `logits` is `[1, seq, vocab]`.
    fn limited(&self, logits: &Tensor, stop_tokens: &[u32]) -> Result<Tensor, RolloutError> {
        let Self { prompt, sampling, completion } = self;
        let ids = |tokens: &[u32]| {
            let ids = tokens.iter().map(|&token| i64::from(token)).collect::<Vec<_>>();
            Tensor::from_slice(&ids).to_device(logits.device())
        };
        let (length, least) = (completion.tokens.len(), sampling.min_completion_len);
        let logits = logits.squeeze_dim(0).narrow(0, size(prompt.len())? - 1, size(length)?);
        let mut logits = logits.to_kind(Kind::Double) / sampling.temperature;
        let _ = logits.index_fill_(1, &ids(&sampling.banned_tokens), f64::NEG_INFINITY);
        let mut first = logits.narrow(0, 0, size(length.min(least))?);
        let _ = first.index_fill_(1, &ids(stop_tokens), f64::NEG_INFINITY);
        let chosen = ids(&completion.tokens).unsqueeze(1);
        Ok(logits.log_softmax(1, Kind::Double).gather(1, &chosen, false).view([-1]))
    }
}

/// A size of a tensor.
fn size(len: usize) -> Result<i64, RolloutError> {
    i64::try_from(len).map_err(|error| RolloutError::other("comparison", error))
}

/// Completions that are scored once more when the weights change.
const KEPT: usize = 4;

impl Compared {
    /// Differences between the policy and the engine.
    fn compare(&self, sampled: &[Sampled]) -> Result<Difference, RolloutError> {
        let mut difference = Difference::default();
        let policy = self.policy.lock();
        for one in sampled {
            let logprobs = tch::no_grad(|| one.logprobs(&**policy, &self.stop_tokens))?;
            difference.observe(&logprobs, &one.completion.behavior_logprobs);
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
                    sampling: request.sampling.clone(),
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

    fn write_adapter(&self, dir: &Path) -> Result<bool, RolloutError> {
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::write(dir.join(file), "no adapter")
                .map_err(|error| RolloutError::other("damaged adapter", error))?;
        }
        Ok(true)
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
    let lora = options.lora.as_deref().map(parse_lora).transpose()?;
    // Fresh adapters do nothing yet, and a small step of them little.
    let changes = lora.is_some().then_some("optimizer.learning_rate=1e-3");
    let mut config = GrpoConfig::from_toml_with(CONFIG, changes)?;
    config.run.steps = options.steps;
    let model = LoadedModel::load(&options.model, &LoadOptions::default())?;
    let policy = SharedPolicy::new(match &lora {
        Some(lora) => model.policy.with_lora(lora, config.run.seed)?,
        None => model.policy,
    });

    let mut servers = VllmOptions::new(&options.server, &options.served_name, &options.weights);
    servers.dtype = Some("float32".to_owned());
    servers.request_timeout_s = 120.0;
    servers.adapter_rank = lora.map(|lora| lora.rank);
    let mut engine =
        VllmEngine::builder(servers).stop_tokens(model.stop_tokens.clone()).observer(report_server);
    if let Some(key) = server_key(options.vllm_key_env.as_deref())? {
        engine = engine.api_key(key);
    }
    let mut engine = engine.connect().map_err(explain_key)?;
    let refused = engine.sync(&Damaged).err().context("damaged weights were accepted")?;
    say!("damaged weights are refused: {refused}");

    let seen = Comparisons::default();
    let engine = Compared {
        engine,
        policy: policy.clone(),
        version: PolicyVersion::default(),
        stop_tokens: model.stop_tokens.clone(),
        kept: Vec::new(),
        seen: Arc::clone(&seen),
    };
    let tokenizer = Arc::new(model.tokenizer);
    let limited = limited(&config.rollout.sampling, &tokenizer)?;
    let format = ChatFormat::new(Arc::clone(&tokenizer), model.stop_tokens)
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
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(Comparison::default());
    let bounded =
        EvaluationOptions { kept_completions: 2, ..EvaluationOptions::sampled(2, limited) };
    let evaluation = trainer.collector_mut().evaluate(&&problems[..8], &bounded)?;
    drop(trainer);

    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let (bounded, seen) = seen.split_last().context("nothing was compared")?;
    let last = seen.last().context("nothing was compared")?.same_weights;
    let (tokens, mean, max) = (last.tokens, last.mean(), last.max);
    say!(" end {tokens:>8} {:>17} {mean:>10.2e} {max:>10.2e}", "");
    check(seen, options.steps, options.tolerance)?;
    say!("engine and trainer agree within {:.0e} after every change of weights", options.tolerance);
    let ended = check_limits(&evaluation, &tokenizer)?;
    let Difference { tokens, max, .. } = bounded.same_weights;
    ensure!(max <= options.tolerance, "with limits, a log-probability differs by {max:.2e} nats");
    say!(
        "with limits, {tokens} tokens differ by {max:.2e} at most; a stop text ended {ended} completions"
    );
    Ok(())
}

/// Sampling with stop texts, a least length and banned tokens, all of which a small model meets at once.
fn limited(sampling: &Sampling, tokenizer: &Tokenizer) -> Result<Sampling> {
    let mut banned_tokens = Vec::new();
    for word in [" the", "."] {
        banned_tokens.extend(tokenizer.encode(word)?);
    }
    let stop = ["\n", " is", " we"].map(str::to_owned).to_vec();
    Ok(Sampling { stop, min_completion_len: 8, banned_tokens, ..sampling.clone() })
}

/// Checks completions against the limits of their sampling. Returns the number of those that a stop text ended.
fn check_limits(evaluation: &Evaluation, tokenizer: &Tokenizer) -> Result<usize> {
    let sampling = &evaluation.sampling;
    let (least, most) = (sampling.min_completion_len, sampling.max_completion_len);
    let mut ended = 0;
    for rollout in evaluation.groups.iter().flat_map(|group| &group.rollouts) {
        let tokens = &rollout.completion.tokens;
        let len = tokens.len();
        ensure!((least..=most).contains(&len), "{len} tokens are not {least} to {most}");
        let banned = tokens.iter().find(|token| sampling.banned_tokens.contains(token));
        ensure!(banned.is_none(), "token {banned:?} is banned and was drawn");
        let text = tokenizer.decode_skip_special(tokens)?;
        let before = tokenizer.decode_skip_special(&tokens[..least])?.len();
        for stop in &sampling.stop {
            let end = text.rfind(stop.as_str()).map_or(0, |begin| begin + stop.len());
            ensure!(end <= before, "{text:?} has {stop:?} behind its first {least} tokens");
        }
        let is_whole = tokenizer.decode(tokens)? == text;
        ended += usize::from(is_whole && rollout.completion.stop == StopReason::Stop);
    }
    ensure!(ended > 0, "no stop text has ended a completion, so that none was tried");
    Ok(ended)
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

#[cfg(test)]
mod tests {
    use hint_rollout::LocalEngine;

    use super::*;
    use crate::tiny::tiny_model;

    #[test]
    fn the_distribution_behind_limits_is_that_of_the_local_engine() {
        let model = LoadedModel::load(tiny_model(), &LoadOptions::default()).unwrap();
        let (policy, stop_tokens) = (SharedPolicy::new(model.policy), model.stop_tokens);
        let prompt = model.tokenizer.encode("Q: Row").unwrap();
        let mut engine = LocalEngine::new(policy.clone(), stop_tokens.clone());
        let plain = Sampling { max_completion_len: 12, ..Sampling::default() };
        let mut sample = |sampling: &Sampling| {
            let request = GenerationRequest::new(prompt.clone(), 4, 3, sampling.clone());
            engine.generate(&[request]).unwrap().remove(0)
        };
        // Tokens that would be drawn without the ban.
        let banned_tokens = sample(&plain)[0].tokens.iter().take(2).copied().collect();
        let limited = Sampling { banned_tokens, min_completion_len: 6, ..plain.clone() };
        for sampling in [plain, limited] {
            for completion in sample(&sampling) {
                let (prompt, sampling) = (prompt.clone(), sampling.clone());
                let sampled = Sampled { prompt, sampling, completion };
                let found = tch::no_grad(|| sampled.logprobs(&**policy.lock(), &stop_tokens));
                let mut difference = Difference::default();
                difference.observe(&found.unwrap(), &sampled.completion.behavior_logprobs);
                assert!(difference.tokens >= sampled.sampling.min_completion_len);
                assert!(difference.max < 1e-4, "{difference:?}: {:?}", sampled.sampling);
            }
        }
    }
}
