//! `hint-rl plan`: a model of one step on paper, from the `config.json` of a model and the data sheet of a machine.
//!
//! ```text
//! hint-rl plan --model Qwen2.5-7B-Instruct --machine h100 --gpus 8 --servers 8 --prompts 512 --group-size 16
//! hint-rl plan --model config.json --machine machine.toml --gpus 4,8,16 --servers 4,8,16 --ahead 1 --price 2.5
//! hint-rl plan --measured runs/two/grpo --fit runs/one/grpo --gpus 2
//! ```
//!
//! Prints the seconds of sampling, transfer, update and exchange of gradients. The memory of a GPU, the bottleneck and
//! the cost of a run follow. Several numbers of GPUs give a table in Markdown. Loads no weights. `--measured` compares the model
//! with a finished run, and `--fit` takes the shares of its peaks from another one (`docs/machines.md`).

mod machine;
mod measured;
mod memory;
mod step;
mod text;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use hint_policy::ModelConfig;
use hint_policy::estimate::{MemoryEstimate, mebibytes};
use hint_policy::io::Inspection;
use tch::Kind;

pub(crate) use self::memory::load_report;

use self::machine::Machine;
use self::memory::{ServerMemory, TrainerOptions, default_max_batch, room, server, shape, trainer};
use self::step::{Demand, Shape, StepTime, tokens};
use crate::hub::HubName;
use crate::workload::{Compute, base_path, model_path};

/// Estimates one step on a machine: seconds of its parts, memory, bottleneck and cost. Loads nothing but a `config.json`.
#[derive(Debug, Args)]
pub struct Options {
    /// A `config.json`, a folder that holds one, or the folder of a run. Also a GGUF file, an adapter, `tiny` or `smollm2`
    /// [default: the model of --measured].
    #[arg(long, required_unless_present = "measured", value_name = "NAME|PATH")]
    model: Option<String>,

    /// The base model of an adapter, in place of the one that it names.
    #[arg(long, value_name = "PATH")]
    base: Option<PathBuf>,

    /// GPUs that train. Several numbers print a table.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1", value_parser = count(1))]
    gpus: Vec<usize>,

    /// GPUs that sample, each with all weights; with 0 those that train do it in turns. As many numbers as --gpus, or one.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "0", value_parser = count(0))]
    servers: Vec<usize>,

    /// `a100-80`, `h100`, `h200`, `b200`, `l40s`, or a file in TOML with the numbers of another machine.
    #[arg(long, value_name = "NAME|FILE.toml", default_value = "h100")]
    machine: String,

    /// Problems of a step.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = count(1))]
    prompts: usize,

    /// Completions of each problem.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = count(1))]
    group_size: usize,

    /// Mean length of the prompts, in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = count(1))]
    prompt_len: usize,

    /// Mean length of the completions, in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = count(1))]
    mean_len: usize,

    /// Length of the longest completion of a step, in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 2048, value_parser = count(1))]
    max_len: usize,

    /// Share of the problems that are sampled again with a hint, in a second round.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    hinted_frac: f64,

    /// Share of the completions that have a gradient; the others are left out of the passes.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    trained_frac: f64,

    /// Parts of the work of a step, as `run.virtual_workers`. Where each has one micro-batch, a GPU holds its part of the
    /// gradient alone [default: one for each GPU that trains].
    #[arg(long, value_name = "N", value_parser = count(1))]
    virtual_workers: Option<usize>,

    /// Division of the model over the GPUs that train, as `run.shard`. With `parameters`, each pass gathers the weights block
    /// by block.
    #[arg(long, value_enum, default_value_t = Shard::Gradients)]
    shard: Shard,

    /// Optimizer steps in one step of the run.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(1))]
    updates: usize,

    /// Passes over the batch of a step.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(1))]
    passes: usize,

    /// Forward passes for log-probabilities that stay fixed.
    #[arg(long, value_name = "PASS,...", value_enum, value_delimiter = ',')]
    scoring_passes: Vec<ScoringPass>,

    /// Batches that are sampled ahead, as `run.ahead`.
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    ahead: u64,

    /// Train adapters of this rank on every projection, in place of the weights.
    #[arg(long, value_name = "RANK", value_parser = count(1))]
    adapters: Option<usize>,

    /// Keep only the inputs of transformer blocks for the backward pass.
    #[arg(long)]
    gradient_checkpointing: bool,

    /// Number format of the passes. The machine's `flops` are those of this format.
    #[arg(long, value_enum, default_value_t = Compute::Bf16)]
    compute: Compute,

    /// Way of gradients between processes.
    #[arg(long, value_enum, default_value_t = Backend::Gloo)]
    backend: Backend,

    /// Most completions that a GPU decodes at a time.
    #[arg(long, value_name = "N", default_value_t = default_max_batch(), value_parser = count(1))]
    max_batch: usize,

    /// Most tokens of a micro-batch, as `run.max_tokens_per_micro_batch`.
    #[arg(long, value_name = "TOKENS", default_value_t = 16_384, value_parser = count(1))]
    micro_batch_tokens: usize,

    /// Steps of the run.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = count(1))]
    steps: usize,

    /// Price of a GPU for an hour, in place of the machine's.
    #[arg(long, value_name = "PRICE", value_parser = positive)]
    price: Option<f64>,

    /// Compare the model with the timings of this finished run. Lengths and counts are those of its steps; --gpus and
    /// --servers say what it ran on.
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = [
            "prompts", "group_size", "prompt_len", "mean_len", "max_len", "hinted_frac", "trained_frac", "virtual_workers",
            "shard", "updates", "passes", "scoring_passes", "ahead", "micro_batch_tokens", "steps", "price",
        ]
    )]
    measured: Option<PathBuf>,

    /// Take the shares of the machine's peaks from the timings of this other finished run of the same model. If servers
    /// sampled for it, it also gives the bandwidth of the folder of the weights.
    #[arg(long, value_name = "RUN", requires = "measured")]
    fit: Option<PathBuf>,

    /// GPUs, or processes, that trained the run of --fit.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "fit", value_parser = count(1))]
    fit_gpus: usize,

    /// Servers that sampled for the run of --fit.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "fit", value_parser = count(0))]
    fit_servers: usize,

    /// Share of the machine that a process of the measured run has, such as 0.5 where two divide the cores of one.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, requires = "measured", value_parser = positive)]
    machine_frac: f64,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A forward pass for log-probabilities that stay fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScoringPass {
    /// The policy before the first optimizer step. Only several optimizer steps need a pass of its own.
    Old,
    /// The frozen reference of a KL term.
    Reference,
    /// Another model of the same size that teaches.
    Teacher,
}

/// Division of the model over the GPUs that train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shard {
    /// Each holds its part of the optimizer's state and of the sum of the gradients.
    Gradients,
    /// Each also keeps its part of the weights alone while it learns.
    Parameters,
}

/// Way of gradients between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// Through host memory.
    Gloo,
    /// From GPU to GPU, over the machine's links.
    Nccl,
}

fn count(least: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::<usize>::new().range(least..=1 << 30)
}

fn number(text: &str) -> Result<f64, String> {
    text.parse::<f64>().map_err(|error| error.to_string())
}

fn share(text: &str) -> Result<f64, String> {
    let share = number(text)?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be from 0 to 1".to_owned()) }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    let is_positive = number.is_finite() && number > 0.0;
    if is_positive { Ok(number) } else { Err("must be a positive number".to_owned()) }
}

/// Runs the command.
///
/// # Errors
///
/// A model or a machine that is not there, lengths that contradict each other, a run without timings.
pub fn run(options: &Options) -> Result<()> {
    let config = model_config(options)?;
    let machine = Machine::read(&options.machine)?;
    if let Some(run) = &options.measured {
        let comparison = measured::compare(options, &config, &machine, run)?;
        say!("{}", if options.json { comparison.json() } else { comparison.to_string() });
        return Ok(());
    }
    let plans = plans(options, &config, &machine)?;
    let text = match (options.json, plans.as_slice()) {
        (true, [one]) => serde_json::to_string_pretty(&text::json(one))?,
        (true, several) => {
            let several = several.iter().map(text::json).collect::<Vec<_>>();
            serde_json::to_string_pretty(&several)?
        }
        (false, [one]) => text::text(one),
        (false, several) => text::table(several),
    };
    say!("{}", text.trim_end());
    Ok(())
}

/// The plan for each number of GPUs.
fn plans(options: &Options, config: &ModelConfig, machine: &Machine) -> Result<Vec<Plan>> {
    let (gpus, servers) = (&options.gpus, &options.servers);
    let count = gpus.len().max(servers.len());
    for (name, numbers) in [("--gpus", gpus), ("--servers", servers)] {
        let given = numbers.len();
        ensure!(
            given == 1 || given == count,
            "`{name}` has {given} numbers where the other one has {count}; give as many, or one"
        );
    }
    ensure!(
        options.mean_len <= options.max_len,
        "`--mean-len` is {}, above `--max-len`, which is {}; raise the second",
        options.mean_len,
        options.max_len
    );
    if let (Some(workers), Some(most)) = (options.virtual_workers, gpus.iter().max()) {
        ensure!(
            workers >= *most,
            "`--virtual-workers` is {workers}, and {most} GPUs train; give each of them one at least"
        );
    }
    let positions = config.max_positions();
    let longest = options.prompt_len + options.max_len;
    ensure!(
        longest <= positions,
        "a row of {longest} tokens is longer than the model's {positions}; lower `--max-len`"
    );
    let pair = |numbers: &[usize], index: usize| numbers[index.min(numbers.len() - 1)];
    let plan = |index| {
        let demand = demand(options, pair(gpus, index), pair(servers, index));
        Plan::new(options, config, machine, demand)
    };
    Ok((0..count).map(plan).collect())
}

/// The work of a step, as the options describe it.
fn demand(options: &Options, gpus: usize, servers: usize) -> Demand {
    Demand {
        gpus: gpus as f64,
        servers: servers as f64,
        workers: options.virtual_workers.unwrap_or(gpus).max(gpus) as f64,
        prompts: options.prompts as f64,
        group_size: options.group_size as f64,
        prompt_len: options.prompt_len as f64,
        mean_len: options.mean_len as f64,
        max_len: options.max_len as f64,
        hinted_frac: options.hinted_frac,
        trained_frac: options.trained_frac,
        updates: options.updates as f64,
        passes: options.passes as f64,
        scoring_passes: options.scoring_passes.len() as f64,
        is_ahead: options.ahead > 0,
        gradient_checkpointing: options.gradient_checkpointing,
        width: kind(options.compute).elt_size_in_bytes() as f64,
        max_batch: options.max_batch as f64,
        has_nccl: options.backend == Backend::Nccl,
        shares_weights: options.shard == Shard::Parameters,
        micro_batch_tokens: options.micro_batch_tokens as f64,
    }
}

/// The kind of the passes. Unlike [`Compute::kind`], it sets nothing in the process.
fn kind(compute: Compute) -> Kind {
    match compute {
        Compute::Bf16 => Kind::BFloat16,
        Compute::F32 | Compute::Tf32 => Kind::Float,
    }
}

/// The configuration of the model that the options name.
fn model_config(options: &Options) -> Result<ModelConfig> {
    let of_run = options.measured.as_ref().map(|run| run.to_string_lossy().into_owned());
    let name = options.model.clone().or(of_run).context("name a model with `--model`")?;
    if !Path::new(&name).exists() && HubName::parse(&name).is_some() {
        bail!(
            "`{name}` is not on this machine; a plan needs only its `config.json`, so download that file and name it"
        );
    }
    let path = model_path(&name)?;
    let is_json = path.extension().is_some_and(|ending| ending == "json");
    let file = if is_json { path.clone() } else { path.join("config.json") };
    if !file.is_file() {
        let base = base_path(&path, options.base.clone())?;
        return Ok(Inspection::new(&path, base.as_deref())?.config);
    }
    let place = file.display();
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read `{place}`"))?;
    let config =
        serde_json::from_str::<ModelConfig>(&text).with_context(|| format!("in `{place}`"))?;
    config.validate().with_context(|| format!("in `{place}`"))?;
    Ok(config)
}

/// A step on paper.
#[derive(Debug, Clone)]
struct Plan {
    /// Class of the model.
    model: &'static str,
    shape: Shape,
    demand: Demand,
    machine: Machine,
    time: StepTime,
    trainer: MemoryEstimate,
    server: Option<ServerMemory>,
    /// Steps of the run.
    steps: f64,
    /// Price of a GPU for an hour.
    price: Option<f64>,
    /// What is wrong with it.
    warnings: Vec<String>,
}

impl Plan {
    fn new(options: &Options, config: &ModelConfig, machine: &Machine, demand: Demand) -> Self {
        let shape = shape(config, options.adapters);
        let has = |pass| options.scoring_passes.contains(&pass);
        let trains = TrainerOptions {
            compute: kind(options.compute),
            reference: has(ScoringPass::Reference),
            teacher: has(ScoringPass::Teacher),
            micro_batch_tokens: options.micro_batch_tokens,
            ahead: options.ahead,
        };
        let server = (demand.servers > 0.0).then(|| server(&shape, &demand, machine));
        let room = room(&demand, server.as_ref());
        let mut plan = Self {
            model: config.architecture.class_name(),
            time: StepTime::new(&shape, &demand, machine, room),
            trainer: trainer(config, &shape, &demand, &trains),
            server,
            steps: options.steps as f64,
            price: options.price.or(machine.price_per_hour),
            warnings: Vec::new(),
            machine: machine.clone(),
            demand,
            shape,
        };
        plan.warnings = plan.warnings();
        plan
    }

    /// GPUs of both kinds.
    fn gpus(&self) -> f64 {
        self.demand.gpus + self.demand.servers
    }

    /// GPU hours of the run.
    fn hours(&self) -> f64 {
        self.gpus() * self.steps * self.time.total() / 3600.0
    }

    fn cost(&self) -> Option<f64> {
        self.price.map(|price| price * self.hours())
    }

    fn tokens_per_second(&self) -> f64 {
        tokens(&self.demand) / self.time.total()
    }

    /// Whether a trainer's memory is enough.
    fn trainer_fits(&self) -> bool {
        self.trainer.total() as f64 <= self.machine.memory
    }

    /// Whether a server's memory is enough for one completion at least.
    fn server_fits(&self) -> bool {
        self.server.is_none_or(|server| server.rows >= 1.0)
    }

    fn warnings(&self) -> Vec<String> {
        let Demand { gpus, servers, prompts, .. } = self.demand;
        let mut warnings = Vec::new();
        if !self.trainer_fits() {
            warnings.push(format!(
                "a trainer needs {}, and the machine has {}; {}",
                mebibytes(self.trainer.total()),
                gibibytes(self.machine.memory),
                self.less_memory()
            ));
        }
        if let Some(server) = self.server.filter(|_| !self.server_fits()) {
            warnings.push(format!(
                "the weights of a server take {}, which leaves no room for a completion; take a larger machine",
                gibibytes(server.weights)
            ));
        }
        if self.demand.is_ahead && servers == 0.0 {
            warnings.push(
                "`--ahead` saves no time where the trainers sample themselves; add `--servers`"
                    .to_owned(),
            );
        }
        let samplers = if servers > 0.0 { servers } else { gpus };
        if samplers > prompts {
            warnings.push(format!(
                "{} of {samplers} GPUs have nothing to sample, since a group stays on one; raise `--prompts`",
                samplers - prompts
            ));
        }
        warnings
    }

    /// What to do about the memory of a trainer, by its largest part.
    fn less_memory(&self) -> &'static str {
        let sum = |parts: &[(&str, u64)]| parts.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let MemoryEstimate { lasting, rollout, update, .. } = &self.trainer;
        let gradients = update.iter().filter(|(part, _)| *part == "gradients");
        // These are there however small the micro-batches are.
        let least = sum(lasting) + gradients.map(|(_, bytes)| bytes).sum::<u64>();
        let (rollout, update) = (sum(rollout), sum(update));
        if least as f64 > self.machine.memory {
            if self.shape.adapters > 0.0 {
                "take a larger machine or a smaller model"
            } else {
                "try `--adapters 16`, more GPUs that share the optimizer's state, or a larger machine"
            }
        } else if rollout > update {
            "lower `--max-batch`, or let `--servers` sample"
        } else if self.demand.gradient_checkpointing {
            "lower `--micro-batch-tokens`"
        } else {
            "add `--gradient-checkpointing`, or lower `--micro-batch-tokens`"
        }
    }
}

/// A size in GiB.
fn gibibytes(bytes: f64) -> String {
    format!("{:.1} GiB", bytes / f64::from(1 << 30))
}

#[cfg(test)]
mod tests;
