//! A change of weights that goes from the GPU of the trainer to those of servers.
//!
//! Each server gets names and sizes, and waits. Then the trainer broadcasts the tensors one by one, as `float32`, each to all
//! servers at once. A request lasts as long as the whole transfer. So it has no limit of its own: each tensor has one, and so
//! has the answer at the end.

use std::iter::zip;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use serde_json::json;

use crate::engine::contract::{HeadWeights, PolicyVersion, WeightSource, WeightTensor};
use crate::engine::vllm::gpus::{UPDATE, WeightLink, WeightTransfer};
use crate::engine::vllm::slot::{Slot, on_each};
use crate::error::{RolloutError, VllmError};
use crate::net::JsonServer;

/// One look at a tensor that is under way.
const SLICE: Duration = Duration::from_millis(20);

/// Wait for the reason of a server whose connection of GPUs has failed.
const REASON: Duration = Duration::from_secs(5);

/// A server that receives tensors.
struct Receiving<'a> {
    slot: &'a mut Slot,
    link: Option<Box<dyn WeightLink>>,
    /// Whether the server has given up.
    is_over: Arc<AtomicBool>,
    problem: Option<String>,
}

impl Receiving<'_> {
    /// Starts to send a tensor. Whether it is under way.
    fn start(&mut self, tensor: &WeightTensor) -> bool {
        let Some(link) = &mut self.link else { return false };
        match link.start(tensor) {
            Ok(()) => true,
            Err(error) => self.fail(error.chain()),
        }
    }

    /// Whether the tensor is still under way after a [`SLICE`] of time.
    fn is_under_way(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        match link.poll(SLICE) {
            Ok(true) => false,
            Ok(false) if self.is_over.load(Ordering::SeqCst) => {
                self.fail("the server has given up".to_owned())
            }
            Ok(false) => true,
            Err(error) => self.fail(error.chain()),
        }
    }

    /// Closes the connection of GPUs. Nothing is under way then.
    fn fail(&mut self, problem: String) -> bool {
        self.problem = Some(problem);
        self.link = None;
        false
    }

    fn finish(self, outcome: Outcome, version: PolicyVersion) {
        let Slot { server, gpus: Some(gpus), .. } = self.slot else { return };
        gpus.is_silent = matches!(outcome, Outcome::Silent);
        let received = match (outcome, self.problem) {
            (Outcome::Refused(reason), _) | (_, Some(reason)) => Err(reason),
            (Outcome::Silent, None) => Err(format!("it gives no answer to `{UPDATE}`")),
            (Outcome::Received, None) => {
                gpus.finish(server, version).map_err(|error| error.chain())
            }
        };
        match received {
            Ok(()) => (gpus.link, gpus.has_new) = (self.link, true),
            Err(reason) => gpus.refuse(reason),
        }
    }
}

/// The end of a request.
#[derive(Debug)]
enum Outcome {
    Received,
    Refused(String),
    /// It was given up.
    Silent,
}

/// A request that lasts as long as the transfer.
struct Request<'scope> {
    connection: JsonServer,
    /// Gets a message when the answer is there.
    told: Receiver<()>,
    thread: ScopedJoinHandle<'scope, Result<(), VllmError>>,
}

impl Request<'_> {
    /// Waits for the answer, and closes the connection if there is none within `wait`.
    fn finish(self, wait: Duration) -> Outcome {
        let is_late = self.told.recv_timeout(wait).is_err();
        if is_late {
            self.connection.close();
        }
        match self.thread.join().expect("a request does not panic") {
            Ok(()) => Outcome::Received,
            Err(_) if is_late => Outcome::Silent,
            Err(error) => Outcome::Refused(error.chain()),
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
    let outcomes = broadcast(&mut receiving, &tensors, timeout);
    let version = weights.version();
    on_each(zip(receiving, outcomes), |(one, outcome)| one.finish(outcome, version));
    Ok(())
}

/// Tells the servers what comes, and sends it while they wait. The ends of their requests, in order.
fn broadcast(
    receiving: &mut [Receiving<'_>],
    tensors: &[WeightTensor],
    timeout: Duration,
) -> Vec<Outcome> {
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
            let (connection, is_over) = (one.slot.server.lasting(), Arc::clone(&one.is_over));
            let (tell, told) = channel();
            let server = connection.clone();
            let thread = scope.spawn(move || {
                let answer = server.post(UPDATE, update).map(drop);
                is_over.store(answer.is_err(), Ordering::SeqCst);
                // Its reader is there until this thread has ended.
                let _ = tell.send(());
                answer.map_err(|failure| VllmError::from(failure.error))
            });
            Request { connection, told, thread }
        });
        let requests = requests.collect::<Vec<_>>();
        for tensor in tensors {
            send_to_all(receiving, tensor, timeout);
        }
        on_each(zip(receiving, requests), |(one, request)| {
            request.finish(if one.link.is_some() { timeout } else { timeout.min(REASON) })
        })
    })
}

/// Sends a tensor to all servers at the same time. The connection to one that does not have it within `timeout` is closed.
fn send_to_all(receiving: &mut [Receiving<'_>], tensor: &WeightTensor, timeout: Duration) {
    let started = receiving.iter_mut().filter_map(|one| one.start(tensor).then_some(one));
    let mut under_way = started.collect::<Vec<_>>();
    let mut waited = Duration::ZERO;
    while !under_way.is_empty() && waited < timeout {
        under_way.retain_mut(|one| {
            let is_under_way = one.is_under_way();
            if is_under_way {
                waited += SLICE;
            }
            is_under_way
        });
    }
    for late in under_way {
        late.fail(format!("a tensor has not arrived within {} s", timeout.as_secs_f64()));
    }
}
