//! One of the servers of an engine, and its state.

use std::sync::Arc;

use crate::engine::vllm::gpus::GpuPath;
use crate::engine::vllm::options::VllmOptions;
use crate::engine::vllm::server::Server;
use crate::engine::vllm::weights::Weights;
use crate::error::VllmError;

/// One server and its state.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) server: Arc<Server>,
    /// Why it cannot be used.
    pub(super) down: Option<String>,
    /// Positions it holds.
    pub(super) model_len: usize,
    /// The way of whole weights over GPUs. None for adapters.
    pub(super) gpus: Option<GpuPath>,
    is_checked: bool,
    rest: Rest,
}

impl Slot {
    /// `has_transfer` says whether it may get weights from GPU to GPU.
    pub(super) fn new(server: Server, has_transfer: bool) -> Self {
        let gpus = (!server.has_adapters).then(|| GpuPath::new(has_transfer));
        Self {
            server: Arc::new(server),
            down: None,
            model_len: usize::MAX,
            gpus,
            is_checked: false,
            rest: Rest::default(),
        }
    }

    /// Asks whether the server is there, and once whether it was started with the right options.
    pub(super) fn check(&mut self, options: &VllmOptions) -> Result<(), VllmError> {
        self.server.is_alive()?;
        if !self.is_checked {
            let (model_len, info) = self.server.check(options)?;
            self.model_len = model_len;
            if let Some(gpus) = &mut self.gpus {
                gpus.check(&self.server, &info, options.weight_path)?;
            }
            self.is_checked = true;
        }
        Ok(())
    }

    /// Sees to it that the server has the `current` weights. One that was down gets them again. Without a folder, it must have
    /// kept them.
    pub(super) fn expect(&mut self, current: Option<&Weights>) -> Result<(), VllmError> {
        let Some(current) = current else { return Ok(()) };
        if self.down.is_some() {
            let has_kept = current.dir.is_none() && self.server.still_has(current)?;
            return if has_kept { Ok(()) } else { self.give(current) };
        }
        match self.server.expect_weights(current) {
            Err(VllmError::Version { .. } | VllmError::Adapter { .. }) => self.give(current),
            other => other,
        }
    }

    /// Whether the server has got the weights of this change from GPU to GPU.
    pub(super) fn has_new(&self) -> bool {
        self.gpus.as_ref().is_some_and(|gpus| gpus.has_new)
    }

    /// Gives the server weights through their folder.
    pub(super) fn give(&mut self, weights: &Weights) -> Result<(), VllmError> {
        if let Some(gpus) = &mut self.gpus {
            gpus.settle(&self.server)?;
        }
        self.server.give(weights)
    }

    /// Whether this call of the engine asks the server. One that is down is left out of some.
    pub(super) fn is_asked(&mut self) -> bool {
        self.down.is_none() || self.rest.is_over()
    }

    /// Leaves the server out. Whether that is news.
    pub(super) fn set_down(&mut self, error: &VllmError) -> bool {
        let is_new = self.down.replace(error.chain()).is_none();
        if is_new {
            // It may have been started again with other options.
            self.is_checked = false;
            if let Some(gpus) = &mut self.gpus {
                gpus.close();
            }
        } else if !matches!(error, VllmError::NoFolder { .. }) {
            // One that waits for the next weights is there.
            self.rest.prolong();
        }
        is_new
    }

    /// Takes the server in again.
    pub(super) fn set_back(&mut self) {
        self.down = None;
        self.rest = Rest::default();
    }
}

/// Calls of the engine that leave out a server which is down. There are none at first. After each further question in vain
/// there are 1, 2, 4, 8, then 16.
#[derive(Debug, Default)]
struct Rest {
    /// Calls of the present pause that are left.
    left: u32,
    /// Calls of the last pause.
    last: u32,
}

impl Rest {
    const LONGEST: u32 = 16;

    /// One call passes. Whether the server is asked in it.
    fn is_over(&mut self) -> bool {
        let is_over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_over
    }

    fn prolong(&mut self) {
        self.last = (2 * self.last).clamp(1, Self::LONGEST);
        self.left = self.last;
    }
}

/// Does `work` for every server at the same time. Returns the results in the order of `servers`.
pub(super) fn on_each<I: Send, T: Send>(
    servers: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> T + Sync,
) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads = servers.into_iter().map(|server| scope.spawn(move || work(server)));
        let threads = threads.collect::<Vec<_>>();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("work on a server does not panic"))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_sixteen_calls() {
        let mut rest = Rest::default();
        let mut asked = Vec::new();
        for call in 1..=60 {
            if rest.is_over() {
                asked.push(call);
                rest.prolong();
            }
        }
        assert_eq!(asked, [1, 3, 6, 11, 20, 37, 54]);
    }
}
