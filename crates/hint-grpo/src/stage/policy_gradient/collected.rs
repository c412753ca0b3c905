//! The sampler's half of a batch, and its form in a checkpoint.

use std::sync::Arc;

use hint_rollout::collect::Collected;
use hint_rollout::data::Problems;
use hint_rollout::run::{RunProgress, StepContext};
use hint_rollout::{Collector, RolloutGroup, Seed};
use serde::{Deserialize, Serialize};

use super::stats;
use crate::config::RunConfig;
use crate::error::GrpoError;
use crate::metrics::{self, Metrics};
use crate::warning::Warning;

/// The groups of a step with everything that only the collector knows about them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CollectedStep {
    pub(super) groups: Vec<RolloutGroup>,
    /// Groups that do not train, to be looked at.
    #[serde(alias = "unjudged")]
    pub(super) untrained: Vec<RolloutGroup>,
    /// Counts of the collection.
    pub(super) metrics: Metrics,
    pub(super) warnings: Vec<Warning>,
    /// Tokens of completions.
    pub(super) tokens: u64,
    /// Tokens of prompts, once for each completion.
    pub(super) prompt_tokens: u64,
}

/// A batch that was collected, and the step that trains on it.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) step: u64,
    pub(super) batch: Arc<CollectedStep>,
}

/// Collects the batch of the step after `progress`.
pub(super) fn collect(
    collector: &mut Collector,
    problems: &dyn Problems,
    run: &RunConfig,
    progress: RunProgress,
) -> Result<CollectedStep, GrpoError> {
    let seed = Seed::new(run.seed).named("rollout").child(progress.step);
    let (count, context) = (run.prompts_per_step, StepContext { seed, progress });
    let collected = collector.collect_batch(problems, count, run.seed, context)?;
    let Collected { groups, untrained, stats, .. } = collected;
    let (mut metrics, mut warnings) = (Metrics::new(), Vec::new());
    if stats.batch.missing_groups > 0 {
        warnings.push(Warning::MissingGroups {
            missing: stats.batch.missing_groups,
            wanted: run.prompts_per_step,
            drawn: stats.problems,
            rounds: stats.batch.rounds,
        });
    }
    stats::observe_collection(&mut metrics, &stats);
    let gap = collector.record().internalization_gap();
    metrics.set_some(metrics::HINT_INTERNALIZATION_GAP_RUN, gap);
    let drawn = collector.drawn() as f64;
    metrics.set(metrics::EPOCH, drawn / problems.len() as f64);
    let (tokens, prompt_tokens) = (stats.sampled.tokens as u64, stats.sampled.prompt_tokens as u64);
    Ok(CollectedStep { groups, untrained, metrics, warnings, tokens, prompt_tokens })
}

/// Batches in the form of a checkpoint: CBOR, in which numbers keep their bits.
pub(super) fn write(batches: &[Ready]) -> Result<Vec<u8>, GrpoError> {
    let mut bytes = Vec::new();
    if !batches.is_empty() {
        let batches = batches.iter().map(|ready| (ready.step, &*ready.batch)).collect::<Vec<_>>();
        ciborium::into_writer(&batches, &mut bytes).map_err(failed)?;
    }
    Ok(bytes)
}

/// Reads the bytes of [`write`] back.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Ready>, GrpoError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let batches: Vec<(u64, CollectedStep)> = ciborium::from_reader(bytes).map_err(failed)?;
    let ready = |(step, batch)| Ready { step, batch: Arc::new(batch) };
    Ok(batches.into_iter().map(ready).collect())
}

fn failed(error: impl std::fmt::Display) -> GrpoError {
    GrpoError::other("ahead.cbor", error.to_string())
}
