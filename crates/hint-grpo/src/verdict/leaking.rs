//! Hints give the answer away.

use hint_rollout::hint::leak::LeakAction;
use hint_rollout::hint::source::HintSourceConfig;

use super::signal::is_taught;
use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;

/// Share of hints above which the policy may learn to copy.
const BOUND: f64 = 0.02;

pub(super) const RULE: Rule = Rule {
    condition: Condition::Leaking,
    when: "more than 2 % of the hints give the answer away, the leak guard keeps them, and completions are sampled \
           under them",
    find,
};

fn find(history: &History, config: &GrpoConfig) -> Option<Found> {
    // Leaks are counted before the guard.
    if config.rollout.leak_guard.action != LeakAction::Keep {
        return None;
    }
    // What a teacher alone sees cannot be copied: the completions were sampled on the plain prompt.
    if history.mean(metrics::HINT_HINTED_FRAC) == Some(0.0) {
        return None;
    }
    let share = history.beyond(metrics::HINT_LEAKING_ANSWER_FRAC, BOUND)?;
    let shows_solution = matches!(config.rollout.source, HintSourceConfig::SolutionPrefix { .. });
    let advice = if shows_solution {
        "the source shows solutions up to the answer, so success with a hint says little: compare `eval/avg` with a run \
         without hints; `rollout.leak_guard.action` = \"mask\" keeps the part before the answer"
    } else if is_taught(config) {
        "set `rollout.leak_guard.action` to \"mask\", as completions are sampled under these hints as well; list the \
         leaking ones with `hint-rl audit`"
    } else {
        "set `rollout.leak_guard.action` to \"drop\" or \"mask\"; list the leaking hints with `hint-rl audit`"
    };
    Some(Found {
        evidence: format!("{} of the hints give the answer away", percent(share)),
        advice: advice.to_owned(),
        measured: vec![(metrics::HINT_LEAKING_ANSWER_FRAC, share)],
        since: None,
    })
}
