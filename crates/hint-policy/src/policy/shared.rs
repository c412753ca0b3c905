//! One policy for trainer and sampler.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::policy::Policy;

/// One policy used by both the trainer and a local rollout engine.
///
/// ```no_run
/// use hint_policy::{LoadOptions, LoadedModel, Policy as _, SharedPolicy};
///
/// let model = LoadedModel::load("Qwen2.5-0.5B-Instruct", &LoadOptions::default())?;
/// let policy = SharedPolicy::new(model.policy);
/// // The engine gets a clone, which is the same policy; the lock is held for a moment only.
/// let device = policy.clone().lock().device();
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Clone)]
pub struct SharedPolicy(Arc<Mutex<Box<dyn Policy>>>);

impl SharedPolicy {
    /// Shares `policy`.
    pub fn new(policy: impl Policy + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(policy))))
    }

    /// A number that its clones share, and that no other policy of this process has at the same time.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Waits until nobody else uses the policy, and borrows it.
    ///
    /// A thread that panicked while holding the lock does not poison it: no method of [`Policy`]
    /// leaves a policy half changed.
    pub fn lock(&self) -> MutexGuard<'_, Box<dyn Policy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SharedPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedPolicy").finish_non_exhaustive()
    }
}
