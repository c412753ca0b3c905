//! What a sentence says before its arithmetic: subject and verb, and when or where.

use super::phrase::{join, lower_first, plain, plain_beside, starts_with_verb};
use super::token::Token;

/// The words before the arithmetic.
#[derive(Debug)]
pub(super) struct Before {
    /// Subject and verb, such as `he writes for`; may be empty.
    pub(super) clause: String,
    /// An adverbial from the start of the clause, such as `on Sunday`; may be empty.
    pub(super) setting: String,
    /// Whether the clause spoke of a total.
    total: bool,
    /// Whether an article was left over at the end, as in `he got a 1200 dollar bonus`.
    pub(super) article: bool,
    /// Whether the clause is a noun phrase before `=`.
    pub(super) verbless: bool,
}

const PRONOUNS: [&str; 9] = ["he", "she", "it", "they", "there", "we", "i", "you", "this"];

fn is_copula(word: &str) -> bool {
    ["is", "are", "was", "were", "be", "equals"].contains(&word)
}

fn is_pronoun(token: &Token) -> bool {
    PRONOUNS.iter().any(|pronoun| token.is_word(pronoun))
}

impl Before {
    /// `acts`: a verb follows the arithmetic, so the clause before it may be missing. `counted`: the
    /// noun that follows the arithmetic.
    pub(super) fn parse(tokens: &[Token], acts: bool, counted: Option<&str>) -> Self {
        let equated = tokens.last() == Some(&Token::Operator('='));
        let mut tokens = tokens;
        let mut comma = false;
        while let Some((last, rest)) = tokens.split_last() {
            if matches!(last, Token::Word(_) | Token::Number { .. }) {
                break;
            }
            comma |= *last == Token::Mark(',');
            tokens = rest;
        }
        let (tokens, mut total) = match tokens {
            [rest @ .., a, t, of] if a.is_word("a") && t.is_word("total") && of.is_word("of") => {
                (rest, true)
            }
            _ => (tokens, false),
        };
        let (setting, clause) = split_clauses(tokens, comma, acts);
        let mut words: Vec<String> =
            plain_beside(clause, counted).split_whitespace().map(str::to_owned).collect();
        let starts = |words: &[String], start: &[&str]| {
            words.len() > start.len()
                && words.iter().zip(start).all(|(word, start)| word.eq_ignore_ascii_case(start))
        };
        let ends = |words: &[String], end: &[&str]| {
            words.len() > end.len() && words.iter().rev().zip(end.iter().rev()).all(|(a, b)| a == b)
        };
        if starts(&words, &["in", "total"]) {
            words.drain(..2);
            total = true;
        }
        let mut setting = lower_first(&plain(setting));
        // A condition restates what the question gives.
        if ["if ", "since "].iter().any(|word| setting.starts_with(word)) {
            setting.clear();
        }
        let mut introduced = clause.first().is_some_and(|t| t.is_quantity() || t.is_word("first"));
        if starts(&words, &["years", "from", "now"]) {
            words.drain(..3);
            "then".clone_into(&mut setting);
            introduced = false;
        }
        for adverb in [["right", "now"], ["from", "now"]] {
            if starts(&words, &adverb) {
                words.drain(..2);
                setting = adverb.join(" ");
            }
        }
        if ends(&words, &["be", "a", "cost", "of"]) {
            words.truncate(words.len() - 4);
            words.push("cost".to_owned());
        }
        if ends(&words, &["at", "a", "rate", "of"]) {
            words.truncate(words.len() - 4);
        }
        let mut article = false;
        while let Some(last) = words.last() {
            const LEFT_OVER: [&str; 9] =
                ["only", "about", "at", "a", "her", "his", "their", "its", "the"];
            let total_for = total && last == "for";
            if !LEFT_OVER.contains(&last.as_str()) && !total_for {
                break;
            }
            article |= last == "a";
            words.pop();
        }
        let determiners = ["the", "other", "those", "these", "all", "remaining"];
        if words.iter().all(|word| determiners.contains(&word.to_ascii_lowercase().as_str())) {
            words.clear();
        }
        let copula = words.last().is_some_and(|word| is_copula(word));
        let mut text = lower_first(&words.join(" "));
        // `2 bagels cost` names things that the question introduced.
        if introduced && !text.is_empty() && !starts_with_verb(&text) {
            text = format!("the {text}");
        }
        // `A when he was` asks for `he was when A`.
        if let Some((what, when)) = text.split_once(" when ").filter(|_| copula) {
            text = format!("{when} when {what}");
        }
        let verbless = equated && !text.is_empty() && !copula;
        Self { clause: text, setting, total, article, verbless }
    }

    /// Whether a form of `be` ends the clause.
    pub(super) fn ends_in_copula(&self) -> bool {
        self.clause.rsplit(' ').next().is_some_and(is_copula)
    }

    /// `the total price of the house` from `The total price of the house is`.
    pub(super) fn named_quantity(&self) -> Option<String> {
        const NOUNS: [&str; 24] = [
            "number",
            "total",
            "sum",
            "average",
            "area",
            "perimeter",
            "width",
            "length",
            "weight",
            "cost",
            "price",
            "fee",
            "charge",
            "ratio",
            "difference",
            "amount",
            "age",
            "proceeds",
            "bill",
            "chances",
            "value",
            "chance",
            "production",
            "rest",
        ];
        if !self.ends_in_copula() {
            return None;
        }
        let words: Vec<&str> = self.clause.split_whitespace().collect();
        let (_, mut words) = words.split_last()?;
        while let Some((last, rest)) = words.split_last() {
            if !["will", "would", "should", "can"].contains(last) {
                break;
            }
            words = rest;
        }
        let named = words.iter().take(8).any(|word| NOUNS.contains(word));
        (named && words.len() > 1).then(|| words.join(" "))
    }

    /// The embedded question that starts with `asked`.
    pub(super) fn question(&self, asked: &str, rest: &str) -> String {
        let total = if self.total { "in total" } else { "" };
        let clause = self.clause.as_str();
        let prepositional = ["for", "of", "from", "in", "on", "a", "per"]
            .iter()
            .any(|word| rest.split_whitespace().next() == Some(word));
        if clause.is_empty() {
            let there = match rest {
                "" => "that makes",
                _ if prepositional => "there are",
                _ => "",
            };
            return join(&[asked, rest, there, total, &self.setting]);
        }
        if rest.starts_with("and ") {
            return join(&[asked, rest, clause, total, &self.setting]);
        }
        join(&[asked, clause, rest, total, &self.setting])
    }
}

/// The adverbial and the clause that the arithmetic belongs to. `comma`: one stood behind `tokens`.
fn split_clauses(tokens: &[Token], comma: bool, acts: bool) -> (&[Token], &[Token]) {
    const BREAKS: [&str; 5] = ["so", "hence", "means", "which", "that's"];
    let breaks = |at: usize| {
        let previous = at.checked_sub(1).map(|at| &tokens[at]);
        let after_mark = previous.is_none_or(|token| matches!(token, Token::Mark(_)));
        tokens[at].word().is_some_and(|word| match lower_first(word).as_str() {
            "then" | "thus" | "therefore" => {
                after_mark
                    || !previous.is_some_and(is_pronoun)
                        && tokens.get(at + 1).is_some_and(is_pronoun)
            }
            // `it takes a minute and she completed three`
            "and" => {
                !after_mark
                    && tokens.get(at + 1).is_some_and(is_pronoun)
                    && !tokens[at + 1].is_word("it")
            }
            "or" => at + 1 == tokens.len(),
            "so" => !tokens.get(at + 1).is_some_and(|token| token.is_word("far")),
            word => BREAKS.contains(&word),
        })
    };
    let mut edges: Vec<usize> = (0..tokens.len()).filter(|at| breaks(*at)).collect();
    let mut end = tokens.len();
    let mut start = edges.pop().map_or(0, |at| at + 1);
    let mut borrowed = false;
    // `so that's 24 students` says nothing itself: the clause before it does.
    while is_empty_clause(&tokens[start..end]) && start > 0 && !acts {
        end = start - 1;
        start = edges.pop().map_or(0, |at| at + 1);
        borrowed = true;
    }
    let mut clause = without_connectives(&tokens[start..end]);
    while let Some((Token::Mark(_), rest)) = clause.split_last() {
        clause = rest;
    }
    let (setting, mut clause) = split_setting(clause, comma && !borrowed);
    if is_empty_clause(clause) {
        clause = &[];
    }
    if borrowed {
        clause = before_quantity(clause);
    }
    (setting, clause)
}

/// What a clause says before it states a quantity of its own: `Arthur slew` of
/// `Arthur slew three quarters as many dragons as Thaddeus`.
fn before_quantity(clause: &[Token]) -> &[Token] {
    let copula =
        |token: &Token| ["is", "are", "was", "were"].iter().any(|word| token.is_word(word));
    match clause.iter().position(Token::is_quantity) {
        Some(0) => match clause[0] {
            // `20% of the class are players`
            Token::Number { percent: true, .. } => {
                clause.iter().position(copula).map_or(clause, |at| &clause[at..])
            }
            _ => &[],
        },
        Some(1) | None => clause,
        Some(at) => &clause[..at],
    }
}

/// Splits `On Sunday, he sold` and `On Sunday he sold`.
fn split_setting(clause: &[Token], comma: bool) -> (&[Token], &[Token]) {
    const STARTS: [&str; 28] = [
        "so",
        "in",
        "on",
        "after",
        "before",
        "at",
        "from",
        "for",
        "out",
        "with",
        "without",
        "during",
        "by",
        "tomorrow",
        "yesterday",
        "altogether",
        "together",
        "combining",
        "to",
        "last",
        "today",
        "while",
        "when",
        "every",
        "each",
        "of",
        "since",
        "if",
    ];
    let opens = |tokens: &[Token]| {
        tokens
            .first()
            .and_then(Token::word)
            .is_some_and(|w| STARTS.contains(&lower_first(w).as_str()))
    };
    let is_total = clause.first().is_some_and(|t| t.is_word("in"))
        && clause.get(1).is_some_and(|t| t.is_word("total"));
    let found = clause.iter().rposition(|token| *token == Token::Mark(','));
    let Some(found) = found else {
        if comma && opens(clause) {
            return (clause, &[]);
        }
        let pronoun = clause.iter().rposition(|t| is_pronoun(t) && !t.is_word("it"));
        return match pronoun {
            Some(at) if at > 0 && opens(clause) && !is_total => {
                let conditional = clause[0].is_word("if") || clause[0].is_word("since");
                (if conditional { &[] } else { &clause[..at] }, &clause[at..])
            }
            _ => (&[], clause),
        };
    };
    let (left, right) = (&clause[..found], &clause[found + 1..]);
    // `shorts, shoes, and socks cost`: a list is one subject.
    if right.first().is_some_and(|t| t.is_word("and")) && !right.get(1).is_some_and(is_pronoun) {
        return (&[], clause);
    }
    let right = without_connectives(right);
    // Of several commas, the adverbial is what stands right before the clause.
    let left = left.rsplit(|token| *token == Token::Mark(',')).next().unwrap_or_default();
    let left = without_connectives(left);
    let adverbial = opens(left);
    if is_empty_clause(right) && !right.is_empty() && !adverbial {
        return (&[], left);
    }
    (if adverbial { left } else { &[] }, right)
}

/// Whether a clause is only a pointer, such as `that is`.
fn is_empty_clause(clause: &[Token]) -> bool {
    const POINTERS: [&str; 9] = ["that", "this", "it", "is", "are", "means", "was", "to", "or"];
    clause.iter().all(|token| match token {
        Token::Word(word) => POINTERS.contains(&lower_first(word).as_str()),
        Token::Mark(_) | Token::Operator(_) => true,
        _ => false,
    })
}

/// Leaves out words at the start that only tie a sentence to the one before.
pub(super) fn without_connectives(tokens: &[Token]) -> &[Token] {
    const CONNECTIVES: [&str; 20] = [
        "so",
        "thus",
        "therefore",
        "then",
        "now",
        "hence",
        "first",
        "next",
        "finally",
        "and",
        "but",
        "also",
        "that",
        "this",
        "means",
        "we",
        "know",
        "again",
        "they",
        "which",
    ];
    let mut rest = tokens;
    while let Some(first) = rest.first() {
        let connective = match first {
            Token::Word(word) => {
                let word = lower_first(word);
                // `they` and `we` are subjects unless something like `know that` follows.
                let subject = matches!(word.as_str(), "they" | "we" | "that" | "this");
                let weak = subject
                    && !rest.get(1).is_some_and(|t| t.is_word("know") || t.is_word("means"));
                // `first` orders the sentence only when no quantity follows.
                let ordinal = word == "first" && rest.get(1).is_some_and(Token::is_quantity);
                let so_far = word == "so" && rest.get(1).is_some_and(|t| t.is_word("far"));
                CONNECTIVES.contains(&word.as_str()) && !weak && !ordinal && !so_far
            }
            Token::Mark(_) => true,
            _ => false,
        };
        if !connective {
            break;
        }
        rest = &rest[1..];
    }
    rest
}
