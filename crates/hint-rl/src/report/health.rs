//! What of a run deserves a look, each with a number and where to turn.

use hint_grpo::{GrpoConfig, metrics};

use hint_rollout::hint::leak::LeakAction;

use super::curves::number;
use crate::run_log::{RunLog, mean};

/// Share of cut-off completions from which on the limit is likely to shape what is learned.
const CUT_OFF: f64 = 0.1;
/// Share of groups without a signal from which on most of the sampling is for nothing.
const NO_SIGNAL: f64 = 0.8;
/// Share of the first entropy below which the policy hardly explores.
const ENTROPY: f64 = 0.1;
/// Mean nats between the log-probabilities of trainer and engine above which a token's probability differs by a
/// tenth.
const MISMATCH: f64 = 0.1;

/// The findings, in the order of importance to a run.
pub(super) fn findings(log: &RunLog, config: &GrpoConfig) -> Vec<String> {
    let mut findings = Vec::new();
    let done = log.metrics.last().and_then(|line| line["step"].as_u64()).unwrap_or(0);
    if done < config.run.steps {
        findings.push(format!("{} steps are left", config.run.steps - done));
    }
    findings.extend(held_out(log));
    let last = |name: &str| log.values(name).last().map(|(_, value)| value);
    if let Some(skipped) = last(metrics::SKIPPED_UPDATES).filter(|skipped| *skipped > 0.0) {
        let steps = if skipped == 1.0 { "step" } else { "steps" };
        findings.push(format!("the guard skipped {skipped} optimizer {steps}"));
    }
    // Leaks are counted before the guard.
    let uses_leaks = config.rollout.leak_guard.action == LeakAction::Keep;
    let mut above = |name: &str, value: Option<f64>, bound: f64, remedy: &str| {
        if let Some(value) = value.filter(|value| *value > bound) {
            findings.push(format!("`{name}` is {}: {remedy}", number(value)));
        }
    };
    above(
        metrics::ROLLOUT_DROPPED_FRAC,
        log.mean(metrics::ROLLOUT_DROPPED_FRAC),
        0.0,
        "completions could not be judged and were dropped; the step's warnings name the reward",
    );
    above(
        metrics::HINT_LEAKING_ANSWER_FRAC,
        log.mean(metrics::HINT_LEAKING_ANSWER_FRAC).filter(|_| uses_leaks),
        0.0,
        "hints gave the answer away; see `rollout.leak_guard`",
    );
    above(
        metrics::COMPLETIONS_CLIPPED_RATIO,
        recent(log, metrics::COMPLETIONS_CLIPPED_RATIO),
        CUT_OFF,
        "completions are cut off; raise `rollout.sampling.max_completion_len`",
    );
    above(
        metrics::FRAC_REWARD_ZERO_STD,
        recent(log, metrics::FRAC_REWARD_ZERO_STD),
        NO_SIGNAL,
        "most groups have no signal; see `rollout.dynamic_sampling`, or take other problems",
    );
    above(
        metrics::SAMPLING_LOGP_DIFFERENCE,
        recent(log, metrics::SAMPLING_LOGP_DIFFERENCE),
        MISMATCH,
        "trainer and engine disagree; see `loss.importance_correction`",
    );
    above(
        metrics::MICRO_BATCH_OVERSIZED,
        log.mean(metrics::MICRO_BATCH_OVERSIZED),
        0.0,
        "rows are longer than `run.max_tokens_per_micro_batch`",
    );
    let first = log.values(metrics::ENTROPY_TRAINED).next().map(|(_, value)| value);
    if let (Some(first), Some(now)) = (first, recent(log, metrics::ENTROPY_TRAINED))
        && now < ENTROPY * first
    {
        findings.push(format!("entropy fell from {first:.3} to {now:.3}: little is explored"));
    }
    findings
}

/// Accuracy on held-out problems, first and last.
fn held_out(log: &RunLog) -> Option<String> {
    let at = |line: &serde_json::Value| {
        let value = |name: &str| line[name].as_f64();
        let [low, high] = [metrics::EVAL_AVG_LOW, metrics::EVAL_AVG_HIGH].map(value);
        let (step, avg) = (line["step"].as_u64()?, value(metrics::EVAL_AVG)?);
        Some(format!("{avg:.3} [{:.3}, {:.3}] at step {step}", low?, high?))
    };
    let mut scores = log.metrics.iter().filter_map(at);
    let first = scores.next()?;
    let then = scores.next_back().map_or_else(String::new, |last| format!(", then {last}"));
    Some(format!("held-out accuracy without hints {first}{then}"))
}

/// The mean over the last tenth of the steps that have the metric.
fn recent(log: &RunLog, name: &str) -> Option<f64> {
    let values = log.values(name).map(|(_, value)| value).collect::<Vec<_>>();
    let count = values.len().div_ceil(10);
    mean(values[values.len() - count..].iter().copied())
}
