//! Equality of numbers and of normalized strings: the simplest verifier.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;

use crate::extract::extraction::behind_thinking;
use crate::extract::{AnswerSource, extract_boxed};
use crate::input::RewardInput;
use crate::math::compare::text::bare;
use crate::verifier::contract::Verifier;
use crate::verifier::extracted::{compared, no_answer, unusable};
use crate::verifier::verdict::Judgment;

/// Digits beyond which a number is compared as a string: conversion costs the square of the length.
const MAX_DIGITS: usize = 2000;

/// A verifier by exact numeric equality, else by equality of normalized strings.
///
/// It reads the last balanced `\boxed{…}`, or the whole completion with [`ExactMatch::whole_text`]. Integers,
/// decimals, fractions (`3/4`, `\frac{3}{4}`) and thousands separators are compared as exact rationals. Everything
/// else is compared without white space (except between digits), dollar signs, `\left`, `\right`, `\text` wrappers
/// and a final full stop. Thinking is ignored. For anything mathematical use
/// [`MathVerifier`](crate::verifier::math::MathVerifier).
///
/// A truncated completion is judged by the answer it gave; [`Verdict::Truncated`](crate::Verdict::Truncated) means it gave none.
///
/// # Examples
///
/// ```
/// use hint_reward::{ExactMatch, RewardInput, Verdict, Verifier};
///
/// let verifier = ExactMatch::new();
/// assert_eq!(verifier.verify(&RewardInput::new(r"\boxed{0.50}", "1/2")).verdict, Verdict::Correct);
/// assert_eq!(verifier.verify(&RewardInput::new(r"\boxed{2}", "1/2")).verdict, Verdict::Incorrect);
/// assert_eq!(verifier.verify(&RewardInput::new("1/2", "1/2")).verdict, Verdict::NoAnswer);
/// let cut = RewardInput::new("so we", "1/2").with_truncated(true);
/// assert_eq!(verifier.verify(&cut).verdict, Verdict::Truncated);
/// assert!(ExactMatch::whole_text().verify(&RewardInput::new(" .5 ", "1/2")).verdict.is_correct());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ExactMatch {
    whole_text: bool,
}

impl ExactMatch {
    /// Returns the verifier that reads the last box.
    pub fn new() -> Self {
        Self { whole_text: false }
    }

    /// Returns the verifier that reads the whole completion.
    pub fn whole_text() -> Self {
        Self { whole_text: true }
    }
}

impl Default for ExactMatch {
    fn default() -> Self {
        Self::new()
    }
}

impl Verifier for ExactMatch {
    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        let completion = behind_thinking(input.completion, false);
        let (answer, source) = if self.whole_text {
            (Some(completion.trim()), AnswerSource::WholeText)
        } else {
            (extract_boxed(completion), AnswerSource::Boxed)
        };
        let answer = answer.filter(|answer| !answer.is_empty());
        let judgment = Judgment::over(input, |reference| {
            let reference = normalize(extract_boxed(reference).unwrap_or(reference));
            if reference.is_empty() {
                return unusable("the reference answer is empty");
            }
            let Some(answer) = answer else {
                return no_answer(input, "no answer was found").with_compared(reference);
            };
            let equal = equal(&normalize(answer), &reference);
            compared(equal, answer, &reference, "the answer differs from the reference")
        });
        if answer.is_some() { judgment.with_source(source) } else { judgment }
    }

    fn same_answer(&self, left: &str, right: &str) -> bool {
        equal(&normalize(left), &normalize(right))
    }
}

/// Whether two normalized texts are the same number, or the same text where one is no number.
fn equal(left: &str, right: &str) -> bool {
    match (number(left), number(right)) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

/// The text without decoration that leaves its meaning unchanged.
fn normalize(text: &str) -> String {
    let mut text = bare(text).replace("{,}", ",");
    for wrapper in ["\\text{", "\\mathrm{", "\\textbf{", "\\mathbf{"] {
        if let Some(inner) = text.strip_prefix(wrapper).and_then(|rest| rest.strip_suffix('}'))
            && !inner.contains(['{', '}'])
        {
            text = inner.to_string();
        }
    }
    text
}

/// The exact value of an integer, a decimal or a fraction of two integers.
fn number(text: &str) -> Option<BigRational> {
    if text.len() > MAX_DIGITS {
        return None;
    }
    let (negative, unsigned) = match text.strip_prefix(['-', '−']) {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let fraction = unsigned
        .strip_prefix("\\frac{")
        .and_then(|rest| rest.strip_suffix('}'))
        .and_then(|rest| rest.split_once("}{"))
        .or_else(|| unsigned.split_once('/'));
    let value = match fraction {
        Some((numerator, denominator)) => {
            let denominator = decimal(denominator)?;
            if denominator.is_zero() {
                return None;
            }
            decimal(numerator)? / denominator
        }
        None => decimal(unsigned)?,
    };
    Some(if negative { -value } else { value })
}

/// The exact value of an unsigned decimal with optional thousands separators.
fn decimal(text: &str) -> Option<BigRational> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = without_separators(whole)?;
    if (whole.is_empty() && fraction.is_empty())
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let digits = BigInt::parse_bytes(format!("0{whole}{fraction}").as_bytes(), 10)?;
    let scale = BigInt::from(10).pow(u32::try_from(fraction.len()).ok()?);
    Some(BigRational::new(digits, scale))
}

/// The digits without commas, if the commas separate groups of three.
fn without_separators(whole: &str) -> Option<String> {
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || (whole.contains(',') && !(1..=3).contains(&first.len())) {
        return None;
    }
    let mut joined = first.to_owned();
    for group in groups {
        if group.len() != 3 || !digits(group) {
            return None;
        }
        joined.push_str(group);
    }
    Some(joined)
}
