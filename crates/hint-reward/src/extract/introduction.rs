//! Whether the words in front of a value state it.
//!
//! `So the total is 18` does. `It is false that the total is 18` and `the total is more than 18` do not.

use crate::extract::subject::{
    LINKS, acts_on_value, is_counterfactual, is_in_base, is_of_answer, is_of_attempt,
    is_within_condition, leads_by_preposition,
};
use crate::math::parse::stance::{excludes, has, is_hearsay, takes_off, words_of};

/// Bytes in front of a value that are read.
const MAX_SENTENCE: usize = 500;

/// Verbs whose negation a sentence denies with: `is not`, `do not think`.
const AUXILIARIES: [&str; 19] = [
    "is", "are", "was", "were", "be", "do", "does", "did", "can", "could", "would", "will",
    "should", "must", "may", "might", "has", "have", "had",
];

/// Words that start a clause of their own, in which a negation says nothing of the sentence's value.
const SUBORDINATORS: [&str; 13] = [
    "that", "which", "who", "whose", "where", "when", "if", "since", "because", "as", "while",
    "although", "for",
];

/// Words that only a sentence has that does not stand by its value.
const JUDGMENTS: [&str; 51] = [
    "misreading",
    "miscounting",
    "overcounting",
    "misinterpreting",
    "careless",
    "sloppy",
    "hasty",
    "flawed",
    "faulty",
    "refuse",
    "refused",
    "refuses",
    "deny",
    "denies",
    "denied",
    "disagree",
    "dispute",
    "disputed",
    "wonder",
    "pretend",
    "pretending",
    "tempting",
    "tempted",
    "supposedly",
    "allegedly",
    "hypothetically",
    "fake",
    "bogus",
    "misprint",
    "typo",
    "misread",
    "rumored",
    "rumor",
    "myth",
    "wrong",
    "wrongly",
    "incorrect",
    "incorrectly",
    "mistaken",
    "mistakenly",
    "mistake",
    "erroneous",
    "erroneously",
    "false",
    "falsely",
    "naive",
    "naively",
    "ignore",
    "instead",
    "doubt",
    "guess",
];

/// Words that bound, change or exclude the value that follows them.
const CHANGES: [&str; 28] = [
    "not",
    "negative",
    "never",
    "than",
    "over",
    "under",
    "above",
    "below",
    "beyond",
    "between",
    "except",
    "besides",
    "without",
    "exceeds",
    "exceed",
    "exceeding",
    "nearly",
    "almost",
    "twice",
    "thrice",
    "half",
    "double",
    "triple",
    "times",
    "versus",
    "minus",
    "plus",
    "neither",
];

/// Functions whose argument is not their value: `the square of 18`.
const FUNCTIONS: [&str; 20] = [
    "square",
    "cube",
    "root",
    "reciprocal",
    "inverse",
    "opposite",
    "negative",
    "negation",
    "double",
    "triple",
    "half",
    "third",
    "quarter",
    "multiple",
    "divisor",
    "power",
    "successor",
    "predecessor",
    "complement",
    "logarithm",
];

/// Words before `that` which assert the text behind it.
const ASSERTIONS: [&str; 48] = [
    "out",
    "appears",
    "clear",
    "true",
    "evident",
    "obvious",
    "certain",
    "known",
    "see",
    "seen",
    "conclude",
    "know",
    "find",
    "found",
    "so",
    "have",
    "get",
    "means",
    "mean",
    "follows",
    "implies",
    "imply",
    "shows",
    "show",
    "shown",
    "note",
    "notice",
    "observe",
    "think",
    "believe",
    "deduce",
    "given",
    "fact",
    "gives",
    "tells",
    "us",
    "obtain",
    "infer",
    "verify",
    "check",
    "confirm",
    "guarantees",
    "proves",
    "prove",
    "claim",
    "and",
    "now",
    "such",
];

/// Words between a verb and its value that say nothing.
const FILLERS: [&str; 9] = ["the", "equal", "to", "be", "is", "exactly", "value", "number", "just"];

/// Whether the sentence that leads to a value denies, doubts, bounds or changes it.
pub(crate) fn withholds(before: &str) -> bool {
    let before = &before[before.ceil_char_boundary(before.len().saturating_sub(MAX_SENTENCE))..];
    let sentence = &before[sentence_start(before)..];
    if is_counterfactual(&prose(sentence)) || is_in_base(sentence.trim_start()) {
        return true;
    }
    let is_break = |(at, c): (usize, char)| {
        matches!(c, ',' | ';' | ':' | '—' | '–').then(|| (at + c.len_utf8(), c))
    };
    let (start, mark) = sentence
        .char_indices()
        .rev()
        .filter_map(is_break)
        .find(|(at, c)| {
            sentence[*at..].starts_with([' ', '$', '\\', '*'])
                || (*c == ':' && *at == sentence.len())
        })
        .map_or((0, ' '), |(at, mark)| (at, mark));
    let clause = &sentence[start..];
    let mut words = prose(clause);
    if words.is_empty() && mark == ':' {
        // `Wrong answer: 18`
        words = prose(&sentence[..start]);
        // `But no: 18`
        words.pop_if(|word| has(&["no"], word));
        return words.len() < 6
            && (words.iter().any(|word| is_set_aside(word)) || words.windows(2).any(is_old));
    }
    is_withheld(&words)
        || is_of_answer(&words)
        || leads_by_preposition(&words)
        || acts_on_value(&words)
        || is_of_attempt(&words)
        || is_within_condition(&words)
        || is_left_open(sentence, start)
        || is_taken_by_another(clause)
}

/// Whether a clause in front of a comma waits for the value behind an aside: `The answer is not, I repeat,`.
fn is_left_open(sentence: &str, start: usize) -> bool {
    // Words that end a clause as well as they lead to a value: `as shown above`.
    const COMPLETE: [&str; 9] =
        ["above", "below", "over", "under", "beyond", "negative", "half", "double", "triple"];
    const CONNECTIVES: [&str; 8] =
        ["so", "thus", "hence", "therefore", "then", "but", "and", "because"];
    const MAX_ASIDES: usize = 3;
    const MAX_WORDS: usize = 4;
    let mut aside = &sentence[start..];
    let mut head = &sentence[..start];
    for _ in 0..MAX_ASIDES {
        let words = prose(aside);
        let is_aside = words.len() <= MAX_WORDS
            && !words.iter().any(|word| has(&LINKS, word) || has(&CONNECTIVES, word));
        let Some(before) = head.strip_suffix(',').filter(|_| is_aside) else { return false };
        let words = prose(before);
        let is_condition =
            words.iter().any(|word| has(&["if", "whether", "or", "why", "when"], word));
        if leads_elsewhere(&words)
            && !is_condition
            && !words.last().is_some_and(|last| has(&COMPLETE, last))
        {
            return true;
        }
        let comma = before.rfind(',').map_or(0, |at| at + 1);
        (head, aside) = before.split_at(comma);
    }
    false
}

/// Start of the last sentence of a text.
fn sentence_start(text: &str) -> usize {
    let ends = |(at, c): (usize, char)| {
        let behind = &text[at + c.len_utf8()..];
        c == '\n'
            || (matches!(c, '.' | '!' | '?') && behind.starts_with([' ', '$', '*', '"', '\n']))
    };
    text.char_indices().rev().find(|place| ends(*place)).map_or(0, |(at, c)| at + c.len_utf8())
}

/// The words of a clause, with `0` for each number and each formula that is complete.
fn prose(clause: &str) -> Vec<&str> {
    let clause = clause.trim_end_matches(['$', '*']);
    let parts = clause.split('$').count();
    let mut words = Vec::new();
    for (index, part) in clause.split('$').enumerate() {
        if index % 2 == 1 {
            words.extend((index + 1 < parts).then_some("0"));
            continue;
        }
        for piece in part.split(['{', '}', ' ', '\t', '*', '_', '(', ')', '"']) {
            if piece.starts_with('\\') || piece.contains(['=', '^']) {
                continue;
            }
            let is_word = |word: &str| word.starts_with(char::is_alphabetic);
            words.extend(words_of(piece).map(|word| if is_word(word) { word } else { "0" }));
        }
    }
    words
}

/// Whether a word in front of a colon sets aside the text behind it: `Wrong: 18`, `Discarded: 18`.
fn is_set_aside(word: &str) -> bool {
    const RESULTS: [&str; 7] =
        ["required", "desired", "needed", "simplified", "combined", "boxed", "proved"];
    is_negation(word) || has(&JUDGMENTS, word) || (word.ends_with("ed") && !has(&RESULTS, word))
}

/// Whether two words name another answer or problem: `previous answer`.
fn is_old(pair: &[&str]) -> bool {
    has(&["previous", "other", "last", "old", "first", "initial", "rough"], pair[0])
        && has(
            &["answer", "problem", "question", "attempt", "estimate", "guess", "thought"],
            pair[1],
        )
}

fn is_negation(word: &str) -> bool {
    has(
        &[
            "not",
            "never",
            "cannot",
            "no",
            "nobody",
            "neither",
            "nor",
            "hardly",
            "unlikely",
            "impossible",
        ],
        word,
    ) || word.ends_with("n't")
        || word.ends_with("n’t")
}

/// Whether words deny, bound or change the value behind them: `not 18`, `more than 18`,
/// `anything but 18`.
fn leads_elsewhere(words: &[&str]) -> bool {
    let Some((last, rest)) = words.split_last() else { return false };
    let previous = rest.last().copied().unwrap_or_default();
    has(&CHANGES, last)
        || is_negation(last) && !has(&["no"], last)
        || (*last == "but" && has(&["anything", "everything", "all", "nothing"], previous))
        || (*last == "and" && rest.iter().any(|word| has(&["between"], word)))
        || (has(&["least", "most"], last)
            && rest.iter().rev().nth(1).is_some_and(|word| has(&LINKS, word)))
        || (has(&["of"], last)
            && (has(&FUNCTIONS, previous) || has(&["instead", "short"], previous)))
}

fn is_withheld(words: &[&str]) -> bool {
    let stated = words.iter().rposition(|word| !has(&FILLERS, word)).map_or(0, |at| at + 1);
    let head = &words[..stated];
    let Some((last, rest)) = head.split_last() else { return false };
    // `rule out 18`
    let changes = leads_elsewhere(head)
        || excludes(last)
        || (*last == "out" && rest.last().is_some_and(|previous| takes_off(previous, Some(last))));
    if changes || head.iter().any(|word| has(&JUDGMENTS, word)) || head.windows(2).any(is_old) {
        return true;
    }
    // `It is untrue that the answer is 18`: what is said of the whole clause must assert it.
    let asserts = |pair: &[&str]| pair[1] != "that" || has(&ASSERTIONS, pair[0]) || pair[0] == "0";
    let judges = words.first().is_some_and(|word| has(&["it", "this", "i"], word));
    let claims = |triple: &[&str]| {
        let opens = has(&["the", "it", "there", "this", "our", "its"], triple[2])
            || (judges && has(&["they", "we", "0"], triple[2]));
        !opens || asserts(triple)
    };
    // `It follows from the inequality that the maximum is 18`
    let follows =
        words.iter().any(|word| has(&["follows", "know", "shows", "conclude", "deduce"], word));
    if !follows && !words.windows(3).all(claims) {
        return true;
    }
    // `I am not convinced that 18`
    if let [.., said, that] = words
        && has(&["that"], that)
        && !has(&ASSERTIONS, said)
        && *said != "0"
    {
        return true;
    }
    let is_link = |word: &&str| has(&LINKS, word);
    words.iter().enumerate().any(|(at, word)| {
        let behind = &words[at + 1..];
        // `not only 18`, `no other value is 18`, `not 17 but 18`
        let is_answered =
            behind.first().is_some_and(|next| has(&["only", "other", "more", "matter"], next))
                || behind.last().is_some_and(|last| has(&["but"], last));
        if !is_negation(word) || is_answered {
            return false;
        }
        let before = &words[..at];
        let verb = before.last().is_some_and(|word| has(&AUXILIARIES, word));
        let denies = verb || word.ends_with("n't") || has(&["cannot", "nobody", "never"], word);
        // Of `the number that cannot be written so is 18`, the negation is in a clause of its own.
        let is_own = before.iter().any(|word| has(&SUBORDINATORS, word));
        let is_near = behind.len() < 3 && !behind.iter().any(is_link);
        denies && (is_near || !is_own)
    })
}

/// Whether a clause reports another person's claim.
fn is_taken_by_another(clause: &str) -> bool {
    let words: Vec<&str> = words_of(clause).collect();
    words.iter().enumerate().any(|(at, word)| {
        is_hearsay(word)
            && !at.checked_sub(1).is_some_and(|before| has(&["we", "i", "as"], words[before]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_front_of_a_value_state_it_or_do_not() {
        for text in [
            "The answer is ",
            "Since 5 is not prime, the answer is ",
            "The number of integers that are not divisible by 3 is ",
            "The number of integers not divisible by 3 is ",
            "The smallest number that cannot be written so is ",
            "We need at least ",
            "It comes to a total of ",
            "The answer is not 17 but ",
            "We do not need more. So the total is ",
            "Not only this, ",
            "We claim that the answer is ",
            "Thus, no other value works, and the answer is ",
            "This has a value of ",
            "The value is equal to ",
            "For $x \\ne 2$ the value is $y = ",
            "If n is not even, there are ",
            "As shown above, ",
            "Since the slope is negative, ",
            "Two is prime and four is not, so ",
            "Four is not, the answer is ",
            "Believe it or not, ",
            "If it is not, ",
        ] {
            assert!(!withholds(text), "{text}");
        }
        for text in [
            "The answer is not ",
            "The answer is definitely not equal to ",
            "It is not the case that the answer is ",
            "I do not believe the answer is ",
            "There is no way it is ",
            "The answer cannot possibly be ",
            "It isn't true that the total is ",
            "A common mistake is to answer ",
            "The answer is anything but ",
            "The answer is one less than ",
            "The answer lies between 10 and ",
            "The answer is the square of ",
            "The answer is twice ",
            "Instead of ",
            "Never write ",
            "The wrong answer is ",
            "Wrong answer: ",
            "Not the answer: ",
            "The book claims that the answer is ",
            "Rule out ",
            "The value is at least ",
            "The answer is not, ",
            "It isn't, ",
            "The answer is not, however, ",
            "It is anything but, I repeat, ",
            "The answer is more than, say, ",
            "The answer is negative ",
        ] {
            assert!(withholds(text), "{text}");
        }
    }
}
