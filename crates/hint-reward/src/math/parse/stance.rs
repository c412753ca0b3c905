//! Whether words stand by the value beside them, deny it or take it back.
//!
//! These are the closed classes of English: conjunctions, prepositions, comparatives, adverbs of doubt. A noun or a
//! unit contains none of them, so a text with one is no name of the counted thing.

/// Whether words behind a value cannot be the name of its unit or of the counted thing.
pub(crate) fn is_no_noun(words: &str) -> bool {
    const WORDS: [&str; 64] = [
        "halves",
        "half",
        "thirds",
        "fifths",
        "sixths",
        "sevenths",
        "eighths",
        "ninths",
        "tenths",
        "hundredths",
        "thousandths",
        "hundreds",
        "thousands",
        "millions",
        "billions",
        "otherwise",
        "or",
        "nor",
        "unless",
        "whereas",
        "versus",
        "than",
        "times",
        "plus",
        "minus",
        "mod",
        "modulo",
        "choose",
        "factorial",
        "divided",
        "multiplied",
        "over",
        "never",
        "maybe",
        "perhaps",
        "possibly",
        "probably",
        "likely",
        "presumably",
        "supposedly",
        "allegedly",
        "almost",
        "nearly",
        "wrong",
        "incorrect",
        "false",
        "rejected",
        "invalid",
        "mistaken",
        "at",
        "above",
        "below",
        "under",
        "beyond",
        "between",
        "short",
        "away",
        "off",
        "until",
        "before",
        "whatever",
        "either",
        "except",
        "instead",
    ];
    let mut words =
        words.split(|c: char| !(c.is_alphanumeric() || c == '^')).filter(|word| !word.is_empty());
    let first_is_power =
        words.clone().next().is_some_and(|word| matches!(word, "squared" | "cubed" | "and"));
    first_is_power || words.any(|word| has(&WORDS, word) || is_no_counter(word))
}

/// Whether a word of another script is more than a counter: `48万`, `48以上`, `48ではありません`.
fn is_no_counter(word: &str) -> bool {
    const SIGNS: &[char] = &[
        '万', '萬', '億', '亿', '兆', '千', '百', '以', '未', '超', '余', '多', '不', '非', '没',
        '或', '約', '约', '倍', '的', 'の',
    ];
    const DENIALS: [&str; 5] = ["아니", "아닙", "않", "ない", "ません"];
    word.contains(SIGNS)
        || DENIALS.iter().any(|denial| word.contains(denial))
        || (!word.is_ascii() && word.chars().count() > 4 && word.chars().any(is_east_asian))
}

fn is_east_asian(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

/// Whether a clause denies, doubts or only supposes its topic: `I do not think that`, `It is false that`.
pub(crate) fn denies(clause: &str) -> bool {
    const WORDS: [&str; 21] = [
        "maybe", "perhaps", "possibly", "not", "cannot", "if", "would", "could", "unless",
        "neither", "nor", "nobody", "never", "used", "false", "untrue", "doubt", "unlikely",
        "wrong", "hardly", "whether",
    ];
    words_of(clause).any(|word| has(&WORDS, word) || word.ends_with("n't"))
}

/// Whether a clause reports another person's words.
pub(crate) fn is_hearsay(clause: &str) -> bool {
    const WORDS: [&str; 8] =
        ["claims", "claim", "claimed", "said", "says", "believes", "thought", "answered"];
    words_of(clause).any(|word| has(&WORDS, word))
}

/// Whether a word, with the one behind it, takes its topic off the list of answers: `rejected`, `ruled out`.
pub(crate) fn takes_off(word: &str, next: Option<&str>) -> bool {
    const STEMS: [&str; 5] = ["exclud", "eliminat", "reject", "discard", "incorrect"];
    let starts = |stem: &&str| word.get(..stem.len()).is_some_and(|w| w.eq_ignore_ascii_case(stem));
    STEMS.iter().any(starts)
        || (has(&["rule", "rules", "ruled", "ruling"], word) && next == Some("out"))
}

/// Whether a clause takes the thing it names off the list of answers.
pub(crate) fn excludes(clause: &str) -> bool {
    let words: Vec<&str> = words_of(clause).collect();
    words.iter().enumerate().any(|(at, word)| takes_off(word, words.get(at + 1).copied()))
}

/// Whether words behind a name deny it: `can be excluded`, `is wrong`. The text `cannot be determined` does not.
pub(crate) fn denies_subject(rest: &str) -> bool {
    const VERBS: [&str; 10] = [
        "is ",
        "isn't ",
        "was ",
        "can ",
        "can't ",
        "cannot ",
        "must ",
        "should ",
        "has been ",
        "does not ",
    ];
    const DENIALS: [&str; 7] =
        ["wrong", "false", "not correct", "not right", "not true", "not the ", "not work"];
    let lowered = rest.to_ascii_lowercase();
    let negated =
        ["isn't ", "can't be ", "cannot be "].iter().any(|verb| lowered.starts_with(verb))
            && ["true", "right", "correct", "the "].iter().any(|word| lowered.contains(word));
    negated
        || VERBS.iter().any(|verb| lowered.starts_with(verb))
            && (DENIALS.iter().any(|word| lowered.contains(word)) || excludes(&lowered))
}

/// Words, with apostrophes in them.
pub(crate) fn words_of(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|word| !word.is_empty())
}

/// Whether a word is one of these, in any case.
pub(crate) fn has(words: &[&str], word: &str) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether a text takes back the text before it: `No, wait`, `(incorrect)`, `Scratch that, 15`, `❌`.
pub(crate) fn takes_back(text: &str) -> bool {
    const REGRETS: [&str; 8] = [
        "kidding",
        "joking",
        "mistaken",
        "mistook",
        "retract",
        "contradicts",
        "contradiction",
        "reality",
    ];
    const JUDGMENTS: [&str; 7] =
        ["wrong", "wrongly", "incorrect", "incorrectly", "rejected", "reject", "discard"];
    // Words that point back at the answer. `Options A and B are incorrect.` speaks of others.
    const OPENINGS: [&str; 5] = ["that", "this", "it", "i", "which"];
    const SUBJECTS: [&str; 5] = ["above", "answer", "result", "my", "box"];
    let judges = |(at, clause): (usize, &str)| {
        let mut words = words_of(clause).skip_while(|word| has(&["so", "and", "but"], word));
        let points_back = at == 0
            || words.next().is_some_and(|word| has(&OPENINGS, word) || has(&JUDGMENTS, word))
            || words_of(clause).any(|word| has(&SUBJECTS, word));
        // `we discard the negative root` judges another value.
        let others = ["the", "other", "any", "all", "a", "those", "negative"];
        let mut pairs = words_of(clause).zip(words_of(clause).skip(1).chain([""]));
        points_back
            && pairs.any(|(word, next)| {
                has(&JUDGMENTS, word) && !(has(&["reject", "discard"], word) && has(&others, next))
            })
    };
    opens_anew(text)
        || words_of(text).any(|word| has(&REGRETS, word))
        || text.split(['.', '!', '?', '\n', ',', ';']).enumerate().any(judges)
}

/// Whether a clause of the text opens with a word that starts again, `Actually, D`, `No wait`, or crosses out.
pub(crate) fn opens_anew(text: &str) -> bool {
    const OPENINGS: [&str; 10] = [
        "however",
        "wait",
        "scratch",
        "oops",
        "correction",
        "actually",
        "hmm",
        "sorry",
        "nope",
        "strike",
    ];
    let is = |known: &str, word: Option<&&str>| {
        word.is_some_and(|word| known.eq_ignore_ascii_case(word))
    };
    let is_opening = |word: Option<&&str>| OPENINGS.iter().any(|known| is(known, word));
    text.contains(['✗', '✘', '❌', '🚫', '❎'])
        || text.split_inclusive(['.', '!', '?', '\n', '(', ';', ':', ',', '—', '–']).any(|clause| {
            let words: Vec<&str> =
                words_of(clause).skip_while(|word| is("but", Some(word))).take(2).collect();
            // `Hold on`, `I forgot a case`, `On second thought`
            let pairs = [
                ("hold", "on"),
                ("oh", "no"),
                ("on", "second"),
                ("i", "forgot"),
                ("i", "missed"),
                ("i", "overlooked"),
                ("i", "miscounted"),
                ("my", "mistake"),
                ("my", "bad"),
            ];
            let begins = |(first, second): &(&str, &str)| {
                is(first, words.first()) && is(second, words.get(1))
            };
            // `No, it is 5` and `No wait`, not `No other value fits`.
            is_opening(words.first())
                || pairs.iter().any(begins)
                || (is("no", words.first()) && (is_opening(words.get(1)) || words.len() == 1))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_and_units_have_no_closed_class_words() {
        for noun in [
            "apples",
            "cm",
            "square meters",
            "people per day",
            "m per second squared",
            "です",
            "种方法",
            "more apples",
        ] {
            assert!(!is_no_noun(noun), "{noun}");
        }
        for other in [
            "maybe",
            "or any other number",
            "at most",
            "squared",
            "plus whatever remains",
            "(wrong)",
            "万",
            "以上",
        ] {
            assert!(is_no_noun(other), "{other}");
        }
    }

    #[test]
    fn retractions_are_told_from_remarks() {
        for text in [
            ". Scratch that, 15.",
            " (incorrect)",
            ", no wait",
            ". No wait: 5",
            ". No, it is 5",
            " ❌",
            ", which contradicts the parity",
            ". Hmm",
            ". That is wrong.",
            ". Checking again, my answer is incorrect.",
        ] {
            assert!(takes_back(text), "{text}");
        }
        for text in [
            ". I hope it is correct.",
            ", since no other divides",
            ". There are no more cases.",
            ". Options A and B are incorrect.",
            " ✅",
        ] {
            assert!(!takes_back(text), "{text}");
        }
    }
}
