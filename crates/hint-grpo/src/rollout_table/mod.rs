//! The rollout table: every completion of a step, with everything that was measured of it.
//!
//! A run writes one Parquet file per step, `rollouts/step-00000007.parquet`, one row per completion. pandas,
//! Polars and `DuckDB` read the whole folder as one table; [`read_rollouts`] reads a file back, and
//! [`write_rollouts`] writes one. Observers get
//! the same [`RolloutRecord`]s in [`Observer::on_rollouts`](crate::Observer::on_rollouts).
//!
//! Evaluations write theirs as `evaluations/step-00000007.parquet`, in the same form.

use std::collections::BTreeMap;

use hint_affinity::Affinity;
use hint_reward::extract::AnswerSource;
use hint_reward::{Level, Verdict};
use hint_rollout::engine::StopReason;
use hint_rollout::error::Violations;
use hint_rollout::sample::RolloutSource;
use serde::{Deserialize, Serialize};

mod columns;
mod file;
mod record;

pub(crate) use record::records;

pub use file::{read_rollouts, write_rollouts};
pub use record::evaluated;

/// Limits of the rollout table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutTableConfig {
    /// Steps between two that are written. 1 writes every step, 0 none.
    pub every: u64,
    /// Limit of the folder, in MiB. Beyond it every other file is removed, and from then on every other
    /// step is left out. So the table covers the whole run.
    pub max_mib: u64,
}

impl Default for RolloutTableConfig {
    fn default() -> Self {
        Self { every: 1, max_mib: 1024 }
    }
}

impl RolloutTableConfig {
    /// Whether any step is written.
    pub const fn is_on(&self) -> bool {
        self.every > 0
    }

    pub(crate) fn check(&self, at: &mut Violations) {
        at.at_least("max_mib", self.max_mib, 1);
    }
}

/// Role of a completion in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutRole {
    /// It trains.
    Trained,
    /// It counts in the baseline, and is left out of the loss.
    Masked,
    /// It is a plain completion whose place a hinted one took.
    Replaced,
    /// It is in the supervised loss alone.
    Supervised,
    /// It takes no part. Its hint did not help, or it found no place, or no other completion of its group could be
    /// judged.
    Discarded,
    /// Its group had no signal, and dynamic sampling drew another one in its place. The table holds a few of them.
    LeftOut,
    /// It could not be judged, and counts nowhere.
    Dropped,
    /// An evaluation sampled it.
    Evaluated,
}

impl RolloutRole {
    /// The `snake_case` name, as in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trained => "trained",
            Self::Masked => "masked",
            Self::Replaced => "replaced",
            Self::Supervised => "supervised",
            Self::Discarded => "discarded",
            Self::LeftOut => "left_out",
            Self::Dropped => "dropped",
            Self::Evaluated => "evaluated",
        }
    }
}

/// One completion: a row of the table. Fields have the names of its columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RolloutRecord {
    /// The step, from 1; of an evaluation, the step that it follows.
    pub step: u64,
    /// Index of the group within the step.
    pub group: usize,
    /// Index of the completion within the group: first the trained ones, then the replaced, the
    /// supervised, the discarded, and the dropped ones.
    pub completion: usize,
    /// Id of the problem.
    pub problem: String,
    /// The problem's question; `None` if a replayed group's problem is no longer among the problems.
    pub question: Option<String>,
    /// The problem's reference answer.
    pub reference: Option<String>,
    /// The problem's difficulty level, if the data set has one.
    pub problem_level: Option<String>,
    /// The part that it has in its group.
    pub role: RolloutRole,
    /// Source of the completion.
    pub source: RolloutSource,
    /// The hint that it was sampled under.
    pub hint: Option<String>,
    /// Share of the source's hint that it got, in `[0, 1]`.
    pub hint_share: Option<f64>,
    /// Whether the leak guard found the answer in its hint, or in the hint that teaches it. `None` without a hint.
    pub hint_leaks: Option<bool>,
    /// The hint that teaches it: it was not sampled under this hint, and is scored under it.
    pub teacher_hint: Option<String>,
    /// The hint that the teacher's is compared with; `None` where that is the plain prompt.
    pub contrast_hint: Option<String>,
    /// Its text, with the prefix that it continues.
    pub text: String,
    /// The plain prompt. Token ids.
    pub prompt: Vec<u32>,
    /// The prompt that it was sampled from, if that differs. Token ids.
    pub sampled_prompt: Option<Vec<u32>>,
    /// The prompt with the hint that teaches it. Token ids.
    pub teacher_prompt: Option<Vec<u32>>,
    /// Its tokens. Token ids.
    pub tokens: Vec<u32>,
    /// Positions of the tokens that the policy did not write, from 0; `None` if it wrote all of them. They neither train
    /// nor count in Affinity.
    pub untrained_tokens: Option<Vec<u32>>,
    /// Why it ended.
    pub stop: StopReason,
    /// Optimizer steps behind the weights that sampled it.
    pub version: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// The answer that the verifier found in it.
    pub extracted: Option<String>,
    /// The rule that found the answer.
    pub extracted_by: Option<AnswerSource>,
    /// The level of the verifier; `None` for one without levels.
    pub level: Option<Level>,
    /// Why it is not correct.
    pub reason: Option<String>,
    /// The reward: the weighted sum of the parts.
    pub reward: f64,
    /// The unweighted parts of the reward, by name.
    pub reward_parts: BTreeMap<String, f64>,
    /// The advantage; `None` for a completion that has none, as only members of the group do.
    pub advantage: Option<f64>,
    /// `log μ(y_t | sampling prompt, y_<t)` of each token, in nats: the distribution that drew it.
    pub behavior_logprobs: Vec<f32>,
    /// `log π_θ(y_t | numerator's prompt, y_<t)` at the first optimizer step, in nats; `None` if the
    /// completion had no gradient then.
    pub logprobs: Option<Vec<f32>>,
    /// The denominator of the ratio at that optimizer step, in nats.
    pub old_logprobs: Option<Vec<f32>>,
    /// `log π_old(y_t | plain prompt, y_<t)` in nats, where the update scored it besides the ratio. That is
    /// so for hinted completions whose numerator has another prompt, or whose weight needs it.
    pub plain_logprobs: Option<Vec<f32>>,
    /// `log π_ref(y_t | numerator's prompt, y_<t)` in nats, with a KL term.
    pub ref_logprobs: Option<Vec<f32>>,
    /// `log π_T(y_t | teacher's prompt, y_<t)` in nats, of the policy that teaches; `None` where no hint teaches it, or
    /// without a gradient.
    pub teacher_logprobs: Option<Vec<f32>>,
    /// Counterpart of the teacher's, in nats: on the contrast's prompt, or of the policy itself. `None` where that is
    /// `old_logprobs`.
    pub contrast_logprobs: Option<Vec<f32>>,
    /// Affinity of its group: of the ratio that trains, in the last optimizer step.
    pub affinity: Option<Affinity>,
    /// Affinity of its group: of the policy on the plain prompt against the distribution that drew the
    /// tokens.
    pub behavior_affinity: Option<Affinity>,
    /// Factor of the loss of its group's hinted completions.
    pub hinted_weight: Option<f64>,
}
