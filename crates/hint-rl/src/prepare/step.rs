//! Turns one sentence of a worked solution into one step of guidance without numbers.
//!
//! A sentence that computes, `So he writes for 30*6 = 180 minutes a week`, consists of what comes
//! before the arithmetic, the arithmetic, and the noun phrase and rest behind it. Fronting the noun
//! phrase gives an embedded question, which needs no change of any verb:
//! `find how many minutes he writes for a week`. The operators name the operation.

use super::clause::{Before, without_connectives};
use super::phrase::{join, lower_first, noun_phrase, plain, starts_with_verb};
use super::token::{Token, tokenize};

/// The step that `sentence` takes, without numbers, starting in lower case; `None` if the sentence
/// computes nothing. `known` says whether a number stands in the question.
pub(super) fn step(sentence: &str, known: &dyn Fn(&str) -> bool) -> Option<String> {
    let tokens = tokenize(sentence);
    if !tokens.iter().any(|token| token.word().is_some()) {
        return None;
    }
    let algebra = tokens.iter().any(|token| matches!(token, Token::Unknown(_)));
    if let Some(colon) = tokens.iter().position(|token| *token == Token::Mark(':')) {
        return labelled(&tokens[..colon], &tokens[colon..]);
    }
    let equals = |t: &Token| *t == Token::Operator('=') || t.is_word("equals");
    let because = tokens.iter().position(|token| token.is_word("because"));
    let (main, arithmetic) = match because {
        Some(at) if tokens[at..].iter().any(equals) => (&tokens[..at], Some(&tokens[at..])),
        _ => (before_since(&tokens), None),
    };
    let span = match arithmetic {
        None => expression(main),
        Some(_) => None,
    };
    let span = match span {
        Some(span) => {
            let span_tokens = &main[span.start..=span.result];
            let idle = !span_tokens.iter().any(|t| t.is_operator() && !equals(t));
            if idle && !computes(span_tokens, known) {
                return None;
            }
            span
        }
        None if arithmetic.is_some() || computes(main, known) => stated(main, known)?,
        None if tokens.iter().any(|token| matches!(token, Token::Number { .. })) => return None,
        None => return imperative(&tokens),
    };
    let operators = arithmetic.unwrap_or(&main[span.start..=span.result]);
    if algebra && !ends_in_value(&main[span.start..=span.result]) {
        return Some("write the facts as equations and simplify them".to_owned());
    }
    let goal = goal(main, &span)?;
    Some(match operation(operators) {
        Some(verb) => format!("{verb} to find {goal}"),
        None => format!("find {goal}"),
    })
}

/// Leaves out a reason that has no arithmetic in it.
fn before_since(tokens: &[Token]) -> &[Token] {
    match tokens.iter().skip(1).position(|token| token.is_word("since")) {
        Some(at) if !tokens[at + 1..].contains(&Token::Operator('=')) => &tokens[..=at],
        _ => tokens,
    }
}

/// Where the arithmetic of a sentence is.
struct Span {
    /// First token of the expression.
    start: usize,
    /// The number that it results in.
    result: usize,
}

/// The expression around the last `=`, with the number behind it.
fn expression(tokens: &[Token]) -> Option<Span> {
    let is_equals = |token: &Token| *token == Token::Operator('=');
    let equals = match tokens.iter().rposition(is_equals) {
        Some(at) => at,
        None => tokens.iter().rposition(|token| token.is_word("equals"))?,
    };
    let result = (equals..tokens.len()).find(|i| matches!(tokens[*i], Token::Number { .. }))?;
    let result = fraction_end(tokens, result);
    Some(Span { start: chain_start(tokens, equals), result })
}

/// Walks left from an operator over `operand words operator operand words …`.
fn chain_start(tokens: &[Token], operator: usize) -> usize {
    /// Words between an operand and the next operator, as in `10 that like to bake - 5`.
    const MAX_WORDS: usize = 5;
    let mut start = operator;
    loop {
        let mut at = start;
        let mut words = 0;
        while at > 0 && words <= MAX_WORDS && !tokens[at - 1].is_operand() {
            match tokens[at - 1] {
                Token::Word(_) | Token::Compound(_) => words += 1,
                Token::Operator(_) => {}
                Token::Mark(_) | Token::Number { .. } | Token::Unknown(_) => break,
            }
            at -= 1;
        }
        if at == 0 || words > MAX_WORDS || !tokens[at - 1].is_operand() {
            return start;
        }
        start = at - 1;
        while start > 0 && tokens[start - 1] == Token::Operator('(') {
            start -= 1;
            // `2(40+9)`: a product without a sign.
            start -= usize::from(start > 0 && tokens[start - 1].is_operand());
        }
        if start == 0 || !tokens[start - 1].is_operator() {
            return start;
        }
    }
}

/// The number that a sentence without arithmetic states: a sum of money that the question does not
/// have, else a number that it does not have, else the first number.
fn stated(tokens: &[Token], known: &dyn Fn(&str) -> bool) -> Option<Span> {
    let find = |accepts: &dyn Fn(&str, bool) -> bool| {
        tokens.iter().position(|token| match token {
            Token::Number { text, currency, .. } => accepts(text, *currency),
            _ => false,
        })
    };
    let start = find(&|text, currency| currency && !known(text))
        .or_else(|| find(&|text, _| !known(text)))
        .or_else(|| find(&|_, _| true))?;
    Some(Span { start, result: fraction_end(tokens, start) })
}

/// The last token of the fraction that starts at `at`, or `at`.
fn fraction_end(tokens: &[Token], at: usize) -> usize {
    match (tokens.get(at + 1), tokens.get(at + 2)) {
        (Some(Token::Operator('/')), Some(Token::Number { .. })) => at + 2,
        _ => at,
    }
}

/// Whether an equation says what its last operand is, and not `2x = 40`.
fn ends_in_value(tokens: &[Token]) -> bool {
    let equals = tokens.iter().rposition(|token| *token == Token::Operator('='));
    let Some(equals) = equals else { return true };
    let left = &tokens[..equals];
    let from = left.iter().rposition(|token| *token == Token::Operator('=')).map_or(0, |at| at + 1);
    left[from..].iter().filter(|token| token.is_operand()).count() == 1
        || !left[from..].iter().any(|token| matches!(token, Token::Unknown(_)))
}

/// Whether a sentence without `=` states a number that is not in the question.
fn computes(tokens: &[Token], known: &dyn Fn(&str) -> bool) -> bool {
    tokens.iter().any(|token| match token {
        Token::Number { text, .. } => !known(text),
        _ => false,
    })
}

/// `First find the total length: 6 * 2 = 12 inches`: the label already is the step.
fn labelled(label: &[Token], rest: &[Token]) -> Option<String> {
    let label = without_connectives(label);
    let text = lower_first(&plain(label));
    if label.first().and_then(Token::word).is_some_and(is_imperative) {
        return Some(text);
    }
    expression(rest)?;
    let verb = operation(rest).map_or_else(|| "find".to_owned(), |verb| format!("{verb} to find"));
    let priced = rest.iter().any(|token| matches!(token, Token::Number { currency: true, .. }));
    let article =
        if label.first().is_some_and(|t| ["the", "his", "her"].iter().any(|w| t.is_word(w))) {
            ""
        } else if label.first().is_some_and(Token::is_quantity) {
            "the amount for the "
        } else if text.ends_with('s') && !priced {
            "the number of "
        } else {
            "the amount for "
        };
    (!text.is_empty()).then(|| format!("{verb} {article}{text}"))
}

/// `Let T be the number of balls`: guidance without any number.
fn imperative(tokens: &[Token]) -> Option<String> {
    let tokens = without_connectives(tokens);
    let first = tokens.first()?.word()?;
    is_imperative(first).then(|| lower_first(&plain(tokens)))
}

fn is_imperative(word: &str) -> bool {
    const VERBS: [&str; 14] = [
        "find",
        "figure",
        "divide",
        "multiply",
        "add",
        "subtract",
        "minus",
        "calculate",
        "let",
        "use",
        "convert",
        "take",
        "compute",
        "count",
    ];
    VERBS.iter().any(|verb| word.eq_ignore_ascii_case(verb))
}

/// What the operators do, as an imperative.
fn operation(tokens: &[Token]) -> Option<String> {
    let has = |c: char| tokens.contains(&Token::Operator(c));
    // `$50/day`: a unit, no division.
    let divides = tokens.windows(2).any(|pair| {
        pair[0] == Token::Operator('/') && (pair[1].is_operand() || pair[1].is_operator())
    });
    let word = |word: &str| tokens.iter().any(|token| token.is_word(word));
    let factor = has('*') || word("times");
    let percentage = tokens.windows(2).any(|pair| {
        let hundred = matches!(&pair[1], Token::Number { text, .. } if text == "100");
        pair[0] == Token::Operator('/') && hundred
    }) || tokens
        .iter()
        .any(|token| matches!(token, Token::Number { text, .. } if text == ".01"));
    // `1/2` as a factor; a numerator above the denominator is a division like any other.
    let fraction = factor
        && tokens.windows(3).any(|three| {
            let value = |token: &Token| match token {
                Token::Number { text, .. } => text.parse::<u32>().ok(),
                _ => None,
            };
            three[1] == Token::Operator('/')
                && matches!((value(&three[0]), value(&three[2])), (Some(a), Some(b)) if a < b)
        });
    let scale = if factor && percentage {
        Some("take the right percentage")
    } else if fraction {
        Some("take the right fraction")
    } else {
        match (factor, divides) {
            (true, true) => Some("multiply and divide"),
            (true, false) => Some("multiply"),
            (false, true) => Some("divide"),
            (false, false) => None,
        }
    };
    let shift = match (has('+') || word("plus"), has('-') || word("minus")) {
        (true, true) => Some("add and subtract"),
        (true, false) => Some("add"),
        (false, true) => Some("subtract"),
        (false, false) => None,
    };
    match (scale, shift) {
        (Some(scale), Some(shift)) => Some(format!("{scale}, then {shift},")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

/// What the sentence finds, as a noun phrase or an embedded question.
fn goal(tokens: &[Token], span: &Span) -> Option<String> {
    let Token::Number { percent, .. } = &tokens[span.result] else { return None };
    let priced = tokens[span.start..=span.result]
        .iter()
        .rev()
        .take_while(|token| **token != Token::Operator('='))
        .any(|token| matches!(token, Token::Number { currency: true, .. }));
    let mut tail = &tokens[span.result + 1..];
    if let Some(end) = tail.iter().position(|token| token.is_word("so") || token.is_word("since")) {
        tail = &tail[..end];
    }
    // `$1200/month`
    let per = tail.first() == Some(&Token::Operator('/'));
    while tail.first().is_some_and(|token| !matches!(token, Token::Word(_) | Token::Compound(_))) {
        tail = &tail[1..];
    }
    let noun_length = if priced { 0 } else { noun_phrase(tail) };
    let (noun, rest) = (plain(&tail[..noun_length]), plain(&tail[noun_length..]));
    let counted = tail.first().filter(|_| noun_length > 0).and_then(Token::word);
    let acts = starts_with_verb(&rest);
    let before = Before::parse(&tokens[..span.start], acts, counted);
    let fraction = span.result >= 2 && tokens[span.result - 1] == Token::Operator('/');
    let asked = if *percent {
        "what percentage".to_owned()
    } else if !priced && fraction && (noun.is_empty() || rest.starts_with("of ")) {
        "what fraction".to_owned()
    } else if noun.is_empty() && acts && before.clause.is_empty() {
        "how many".to_owned()
    } else if noun.is_empty() && before.ends_in_copula() && !priced {
        "what".to_owned()
    } else if noun.is_empty() {
        "how much".to_owned()
    } else {
        format!("how many {noun}")
    };
    if let Some(more) = rest.strip_prefix("more ").filter(|_| priced) {
        let more = if before.clause.is_empty() { format!("{more} it is") } else { more.to_owned() };
        return Some(before.question("how much more", &more));
    }
    let rest = match before.article {
        _ if per => format!("a {rest}"),
        true if noun.is_empty() && !rest.is_empty() => format!("as a {rest}"),
        _ => rest,
    };
    if let Some(subject) = before.named_quantity() {
        let unit = if noun.is_empty() || subject.contains("number") || subject.contains(&noun) {
            String::new()
        } else {
            format!(" in {noun}")
        };
        return Some(join(&[&format!("{subject}{unit}"), &rest, &before.setting]));
    }
    if before.verbless {
        return Some(join(&[&asked, "for", &before.clause, &rest]));
    }
    Some(before.question(&asked, &rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sentence: &str, expected: &str) {
        let known = |text: &str| ["3", "4", "20"].contains(&text);
        assert_eq!(step(sentence, &known).as_deref(), Some(expected), "{sentence}");
    }

    #[test]
    fn noun_phrase_moves_to_the_front() {
        check(
            "Tom has 3*4 = 12 ripe figs on a plate",
            "multiply to find how many ripe figs Tom has on a plate",
        );
        check(
            "So she writes for 20/4=5 hours a week",
            "divide to find how many hours she writes for a week",
        );
        check(
            "There are 20 - 3 = 17 red hats left",
            "subtract to find how many red hats there are left",
        );
        check("On Sunday he ate 3+4=7 pies", "add to find how many pies he ate on Sunday");
        check(
            "He earned a total of 3*$4=$12 for it",
            "multiply to find how much he earned for it in total",
        );
        check("4 nuts cost 4 * $3 = $12", "multiply to find how much the nuts cost");
    }

    #[test]
    fn named_quantity_stays_as_it_is() {
        check(
            "The total weight of the cats is 3+4 = 7 pounds",
            "add to find the total weight of the cats in pounds",
        );
        check("First find the sum: 3 + 4 = 7", "find the sum");
        check("Then divide that by 4 to get feet: 20/4=5", "divide that to get feet");
    }

    #[test]
    fn clause_is_borrowed_where_the_arithmetic_stands_alone() {
        check(
            "Ann drew twice as many owls as Bob, or 2*4=8 owls",
            "multiply to find how many owls Ann drew",
        );
        check(
            "25% of the 20 boys are tall so that's .25*20=5 boys",
            "multiply to find how many boys are tall",
        );
        check("They hold 7 cups because 3 + 4 = 7", "add to find how many cups they hold");
    }

    #[test]
    fn sentences_that_compute_nothing_give_no_step_unless_they_instruct() {
        assert_eq!(step("Lea finds 4 eggs", &|_| true), None);
        assert_eq!(step("It was a good day", &|_| true), None);
        check("Let T be the number of owls", "let T be the number of owls");
        check("We get 2x+60=100", "write the facts as equations and simplify them");
    }

    #[test]
    fn operators_name_the_operation() {
        check("Ed has 20*1/4=5 nuts", "take the right fraction to find how many nuts Ed has");
        check("Ed has 20*25/100=5 nuts", "take the right percentage to find how many nuts Ed has");
        check("Ed has 3*4+20=32 nuts", "multiply, then add, to find how many nuts Ed has");
        check("Ed needs 3 feet/day * 4 days = 12 feet", "multiply to find how many feet Ed needs");
    }
}
