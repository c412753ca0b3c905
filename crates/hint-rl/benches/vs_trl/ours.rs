//! The work of a step, and our side of it: a run that takes one step for each line of the input.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hint_grpo::observer::Phase;
use hint_grpo::{GrpoConfig, Hints, Observer, Parts, Rewards, StepReport, Trainer};
use hint_policy::{CausalLm, LoadOptions, SharedPolicy};
use hint_process::peak_memory;
use hint_reward::{Judgment, RewardInput, Rubric, Verdict, Verifier};
use hint_rollout::engine::GenerationWatch;
use hint_rollout::{
    Completion, GenerationRequest, Hint, LocalEngine, Problem, PromptFormat, RolloutEngine,
    RolloutError, WeightSource,
};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::peer::Result;

/// The work of a step, the same on both sides.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// Prompts of a step.
    pub(crate) prompts: usize,
    pub(crate) prompt_tokens: usize,
    /// Completions of a prompt.
    pub(crate) group: usize,
    /// Tokens of the first prompt's completions.
    pub(crate) shortest: usize,
    /// Tokens of the last prompt's completions.
    pub(crate) longest: usize,
    /// Steps until a side ends.
    pub(crate) steps: usize,
    pub(crate) threads: usize,
    /// Rows of TRL's micro-batch.
    pub(crate) micro_batch: usize,
    /// Rows of hint-rl's micro-batch.
    pub(crate) own_micro_batch: usize,
    pub(crate) learning_rate: f64,
}

impl Work {
    /// The work for the model in `folder`, as both sides read it.
    pub(crate) fn settings(&self, folder: &Path) -> Result<Value> {
        let config = std::fs::read_to_string(folder.join("config.json"))?;
        let config = serde_json::from_str::<Value>(&config)?;
        let vocab = config["vocab_size"].as_u64().ok_or("no size of the vocabulary")? - 1;
        let mut state = 1_u64;
        let mut token = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // TRL's side takes 0 for the end of a completion.
            1 + (state >> 33) % vocab
        };
        let prompts = (0..self.prompts)
            .map(|_| (0..self.prompt_tokens).map(|_| token()).collect::<Vec<_>>())
            .collect::<Vec<_>>();
        let more = self.longest.checked_sub(self.shortest).ok_or("--shortest exceeds --tokens")?;
        let gaps = self.prompts.saturating_sub(1).max(1);
        let length = |place: usize| self.longest - (self.prompts - 1 - place) * more / gaps;
        Ok(json!({
            "prompts": prompts, "lengths": (0..self.prompts).map(length).collect::<Vec<_>>(),
            "group": self.group, "steps": self.steps, "threads": self.threads,
            "micro_batch": self.micro_batch,
            // A micro-batch is bounded by tokens.
            "own_micro_batch": self.own_micro_batch * (self.prompt_tokens + self.longest),
            "learning_rate": self.learning_rate,
        }))
    }
}

/// TRL's side, with the Python of its environment.
pub(crate) fn trl(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg("-c").arg(include_str!("trl_peer.py"));
    command
}

/// Arguments: the model folder, the precision, and a file of settings.
pub(crate) fn serve(args: &[String]) -> Result<()> {
    let [folder, precision, settings] = args else { return Err("three arguments".into()) };
    let settings: Value = serde_json::from_str(&std::fs::read_to_string(settings)?)?;
    let number = |name: &str| settings[name].as_i64().ok_or_else(|| format!("no {name}"));
    tch::set_num_threads(i32::try_from(number("threads")?)?);
    let prompts: Vec<Vec<u32>> = serde_json::from_value(settings["prompts"].clone())?;
    let lengths: Vec<usize> = serde_json::from_value(settings["lengths"].clone())?;
    let config = [
        format!("run.steps = {}", number("steps")?),
        format!("run.prompts_per_step = {}", prompts.len()),
        format!("run.max_tokens_per_micro_batch = {}", number("own_micro_batch")?),
        "run.checkpoint_every = 0".to_owned(),
        format!("rollout.group_size = {}", number("group")?),
        "rollout.trigger.type = 'never'".to_owned(),
        "rollout.sampling.temperature = 1.0".to_owned(),
        format!(
            "rollout.sampling.max_completion_len = {}",
            lengths.iter().max().ok_or("no prompts")?
        ),
        "rollout_table.every = 0".to_owned(),
        "loss.hinted_weight = []".to_owned(),
        format!(
            "optimizer.learning_rate = {:e}",
            settings["learning_rate"].as_f64().ok_or("no rate")?
        ),
    ];
    let compute = if precision == "bfloat16" { Kind::BFloat16 } else { Kind::Float };
    let options = LoadOptions { compute, device: Device::Cpu, base: None };
    let policy = SharedPolicy::new(CausalLm::load(folder, &options)?);
    let problem = |place: usize| Problem::new(place.to_string(), place.to_string(), "1");
    let problems = (0..prompts.len()).map(problem).collect::<Vec<_>>();
    // Nothing ends a completion before its length.
    let engine = LocalEngine::new(policy.clone(), Vec::new());
    let sampling = Arc::new(AtomicU64::new(0));
    let parts = Parts {
        policy,
        engine: Fixed { engine, prompts: prompts.clone(), lengths, sampling: sampling.clone() },
        format: Numbered { prompts },
        rewards: Rewards::own(Rubric::new(EveryOther)),
        hints: Hints::none(),
    };
    let builder = Trainer::from_config(GrpoConfig::from_toml(&config.join("\n"))?, parts)?;
    let steps = Steps { started: None, sampling, is_over: false };
    let mut trainer = builder.observer(steps).build()?;
    hint_policy::runtime::keep_freed_memory();
    trainer.run(&problems)?;
    Ok(())
}

/// Samples as many tokens as a prompt's completions are to have.
struct Fixed {
    engine: LocalEngine,
    prompts: Vec<Vec<u32>>,
    lengths: Vec<usize>,
    /// Nanoseconds of sampling in this step.
    sampling: Arc<AtomicU64>,
}

impl Fixed {
    /// The requests with the lengths of their prompts.
    fn sized(&self, requests: &[GenerationRequest]) -> Vec<GenerationRequest> {
        let mut requests = requests.to_vec();
        for request in &mut requests {
            let mut lengths = self.prompts.iter().zip(&self.lengths);
            if let Some((_, length)) = lengths.find(|(prompt, _)| **prompt == request.prompt) {
                request.sampling.max_completion_len = *length;
            }
        }
        requests
    }

    /// Counts the seconds since `started`.
    fn count(&self, started: Instant) {
        let nanoseconds = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.sampling.fetch_add(nanoseconds, Relaxed);
    }
}

impl RolloutEngine for Fixed {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> std::result::Result<Vec<Vec<Completion>>, RolloutError> {
        let requests = self.sized(requests);
        let started = Instant::now();
        let completions = self.engine.generate(&requests);
        self.count(started);
        completions
    }

    fn generate_watched(
        &mut self,
        requests: &[GenerationRequest],
        watch: &dyn GenerationWatch,
    ) -> std::result::Result<Vec<Vec<Completion>>, RolloutError> {
        let requests = self.sized(requests);
        let started = Instant::now();
        let completions = self.engine.generate_watched(&requests, watch);
        self.count(started);
        completions
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> std::result::Result<(), RolloutError> {
        self.engine.sync(weights)
    }

    fn max_positions(&self) -> Option<usize> {
        self.engine.max_positions()
    }
}

/// A question is the place of its prompt, and completions have no text.
struct Numbered {
    prompts: Vec<Vec<u32>>,
}

impl PromptFormat for Numbered {
    fn encode(
        &self,
        problem: &Problem,
        _hint: Option<&Hint>,
    ) -> std::result::Result<Vec<u32>, RolloutError> {
        let place = problem.question.parse::<usize>().ok();
        let prompt = place.and_then(|place| self.prompts.get(place)).cloned();
        prompt.ok_or_else(|| RolloutError::other("prompt format", "no prompt has this place"))
    }

    fn decode(&self, _completion: &[u32]) -> std::result::Result<String, RolloutError> {
        Ok(String::new())
    }

    fn stop_tokens(&self) -> &[u32] {
        &[]
    }
}

/// The first completion of a group is correct, the second one is not, and so on.
struct EveryOther;

impl EveryOther {
    fn judgment(place: usize) -> Judgment {
        let is_correct = place.is_multiple_of(2);
        Judgment::new(if is_correct { Verdict::Correct } else { Verdict::Incorrect })
    }
}

impl Verifier for EveryOther {
    fn verify(&self, _input: &RewardInput<'_>) -> Judgment {
        Self::judgment(0)
    }

    fn verify_group(&self, inputs: &[RewardInput<'_>]) -> Vec<Judgment> {
        (0..inputs.len()).map(Self::judgment).collect()
    }
}

/// Waits for a line before each step, and answers after it.
#[derive(Debug)]
struct Steps {
    started: Option<Instant>,
    /// Nanoseconds of sampling in this step.
    sampling: Arc<AtomicU64>,
    /// Nobody asks any more.
    is_over: bool,
}

impl Observer for Steps {
    fn on_phase(&mut self, _step: u64, phase: Phase) {
        if phase == Phase::Rollout {
            let mut line = String::new();
            self.is_over = !std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0);
            self.sampling.store(0, Relaxed);
            self.started = Some(Instant::now());
        }
    }

    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        if self.is_over {
            return ControlFlow::Break(());
        }
        let seconds = self.started.map_or(Duration::ZERO, |start| start.elapsed());
        let sampling = Duration::from_nanos(self.sampling.load(Relaxed));
        let peak = peak_memory().map(|bytes| bytes as f64 / f64::from(1 << 30));
        println!(
            "{}",
            json!({
                "tokens": report.tokens, "seconds": seconds.as_secs_f64(),
                "sampling": sampling.as_secs_f64(), "peak_gib": peak,
            })
        );
        ControlFlow::Continue(())
    }
}
