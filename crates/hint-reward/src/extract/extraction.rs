//! Finding the answer in a completion.

use serde::{Deserialize, Serialize};

use crate::extract::boxed::BoxedAnswer;
use crate::extract::last_value::{MAX_WORDS, last_math, last_number};
use crate::extract::separator::{is_separator, name_before};
use crate::input::RewardInput;
use crate::math::answer::{Readable, is_readable};
use crate::math::fuel::{Fuel, Stop};

/// Bytes at the end of a text that are searched for anything but boxes.
const MAX_TAIL: usize = 16_384;

/// A place where the answer may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AnswerSource {
    /// The last balanced `\boxed{…}` or `\fbox{…}`, with those before it that form a list with it.
    Boxed,
    /// The last `<answer>…</answer>`.
    AnswerTag,
    /// What follows the last `####` on its line.
    Hashes,
    /// What follows the last "answer is" or "answer:".
    Phrase,
    /// The whole text, if it reads as an answer.
    WholeText,
    /// The answer of a short sentence or in front of a remark: `12 (i.e., all of them)`, `1/2, or equivalently 0.5`,
    /// `0 is the only possible value`, `The limit is 3`.
    ShortSentence,
    /// The last formula between dollar signs or their kin.
    LastMath,
    /// The last number.
    LastNumber,
}

/// Where the answer is looked for, in this order.
///
/// Everything inside `<think>…</think>` is ignored when there is text behind it.
///
/// # Examples
///
/// ```
/// use hint_reward::{AnswerSource, Extraction};
///
/// let extraction = Extraction::default();
/// assert_eq!(extraction.extract("I get 3, so the answer is 4.").as_deref(), Some("4"));
/// assert_eq!(extraction.extract(r"<think>\boxed{3}</think> It is \boxed{4}").as_deref(), Some("4"));
/// assert_eq!(extraction.extract(r"\boxed{1} and \boxed{2}").as_deref(), Some("1, 2"));
/// assert_eq!(Extraction::boxed_only().extract("the answer is 4"), None);
/// let custom = Extraction { sources: vec![AnswerSource::Hashes] };
/// assert_eq!(custom.extract("2 + 2 = 4\n#### 4").as_deref(), Some("4"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extraction {
    /// The places, in the order they are tried.
    pub sources: Vec<AnswerSource>,
}

impl Default for Extraction {
    /// Every source, the most explicit first.
    fn default() -> Self {
        use AnswerSource::{
            AnswerTag, Boxed, Hashes, LastMath, LastNumber, Phrase, ShortSentence, WholeText,
        };
        Self {
            sources: vec![
                Boxed,
                AnswerTag,
                Hashes,
                Phrase,
                WholeText,
                ShortSentence,
                LastMath,
                LastNumber,
            ],
        }
    }
}

impl Extraction {
    /// The strict mode: only boxed answers count.
    pub fn boxed_only() -> Self {
        Self { sources: vec![AnswerSource::Boxed] }
    }

    /// How references are read: as a whole where possible, and never down to the last number of a sentence.
    pub(crate) fn reference() -> Self {
        use AnswerSource::{AnswerTag, Boxed, Hashes, LastMath, Phrase, ShortSentence, WholeText};
        Self { sources: vec![Boxed, AnswerTag, Hashes, WholeText, Phrase, ShortSentence, LastMath] }
    }

    /// The answer of a completion, if one of the sources has one.
    pub fn extract(&self, completion: &str) -> Option<String> {
        self.find(completion, &mut Fuel::new(crate::math::fuel::DEFAULT_FUEL)).ok().flatten()
    }

    /// The answer of the completion of an input. What a truncated completion says last is no answer, as it may be a
    /// part of one: only what is complete in itself counts, a closed box or tag, or an announced answer with text
    /// behind its sentence.
    pub(crate) fn find_in(
        &self,
        input: &RewardInput<'_>,
        fuel: &mut Fuel,
    ) -> Result<Option<String>, Stop> {
        if !input.truncated {
            return self.find(input.completion, fuel);
        }
        let text = input.completion;
        let sentences =
            text.rfind('\n').max(text.rfind(". ").map(|at| at + 1)).map_or("", |end| &text[..end]);
        for source in &self.sources {
            let explicit = match source {
                AnswerSource::Boxed => text,
                AnswerSource::AnswerTag if text.contains("</answer>") => text,
                AnswerSource::Hashes | AnswerSource::Phrase => sentences,
                _ => continue,
            };
            let found = Self { sources: vec![*source] }.find(explicit, fuel)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// As [`Extraction::extract`], on a budget.
    pub(crate) fn find(&self, completion: &str, fuel: &mut Fuel) -> Result<Option<String>, Stop> {
        fuel.spend(completion.len() as u64 / 4)?;
        let text = behind_thinking(completion);
        for source in &self.sources {
            let found = match source {
                AnswerSource::Boxed => boxed(text),
                AnswerSource::AnswerTag => answer_tag(text, fuel)?,
                AnswerSource::Hashes => hashes(text),
                AnswerSource::Phrase => phrase(tail(text), fuel)?,
                AnswerSource::WholeText => whole_text(text, fuel)?,
                AnswerSource::ShortSentence => short_sentence(text, fuel)?,
                AnswerSource::LastMath => last_math(tail(text), fuel)?,
                AnswerSource::LastNumber => {
                    last_number(tail(text)).map(|(number, _)| number.to_owned())
                }
            };
            if let Some(found) = found.filter(|found| !found.trim().is_empty()) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The text behind the last `</think>`, if there is any.
fn behind_thinking(text: &str) -> &str {
    match text.rfind("</think>") {
        Some(at) if !text[at + 8..].trim().is_empty() => &text[at + 8..],
        _ => text,
    }
}

/// The end of a text, cut at a character boundary.
fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(MAX_TAIL);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

fn boxed(text: &str) -> Option<String> {
    let boxes = BoxedAnswer::all(text);
    let last = boxes.last()?;
    let mut joined = vec![last];
    for earlier in boxes.iter().rev().skip(1) {
        if !is_separator(&text[earlier.span.end..joined[joined.len() - 1].span.start]) {
            break;
        }
        joined.push(earlier);
    }
    joined.reverse();
    if let [only] = joined.as_slice() {
        return Some(only.content.trim().to_owned());
    }
    // Names in front of the boxes of a list tell its items apart, if each box has one.
    let names: Option<Vec<&str>> =
        joined.iter().map(|answer| name_before(&text[..answer.span.start])).collect();
    let items = joined.iter().enumerate().map(|(index, answer)| match &names {
        Some(names) => format!("{} = {}", names[index], answer.content.trim()),
        None => answer.content.trim().to_owned(),
    });
    Some(items.collect::<Vec<_>>().join(", "))
}

fn answer_tag(text: &str, fuel: &mut Fuel) -> Result<Option<String>, Stop> {
    let Some(start) = text.rfind("<answer>").map(|at| at + 8) else { return Ok(None) };
    let end = text[start..].find("</answer>").map_or(text.len(), |at| start + at);
    let content = text[start..end].trim();
    if let Some(found) = boxed(content) {
        return Ok(Some(found));
    }
    if is_readable(content, MAX_WORDS, fuel)? == Readable::No
        && let Some(found) = phrase(tail(content), fuel)?
    {
        return Ok(Some(found));
    }
    Ok(Some(content.to_owned()))
}

fn hashes(text: &str) -> Option<String> {
    let start = text.rfind("####")? + 4;
    let line = text[start..].lines().next()?.trim();
    Some(line.to_owned())
}

/// What stands behind the last phrase that announces an answer.
fn phrase(text: &str, fuel: &mut Fuel) -> Result<Option<String>, Stop> {
    const PHRASES: [&str; 8] = [
        "answer is",
        "answer:",
        "answer are",
        "answer =",
        "answers are",
        "answer**:",
        "option is",
        "choice is",
    ];
    fuel.spend(text.len() as u64)?;
    // ASCII lower case keeps every byte position.
    let lowered = text.to_ascii_lowercase();
    let Some(start) =
        PHRASES.iter().filter_map(|phrase| lowered.rfind(phrase).map(|at| at + phrase.len())).max()
    else {
        return Ok(option_named(text, &lowered));
    };
    let behind = text[start..].trim_start_matches([':', ' ', '*', '\n', '\t']);
    // A formula may run over several lines; anything else ends with its line.
    let is_formula = ["$$", "\\[", "\\begin"].iter().any(|open| behind.starts_with(open));
    let line = if is_formula { behind } else { behind.lines().next().unwrap_or_default() };
    let line = line.trim().trim_end_matches(['*', ' ']);
    // "The answer is not 12" announces no answer, and the 12 in it is none.
    if line.starts_with("not ") || is_readable(line, MAX_WORDS, fuel)? != Readable::No {
        return Ok(Some(without_full_stop(line).to_owned()));
    }
    // The sentence goes on behind its answer: "The answer is 12, because …".
    for (at, _) in line.match_indices([',', '.', ';']) {
        let head = &line[..at];
        let ends = line[at + 1..].starts_with([' ', '\n']) || line[at + 1..].is_empty();
        if ends && head.len() <= 60 && is_readable(head, MAX_WORDS, fuel)? != Readable::No {
            let rest = line[at + 1..].trim_start();
            // A list goes on: `1, 2`.
            let goes_on = !line[at..].starts_with('.')
                && rest.starts_with(|c: char| {
                    c.is_ascii_digit() || matches!(c, '$' | '\\' | '-' | '(')
                });
            if !goes_on {
                return Ok(Some(head.to_owned()));
            }
        }
    }
    if let Some(found) = last_math(line, fuel)? {
        return Ok(Some(found));
    }
    if let Some((number, _)) = last_number(line) {
        return Ok(Some(number.to_owned()));
    }
    // "The answer is less than 12" is an answer that no number elsewhere in the text is better than.
    Ok(line.contains(|c: char| c.is_ascii_digit()).then(|| line.to_owned()))
}

/// The letter of the last "option B" or "choice B".
fn option_named(text: &str, lowered: &str) -> Option<String> {
    let start = ["option ", "choice "]
        .iter()
        .filter_map(|title| lowered.rfind(title).map(|at| at + title.len()))
        .max()?;
    let rest = text[start..].trim_start_matches(['(', '*', ' ']);
    let letter = rest.chars().next().filter(char::is_ascii_uppercase)?;
    let ends = !rest[1..].starts_with(|c: char| c.is_alphanumeric());
    ends.then(|| letter.to_string())
}

fn whole_text(text: &str, fuel: &mut Fuel) -> Result<Option<String>, Stop> {
    let text = without_connective(text.trim());
    if text.len() > 2000 {
        return Ok(None);
    }
    Ok((is_readable(text, MAX_WORDS, fuel)? != Readable::No)
        .then(|| without_full_stop(text).to_owned()))
}

fn short_sentence(text: &str, fuel: &mut Fuel) -> Result<Option<String>, Stop> {
    const REMARKS: [&str; 5] =
        [", or equivalently", ", or approximately", ", or an equivalent", " is the only", " (i.e."];
    const VERBS: [&str; 4] = [" is equal to ", " equals ", " are ", " is "];
    let text = without_full_stop(text.trim());
    if text.len() > 200 || text.contains(['\n', '\\', '$']) {
        return Ok(None);
    }
    let remark = REMARKS.iter().filter_map(|remark| text.find(remark)).min();
    // `0 (none of the values)`
    let aside = text.ends_with(')').then(|| text.find(" (")).flatten();
    for end in remark.into_iter().chain(aside) {
        if is_readable(&text[..end], MAX_WORDS, fuel)? != Readable::No {
            return Ok(Some(text[..end].trim().to_owned()));
        }
    }
    let behind = VERBS.iter().filter_map(|verb| text.rfind(verb).map(|at| at + verb.len())).max();
    if let Some(start) = behind
        && is_readable(&text[start..], MAX_WORDS, fuel)? != Readable::No
    {
        return Ok(Some(text[start..].trim().to_owned()));
    }
    Ok(None)
}

/// A sentence without the word that ties it to the one before.
fn without_connective(text: &str) -> &str {
    const CONNECTIVES: [&str; 6] = ["therefore", "thus", "hence", "so", "then", "finally"];
    CONNECTIVES
        .iter()
        .find_map(|word| {
            let head = text.get(..word.len())?;
            let rest = &text[word.len()..];
            let ends = rest.starts_with([',', ' ', ':']);
            (ends && head.eq_ignore_ascii_case(word)).then(|| rest[1..].trim_start())
        })
        .unwrap_or(text)
}

fn without_full_stop(text: &str) -> &str {
    // The point of `\right.` is a delimiter, and three of them say that a list goes on.
    if text.ends_with("\\right.") || text.ends_with("..") {
        text
    } else {
        text.trim_end_matches('.')
    }
}
