//! Verdict of a verifier about a completion.

use std::fmt;

use crate::extract::{AnswerSource, Level};
use crate::input::RewardInput;
use serde::{Deserialize, Serialize};

/// The verdict of a verifier on a completion.
///
/// The first four are about the completion, the last three are failures of the judging itself. A failure is never
/// turned into "wrong": an all-wrong group asks for a hint.
///
/// # Examples
///
/// ```
/// use hint_reward::Verdict;
///
/// assert!(Verdict::NoAnswer.is_wrong());
/// assert!(Verdict::Timeout.is_failure() && !Verdict::Timeout.is_wrong());
/// assert_eq!(Verdict::ReferenceUnparseable.name(), "reference_unparseable");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// The answer equals the reference.
    Correct,
    /// There is an answer, and it differs from the reference.
    Incorrect,
    /// The completion ended without an answer.
    NoAnswer,
    /// The token limit cut the completion off before it gave an answer.
    Truncated,
    /// The reference answer itself cannot be read: no completion of this problem can be judged.
    ReferenceUnparseable,
    /// The comparison used up its budget.
    Timeout,
    /// The verifier failed in another way; [`Judgment::reason`] has the cause.
    Error,
}

impl Verdict {
    /// Every verdict, in declaration order.
    pub const ALL: [Self; 7] = [
        Self::Correct,
        Self::Incorrect,
        Self::NoAnswer,
        Self::Truncated,
        Self::ReferenceUnparseable,
        Self::Timeout,
        Self::Error,
    ];

    /// Whether the completion is right.
    pub fn is_correct(self) -> bool {
        self == Self::Correct
    }

    /// Whether the completion is wrong: [`Incorrect`](Self::Incorrect), [`NoAnswer`](Self::NoAnswer) or
    /// [`Truncated`](Self::Truncated).
    pub fn is_wrong(self) -> bool {
        matches!(self, Self::Incorrect | Self::NoAnswer | Self::Truncated)
    }

    /// Whether nothing is known about the completion.
    pub fn is_failure(self) -> bool {
        !self.is_correct() && !self.is_wrong()
    }

    /// The `snake_case` name, as in serialized form and in metric keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Incorrect => "incorrect",
            Self::NoAnswer => "no_answer",
            Self::Truncated => "truncated",
            Self::ReferenceUnparseable => "reference_unparseable",
            Self::Timeout => "timeout",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A verdict with its basis.
///
/// # Examples
///
/// ```
/// use hint_reward::{Judgment, Verdict};
///
/// let judgment = Judgment::new(Verdict::Error).with_reason("the judge did not answer");
/// assert_eq!(judgment.reason.as_deref(), Some("the judge did not answer"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgment {
    /// The verdict.
    pub verdict: Verdict,
    /// The answer as it stands in the completion.
    pub extracted: Option<String>,
    /// The rule that found the answer, where one had to look for it.
    pub source: Option<AnswerSource>,
    /// The level of the extraction that looked for it; `None` for an extraction of your own.
    pub level: Option<Level>,
    /// The reference as it was read, in the form the two were compared in.
    pub compared: Option<String>,
    /// Why, for everything but [`Verdict::Correct`].
    pub reason: Option<String>,
}

impl Judgment {
    /// The best judgment over several reference answers: correct if the answer equals one of them.
    /// It is a failure only where every comparison failed.
    ///
    /// ```
    /// use hint_reward::{Judgment, RewardInput, Verdict};
    ///
    /// let accepted = ["colour".to_owned()];
    /// let input = RewardInput::new("colour", "color").with_accepted(&accepted);
    /// let judgment = Judgment::over(&input, |reference| {
    ///     Judgment::new(if reference == "colour" { Verdict::Correct } else { Verdict::Incorrect })
    /// });
    /// assert!(judgment.verdict.is_correct());
    /// ```
    pub fn over(input: &RewardInput<'_>, mut judge: impl FnMut(&str) -> Self) -> Self {
        let rank = |judgment: &Self| match judgment.verdict {
            Verdict::Correct => 0,
            verdict if verdict.is_wrong() => 1,
            _ => 2,
        };
        let mut best = judge(input.reference);
        for reference in input.accepted {
            if best.verdict.is_correct() {
                break;
            }
            let next = judge(reference);
            if rank(&next) < rank(&best) {
                best = next;
            }
        }
        best
    }

    /// Returns the bare verdict.
    pub fn new(verdict: Verdict) -> Self {
        Self { verdict, extracted: None, source: None, level: None, compared: None, reason: None }
    }

    /// Sets the answer found in the completion.
    #[must_use]
    pub fn with_extracted(mut self, extracted: impl Into<String>) -> Self {
        self.extracted = Some(extracted.into());
        self
    }

    /// Sets the rule that found the answer.
    #[must_use]
    pub fn with_source(mut self, source: AnswerSource) -> Self {
        self.source = Some(source);
        self
    }

    /// Sets the level of the extraction.
    #[must_use]
    pub fn with_level(mut self, level: Option<Level>) -> Self {
        self.level = level;
        self
    }

    /// Sets the form of the reference that was compared.
    #[must_use]
    pub fn with_compared(mut self, compared: impl Into<String>) -> Self {
        self.compared = Some(compared.into());
        self
    }

    /// Sets the reason.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}
