//! The words around an answer: its introduction, and its condition.
//!
//! `The maximum is 8 when x = 2` is 8 under a condition; `all integers n ≥ 3` is `n ≥ 3`; `every n except 4` excludes.

use crate::math::lex::token::{Kind, Token};
use crate::math::parse::stance::{doubts, has, words_of};
use crate::math::tree::node::Relation;

/// Link between a condition and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// For, with, such that: the domain of the answer.
    Domain,
    /// When, attained at: the place where the answer is reached.
    Place,
    /// Where: the meaning of the letters of the answer.
    Definition,
    /// If, unless: without it the answer says more.
    Essential,
    /// It takes elements away.
    Except,
}

/// An answer in its frame.
#[derive(Debug)]
pub(crate) struct Frame<'t, 'a> {
    pub(crate) main: &'t [Token<'a>],
    pub(crate) condition: Option<(Tie, &'t [Token<'a>])>,
    /// Whether the condition gives only some of the arguments of the answer: `f(x) = x² for some x`.
    pub(crate) is_partial: bool,
}

impl<'t, 'a> Frame<'t, 'a> {
    /// Takes the frame off.
    pub(crate) fn of(tokens: &'t [Token<'a>]) -> Self {
        let tokens = without_introduction(tokens);
        let whole = Self { main: tokens, condition: None, is_partial: false };
        let mut depth = 0_usize;
        for (index, token) in tokens.iter().enumerate() {
            match &token.kind {
                Kind::Open(_) | Kind::Begin(_) => depth += 1,
                Kind::Close(_) | Kind::End(_) => depth = depth.saturating_sub(1),
                Kind::Word(_) | Kind::Text(_) | Kind::Prefix("forall")
                    if depth == 0 && index > 0 =>
                {
                    let tie = match &token.kind {
                        Kind::Word("which") if is_attained(&tokens[index + 1..]) => {
                            Some(Tie::Place)
                        }
                        // `7 at x = 2`
                        Kind::Word("at") | Kind::Text("at")
                            if !matches!(tokens[index - 1].kind, Kind::Word(_) | Kind::Text(_))
                                && matches!(
                                    &tokens[index + 1..],
                                    [
                                        Token { kind: Kind::Name(_), .. },
                                        Token { kind: Kind::Relation(Relation::Equal), .. },
                                        ..
                                    ]
                                ) =>
                        {
                            Some(Tie::Place)
                        }
                        Kind::Word(word) | Kind::Text(word) => tie(word),
                        // `p: ∀x` is a statement, `f(x) = x² ∀x` an answer with its domain.
                        _ => (tokens[index - 1].kind != Kind::Colon).then_some(Tie::Domain),
                    };
                    let Some(tie) = tie else { continue };
                    // `6 such triples`
                    let next = tokens.get(index + 1).map(|token| &token.kind);
                    let is_that = |kind: &Kind<'_>| {
                        matches!(kind, Kind::Word(word) | Kind::Text(word)
                            if word.split(' ').next() == Some("that"))
                    };
                    if matches!(token.kind, Kind::Word("such"))
                        && next.is_some_and(|next| !is_that(next))
                    {
                        continue;
                    }
                    let condition = without_fillers(&tokens[index + 1..]);
                    let mut main = &tokens[..index];
                    if let [before @ .., Token { kind: Kind::Comma, .. }] = main {
                        main = before;
                    }
                    if main.is_empty() {
                        return whole;
                    }
                    let is_partial = quantifies_argument(main, &tokens[index..]);
                    return Self { main, condition: Some((tie, condition)), is_partial };
                }
                _ => {}
            }
        }
        whole
    }
}

/// Sets a word that ties a condition apart where it opens a text command: of ` with doubled `, the word `with`.
pub(crate) fn with_ties_apart(tokens: &mut Vec<Token<'_>>) {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].kind {
            Kind::Open(_) | Kind::Begin(_) => depth += 1,
            Kind::Close(_) | Kind::End(_) => depth = depth.saturating_sub(1),
            Kind::Text(text) if depth == 0 => {
                if let Some((first, rest)) = text.trim().split_once(' ')
                    && tie(text).is_some()
                {
                    let rest = rest.trim().strip_prefix("and only if").unwrap_or(rest).trim();
                    let spaced = tokens[at].spaced;
                    tokens[at] = Token { kind: Kind::Word(first), spaced };
                    if !rest.is_empty() {
                        tokens.insert(at + 1, Token { kind: Kind::Text(rest), spaced: true });
                        at += 1;
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Whether a condition starts with `for some x` or `for no x`. There, x is the argument of the function in front, or
/// the letter of an inequality.
fn quantifies_argument(main: &[Token<'_>], condition: &[Token<'_>]) -> bool {
    let words =
        condition.iter().take_while(|token| matches!(token.kind, Kind::Word(_) | Kind::Text(_)));
    let is_some = |token: &Token<'_>| {
        matches!(token.kind, Kind::Word(text) | Kind::Text(text)
            if text.split_whitespace().any(|word| matches!(word, "some" | "no")))
    };
    let Some(Kind::Name(name)) = condition.get(words.clone().count()).map(|token| &token.kind)
    else {
        return false;
    };
    if !words.clone().any(is_some) {
        return false;
    }
    if let [
        Token { kind: Kind::Name(_), .. },
        Token { kind: Kind::Open('('), .. },
        Token { kind: Kind::Name(argument), .. },
        Token { kind: Kind::Close('('), .. },
        ..,
    ] = main
    {
        return argument == name;
    }
    let bounds = |token: &Token<'_>| {
        matches!(token.kind, Kind::Relation(relation)
            if relation.is_order() || matches!(relation, Relation::NotEqual | Relation::Other('≡')))
    };
    main.iter().any(bounds) && main.iter().any(|token| token.kind == Kind::Name(name))
}

/// `is reached for` and `occurs when`, behind `which`.
fn is_attained(tokens: &[Token<'_>]) -> bool {
    matches!(tokens, [Token { kind: Kind::Word("is"), .. }, Token { kind: Kind::Word(verb), .. }, ..]
        if matches!(*verb, "attained" | "achieved" | "reached" | "obtained"))
        || matches!(
            tokens,
            [
                Token { kind: Kind::Word("occurs" | "happens"), .. },
                Token { kind: Kind::Word("when" | "at" | "for" | "if"), .. },
                ..,
            ]
        )
}

/// Link that a word makes between the text before and behind it.
fn tie(text: &str) -> Option<Tie> {
    let mut words = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    Some(match words.next()?.to_ascii_lowercase().as_str() {
        "for" | "with" => Tie::Domain,
        "when" | "whenever" | "attained" | "achieved" | "reached" => Tie::Place,
        "such" if words.next().is_none_or(|next| next == "that") => Tie::Domain,
        "where" => Tie::Definition,
        "if" | "unless" | "provided" | "assuming" => Tie::Essential,
        "except" | "excluding" => Tie::Except,
        _ => return None,
    })
}

/// Without `all integers`, `the line`, `the answer is` in front.
fn without_introduction<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    // `X | 1 < x < 4`, a set without its braces.
    if let [
        Token { kind: Kind::Name(_), .. },
        Token { kind: Kind::Mid | Kind::Operator('|'), .. },
        rest @ ..,
    ] = tokens
        && rest.iter().any(|token| matches!(token.kind, Kind::Relation(_)))
        && !rest.iter().any(|token| matches!(token.kind, Kind::Mid | Kind::Operator('|')))
    {
        return rest;
    }
    // `Answer:` and other titles, unless a list of named values starts so.
    if let [Token { kind: Kind::Text(title), .. }, rest @ ..] = tokens
        && title.ends_with(':')
        && !rest.is_empty()
        && !rest.iter().any(|token| matches!(token.kind, Kind::Text(title) if title.ends_with(':')))
    {
        return rest;
    }
    // A subject in words and its verb.
    let is_word =
        |token: &Token<'_>| matches!(token.kind, Kind::Word(_) | Kind::Text(_) | Kind::Name(_));
    let words = tokens.iter().take_while(|token| is_word(token)).count();
    let verb = tokens[..words].iter().rposition(
        |token| matches!(&token.kind, Kind::Word(word) | Kind::Text(word) if ends_with_verb(word)),
    );
    if let Some(verb) = verb
        && is_subject(&tokens[..=verb])
        && verb + 1 < tokens.len()
        // "Option B is correct" says it of B.
        && (tokens[verb + 1..].iter().any(|token| !matches!(token.kind, Kind::Word(_) | Kind::Text(_)))
            || tokens[..verb].iter().all(|token| !matches!(token.kind, Kind::Name(_))))
    {
        return without_introduction(&tokens[verb + 1..]);
    }
    if let [Token { kind: Kind::Word(word), .. }, rest @ ..] = tokens
        && has(&["exactly", "precisely"], word)
        && matches!(rest.first(), Some(Token { kind: Kind::Number(_), .. }))
    {
        return rest;
    }
    // `about 12.6 cm`, but not `about 13`: an integer may be meant exactly.
    if let [Token { kind: Kind::Word(word) | Kind::Text(word), .. }, rest @ ..] = tokens
        && has(&["approximately", "about", "roughly", "approx", "around"], word.trim())
        && matches!(rest.first(), Some(Token { kind: Kind::Number(literal), .. })
            if literal.places.is_some())
    {
        return rest;
    }
    let fillers = tokens.iter().take_while(|token| is_filler(&token.kind)).count();
    let rest = &tokens[fillers..];
    // `the numbers 1, 2 and 3`, `both 1 and 2`
    let names_list = fillers > 0
        && matches!(&tokens[fillers - 1].kind, Kind::Word(noun) | Kind::Text(noun)
        if noun.rsplit(' ').next().is_some_and(|noun| has(
            &["numbers", "integers", "values", "points", "pairs", "solutions", "triples"],
            noun,
        )));
    let names_both = fillers == 0
        && matches!(tokens.first(), Some(Token { kind: Kind::Word(word) | Kind::Text(word), .. })
            if has(&["both", "either"], word));
    let list = if names_both { &tokens[1..] } else { rest };
    if (names_list || names_both)
        && matches!(
            list.first().map(|token| &token.kind),
            Some(Kind::Number(_) | Kind::Open('(') | Kind::Operator('-') | Kind::Fraction)
        )
        && list.iter().any(|token| matches!(token.kind, Kind::And | Kind::Or | Kind::Comma))
    {
        return list;
    }
    // `the point (1, 2)`
    if fillers > 0
        && matches!(&tokens[fillers - 1].kind, Kind::Word(noun) | Kind::Text(noun)
            if noun.rsplit(' ').next().is_some_and(|noun| has(&["point", "pair", "triple", "interval", "set", "vertex"], noun)))
        && matches!(rest.first().map(|token| &token.kind), Some(Kind::Open('(' | '[' | 'S')))
    {
        return rest;
    }
    let says_more = rest.iter().any(|token| {
        matches!(token.kind, Kind::Relation(_))
            || matches!(token.kind, Kind::Word(word) | Kind::Text(word) if tie(word).is_some())
    });
    if fillers > 0 && says_more && !rest.is_empty() { rest } else { tokens }
}

fn ends_with_verb(text: &str) -> bool {
    let last = text.rsplit(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty());
    matches!(last, Some("is" | "are" | "equals" | "be"))
}

/// Whether words name the topic of the answer: at most one letter among them, and no word that denies or bounds.
fn is_subject(tokens: &[Token<'_>]) -> bool {
    const BOUNDS: [&str; 16] = [
        "used", "no", "none", "only", "and", "than", "or", "least", "most", "over", "under",
        "above", "below", "about", "may", "might",
    ];
    let mut letters = 0;
    // `The only solution is`
    let is_unique = |index: usize| {
        index == 1
            && matches!(tokens[0].kind, Kind::Word(word) | Kind::Text(word) if has(&["the"], word))
            && matches!(tokens[1].kind, Kind::Word("only") | Kind::Text("only"))
    };
    for (index, token) in tokens.iter().enumerate() {
        match &token.kind {
            _ if is_unique(index) => {}
            Kind::Name(_) => letters += 1,
            Kind::Word(text) | Kind::Text(text) => {
                if doubts(text)
                    || text.contains(is_foreign)
                    || words_of(text).any(|word| has(&BOUNDS, word))
                {
                    return false;
                }
            }
            _ => return false,
        }
    }
    letters <= 1 && tokens.len() - letters > usize::from(letters > 0)
}

/// Whether a letter is of a script whose words are not read.
fn is_foreign(letter: char) -> bool {
    letter.is_alphabetic() && letter > '\u{3ff}'
}

/// Words that only name the kind of the answer.
fn is_filler(kind: &Kind<'_>) -> bool {
    let (Kind::Word(text) | Kind::Text(text)) = kind else { return false };
    let mut words = text.split_whitespace();
    words.all(|word| {
        matches!(
            word.to_ascii_lowercase().trim_matches([':', ',', '.']),
            "all"
                | "every"
                | "each"
                | "any"
                | "the"
                | "a"
                | "an"
                | "real"
                | "integer"
                | "integers"
                | "number"
                | "numbers"
                | "value"
                | "values"
                | "of"
                | "natural"
                | "line"
                | "point"
                | "open"
                | "closed"
                | "ordered"
                | "triple"
                | "vertex"
                | "circle"
                | "ellipse"
                | "parabola"
                | "hyperbola"
                | "plane"
                | "curve"
                | "points"
                | "equation"
                | "set"
                | "interval"
                | "answer"
                | "pair"
                | "pairs"
                | "triples"
                | "solution"
                | "solutions"
        )
    })
}

/// A condition without the words that lead to it. The kind of a number is one where its bound follows: `all integers
/// n ≥ 2`.
fn without_fillers<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    const LEADS: [&str; 18] = [
        "some",
        "that",
        "constant",
        "arbitrary",
        "when",
        "if",
        "for",
        "at",
        "only",
        "by",
        "is",
        "attained",
        "achieved",
        "reached",
        "obtained",
        "occurs",
        "happens",
        "so",
    ];
    const QUANTIFIERS: [&str; 8] = ["all", "every", "each", "any", "the", "a", "an", "values"];
    let count = |is_led: &dyn Fn(&str) -> bool| {
        let is_word = |token: &&Token<'_>| {
            matches!(&token.kind, Kind::Word(text) | Kind::Text(text)
                if text.split_whitespace().all(|word| is_led(word.trim_matches(','))))
        };
        tokens.iter().take_while(is_word).count()
    };
    let is_lead = |word: &str| has(&LEADS, word) || has(&QUANTIFIERS, word);
    let skipped = count(&is_lead);
    let with_kinds = count(&|word| {
        is_lead(word) || has(&["integer", "integers", "real", "number", "numbers"], word)
    });
    let is_bounded = matches!(
        tokens.get(with_kinds..),
        Some([Token { kind: Kind::Name(_), .. }, Token { kind: Kind::Relation(_), .. }, ..])
    );
    &tokens[if is_bounded { with_kinds } else { skipped }..]
}

/// Whether words of a condition restrict nothing: `all real x`, `some constant`.
pub(crate) fn restricts_nothing(words: &str) -> bool {
    const WORDS: [&str; 20] = [
        "all",
        "any",
        "every",
        "some",
        "real",
        "number",
        "numbers",
        "constant",
        "constants",
        "is",
        "are",
        "a",
        "the",
        "an",
        "arbitrary",
        "integer",
        "integers",
        "each",
        "values",
        "of",
    ];
    words_of(words).all(|word| word.len() == 1 || has(&WORDS, word))
}
