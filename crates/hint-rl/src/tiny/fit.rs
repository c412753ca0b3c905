//! Supervised training of a small model from random weights.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use hint_grpo::Optimizer;
use hint_grpo::optim::{AdamW, AdamWConfig, Decay, ScheduleConfig, clip_grad_norm};
use hint_policy::config::Architecture;
use hint_policy::{
    CausalLm, LoadedModel, ModelConfig, Policy, SaveOptions, ScoreOptions, TokenBatch, TokenRow,
    Tokenizer,
};
use hint_rollout::Seed;
use tch::{Device, Kind};

use super::vocabulary::EOS;

/// The tokens of a prompt and of its completion.
pub(crate) type Row = (Vec<u32>, Vec<u32>);

/// Options of training a small model from random weights.
#[derive(Debug, Args)]
pub struct Options {
    /// Folder for the model [default: `runs/NAME`].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Optimizer steps [default: as for the checkpoint in the repository].
    #[arg(long)]
    steps: Option<u64>,
    /// Rows per step [default: as for the checkpoint in the repository].
    #[arg(long)]
    rows: Option<u64>,
    /// Peak learning rate.
    #[arg(long, default_value_t = 3e-3)]
    learning_rate: f64,
    /// Seed of weights and data.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// CPU threads.
    #[arg(long, default_value_t = 1)]
    threads: i32,
}

/// The model that a command trains.
pub struct Plan {
    /// Its name, for the folder.
    pub name: &'static str,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Optimizer steps of the checkpoint in the repository.
    pub steps: u64,
    /// Rows of each step.
    pub rows: u64,
    /// The number format of the file.
    pub saved: Kind,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Plan").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Options {
    /// Trains a Llama of 0.3 million parameters. `batch` draws the given number of rows by a seed of the step. `report`
    /// shows the result, before the model is written.
    ///
    /// # Errors
    ///
    /// Errors of `batch` and `report`; a folder that cannot be written.
    pub fn run(
        &self,
        plan: Plan,
        batch: impl Fn(Seed, u64, &Tokenizer) -> Result<Vec<Row>>,
        report: impl Fn(&CausalLm, &Tokenizer) -> Result<()>,
    ) -> Result<()> {
        let Plan { name, tokenizer, steps, rows, saved } = plan;
        hint_policy::runtime::keep_freed_memory();
        tch::set_num_threads(self.threads);
        let config = ModelConfig {
            hidden_size: 96,
            intermediate_size: 256,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            num_key_value_heads: 4,
            head_dim: 24,
            max_position_embeddings: 256,
            initializer_range: 0.06,
            eos_token_ids: vec![EOS],
            ..ModelConfig::small(Architecture::Llama, tokenizer.vocab_size())
        };
        let seed = Seed::new(self.seed);
        let policy = CausalLm::init(&config, seed.named("weights").value(), Device::Cpu)?;
        let rows = self.rows.unwrap_or(rows);
        fit(&policy, self.steps.unwrap_or(steps), self.learning_rate, |step| {
            batch(seed.named("data").child(step), rows, &tokenizer)
        })?;
        report(&policy, &tokenizer)?;
        let out = self.out.clone().unwrap_or_else(|| Path::new("runs").join(name));
        LoadedModel { policy, tokenizer, stop_tokens: vec![EOS] }
            .save_with(&out, &SaveOptions { kind: saved, ..SaveOptions::default() })?;
        note!("wrote {}", out.display());
        Ok(())
    }
}

/// Minimizes the mean negative log-likelihood of completion tokens over `steps` batches, which `rows` draws by
/// step. Prints the loss every hundred steps.
///
/// # Errors
///
/// Errors of `rows`; a row longer than the model's positions.
fn fit(
    policy: &CausalLm,
    steps: u64,
    learning_rate: f64,
    rows: impl Fn(u64) -> Result<Vec<Row>>,
) -> Result<()> {
    let adamw = AdamWConfig { beta2: 0.98, weight_decay: 0.01, ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(policy.parameters(), adamw);
    let schedule = ScheduleConfig { warmup_steps: 100, decay: Decay::Cosine { final_frac: 0.01 } };
    let mut mean = 0.0;
    for step in 0..steps {
        let rows = rows(step)?;
        let rows = rows.iter().map(|(prompt, completion)| TokenRow { prompt, completion });
        let batch = TokenBatch::new(&rows.collect::<Vec<_>>(), Device::Cpu)?;
        optimizer.zero_grad();
        let scores = policy.score(&batch, &ScoreOptions::default())?;
        let loss = -scores.logprobs.sum(Kind::Float) / batch.completion_mask().sum(Kind::Float);
        loss.backward();
        clip_grad_norm(optimizer.parameters(), 1.0);
        optimizer.step(learning_rate * schedule.factor(step, steps))?;
        policy.parameters_changed();
        mean += loss.double_value(&[]) / 100.0;
        if (step + 1) % 100 == 0 {
            note!("step {:>5}/{steps} loss {mean:.4}", step + 1);
            mean = 0.0;
        }
    }
    Ok(())
}
