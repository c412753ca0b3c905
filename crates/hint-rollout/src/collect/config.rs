//! Configuration of collecting groups: the axes of this crate, side by side.

use serde::{Deserialize, Serialize};

use crate::collect::curriculum::{DynamicSampling, ProblemSelection, Replay};
use crate::collect::hinted::{Combine, CombineRule, HintTrigger, KeepIf, LevelSearch};
use crate::engine::{RolloutEngine, Sampling, TooLong};
use crate::error::Violations;
use crate::hint::leak::LeakGuard;
use crate::hint::source::HintSourceConfig;
use crate::sample::{ScoringConfig, VerdictPolicy};

/// Configuration of collecting groups. The use of the groups in training (baseline, ratio scheme,
/// weight) is not part of this crate.
///
/// ```
/// use hint_rollout::collect::hinted::HintTrigger;
/// use hint_rollout::{CollectorConfig, Sampling};
///
/// let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
/// let config = CollectorConfig { group_size: 16, sampling, ..CollectorConfig::default() };
/// assert_eq!(config.trigger, HintTrigger::AllWrong);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorConfig {
    /// Plain completions per problem. At least 2. (HINT reference: 8)
    pub group_size: usize,
    /// Hinted completions per attempt; `group_size` if it is not given.
    pub hinted_size: Option<usize>,
    /// Sampling of completions, plain and hinted.
    pub sampling: Sampling,
    /// When a group is hinted.
    pub trigger: HintTrigger,
    /// Source of hints. The collector itself takes a provider
    /// ([`Collector::with_hints`](crate::collect::collector::Collector::with_hints)). The program makes it by
    /// [`HintSourceConfig::build`], or takes another.
    pub source: HintSourceConfig,
    /// Treatment of hints that give the answer or values of steps away.
    pub leak_guard: LeakGuard,
    /// At which hint levels it is tried.
    pub level: LevelSearch,
    /// Condition for keeping a hinted group.
    pub keep_if: KeepIf,
    /// Way in which hinted completions join the group.
    pub combine: CombineRule,
    /// Whether a run starts although none of its problems has a hint and its trigger may fire.
    pub allow_no_hints: bool,
    /// Longest prompt in tokens, hint included, where that is less than the engine holds.
    pub max_prompt_len: Option<usize>,
    /// Treatment of a prompt, a hint or a demonstration that is longer than that.
    pub too_long: TooLong,
    /// Scoring of completions.
    pub scoring: ScoringConfig,
    /// Meaning of verdicts other than correct and incorrect.
    pub verdicts: VerdictPolicy,
    /// Whether completions that were cut off at the token limit are left out of the loss and of its
    /// denominators. Their rewards still count in the baseline. (DAPO: overlong filtering)
    pub mask_truncated: bool,
    /// The penalty for completions near the token limit, as a part of the reward. Off by default.
    pub soft_overlong: Option<SoftOverlongConfig>,
    /// End of the plain completions of a problem whose first ones agree. Off by default.
    pub early_stop: Option<EarlyStop>,
    /// Selection of the problems of a step.
    pub selection: ProblemSelection,
    /// Whether further problems are drawn in place of groups without a signal.
    pub dynamic_sampling: DynamicSampling,
    /// Whether groups of earlier steps train again.
    pub replay: Replay,
}

/// DAPO's soft penalty for overlong completions, see [`hint_reward::reward::SoftOverlong`]. It is full at
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

/// End of a plain group whose first completions are all correct, or all wrong.
///
/// It is decided once, when the first `needed` completions have ended. If they agree, they are the group. The others
/// end where they are, and all of them are thrown away, even those that had ended. Sampling waits for these verdicts. A group
/// that goes on is judged again as a whole.
///
/// The first completions are those of least number. Their verdicts alone decide what is kept, and lengths have no part in it.
/// Rates, lengths, verdicts and the record of successes are over the first ones alone, in every plain group. Rewards and the
/// baseline are over what is kept: `needed` completions of a group that ended, and `group_size` of another.
///
/// More groups are all wrong then, as a later completion may have been right. They get hints, if the trigger is
/// [`AllWrong`](HintTrigger::AllWrong). Rewards without a verdict still tell the kept completions apart.
///
/// A reward must not lock the policy that the local engine samples from: the engine waits for it. What this saves is not
/// measured yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStop {
    /// The first completions of a group. If these are all correct or all wrong, they are the group: the others end, and are
    /// thrown away. Rates, lengths, verdicts and the record of successes are over the first ones alone. A reward must not lock
    /// the policy that the engine samples from. What it saves is not measured yet. At least 2, and less than `group_size`. Needs
    /// the local engine and one process.
    pub needed: usize,
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
            trigger: HintTrigger::AllWrong,
            source: HintSourceConfig::default(),
            leak_guard: LeakGuard::default(),
            level: LevelSearch::default(),
            keep_if: KeepIf::AnyCorrect,
            combine: CombineRule::ReplaceAll,
            allow_no_hints: false,
            max_prompt_len: None,
            too_long: TooLong::default(),
            scoring: ScoringConfig::default(),
            verdicts: VerdictPolicy::default(),
            mask_truncated: false,
            soft_overlong: None,
            early_stop: None,
            selection: ProblemSelection::Epochs,
            dynamic_sampling: DynamicSampling::Off,
            replay: Replay::Off,
        }
    }
}

impl CollectorConfig {
    /// Tokens that a prompt may have; `None` if there is no bound.
    pub(crate) fn longest_prompt(&self, engine: &dyn RolloutEngine) -> Option<usize> {
        let held = engine.max_prompt_len(&self.sampling);
        held.into_iter().chain(self.max_prompt_len).min()
    }

    /// Reports every value that is out of range.
    pub fn check(&self, at: &mut Violations) {
        at.at_least("group_size", self.group_size, 2);
        at.require(self.hinted_size != Some(0), "hinted_size", "must be at least 1", 0);
        at.require(self.max_prompt_len != Some(0), "max_prompt_len", "must be at least 1", 0);
        at.within("sampling", |at| {
            self.sampling.check(at);
            let expected = "must be positive (a greedy group has no differences to learn from)";
            at.require(self.sampling.temperature != 0.0, "temperature", expected, 0);
        });
        at.within("trigger", |at| self.trigger.check(at));
        at.within("source", |at| self.source.check(at));
        at.within("level", |at| self.level.check(at));
        let teaching = self.combine.teaching();
        // Elsewhere a completion would be sampled under an answer that it is then trained to give by itself.
        let shows_answers = matches!(self.source, HintSourceConfig::PeerSuccess);
        let expected =
            "must not be \"peer_success\" unless rollout.combine.type is \"teach\" without samples";
        let only_teaches = teaching.is_some_and(|teaching| !teaching.samples);
        at.require(!shows_answers || only_teaches, "source.type", expected, "\"peer_success\"");
        let samples_twice = matches!(self.level, LevelSearch::Ladder { plain_first: true, .. });
        let expected = "must be false where rollout.combine.type is \"teach\", whose plain completions are sampled once";
        at.require(!(samples_twice && teaching.is_some()), "level.plain_first", expected, true);
        at.within("selection", |at| self.selection.check(at));
        at.within("dynamic_sampling", |at| self.dynamic_sampling.check(at));
        at.within("replay", |at| self.replay.check(at));
        if let Some(SoftOverlongConfig { share, weight }) = self.soft_overlong {
            at.within("soft_overlong", |at| {
                at.positive_share("share", share);
                at.not_negative("weight", weight);
            });
        }
        if let Some(EarlyStop { needed }) = self.early_stop {
            at.within("early_stop", |at| {
                let holds = (2..self.group_size).contains(&needed);
                let expected =
                    format!("must be at least 2 and less than group_size = {}", self.group_size);
                at.require(holds, "needed", expected, needed);
            });
        }
        at.within("scoring", |at| self.scoring.check(at));
        at.within("verdicts", |at| {
            at.share("max_dropped_frac", self.verdicts.max_dropped_frac);
            at.at_least("window", self.verdicts.window, 1);
        });
    }
}
