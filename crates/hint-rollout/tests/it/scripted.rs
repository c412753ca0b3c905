//! Engines that follow a script, over a byte-level format.

use std::sync::{Arc, Mutex};

use hint_rollout::engine::{GenerationWatch, Peers};
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

/// Samples by a closure, which tells a watch of completions as they end, and may end the requests that are decided.
pub(crate) struct Watched<F>(F);

impl<F> Watched<F>
where
    F: FnMut(
            &[GenerationRequest],
            &dyn GenerationWatch,
        ) -> Result<Vec<Vec<Completion>>, RolloutError>
        + Send,
{
    pub(crate) fn new(sample: F) -> Self {
        Self(sample)
    }
}

/// Looks at nothing.
struct Blind;

impl GenerationWatch for Blind {
    fn on_completion(&self, _request: usize, _index: usize, _completion: &Completion) {}
}

impl<F> RolloutEngine for Watched<F>
where
    F: FnMut(
            &[GenerationRequest],
            &dyn GenerationWatch,
        ) -> Result<Vec<Vec<Completion>>, RolloutError>
        + Send,
{
    fn name(&self) -> Option<String> {
        None
    }

    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        self.generate_watched(requests, &Blind)
    }

    fn generate_watched(
        &mut self,
        requests: &[GenerationRequest],
        watch: &dyn GenerationWatch,
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        (self.0)(requests, watch)
    }

    fn ends_requests(&self) -> bool {
        true
    }

    fn sync(&mut self, _weights: &dyn WeightSource) -> Result<(), RolloutError> {
        Ok(())
    }
}

/// The first of so many processes, of which each does the work of three. It meets no other one.
pub(crate) struct Process(pub(crate) usize);

impl Peers for Process {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        self.0
    }

    fn num_virtual_workers(&self) -> usize {
        3 * self.0
    }

    fn all_gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, RolloutError> {
        Ok(vec![bytes])
    }
}
