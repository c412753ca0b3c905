//! Rewards differ by shaping alone.

use super::{Condition, Found, History, Rule, percent};
use crate::config::GrpoConfig;
use crate::metrics;

/// Share of all groups above which shaping is worth a word.
const BOUND: f64 = 0.2;

pub(super) const RULE: Rule = Rule {
    condition: Condition::PseudoSignal,
    when: "in more than 20 % of the groups, and in more than half of those whose rewards differ, they differ by \
           shaping alone",
    find,
};

fn find(history: &History, _config: &GrpoConfig) -> Option<Found> {
    let shaping = history.beyond(metrics::ROLLOUT_SHAPING_ONLY_FRAC, BOUND)?;
    let differ = 1.0 - history.mean(metrics::FRAC_REWARD_ZERO_STD)?;
    if shaping <= differ / 2.0 {
        return None;
    }
    let advice = "lower the weights of the rewards beside the verifier's, `rollout.soft_overlong` \
                  included; where all completions are right or all wrong, the normalized advantage is the shaping term; with \
                  `advantage.type` \"mean_only\" such a group keeps its small scale";
    Some(Found {
        evidence: format!(
            "shaping is the only difference in {} of the groups; rewards differ in {}",
            percent(shaping),
            percent(differ)
        ),
        advice: advice.to_owned(),
        measured: vec![
            (metrics::ROLLOUT_SHAPING_ONLY_FRAC, shaping),
            (metrics::FRAC_REWARD_ZERO_STD, 1.0 - differ),
        ],
        since: None,
    })
}
