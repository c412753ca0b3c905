//! The policy that teaches: the live one, the reference, an average of the live one's weights, or another model.

use hint_policy::{Parameter, Policy, SharedPolicy};
use tch::Tensor;

use super::Learner;
use crate::error::{ConfigError, GrpoError};
use crate::objective::CreditTeacher;
use crate::optim::SavedState;

/// The start of the names of its tensors in a checkpoint.
const PREFIX: &str = "teacher/";

impl Learner {
    /// Calls `ask` with the teacher; `live` is the policy itself.
    pub(super) fn with_teacher<T>(
        &self,
        live: &dyn Policy,
        ask: impl FnOnce(&dyn Policy) -> Result<T, GrpoError>,
    ) -> Result<T, GrpoError> {
        match self.loss.credit.teacher {
            CreditTeacher::Live => ask(live),
            CreditTeacher::Reference => ask(&**self.reference("loss.credit.teacher")?.lock()),
            CreditTeacher::Average { .. } | CreditTeacher::Model { .. } => {
                let teacher = self.teacher.as_ref().ok_or_else(|| {
                    invalid("needs a policy that teaches, and the learner has none")
                })?;
                ask(&**teacher.lock())
            }
        }
    }

    /// Moves the average that teaches, if there is one, after the weights of the policy:
    ///
    /// ```text
    /// θ_T ← d θ_T + (1 − d) θ                                                            (CREDIT-6)
    /// ```
    pub(super) fn follow_with_average(&self) {
        let CreditTeacher::Average { decay } = self.loss.credit.teacher else { return };
        let Some(teacher) = &self.teacher else { return };
        let (teacher, policy) = (teacher.lock(), self.policy.lock());
        tch::no_grad(|| {
            for (mut average, current) in pairs(&**teacher, &**policy) {
                let current = current.to_device(average.device());
                let _ = average.g_mul_scalar_(decay).g_add_(&(current * (1.0 - decay)));
            }
        });
        teacher.parameters_changed();
    }

    /// The average that teaches, for a checkpoint.
    pub(super) fn average(&self) -> Vec<(String, Tensor)> {
        match (&self.loss.credit.teacher, &self.teacher) {
            (CreditTeacher::Average { .. }, Some(teacher)) => {
                let named = |Parameter { name, tensor }| (format!("{PREFIX}{name}"), tensor);
                teacher.lock().parameters().into_iter().map(named).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Restores the value of [`Learner::average`] from `saved`, and returns the others.
    pub(super) fn load_average<'s>(
        &self,
        saved: &SavedState<'s>,
    ) -> Result<SavedState<'s>, GrpoError> {
        for (name, tensor) in self.average() {
            if saved.size(&name) != Some(tensor.size()) {
                let problem = format!("`{name}` is missing or has another shape");
                return Err(GrpoError::other("teacher", problem));
            }
            saved.restore_whole(&name, &tensor)?;
        }
        if let Some(teacher) = &self.teacher {
            teacher.lock().parameters_changed();
        }
        Ok(saved.without(PREFIX))
    }
}

/// Checks that `teacher` can teach `policy`. An average starts with the weights of the policy.
pub(super) fn prepare(
    kind: &CreditTeacher,
    teacher: Option<&SharedPolicy>,
    policy: &SharedPolicy,
) -> Result<(), GrpoError> {
    let Some(teacher) = teacher else { return Ok(()) };
    let (teacher, policy) = (teacher.lock(), policy.lock());
    let (found, expected) = (teacher.vocab_size(), policy.vocab_size());
    if found != expected {
        return Err(invalid(&format!(
            "must be a model with the vocabulary of the policy, {expected} tokens, found {found}"
        )));
    }
    if !matches!(kind, CreditTeacher::Average { .. }) {
        return Ok(());
    }
    let of = |one: &dyn Policy| {
        let shape = |Parameter { name, tensor }: Parameter| (name, tensor.size());
        one.parameters().into_iter().map(shape).collect::<Vec<_>>()
    };
    let (found, expected) = (of(&**teacher), of(&**policy));
    if found != expected {
        let different = expected.iter().zip(&found).find(|(one, other)| one != other);
        let at = different.map_or_else(String::new, |((name, _), _)| format!(", as at `{name}`"));
        return Err(invalid(&format!(
            "an average needs a copy of the policy, and the parameters differ{at}"
        )));
    }
    tch::no_grad(|| {
        for (mut average, current) in pairs(&**teacher, &**policy) {
            average.copy_(&current);
        }
    });
    teacher.parameters_changed();
    Ok(())
}

/// The parameters of two policies of the same shape.
fn pairs(one: &dyn Policy, other: &dyn Policy) -> impl Iterator<Item = (Tensor, Tensor)> {
    let tensors = |policy: &dyn Policy| policy.parameters().into_iter().map(|one| one.tensor);
    tensors(one).zip(tensors(other))
}

fn invalid(problem: &str) -> GrpoError {
    ConfigError::Invalid(vec![format!("loss.credit.teacher: {problem}")]).into()
}
