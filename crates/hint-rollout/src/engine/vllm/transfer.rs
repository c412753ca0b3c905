//! A change of weights that goes from the GPU of the trainer to those of servers.
//!
//! Each server gets names and sizes, and waits. Then the trainer broadcasts the tensors one by one, as `float32`.

use std::iter::zip;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::engine::contract::{HeadWeights, PolicyVersion, WeightSource, WeightTensor};
use crate::engine::vllm::gpus::{WeightLink, WeightTransfer};
use crate::engine::vllm::slot::{Slot, on_each};
use crate::error::{RolloutError, VllmError};

/// A server that receives tensors.
struct Receiving<'a> {
    slot: &'a mut Slot,
    link: Option<Box<dyn WeightLink>>,
    /// Whether the server has given up.
    is_over: Arc<AtomicBool>,
    problem: Option<String>,
}

impl Receiving<'_> {
    fn send(&mut self, tensor: &WeightTensor, timeout: Duration) {
        let Some(link) = &mut self.link else { return };
        let is_over = || self.is_over.load(Ordering::SeqCst);
        if let Err(error) = link.send(tensor, timeout, &is_over) {
            self.problem = Some(error.chain());
            self.link = None;
        }
    }

    /// `answer` is that of the server to the names and sizes.
    fn finish(self, answer: Result<(), VllmError>, version: PolicyVersion) {
        let Slot { server, gpus: Some(gpus), .. } = self.slot else { return };
        let received = match (answer, self.problem) {
            (Err(error), _) => Err(error.chain()),
            (Ok(()), Some(problem)) => Err(problem),
            (Ok(()), None) => gpus.finish(server, version).map_err(|error| error.chain()),
        };
        match received {
            Ok(()) => (gpus.link, gpus.has_new) = (self.link, true),
            Err(reason) => gpus.refuse(reason),
        }
    }
}

/// Sends weights to all servers that are `ready` and take them over GPUs. [`Slot::has_new`] says which got them. The
/// others have a reason, and need the folder.
pub(super) fn send(
    slots: &mut [Slot],
    ready: &[bool],
    transfer: &Arc<dyn WeightTransfer>,
    weights: &dyn WeightSource,
    timeout: Duration,
) -> Result<(), RolloutError> {
    let mut paths = Vec::new();
    for (slot, ready) in zip(slots, ready) {
        let Some(gpus) = &mut slot.gpus else { continue };
        gpus.has_new = false;
        if *ready && gpus.refusal().is_none() {
            paths.push(slot);
        }
    }
    if paths.is_empty() {
        return Ok(());
    }
    let Some(tensors) = weights.tensors(HeadWeights::Untied)? else {
        for gpus in paths.into_iter().filter_map(|slot| slot.gpus.as_mut()) {
            gpus.refuse("the policy gives no tensors away".to_owned());
        }
        return Ok(());
    };
    let begun = on_each(paths, |slot| {
        let Slot { server, gpus: Some(gpus), .. } = &mut *slot else { return None };
        if let Err(reason) = gpus.begin(server, transfer, timeout) {
            gpus.refuse(reason);
        }
        let link = gpus.link.take()?;
        let is_over = Arc::new(AtomicBool::new(false));
        Some(Receiving { slot, link: Some(link), is_over, problem: None })
    });
    let mut receiving = begun.into_iter().flatten().collect::<Vec<_>>();
    let answers = broadcast(&mut receiving, &tensors, timeout);
    let version = weights.version();
    on_each(zip(receiving, answers), |(one, answer)| one.finish(answer, version));
    Ok(())
}

/// Tells the servers what comes, and sends it while they wait. Their answers, in order.
fn broadcast(
    receiving: &mut [Receiving<'_>],
    tensors: &[WeightTensor],
    timeout: Duration,
) -> Vec<Result<(), VllmError>> {
    let names = tensors.iter().map(|tensor| &tensor.name).collect::<Vec<_>>();
    let shapes = tensors.iter().map(|tensor| &tensor.shape).collect::<Vec<_>>();
    let update = json!({ "update_info": {
        "names": names,
        "dtype_names": vec!["float32"; tensors.len()],
        "shapes": shapes,
    }});
    std::thread::scope(|scope| {
        let update = &update;
        let requests = receiving.iter().map(|one| {
            let (server, is_over) = (Arc::clone(&one.slot.server), Arc::clone(&one.is_over));
            scope.spawn(move || {
                let answer = server.post("/update_weights", update).map(drop);
                is_over.store(answer.is_err(), Ordering::SeqCst);
                answer
            })
        });
        let requests = requests.collect::<Vec<_>>();
        for tensor in tensors {
            for one in receiving.iter_mut() {
                one.send(tensor, timeout);
            }
        }
        let answers = requests.into_iter();
        answers.map(|request| request.join().expect("a request does not panic")).collect()
    })
}
