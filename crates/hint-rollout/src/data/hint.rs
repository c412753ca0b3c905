//! A hint: its text, its kind, and its level.

use serde::{Deserialize, Serialize};

/// A hint for one problem. A Meta-Hint reveals neither intermediate values nor the answer.
///
/// ```
/// use hint_rollout::Hint;
/// use hint_rollout::data::{AllowedLeak, HintKind};
///
/// let hint = Hint::new("Find the total first.");
/// assert_eq!((hint.kind, hint.allowed_leak), (HintKind::Guidance, AllowedLeak::Nothing));
/// assert_eq!(Hint::prefix("3 * 12 = 36.").allowed_leak, AllowedLeak::Steps);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hint {
    /// The text. The kind decides its place.
    pub text: String,
    /// Kind of the text.
    pub kind: HintKind,
    /// Content that it may reveal by design, which the [leak guard](crate::hint::leak::LeakGuard)
    /// lets pass.
    #[serde(default)]
    pub allowed_leak: AllowedLeak,
}

impl Hint {
    /// Guidance that joins the question and reveals nothing.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: HintKind::Guidance, allowed_leak: AllowedLeak::Nothing }
    }

    /// The beginning of a solution, which the completion continues. It reveals steps.
    pub fn prefix(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: HintKind::Prefix, allowed_leak: AllowedLeak::Steps }
    }

    /// A whole completion, which takes part in the group unchanged. It reveals the answer.
    pub fn demonstration(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: HintKind::Demonstration, allowed_leak: AllowedLeak::Answer }
    }

    /// Sets the content that it reveals by design.
    #[must_use]
    pub const fn allowing(mut self, allowed_leak: AllowedLeak) -> Self {
        self.allowed_leak = allowed_leak;
        self
    }
}

/// Content that a hint reveals by design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllowedLeak {
    /// Neither values of steps nor the answer: a Meta-Hint.
    #[default]
    Nothing,
    /// Steps of the solution, but not the answer.
    Steps,
    /// Everything.
    Answer,
}

/// Kind of a [`Hint`]'s text, and so its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HintKind {
    /// Joins the question in the prompt, by the format's [`HintTemplate`](crate::prompt::HintTemplate).
    Guidance,
    /// The beginning of a solution. It stands after the plain prompt, where the policy's own text
    /// begins, and the completion continues it.
    Prefix,
    /// A whole completion of the plain prompt. Nothing is sampled.
    Demonstration,
}

/// Share of its hint that a provider is asked for, in `[0, 1]`; 1 for all of it.
///
/// A provider of `n` distinct levels gives number [`HintLevel::of`]`(n)`; one that can give any share
/// (such as a solution prefix) gives [`HintLevel::share`].
///
/// ```
/// use hint_rollout::data::HintLevel;
///
/// let half = HintLevel::new(0.5);
/// assert_eq!(half.of(4), 2, "the second of four levels");
/// assert_eq!(HintLevel::number(4, 4), HintLevel::FULL);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct HintLevel(f64);

impl HintLevel {
    /// The whole hint.
    pub const FULL: Self = Self(1.0);

    /// A share of the hint; values outside `[0, 1]` (or not a number) become the nearest bound (or
    /// 0).
    pub const fn new(share: f64) -> Self {
        if share.is_nan() { Self(0.0) } else { Self(share.clamp(0.0, 1.0)) }
    }

    /// Level `number` of `count`, from 1; 0 is no hint.
    pub fn number(number: usize, count: usize) -> Self {
        Self::new(number as f64 / count.max(1) as f64)
    }

    /// The share, in `[0, 1]`.
    pub const fn share(self) -> f64 {
        self.0
    }

    /// The level's number out of `count`: the smallest whose share is at least this one. From 1 to
    /// `count`; 0 for no hint at all.
    pub fn of(self, count: usize) -> usize {
        // `number / count * count` may come out a rounding error above `number`.
        let exact = self.0 * count as f64 - 1e-9;
        (0..=count).find(|&number| number as f64 >= exact).unwrap_or(count)
    }
}
