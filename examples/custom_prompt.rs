//! A prompt format of your own: a frame around the problem, and the hint between the two.
//!
//! ```text
//! cargo run --release --example custom_prompt
//! ```
//!
//! Prints the plain and the hinted prompt, and the pass rate of eight completions of each. Takes a few seconds.
#![expect(clippy::print_stdout, reason = "the output of a program")]

use std::sync::Arc;

use hint_grpo::prelude::*;
use hint_policy::Tokenizer;

/// Asks as the tiny model was asked when it was trained.
struct Framed {
    tokenizer: Arc<Tokenizer>,
    stop_tokens: Vec<u32>,
}

impl PromptFormat for Framed {
    // The same code makes both prompts, so that they differ by the hint and by nothing else.
    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        let hint = hint.map_or_else(String::new, |hint| format!("\nHint: {}", hint.text));
        let text = format!("Q: {}{hint}\nA:", problem.question);
        Ok(self.tokenizer.encode(&text)?)
    }

    // Only prefixes of solutions and demonstrations need this one.
    fn encode_completion(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
        Ok(self.tokenizer.encode(text)?)
    }

    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
        Ok(self.tokenizer.decode_skip_special(completion)?)
    }

    fn stop_tokens(&self) -> &[u32] {
        &self.stop_tokens
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Operations of so small a model are faster on one thread.
    tch::set_num_threads(1);
    let tiny = std::env::args().nth(1).unwrap_or_else(|| "examples/tiny".to_owned());
    let model = LoadedModel::load(&tiny, &LoadOptions::default())?;
    let problems = read_problems(format!("{tiny}/problems.jsonl"))?;
    let asked = problems.first().ok_or("the file is empty")?;
    let policy = SharedPolicy::new(model.policy);
    let mut engine = LocalEngine::new(policy, model.stop_tokens.clone());
    let format = Framed { tokenizer: model.tokenizer.into(), stop_tokens: model.stop_tokens };

    for hint in [None, Some(Hint::new("Go one swap at a time."))] {
        let prompt = format.encode(asked, hint.as_ref())?;
        println!("{}", format.tokenizer.decode(&prompt)?);
        let sampling = Sampling { max_completion_len: 64, ..Sampling::default() };
        let request = GenerationRequest::new(prompt, 8, 1, sampling);
        let mut correct = 0;
        for completion in &engine.generate(&[request])?[0] {
            let text = format.decode(&completion.tokens)?;
            let judgment = ExactMatch::new().verify(&RewardInput::new(&text, &asked.answer));
            correct += u32::from(judgment.verdict == Verdict::Correct);
        }
        println!(" … {correct} of 8 are right\n");
    }
    Ok(())
}
