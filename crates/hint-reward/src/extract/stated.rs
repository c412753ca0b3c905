//! The one number that a sentence states.

use crate::extract::closing::behind_closing;
use crate::extract::formula::MAX_WORDS;
use crate::extract::language::is_english;
use crate::extract::lead::asserted;
use crate::extract::sentence::{leading_answer, without_full_stop};
use crate::math::answer::{Readable, is_readable};
use crate::math::fuel::Stop;
use crate::math::lex::units::{is_unit, is_unit_letter};
use crate::math::parse::counted::computes;
use crate::math::parse::stance::{doubts, has, is_no_noun, supposes, takes_back, words_of};
use crate::math::reader::Reader;
use crate::number::{NumberMention, NumberRole, numbers_in};

/// The number that the last sentence with a number states, if it states one and does not deny, bound or suppose it.
pub(crate) fn stated_number(text: &str, reader: &mut Reader) -> Result<Option<String>, Stop> {
    reader.fuel.spend(text.len() as u64)?;
    for sentence in sentences(text).into_iter().rev().take(4) {
        if sentence.bytes().all(|byte| !byte.is_ascii_digit()) && numbers_in(sentence).is_empty() {
            if takes_back(sentence) {
                return Ok(None);
            }
            continue;
        }
        return number_of(sentence, reader);
    }
    Ok(None)
}

/// The number of a sentence in words that has no other: the 36 of `It takes 36 minutes.`
pub(crate) fn only_number(sentence: &str) -> Option<String> {
    let reader = &mut Reader::of_one_judgment();
    let is_sentence = sentence.split_whitespace().count() > 2
        && !sentence.contains(['\\', '$', '=', '^', '+', '<', '>', '*', '/'])
        && is_readable(sentence, MAX_WORDS, reader).ok()? == Readable::No;
    if !is_sentence || numbers_in(sentence).len() != 1 {
        return None;
    }
    number_of(sentence, reader).ok().flatten()
}

/// Sentences and lines, without their marks.
fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        let ends = match c {
            '\n' | '\u{3002}' => true,
            '.' | '!' | '?' => {
                text[end..].is_empty() || text[end..].starts_with([' ', '\n', '*', '"'])
            }
            _ => false,
        };
        if ends {
            // The mark stays: a question is no statement.
            sentences.push(&text[start..end]);
            start = end;
        }
    }
    sentences.push(&text[start..]);
    sentences.retain(|sentence| sentence.chars().any(char::is_alphanumeric));
    sentences
}

fn number_of(sentence: &str, reader: &mut Reader) -> Result<Option<String>, Stop> {
    if sentence.contains(['\\', '?']) || sentence.len() > 1000 {
        return Ok(None);
    }
    if !is_english(sentence) {
        return labeled(sentence, reader);
    }
    let clause = statement(sentence);
    if doubts(clause) || supposes(clause) || instructs(clause) || is_comparison(clause) {
        return Ok(None);
    }
    // "2 + 2 = 4 apples": what follows the last sign that is not a restatement.
    if let Some((_, result)) = clause.rsplit_once('=') {
        let result = result.trim();
        if let Some(found) = leading_answer(result, reader)? {
            return Ok(Some(found));
        }
        let first = candidates(result).into_iter().next().filter(|mention| mention.span.start <= 2);
        return Ok(first.map(|mention| with_unit(result, &mention)));
    }
    let candidates = candidates(clause);
    if leaves_open(clause) || candidates.iter().any(|mention| is_changed(clause, mention)) {
        return Ok(None);
    }
    if let Some(at) = clause.to_ascii_lowercase().find("answer")
        && candidates.iter().any(|mention| mention.span.start > at)
    {
        // An announcement would have been found before.
        return labeled(sentence, reader);
    }
    Ok(chosen(clause, &candidates).map(|mention| with_unit(clause, mention)))
}

/// The clause of a sentence that makes its statement, without what the sentence adds.
fn statement(sentence: &str) -> &str {
    const ADDITIONS: [&str; 8] = [
        " because ",
        ", because",
        " since ",
        ", since",
        ", not ",
        " as opposed to ",
        " rather than ",
        " instead of ",
    ];
    let mut clause = sentence;
    for word in ADDITIONS {
        clause = clause.split(word).next().unwrap_or(clause);
    }
    let concluded = asserted(clause);
    if doubts(clause) && !numbers_in(concluded).is_empty() {
        clause = concluded;
    }
    for word in [" which is ", " that is "] {
        if let Some((_, behind)) = clause.rsplit_once(word)
            && behind.contains(|c: char| c.is_ascii_digit())
        {
            clause = behind;
        }
    }
    clause
}

/// Whether a clause compares its number with another: `less than 12`.
fn is_comparison(clause: &str) -> bool {
    const COMPARATIVES: [&str; 6] = ["less", "greater", "more", "fewer", "smaller", "larger"];
    let words: Vec<&str> = words_of(clause).collect();
    words.windows(2).any(|pair| {
        (has(&COMPARATIVES, pair[0]) && has(&["than"], pair[1]))
            || (has(&["at"], pair[0]) && has(&["least", "most"], pair[1]))
    })
}

/// Whether a clause does not settle on one number: `7 (or 9)`, `6 (seven)`.
fn leaves_open(clause: &str) -> bool {
    let restates = |mention: &NumberMention| {
        clause[..mention.span.start].ends_with('(') && clause[mention.span.end..].starts_with(')')
    };
    ["(or ", "(and ", ", but "].iter().any(|words| clause.contains(words))
        || numbers_in(clause).iter().any(restates)
}

/// Whether the words around a number bound it, compute with it, cite it or put it into the past.
fn is_changed(clause: &str, mention: &NumberMention) -> bool {
    let (before, behind) = (&clause[..mention.span.start], &clause[mention.span.end..]);
    let mut words = words_of(behind);
    let first = words.next().unwrap_or_default();
    // `12 squared`, `12 short of 20`, `12-fold`
    let is_joint = matches!(first, "or" | "and" | "at" | "before" | "until");
    let is_part =
        behind.strip_prefix('-').is_some_and(|rest| rest.starts_with(char::is_alphabetic));
    let is_computed = computes(behind)
        || is_altered(behind)
        || behind.starts_with('°')
        || (!is_joint && is_no_noun(first))
        || (is_part && !is_unit(first));
    // `My neighbor wrote 23.`, not `She wrote 12 letters.`
    let is_cited = first.is_empty() && has(&["wrote", "writes", "picked"], last_word(before));
    // `three out of five`
    let is_share = behind.trim_start().strip_prefix("out of ").is_some_and(|whole| {
        numbers_in(whole).first().is_some_and(|number| number.span.start == 0)
    });
    let is_past = has(&["yesterday", "ago", "earlier", "already"], first)
        || (has(&["was", "is"], first) && !behind_closing(behind).is_empty());
    is_computed
        || is_share
        || is_cited
        || is_past
        || is_bounded(before)
        || is_opened(behind)
        || is_input(&behind.to_ascii_lowercase())
}

/// The number that a clause states, of those that may be it.
fn chosen<'m>(clause: &str, candidates: &'m [NumberMention]) -> Option<&'m NumberMention> {
    let is_money = |mention: &NumberMention| clause[..mention.span.start].ends_with('$');
    let is_only = candidates.len() == 1;
    let stated: Vec<&NumberMention> = candidates
        .iter()
        .filter(|mention| !is_aside(clause, mention) || (is_only && is_money(mention)))
        .collect();
    match stated.as_slice() {
        [only] => Some(*only),
        [] => None,
        [first, .., last] if stated.iter().all(|mention| mention.readings == first.readings) => {
            Some(*last)
        }
        several => {
            // The one behind the last verb that states a result.
            let verb = last_verb(clause);
            let behind: Vec<_> =
                several.iter().filter(|mention| mention.span.start > verb).collect();
            match behind.as_slice() {
                [only] if verb > 0 => Some(**only),
                // "pays $5 and then $12"
                _ => several.last().copied().filter(|last| {
                    clause[..last.span.start].ends_with('$')
                        && clause[last.span.end..].trim_matches(['.', ' ', '*']).is_empty()
                }),
            }
        }
    }
}

/// Whether a sign or a bracket behind a number changes it: `7‰`, `7′`, `6.5 (in thousands)`, `6.5 (×10³)`.
fn is_altered(behind: &str) -> bool {
    const OPENINGS: [&str; 7] = ["per ", "mod", "base", "in ", "times", "x ", "x1"];
    let trimmed = behind.trim_start();
    if let Some(inside) = trimmed.strip_prefix('(') {
        let inside = inside.trim_start();
        return OPENINGS.iter().any(|opening| inside.starts_with(opening))
            || inside.starts_with(['×', '·', '*', '/', '+', '-', '−', '^', '÷', '%'])
            || computes(inside)
            || takes_back(inside.split(')').next().unwrap_or(inside))
            || words_of(inside.split(')').next().unwrap_or(inside)).any(|word| {
                has(&["minus", "plus", "times", "doubled", "halved", "percent"], word)
            })
            || inside.split(')').next().is_some_and(|inside| inside.contains(" or "))
            || inside.starts_with("not the")
            || inside.starts_with("not correct");
    }
    let is_sign = |c: char| matches!(c, '‰' | '‱' | '‼' | '⁉' | '¹' | '²' | '³' | '\u{2032}'..='\u{2037}' | '\u{2070}'..='\u{209f}');
    trimmed.starts_with(['‰', '‱']) || behind.starts_with(is_sign)
}

/// The value of `Label: value`, `| label | value |` and `{"label": value}`, in any language.
fn labeled(sentence: &str, reader: &mut Reader) -> Result<Option<String>, Stop> {
    const FRAME: &[char] = &[' ', '*', '\n', '|', '{', '}', '"'];
    let Some((label, value)) = sentence.trim_matches(FRAME).split_once([':', '|']) else {
        return Ok(None);
    };
    let value = without_full_stop(value.trim_matches(FRAME));
    let is_label = (1..=3).contains(&label.split_whitespace().count());
    Ok((is_label && is_readable(value, 0, reader)? == Readable::Answer).then(|| value.to_owned()))
}

/// Numbers that may be answers.
fn candidates(clause: &str) -> Vec<NumberMention> {
    const LABELS: [&str; 20] = [
        "problem", "section", "step", "case", "part", "question", "exercise", "equation", "figure",
        "chapter", "page", "example", "lemma", "theorem", "option", "line", "table", "appendix",
        "item", "no",
    ];
    let mut mentions = numbers_in(clause);
    // The digits behind a decimal comma belong to the number before it.
    mentions.retain(|mention| {
        let before = &clause[..mention.span.start];
        !(before.ends_with(',')
            && before[..before.len() - 1].ends_with(|c: char| c.is_ascii_digit()))
    });
    mentions.retain(|mention| {
        let label = last_word(&clause[..mention.span.start]);
        let (before, behind) = (&clause[..mention.span.start], &clause[mention.span.end..]);
        let is_value = matches!(
            mention.role,
            NumberRole::Quantity | NumberRole::Fraction | NumberRole::Formula
        );
        // A part of something larger: `5_2`, `3^4`, `x2`, `6!`, `12:30`.
        let starts_clock = behind
            .strip_prefix(':')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let is_part = behind.starts_with(['_', '^', '!', '(', '√'])
            || before.ends_with(['_', '^', '√', '{'])
            || is_clock_end(before)
            || starts_clock;
        // `There are 12 ways to do this`
        let is_value = is_value
            || (mention.role == NumberRole::Label && behind.trim_start().starts_with("ways"));
        let is_label = has(&LABELS, label);
        is_value && !is_label && !is_part
    });
    mentions
}

/// Whether a text ends with `12:`.
fn is_clock_end(text: &str) -> bool {
    text.strip_suffix(':').is_some_and(|rest| rest.ends_with(|c: char| c.is_ascii_digit()))
}

fn last_word(text: &str) -> &str {
    text.trim_end().rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()
}

/// Whether a number in front of this is the input of a result: the 7 of `Doubling 7 gives 14`.
fn is_input(behind: &str) -> bool {
    [" gives ", " yields ", " produces ", " leads to "].iter().any(|verb| behind.contains(verb))
        && numbers_in(behind).is_empty()
}

/// Whether a sentence gives an instruction or states an absence: `Take 7 from it`, `The 7 birds flew, leaving none`.
fn instructs(clause: &str) -> bool {
    const VERBS: [&str; 13] = [
        "take", "add", "subtract", "remove", "multiply", "divide", "consider", "let", "note",
        "choose", "try", "use", "start",
    ];
    let words = clause.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    words.clone().next().is_some_and(|word| has(&VERBS, word))
        || words.clone().any(|word| matches!(word, "none" | "nothing"))
}

/// Whether the text behind a number makes it a bound: `13 or more`.
fn is_opened(behind: &str) -> bool {
    const BOUNDS: [&str; 14] = [
        "or so",
        "or thereabouts",
        "or more",
        "or less",
        "or fewer",
        "or greater",
        "or higher",
        "or larger",
        "or lower",
        "or smaller",
        "or above",
        "or below",
        "and up",
        "and above",
    ];
    let behind = behind.trim_start_matches([' ', '*', '$']);
    behind.starts_with('+') || BOUNDS.iter().any(|bound| behind.starts_with(bound))
}

/// Whether the text before a number makes it a bound.
fn is_bounded(before: &str) -> bool {
    const BOUNDS: [&str; 18] = [
        "over", "under", "above", "below", "than", "least", "most", "to", "nearly", "almost",
        "exceeds", "exceed", "between", "beyond", "within", "before", "past", "except",
    ];
    let word = last_word(before.trim_end_matches(|c: char| !c.is_alphanumeric()));
    let is_sum = matches!(word, "to") && before.trim_end().to_lowercase().ends_with("equal to");
    let amounts = before.trim_end_matches([' ', '$', '*']).to_lowercase();
    let is_amount = [
        "amounts to",
        "comes to",
        "come to",
        "adds up to",
        "sums to",
        "simplifies to",
        "evaluates to",
        "reduces to",
    ]
    .iter()
    .any(|verb| amounts.ends_with(verb));
    !is_sum && !is_amount && has(&BOUNDS, word)
}

/// Whether a number stands in brackets or in a phrase of time, place or topic.
fn is_aside(clause: &str, mention: &NumberMention) -> bool {
    const DETERMINERS: [&str; 14] = [
        "the", "those", "these", "all", "his", "her", "their", "its", "a", "each", "every",
        "other", "both", "first",
    ];
    const PREPOSITIONS: [&str; 16] = [
        "in", "for", "at", "from", "of", "per", "after", "by", "on", "with", "every", "during",
        "among", "into", "using", "through",
    ];
    let before = &clause[..mention.span.start];
    if before.matches('(').count() > before.matches(')').count() {
        return true;
    }
    let before = before.rsplit([';', ':']).next().unwrap_or(before);
    let mut words = before
        .trim_end_matches(['$', ' ', '*'])
        .rsplit(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .skip_while(|word| has(&DETERMINERS, word));
    let word = words.next().unwrap_or_default();
    // `The first 50 terms` are a part of something.
    let is_ordinal = matches!(
        last_word(before),
        "first" | "last" | "next" | "top" | "all" | "All" | "both" | "those" | "these"
    );
    let is_total = has(&["of"], word) && words.next().is_some_and(|word| has(&["total"], word));
    is_ordinal || (has(&PREPOSITIONS, word) && !is_total)
}

/// End of the last verb that states a result.
fn last_verb(clause: &str) -> usize {
    const VERBS: [&str; 22] = [
        " is ",
        " are ",
        " gives ",
        " equals ",
        " get ",
        " gets ",
        " makes ",
        " yields ",
        " totals ",
        " leaves ",
        " was ",
        " be ",
        " have ",
        " has ",
        " becomes ",
        " obtain ",
        " gives: ",
        " leaving ",
        " costs ",
        " cost ",
        " pays ",
        " earns ",
    ];
    VERBS
        .iter()
        .filter_map(|verb| clause.rfind(verb).map(|at| at + verb.len() - 1))
        .max()
        .unwrap_or(0)
}

/// A number with its sign, currency, percent sign and unit.
fn with_unit(clause: &str, mention: &NumberMention) -> String {
    let before = clause[..mention.span.start].trim_end();
    let number = &clause[mention.span.clone()];
    let mut text = String::new();
    let (before, negative) =
        match before.strip_suffix("minus").or_else(|| before.strip_suffix("negative")) {
            Some(rest) => (rest, true),
            // `**-5**`, where no number stands before the sign.
            None => match before.strip_suffix('-') {
                Some(rest) if rest.is_empty() || rest.ends_with(['*', '_', '`']) => (rest, true),
                _ => (before, false),
            },
        };
    if negative {
        text.push('-');
    }
    match before
        .chars()
        .next_back()
        .filter(|_| clause[..mention.span.start].ends_with(['$', '€', '£', '¥']))
    {
        Some('$') => text.push_str("\\$"),
        Some(sign @ ('€' | '£' | '¥')) => text.push(sign),
        _ => {}
    }
    text.push_str(number);
    let mut behind = &clause[mention.span.end..];
    // A decimal comma.
    if let Some(rest) = behind.strip_prefix(',') {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            text.push_str(&behind[..=digits]);
            behind = &rest[digits..];
        }
    }
    if behind.starts_with('%') {
        text.push('%');
        return text;
    }
    let word = behind.trim_start();
    let end = word.find(|c: char| !c.is_alphabetic()).unwrap_or(word.len());
    // `m/min`
    if let Some(below) = word[end..].strip_prefix('/').filter(|_| end > 0) {
        let below_end =
            below.find(|c: char| !c.is_alphanumeric() && c != '^').unwrap_or(below.len());
        text.extend([" ", &word[..end], "/", &below[..below_end]]);
        return text;
    }
    let word = &word[..end];
    // `kilowatt-hours` is one unit.
    let joined = word.len() + behind.len() - behind.trim_start().len();
    if let Some(second) = behind[joined..].strip_prefix('-')
        && is_unit(word)
    {
        let end = second.find(|c: char| !c.is_alphabetic()).unwrap_or(second.len());
        text.extend([" ", word, " ", &second[..end]]);
        return text;
    }
    let is_known = is_unit(word) || matches!(word, "percent" | "square" | "cubic" | "degrees");
    if is_known && behind.starts_with([' ', '-']) {
        text.push(' ');
        text.push_str(word);
        // `kg m`
        let next = behind.trim_start().get(end + 1..).unwrap_or_default();
        let next = next.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        if is_unit(next) || is_unit_letter(next) {
            text.extend([" ", next]);
        }
        if matches!(word, "square" | "cubic") {
            let rest = behind.trim_start()[end..].trim_start();
            let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
            text.push(' ');
            text.push_str(&rest[..end]);
        }
    }
    text
}
