//! One prompt to sample from, and the answers that come of it.

use std::sync::Arc;

use crate::data::Problem;
use crate::engine::{Completion, GenerationRequest};
use crate::error::RolloutError;
use crate::prompt::PromptFormat;
use crate::sample::{Answers, AppliedHint};

/// One prompt to sample from.
pub(crate) struct SampleJob {
    /// Index of the problem in the batch.
    pub(crate) index: usize,
    pub(crate) request: GenerationRequest,
    /// The hint in the prompt.
    pub(crate) hint: Option<Arc<AppliedHint>>,
    /// The first completions, after which the group may [end early](crate::collect::EarlyStop).
    pub(crate) needed: Option<usize>,
}

/// The answers of completions, each of which continues the prefix of its hint.
pub(crate) fn answers(
    format: &dyn PromptFormat,
    problem: &Problem,
    applied: Option<&Arc<AppliedHint>>,
    completions: &[Completion],
) -> Result<Arc<Answers>, RolloutError> {
    let prefix = applied.filter(|applied| applied.prefix_len > 0);
    let prefix = prefix.map_or("", |applied| &applied.hint.text);
    Ok(Arc::new(Answers::new(format, problem, prefix, completions)?))
}
