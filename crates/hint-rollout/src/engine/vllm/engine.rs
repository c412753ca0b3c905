//! The engine of several vLLM servers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::engine::contract::{
    Completion, GenerationRequest, HeadWeights, RolloutEngine, Sampling, WeightSource,
};
use crate::engine::queue::longest_first;
use crate::engine::vllm::batch::{Batch, Queue};
use crate::engine::vllm::event::VllmEvent;
use crate::engine::vllm::gpus::WeightTransfer;
use crate::engine::vllm::options::{VllmOptions, WeightPath};
use crate::engine::vllm::server::{Server, folder};
use crate::engine::vllm::slot::{Slot, on_each};
use crate::engine::vllm::transfer;
use crate::engine::vllm::weights::{Weights, digest};
use crate::error::VllmError;
use crate::error::{RolloutError, Violations};
use crate::net::ApiKey;
use crate::run::Activity;

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
    transfer: Option<Arc<dyn WeightTransfer>>,
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

    /// Lets weights go from GPU to GPU where a server takes them so and [`VllmOptions::weight_path`] allows it. The observer
    /// gets the way of each server as [`VllmEvent::Path`].
    #[must_use]
    pub fn transfer(mut self, transfer: Arc<dyn WeightTransfer>) -> Self {
        self.transfer = Some(transfer);
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
    /// [`RolloutError::Config`]. For a server that was started wrongly, [`VllmError::DevMode`], [`VllmError::Model`],
    /// [`VllmError::Setting`] or [`VllmError::RuntimeLora`], each with the fix. [`VllmError::Key`].
    /// [`VllmError::AllDown`] when no server answers. A server that is out of reach is reported and
    /// left out until it is back.
    pub fn connect(self) -> Result<VllmEngine, RolloutError> {
        let options = &self.options;
        Violations::check(|at| {
            options.check(at);
            let holds = options.weight_path != WeightPath::Nccl || self.transfer.is_some();
            let expected =
                "must not be nccl without a connection of GPUs (`VllmBuilder::transfer`)";
            at.require(holds, "weight_path", expected, "nccl");
        })?;
        let takes_part =
            options.weight_path != WeightPath::Folder && options.adapter_rank.is_none();
        let transfer = self.transfer.filter(|_| takes_part);
        let slots = options.servers.iter().map(|address| {
            Slot::new(Server::new(address, options, self.key.as_ref()), transfer.is_some())
        });
        let slots = slots.collect();
        let mut engine = VllmEngine {
            slots,
            options: self.options,
            transfer,
            stop_tokens: self.stop_tokens,
            observer: self.observer,
            current: None,
            is_aborted: Arc::default(),
            activity: Activity::default(),
        };
        let options = &engine.options;
        let checked = on_each(&mut engine.slots, |slot| slot.check(options));
        for (index, checked) in checked.into_iter().enumerate() {
            match checked {
                Ok(()) => {}
                Err(error) if !error.is_outage() => return Err(error.into()),
                Err(error) => engine.set_down(index, &error, 0),
            }
        }
        engine.up()?;
        Ok(engine)
    }
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
/// The servers take requests from one queue, so that a slower one gets fewer. The longest expected ones come first, and the
/// servers get their first ones in turn. The completions of a prompt come from one server, which reads the prompt once.
/// The requests of a server that fails return to the queue. It is asked again in the next call, and then left out of 1, 2,
/// 4, 8 and 16 calls. When no other is left, every call asks it. It gets the current weights before it is used. Every wait
/// is bounded by the options.
///
/// With [`VllmOptions::adapter_rank`] the servers get adapters in place of whole weights, each version under a name of
/// its own.
pub struct VllmEngine {
    slots: Vec<Slot>,
    options: VllmOptions,
    transfer: Option<Arc<dyn WeightTransfer>>,
    stop_tokens: Vec<u32>,
    observer: Observer,
    current: Option<Weights>,
    is_aborted: Arc<AtomicBool>,
    activity: Activity,
}

/// Ends the sampling of a [`VllmEngine`] from another thread; made by [`VllmEngine::aborter`].
///
/// ```no_run
/// use hint_rollout::engine::vllm::{VllmEngine, VllmOptions};
///
/// let options = VllmOptions::new(["http://127.0.0.1:8000"], "policy", "/mnt/shared/weights");
/// let engine = VllmEngine::builder(options).connect()?;
/// let aborter = engine.aborter();
/// std::thread::spawn(move || {
///     // When a signal came, for example.
///     aborter.abort();
/// });
/// # Ok::<(), hint_rollout::RolloutError>(())
/// ```
#[derive(Debug, Clone)]
pub struct VllmAborter {
    is_aborted: Arc<AtomicBool>,
    servers: Vec<Arc<Server>>,
}

impl VllmAborter {
    /// Closes the connections of all requests for completions, and vLLM stops working on these. The call that samples
    /// returns [`VllmError::Aborted`] soon, and so does every later one. Some work goes
    /// on: a look-up of a name, a connection in the making (30 s at most), a question about health. So does a change of
    /// weights.
    pub fn abort(&self) {
        self.is_aborted.store(true, Ordering::SeqCst);
        for server in &self.servers {
            server.interrupt();
        }
    }
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
        VllmBuilder {
            options,
            stop_tokens: Vec::new(),
            key: None,
            transfer: None,
            observer: Box::new(|_| ()),
        }
    }

    /// Ends sampling from another thread. It remains of use when the engine was given away.
    pub fn aborter(&self) -> VllmAborter {
        VllmAborter { is_aborted: Arc::clone(&self.is_aborted), servers: self.servers() }
    }

    fn servers(&self) -> Vec<Arc<Server>> {
        self.slots.iter().map(|slot| Arc::clone(&slot.server)).collect()
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
        let is_new = slot.set_down(error);
        let server = &slot.server.name;
        if is_new {
            tracing::warn!(%server, requests, error = error.chain(), "a server is down");
            (self.observer)(&VllmEvent::ServerDown { server, error, requests });
        }
    }

    fn set_back(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.set_back();
        tracing::info!(server = %slot.server.name, "a server is back");
        (self.observer)(&VllmEvent::ServerBack { server: &slot.server.name });
    }

    /// Looks whether servers that were down are back, and whether the others still have their
    /// weights. Both get the current ones. All are asked at once; some of those that are down are left out, unless no
    /// other is there. Whether some were.
    fn refresh(&mut self) -> Result<bool, VllmError> {
        let all = self.up().is_err();
        let (options, current) = (&self.options, self.current.as_ref());
        let ready = on_each(&mut self.slots, |slot| {
            let is_asked = all || slot.is_asked();
            is_asked.then(|| slot.check(options).and_then(|()| slot.expect(current)))
        });
        let left_out = ready.iter().any(Option::is_none);
        for (index, ready) in ready.into_iter().enumerate() {
            let Some(ready) = ready else { continue };
            match ready {
                Ok(()) if self.slots[index].down.is_some() => self.set_back(index),
                Ok(()) => {}
                Err(error) if !error.is_outage() => return Err(error),
                Err(error) => self.set_down(index, &error, 0),
            }
        }
        Ok(left_out)
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

    /// Lets the servers that are up take the requests without completions, and moves their results into `done`. A server
    /// that fails is down afterwards.
    fn round(
        &mut self,
        requests: &[GenerationRequest],
        done: &mut [Option<Vec<Completion>>],
    ) -> Result<(), VllmError> {
        let up = self.up()?;
        let pending = longest_first(requests).into_iter().filter(|&index| done[index].is_none());
        let pending = pending.collect::<Vec<_>>();
        let threads = self.options.parallel.min(pending.len());
        let batch = Batch {
            requests,
            stop_tokens: &self.stop_tokens,
            weights: self.current.as_ref(),
            // Requests are shared equally at first, even if one server could take all of them, and each gets long ones.
            queue: Queue::new(pending, up.len(), threads),
            servers: self.servers(),
            is_aborted: &self.is_aborted,
            activity: &self.activity,
        };
        let shares = on_each(self.slots.iter_mut().enumerate(), |(index, slot)| {
            let group = up.binary_search(&index).ok()?;
            Some(batch.share(&slot.server, group, threads))
        });
        let mut fatal = None;
        for (index, share) in shares.into_iter().enumerate() {
            match share {
                Some((Ok(finished), _)) => {
                    for (request, completions) in finished {
                        done[request] = Some(completions);
                    }
                }
                Some((Err(error), taken)) if error.is_outage() => {
                    self.set_down(index, &error, taken);
                }
                // What ended the batch, not what the others saw of that.
                Some((Err(error), _)) if matches!(fatal, None | Some(VllmError::Aborted)) => {
                    fatal = Some(error);
                }
                Some((Err(_), _)) | None => {}
            }
        }
        fatal.map_or(Ok(()), Err)
    }

    /// Writes a checkpoint or an adapter that appears whole.
    fn write(&self, weights: &dyn WeightSource) -> Result<Weights, RolloutError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| RolloutError::from(VllmError::Folder { path, source })
        };
        let root = &self.options.weights_dir;
        let name = folder(weights.version());
        let (partial, dir) = (root.join(format!(".{name}.partial")), root.join(name));
        remove_folder(&partial).map_err(failed(&partial))?;
        std::fs::create_dir_all(&partial).map_err(failed(&partial))?;
        let digest = if self.options.adapter_rank.is_none() {
            weights.write_checkpoint(&partial, HeadWeights::Untied)?;
            String::new()
        } else if weights.write_adapter(&partial)? {
            digest(&partial).map_err(failed(&partial))?
        } else {
            return Err(VllmError::NoAdapter.into());
        };
        remove_folder(&dir).map_err(failed(&dir))?;
        std::fs::rename(&partial, &dir).map_err(failed(&dir))?;
        // The servers may run in another folder.
        let dir = std::path::absolute(&dir).map_err(failed(&dir))?;
        Ok(Weights { dir: Some(dir), version: weights.version(), digest })
    }

    /// Sends the weights to servers that are `ready` and take them from GPU to GPU. Writes them for the others.
    fn carry(
        &mut self,
        weights: &dyn WeightSource,
        ready: &[bool],
    ) -> Result<Weights, RolloutError> {
        let Some(transfer) = &self.transfer else { return self.write(weights) };
        let timeout = Duration::from_secs_f64(self.options.sync_timeout_s);
        transfer::send(&mut self.slots, ready, transfer, weights, timeout)?;
        let mut needs_folder = !ready.contains(&true);
        for (slot, _) in std::iter::zip(&mut self.slots, ready).filter(|(_, ready)| **ready) {
            let Some(gpus) = &mut slot.gpus else { continue };
            needs_folder |= !gpus.has_new;
            if gpus.is_news() {
                let (server, refusal) = (slot.server.name.as_str(), gpus.refusal());
                tracing::info!(server, refusal, "the way of weights");
                (self.observer)(&VllmEvent::Path { server, refusal });
            }
        }
        if needs_folder {
            return self.write(weights);
        }
        Ok(Weights { dir: None, version: weights.version(), digest: String::new() })
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
        if self.is_aborted.load(Ordering::SeqCst) {
            return Err(VllmError::Aborted.into());
        }
        let mut left_out = self.refresh()?;
        self.check_lengths(requests)?;
        let mut done: Vec<Option<Vec<Completion>>> = vec![None; requests.len()];
        while done.iter().any(Option::is_none) {
            if left_out && self.up().is_err() {
                // They may be back by now.
                left_out = self.refresh()?;
                self.check_lengths(requests)?;
            }
            // Ends: a round that leaves something has one server less.
            self.round(requests, &mut done)?;
        }
        Ok(done.into_iter().flatten().collect())
    }

    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
        let version = weights.version();
        let all = self.up().is_err();
        let options = &self.options;
        let checked = on_each(&mut self.slots, |slot| {
            let is_asked = all || slot.is_asked();
            is_asked.then(|| slot.check(options))
        });
        let ready = checked.iter().map(|checked| matches!(checked, Some(Ok(()))));
        let weights = self.carry(weights, &ready.collect::<Vec<_>>())?;
        let options = &self.options;
        let loaded = on_each(std::iter::zip(&mut self.slots, checked), |(slot, checked)| {
            let checked = checked.map(|checked| match checked {
                // It may be back: a large checkpoint takes a while to be written.
                Err(error) if error.is_outage() && weights.dir.is_some() => slot.check(options),
                other => other,
            });
            let give = |()| if slot.has_new() { Ok(()) } else { slot.give(&weights) };
            checked.map(|checked| checked.and_then(give))
        });
        let left_out = loaded.iter().any(Option::is_none);
        let mut misconfigured = None;
        for (index, result) in loaded.into_iter().enumerate() {
            let Some(result) = result else { continue };
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
        let old = self.current.replace(weights);
        if let Some(error) = misconfigured {
            return Err(error.into());
        }
        if left_out && self.up().is_err() {
            self.refresh()?;
        }
        let up = self.up()?.len();
        let dir = self.current.as_ref().and_then(|new| new.dir.as_ref());
        if let Some(path) = old.and_then(|old| old.dir).filter(|old| Some(old) != dir) {
            remove_folder(&path).map_err(|source| VllmError::Folder { path, source })?;
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
