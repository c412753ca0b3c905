//! Subjects and conditions of the clause in front of a value.

use crate::math::parse::stance::{has, words_of};

/// Verbs that link a subject with its value.
pub(super) const LINKS: [&str; 14] = [
    "is", "are", "was", "were", "be", "equals", "equal", "gives", "get", "yields", "have", "has",
    "obtain", "find",
];

/// Whether a sentence tells what would be: `Had we forgotten it, we would get`, `It would have been`.
pub(super) fn is_counterfactual(words: &[&str]) -> bool {
    let is_modal = |word: &&str| has(&["would", "could", "might", "should"], word);
    let opens = words.iter().find(|word| !has(&["so", "but", "and", "now", "even"], word));
    let inverts = opens.is_some_and(|word| has(&["had", "were"], word));
    // `Without the constraint, the answer is`
    let leaves_out = words
        .first()
        .is_some_and(|word| has(&["without", "forgetting", "omitting", "disregarding"], word))
        && !words
            .get(1)
            .is_some_and(|word| has(&["loss", "replacement", "repetition", "repetitions"], word));
    // `Let us suppose the answer is`, `One might think it is`, `If we forget a case, it is`
    let imagines = words.iter().any(|word| has(&["suppose", "supposing", "imagine"], word));
    let thinks = |pair: &[&str]| {
        (is_modal(&pair[0]) || has(&["may"], pair[0]))
            && has(
                &["think", "believe", "expect", "guess", "say", "argue", "assume", "answer"],
                pair[1],
            )
    };
    let omits = opens.is_some_and(|word| has(&["if", "when", "by"], word))
        && words.iter().any(|word| {
            has(
                &["forget", "ignore", "overlook", "omit", "neglect", "miscount", "forgetting"],
                word,
            )
        });
    // `The answer, had we rounded up, would be`
    let inverts = inverts
        || words.windows(2).any(|pair| {
            has(&["had", "were"], pair[0]) && has(&["we", "i", "you", "it", "they"], pair[1])
        });
    let supposes = opens.is_some_and(|word| has(&["if"], word))
        && words
            .iter()
            .any(|word| has(&["were", "had", "weren't", "hadn't"], word) || word.ends_with("ed"));
    let past = |triple: &[&str]| {
        is_modal(&triple[0])
            && has(&["have"], triple[1])
            && (has(&["been", "got", "gotten", "found", "given", "had"], triple[2])
                || triple[2].ends_with("ed"))
    };
    leaves_out
        || imagines
        || omits
        || words.windows(2).any(thinks)
        || ((inverts || supposes) && words.iter().any(is_modal))
        || words.windows(3).any(past)
}

/// Whether the sentence around a box first supposes something and then states the truth: `If it were even, we
/// would get \boxed{18}; as it is, there is none.`
pub(super) fn is_supposed(before: &str, behind: &str) -> bool {
    let sentence = before.rsplit(['.', '!', '?', '\n']).next().unwrap_or(before);
    let mut words = words_of(sentence);
    let goes_on = behind
        .trim_start_matches(['$', '*', '\\', ')', '}', ' '])
        .strip_prefix([',', ';'])
        .is_some_and(|rest| rest.split_whitespace().nth(2).is_some());
    goes_on
        && words.next().is_some_and(|word| has(&["if", "had", "were"], word))
        && words.any(|word| has(&["would", "could", "might"], word))
}

/// Whether a box is a part of a subject whose verb stands behind it: `The next term after \boxed{18} is`.
pub(super) fn is_in_subject(before: &str, behind: &str) -> bool {
    const PREPOSITIONS: [&str; 10] =
        ["after", "before", "following", "past", "for", "on", "in", "at", "beside", "with"];
    let last = before.trim_end_matches(['$', ' ', '\\', '(', '*']);
    let last = words_of(last.rsplit(['.', '\n', ',', ':']).next().unwrap_or(last)).last();
    let next = words_of(behind.split(['.', '\n', ',']).next().unwrap_or(behind)).next();
    last.is_some_and(|word| has(&PREPOSITIONS, word))
        && next.is_some_and(|word| has(&["is", "are", "gives", "equals"], word))
}

/// Whether the subject of a clause is something made of the answer: `Half of the answer is`, `The answer plus 3 is`.
pub(super) fn is_of_answer(words: &[&str]) -> bool {
    const SAME: [&str; 6] = ["value", "form", "part", "simplification", "statement", "expression"];
    // What may follow `the answer` in front of its verb.
    const BEHIND: [&str; 30] = [
        "to",
        "in",
        "as",
        "for",
        "we",
        "you",
        "i",
        "must",
        "then",
        "therefore",
        "thus",
        "hence",
        "indeed",
        "clearly",
        "rounded",
        "expressed",
        "here",
        "should",
        "would",
        "will",
        "can",
        "turns",
        "comes",
        "that",
        "of",
        "with",
        "becomes",
        "was",
        "now",
        "and",
    ];
    const OWNERS: [&str; 9] =
        ["the", "my", "our", "this", "its", "final", "correct", "right", "all"];
    const OTHERS: [&str; 9] =
        ["another", "previous", "other", "last", "next", "different", "wrong", "his", "her"];
    const MULTIPLES: [&str; 9] =
        ["twice", "thrice", "half", "double", "triple", "minus", "plus", "times", "than"];
    let is_answer = |word: &&str| has(&["answer", "answer's", "answers"], word);
    let Some(at) = words.iter().position(is_answer) else { return false };
    let (before, behind) = (&words[..at], &words[at + 1..]);
    let Some((owner, head)) = before.split_last().filter(|(owner, _)| has(&OWNERS, owner)) else {
        return false;
    };
    // `Twice the answer is`
    if head.last().is_some_and(|word| has(&MULTIPLES, word)) && !has(&["all"], owner) {
        return true;
    }
    let Some(link) = behind.iter().position(|word| has(&LINKS, word)) else { return false };
    let owner = before
        .iter()
        .rposition(|word| has(&["of"], word))
        .filter(|of| before.len() - of <= 4)
        .and_then(|of| of.checked_sub(1));
    let is_changed = owner.is_some_and(|owner| !has(&SAME, before[owner]));
    let goes_on = behind[..link].first().is_some_and(|word| !has(&BEHIND, word));
    let another = behind[..link].iter().any(|word| has(&OTHERS, word));
    is_changed || goes_on || another || has(&["answer's"], words[at])
}

/// Whether the verb in front of a value does something with it: `Multiply 18 by two`, `We must avoid 18`.
pub(super) fn acts_on_value(words: &[&str]) -> bool {
    const ACTIONS: [&str; 22] = [
        "multiply",
        "divide",
        "halve",
        "square",
        "skip",
        "avoid",
        "omit",
        "forget",
        "ignore",
        "scrap",
        "abandon",
        "replace",
        "correct",
        "erase",
        "negate",
        "reverse",
        "invert",
        "swap",
        "disregard",
        "exclude",
        "reject",
        "discard",
    ];
    // At the start of a sentence only: `We add 18 liters` states an amount.
    const ORDERS: [&str; 22] = [
        "add",
        "subtract",
        "take",
        "use",
        "try",
        "check",
        "test",
        "consider",
        "remove",
        "plug",
        "substitute",
        "round",
        "increase",
        "decrease",
        "reduce",
        "drop",
        "delete",
        "change",
        "fix",
        "flip",
        "imagine",
        "compare",
    ];
    const DETERMINERS: [&str; 6] = ["the", "value", "answer", "number", "a", "out"];
    let Some(at) = words.iter().rposition(|word| !has(&DETERMINERS, word)) else { return false };
    let order = |word: &&str| has(&["now", "then", "next", "just", "please", "so"], word);
    has(&ACTIONS, words[at]) || (has(&ORDERS, words[at]) && words[..at].iter().all(order))
}

/// Whether a value is what somebody else, or an earlier attempt, found: `The student found`, `I first wrote`.
pub(super) fn is_of_attempt(words: &[&str]) -> bool {
    const PEOPLE: [&str; 14] = [
        "student",
        "students",
        "classmate",
        "friend",
        "textbook",
        "teacher",
        "neighbor",
        "colleague",
        "someone",
        "somebody",
        "author",
        "solver",
        "chatbot",
        "wikipedia",
    ];
    const FOUND: [&str; 15] = [
        "found",
        "got",
        "gets",
        "wrote",
        "writes",
        "obtained",
        "computed",
        "calculated",
        "thought",
        "tried",
        "guessed",
        "had",
        "reported",
        "finds",
        "put",
    ];
    const EARLIER: [&str; 4] = ["initially", "originally", "previously", "formerly"];
    let Some((verb, before)) = words.split_last() else { return false };
    let someone = before.iter().any(|word| has(&PEOPLE, word));
    let first = before.last().is_some_and(|word| has(&["first", "once"], word));
    words.iter().any(|word| has(&EARLIER, word)) || (has(&FOUND, verb) && (someone || first))
}

/// Whether a value stands in a clause that only supposes it, or behind a participle that changes it:
/// `surprised if it were`, `as many digits as`, `Halving`.
pub(super) fn is_within_condition(words: &[&str]) -> bool {
    const MAX_WORDS: usize = 4;
    const STATING: [&str; 27] = [
        "need",
        "needed",
        "required",
        "desired",
        "boxed",
        "obtained",
        "reached",
        "found",
        "leaving",
        "giving",
        "making",
        "yielding",
        "obtaining",
        "getting",
        "having",
        "totaling",
        "finding",
        "remaining",
        "concluding",
        "answering",
        "equaling",
        "being",
        "simplified",
        "called",
        "used",
        "including",
        "needing",
    ];
    let Some((last, before)) = words.split_last() else { return false };
    let condition = words.iter().rposition(|word| has(&["if", "whether", "unless"], word));
    let supposed = condition.is_some_and(|at| {
        let inside = &words[at + 1..];
        (1..=MAX_WORDS).contains(&inside.len())
            && inside.iter().any(|word| has(&LINKS, word))
            && !inside.iter().any(|word| has(&["then", "and", "get", "0"], word))
    });
    let compared = has(&["as"], last)
        && before.iter().any(|word| has(&["as"], word))
        && before.iter().any(|word| has(&["many", "much", "large", "long", "big"], word));
    let participle = (last.ends_with("ing") && before.is_empty() || last.ends_with("posed"))
        && !has(&STATING, last);
    supposed || compared || participle
}

/// Whether a sentence starts with a base that is not ten: `In base 7, the answer is`.
pub(super) fn is_in_base(sentence: &str) -> bool {
    let mut words = sentence.split([' ', ',', '$']).filter(|word| !word.is_empty());
    words.next().is_some_and(|word| has(&["in", "using", "written"], word))
        && words.find(|word| !has(&["in"], word)).is_some_and(|word| has(&["base"], word))
        && words.next().is_some_and(|base| !has(&["10", "ten"], base))
}

/// Whether the preposition in front of a value makes it something else than the value of the clause: `close to`,
/// `different from`, `a factor of`. Of prepositions only those that are known to state a value do.
pub(super) fn leads_by_preposition(words: &[&str]) -> bool {
    const TO: [&str; 36] = [
        "equal",
        "equals",
        "equivalent",
        "comes",
        "come",
        "came",
        "amounts",
        "amount",
        "adds",
        "add",
        "up",
        "down",
        "out",
        "simplifies",
        "simplify",
        "evaluates",
        "reduces",
        "reduced",
        "sums",
        "sum",
        "leads",
        "lead",
        "leading",
        "converges",
        "tends",
        "boils",
        "rounds",
        "rounded",
        "us",
        "corresponds",
        "get",
        "brings",
        "totals",
        "has",
        "simplified",
        "back",
    ];
    const OF: [&str; 64] = [
        "total",
        "value",
        "values",
        "sum",
        "answer",
        "result",
        "maximum",
        "minimum",
        "area",
        "length",
        "number",
        "probability",
        "solution",
        "solutions",
        "cost",
        "price",
        "volume",
        "perimeter",
        "count",
        "average",
        "mean",
        "product",
        "distance",
        "speed",
        "height",
        "width",
        "radius",
        "set",
        "choice",
        "consist",
        "consists",
        "consisting",
        "form",
        "ratio",
        "remainder",
        "difference",
        "profit",
        "score",
        "rate",
        "age",
        "weight",
        "time",
        "median",
        "grand",
        "all",
        "maximal",
        "limit",
        "pair",
        "pairs",
        "mass",
        "force",
        "angle",
        "range",
        "domain",
        "measure",
        "quotient",
        "circumference",
        "diameter",
        "gain",
        "loss",
        "measures",
        "composed",
        "made",
        "degree",
    ];
    const STATES: [&str; 13] = [
        "value",
        "values",
        "total",
        "answer",
        "solution",
        "solutions",
        "consist",
        "consists",
        "consisting",
        "composed",
        "made",
        "set",
        "all",
    ];
    const BY: [&str; 12] = [
        "given",
        "represented",
        "described",
        "denoted",
        "determined",
        "expressed",
        "bounded",
        "attained",
        "achieved",
        "produced",
        "obtained",
        "divided",
    ];
    const WITH: [&str; 6] = ["left", "up", "answer", "us", "so", "respond"];
    let Some((last, rest)) = words.split_last() else { return false };
    let previous = rest.last().copied().unwrap_or_default();
    let is_known = |known: &[&str]| has(known, previous) || previous == "0";
    match last.to_ascii_lowercase().as_str() {
        "to" => !is_known(&TO),
        // `a total of 18` states it, `the digit sum of 18` computes with it.
        "of" => {
            let indefinite = || {
                let near = &rest[rest.len().saturating_sub(4)..];
                near.iter().any(|word| has(&["a", "an", "at", "its", "in"], word))
            };
            !(has(&STATES, previous) || previous == "0" || (is_known(&OF) && indefinite()))
        }
        "by" => !is_known(&BY),
        "with" => !is_known(&WITH) && !rest.is_empty(),
        "like" | "from" | "near" | "around" | "unlike" | "against" | "outside" | "excluding"
        | "despite" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        words_of(text).collect()
    }

    #[test]
    fn prepositions_state_a_value_or_place_it_elsewhere() {
        for text in [
            "the sum is equal to",
            "it comes to a total of",
            "is given by",
            "we are left with",
            "is",
        ] {
            assert!(!leads_by_preposition(&words(text)), "{text}");
        }
        for text in [
            "it is close to",
            "different from",
            "it is a factor of",
            "divisible by",
            "it agrees with",
        ] {
            assert!(leads_by_preposition(&words(text)), "{text}");
        }
    }

    #[test]
    fn what_is_done_with_a_value_does_not_state_it() {
        for text in ["Multiply", "We must avoid", "Take the", "Then subtract"] {
            assert!(acts_on_value(&words(text)), "{text}");
        }
        for text in ["We need to add", "It would take", "So we use", "The answer is"] {
            assert!(!acts_on_value(&words(text)), "{text}");
        }
        assert!(is_of_attempt(&words("The student found")) && !is_of_attempt(&words("We found")));
        assert!(is_in_base("In base 7, the answer is ") && !is_in_base("In base 10, it is "));
    }

    #[test]
    fn what_would_be_is_told_from_what_is() {
        for text in [
            "Had we forgotten it we would get",
            "It would have been",
            "If it were even we would have",
        ] {
            assert!(is_counterfactual(&words(text)), "{text}");
        }
        for text in ["If we add them we would get", "So the total would be", "We had 3 and get"] {
            assert!(!is_counterfactual(&words(text)), "{text}");
        }
    }

    #[test]
    fn what_is_made_of_the_answer_is_not_the_answer() {
        for text in
            ["Half of the answer is", "The answer plus 3 is", "The answer to another question is"]
        {
            assert!(is_of_answer(&words(text)), "{text}");
        }
        for text in [
            "The answer is",
            "The answer to this problem is",
            "The value of the answer is",
            "The answer in meters is",
        ] {
            assert!(!is_of_answer(&words(text)), "{text}");
        }
    }
}
