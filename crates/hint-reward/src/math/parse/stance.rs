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
pub(super) fn is_no_counter(word: &str) -> bool {
    const SIGNS: &[char] = &[
        '万', '萬', '億', '亿', '兆', '千', '百', '以', '未', '超', '余', '多', '不', '非', '没',
        '或', '約', '约', '倍', '的', 'の', '加', '减', '減', '乘', '除', '倒', '反', '负', '負',
        '半', '반', '천', '백', '억', '조', '배', '더', '빼', '만',
    ];
    const DENIALS: [&str; 5] = ["아니", "아닙", "않", "ない", "ません"];
    // `种不同的排法`
    let bare = word.replace("不同的", "").replace("不同", "");
    let word = bare.as_str();
    word.contains(SIGNS)
        || ["平方", "立方", "次方"].contains(&word)
        || DENIALS.iter().any(|denial| word.contains(denial))
        || (!word.is_ascii() && word.chars().count() > 4 && word.chars().any(is_east_asian))
}

pub(super) fn is_east_asian(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

/// Words that deny.
#[rustfmt::skip]
const NEGATIONS: &[&str] = &[
    "not", "no", "never", "none", "nobody", "nothing", "neither", "nor", "cannot", "hardly", "unlikely",
    "impossible", "untrue", "unable",
];

/// Words that only suppose.
#[rustfmt::skip]
const HYPOTHESES: &[&str] = &[
    "if", "unless", "whether", "would", "could", "might", "may", "maybe", "perhaps", "possibly", "suppose",
    "supposing", "supposed", "supposedly", "assume", "assuming", "imagine", "imagining", "pretend",
    "pretending", "hypothetically", "guess", "guesses", "guessed", "doubt", "doubtful", "wonder", "seems",
    "been",
];

/// Words for what is wrong, belongs to others, or came before the answer.
#[rustfmt::skip]
const JUDGMENTS: &[&str] = &[
    "wrong", "wrongly", "incorrect", "incorrectly", "false", "falsely", "mistake", "mistaken", "mistakenly",
    "error", "erroneous", "erroneously", "naive", "naively", "careless", "sloppy", "hasty", "flawed", "faulty",
    "invalid", "bogus", "fake", "typo", "misprint", "misread", "misreading", "miscount", "miscounted",
    "miscounting", "misinterpreting", "overcount", "overcounting", "overcounts", "undercounts", "absurd",
    "rule", "rules", "ruled", "ruling", "reject", "rejects", "rejected", "discard", "discarded", "discarding",
    "exclude", "excluded", "eliminate", "eliminated", "deny", "denies", "denied", "refuse", "refused",
    "disagree", "dispute", "disputed", "refuted", "disproved", "retracted", "tempting", "tempted", "contrary",
    "myth", "rumor", "rumored", "allegedly", "contradiction", "contradicts", "contradicting", "fails", "fail",
    "failed", "violates", "claims", "claimed", "says", "said", "thought", "believes", "answered", "suggested",
    "suggests", "without", "previous", "previously", "earlier", "former", "formerly", "initial", "initially",
    "original", "originally", "another", "estimate", "bound", "opposite", "complement", "complementary",
    "reciprocal", "negation", "twice", "chance", "attempt", "impulse", "lie", "ignore", "ignoring", "forget", "forgetting",
    "neglecting", "omitting",
];

/// Words that start again.
#[rustfmt::skip]
const RETRACTIONS: &[&str] = &[
    "wait", "hmm", "oops", "sorry", "actually", "however", "scratch", "correction", "correcting", "nope",
    "strike", "kidding", "joking", "retract", "mistook", "forgot", "missed", "overlooked", "instead", "rather",
    "reality", "should", "reconsider", "recheck", "redo", "realized", "back", "multiply", "subtract", "divide",
    "double", "halve", "add", "still", "half", "choose", "pick",
];

/// Whether a text has a word that denies, only supposes or judges. The value that it names is not what it states.
pub(crate) fn doubts(text: &str) -> bool {
    let is_negation =
        |word: &str| has(NEGATIONS, word) || word.ends_with("n't") || word.ends_with("n’t");
    supposes_or_judges(text)
        || text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '’'))).any(is_negation)
}

/// Whether a text has a word that only supposes or judges.
pub(crate) fn supposes_or_judges(text: &str) -> bool {
    words_of(text).any(|word| has(HYPOTHESES, word) || has(JUDGMENTS, word))
        || text.contains("used to be")
}

/// Whether a text opens with a word that only supposes: `Suppose`, `Let's assume`, `Maybe`.
pub(crate) fn supposes(text: &str) -> bool {
    const BEFORE: [&str; 8] = ["let", "lets", "let's", "s", "us", "me", "just", "now"];
    // A condition is an answer: `if and only if n is even`.
    let text = text.trim_start();
    let opens = text.get(..14).is_some_and(|opens| opens.eq_ignore_ascii_case("if and only if"));
    let mut words = words_of(text).skip_while(|word| has(&BEFORE, word));
    !opens && words.next().is_some_and(|word| has(HYPOTHESES, word) || has(&["say"], word))
}

/// Whether words behind a name deny it: `can be excluded`, `is wrong`. The text `cannot be determined` does not.
pub(crate) fn denies_subject(rest: &str) -> bool {
    const VERBS: [&str; 10] =
        ["is", "isn't", "was", "can", "can't", "cannot", "must", "should", "has", "does"];
    const PRAISE: [&str; 5] = ["correct", "right", "true", "the", "work"];
    let mut words = words_of(rest);
    let Some(verb) = words.next().filter(|word| has(&VERBS, word)) else { return false };
    let negates = has(NEGATIONS, verb)
        || verb.ends_with("n't")
        || words.clone().next().is_some_and(|word| has(&["not"], word));
    words.clone().any(|word| has(JUDGMENTS, word))
        || (negates && words.any(|word| has(&PRAISE, word)))
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
    opens_anew(text) || words_of(text).any(|word| has(RETRACTIONS, word) || has(JUDGMENTS, word))
}

/// Whether a reason calls its answer wrong: `since 9 is wrong`. That other values are wrong is a reason.
pub(crate) fn retracts(reason: &str) -> bool {
    const WORDS: &[&str] = &[
        "wrong",
        "wrongly",
        "incorrect",
        "incorrectly",
        "mistake",
        "mistaken",
        "mistakenly",
        "erroneous",
        "lie",
        "lied",
        "fake",
        "bogus",
        "typo",
    ];
    words_of(reason).any(|word| has(WORDS, word))
        && !words_of(reason).any(|word| has(&["other", "others", "rest"], word))
}

/// Whether a clause of the text opens with a word that starts again, `Actually, D`, `No wait`, or crosses out.
pub(crate) fn opens_anew(text: &str) -> bool {
    text.contains(['✗', '✘', '❌', '🚫', '❎'])
        || text.split(['.', '!', '?', '\n', '(', ';', ':', ',', '—', '–']).any(|clause| {
            let mut words = words_of(clause)
                .skip_while(|word| has(&["but", "and", "so", "oh", "my", "i", "on"], word));
            let first = words.next().unwrap_or_default();
            let next = words.next().unwrap_or_default();
            // `No, it is 5` and `No wait`, not `No other value fits`.
            has(RETRACTIONS, first)
                || (has(&["no"], first) && (next.is_empty() || has(RETRACTIONS, next)))
                || (has(&["hold"], first) && has(&["on"], next))
                || (has(&["second"], first) && has(&["thought"], next))
                || has(&["mistake", "bad"], first)
        })
}

/// Whether words in front of an equation name something else than its value: `twice x = 5`, `unless x = 5`.
pub(super) fn changes_name(text: &str) -> bool {
    const CHANGES: [&str; 11] = [
        "twice", "thrice", "half", "double", "triple", "minus", "negative", "over", "under",
        "above", "below",
    ];
    const EXCLUDES: [&str; 6] = ["unless", "without", "except", "besides", "never", "whenever"];
    // Of another value, whatever it is of: `its square = 5`.
    const OTHERS: [&str; 14] = [
        "double",
        "twice",
        "thrice",
        "triple",
        "half",
        "reciprocal",
        "inverse",
        "opposite",
        "wrong",
        "incorrect",
        "error",
        "bound",
        "others",
        "old",
    ];
    if words_of(text).any(|word| has(&OTHERS, word))
        || words_of(text).next().is_some_and(|word| has(&["its"], word))
    {
        return true;
    }
    let mut words = words_of(text).peekable();
    while let Some(word) = words.next() {
        let of_a_name = words.peek().is_some_and(|next| next.len() == 1);
        if has(&EXCLUDES, word) || (has(&CHANGES, word) && of_a_name) {
            return true;
        }
    }
    false
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
            " ✅",
        ] {
            assert!(!takes_back(text), "{text}");
        }
    }
}
