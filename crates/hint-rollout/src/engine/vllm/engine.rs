//! The engine of several vLLM servers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine::contract::{
    Completion, GenerationRequest, HeadWeights, PolicyVersion, RolloutEngine, Sampling,
    WeightSource,
};
use crate::engine::vllm::event::VllmEvent;
use crate::engine::vllm::options::VllmOptions;
use crate::engine::vllm::server::{Server, folder};
use crate::error::VllmError;
use crate::error::{RolloutError, Violations};
use crate::net::ApiKey;
use crate::run::{Activity, Queue};

/// Observer of the servers.
type Observer = Box<dyn FnMut(&VllmEvent<'_>) + Send>;

/// Builds a [`VllmEngine`]; made by [`VllmEngine::builder`].
///
/// ```no_run
/// use hint_rollout::engine::vllm::{VllmEngine, VllmOptions};
///
/// let options = VllmOptions::new(["http://127.0.0.1:8000"], "policy", "/shared/weights");
/// let engine = VllmEngine::builder(options)
///     .stop_tokens(vec![2])
///     .observer(|event| eprintln!("{event:?}"))
///     .connect()?;
/// # Ok::<(), hint_rollout::RolloutError>(())
/// ```
pub struct VllmBuilder {
    options: VllmOptions,
    stop_tokens: Vec<u32>,
    key: Option<ApiKey>,
    observer: Observer,
}

impl std::fmt::Debug for VllmBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VllmBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl VllmBuilder {
    /// Sets the tokens that end a completion: the stop tokens of the prompt format.
    #[must_use]
    pub fn stop_tokens(mut self, stop_tokens: Vec<u32>) -> Self {
        self.stop_tokens = stop_tokens;
        self
    }

    /// Sets the key of servers that were started with `--api-key`.
    #[must_use]
    pub fn api_key(mut self, key: ApiKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Watches the servers: the engine continues when one of them is down, and calls this closure.
    #[must_use]
    pub fn observer(mut self, observer: impl FnMut(&VllmEvent<'_>) + Send + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Connects to the servers and checks how they were started.
    ///
    /// # Errors
    ///
    /// [`RolloutError::Config`]; [`VllmError::DevMode`], [`VllmError::Model`] or
    /// [`VllmError::Setting`] for a server that was started wrongly, each with the fix;
    /// [`VllmError::AllDown`] when no server answers. A server that is out of reach is reported and
    /// left out until it is back.
    pub fn connect(self) -> Result<VllmEngine, RolloutError> {
        Violations::check(|at| self.options.check(at))?;
        let slots = self.options.servers.iter().map(|address| {
            let server = Server::new(address, &self.options, self.key.as_ref());
            Slot { server, down: None, checked: false, model_len: usize::MAX }
        });
        let mut engine = VllmEngine {
            slots: slots.collect(),
            options: self.options,
            stop_tokens: self.stop_tokens,
            observer: self.observer,
            current: None,
            activity: Activity::default(),
        };
        for index in 0..engine.slots.len() {
            let slot = &mut engine.slots[index];
            if let Err(error) = slot.check(&engine.options) {
                if !error.is_outage() {
                    return Err(error.into());
                }
                engine.set_down(index, &error, 0);
            }
        }
        engine.up()?;
        Ok(engine)
    }
}

/// One server and its state.
#[derive(Debug)]
struct Slot {
    server: Server,
    /// Why it cannot be used.
    down: Option<String>,
    checked: bool,
    /// Positions it holds.
    model_len: usize,
}

impl Slot {
    fn check(&mut self, options: &VllmOptions) -> Result<(), VllmError> {
        self.server.is_alive()?;
        if !self.checked {
            self.model_len = self.server.check(options)?;
            self.checked = true;
        }
        Ok(())
    }

    /// Sees to it that the server has the `current` weights. One that was down gets them anew.
    fn expect(&self, current: Option<&Weights>) -> Result<(), VllmError> {
        let Some(Weights { dir, version }) = current else { return Ok(()) };
        if self.down.is_some() {
            return self.server.load(dir, *version);
        }
        match self.server.expect_version(*version) {
            Err(VllmError::Version { .. }) => self.server.load(dir, *version),
            other => other,
        }
    }
}

/// Does `work` for every server at the same time. Returns the results in the order of `slots`.
fn on_each<T: Send>(slots: &mut [Slot], work: impl Fn(&mut Slot) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads = slots.iter_mut().map(|slot| scope.spawn(move || work(slot)));
        let threads = threads.collect::<Vec<_>>();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("work on a server does not panic"))
            .collect()
    })
}

/// Weights that the servers were given.
#[derive(Debug)]
struct Weights {
    dir: PathBuf,
    version: PolicyVersion,
}

/// Samples from one or more vLLM servers that share the work.
///
/// ```no_run
/// use hint_rollout::engine::vllm::{VllmEngine, VllmEvent, VllmOptions};
///
/// let options = VllmOptions::new(["http://127.0.0.1:8000"], "policy", "/mnt/shared/weights");
/// let engine = VllmEngine::builder(options)
///     .stop_tokens(vec![2])
///     .observer(|event: &VllmEvent<'_>| eprintln!("{event:?}"))
///     .connect()?;
/// # Ok::<(), hint_rollout::RolloutError>(())
/// ```
///
/// The servers take requests from one queue, so that a slower one gets fewer. The completions of a prompt come from one
/// server, which reads the prompt once. The requests of a server that fails go to the others.
/// It is tried again before each batch, and gets the current weights before it is used. Every wait
/// is bounded by the options.
pub struct VllmEngine {
    slots: Vec<Slot>,
    options: VllmOptions,
    stop_tokens: Vec<u32>,
    observer: Observer,
    current: Option<Weights>,
    activity: Activity,
}

impl std::fmt::Debug for VllmEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VllmEngine")
            .field("slots", &self.slots)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

impl VllmEngine {
    /// Starts building an engine.
    pub fn builder(options: VllmOptions) -> VllmBuilder {
        VllmBuilder { options, stop_tokens: Vec::new(), key: None, observer: Box::new(|_| ()) }
    }

    /// Indices of the servers that can be used.
    fn up(&self) -> Result<Vec<usize>, VllmError> {
        let up = (0..self.slots.len()).filter(|&index| self.slots[index].down.is_none());
        let up = up.collect::<Vec<_>>();
        if up.is_empty() {
            let reasons = self.slots.iter().filter_map(|slot| slot.down.clone()).collect();
            return Err(VllmError::AllDown { reasons });
        }
        Ok(up)
    }

    /// Leaves a server out. The observer gets one event.
    fn set_down(&mut self, index: usize, error: &VllmError, requests: usize) {
        let slot = &mut self.slots[index];
        let was_up = slot.down.replace(error.chain()).is_none();
        let server = &slot.server.name;
        if was_up {
            tracing::warn!(%server, requests, error = error.chain(), "a server is down");
            (self.observer)(&VllmEvent::ServerDown { server, error, requests });
        }
    }

    fn set_back(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.down = None;
        tracing::info!(server = %slot.server.name, "a server is back");
        (self.observer)(&VllmEvent::ServerBack { server: &slot.server.name });
    }

    /// Looks whether servers that were down are back, and whether the others still have their
    /// weights. Both get the current ones.
    fn refresh(&mut self) -> Result<(), VllmError> {
        let (options, current) = (&self.options, self.current.as_ref());
        let ready = on_each(&mut self.slots, |slot| {
            slot.check(options).and_then(|()| slot.expect(current))
        });
        for (index, ready) in ready.into_iter().enumerate() {
            match ready {
                Ok(()) if self.slots[index].down.is_some() => self.set_back(index),
                Ok(()) => {}
                Err(error) if !error.is_outage() => return Err(error),
                Err(error) => self.set_down(index, &error, 0),
            }
        }
        Ok(())
    }

    fn check_lengths(&self, requests: &[GenerationRequest]) -> Result<(), VllmError> {
        let up = self.slots.iter().filter(|slot| slot.down.is_none());
        let limit = up.map(|slot| slot.model_len).min().unwrap_or(usize::MAX);
        let length = |request: &GenerationRequest| {
            request.prompt.len().saturating_add(request.sampling.max_completion_len)
        };
        match requests.iter().max_by_key(|request| length(request)) {
            Some(longest) if length(longest) > limit => Err(VllmError::TooLong {
                prompt: longest.prompt.len(),
                completion: longest.sampling.max_completion_len,
                limit,
            }),
            _ => Ok(()),
        }
    }

    /// Lets the servers that are up take the requests of `pending`, and moves their results into `done`. A server that
    /// fails is down afterwards; the requests that it took stay without completions.
    fn round(
        &mut self,
        requests: &[GenerationRequest],
        pending: &[usize],
        done: &mut [Option<Vec<Completion>>],
    ) -> Result<(), VllmError> {
        let up = self.up()?;
        let version = self.current.as_ref().map_or_else(PolicyVersion::default, |w| w.version);
        // The first requests are shared equally, even if one server could take all of them.
        let threads = pending.len().div_ceil(up.len()).min(self.options.parallel);
        let queue = Queue::new(pending.len());
        let (stop, activity, current) = (&self.stop_tokens, &self.activity, self.current.as_ref());
        let shares = on_each(&mut self.slots, |slot| {
            let server = slot.down.is_none().then_some(&slot.server)?;
            let taken = AtomicUsize::new(0);
            let (finished, failure) = queue.work_off(threads, |place| {
                taken.fetch_add(1, Ordering::Relaxed);
                let completions = server.complete(&requests[pending[place]], stop, version);
                completions.inspect(|completions| activity.advance(completions.len()))
            });
            // Only completions from the right weights count.
            let result = match (failure, current) {
                (Some(error), _) => Err(error),
                (None, Some(weights)) => server.expect_version(weights.version),
                (None, None) => Ok(()),
            };
            Some((result.map(|()| finished), taken.into_inner()))
        });
        for (index, share) in shares.into_iter().enumerate() {
            match share {
                None => {}
                Some((Ok(finished), _)) => {
                    for (place, completions) in finished {
                        done[pending[place]] = Some(completions);
                    }
                }
                Some((Err(error), _)) if !error.is_outage() => return Err(error),
                Some((Err(error), taken)) => self.set_down(index, &error, taken),
            }
        }
        Ok(())
    }

    /// Writes a checkpoint that appears whole, and returns its folder.
    fn write(&self, weights: &dyn WeightSource) -> Result<PathBuf, RolloutError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| RolloutError::from(VllmError::Folder { path, source })
        };
        let root = &self.options.weights_dir;
        let name = folder(weights.version());
        let (partial, dir) = (root.join(format!(".{name}.partial")), root.join(name));
        remove_folder(&partial).map_err(failed(&partial))?;
        std::fs::create_dir_all(&partial).map_err(failed(&partial))?;
        weights.write_checkpoint(&partial, HeadWeights::Untied)?;
        remove_folder(&dir).map_err(failed(&dir))?;
        std::fs::rename(&partial, &dir).map_err(failed(&dir))?;
        // The servers may run in another folder.
        std::path::absolute(&dir).map_err(failed(&dir))
    }
}

impl RolloutEngine for VllmEngine {
    fn name(&self) -> Option<String> {
        None
    }

    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        self.refresh()?;
        self.check_lengths(requests)?;
        let mut done: Vec<Option<Vec<Completion>>> = vec![None; requests.len()];
        loop {
            let pending = (0..done.len()).filter(|&index| done[index].is_none());
            let pending = pending.collect::<Vec<_>>();
            if pending.is_empty() {
                return Ok(done.into_iter().flatten().collect());
            }
            // Ends: a round that leaves something has one server less.
            self.round(requests, &pending, &mut done)?;
        }
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        let version = weights.version();
        let dir = self.write(weights)?;
        let options = &self.options;
        let loaded = on_each(&mut self.slots, |slot| {
            slot.check(options).and_then(|()| slot.server.load(&dir, version))
        });
        let mut misconfigured = None;
        for (index, result) in loaded.into_iter().enumerate() {
            match result {
                Ok(()) if self.slots[index].down.is_some() => self.set_back(index),
                Ok(()) => {}
                Err(error) => {
                    self.set_down(index, &error, 0);
                    if !error.is_outage() {
                        misconfigured = Some(error);
                    }
                }
            }
        }
        let old = self.current.replace(Weights { dir, version });
        if let Some(error) = misconfigured {
            return Err(error.into());
        }
        let up = self.up()?.len();
        if let (Some(old), Some(new)) = (old, &self.current)
            && old.dir != new.dir
        {
            remove_folder(&old.dir)
                .map_err(|source| VllmError::Folder { path: old.dir.clone(), source })?;
        }
        let down = self.slots.len() - up;
        (self.observer)(&VllmEvent::Synced { version, up, down });
        Ok(())
    }

    fn watch(&mut self, activity: &Activity) {
        self.activity = activity.clone();
    }

    fn max_positions(&self) -> Option<usize> {
        let up = self.slots.iter().filter(|slot| slot.down.is_none());
        up.map(|slot| slot.model_len).min()
    }

    fn max_prompt_len(&self, sampling: &Sampling) -> Option<usize> {
        max_prompt_len(self.max_positions(), sampling)
    }

    fn samples_for_all(&self) -> bool {
        true
    }
}

/// A server refuses a prompt that does not leave room for the longest completion.
pub(super) fn max_prompt_len(max_positions: Option<usize>, sampling: &Sampling) -> Option<usize> {
    max_positions?.checked_sub(sampling.max_completion_len).or(Some(0))
}

fn remove_folder(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
