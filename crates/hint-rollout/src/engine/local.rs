//! The engine that samples from a policy in this process.

use std::sync::Arc;

use hint_policy::sampling::{FinishReason, Generation, SampleWatch, sample_until};
use hint_policy::{SampleOptions, SampleRequest, SamplingParams, SharedPolicy, Tokenizer};

use crate::engine::contract::{
    Completion, GenerationRequest, GenerationWatch, PolicyVersion, RolloutEngine, Sampling,
    StopReason, WeightSource,
};
use crate::engine::queue::longest_first;
use crate::engine::watch::Unwatched;
use crate::error::RolloutError;
use crate::run::Activity;

/// Samples from a [`SharedPolicy`]: the one that is being trained, or the copy of it that a run samples ahead from.
///
/// ```no_run
/// use hint_policy::{LoadOptions, LoadedModel, SharedPolicy};
/// use hint_rollout::{GenerationRequest, LocalEngine, RolloutEngine, Sampling};
///
/// let model = LoadedModel::load("Qwen2.5-0.5B-Instruct", &LoadOptions::default())?;
/// let prompt = model.tokenizer.encode("2 + 2 =")?;
/// let mut engine = LocalEngine::new(SharedPolicy::new(model.policy), model.stop_tokens);
/// let request = GenerationRequest::new(prompt, 8, 42, Sampling::default());
/// for completion in &engine.generate(&[request])?[0] {
///     println!("{}", model.tokenizer.decode_skip_special(&completion.tokens)?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LocalEngine {
    policy: SharedPolicy,
    stop_tokens: Vec<u32>,
    version: PolicyVersion,
    tokenizer: Option<Arc<Tokenizer>>,
    max_batch: usize,
    activity: Activity,
}

impl LocalEngine {
    /// An engine whose completions end with any of `stop_tokens`.
    pub fn new(policy: SharedPolicy, stop_tokens: Vec<u32>) -> Self {
        let (version, activity) = (PolicyVersion::default(), Activity::default());
        let SampleOptions { max_batch, .. } = SampleOptions::default();
        Self { policy, stop_tokens, version, tokenizer: None, max_batch, activity }
    }

    /// Decodes at most `max_batch` completions at a time, at least 1 and 256 by default. Fewer take less memory and
    /// more time; the samples differ by float noise.
    #[must_use]
    pub const fn with_max_batch(mut self, max_batch: usize) -> Self {
        self.max_batch = max_batch;
        self
    }

    /// Ends completions as soon as their text has one of [`Sampling::stop`](crate::Sampling::stop). Without a
    /// tokenizer they are sampled to their end, and cut afterwards.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: Arc<Tokenizer>) -> Self {
        self.tokenizer = Some(tokenizer);
        self
    }

    /// Whether a completion of these tokens has reached one of the texts that end it.
    fn has_stopped(&self, sampling: &Sampling, tokens: &[u32]) -> bool {
        let (Some(tokenizer), Some(longest)) =
            (&self.tokenizer, sampling.stop.iter().map(String::len).max())
        else {
            return false;
        };
        let decode = |tokens: &[u32]| tokenizer.decode_skip_special(tokens);
        // A text that counts has just been reached, and a token has a byte or more.
        let recent = decode(&tokens[tokens.len().saturating_sub(longest + 4)..]);
        recent.is_ok_and(|text| sampling.stop.iter().any(|stop| text.contains(stop.as_str())))
            && sampling.find_stop(tokens, decode).is_ok_and(|place| place.is_some())
    }

    fn completion(&self, sample: Generation) -> Completion {
        let stop = match sample.stop {
            FinishReason::Stop => StopReason::Stop,
            FinishReason::Length => StopReason::Length,
        };
        Completion::new(sample.tokens, sample.behavior_logprobs, stop, self.version)
    }

    fn params(&self, request: &GenerationRequest) -> SamplingParams {
        let sampling = &request.sampling;
        SamplingParams {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            max_new_tokens: sampling.max_completion_len,
            min_new_tokens: sampling.min_completion_len,
            banned_tokens: sampling.banned_tokens.clone(),
            stop_tokens: self.stop_tokens.clone(),
        }
    }
}

/// The order in which requests start: as given if all completions are decoded at the same time, else the longest first.
fn queue(requests: &[GenerationRequest], max_batch: usize) -> Vec<usize> {
    let rows = requests.iter().map(|request| request.num_completions).sum::<usize>();
    if rows > max_batch { longest_first(requests) } else { (0..requests.len()).collect() }
}

/// Ends completions at stop texts, counts them, and passes them on.
struct Watch<'e> {
    engine: &'e LocalEngine,
    /// In the order in which they start.
    requests: Vec<&'e GenerationRequest>,
    /// Their places in the call.
    order: &'e [usize],
    heard: &'e dyn GenerationWatch,
}

impl SampleWatch for Watch<'_> {
    fn is_over(&self, request: usize, tokens: &[u32]) -> bool {
        self.engine.has_stopped(&self.requests[request].sampling, tokens)
    }

    fn on_end(&self, request: usize, completion: usize, sample: &Generation) {
        self.engine.activity.advance(1);
        let sample = self.engine.completion(sample.clone());
        self.heard.on_completion(self.order[request], completion, &sample);
    }

    fn ends_request(&self, request: usize) -> bool {
        self.heard.is_decided(self.order[request])
    }
}

impl RolloutEngine for LocalEngine {
    fn name(&self) -> Option<String> {
        None
    }

    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        self.generate_watched(requests, &Unwatched)
    }

    fn generate_watched(
        &mut self,
        requests: &[GenerationRequest],
        watch: &dyn GenerationWatch,
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let order = queue(requests, self.max_batch);
        let queued = order.iter().map(|&index| &requests[index]).collect::<Vec<_>>();
        let sampled = queued
            .iter()
            .map(|request| SampleRequest {
                prompt: request.prompt.clone(),
                num_completions: request.num_completions,
                seed: request.seed,
                params: self.params(request),
            })
            .collect::<Vec<_>>();
        let policy = self.policy.lock();
        let watch = Watch { engine: self, requests: queued, order: &order, heard: watch };
        let options = SampleOptions { max_batch: self.max_batch, ..SampleOptions::default() };
        let sampled = sample_until(&**policy, &sampled, &options, &watch)
            .map_err(|error| error.renumbered(&order))?;
        let mut groups = vec![Vec::new(); requests.len()];
        for (&index, group) in order.iter().zip(sampled) {
            groups[index] = group.into_iter().map(|sample| self.completion(sample)).collect();
        }
        Ok(groups)
    }

    fn ends_requests(&self) -> bool {
        true
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.version = weights.version();
        Ok(())
    }

    fn watch(&mut self, activity: &Activity) {
        self.activity = activity.clone();
    }

    fn policy_id(&self) -> Option<usize> {
        Some(self.policy.id())
    }

    fn max_positions(&self) -> Option<usize> {
        Some(self.policy.lock().max_positions())
    }
}
