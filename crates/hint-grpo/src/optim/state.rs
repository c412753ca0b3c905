//! Reading saved optimizer state.

use tch::Tensor;

use crate::error::GrpoError;

/// The tensor called `name`, of the shape `expected` if there is one to compare with.
pub(super) fn find<'s>(
    state: &'s [(String, Tensor)],
    name: &str,
    expected: Option<&[i64]>,
) -> Result<&'s Tensor, GrpoError> {
    let found = state.iter().find(|(candidate, _)| candidate == name);
    let (_, tensor) = found
        .ok_or_else(|| GrpoError::other("optimizer", format!("its saved state lacks `{name}`")))?;
    match expected {
        Some(expected) if *expected != *tensor.size() => {
            let found = tensor.size();
            let message = format!("its saved `{name}` has shape {found:?}, expected {expected:?}");
            Err(GrpoError::other("optimizer", message))
        }
        _ => Ok(tensor),
    }
}

/// The number of updates in a saved state.
pub(super) fn steps(state: &[(String, Tensor)]) -> Result<i64, GrpoError> {
    Ok(find(state, "steps", None)?.to_kind(tch::Kind::Int64).int64_value(&[0]))
}
