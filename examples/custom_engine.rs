//! An engine of your own: a plain loop over the policy's logits, without a cache.
//!
//! ```text
//! cargo run --release --example custom_engine
//! ```
//!
//! Trains the tiny model for three steps, about a minute, and prints how well engine and trainer agree.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::ops::ControlFlow;

use hint_grpo::prelude::*;
use hint_policy::tch::Kind;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Samples one completion at a time; its random numbers depend on seed and position alone. No top-k, top-p or min-p.
struct PlainLoop {
    policy: SharedPolicy,
    stop_tokens: Vec<u32>,
    version: PolicyVersion,
}

impl PlainLoop {
    fn complete(&self, prompt: &[u32], sampling: &Sampling, seed: Seed) -> Result<Completion> {
        let policy = self.policy.lock();
        let (mut tokens, mut logprobs, mut stop) = (Vec::new(), Vec::new(), StopReason::Length);
        while tokens.len() < sampling.max_completion_len && stop == StopReason::Length {
            let row = TokenRow { prompt, completion: &tokens };
            let batch = TokenBatch::new(&[row], policy.device())?;
            let logits = tch::no_grad(|| policy.logits(&batch))?.get(0).get(-1);
            let tempered = logits.to_kind(Kind::Double) / sampling.temperature;
            let next = Vec::<f64>::try_from(tempered.log_softmax(-1, Kind::Double))?;
            let mut left = seed.child(tokens.len() as u64).unit();
            let drawn = next.iter().position(|logprob| {
                left -= logprob.exp();
                left < 0.0
            });
            let index = drawn.unwrap_or(next.len() - 1);
            logprobs.push(next[index]);
            tokens.push(u32::try_from(index)?);
            if self.stop_tokens.contains(&tokens[tokens.len() - 1]) {
                stop = StopReason::Stop;
            }
        }
        Ok(Completion::new(tokens, logprobs, stop, self.version))
    }
}

impl RolloutEngine for PlainLoop {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> std::result::Result<Vec<Vec<Completion>>, RolloutError> {
        let group = |request: &GenerationRequest| {
            let seed = Seed::new(request.seed);
            (0..request.num_completions as u64)
                .map(|index| self.complete(&request.prompt, &request.sampling, seed.child(index)))
                .collect::<Result<Vec<_>>>()
        };
        let groups: Result<_> = requests.iter().map(group).collect();
        groups.map_err(|error| RolloutError::other("engine", error))
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> std::result::Result<(), RolloutError> {
        // The policy is shared; an engine elsewhere calls `weights.write_checkpoint`.
        self.version = weights.version();
        Ok(())
    }
}

fn main() -> Result<()> {
    // Operations of so small a model are faster on one thread.
    tch::set_num_threads(1);
    let config =
        "run = { steps = 3, prompts_per_step = 4 }\nrollout.sampling.max_completion_len = 64";
    let config = GrpoConfig::from_toml(config)?;
    let tiny = std::env::args().nth(1).unwrap_or_else(|| "examples/tiny".to_owned());
    let model = LoadedModel::load(&tiny, &LoadOptions::default())?;
    let policy = SharedPolicy::new(model.policy);
    let (stop_tokens, version) = (model.stop_tokens.clone(), PolicyVersion::default());
    let engine = PlainLoop { policy: policy.clone(), stop_tokens, version };
    // How this model was shown problems and hints. Most models have a chat template: see `ChatFormat`.
    let format = TextFormat::new(model.tokenizer.into(), model.stop_tokens)
        .with_frame("Q: ", "\nA:")
        .with_hint_template(HintTemplate { introduction: "\nHint: ".to_owned() });
    let rewards = Rewards::own(Rubric::new(ExactMatch::new()));
    let parts = Parts { policy, engine, format, rewards, hints: Hints::configured() };
    let print = observer_from_fn(|report| {
        let difference = report.metrics.get(metrics::SAMPLING_LOGP_DIFFERENCE_MAX);
        println!("step {}: largest difference {:.1e} nats", report.step, difference.unwrap_or(0.0));
        ControlFlow::Continue(())
    });
    Trainer::from_config(config, parts)?
        .observer(print)
        .build()?
        .run(&read_problems(format!("{tiny}/problems.jsonl"))?)?;
    Ok(())
}
