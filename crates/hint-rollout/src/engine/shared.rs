//! An engine that several processes share.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::contract::{
    Completion, GenerationRequest, GenerationWatch, RolloutEngine, Sampling, WeightSource,
    check_counts,
};
use crate::engine::peers::{Peers, all_gather_values, ask_first};
use crate::engine::watch::Unwatched;
use crate::error::RolloutError;
use crate::run::Activity;

/// An engine that samples its part of every call if there are peers, which sample the rest. Or that of the first process
/// [samples for all](RolloutEngine::samples_for_all).
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

    /// The peers for which the engine of the first process samples.
    fn followers(&self) -> Option<Arc<dyn Peers>> {
        self.peers.clone().filter(|peers| peers.world_size() > 1 && self.engine.samples_for_all())
    }

    /// The result of `ask`, which calls the engine of the first process. The others learn its limit.
    fn ask_first<T: Serialize + DeserializeOwned>(
        &mut self,
        peers: &dyn Peers,
        ask: impl FnOnce(&mut dyn RolloutEngine) -> Result<T, RolloutError>,
    ) -> Result<T, RolloutError> {
        let engine = &mut self.engine;
        let (result, max_positions) = ask_first(peers, "the engine of the first process", || {
            let result = ask(&mut **engine)?;
            Ok((result, engine.max_positions()))
        })?;
        if peers.rank() != 0 {
            self.engine.follow(max_positions);
        }
        Ok(result)
    }
}

/// The watch of a part of the requests of a call.
struct Part<'w> {
    watch: &'w dyn GenerationWatch,
    /// The place of each in the call.
    indices: &'w [usize],
}

impl GenerationWatch for Part<'_> {
    fn on_completion(&self, request: usize, index: usize, completion: &Completion) {
        if let Some(&request) = self.indices.get(request) {
            self.watch.on_completion(request, index, completion);
        }
    }

    fn is_decided(&self, request: usize) -> bool {
        self.indices.get(request).is_some_and(|&request| self.watch.is_decided(request))
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
        self.generate_watched(requests, &Unwatched)
    }

    fn generate_watched(
        &mut self,
        requests: &[GenerationRequest],
        watch: &dyn GenerationWatch,
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        if let Some(peers) = self.followers() {
            let sampled = self.ask_first(&*peers, |engine| {
                let sampled = engine.generate_watched(requests, watch)?;
                check_counts(requests, &sampled)?;
                Ok(sampled)
            })?;
            self.activity.set(requests.iter().map(|request| request.num_completions).sum());
            return Ok(sampled);
        }
        let peers = self.peers.as_ref().filter(|_| !self.engine.samples_for_all());
        let Some(peers) = peers else { return self.engine.generate_watched(requests, watch) };
        let (rank, world_size, workers) =
            (peers.rank(), peers.world_size(), peers.num_virtual_workers());
        let mut own = Vec::new();
        for worker in (rank..workers).step_by(world_size) {
            let indices = (worker..requests.len()).step_by(workers);
            let part = indices.clone().map(|index| requests[index].clone()).collect::<Vec<_>>();
            if part.is_empty() {
                continue;
            }
            let heard = Part { watch, indices: &indices.clone().collect::<Vec<_>>() };
            let sampled = self.engine.generate_watched(&part, &heard);
            let sampled =
                sampled.map_err(|error| error.renumbered(|| indices.clone().collect()))?;
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

    fn ends_requests(&self) -> bool {
        self.engine.ends_requests()
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        match self.followers() {
            Some(peers) => self.ask_first(&*peers, |engine| engine.sync(weights)),
            None => self.engine.sync(weights),
        }
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

    fn samples_for_all(&self) -> bool {
        self.engine.samples_for_all()
    }

    fn follow(&mut self, max_positions: Option<usize>) {
        self.engine.follow(max_positions);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Barrier, Mutex};

    use super::*;
    use crate::engine::{HeadWeights, PolicyVersion, StopReason};

    /// One of several threads, with five virtual workers.
    struct Member {
        rank: usize,
        brought: Arc<Mutex<Vec<Vec<u8>>>>,
        barrier: Arc<Barrier>,
    }

    impl Peers for Member {
        fn rank(&self) -> usize {
            self.rank
        }

        fn world_size(&self) -> usize {
            self.brought.lock().unwrap().len()
        }

        fn num_virtual_workers(&self) -> usize {
            5
        }

        fn all_gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, RolloutError> {
            self.brought.lock().unwrap()[self.rank] = bytes;
            self.barrier.wait();
            let all = self.brought.lock().unwrap().clone();
            self.barrier.wait();
            Ok(all)
        }
    }

    /// A server that names its calls, and the engine of a process that has none. Each call shortens what it holds.
    struct Server {
        calls: Option<Sender<String>>,
        max_positions: usize,
    }

    impl Server {
        fn call(&mut self, what: String) -> Result<(), RolloutError> {
            let down = || RolloutError::other("the server", std::io::Error::other("it is down"));
            self.max_positions = self.max_positions.checked_sub(1).ok_or_else(down)?;
            self.calls.as_ref().expect("it is that of the first process").send(what).unwrap();
            Ok(())
        }
    }

    impl RolloutEngine for Server {
        fn generate(
            &mut self,
            requests: &[GenerationRequest],
        ) -> Result<Vec<Vec<Completion>>, RolloutError> {
            self.call(format!("{} requests", requests.len()))?;
            let echo = |request: &GenerationRequest| {
                let (tokens, logprobs) = (request.prompt.clone(), vec![-0.1; request.prompt.len()]);
                let one = Completion::new(tokens, logprobs, StopReason::Length, PolicyVersion(3));
                vec![one; request.num_completions]
            };
            Ok(requests.iter().map(echo).collect())
        }

        fn sync(&mut self, _: &dyn WeightSource) -> Result<(), RolloutError> {
            self.call("weights".to_owned())
        }

        fn max_positions(&self) -> Option<usize> {
            Some(self.max_positions)
        }

        fn samples_for_all(&self) -> bool {
            true
        }

        fn follow(&mut self, max_positions: Option<usize>) {
            self.max_positions = max_positions.unwrap();
        }
    }

    struct NoWeights;

    impl WeightSource for NoWeights {
        fn version(&self) -> PolicyVersion {
            PolicyVersion(3)
        }

        fn write_checkpoint(
            &self,
            _: &std::path::Path,
            _: HeadWeights,
        ) -> Result<(), RolloutError> {
            Ok(())
        }
    }

    /// The results of `work` in each of `world_size` threads, and the calls that the server got.
    fn each<T: Send>(
        world_size: usize,
        max_positions: usize,
        work: impl Fn(&mut SharedEngine) -> T + Sync,
    ) -> (Vec<T>, Receiver<String>) {
        let (sender, calls) = channel();
        let brought = Arc::new(Mutex::new(vec![Vec::new(); world_size]));
        let barrier = Arc::new(Barrier::new(world_size));
        let member = |rank: usize| {
            let calls = (rank == 0).then(|| sender.clone());
            let mut engine = SharedEngine::new(Box::new(Server { calls, max_positions }));
            let (brought, barrier) = (Arc::clone(&brought), Arc::clone(&barrier));
            engine.share_with(Arc::new(Member { rank, brought, barrier }));
            engine
        };
        let work = &work;
        let found = std::thread::scope(|scope| {
            let members = (0..world_size).map(member);
            let threads = members.map(|mut engine| scope.spawn(move || work(&mut engine)));
            let threads = threads.collect::<Vec<_>>();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        (found, calls)
    }

    fn requests() -> Vec<GenerationRequest> {
        let sampling = Sampling::default();
        let request = |prompt: u32| GenerationRequest::new(vec![prompt, 7], 2, 1, sampling.clone());
        (0..7).map(request).collect()
    }

    #[test]
    fn the_first_process_asks_servers_for_all() {
        for world_size in [1, 3] {
            let (found, calls) = each(world_size, 40, |engine| {
                engine.sync(&NoWeights).unwrap();
                let sampled = engine.generate(&requests()).unwrap();
                let first = sampled.iter().map(|group| (group.len(), group[1].tokens[0]));
                (first.collect::<Vec<_>>(), engine.max_positions())
            });
            let expected = (0..7).map(|prompt| (2, prompt)).collect::<Vec<_>>();
            assert_eq!(found, vec![(expected, Some(38)); world_size]);
            assert_eq!(calls.try_iter().collect::<Vec<_>>(), ["weights", "7 requests"]);
        }
    }

    /// Names the first of its requests that has no prompt, and samples nothing.
    #[cfg(feature = "local-engine")]
    struct Strict;

    #[cfg(feature = "local-engine")]
    impl RolloutEngine for Strict {
        fn generate(
            &mut self,
            requests: &[GenerationRequest],
        ) -> Result<Vec<Vec<Completion>>, RolloutError> {
            match requests.iter().position(|request| request.prompt.is_empty()) {
                Some(row) => Err(hint_policy::PolicyError::EmptyPrompt { row }.into()),
                None => Ok(vec![Vec::new(); requests.len()]),
            }
        }

        fn sync(&mut self, _: &dyn WeightSource) -> Result<(), RolloutError> {
            Ok(())
        }
    }

    #[cfg(feature = "local-engine")]
    #[test]
    fn an_error_about_a_part_names_the_request_of_the_caller() {
        let mut engine = SharedEngine::new(Box::new(Strict));
        let brought = Arc::new(Mutex::new(vec![Vec::new()]));
        let barrier = Arc::new(Barrier::new(1));
        engine.share_with(Arc::new(Member { rank: 0, brought, barrier }));
        let mut requests = requests();
        for request in &mut requests {
            request.num_completions = 0;
        }
        assert_eq!(engine.generate(&requests).unwrap().len(), 7);
        // The second virtual worker of five takes the requests 1 and 6.
        requests[6].prompt.clear();
        let error = engine.generate(&requests).unwrap_err();
        let expected = hint_policy::PolicyError::EmptyPrompt { row: 6 };
        assert_eq!(error.to_string(), expected.to_string());
    }

    #[test]
    fn an_error_of_the_servers_ends_every_process() {
        let (found, _) = each(3, 1, |engine| {
            engine.sync(&NoWeights).unwrap();
            engine.generate(&requests()).map(|_| ()).map_err(|error| error.chain())
        });
        for found in found {
            assert!(found.unwrap_err().contains("it is down"));
        }
    }
}
