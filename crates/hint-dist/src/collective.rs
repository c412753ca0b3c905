//! The contract of a rank of a process group.

use std::fmt::Debug;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use crate::error::CollectiveError;

/// One rank of a group of processes, or of threads, that call the same operations in the same order.
///
/// Tensors are contiguous. Of one operation every rank brings the same kind and number of elements; anything else is
/// [`CollectiveError::Mismatch`] on every rank.
///
/// # Errors
///
/// An operation fails if a rank has ended, is late, gave up or calls something else. It fails with the same
/// [`CollectiveError`] on every rank.
///
/// ```
/// use hint_dist::{Collective, CollectiveError, Single};
/// use tch::Tensor;
///
/// /// The mean of a number over all ranks.
/// fn mean(group: &dyn Collective, value: f64) -> Result<f64, CollectiveError> {
///     let mut sum = Tensor::from_slice(&[value]);
///     group.all_reduce(&mut sum)?;
///     Ok(sum.double_value(&[0]) / group.world_size() as f64)
/// }
///
/// assert_eq!(mean(&Single, 3.0)?, 3.0);
/// # Ok::<(), CollectiveError>(())
/// ```
#[expect(clippy::missing_errors_doc, reason = "the trait itself says it once for all")]
pub trait Collective: Debug + Send + Sync {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world_size(&self) -> usize;

    /// Cuts `input` into one part for each rank, and gives `output` the parts for this one in the order of the ranks.
    /// Both have a multiple of [`world_size`](Self::world_size) elements.
    fn all_to_all(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError>;

    /// Gives `output` the `input` of every rank, in the order of the ranks.
    fn all_gather(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError>;

    /// Gives every rank the `tensor` of rank `root`.
    fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), CollectiveError>;

    /// Waits until every rank is here.
    fn barrier(&self) -> Result<(), CollectiveError>;

    /// A second group of the same ranks, whose operations another thread may call while this thread calls those of this one.
    /// All ranks call it, and every call returns the same group. If one of the two fails, or is aborted, both have failed.
    /// It needs no [`shutdown`](Self::shutdown), and is of no use after that of this one. By default there is none.
    fn duplicate(&self) -> Result<Arc<dyn Collective>, CollectiveError> {
        Err(CollectiveError::backend("open a second group", "this one has no `duplicate`"))
    }

    /// Why the group is of no use any more, if that is known. Asks nobody and does not wait, so that another thread can
    /// watch the group while this one computes.
    fn failure(&self) -> Option<CollectiveError> {
        None
    }

    /// Tells the others that this rank gives up, and why. Their operations fail with
    /// [`PeerState::Failed`](crate::PeerState::Failed). A group that has failed already stays as it is. The process may end
    /// afterwards.
    fn abort(&self, reason: &str) {
        let _ = reason;
    }

    /// Waits for the others at the end of the work, after which each of them may end. A rank that is dropped without it
    /// is [`PeerState::Failed`](crate::PeerState::Failed) for the others.
    fn shutdown(&self) -> Result<(), CollectiveError> {
        self.barrier()
    }

    /// Cuts `input` into one part for each rank, and sums each part over all ranks, in the order of the ranks. `output` gets the
    /// sum of this rank's part. `input` has [`world_size`](Self::world_size) times as many elements, of the same kind.
    fn reduce_scatter(&self, output: &mut Tensor, input: &Tensor) -> Result<(), CollectiveError> {
        let (elements, world_size) = (len(output.numel()), len(self.world_size()));
        let (wanted, found) = (elements * world_size, len(input.numel()));
        if (wanted, output.kind()) != (found, input.kind()) || !output.is_contiguous() {
            return Err(CollectiveError::Shape {
                operation: "reduce_scatter".to_owned(),
                expected: format!(
                    "an input of {wanted} {:?}, and contiguous tensors",
                    output.kind()
                ),
                found: format!("{found} {:?}", input.kind()),
            });
        }
        let mut parts = input.zeros_like();
        self.all_to_all(&mut parts, input)?;
        let parts = parts.view([world_size, elements]);
        tch::no_grad(|| {
            let mut sum = output.view([-1]);
            sum.copy_(&parts.get(0));
            for rank in 1..world_size {
                sum += parts.get(rank);
            }
        });
        Ok(())
    }

    /// Sums `tensor` over all ranks, in the order of the ranks: the same bits on every rank.
    fn all_reduce(&self, tensor: &mut Tensor) -> Result<(), CollectiveError> {
        let (elements, world_size) = (len(tensor.numel()), len(self.world_size()));
        let part = (elements + world_size - 1) / world_size;
        let flat = tensor.detach().view([-1]);
        let padded = flat.constant_pad_nd([0, part * world_size - elements]);
        let mut sum = Tensor::zeros([part], (tensor.kind(), tensor.device()));
        self.reduce_scatter(&mut sum, &padded)?;
        let mut all = padded;
        self.all_gather(&mut all, &sum)?;
        tch::no_grad(|| tensor.copy_(&all.narrow(0, 0, elements).view(&*tensor.size())));
        Ok(())
    }

    /// Gives every rank the bytes of all, by rank. They may have different lengths.
    fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let on_cpu = |kind| (kind, Device::Cpu);
        let mut lengths = Tensor::zeros([len(self.world_size())], on_cpu(Kind::Int64));
        self.all_gather(&mut lengths, &Tensor::from_slice(&[len(bytes.len())]))?;
        let lengths = (0..len(self.world_size())).map(|rank| lengths.int64_value(&[rank]));
        let lengths = lengths.collect::<Vec<_>>();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        if longest == 0 {
            return Ok(vec![Vec::new(); self.world_size()]);
        }
        let own = Tensor::from_slice(bytes);
        let own = own.constant_pad_nd([0, longest - own.size()[0]]);
        let mut all = Tensor::zeros([len(self.world_size()) * longest], on_cpu(Kind::Uint8));
        self.all_gather(&mut all, &own)?;
        let part = |(rank, length): (usize, &i64)| {
            let part = all.narrow(0, len(rank) * longest, *length);
            let mut bytes = vec![0_u8; part.numel()];
            part.copy_data(&mut bytes, part.numel());
            bytes
        };
        Ok(lengths.iter().enumerate().map(part).collect())
    }

    /// Gives every rank the bytes of rank 0.
    fn broadcast_bytes(&self, bytes: &[u8]) -> Result<Vec<u8>, CollectiveError> {
        let mut length = Tensor::from_slice(&[len(bytes.len())]);
        self.broadcast(&mut length, 0)?;
        let length = length.int64_value(&[0]);
        let mut data = if self.rank() == 0 {
            Tensor::from_slice(bytes)
        } else {
            Tensor::zeros([length], (Kind::Uint8, Device::Cpu))
        };
        if length > 0 {
            self.broadcast(&mut data, 0)?;
        }
        let mut bytes = vec![0_u8; data.numel()];
        data.copy_data(&mut bytes, data.numel());
        Ok(bytes)
    }
}

/// A length as a tensor dimension.
pub(crate) fn len(length: usize) -> i64 {
    i64::try_from(length).expect("no tensor has 2^63 elements")
}

/// The memory of a contiguous tensor as bytes, `[bytes]`. Neither Gloo nor NCCL has every kind, and both only copy.
#[cfg(feature = "gloo")]
pub(crate) fn bytes(tensor: &Tensor) -> Tensor {
    tensor.detach().view([-1]).view_dtype(Kind::Uint8)
}

/// The operation that a rank calls, and its tensor. All ranks must call the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature {
    operation: Operation,
    kind: Kind,
    elements: i64,
    root: i64,
    /// Whether the tensors stay on their GPUs.
    is_on_gpu: bool,
}

/// A signature as numbers, which ranks compare.
pub(crate) type Encoded = [i64; 5];

/// The operations that a rank carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    AllToAll,
    AllGather,
    Broadcast,
    Barrier,
}

impl Operation {
    const ALL: [Self; 4] = [Self::AllToAll, Self::AllGather, Self::Broadcast, Self::Barrier];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AllToAll => "all_to_all",
            Self::AllGather => "all_gather",
            Self::Broadcast => "broadcast",
            Self::Barrier => "barrier",
        }
    }
}

impl Signature {
    /// A call with `input`, checked against `output`, where there is one.
    pub(crate) fn new(
        operation: Operation,
        input: &Tensor,
        output: Option<&Tensor>,
        world_size: usize,
        root: usize,
    ) -> Result<Self, CollectiveError> {
        let (elements, world_size) = (len(input.numel()), len(world_size));
        let wrong = |expected: String, found: String| CollectiveError::Shape {
            operation: operation.name().to_owned(),
            expected,
            found,
        };
        if operation == Operation::AllToAll && elements % world_size != 0 {
            return Err(wrong(
                format!("a multiple of {world_size} elements"),
                elements.to_string(),
            ));
        }
        if root >= usize::try_from(world_size).unwrap_or(usize::MAX) {
            return Err(wrong(format!("a root below {world_size}"), root.to_string()));
        }
        let all = [Some(input), output];
        for tensor in all.into_iter().flatten() {
            if !tensor.is_contiguous() {
                return Err(wrong("contiguous tensors".to_owned(), "another".to_owned()));
            }
        }
        if let Some(output) = output {
            let wanted =
                if operation == Operation::AllGather { elements * world_size } else { elements };
            let found = len(output.numel());
            if (found, output.kind()) != (wanted, input.kind()) {
                let expected = format!("an output of {wanted} {:?}", input.kind());
                return Err(wrong(expected, format!("{found} {:?}", output.kind())));
            }
        }
        Ok(Self { operation, kind: input.kind(), elements, root: len(root), is_on_gpu: false })
    }

    /// The same call with tensors that stay on their GPUs.
    #[cfg(feature = "nccl")]
    pub(crate) const fn on_gpu(self) -> Self {
        Self { is_on_gpu: true, ..self }
    }

    /// A barrier, which has no tensor.
    pub(crate) const fn barrier() -> Self {
        Self {
            operation: Operation::Barrier,
            kind: Kind::Uint8,
            elements: 0,
            root: 0,
            is_on_gpu: false,
        }
    }

    /// As numbers.
    pub(crate) fn encode(self) -> Encoded {
        let is_on_gpu = i64::from(self.is_on_gpu);
        [self.operation as i64, self.kind as i64, self.elements, self.root, is_on_gpu]
    }

    /// An error if a rank calls something else than rank 0.
    pub(crate) fn compare(all: &[Encoded]) -> Result<(), CollectiveError> {
        match all.iter().position(|call| *call != all[0]) {
            None => Ok(()),
            Some(rank) => Err(CollectiveError::Mismatch {
                rank,
                expected: describe(all[0]),
                found: describe(all[rank]),
            }),
        }
    }
}

fn describe([operation, kind, elements, root, is_on_gpu]: Encoded) -> String {
    let named = Operation::ALL.into_iter().find(|one| *one as i64 == operation);
    let name = named.map_or("an unknown operation", Operation::name);
    let kind = i32::try_from(kind).ok().and_then(kind_of);
    let kind = kind.map_or_else(|| "unknown kind".to_owned(), |kind| format!("{kind:?}"));
    let place = if is_on_gpu == 0 { "" } else { " on a GPU" };
    match named {
        Some(Operation::Barrier) | None => name.to_owned(),
        Some(Operation::Broadcast) => {
            format!("`{name}` of {elements} elements ({kind}) from rank {root}{place}")
        }
        Some(_) => format!("`{name}` of {elements} elements ({kind}){place}"),
    }
}

/// The kind of tensors that has a number.
pub(crate) fn kind_of(number: i32) -> Option<Kind> {
    let kinds = [
        Kind::Uint8,
        Kind::Int8,
        Kind::Int16,
        Kind::Int,
        Kind::Int64,
        Kind::Half,
        Kind::Float,
        Kind::Double,
        Kind::Bool,
        Kind::BFloat16,
    ];
    kinds.into_iter().find(|kind| *kind as i32 == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_whose_tensor_stays_on_the_gpu_calls_something_else() {
        let tensor = Tensor::zeros([4], (Kind::Float, Device::Cpu));
        let call = Signature::new(Operation::Broadcast, &tensor, None, 2, 1).expect("it fits");
        let on_gpu = Signature { is_on_gpu: true, ..call };
        assert_eq!(Signature::compare(&[on_gpu.encode(); 2]), Ok(()));
        let error = Signature::compare(&[call.encode(), on_gpu.encode()]).expect_err("they differ");
        let expected = "`broadcast` of 4 elements (Float) from rank 1";
        let text = format!("rank 1 has {expected} on a GPU, and rank 0 has {expected}; ");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
}
