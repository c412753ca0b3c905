//! Groups of scored rollouts.

use std::sync::Arc;

use hint_reward::Score;
use serde::{Deserialize, Serialize};

use crate::data::{Hint, HintKind, HintLevel};
use crate::engine::Completion;

/// Source of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutSource {
    /// The plain prompt.
    Plain,
    /// The prompt with guidance.
    Hinted,
    /// The plain prompt and the beginning of a solution.
    Prefix,
    /// Not sampled: it is a demonstration.
    Demonstration,
}

impl RolloutSource {
    /// Every source, in declaration order.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Hinted, Self::Prefix, Self::Demonstration];

    /// The `snake_case` name, as in serialized form and in metric keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Hinted => "hinted",
            Self::Prefix => "prefix",
            Self::Demonstration => "demonstration",
        }
    }
}

impl From<HintKind> for RolloutSource {
    fn from(kind: HintKind) -> Self {
        match kind {
            HintKind::Guidance => Self::Hinted,
            HintKind::Prefix => Self::Prefix,
            HintKind::Demonstration => Self::Demonstration,
        }
    }
}

/// The hint that a rollout was sampled under.
///
/// ```
/// use hint_rollout::Hint;
/// use hint_rollout::data::HintLevel;
/// use hint_rollout::sample::AppliedHint;
///
/// // The prompt ends in two tokens of a solution.
/// let hint = AppliedHint::new(Hint::prefix("3 * 12"), HintLevel::new(0.5), vec![1, 2, 8, 9], 2);
/// assert_eq!((hint.share, hint.prefix_len), (0.5, 2));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AppliedHint {
    /// The hint.
    pub hint: Hint,
    /// Share of the source’s hint that it got, in `[0, 1]`.
    pub share: f64,
    /// The hinted prompt, as sampled. It is `x⊕h` for guidance, the plain prompt followed by the
    /// prefix for a prefix, and the plain prompt for a demonstration. Token ids.
    pub prompt: Vec<u32>,
    /// Number of tokens at the end of `prompt` that are a solution's prefix; 0 for other kinds.
    pub prefix_len: usize,
    /// Whether the leak guard found the answer in it and kept it.
    #[serde(default)]
    pub leaks_answer: bool,
}

impl AppliedHint {
    /// A hint and the prompt it made.
    pub const fn new(hint: Hint, level: HintLevel, prompt: Vec<u32>, prefix_len: usize) -> Self {
        Self { hint, share: level.share(), prompt, prefix_len, leaks_answer: false }
    }
}

/// A completion with its score and its source.
///
/// ```
/// use hint_reward::{ExactMatch, RewardInput, Rubric};
/// use hint_rollout::{Completion, PolicyVersion, Rollout, StopReason};
///
/// let text = r"\boxed{4}";
/// let score = Rubric::new(ExactMatch::new()).score_group(&[RewardInput::new(text, "4")])?.remove(0);
/// let stop = StopReason::Length;
/// let completion = Completion::new(vec![7, 8], vec![-0.1, -0.4], stop, PolicyVersion(0));
/// let rollout = Rollout::new(completion, text.to_owned(), score);
/// assert!(rollout.is_correct() && !rollout.is_hinted());
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rollout {
    /// The completion. A demonstration's tokens have a log-probability of 0: the distribution that
    /// drew them draws nothing else.
    pub completion: Completion,
    /// Its text, with the prefix that it continues.
    pub text: String,
    /// Its score.
    pub score: Score,
    /// The hint that it was sampled under; `None` for a plain rollout.
    pub hint: Option<Arc<AppliedHint>>,
    /// Whether it is left out of the loss and of its denominators. It still counts in the baseline.
    pub is_masked: bool,
}

impl Rollout {
    /// A scored plain completion.
    pub const fn new(completion: Completion, text: String, score: Score) -> Self {
        Self { completion, text, score, hint: None, is_masked: false }
    }

    /// Sets the hint that it was sampled under.
    #[must_use]
    pub fn with_hint(mut self, hint: Arc<AppliedHint>) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Its source.
    pub fn source(&self) -> RolloutSource {
        self.hint.as_ref().map_or(RolloutSource::Plain, |applied| applied.hint.kind.into())
    }

    /// Whether it was sampled under a hint.
    pub const fn is_hinted(&self) -> bool {
        self.hint.is_some()
    }

    /// Whether it was judged correct.
    pub fn is_correct(&self) -> bool {
        self.score.verdict.is_correct()
    }
}

/// All rollouts of one problem that train together. Plain and hinted ones may be mixed.
///
/// ```
/// use hint_rollout::{Rollout, RolloutGroup};
///
/// # fn example(right: Rollout, wrong: Rollout) {
/// let group = RolloutGroup::plain("p1", vec![1, 2], vec![right, wrong]);
/// assert_eq!(group.num_correct(), 1);
/// assert!(group.has_signal() && !group.is_hinted());
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RolloutGroup {
    /// Id of the problem.
    pub problem_id: String,
    /// The plain prompt `x`. Token ids.
    pub prompt: Vec<u32>,
    /// The rollouts.
    pub rollouts: Vec<Rollout>,
    /// The plain rollouts whose place hinted ones took.
    pub replaced: Vec<Rollout>,
    /// Correct hinted rollouts for the supervised term. They are no members of the group.
    pub supervised: Vec<Rollout>,
    /// Hinted rollouts that take no part: their attempts did not help, or they found no place. They are there to
    /// be looked at, and the replay buffer forgets them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discarded: Vec<Rollout>,
    /// Rollouts that could not be judged, plain and hinted. They count nowhere in the group, are there to be looked at,
    /// and the replay buffer forgets them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Rollout>,
    /// The hinted prompts that its plain rollouts are scored under, if a hint teaches them.
    #[serde(default)]
    pub teacher: Option<TeacherPrompts>,
}

/// The prompts of a hint that teaches a group's plain rollouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TeacherPrompts {
    /// The hint that teaches.
    pub hint: Arc<AppliedHint>,
    /// The hint that it is compared with; `None` where that is the plain prompt.
    pub contrast: Option<Arc<AppliedHint>>,
    /// By plain rollout, whether it is taught. A hinted rollout never is.
    pub is_taught: Vec<bool>,
}

impl RolloutGroup {
    /// A group sampled on the plain prompt.
    pub fn plain(problem_id: impl Into<String>, prompt: Vec<u32>, rollouts: Vec<Rollout>) -> Self {
        Self {
            problem_id: problem_id.into(),
            prompt,
            rollouts,
            replaced: Vec::new(),
            supervised: Vec::new(),
            discarded: Vec::new(),
            dropped: Vec::new(),
            teacher: None,
        }
    }

    /// Adds to the discarded rollouts the rollouts of `hinted` that take no part in the group.
    pub(crate) fn discard_others(&mut self, mut hinted: Vec<Rollout>) {
        for member in self.rollouts.iter().chain(&self.supervised).filter(|one| one.is_hinted()) {
            let place = hinted.iter().position(|one| one.completion == member.completion);
            place.map(|place| hinted.remove(place));
        }
        self.discarded.extend(hinted);
    }

    /// Number of rollouts judged correct.
    pub fn num_correct(&self) -> usize {
        count_correct(&self.rollouts)
    }

    /// Whether any of its rollouts was sampled under a hint.
    pub fn is_hinted(&self) -> bool {
        self.rollouts.iter().any(Rollout::is_hinted)
    }

    /// The prompts that teach the rollout at `place`; `None` where no hint does.
    pub fn teacher_of(&self, place: usize) -> Option<&TeacherPrompts> {
        let is_plain = self.rollouts.get(place).is_some_and(|rollout| !rollout.is_hinted());
        let teacher = self.teacher.as_ref().filter(|_| is_plain);
        teacher.filter(|teacher| teacher.is_taught.get(place) == Some(&true))
    }

    /// The hint of its hinted rollouts: the first one's.
    pub fn hint(&self) -> Option<&AppliedHint> {
        self.rollouts.iter().find_map(|rollout| rollout.hint.as_deref())
    }

    /// The rewards, in rollout order.
    pub fn rewards(&self) -> Vec<f64> {
        self.rollouts.iter().map(|rollout| rollout.score.value).collect()
    }

    /// Whether its rewards differ, so that a group baseline has a signal.
    pub fn has_signal(&self) -> bool {
        let first = self.rollouts.first().map(|rollout| rollout.score.value);
        self.rollouts.iter().any(|rollout| Some(rollout.score.value) != first)
    }
}

pub(crate) fn count_correct(rollouts: &[Rollout]) -> usize {
    rollouts.iter().filter(|rollout| rollout.is_correct()).count()
}
