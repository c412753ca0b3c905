//! Copies of matrices in the kind of the computation.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

/// A copy of a matrix in another kind, kept for the micro-batches of an optimizer step.
///
/// [`Weights::drop_casts`](super::Weights::drop_casts) drops it. An optimizer that writes through a flat buffer changes
/// a matrix in a way that its version does not show.
#[derive(Debug, Default)]
pub(crate) struct Cast(RefCell<Option<(i64, Tensor)>>);

impl Cast {
    /// `matrix` in `kind`, without gradient. A copy is kept on a CPU, where converting a matrix takes as long as a product
    /// with a hundred rows.
    pub(crate) fn of(&self, matrix: &Tensor, kind: Kind) -> Tensor {
        let detached = matrix.detach();
        if matrix.kind() == kind || matrix.device() != Device::Cpu {
            return detached.to_kind(kind);
        }
        let version = matrix.internal_version();
        let mut kept = self.0.borrow_mut();
        if let Some((made_from, copy)) = &*kept
            && *made_from == version
            && copy.kind() == kind
        {
            return copy.shallow_clone();
        }
        let copy = detached.to_kind(kind);
        *kept = Some((version, copy.shallow_clone()));
        copy
    }

    pub(super) fn drop_copy(&self) {
        *self.0.borrow_mut() = None;
    }

    /// Numbers of the copy.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.0.borrow().as_ref().map_or(0, |(_, copy)| copy.numel())
    }
}
