//! The engine that samples from a policy in this process.

use hint_policy::{SampleOptions, SampleRequest, SamplingParams, SharedPolicy, sample};

use crate::engine::contract::{
    Completion, GenerationRequest, PolicyVersion, RolloutEngine, StopReason, WeightSource,
};
use crate::error::RolloutError;

/// Samples from a [`SharedPolicy`], the one that is being trained.
#[derive(Debug, Clone)]
pub struct LocalEngine {
    policy: SharedPolicy,
    stop_tokens: Vec<u32>,
    version: PolicyVersion,
}

impl LocalEngine {
    /// An engine whose completions end with any of `stop_tokens`.
    pub fn new(policy: SharedPolicy, stop_tokens: Vec<u32>) -> Self {
        Self { policy, stop_tokens, version: PolicyVersion::default() }
    }

    fn params(&self, request: &GenerationRequest) -> SamplingParams {
        let sampling = &request.sampling;
        SamplingParams {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            max_new_tokens: sampling.max_completion_len,
            stop_tokens: self.stop_tokens.clone(),
        }
    }
}

impl RolloutEngine for LocalEngine {
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let requests = requests
            .iter()
            .map(|request| SampleRequest {
                prompt: request.prompt.clone(),
                num_completions: request.num_completions,
                seed: request.seed,
                params: self.params(request),
            })
            .collect::<Vec<_>>();
        let policy = self.policy.lock();
        let sampled = sample(&**policy, &requests, &SampleOptions::default())?;
        let version = self.version;
        let completion = |sample: hint_policy::Sample| {
            let stop = match sample.stop {
                hint_policy::sampling::StopReason::Stop => StopReason::Stop,
                hint_policy::sampling::StopReason::Length => StopReason::Length,
            };
            Completion::new(sample.tokens, sample.behavior_logprobs, stop, version)
        };
        Ok(sampled.into_iter().map(|group| group.into_iter().map(completion).collect()).collect())
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.version = weights.version();
        Ok(())
    }

    fn max_positions(&self) -> Option<usize> {
        Some(self.policy.lock().max_positions())
    }
}
