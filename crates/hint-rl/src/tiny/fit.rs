//! Supervised training of a small model from random weights.

use anyhow::Result;
use hint_grpo::Optimizer;
use hint_grpo::optim::{AdamW, AdamWConfig, Decay, ScheduleConfig, clip_grad_norm};
use hint_policy::{CausalLm, Policy, ScoreOptions, TokenBatch, TokenRow};
use tch::{Device, Kind};

/// The tokens of a prompt and of its completion.
pub type Row = (Vec<u32>, Vec<u32>);

/// Minimizes the mean negative log-likelihood of completion tokens over `steps` batches, which `rows` draws by
/// step. Prints the loss every hundred steps.
///
/// # Errors
///
/// Those of `rows`; a row longer than the model's positions.
pub fn fit(
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
