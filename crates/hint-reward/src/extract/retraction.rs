//! Texts behind an answer that take it back or change it.

use crate::extract::sentence::{goes_on_saying, is_hypothetical};
use crate::math::parse::counted::is_counted;
use crate::math::parse::stance::{has, takes_back, words_of};
use crate::number::numbers_in;

/// Bytes behind an answer in which it may be taken back.
const MAX_REMARK: usize = 300;

/// Whether the text behind an answer takes it back, or continues with a remark that is no praise:
/// `12 is what a careless student writes`.
pub(crate) fn is_taken_back(behind: &str) -> bool {
    // `12, but that is the perimeter` has another answer.
    const VERBS: [&str; 42] = [
        "but",
        "is",
        "was",
        "can",
        "would",
        "could",
        "might",
        "may",
        "has",
        "must",
        "should",
        "does",
        "overcounts",
        "undercounts",
        "includes",
        "contains",
        "becomes",
        "counts",
        "exceeds",
        "misses",
        "forgets",
        "ignores",
        "omits",
        "turns",
        "seems",
        "looks",
        "appears",
        "comes",
        "means",
        "represents",
        "refers",
        "denotes",
        "requires",
        "contradicts",
        "lacks",
        "assumes",
        "leads",
        "yields",
        "belongs",
        "overshoots",
        "equals",
        "underestimates",
    ];
    const FAILURES: [&str; 7] =
        ["fails", "cannot", "can't", "isn't", "wasn't", "doesn't", "violates"];
    const PRAISE: [&str; 15] = [
        "answer", "solution", "result", "value", "total", "number", "correct", "right", "required",
        "final", "minimum", "maximum", "smallest", "largest", "sum",
    ];
    // `12 is twice the answer`, `12 is greater than the answer`
    const RELATIONS: [&str; 24] = [
        "for", "old", "previous", "earlier", "first", "initial", "partial", "part", "piece",
        "step", "than", "of", "from", "to", "by", "like", "twice", "half", "double", "near",
        "without", "against", "under", "times",
    ];
    let behind = &behind[..behind.floor_char_boundary(MAX_REMARK)];
    if is_conditional(behind)
        || goes_on_listing(behind)
        || takes_back(behind)
        || computes_on(behind)
        || states_another(behind)
    {
        return true;
    }
    let sentence = behind
        .trim_start_matches([' ', '$', '}', ')', ']', '\\', '*', ','])
        .trim_start_matches("text{")
        .trim_start();
    let sentence = sentence.split(['.', '\n', '!', '?', ';']).next().unwrap_or_default();
    let mut words = words_of(sentence);
    // `12, I got 13`
    let mut own = words.clone();
    if own.next().is_some_and(|word| has(&["i", "we", "mine", "ours"], word))
        && own.next().is_some_and(|verb| has(&["got", "get", "find", "found", "is", "say"], verb))
        && !numbers_in(sentence).is_empty()
    {
        return true;
    }
    // `12, which fails the check`
    let mut clause = words.clone().skip_while(|word| has(&["which", "this", "it"], word));
    if clause.next().is_some_and(|verb| has(&FAILURES, verb)) {
        return true;
    }
    // `12. It is absurd.`
    let next = behind.trim_start_matches(|c: char| !c.is_alphanumeric());
    let next: Vec<&str> =
        words_of(next.split(['.', '\n', '!', ';', ',']).next().unwrap_or(next)).collect();
    if let [pronoun, verb, ..] = next.as_slice()
        && has(&["it", "this", "that"], pronoun)
        && has(&FAILURES, verb)
    {
        return true;
    }
    if let [pronoun, verb, .., said] = next.as_slice()
        && next.len() < 5
        && has(&["it", "this", "that"], pronoun)
        && has(&["is", "was"], verb)
        && !describes(said)
        && !has(&PRAISE, said)
    {
        return true;
    }
    // `12 is only a part`, `12, which we must double`
    let opening: Vec<&str> = words.clone().take(2).collect();
    if let [verb, said] = opening.as_slice()
        && ((has(&["is", "was"], verb) && has(&["only", "just", "merely"], said))
            || (has(&["which"], verb) && has(&["we", "you", "i", "one", "must", "needs"], said)))
    {
        return true;
    }
    // `12, which is impossible`
    if has(&["which", "this", "it", "that"], words.clone().next().unwrap_or_default()) {
        let mut said =
            words.clone().skip(1).skip_while(|word| has(&["also", "indeed", "then"], word));
        let links = said.next().is_some_and(|verb| has(&["is", "was"], verb));
        return links && said.next().is_some_and(|word| !describes(word));
    }
    let praises = |words: &mut dyn Iterator<Item = &str>| {
        words.take_while(|word| !has(&RELATIONS, word)).any(|word| has(&PRAISE, word))
    };
    let verb = words.next().unwrap_or_default();
    if has(&["was"], verb)
        && !words.clone().any(|word| {
            has(&["answer", "solution", "result", "required", "desired", "asked", "correct"], word)
        })
    {
        return true;
    }
    has(&VERBS, verb)
        && (is_hypothetical(sentence) || sentence.starts_with("but ") || !praises(&mut words))
}

/// Whether a clause about an answer leaves it unchanged: `which is the smallest`.
fn describes(word: &str) -> bool {
    const WORDS: [&str; 57] = [
        "it",
        "done",
        "complete",
        "finished",
        "proved",
        "clear",
        "optimal",
        "sharp",
        "best",
        "enough",
        "sufficient",
        "unique",
        "the",
        "a",
        "an",
        "our",
        "option",
        "choice",
        "equal",
        "equivalent",
        "approximately",
        "about",
        "roughly",
        "odd",
        "even",
        "prime",
        "positive",
        "negative",
        "integer",
        "rational",
        "real",
        "valid",
        "possible",
        "correct",
        "right",
        "consistent",
        "attained",
        "reached",
        "achieved",
        "obtained",
        "true",
        "minimal",
        "maximal",
        "indeed",
        "exactly",
        "required",
        "desired",
        "what",
        "also",
        "in",
        "at",
        "divisible",
        "answer",
        "simply",
        "just",
        "as",
        "between",
    ];
    has(&WORDS, word) || word.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether the words directly behind a box leave its value unchanged: a unit, a counted thing, a reason. Any other may
/// change it: `reversed`, `in base 7`, `with the sign flipped`.
pub(super) fn leaves_value(behind: &str, is_one: bool) -> bool {
    const VERBS: [&str; 12] = [
        "is",
        "are",
        "was",
        "were",
        "equals",
        "remain",
        "remains",
        "works",
        "satisfies",
        "can",
        "must",
        "will",
    ];
    const BEHIND: [&str; 31] = [
        "when",
        "where",
        "for",
        "on",
        "per",
        "each",
        "while",
        "if",
        "completing",
        "confirming",
        "proving",
        "showing",
        "concluding",
        "matching",
        "corresponding",
        "occurring",
        "exactly",
        "indeed",
        "total",
        "i.e",
        "e.g",
        "also",
        "until",
        "altogether",
        "again",
        "here",
        "now",
        "then",
        "finally",
        "left",
        "cannot",
    ];
    let line =
        behind.trim_start_matches(['$', '}', '*', ']']).split('\n').next().unwrap_or_default();
    let text = line.trim_start_matches([',', ' ', '~', '$', '*']);
    let text = ["\\text{", "\\textrm{", "\\mathrm{", "\\mbox{"]
        .iter()
        .find_map(|command| text.strip_prefix(command))
        .unwrap_or(text)
        .trim_start_matches([',', ' ']);
    if !text.starts_with(char::is_alphabetic) {
        return true;
    }
    let clause = text
        .split(['.', ';', ',', '!', ':', '?', '}', '(', '$', '\\'])
        .next()
        .unwrap_or(text)
        .trim();
    let mut words = words_of(clause);
    let first = words.next().unwrap_or_default();
    let next = words.next().unwrap_or_default();
    let changes = match first.to_ascii_lowercase().as_str() {
        "in" => has(
            &[
                "base",
                "octal",
                "hexadecimal",
                "hex",
                "binary",
                "reverse",
                "thousands",
                "hundreds",
                "millions",
            ],
            next,
        ),
        "at" => has(&["least", "most", "best", "worst"], next),
        "with" => !has(&["equality"], next),
        "as" => has(&["many", "much", "large", "long"], next),
        _ => false,
    };
    if changes {
        return false;
    }
    let has_value = text.get(first.len()..).is_some_and(|rest| {
        rest.trim_start().starts_with(|c: char| c.is_ascii_digit() || "$\\-".contains(c))
    });
    let approximates = has(&["approximately", "about", "roughly"], first) && has_value
        || has(&["or"], first)
            && has(&["equivalently", "approximately", "about", "roughly", "simply"], next);
    // `marbles are left`
    let counted =
        [" are ", " is ", " were ", " remain", " can ", " must ", " will ", " have ", " at the "]
            .iter()
            .fold(clause, |clause, verb| clause.split(verb).next().unwrap_or(clause));
    first == "with"
        || !first.is_ascii()
        || first.chars().count() == 1
        || approximates
        || has(&VERBS, first)
        || has(&BEHIND, first)
        || is_counted(counted, is_one)
        || is_scale(first)
        || goes_on_saying(&format!(", {text}"))
}

/// Whether a word counts by a fixed number or part: `dozen`, `percent`.
fn is_scale(word: &str) -> bool {
    has(
        &[
            "percent",
            "percentage",
            "dozen",
            "hundred",
            "thousand",
            "million",
            "billion",
            "trillion",
            "lakh",
            "crore",
            "square",
            "cubic",
            "th",
            "st",
            "nd",
            "rd",
        ],
        word,
    )
}

/// Whether an answer holds under a condition only: `if repetition were allowed`, `(before removing duplicates)`.
fn is_conditional(behind: &str) -> bool {
    const CONDITIONS: [&str; 10] = [
        "if",
        "unless",
        "provided",
        "before",
        "until",
        "without",
        "except",
        "excluding",
        "minus",
        "out",
    ];
    const BOUNDS: [&str; 25] = [
        "upper",
        "lower",
        "bound",
        "least",
        "most",
        "half",
        "twice",
        "estimate",
        "wrong",
        "only",
        "reversed",
        "doubled",
        "tripled",
        "halved",
        "negated",
        "inverted",
        "swapped",
        "flipped",
        "squared",
        "cubed",
        "backwards",
        "reciprocal",
        "opposite",
        "minus",
        "plus",
    ];
    let text = behind.trim_start_matches(['$', ' ', '\\', '*', '}']);
    let (inside, is_bracket) = match text.strip_prefix('(') {
        Some(rest) => (rest.split(')').next().unwrap_or(rest), true),
        None => (text.split(['.', ',', ';', '\n']).next().unwrap_or(text), false),
    };
    let inside = inside.trim_start_matches("\\text{").trim_start_matches("text{");
    let mut words = words_of(inside);
    let first = words.clone().next().unwrap_or_default();
    // `if and only if`
    let opens = has(&CONDITIONS, first) && !inside.starts_with("if and only");
    let opens = opens || (first == "but" && words.nth(1).is_some_and(|word| has(&["only"], word)));
    opens && (is_bracket || text.len() < behind.len())
        || (is_bracket && words_of(inside).any(|word| has(&BOUNDS, word)))
}

/// Whether an answer is the first of several: `18, 19`, `18. Answer B: 19`.
fn goes_on_listing(behind: &str) -> bool {
    let text = behind.trim_start_matches(['$', '}', ' ']);
    let is_next = text.strip_prefix(',').is_some_and(|rest| {
        let rest = rest.trim_start_matches([' ', '$']);
        let digits = rest.trim_start_matches('-');
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        // A number of its own, and no word that it counts.
        end > 0
            && !digits[end..].trim_start_matches('$').trim_start().starts_with(char::is_alphabetic)
    });
    let mut words = words_of(behind);
    let labels = words.by_ref().any(|word| has(&["answer"], word))
        && words.next().is_some_and(|label| label.len() == 1 && !has(&["a"], label));
    is_next || labels
}

/// Whether the text behind an answer wants or names another one: `; we need edges`, `. The right value is 30`.
fn states_another(behind: &str) -> bool {
    const WANTS: [&str; 5] = ["need", "want", "require", "seek", "realized"];
    const TRUE: [&str; 7] = ["right", "correct", "true", "actual", "real", "proper", "total"];
    const RESULTS: [&str; 9] =
        ["value", "one", "result", "number", "count", "total", "sum", "figure", "is"];
    const MAX_CLAUSES: usize = 3;
    let line = behind.split("\n\n").next().unwrap_or(behind);
    line.split(['.', ';', ',', '!', '\n']).take(MAX_CLAUSES).any(|clause| {
        let mut words =
            words_of(clause).skip_while(|word| has(&["but", "yet", "then", "and", "while"], word));
        match words.next() {
            Some(first) if has(&["we", "i"], first) => {
                words.next().is_some_and(|verb| has(&WANTS, verb))
            }
            Some(first) if has(&["the"], first) => {
                words.next().is_some_and(|word| has(&TRUE, word))
                    && words.next().is_some_and(|word| has(&RESULTS, word))
                    && !numbers_in(clause).is_empty()
            }
            Some(first) => has(&["realized"], first),
            None => false,
        }
    })
}

/// Whether the text behind an answer changes it: `; now subtract 4`, `. Then we double it`.
fn computes_on(behind: &str) -> bool {
    const OPERATIONS: [&str; 15] = [
        "subtract", "add", "double", "triple", "halve", "multiply", "divide", "square", "negate",
        "increase", "decrease", "deduct", "minus", "plus", "round",
    ];
    const MODALS: [&str; 20] = [
        "now", "then", "next", "finally", "but", "and", "we", "you", "must", "need", "to", "have",
        "should", "still", "just", "remember", "let", "us", "only", "it",
    ];
    const MAX_CLAUSES: usize = 3;
    let line = behind.split("\n\n").next().unwrap_or(behind);
    line.split(['.', ';', ',', '!', '\n']).take(MAX_CLAUSES).enumerate().any(|(at, clause)| {
        let mut words = words_of(clause).peekable();
        let mut is_led = at > 0;
        while words.next_if(|word| has(&MODALS, word)).is_some() {
            is_led = true;
        }
        // `square units` names what was counted.
        is_led && words.next().is_some_and(|verb| has(&OPERATIONS, verb))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_behind_a_box_leave_its_value_or_change_it() {
        for text in [
            " marbles are left.",
            ", since it is even.",
            "$ different ways.",
            " as desired.",
            " is the answer.",
            " in total.",
            ".",
            ", completing the proof.",
            " square units.",
            ", when $x = 3$.",
        ] {
            assert!(leaves_value(text, false), "{text}");
        }
        for text in [
            " reversed.",
            " in base 7.",
            " with the sign flipped.",
            ", divided by 4.",
            " lowered by 3.",
            " at least.",
            " up to a factor.",
            ", roughly doubled.",
            " into 8.",
        ] {
            assert!(!leaves_value(text, false), "{text}");
        }
    }

    #[test]
    fn what_changes_an_answer_is_told_from_what_explains_it() {
        for text in [
            ", which we must double.",
            "; now subtract 4.",
            " is only the first part. The total is 46.",
            ". Then we double it.",
            " overcounts by 2.",
            " is an upper bound for the answer.",
            " was the old answer.",
            " is the number of vertices; we need edges.",
            ". The right value is 30.",
            " if repetition were allowed.",
            " (before removing duplicates)",
            " (upper bound)",
            ", 18, 19.",
            ". Answer B: 18.",
            ". Hold on, I forgot a case.",
            " was the number of trials.",
            " becomes 30.",
            " is what a careless student writes.",
            ", which is impossible.",
        ] {
            assert!(is_taken_back(text), "{text}");
        }
        for text in [
            ", which is the smallest.",
            " is the only solution.",
            ". We check: 3 + 4 = 7.",
            ", since the sum of the digits is 5.",
            " marbles.",
            " square units.",
        ] {
            assert!(!is_taken_back(text), "{text}");
        }
    }
}
