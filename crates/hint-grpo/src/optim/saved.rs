//! A saved state of an optimizer, which is read tensor by tensor.

use tch::{Kind, Tensor};

use crate::error::GrpoError;
use crate::optim::{StatePart, part};
use crate::shared_file::SharedFile;

/// A saved state of an optimizer, for [`Optimizer::load_parts`](super::Optimizer::load_parts).
///
/// Tensors of a checkpoint are read when they are asked for, by the first process alone. The others get them from it. So
/// all processes must ask for the same tensors in the same order, also for those of which they keep nothing.
///
/// ```
/// use hint_grpo::optim::{SavedState, StatePart};
/// use tch::Tensor;
///
/// let saved = [("momentum.head".to_owned(), Tensor::from_slice(&[0.1f32, 0.2, 0.3, 0.4]))];
/// let saved = SavedState::of(&saved);
/// // The last two elements, as the second of two processes keeps them.
/// let values = Tensor::from_slice(&[0.0f32, 0.0]);
/// let name = "momentum.head".to_owned();
/// saved.restore(&StatePart { name, size: vec![4], start: 2, values: values.shallow_clone() })?;
/// assert_eq!(values, Tensor::from_slice(&[0.3f32, 0.4]));
/// # Ok::<(), hint_grpo::GrpoError>(())
/// ```
#[derive(Debug)]
pub struct SavedState<'s> {
    source: Source<'s>,
    /// Tensors whose names begin with this are not the optimizer's.
    left_out: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
enum Source<'s> {
    Memory(&'s [(String, Tensor)]),
    File(&'s SharedFile),
}

impl<'s> SavedState<'s> {
    /// A state in memory.
    pub const fn of(tensors: &'s [(String, Tensor)]) -> Self {
        Self { source: Source::Memory(tensors), left_out: None }
    }

    /// A state in a file.
    pub(crate) const fn in_file(file: &'s SharedFile) -> Self {
        Self { source: Source::File(file), left_out: None }
    }

    /// The state without tensors whose names begin with `prefix`.
    pub(crate) const fn without(&self, prefix: &'static str) -> Self {
        Self { source: self.source, left_out: Some(prefix) }
    }

    /// The names of the tensors, the same in every process.
    pub fn names(&self) -> Vec<&str> {
        let names = match self.source {
            Source::Memory(tensors) => tensors.iter().map(|(name, _)| name.as_str()).collect(),
            Source::File(file) => {
                file.headers().iter().map(|header| header.name.as_str()).collect::<Vec<_>>()
            }
        };
        let is_left_out = |name: &&str| self.left_out.is_some_and(|start| name.starts_with(start));
        names.into_iter().filter(|name| !is_left_out(name)).collect()
    }

    /// The size of the tensor called `name`, if there is one.
    pub fn size(&self, name: &str) -> Option<Vec<i64>> {
        match self.source {
            Source::Memory(tensors) => Some(find(tensors, name)?.size()),
            Source::File(file) => Some(file.headers()[file.find(name)?].size.clone()),
        }
    }

    /// A whole tensor: in its kind, on the CPU if it comes from a checkpoint.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Other`] if it is missing; errors of reading and of other processes.
    pub fn tensor(&self, name: &str) -> Result<Tensor, GrpoError> {
        match self.source {
            Source::Memory(tensors) => {
                Ok(find(tensors, name).ok_or_else(|| lacks(name))?.shallow_clone())
            }
            Source::File(file) => {
                let index = file.find(name).ok_or_else(|| lacks(name))?;
                let header = &file.headers()[index];
                let whole = Tensor::zeros(&*header.size, (header.kind, tch::Device::Cpu));
                tch::no_grad(|| file.copy_to(index, &whole, 0))?;
                Ok(whole)
            }
        }
    }

    /// Gives a part of the state its saved values. `values` of the part is the storage of the state itself.
    ///
    /// # Errors
    ///
    /// [`GrpoError::Other`] if the tensor is missing or has another size; errors of reading and of other processes.
    pub fn restore(&self, own: &StatePart) -> Result<(), GrpoError> {
        self.copy_to(&own.name, &own.size, &own.values, own.start)
    }

    /// Gives `target` the saved values of the whole tensor called `name`, whose size must be the same.
    ///
    /// # Errors
    ///
    /// As [`SavedState::restore`].
    pub fn restore_whole(&self, name: &str, target: &Tensor) -> Result<(), GrpoError> {
        self.copy_to(name, &target.size(), target, 0)
    }

    fn copy_to(
        &self,
        name: &str,
        size: &[i64],
        target: &Tensor,
        start: i64,
    ) -> Result<(), GrpoError> {
        let found = self.size(name).ok_or_else(|| lacks(name))?;
        if found != size {
            let message = format!("its saved `{name}` has shape {found:?}, expected {size:?}");
            return Err(GrpoError::other("optimizer", message));
        }
        tch::no_grad(|| match self.source {
            // The part of a process that keeps nothing may begin behind the end.
            Source::Memory(_) if target.numel() == 0 => Ok(()),
            Source::Memory(tensors) => {
                let whole = find(tensors, name).ok_or_else(|| lacks(name))?;
                let count = i64::try_from(target.numel()).unwrap_or(i64::MAX);
                let values = part(&whole.contiguous().view([-1]), &(start..start + count));
                target.detach().copy_(&values.view_as(target));
                Ok(())
            }
            Source::File(file) => {
                let index = file.find(name).ok_or_else(|| lacks(name))?;
                file.copy_to(index, target, start)
            }
        })
    }

    /// The number of updates.
    pub(super) fn steps(&self) -> Result<i64, GrpoError> {
        Ok(self.tensor("steps")?.to_kind(Kind::Int64).int64_value(&[0]))
    }
}

fn find<'s>(tensors: &'s [(String, Tensor)], name: &str) -> Option<&'s Tensor> {
    tensors.iter().find(|(candidate, _)| candidate == name).map(|(_, tensor)| tensor)
}

fn lacks(name: &str) -> GrpoError {
    GrpoError::other("optimizer", format!("its saved state lacks `{name}`"))
}
