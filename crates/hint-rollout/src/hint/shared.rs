//! A source of hints that one of several processes asks.

use std::sync::Arc;

use serde_json::Value;

use crate::data::{Hint, Problem};
use crate::engine::{Peers, ask_first};
use crate::error::RolloutError;
use crate::hint::provider::{HintProvider, HintRequest};
use crate::hint::writer::HintWriter;

/// Asks a source in the first process, and hands its hints to the others. The answers of a server differ from call to call,
/// and cost. The source must not let the policy write, since the others would not take part.
pub(crate) struct SharedHints {
    source: Box<dyn HintProvider>,
    peers: Arc<dyn Peers>,
}

impl SharedHints {
    pub(crate) fn new(source: Box<dyn HintProvider>, peers: Arc<dyn Peers>) -> Self {
        Self { source, peers }
    }

    fn share<T: serde::Serialize + serde::de::DeserializeOwned>(
        &self,
        ask: impl FnOnce() -> Result<T, RolloutError>,
    ) -> Result<T, RolloutError> {
        ask_first(&*self.peers, "the hints of the first process", ask)
    }
}

impl HintProvider for SharedHints {
    fn name(&self) -> String {
        self.source.name()
    }

    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        self.share(|| self.source.hint(request))
    }

    fn hints(
        &self,
        requests: &[HintRequest<'_>],
        writer: &mut dyn HintWriter,
    ) -> Result<Vec<Option<Hint>>, RolloutError> {
        self.share(|| self.source.hints(requests, writer))
    }

    fn levels(&self, problem: &Problem) -> Option<usize> {
        self.source.levels(problem)
    }

    fn state(&self) -> Value {
        self.source.state()
    }

    fn load_state(&self, state: &Value) -> Result<(), RolloutError> {
        self.source.load_state(state)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, Mutex};

    use super::*;

    /// One of two threads.
    struct Pair {
        rank: usize,
        brought: Arc<Mutex<[Vec<u8>; 2]>>,
        barrier: Arc<Barrier>,
    }

    impl Peers for Pair {
        fn rank(&self) -> usize {
            self.rank
        }

        fn world_size(&self) -> usize {
            2
        }

        fn num_virtual_workers(&self) -> usize {
            2
        }

        fn all_gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, RolloutError> {
            self.brought.lock().unwrap()[self.rank] = bytes;
            self.barrier.wait();
            let all = self.brought.lock().unwrap().to_vec();
            self.barrier.wait();
            Ok(all)
        }
    }

    struct Server<F>(F);

    impl<F: Fn() -> Result<Option<Hint>, RolloutError> + Send + Sync> HintProvider for Server<F> {
        fn hint(&self, _: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
            (self.0)()
        }
    }

    /// The results of two threads that share `source`.
    fn asked(
        source: impl Fn() -> Result<Option<Hint>, RolloutError> + Clone + Send + Sync + 'static,
    ) -> [Result<Option<Hint>, String>; 2] {
        let problem = Problem::new("trays", "Rest?", "16");
        let (brought, barrier) = (Arc::default(), Arc::new(Barrier::new(2)));
        let ask = |rank: usize| {
            let (brought, barrier) = (Arc::clone(&brought), Arc::clone(&barrier));
            let peers = Arc::new(Pair { rank, brought, barrier });
            let shared = SharedHints::new(Box::new(Server(source.clone())), peers);
            shared.hint(&HintRequest::new(&problem)).map_err(|error| format!("{error:?}"))
        };
        std::thread::scope(|scope| {
            let ask = &ask;
            let threads = [0, 1].map(|rank| scope.spawn(move || ask(rank)));
            threads.map(|thread| thread.join().unwrap())
        })
    }

    #[test]
    fn one_process_asks_and_all_have_its_answer_or_its_error() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let found = asked(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(Some(Hint::new("Find the total first.")))
        });
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        for found in found {
            assert_eq!(found.unwrap().unwrap().text, "Find the total first.");
        }
        let down = || Err(RolloutError::other("the server", std::io::Error::other("it is down")));
        for found in asked(down) {
            assert!(found.unwrap_err().contains("it is down"));
        }
    }
}
