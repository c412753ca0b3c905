//! Finding the answer in a completion.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::extract::announcement::{Announced, announced};
use crate::extract::boxed::BoxedAnswer;
use crate::extract::closing::{self, Tail};
use crate::extract::formula::MAX_WORDS;
use crate::extract::last_value::last_math;
use crate::extract::lead::leads;
use crate::extract::placement::attached;
use crate::extract::sentence::{is_remark, leading_answer, without_full_stop};
use crate::extract::separator::{is_separator, name_before};
use crate::extract::stated::stated_number;
use crate::extract::trimmed::{without_next_problem, without_proof_end, without_struck};
use crate::input::RewardInput;
use crate::math::answer::{Readable, is_readable, is_same_answer};
use crate::math::fuel::Stop;
use crate::math::lex::typography::plain;
use crate::math::parse::stance::{doubts, has, retracts, supposes, supposes_or_judges};
use crate::math::reader::Reader;

/// Bytes at the end of a text that are searched for anything but boxes.
const MAX_TAIL: usize = 16_384;

/// A place where the answer may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AnswerSource {
    /// The last balanced `\boxed{…}` or `\fbox{…}`, with those before it that form a list with it.
    Boxed,
    /// The last `<answer>…</answer>`.
    AnswerTag,
    /// Text behind the last `####` on its line.
    Hashes,
    /// Text behind the last "answer is" or "answer:".
    Phrase,
    /// The whole text, if it reads as an answer.
    WholeText,
    /// The answer of a short sentence or in front of a remark: `12 (i.e., all of them)`, `1/2, or equivalently 0.5`,
    /// `0 is the only possible value`, `The limit is 3`.
    ShortSentence,
    /// The last formula between dollar signs or their kin.
    LastMath,
    /// The option that the text names last, or the one number that it states last.
    LastNumber,
}

impl AnswerSource {
    /// Every place, the most explicit first: those of the lenient level.
    pub const ALL: [Self; 8] = [
        Self::Boxed,
        Self::AnswerTag,
        Self::Hashes,
        Self::Phrase,
        Self::WholeText,
        Self::ShortSentence,
        Self::LastMath,
        Self::LastNumber,
    ];

    /// The `snake_case` name, as in serialized form and in metric keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boxed => "boxed",
            Self::AnswerTag => "answer_tag",
            Self::Hashes => "hashes",
            Self::Phrase => "phrase",
            Self::WholeText => "whole_text",
            Self::ShortSentence => "short_sentence",
            Self::LastMath => "last_math",
            Self::LastNumber => "last_number",
        }
    }
}

/// Leniency of a verifier toward a completion that does not mark one of its values as the answer.
///
/// # Rules
///
/// The first source with an answer decides, in this order:
///
/// | source | strict | lenient |
/// |---|---|---|
/// | the last box, with the boxes before it that form a list with it | yes | yes |
/// | the last `<answer>…</answer>` | yes | yes |
/// | the rest of the line behind the last `####` | yes | yes |
/// | the last announcement, such as `the answer is` | yes | yes |
/// | the whole text, if it reads as an answer | no | yes |
/// | the answer of a short sentence | no | yes |
/// | the last formula | no | yes |
/// | the option that the text names last. Else the one number of the last sentence with a number, if that is English or a label with its value | no | yes |
/// | thinking with nothing behind it | no | yes |
///
/// Before all of them, the lenient level takes a completion that repeats a reference word for word.
///
/// Both levels:
///
/// - ignore `<think>…</think>` with text behind it;
/// - take a box or an announcement only from a sentence that leads to it: `It is false that the answer is 12`,
///   `The naive answer is 12` and `We must avoid \boxed{12}` state nothing;
/// - find no answer where the text behind it changes it, takes it back or names another;
/// - judge a truncated completion by its complete part.
///
/// Behind the answer, the strict level allows a unit, a counted thing, closing words and the same value again. An
/// example is `\boxed{12} apples, as desired`. The lenient level also allows reasons and checks.
///
/// The lenient level also takes no number that its sentence denies (`not 12`), bounds (`less than 12`), supposes
/// (`if it were 12`) or only mentions (`in step 12`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// [`Extraction::strict`]: the answer is boxed or announced. For training.
    #[default]
    Strict,
    /// [`Extraction::lenient`]: else the last formula or the one number stated. For evaluation.
    Lenient,
}

/// Places of the answer, in the order of the search.
///
/// Everything inside `<think>…</think>` is ignored. Only the lenient level looks into thinking with nothing behind it.
///
/// # Examples
///
/// ```
/// use hint_reward::{Extraction, extract::AnswerSource};
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

impl Level {
    /// The `snake_case` name, as in serialized form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Lenient => "lenient",
        }
    }
}

/// The places of the strict level.
const STRICT: [AnswerSource; 4] =
    [AnswerSource::Boxed, AnswerSource::AnswerTag, AnswerSource::Hashes, AnswerSource::Phrase];

impl Default for Extraction {
    /// Every source, the most explicit first.
    fn default() -> Self {
        Self::lenient()
    }
}

impl Extraction {
    /// Places that count in training: a box, a tag, `####` or an announced answer. No number is guessed from running
    /// text, so that a completion that only mentions the right value is not rewarded.
    ///
    /// ```
    /// use hint_reward::Extraction;
    ///
    /// let strict = Extraction::strict();
    /// assert_eq!(strict.extract("The final answer is $12$. I hope it is correct.").as_deref(), Some("$12$"));
    /// assert_eq!(strict.extract("So there are 12 marbles."), None);
    /// ```
    pub fn strict() -> Self {
        Self { sources: STRICT.to_vec() }
    }

    /// Everything a reader would take for the answer, for completions of other people's models. The default.
    pub fn lenient() -> Self {
        Self { sources: AnswerSource::ALL.to_vec() }
    }

    /// The extraction of a level.
    pub fn of_level(level: Level) -> Self {
        match level {
            Level::Strict => Self::strict(),
            Level::Lenient => Self::lenient(),
        }
    }

    /// The level whose extraction this is, if it is one.
    pub fn level(&self) -> Option<Level> {
        if self.sources == STRICT {
            Some(Level::Strict)
        } else {
            (self.sources == AnswerSource::ALL).then_some(Level::Lenient)
        }
    }

    /// Whether a value may be guessed from running text.
    fn guesses(&self) -> bool {
        self.sources.contains(&AnswerSource::LastNumber)
    }

    /// Only boxed answers count.
    pub fn boxed_only() -> Self {
        Self { sources: vec![AnswerSource::Boxed] }
    }

    /// The answer of a completion, if one of the sources has one.
    pub fn extract(&self, completion: &str) -> Option<String> {
        self.find(completion, &mut Reader::of_one_judgment()).ok().flatten()
    }

    /// The answer of the completion of an input. The last words of a truncated completion are no answer, as they
    /// may be a part of one. Only complete ones count: a closed box or tag, or an announced answer with text behind
    /// its sentence.
    pub(crate) fn find_in(
        &self,
        input: &RewardInput<'_>,
        reader: &mut Reader,
    ) -> Result<Option<(String, AnswerSource)>, Stop> {
        if !input.truncated {
            return self.find_source(input.completion, reader);
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
            let found = Self { sources: vec![*source] }.find_source(explicit, reader)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// As [`Extraction::extract`], on a budget.
    pub(crate) fn find(
        &self,
        completion: &str,
        reader: &mut Reader,
    ) -> Result<Option<String>, Stop> {
        Ok(self.find_source(completion, reader)?.map(|(found, _)| found))
    }

    /// The answer with the source that has it.
    pub(crate) fn find_source(
        &self,
        completion: &str,
        reader: &mut Reader,
    ) -> Result<Option<(String, AnswerSource)>, Stop> {
        reader.fuel.spend(completion.len() as u64 / 4)?;
        let completion = plain(completion);
        let mut text = Cow::Borrowed(behind_thinking(&completion, self.guesses()));
        if text.contains('\\') && text.contains("\\boxed{}") {
            text = Cow::Owned(text.replace("\\boxed{}", ""));
        }
        if text.contains("~~") {
            text = Cow::Owned(without_struck(&text));
        }
        let text = without_next_problem(without_proof_end(&text));
        for source in &self.sources {
            match self.find_by(*source, text, reader)? {
                Found::Nothing => {}
                Found::Answer(found) if found.trim().is_empty() => {}
                Found::Answer(found) => return Ok(Some((found, *source))),
                Found::Unstated => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The answer in one place.
    fn find_by(
        &self,
        source: AnswerSource,
        text: &str,
        reader: &mut Reader,
    ) -> Result<Found, Stop> {
        let is_tolerant = self.guesses();
        let guessed = match source {
            AnswerSource::Boxed => return stated_box(text, is_tolerant, reader),
            AnswerSource::AnswerTag => return answer_tag(text, is_tolerant, reader),
            AnswerSource::Hashes => return hashes(text, is_tolerant, reader),
            AnswerSource::Phrase => {
                return Ok(match announced(tail(text), is_tolerant, reader)? {
                    Announced::No => Found::Nothing,
                    Announced::Answer(answer) => Found::Answer(answer),
                    Announced::Denied => Found::Unstated,
                });
            }
            AnswerSource::WholeText => whole_text(text, reader)?,
            AnswerSource::ShortSentence => short_sentence(text, reader)?,
            AnswerSource::LastMath => last_math(tail(text), reader)?,
            AnswerSource::LastNumber => match option_named(tail(text)) {
                Some(letter) => Some(letter),
                None => stated_number(tail(text), reader)?,
            },
        };
        Ok(guessed.map_or(Found::Nothing, Found::Answer))
    }
}

/// Contents of a place.
enum Found {
    Nothing,
    Answer(String),
    /// A value that the text around it does not state. Of such a text, no other part is the answer.
    Unstated,
}

/// Whether the text behind a value leaves its statement as it is. A tolerant reader allows an explanation that names no
/// other value.
fn closes(behind: &str, value: &str, is_tolerant: bool, reader: &mut Reader) -> Result<bool, Stop> {
    reader.fuel.spend(behind.len() as u64)?;
    let later = match closing::tail(behind, value, reader)? {
        Tail::Closes => return Ok(true),
        Tail::Explains(later) if is_tolerant => later,
        _ => return Ok(false),
    };
    let announced = match announced(tail(later), true, reader)? {
        Announced::No => None,
        Announced::Answer(other) => Some(other),
        Announced::Denied => return Ok(false),
    };
    // A check may end with another number.
    let stated = if later.contains('=') { None } else { stated_number(tail(later), reader)? };
    for other in announced.into_iter().chain(stated) {
        if !is_same_answer(value, &other, reader)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The answer in the last boxes with its unit. They may be no part of a formula, and the text around them must state
/// it.
fn stated_box(text: &str, is_tolerant: bool, reader: &mut Reader) -> Result<Found, Stop> {
    let Some(found) = boxed(text, reader)? else { return Ok(Found::Nothing) };
    let span = found.first.start..found.last.end;
    let Some(unit) = attached(text, &span) else { return Ok(Found::Unstated) };
    if !leads(&text[..span.start])
        || !closes(&text[span.end..], &found.answer, is_tolerant, reader)?
    {
        return Ok(Found::Unstated);
    }
    let is_one = found.first == found.last;
    Ok(Found::Answer(if is_one { found.answer + &unit } else { found.answer }))
}

/// The text behind the thinking. If none follows it, a strict extraction finds nothing, and a lenient one takes the
/// thinking itself.
pub(crate) fn behind_thinking(text: &str, lenient: bool) -> &str {
    const TAGS: [(&str, &str); 7] = [
        ("<think>", "</think>"),
        ("<thinking>", "</thinking>"),
        ("<thought>", "</thought>"),
        ("◁think▷", "◁/think▷"),
        ("<reasoning>", "</reasoning>"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("[THINK]", "[/THINK]"),
    ];
    if !text.contains(['<', '◁', '[']) {
        return text;
    }
    let close = TAGS.iter().filter_map(|(_, close)| Some(text.rfind(close)? + close.len())).max();
    let behind = &text[close.unwrap_or(0)..];
    if lenient {
        return if behind.trim().is_empty() { text } else { behind };
    }
    let open = TAGS.iter().filter_map(|(open, _)| behind.find(open)).min();
    &behind[..open.unwrap_or(behind.len())]
}

/// The end of a text, cut at a character boundary.
fn tail(text: &str) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(MAX_TAIL))..]
}

/// The answer in the last boxes, and where the first and the last of them stand.
struct Boxes {
    answer: String,
    first: Range<usize>,
    last: Range<usize>,
}

fn boxed(text: &str, reader: &mut Reader) -> Result<Option<Boxes>, Stop> {
    reader.fuel.spend(text.len() as u64 / 8)?;
    let boxes = BoxedAnswer::all(text);
    let Some(last) = boxes.last() else { return Ok(None) };
    let mut joined = vec![last];
    for earlier in boxes.iter().rev().skip(1) {
        reader.fuel.spend(100)?;
        if !is_separator(&text[earlier.span.end..joined[joined.len() - 1].span.start]) {
            break;
        }
        joined.push(earlier);
    }
    joined.reverse();
    // The same answer again is one answer: `x = 1, y = 1` are two.
    let name = |answer: &BoxedAnswer<'_>| name_before(&text[..answer.span.start]);
    joined.dedup_by(|next, before| {
        next.content.trim() == before.content.trim() && name(next) == name(before)
    });
    let (first, last) = (joined[0].span.clone(), last.span.clone());
    if let [only] = joined.as_slice() {
        return Ok(Some(Boxes { answer: only.content.trim().to_owned(), first, last }));
    }
    // Names in front of the boxes of a list tell its items apart, if each box has one.
    let names: Option<Vec<&str>> =
        joined.iter().map(|answer| name_before(&text[..answer.span.start])).collect();
    let items = joined.iter().enumerate().map(|(index, answer)| match &names {
        Some(names) => format!("{} = {}", names[index], answer.content.trim()),
        None => answer.content.trim().to_owned(),
    });
    Ok(Some(Boxes { answer: items.collect::<Vec<_>>().join(", "), first, last }))
}

fn answer_tag(text: &str, is_tolerant: bool, reader: &mut Reader) -> Result<Found, Stop> {
    let Some(start) = text.rfind("<answer>").map(|at| at + 8) else { return Ok(Found::Nothing) };
    let (content, behind) = text[start..].split_once("</answer>").unwrap_or((&text[start..], ""));
    let content = content.trim();
    if !closes(behind, content, is_tolerant, reader)? {
        return Ok(Found::Unstated);
    }
    if content.contains("\\boxed") || content.contains("\\fbox") {
        return stated_box(content, is_tolerant, reader);
    }
    if is_readable(content, MAX_WORDS, reader)? == Readable::No
        && let Announced::Answer(found) = announced(tail(content), is_tolerant, reader)?
    {
        return Ok(Found::Answer(found));
    }
    Ok(Found::Answer(content.to_owned()))
}

fn hashes(text: &str, is_tolerant: bool, reader: &mut Reader) -> Result<Found, Stop> {
    let Some((_, behind)) = text.rsplit_once("####") else { return Ok(Found::Nothing) };
    let (line, behind) = behind.split_once('\n').unwrap_or((behind, ""));
    let is_stated = closes(behind, line.trim(), is_tolerant, reader)?;
    Ok(if is_stated { Found::Answer(line.trim().to_owned()) } else { Found::Unstated })
}

/// The letter of the last "option B" or "choice B".
fn option_named(text: &str) -> Option<String> {
    let lowered = text.to_ascii_lowercase();
    let start = ["option ", "choice ", "i choose ", "i pick ", "\u{9009} "]
        .iter()
        .filter_map(|title| lowered.rfind(title).map(|at| at + title.len()))
        .max()?;
    let rest = text[start..].trim_start_matches(['(', '*', ' ']);
    // "I rule out option B", "option B can be excluded".
    let before = text[..start].rsplit(['.', '\n', '!', '?', ';', ',']).next().unwrap_or_default();
    let behind = rest.split(['.', '\n', '!', '?', ',', ';']).next().unwrap_or_default();
    let behind = [" because ", " since ", " as "]
        .iter()
        .fold(behind, |behind, word| behind.split(word).next().unwrap_or(behind));
    if doubts(before) || doubts(behind) || supposes(before) || before.contains(" except ") {
        return None;
    }
    let letter = rest.chars().next().filter(char::is_ascii_uppercase)?;
    let ends = !rest[1..].starts_with(|c: char| c.is_alphanumeric());
    ends.then(|| letter.to_string())
}

fn whole_text(text: &str, reader: &mut Reader) -> Result<Option<String>, Stop> {
    let text = without_connective(text.trim().trim_start_matches(['\u{9009}', '✅', '✔', ' ']));
    if text.len() > 2000 {
        return Ok(None);
    }
    if supposes(text) {
        return Ok(None);
    }
    if text.len() < 100
        && text.ends_with(" is correct.")
        && let Some(letter) = option_named(text)
    {
        return Ok(Some(letter));
    }
    if is_readable(text, MAX_WORDS, reader)? == Readable::No {
        return Ok(None);
    }
    let text = without_full_stop(text);
    let predicate = predicate(text);
    Ok(Some(match predicate {
        Some(predicate) if is_readable(predicate, MAX_WORDS, reader)? != Readable::No => {
            predicate.to_owned()
        }
        _ => text.to_owned(),
    }))
}

/// Predicate of a sentence: the `blue` of `The color is blue`.
fn predicate(text: &str) -> Option<&str> {
    let (first, _) = text.split_once(' ')?;
    let is_subject = has(&["the", "its", "it", "this", "our", "there", "that"], first);
    let start = [" is ", " are ", " must be "]
        .into_iter()
        .filter_map(|verb| text.rfind(verb).map(|at| at + verb.len()))
        .max()?;
    let subject = &text[..start];
    // `It is a **Monday**`
    let said = text[start..].trim();
    let bare = said.strip_prefix("a ").or_else(|| said.strip_prefix("an ")).unwrap_or(said);
    let bold = bare.strip_prefix("**").and_then(|rest| rest.strip_suffix("**"));
    (is_subject && !doubts(subject) && !subject.contains(['=', '<', '>', '|']))
        .then(|| bold.unwrap_or(said))
}

fn short_sentence(text: &str, reader: &mut Reader) -> Result<Option<String>, Stop> {
    const REMARKS: [&str; 5] =
        [", or equivalently", ", or approximately", ", or an equivalent", " is the only", " (i.e."];
    const VERBS: [&str; 6] = [" is equal to ", " equals ", " are ", " is ", ", so ", " so "];
    let text = without_connective(without_full_stop(text.trim()));
    if text.len() > 300 || text.contains('\n') || supposes(text) {
        return Ok(None);
    }
    // `37 because …`, but not `$a = 1$ and so $b = 2$`.
    if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '$' | '\\' | '-'))
        && let Some(found) = leading_answer(text, reader)?
    {
        let rest = text.get(found.len()..).unwrap_or_default();
        let reasons =
            [" because", " since", " which", " as ", " is the only", "blacksquare", "square"];
        if retracts(rest) {
            return Ok(None);
        }
        if !rest.contains(['$', '\\']) || reasons.iter().any(|reason| rest.contains(reason)) {
            return Ok(Some(found));
        }
    }
    if text.contains(['\\', '$']) {
        return Ok(None);
    }
    let remark = REMARKS.iter().filter_map(|remark| text.find(remark)).min();
    // `0 (none of the values)`
    let aside = text.ends_with(')').then(|| text.find(" (")).flatten();
    for end in remark.into_iter().chain(aside.filter(|_| !text.contains("(or"))) {
        if is_remark(&text[end..]) && is_readable(&text[..end], MAX_WORDS, reader)? != Readable::No
        {
            return Ok(Some(text[..end].trim().to_owned()));
        }
    }
    let behind = VERBS.iter().filter_map(|verb| text.rfind(verb).map(|at| at + verb.len())).max();
    if let Some(start) = behind
        && !supposes_or_judges(&text[..start])
        && is_readable(&text[start..], MAX_WORDS, reader)? != Readable::No
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
