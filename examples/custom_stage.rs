//! A stage of your own: distillation from a teacher policy, on prompts alone. The loop, the optimizer and checkpoints stay.
//!
//! ```text
//! cargo run --release --example custom_stage
//! ```
//!
//! Teaches a policy with new weights to answer like the tiny model, for twenty steps; about ten seconds on two CPU cores.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use hint_grpo::learner::{Sample, SampleBatch};
use hint_grpo::prelude::*;
use hint_grpo::run::Run;
use hint_grpo::stage::{Batch, Stage, fingerprint};
use hint_policy::CausalLm;
use hint_rollout::run::RunProgress;

/// The teacher answers prompts; its answers are learned as demonstrations.
struct Distill {
    teacher: LocalEngine,
    prompts_per_step: usize,
}

impl Stage for Distill {
    const NAME: &'static str = "distill";
    type Items = [Vec<u32>];

    fn is_empty(prompts: &[Vec<u32>]) -> bool {
        prompts.is_empty()
    }

    // A run is not resumed with other prompts.
    fn fingerprints(prompts: &[Vec<u32>]) -> Result<BTreeMap<String, String>, GrpoError> {
        let texts = prompts.iter().map(|prompt| format!("{prompt:?}")).collect::<Vec<_>>();
        let prompts = fingerprint(texts.iter().map(|text| [text.as_bytes()]));
        Ok(BTreeMap::from([("prompts".to_owned(), prompts)]))
    }

    fn next_batch(&mut self, prompts: &[Vec<u32>], at: RunProgress) -> Result<Batch, GrpoError> {
        let count = self.prompts_per_step as u64;
        let steps = at.step * count..(at.step + 1) * count;
        let drawn = Seed::new(0).epochs(prompts.len(), steps);
        let sampling = Sampling { max_completion_len: 64, ..Sampling::default() };
        let request = |&index: &usize| {
            let seed = at.step * count + index as u64;
            GenerationRequest::new(prompts[index].clone(), 1, seed, sampling.clone())
        };
        let requests: Vec<_> = drawn.iter().map(request).collect();
        let answers = self.teacher.generate(&requests)?;
        let samples = answers.into_iter().flatten().zip(&requests).enumerate();
        let sample = |(group, (answer, request)): (usize, (Completion, &GenerationRequest))| {
            Sample::demonstration(group, request.prompt.clone(), answer.tokens, 1.0)
        };
        let mut batch = Batch::default();
        batch.samples = SampleBatch::new(requests.len(), samples.map(sample).collect());
        batch.tokens = batch.samples.samples.iter().map(|one| one.trained_tokens() as u64).sum();
        Ok(batch)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Operations of so small a model are faster on one thread.
    tch::set_num_threads(1);
    let tiny = std::env::args().nth(1).unwrap_or_else(|| "examples/tiny".to_owned());
    let model = LoadedModel::load(&tiny, &LoadOptions::default())?;
    let student = CausalLm::init(model.policy.config(), 1, tch::Device::Cpu)?;
    let teacher = LocalEngine::new(SharedPolicy::new(model.policy), model.stop_tokens);
    let mut prompts = Vec::new();
    for problem in read_problems(format!("{tiny}/problems.jsonl"))? {
        prompts.push(model.tokenizer.encode(&format!("Q: {}\nA:", problem.question))?);
    }
    let config =
        GrpoConfig::from_toml("run = { steps = 20 }\noptimizer = { learning_rate = 3e-3 }")?;
    let print = observer_from_fn(|report| {
        let nll = report.metrics.get(metrics::NLL).unwrap_or(0.0);
        println!("step {:>2}: {nll:.3} nats per token", report.step);
        ControlFlow::Continue(())
    });
    Run::of_stage(Distill { teacher, prompts_per_step: 16 }, SharedPolicy::new(student), config)
        .observer(print)
        .build()?
        .run(&prompts)?;
    Ok(())
}
