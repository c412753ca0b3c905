//! Rewards for the form of a completion.

use crate::error::RewardError;
use crate::extract::BoxedAnswer;
use crate::input::RewardInput;
use crate::reward::contract::Reward;

/// 1 for a completion of the form `<think>…</think><answer>…</answer>`, else 0.
///
/// Each tag occurs once, in this order, with something inside, and only white space around.
///
/// # Examples
///
/// ```
/// use hint_reward::{Reward, RewardInput, reward::ThinkAnswerFormat};
///
/// let score = |text| ThinkAnswerFormat.score(&RewardInput::new(text, ""));
/// assert_eq!(score("<think>2 + 2</think>\n<answer>4</answer>")?, 1.0);
/// assert_eq!(score("<answer>4</answer>")?, 0.0);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ThinkAnswerFormat;

impl Reward for ThinkAnswerFormat {
    fn name(&self) -> &'static str {
        "think_answer_format"
    }

    fn scores_apart(&self) -> bool {
        true
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        Ok(f64::from(u8::from(has_think_answer_form(input.completion))))
    }
}

fn has_think_answer_form(text: &str) -> bool {
    let tags = ["<think>", "</think>", "<answer>", "</answer>"];
    if tags.iter().any(|tag| text.matches(tag).count() != 1) {
        return false;
    }
    let parts =
        text.trim().strip_prefix(tags[0]).and_then(|rest| rest.split_once(tags[1])).and_then(
            |(thought, rest)| {
                let answer = rest.trim().strip_prefix(tags[2])?.strip_suffix(tags[3])?;
                Some((thought, answer))
            },
        );
    parts.is_some_and(|(thought, answer)| !thought.trim().is_empty() && !answer.trim().is_empty())
}

/// 1 for a completion with exactly one non-empty `\boxed{…}`, else 0.
///
/// # Examples
///
/// ```
/// use hint_reward::{Reward, RewardInput, reward::BoxedOnce};
///
/// let score = |text| BoxedOnce.score(&RewardInput::new(text, ""));
/// assert_eq!(score(r"so \boxed{4}")?, 1.0);
/// assert_eq!(score(r"\boxed{4} or \boxed{5}")?, 0.0);
/// # Ok::<(), hint_reward::RewardError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct BoxedOnce;

impl Reward for BoxedOnce {
    fn name(&self) -> &'static str {
        "boxed_once"
    }

    fn scores_apart(&self) -> bool {
        true
    }

    fn score(&self, input: &RewardInput<'_>) -> Result<f64, RewardError> {
        let boxes = BoxedAnswer::all(input.completion);
        let once = matches!(boxes.as_slice(), [only] if !only.content.trim().is_empty());
        Ok(f64::from(u8::from(once)))
    }
}
