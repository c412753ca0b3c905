//! Texts that end a completion.

use crate::engine::{Completion, Sampling, StopReason};
use crate::error::RolloutError;
use crate::prompt::PromptFormat;

/// Cuts a completion of any engine before the first of the stop texts that counts. It keeps the tokens that
/// end before that text, with their log-probabilities. They are never fewer than the least length.
pub(crate) fn cut_at_stop(
    format: &dyn PromptFormat,
    sampling: &Sampling,
    completion: &mut Completion,
) -> Result<(), RolloutError> {
    let found = sampling.find_stop(&completion.tokens, |tokens| format.decode(tokens))?;
    let Some(end) = found else { return Ok(()) };
    // The tokens whose text ends at `end` or before. Texts grow with their tokens, except for the mark in place of
    // a character of which tokens are missing.
    let (mut fits, mut exceeds) = (0, completion.tokens.len());
    while fits + 1 < exceeds {
        let middle = usize::midpoint(fits, exceeds);
        let text = format.decode(&completion.tokens[..middle])?;
        let is_within = text.trim_end_matches('\u{fffd}').len() <= end;
        if is_within { fits = middle } else { exceeds = middle }
    }
    // A part of the first character of the stop text does not stay.
    while fits > 0 && format.decode(&completion.tokens[..fits])?.len() > end {
        fits -= 1;
    }
    let fits = fits.max(sampling.min_completion_len);
    completion.tokens.truncate(fits);
    completion.behavior_logprobs.truncate(fits);
    completion.loss_mask.truncate(fits);
    completion.stop = StopReason::Stop;
    Ok(())
}
