//! An engine that several processes share.

use std::sync::Arc;

use crate::engine::contract::{
    Completion, GenerationRequest, RolloutEngine, Sampling, WeightSource, check_counts,
};
use crate::engine::peers::{Peers, all_gather_values};
use crate::error::RolloutError;
use crate::run::Activity;

/// An engine that samples its part of every call if there are peers, which sample the rest.
pub(crate) struct SharedEngine {
    engine: Box<dyn RolloutEngine>,
    peers: Option<Arc<dyn Peers>>,
    activity: Activity,
}

impl SharedEngine {
    pub(crate) fn new(engine: Box<dyn RolloutEngine>) -> Self {
        Self { engine, peers: None, activity: Activity::default() }
    }

    pub(crate) fn share_with(&mut self, peers: Arc<dyn Peers>) {
        self.peers = Some(peers);
    }
}

impl RolloutEngine for SharedEngine {
    fn name(&self) -> Option<String> {
        self.engine.name()
    }

    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let Some(peers) = &self.peers else { return self.engine.generate(requests) };
        let (rank, world_size, workers) =
            (peers.rank(), peers.world_size(), peers.num_virtual_workers());
        let mut own = Vec::new();
        for worker in (rank..workers).step_by(world_size) {
            let indices = (worker..requests.len()).step_by(workers);
            let part = indices.clone().map(|index| requests[index].clone()).collect::<Vec<_>>();
            if part.is_empty() {
                continue;
            }
            let sampled = self.engine.generate(&part)?;
            check_counts(&part, &sampled)?;
            own.extend(indices.zip(sampled));
        }
        let mut all = if world_size == 1 {
            own
        } else {
            all_gather_values(&**peers, &own)?.into_iter().flatten().collect()
        };
        all.sort_by_key(|(index, _)| *index);
        self.activity.set(requests.iter().map(|request| request.num_completions).sum());
        Ok(all.into_iter().map(|(_, completions)| completions).collect())
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        self.engine.sync(weights)
    }

    fn watch(&mut self, activity: &Activity) {
        self.activity = activity.clone();
        self.engine.watch(activity);
    }

    fn max_positions(&self) -> Option<usize> {
        self.engine.max_positions()
    }

    fn max_prompt_len(&self, sampling: &Sampling) -> Option<usize> {
        self.engine.max_prompt_len(sampling)
    }

    fn policy_id(&self) -> Option<usize> {
        self.engine.policy_id()
    }

    fn peers(&self) -> Option<&dyn Peers> {
        self.peers.as_deref()
    }
}
