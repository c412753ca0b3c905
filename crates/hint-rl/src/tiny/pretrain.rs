//! `hint-rl pretrain-tiny`: trains the checkpoint of the embedded default, `examples/tiny`.
//!
//! ```text
//! cargo run --release -p hint-rl -- pretrain-tiny --out examples/tiny
//! ```
//!
//! Prints the loss every hundred steps, and at the end the model's behavior with and without hints.
//! Takes half an hour on one core of a busy machine; the same build, options and thread count write the
//! same bytes. The data shows the model three things. With a hint, problems are worked step by step half
//! of the time and answered at once the other half. Without one they are answered at once. If the first
//! step's label is already printed, the work continues, with or without a hint. So the model can work
//! step by step without a hint, but does not begin to.

use anyhow::Result;
use hint_policy::{
    CausalLm, Policy, SampleOptions, SampleRequest, SamplingParams, ScoreOptions, TokenBatch,
    TokenRow, Tokenizer, sample,
};
use hint_rollout::Seed;
use tch::{Device, Kind};

pub use super::fit::Options;
use super::fit::{Plan, Row, Size, Start};
use super::swaps::{FRAME, HINT_INTRODUCTION, HINTS, Swaps, tokenizer};
use super::vocabulary::EOS;

/// Runs the command.
///
/// # Errors
///
/// A folder that cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let plan = Plan {
        name: "tiny",
        tokenizer: tokenizer()?,
        size: Size { hidden: 96, intermediate: 256, layers: 3, heads: 4 },
        start: Start::Random,
        steps: 4000,
        learning_rate: 3e-3,
        rows: 64,
        saved: Kind::Float,
    };
    let batch = |seed: Seed, rows: u64, tokenizer: &Tokenizer| {
        (0..rows).map(|row| Example::draw(seed.child(row)).tokens(tokenizer)).collect()
    };
    options.run(plan, batch, report)
}

/// One row of training data.
struct Example {
    swaps: Swaps,
    hint: Option<&'static str>,
    worked: bool,
    /// Whether the prompt already holds the first step's label.
    begun: bool,
}

impl Example {
    /// Hinted rows, begun rows and plain ones. Plain rows are longer than any that is worked, so that
    /// length is no sign of a hint.
    fn draw(seed: Seed) -> Self {
        let share = |name: &str| (seed.named(name).value() >> 11) as f64 / (1_u64 << 53) as f64;
        let below = |name: &str, bound: u64| {
            let value = seed.named(name).value() % bound;
            usize::try_from(value).expect("the bounds are small")
        };
        let hinted = share("hinted") < HINTED;
        let begun = !hinted && share("begun") < BEGUN;
        let level = 1 + below("level", if hinted || begun { 6 } else { 9 });
        let hint = hinted.then(|| HINTS[below("hint", HINTS.len() as u64)]);
        let worked = begun || (hinted && share("worked") < 0.5);
        Self { swaps: Swaps::draw_from(level, false, seed.named("swaps")), hint, worked, begun }
    }

    fn tokens(&self, tokenizer: &Tokenizer) -> Result<Row> {
        let mut prompt = tokenizer.encode(&prompt(&self.swaps, self.hint))?;
        let text = if self.worked { self.swaps.worked() } else { self.swaps.direct() };
        let mut completion = tokenizer.encode(&text)?;
        completion.push(EOS);
        if self.begun {
            prompt.push(completion.remove(0));
        }
        Ok((prompt, completion))
    }
}

/// Beginning of a completion that works step by step.
const FIRST_LABEL: &str = " 1:";
/// Share of rows with a hint.
const HINTED: f64 = 0.35;
/// Share of the other rows whose first step is begun.
const BEGUN: f64 = 0.3;

fn prompt(swaps: &Swaps, hint: Option<&str>) -> String {
    let hint = hint.map_or_else(String::new, |hint| format!("{HINT_INTRODUCTION}{hint}"));
    format!("{}{}{hint}{}", FRAME.0, swaps.question(), FRAME.1)
}

/// Prints how often held-out problems are worked step by step, and how often they are right.
fn report(policy: &CausalLm, tokenizer: &Tokenizer) -> Result<()> {
    let params = SamplingParams {
        temperature: 1.0,
        max_new_tokens: 80,
        stop_tokens: vec![EOS],
        ..SamplingParams::default()
    };
    for level in 1..=6 {
        for hint in [None, Some(HINTS[0])] {
            let problems = (0..128)
                .map(|index| Swaps::draw_from(level, true, Seed::new(7).child(index)))
                .collect::<Vec<_>>();
            let requests = problems
                .iter()
                .zip(0..)
                .map(|(swaps, seed)| {
                    let prompt = tokenizer.encode(&prompt(swaps, hint))?;
                    let params = params.clone();
                    Ok(SampleRequest { prompt, num_completions: 1, seed, params })
                })
                .collect::<Result<Vec<_>>>()?;
            let begins = begins_to_work(policy, tokenizer, &problems, hint)?;
            let samples = sample(policy, &requests, &SampleOptions::default())?;
            let (mut worked, mut worked_right, mut right) = (0, 0, 0);
            for (swaps, samples) in problems.iter().zip(samples) {
                let text = tokenizer.decode_skip_special(&samples[0].tokens)?;
                let is_right = text == swaps.worked() || text == swaps.direct();
                let is_worked = !text.starts_with(" \\boxed");
                right += u32::from(is_right);
                worked += u32::from(is_worked);
                worked_right += u32::from(is_worked && is_right);
            }
            let hinted = if hint.is_some() { "hinted" } else { "plain " };
            note!(
                "level {level} {hinted}: {right:>3} of 128 right; {worked:>3} worked step by step, \
                 {worked_right:>3} of those right; begins to work with probability {begins:.1e}"
            );
        }
    }
    Ok(())
}

/// Mean probability of the first step's label at the start of a completion.
fn begins_to_work(
    policy: &CausalLm,
    tokenizer: &Tokenizer,
    problems: &[Swaps],
    hint: Option<&str>,
) -> Result<f64> {
    let label = &tokenizer.encode(FIRST_LABEL)?;
    let prompts = problems
        .iter()
        .map(|swaps| Ok(tokenizer.encode(&prompt(swaps, hint))?))
        .collect::<Result<Vec<_>>>()?;
    let rows = prompts.iter().map(|prompt| TokenRow { prompt, completion: label });
    let batch = TokenBatch::new(&rows.collect::<Vec<_>>(), Device::Cpu)?;
    let scores = tch::no_grad(|| policy.score(&batch, &ScoreOptions::default()))?;
    let probabilities = scores.logprobs.exp() * batch.completion_mask();
    Ok(probabilities.sum(Kind::Double).double_value(&[]) / problems.len() as f64)
}
