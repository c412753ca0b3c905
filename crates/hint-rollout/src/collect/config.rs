//! How groups are collected: the axes of this crate, side by side.

use serde::{Deserialize, Serialize};

use crate::collect::curriculum::{DynamicSampling, ProblemSelection, Replay};
use crate::collect::hinted::{CombineRule, HintTrigger, KeepIf, LevelSearch};
use crate::engine::Sampling;
use crate::hint::leak::LeakGuard;
use crate::hint::source::HintSourceConfig;
use crate::sample::VerdictPolicy;

/// How groups are collected. What happens to the groups that train (baseline, ratio scheme, weight) is
/// not this crate's business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorConfig {
    /// Plain completions per problem. At least 2. (HINT reference: 8)
    pub group_size: usize,
    /// Hinted completions per attempt; `group_size` if it is not given.
    pub hinted_size: Option<usize>,
    /// How completions are sampled, plain and hinted.
    pub sampling: Sampling,
    /// When a group is hinted.
    pub trigger: HintTrigger,
    /// Where hints come from. The collector itself takes a provider
    /// ([`Collector::with_hints`](crate::collect::collector::Collector::with_hints)); the program makes it by
    /// [`HintSourceConfig::build`], or takes another.
    pub source: HintSourceConfig,
    /// What becomes of hints that give the answer or values of steps away.
    pub leak_guard: LeakGuard,
    /// At which hint levels it is tried.
    pub level: LevelSearch,
    /// Which hinted groups count.
    pub keep_if: KeepIf,
    /// How hinted completions join the group.
    pub combine: CombineRule,
    /// What verdicts other than correct and incorrect mean.
    pub verdicts: VerdictPolicy,
    /// Whether completions that were cut off at the token limit are left out of the loss and of its
    /// denominators. Their rewards still count in the baseline. (DAPO: overlong filtering)
    pub mask_truncated: bool,
    /// The penalty for completions near the token limit, as a part of the reward. Off by default.
    pub soft_overlong: Option<SoftOverlongConfig>,
    /// Which problems a step takes.
    pub selection: ProblemSelection,
    /// Whether further problems are drawn in place of groups without a signal.
    pub dynamic_sampling: DynamicSampling,
    /// Whether groups of earlier steps train again.
    pub replay: Replay,
}

/// DAPO's soft penalty for overlong completions, see [`hint_reward::SoftOverlong`]. It is full at
/// `sampling.max_completion_len`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftOverlongConfig {
    /// Share of the limit over which the penalty grows from 0 to −1. In `(0, 1]`. (DAPO: 4096 of 20480)
    pub share: f64,
    /// Weight of the penalty in the reward. (DAPO: 1)
    #[serde(default = "one")]
    pub weight: f64,
}

impl SoftOverlongConfig {
    /// Tokens before `limit` at which the penalty starts; at least 1.
    pub(crate) fn buffer(self, limit: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most limit"
        )]
        let buffer = (self.share * limit as f64).round() as usize;
        buffer.clamp(1, limit)
    }
}

const fn one() -> f64 {
    1.0
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            group_size: 8,
            hinted_size: None,
            sampling: Sampling::default(),
            trigger: HintTrigger::AllWrong {},
            source: HintSourceConfig::default(),
            leak_guard: LeakGuard::default(),
            level: LevelSearch::default(),
            keep_if: KeepIf::AnyCorrect {},
            combine: CombineRule::ReplaceAll {},
            verdicts: VerdictPolicy::default(),
            mask_truncated: false,
            soft_overlong: None,
            selection: ProblemSelection::Epochs {},
            dynamic_sampling: DynamicSampling::Off {},
            replay: Replay::Off {},
        }
    }
}

impl CollectorConfig {
    /// Whether groups that are hinted need no plain completions: the trigger does not look at them,
    /// and the rule of combination would put them aside. They are not sampled then.
    pub fn skips_plain(&self) -> bool {
        !self.trigger.looks_at_outcome() && !self.combine.keeps_plain()
    }

    /// Every violated constraint, as `(field, what it must satisfy, its value)`.
    pub fn violations(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut found = Vec::new();
        let mut check = |field, holds: bool, expected, value: String| {
            if !holds {
                found.push((field, expected, value));
            }
        };
        let size = self.group_size;
        check("group_size", size >= 2, "must be at least 2", size.to_string());
        let size = self.hinted_size;
        check("hinted_size", size != Some(0), "must be at least 1", format!("{size:?}"));
        check_sampling(&self.sampling, &mut check);
        self.trigger.check(&mut check);
        self.source.check(&mut check);
        self.level.check(&mut check);
        self.selection.check(&mut check);
        self.dynamic_sampling.check(&mut check);
        self.replay.check(&mut check);
        if let Some(SoftOverlongConfig { share, weight }) = self.soft_overlong {
            let holds = share > 0.0 && share <= 1.0;
            check("soft_overlong.share", holds, "must be in (0, 1]", share.to_string());
            let holds = weight >= 0.0 && weight.is_finite();
            check("soft_overlong.weight", holds, "must not be negative", weight.to_string());
        }
        let frac = self.verdicts.max_dropped_frac;
        let holds = (0.0..=1.0).contains(&frac);
        check("verdicts.max_dropped_frac", holds, "must be in [0, 1]", frac.to_string());
        found
    }
}

fn check_sampling(
    sampling: &Sampling,
    check: &mut dyn FnMut(&'static str, bool, &'static str, String),
) {
    let Sampling { temperature, top_k, top_p, min_p, max_completion_len } = sampling;
    check(
        "sampling.temperature",
        *temperature > 0.0 && temperature.is_finite(),
        "must be positive (a greedy group has no differences to learn from)",
        temperature.to_string(),
    );
    check("sampling.top_k", *top_k != Some(0), "must be at least 1", format!("{top_k:?}"));
    let holds = *top_p > 0.0 && *top_p <= 1.0;
    check("sampling.top_p", holds, "must be in (0, 1]", top_p.to_string());
    let holds = (0.0..1.0).contains(min_p);
    check("sampling.min_p", holds, "must be in [0, 1)", min_p.to_string());
    let holds = *max_completion_len >= 1;
    let value = max_completion_len.to_string();
    check("sampling.max_completion_len", holds, "must be at least 1", value);
}
