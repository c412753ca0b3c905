//! Supervised training of a small model, from random weights or from those of a narrower model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use hint_grpo::Optimizer;
use hint_grpo::optim::{AdamW, AdamWConfig, Decay, ScheduleConfig, clip_grad_norm};
use hint_policy::config::Architecture;
use hint_policy::{
    CausalLm, LoadOptions, LoadedModel, ModelConfig, Parameter, Policy, SaveOptions, ScoreOptions,
    TokenBatch, TokenRow, Tokenizer,
};
use hint_rollout::Seed;
use tch::{Device, Kind};

use super::vocabulary::EOS;

/// The tokens of a prompt and of its completion.
pub(crate) type Row = (Vec<u32>, Vec<u32>);

/// Options of training a small model.
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
    /// Peak learning rate [default: as for the checkpoint in the repository].
    #[arg(long)]
    learning_rate: Option<f64>,
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
    /// Its size.
    pub size: Size,
    /// Weights that its training begins with.
    pub start: Start,
    /// Optimizer steps of the checkpoint in the repository.
    pub steps: u64,
    /// Peak learning rate of these steps.
    pub learning_rate: f64,
    /// Rows of each step.
    pub rows: u64,
    /// The number format of the file.
    pub saved: Kind,
}

/// Size of a small Llama.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Width of the hidden states.
    pub hidden: usize,
    /// Width inside the feed-forward blocks.
    pub intermediate: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads, among which the hidden states are divided.
    pub heads: usize,
}

impl Size {
    /// Configuration of a model of this size for the tokens of `tokenizer`.
    pub(crate) fn config(self, tokenizer: &Tokenizer) -> ModelConfig {
        ModelConfig {
            hidden_size: self.hidden,
            intermediate_size: self.intermediate,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.heads,
            head_dim: self.hidden / self.heads,
            max_position_embeddings: 256,
            initializer_range: 0.06,
            eos_token_ids: vec![EOS],
            ..ModelConfig::small(Architecture::Llama, tokenizer.vocab_size())
        }
    }
}

/// Weights that training begins with.
#[derive(Debug)]
pub enum Start {
    /// Random ones.
    Random,
    /// Those of a model with narrower feed-forward blocks, which is trained first, from random ones.
    Narrow {
        /// Width inside its feed-forward blocks.
        intermediate: usize,
        /// Its optimizer steps.
        steps: u64,
        /// Their peak learning rate.
        learning_rate: f64,
    },
    /// Those of the model in this folder, whose feed-forward blocks may be narrower.
    Folder(PathBuf),
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Plan").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Options {
    /// Trains a Llama. `batch` draws the given number of rows by a seed of the step. `report` shows the result, before
    /// the model is written.
    ///
    /// # Errors
    ///
    /// Errors of `batch` and `report`; a folder that cannot be read or written; a model that cannot be widened.
    pub fn run(
        &self,
        plan: Plan,
        batch: impl Fn(Seed, u64, &Tokenizer) -> Result<Vec<Row>>,
        report: impl Fn(&CausalLm, &Tokenizer) -> Result<()>,
    ) -> Result<()> {
        let Plan { name, tokenizer, size, start, steps, learning_rate, rows, saved } = plan;
        hint_policy::runtime::keep_freed_memory();
        tch::set_num_threads(self.threads);
        let (seed, rows) = (Seed::new(self.seed), self.rows.unwrap_or(rows));
        let config = size.config(&tokenizer);
        let init = |config: &ModelConfig| {
            CausalLm::init(config, seed.named("weights").value(), Device::Cpu)
        };
        let widened = |narrow: &CausalLm| widen(narrow, &config, seed.named("wide weights"));
        // Each phase has rows of its own.
        let draw = |phase: &str, step: u64| batch(seed.named(phase).child(step), rows, &tokenizer);
        let (policy, phase) = match start {
            Start::Random => (init(&config)?, "data"),
            Start::Narrow { intermediate, steps, learning_rate } => {
                let narrow =
                    init(&ModelConfig { intermediate_size: intermediate, ..config.clone() })?;
                note!("a narrow model first, {intermediate} wide inside its feed-forward blocks");
                fit(&narrow, steps, learning_rate, |step| draw("data", step))?;
                (widened(&narrow)?, "wide data")
            }
            Start::Folder(path) => {
                let narrow = CausalLm::load(&path, &LoadOptions::default())?;
                let model = || format!("the model in `{}` cannot be widened", path.display());
                (widened(&narrow).with_context(model)?, "wide data")
            }
        };
        let steps = self.steps.unwrap_or(steps);
        let learning_rate = self.learning_rate.unwrap_or(learning_rate);
        fit(&policy, steps, learning_rate, |step| draw(phase, step))?;
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

/// The same function by a model of `config`, which has wider feed-forward blocks. The new units have random weights at
/// their inputs, by `seed`, and zeros at their outputs.
///
/// # Errors
///
/// A model that differs from `config` in more than that, or that is wider.
fn widen(narrow: &CausalLm, config: &ModelConfig, seed: Seed) -> Result<CausalLm> {
    let wide = CausalLm::init(config, seed.value(), Device::Cpu)?;
    let (old, new) = (narrow.parameters(), wide.parameters());
    let has_same_names =
        old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| old.name == new.name);
    ensure!(has_same_names, "it has other tensors; give a model of the same kind and depth");
    tch::no_grad(|| old.iter().zip(&new).try_for_each(|(old, new)| grow(old, new)))?;
    wide.parameters_changed();
    Ok(wide)
}

/// Copies a tensor into the first rows and columns of one that may have more units of a feed-forward block.
fn grow(old: &Parameter, new: &Parameter) -> Result<()> {
    let ends_with = |projection: &str| old.name.ends_with(&format!("mlp.{projection}.weight"));
    let is_output = ends_with("down_proj");
    let is_input = ends_with("gate_proj") || ends_with("up_proj");
    // The dimension that counts the units.
    let units = if is_output { Some(1) } else { is_input.then_some(0) };
    let (from, to) = (old.tensor.size(), new.tensor.size());
    let fits =
        |(dim, (from, to)): (usize, (&i64, &i64))| from == to || (units == Some(dim) && from < to);
    ensure!(
        from.len() == to.len() && from.iter().zip(&to).enumerate().all(fits),
        "its tensor `{}` is {from:?}, where the wider model has {to:?}; give a model that differs only in the width \
         of its feed-forward blocks",
        old.name
    );
    let mut part = new.tensor.shallow_clone();
    if is_output {
        let _ = part.zero_();
    }
    for (dim, len) in (0..).zip(from) {
        part = part.narrow(dim, 0, len);
    }
    part.copy_(&old.tensor);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::swaps::tokenizer;

    const NARROW: Size = Size { hidden: 24, intermediate: 40, layers: 2, heads: 2 };

    fn model(size: Size, seed: u64) -> CausalLm {
        CausalLm::init(&size.config(&tokenizer().unwrap()), seed, Device::Cpu).unwrap()
    }

    fn widened(narrow: &CausalLm, size: Size, seed: u64) -> Result<CausalLm> {
        widen(narrow, &size.config(&tokenizer().unwrap()), Seed::new(seed))
    }

    fn batch() -> TokenBatch {
        let rows: [(&[u32], &[u32]); 2] = [(&[1, 2, 3], &[4, 5, 6, 0]), (&[7], &[8, 9])];
        let rows = rows.map(|(prompt, completion)| TokenRow { prompt, completion });
        TokenBatch::new(&rows, Device::Cpu).unwrap()
    }

    fn tensor(policy: &CausalLm, projection: &str) -> tch::Tensor {
        let name = format!("model.layers.1.mlp.{projection}.weight");
        let parameters = policy.parameters();
        parameters.into_iter().find(|parameter| parameter.name == name).unwrap().tensor
    }

    #[test]
    fn a_widened_model_has_the_scores_of_the_narrow_one() {
        let narrow = model(NARROW, 1);
        let wide = widened(&narrow, Size { intermediate: 72, ..NARROW }, 2).unwrap();
        let largest_difference = |score: &dyn Fn(&CausalLm) -> tch::Tensor| {
            (score(&narrow) - score(&wide)).abs().max().double_value(&[])
        };
        let options = ScoreOptions::default();
        let trained = |policy: &CausalLm| policy.score(&batch(), &options).unwrap().logprobs;
        let scored = |policy: &CausalLm| tch::no_grad(|| trained(policy));
        assert!(largest_difference(&trained) < 1e-5);
        assert!(largest_difference(&scored) < 1e-5);
        assert!(scored(&narrow).abs().max().double_value(&[]) > 1.0, "a score is not 0");
    }

    #[test]
    fn new_units_are_random_by_the_seed_and_learn() {
        let narrow = model(NARROW, 1);
        let size = Size { intermediate: 72, ..NARROW };
        let wide = widened(&narrow, size, 2).unwrap();
        let new_rows = |policy: &CausalLm| tensor(policy, "gate_proj").narrow(0, 40, 32);
        let deviation = new_rows(&wide).std(true).double_value(&[]);
        assert!((deviation - 0.06).abs() < 0.01, "{deviation}");
        assert_eq!(new_rows(&wide), new_rows(&widened(&narrow, size, 2).unwrap()));
        assert_ne!(new_rows(&wide), new_rows(&widened(&narrow, size, 3).unwrap()));

        let loss =
            -wide.score(&batch(), &ScoreOptions::default()).unwrap().logprobs.sum(Kind::Float);
        loss.backward();
        let new_columns = tensor(&wide, "down_proj").grad().narrow(1, 40, 32);
        assert!(new_columns.abs().min().double_value(&[]) > 0.0, "{new_columns:?}");
    }

    #[test]
    fn a_model_that_differs_in_more_than_that_width_is_refused() {
        let narrow = model(NARROW, 1);
        for (size, message) in [
            (Size { hidden: 32, ..NARROW }, "`model.embed_tokens.weight`"),
            (Size { intermediate: 39, ..NARROW }, "`model.layers.0.mlp.gate_proj.weight`"),
            (Size { layers: 3, ..NARROW }, "other tensors"),
        ] {
            let error = widened(&narrow, size, 2).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(widened(&narrow, NARROW, 2).is_ok(), "the same width is no other model");
    }
}
