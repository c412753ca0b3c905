//! A function whose branches stand in a sentence: `n/2 if n is even and (n − 1)/2 if n is odd`.

use crate::math::fuel::{Fuel, Stop};
use crate::math::lex::token::{Kind, Token};
use crate::math::tree::node::Node;

/// Reads all of some tokens as one node.
pub(super) type Whole = fn(&[Token<'_>], &mut Fuel) -> Result<Node, Stop>;

/// The branches that tokens name; `None` if there are not at least two, each with a formula for value and condition.
pub(super) fn branches(
    tokens: &[Token<'_>],
    fuel: &mut Fuel,
    whole: Whole,
) -> Result<Option<Node>, Stop> {
    let ties: Vec<usize> =
        (1..tokens.len()).filter(|index| is(tokens, *index, &["if", "when", "for"])).collect();
    let otherwise = (1..tokens.len()).find(|index| is(tokens, *index, &["otherwise", "else"]));
    if ties.len() + usize::from(otherwise.is_some()) < 2 || ties.is_empty() || ties.len() > 8 {
        return Ok(None);
    }
    let mut found = Vec::with_capacity(ties.len() + 1);
    let mut start = 0;
    for (index, tie) in ties.iter().enumerate() {
        let next = ties.get(index + 1).copied().or(otherwise).unwrap_or(tokens.len());
        if next <= *tie {
            return Ok(None);
        }
        let is_last = next == tokens.len();
        // The value of the next branch begins behind the last separator.
        let end = if is_last {
            tokens.len()
        } else {
            match (tie + 1..next).rev().find(|at| is_separator(&tokens[*at].kind)) {
                Some(end) => end,
                None => return Ok(None),
            }
        };
        let value = read(&tokens[start..*tie], fuel, whole)?;
        let condition = read(&tokens[tie + 1..end], fuel, whole)?;
        let (Some(value @ Node::Expr(_)), Some(condition @ Node::Chain { .. })) =
            (value, condition)
        else {
            return Ok(None);
        };
        found.push((value, condition));
        start = end;
    }
    if let Some(at) = otherwise {
        let Some(value @ Node::Expr(_)) = read(&tokens[start..at], fuel, whole)? else {
            return Ok(None);
        };
        if at + 1 < tokens.len() {
            return Ok(None);
        }
        found.push((value, Node::text("otherwise")));
    }
    Ok(Some(Node::Piecewise(found)))
}

/// The node of tokens without the separators around them.
fn read(tokens: &[Token<'_>], fuel: &mut Fuel, whole: Whole) -> Result<Option<Node>, Stop> {
    let start = tokens.iter().take_while(|token| is_separator(&token.kind)).count();
    let mut inside = &tokens[start..];
    while let [rest @ .., last] = inside
        && is_separator(&last.kind)
    {
        inside = rest;
    }
    if inside.is_empty() {
        return Ok(None);
    }
    match whole(inside, fuel) {
        Ok(node) => Ok(Some(node)),
        Err(Stop::Unreadable(_)) => Ok(None),
        Err(stop) => Err(stop),
    }
}

fn is_separator(kind: &Kind<'_>) -> bool {
    matches!(kind, Kind::Comma | Kind::Semicolon | Kind::And)
        || matches!(kind, Kind::Word(word) | Kind::Text(word) if matches!(word.trim(), "but" | "and"))
}

fn is(tokens: &[Token<'_>], at: usize, words: &[&str]) -> bool {
    matches!(&tokens[at].kind, Kind::Word(word) | Kind::Text(word) if words.contains(&word.trim()))
}
