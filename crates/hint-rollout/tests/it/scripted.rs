//! A scripted engine over a byte-level format.

use std::sync::{Arc, Mutex};

use hint_rollout::prompt::HintTemplate;
use hint_rollout::{
    Completion, GenerationRequest, Hint, PolicyVersion, Problem, PromptFormat, RolloutEngine,
    RolloutError, StopReason, WeightSource,
};

/// Prompts and completions as the bytes of their text.
#[derive(Debug, Default)]
pub(crate) struct Bytes {
    template: HintTemplate,
}

impl PromptFormat for Bytes {
    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        let text = self.template.render(&problem.question, hint);
        Ok(text.bytes().map(u32::from).collect())
    }

    fn encode_completion(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
        Ok(text(completion))
    }

    fn stop_tokens(&self) -> &[u32] {
        &[]
    }
}

pub(crate) fn text(tokens: &[u32]) -> String {
    let bytes: Vec<u8> = tokens.iter().map(|&token| token.try_into().expect("a byte")).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the engine was asked: prompt text and seed, in order.
pub(crate) type Log = Arc<Mutex<Vec<(String, u64)>>>;

/// Answers each request with what `script` makes of its prompt text and the completion's index.
pub(crate) struct Scripted<F> {
    pub(crate) script: F,
    pub(crate) log: Log,
}

impl<F> Scripted<F>
where
    F: FnMut(&str, usize) -> String + Send,
{
    pub(crate) fn new(script: F) -> (Self, Log) {
        let log = Log::default();
        (Self { script, log: Arc::clone(&log) }, log)
    }
}

impl<F> RolloutEngine for Scripted<F>
where
    F: FnMut(&str, usize) -> String + Send,
{
    fn name(&self) -> Option<String> {
        None
    }

    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let mut groups = Vec::new();
        for request in requests {
            let prompt = text(&request.prompt);
            self.log.lock().expect("no test panics here").push((prompt.clone(), request.seed));
            let group = (0..request.num_completions).map(|index| {
                let answer = (self.script)(&prompt, index);
                let tokens = answer.bytes().map(u32::from).collect::<Vec<_>>();
                let logprobs = vec![-0.5; tokens.len()];
                let stop =
                    if answer.contains("...") { StopReason::Length } else { StopReason::Stop };
                Completion::new(tokens, logprobs, stop, PolicyVersion(0))
            });
            groups.push(group.collect());
        }
        Ok(groups)
    }

    fn sync(&mut self, _weights: &dyn WeightSource) -> Result<(), RolloutError> {
        Ok(())
    }
}
