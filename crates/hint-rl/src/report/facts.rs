//! Facts about a run beside its verdict: its progress, held-out accuracy, skipped steps.

use hint_grpo::{GrpoConfig, metrics};

use super::curves::number;
use crate::run_log::RunLog;

/// The facts, one clause each.
pub(super) fn facts(log: &RunLog, config: &GrpoConfig) -> Vec<String> {
    let mut facts = Vec::new();
    let done = log.last_step();
    if done < config.run.steps {
        facts.push(format!("{} steps are left", config.run.steps - done));
    }
    facts.extend(held_out(log));
    facts.extend(rules(log));
    let last = |name: &str| log.values(name).last().map(|(_, value)| value);
    if let Some(skipped) = last(metrics::SKIPPED_UPDATES).filter(|skipped| *skipped > 0.0) {
        let steps = if skipped == 1.0 { "step" } else { "steps" };
        facts.push(format!("the guard skipped {skipped} optimizer {steps}"));
    }
    let oversized = log.mean(metrics::MICRO_BATCH_OVERSIZED).filter(|rows| *rows > 0.0);
    facts.extend(oversized.map(|rows| {
        let rows = number(rows);
        format!("{rows} rows per optimizer step exceed `run.max_tokens_per_micro_batch`")
    }));
    facts
}

/// Rules of the verifier that found the answers that trained, and their share of correct ones.
fn rules(log: &RunLog) -> Option<String> {
    let rules = log.extracted_by().into_iter().map(|(rule, (share, correct))| {
        let rule = rule.replace('_', " ");
        format!("{rule} {:.0} % ({:.0} % correct)", 100.0 * share, 100.0 * correct)
    });
    let rules: Vec<String> = rules.collect();
    (!rules.is_empty()).then(|| format!("answers found by rule: {}", rules.join(", ")))
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
