//! Weights that are there only while a pass reads them.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::Debug;
use std::ops::Range;

use crate::error::PolicyError;

/// Brings weights into memory for the stages of a pass that read them.
///
/// Several processes may each keep a part of the weights alone. A policy that takes such an object by
/// [`Policy::set_stage_weights`](crate::Policy::set_stage_weights) calls it before each stage, forward and backward. Stages
/// are those of [`Policy::gradient_stages`](crate::Policy::gradient_stages). A forward pass goes from the last to the first.
///
/// ```
/// use std::error::Error;
/// use std::ops::Range;
///
/// use hint_policy::policy::StageWeights;
///
/// /// Notes what a pass asks for.
/// #[derive(Debug, Default)]
/// struct Noted(Vec<Range<usize>>);
///
/// impl StageWeights for Noted {
///     fn gather(&mut self, stages: Range<usize>) -> Result<(), Box<dyn Error + Send + Sync>> {
///         self.0.push(stages);
///         Ok(())
///     }
///     fn release(&mut self) {}
/// }
/// # let mut noted = Noted::default();
/// # noted.gather(0..1)?;
/// # assert_eq!(noted.0, [0..1]);
/// # Ok::<(), Box<dyn Error + Send + Sync>>(())
/// ```
pub trait StageWeights: Debug + Send {
    /// Brings the weights of all parameters that have a stage in `stages`, and may take the others away.
    ///
    /// # Errors
    ///
    /// Errors of whatever brings them.
    fn gather(&mut self, stages: Range<usize>) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// May take all weights away, after a pass.
    fn release(&mut self);
}

/// The [`StageWeights`] of a policy, if it has some. Without any, all weights are there.
#[derive(Debug, Default)]
pub(crate) struct StageCell(RefCell<Option<Box<dyn StageWeights>>>);

impl StageCell {
    pub(crate) fn set(&self, weights: Option<Box<dyn StageWeights>>) {
        *self.0.borrow_mut() = weights;
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// As [`StageWeights::gather`].
    pub(crate) fn gather(&self, stages: Range<usize>) -> Result<(), PolicyError> {
        if let Some(weights) = self.0.borrow_mut().as_mut() {
            weights.gather(stages).map_err(|source| PolicyError::Gather { source })?;
        }
        Ok(())
    }

    /// As [`StageWeights::release`].
    pub(crate) fn release(&self) {
        if let Some(weights) = self.0.borrow_mut().as_mut() {
            weights.release();
        }
    }
}
