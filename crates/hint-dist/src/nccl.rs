//! Tensors of GPUs over the NCCL of libtorch, beside a Gloo group for all else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::collective::{Collective, Operation, Signature, bytes, len};
use crate::error::CollectiveError;
use crate::ffi::{Group, identify_gpu};
use crate::gloo::{Gloo, SLICE, in_thread};

/// How long a rank waits for NCCL when it leaves.
const LEAVE: Duration = Duration::from_secs(30);

/// A rank of a group of processes with a GPU each.
///
/// Tensors of that GPU go to the others over NCCL, all other tensors over the [`Gloo`] group that it is made of. Gloo also
/// compares what the ranks call before NCCL starts. It watches them while NCCL runs, and names the rank that ended. NCCL copies
/// bytes alone, and this rank adds them up. So sums have the bits that they have with Gloo.
///
/// An operation ends when its tensors are there. After a failure the operations of NCCL are aborted.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use hint_dist::{Collective, Gloo, Nccl, Rendezvous, Timeouts};
/// use tch::{Device, Kind, Tensor};
///
/// // The second of two processes of a machine takes its second GPU.
/// let gloo = Gloo::connect(&Rendezvous::new(1, 2, "10.0.0.1", 29500), Timeouts::default())?;
/// let device = Device::Cuda(1);
/// let member = Nccl::connect(Arc::new(gloo), device)?;
/// let mut gradient = Tensor::ones([4], (Kind::Float, device));
/// member.all_reduce(&mut gradient)?;
/// member.shutdown()?;
/// # Ok::<(), hint_dist::CollectiveError>(())
/// ```
#[derive(Debug)]
pub struct Nccl {
    gloo: Arc<Gloo>,
    device: Device,
    /// There until this rank leaves, or the group has failed.
    link: Mutex<Option<Arc<Link>>>,
}

/// The connection of the GPUs.
#[derive(Debug)]
struct Link {
    group: Group,
    is_aborted: AtomicBool,
}

/// The bytes that no other GPU than the one of a rank has, or the reason why it cannot use NCCL.
type Offer = Result<[u8; 16], String>;

impl Nccl {
    /// Connects the GPU `device` of this process to those of the others. All ranks of `gloo` call it, each with a GPU of its own.
    /// Load libtorch's CUDA library before, as libtorch does not see GPUs without it.
    ///
    /// # Errors
    ///
    /// - [`CollectiveError::NoNccl`] on every rank, if one of them has no GPU, or two have the same. Then `gloo` still works;
    /// - [`CollectiveError::Peer`] for a rank that ended, or that NCCL cannot connect. Its reason is in the text.
    pub fn connect(gloo: Arc<Gloo>, device: Device) -> Result<Self, CollectiveError> {
        let own = serde_json::to_vec(&offer(device));
        let own =
            own.map_err(|error| CollectiveError::backend("offer a GPU", error.to_string()))?;
        let all = gloo.all_gather_bytes(&own)?;
        let read = |bytes: &Vec<u8>| {
            serde_json::from_slice::<Offer>(bytes)
                .map_err(|error| CollectiveError::backend("read an offer", error.to_string()))
        };
        if let Some(refused) = refuse(&all.iter().map(read).collect::<Result<Vec<_>, _>>()?) {
            return Err(refused);
        }
        let Device::Cuda(index) = device else {
            return Err(CollectiveError::backend("use NCCL", "this rank has no GPU"));
        };
        let link = Mutex::new(Some(Arc::new(open(&gloo, index)?)));
        let member = Self { gloo, device, link };
        member.prove()?;
        Ok(member)
    }

    /// Exchanges a number with every rank. So what NCCL connects at first use is connected, and the numbers arrive.
    fn prove(&self) -> Result<(), CollectiveError> {
        let world_size = len(self.world_size());
        let own = Tensor::full([world_size], len(self.rank()), (Kind::Int64, self.device));
        let mut all = own.zeros_like();
        self.all_to_all(&mut all, &own)?;
        let expected = Tensor::arange(world_size, (Kind::Int64, self.device));
        if all.equal(&expected) {
            return Ok(());
        }
        Err(CollectiveError::backend("use NCCL", "the numbers of the other ranks do not arrive"))
    }

    /// Whether tensors are on the GPU of this rank.
    fn has(&self, tensors: [&Tensor; 2]) -> bool {
        tensors.iter().all(|tensor| tensor.device() == self.device)
    }

    /// Carries out an operation on tensors of the GPU, once every rank is there and calls the same.
    fn run(
        &self,
        call: Signature,
        operation: Operation,
        (output, input): (&Tensor, &Tensor),
        root: usize,
    ) -> Result<(), CollectiveError> {
        let _turn = self.gloo.match_call(call.on_gpu())?;
        if input.numel() == 0 {
            return Ok(());
        }
        let closed = || CollectiveError::backend("call an operation", "the group is closed");
        let link = self.lock().clone().ok_or_else(closed)?;
        let (output, input) = (bytes(output), bytes(input));
        // NCCL may wait for another rank also where it only starts an operation.
        let done = in_thread(move || link.run(operation, &output, &input, root));
        let result = self.gloo.wait_until(|| Ok(receive(&self.gloo, &done)?.is_some()));
        if result.is_err() {
            self.leave(Link::abort);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the connection up, in a thread that is left behind if it takes too long.
    fn leave(&self, how: fn(&Link)) {
        let Some(link) = self.lock().take() else { return };
        let left = in_thread(move || {
            how(&link);
            drop(link);
        });
        // There is nothing to do where it takes longer, or fails.
        let _ = left.recv_timeout(LEAVE);
    }
}

impl Link {
    /// Starts an operation, and waits for its end.
    fn run(
        &self,
        operation: Operation,
        output: &Tensor,
        input: &Tensor,
        root: usize,
    ) -> Result<(), CollectiveError> {
        let work = self.group.start(operation, output, input, root)?;
        #[expect(clippy::missing_spin_loop, reason = "`poll` waits")]
        while !self.is_aborted.load(Ordering::Relaxed) && !work.poll(SLICE)? {}
        Ok(())
    }

    fn abort(&self) {
        // The failure of the group is known already.
        let _ = self.group.abort();
        self.is_aborted.store(true, Ordering::Relaxed);
    }

    fn shutdown(&self) {
        // The work is done, and no rank needs this one any more.
        let _ = self.group.shutdown();
    }
}

/// What this rank has to offer.
fn offer(device: Device) -> Offer {
    let Device::Cuda(index) = device else { return Err("it computes on the CPU".to_owned()) };
    let seen = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    if index >= seen {
        return Err(format!("it asks for GPU {index}, and libtorch sees {seen}, counted from 0"));
    }
    identify_gpu(index).map_err(|error| error.to_string())
}

/// Why these ranks cannot use NCCL.
fn refuse(offers: &[Offer]) -> Option<CollectiveError> {
    if let Some(reason) = offers.iter().find_map(|offer| offer.as_ref().err()) {
        let lacks = |rank: &usize| offers[*rank].as_ref().err() == Some(reason);
        let ranks = (0..offers.len()).filter(lacks).collect();
        return Some(CollectiveError::NoNccl { ranks, reason: reason.clone() });
    }
    let mut owners = BTreeMap::<_, Vec<usize>>::new();
    for (rank, gpu) in offers.iter().enumerate() {
        owners.entry(gpu.as_ref().ok()).or_default().push(rank);
    }
    let ranks = owners.into_values().find(|ranks| ranks.len() > 1)?;
    let reason = "it needs a GPU of its own, and shares one".to_owned();
    Some(CollectiveError::NoNccl { ranks, reason })
}

/// Connects the GPUs, in a thread that is left behind if it takes too long.
fn open(gloo: &Gloo, device: usize) -> Result<Link, CollectiveError> {
    let (rank, world_size, store) = (gloo.rank(), gloo.world_size(), gloo.second_store("nccl"));
    // libtorch has a limit of its own; ours comes first.
    let timeout = gloo.timeout() + Duration::from_mins(1);
    let opened = in_thread(move || Group::open_nccl(&store()?, rank, world_size, device, timeout));
    let mut found = None;
    gloo.wait_until(|| {
        found = receive(gloo, &opened)?;
        Ok(found.is_some())
    })?;
    let closed = || CollectiveError::backend("use NCCL", "it is not connected");
    let group = found.ok_or_else(closed)?;
    Ok(Link { group, is_aborted: AtomicBool::new(false) })
}

/// The result of a thread that uses NCCL, if it comes within a [`SLICE`] of time. An error is the failure of the group.
fn receive<T>(
    gloo: &Gloo,
    thread: &Receiver<Result<T, CollectiveError>>,
) -> Result<Option<T>, CollectiveError> {
    let error = match thread.recv_timeout(SLICE) {
        Ok(Ok(found)) => return Ok(Some(found)),
        Err(RecvTimeoutError::Timeout) => return Ok(None),
        Ok(Err(error)) => error,
        Err(RecvTimeoutError::Disconnected) => {
            CollectiveError::backend("use NCCL", "its thread ended")
        }
    };
    Err(gloo.gpu_failed(error))
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.gloo.rank()
    }

    fn world_size(&self) -> usize {
        self.gloo.world_size()
    }

    fn all_to_all(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        if !self.has([&*output, input]) {
            return self.gloo.all_to_all(output, input);
        }
        let operation = Operation::AllToAll;
        let call = Signature::new(operation, input, Some(output), self.world_size(), 0)?;
        self.run(call, operation, (&*output, input), 0)
    }

    fn all_gather(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        if !self.has([&*output, input]) {
            return self.gloo.all_gather(output, input);
        }
        let operation = Operation::AllGather;
        let call = Signature::new(operation, input, Some(output), self.world_size(), 0)?;
        self.run(call, operation, (&*output, input), 0)
    }

    fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), CollectiveError> {
        if !self.has([&*tensor, &*tensor]) {
            return self.gloo.broadcast(tensor, root);
        }
        let operation = Operation::Broadcast;
        let call = Signature::new(operation, tensor, None, self.world_size(), root)?;
        self.run(call, operation, (&*tensor, &*tensor), root)
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.gloo.barrier()
    }

    /// Over Gloo alone: tensors of GPUs travel through host memory there.
    fn duplicate(&self) -> Result<Arc<dyn Collective>, CollectiveError> {
        self.gloo.duplicate()
    }

    fn failure(&self) -> Option<CollectiveError> {
        self.gloo.failure()
    }

    fn abort(&self, reason: &str) {
        self.gloo.abort(reason);
        self.leave(Link::abort);
    }

    fn shutdown(&self) -> Result<(), CollectiveError> {
        // No rank leaves before the operations of all are done.
        self.gloo.barrier()?;
        self.leave(Link::shutdown);
        self.gloo.shutdown()
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        if self.lock().is_some() {
            self.abort("it left before the end");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::ffi::Store;

    fn refused(offers: &[Offer]) -> Option<String> {
        refuse(offers).map(|error| error.to_string())
    }

    #[test]
    fn every_rank_needs_a_gpu_of_its_own() {
        let gpu = |number: u8| Offer::Ok([number; 16]);
        let lacks = |reason: &str| Offer::Err(reason.to_owned());
        assert_eq!(refused(&[gpu(1), gpu(2), gpu(3)]), None);
        let shared =
            "each of the ranks 0, 2 cannot use NCCL: it needs a GPU of its own, and shares one";
        assert_eq!(refused(&[gpu(1), gpu(2), gpu(1)]).as_deref(), Some(shared));
        let cpu = "each of the ranks 1, 2 cannot use NCCL: it computes on the CPU";
        let on_cpu = || lacks("it computes on the CPU");
        assert_eq!(refused(&[gpu(1), on_cpu(), on_cpu(), gpu(1)]).as_deref(), Some(cpu));
        let other = [gpu(1), gpu(2), lacks("no library")];
        assert_eq!(refused(&other).as_deref(), Some("rank 2 cannot use NCCL: no library"));
    }

    #[test]
    fn a_rank_without_a_gpu_offers_none() {
        assert_eq!(offer(Device::Cpu), Err("it computes on the CPU".to_owned()));
        let none = offer(Device::Cuda(1000)).expect_err("no machine has it");
        assert!(none.starts_with("it asks for GPU 1000, and libtorch sees "), "{none}");
    }

    /// What libtorch itself says. So the library of `native/nccl.cpp` was compiled, is loaded from memory, and its calls arrive.
    #[test]
    fn libtorch_says_that_there_is_no_gpu() {
        let error = match identify_gpu(0) {
            Ok(identity) => return assert_ne!(identity, [0; 16], "a GPU"),
            Err(error) => error.to_string(),
        };
        assert!(error.starts_with("cannot load NCCL: ") && error.contains("num_gpus=0"), "{error}");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let timeout = Duration::from_secs(20);
        let store = Store::open("127.0.0.1", port, true, "", timeout).expect("a store");
        let error = Group::open_nccl(&store, 0, 1, 0, timeout).expect_err("no GPU").to_string();
        let expected = "cannot connect to the other GPUs: ";
        assert!(error.starts_with(expected) && error.contains("no GPUs found"), "{error}");
    }
}
