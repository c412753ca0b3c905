//! What stands in brackets: groups, tuples, sets; and square brackets that face outwards.

use super::fuel::Stop;
use super::node::Node;
use super::parser::Parser;
use super::token::{Kind, Token};

impl Parser<'_, '_, '_> {
    /// What stands in round or square brackets, from behind the opening one.
    pub(crate) fn bracketed(&mut self, open: char) -> Result<Node, Stop> {
        let (bars, set_braces) =
            (std::mem::take(&mut self.bars), std::mem::take(&mut self.set_braces));
        let (mut items, _) = self.items()?;
        (self.bars, self.set_braces) = (bars, set_braces);
        let Some(Kind::Close(close @ ('(' | '['))) = self.peek() else {
            return Err(Stop::Unreadable("a bracket that is not closed"));
        };
        self.at += 1;
        match items.len() {
            0 => Err(Stop::Unreadable("empty brackets")),
            1 if *close == open => Ok(items.remove(0)),
            1 => Err(Stop::Unreadable("brackets that do not match")),
            _ => Ok(Node::Tuple { items, left_closed: open == '[', right_closed: *close == '[' }),
        }
    }

    /// What stands in set braces, from behind the opening one.
    pub(crate) fn set(&mut self) -> Result<Node, Stop> {
        let bars = std::mem::take(&mut self.bars);
        self.set_braces += 1;
        let (items, _) = self.items()?;
        let condition = match self.peek() {
            Some(Kind::Mid | Kind::Operator('|') | Kind::Colon) => {
                self.at += 1;
                Some(self.list()?)
            }
            _ => None,
        };
        self.set_braces -= 1;
        self.bars = bars;
        self.expect(&Kind::Close('S'), "a set brace that is not closed")?;
        match condition {
            Some(condition) if items.len() == 1 => Ok(condition),
            Some(_) => Err(Stop::Unreadable("a condition on several elements")),
            None => Ok(Node::Set(items)),
        }
    }
}

/// Turns square brackets that face outwards, `]0, 1[`, into the round ones they mean. Brackets that pair as they stand
/// are left alone.
pub(super) fn face_inwards(tokens: &mut [Token<'_>]) {
    let is_square = |kind: &Kind<'_>| matches!(kind, Kind::Open('[') | Kind::Close('['));
    let mut depth = 0_i32;
    let mut squares = 0;
    let mut pairs = true;
    for token in tokens.iter() {
        match token.kind {
            Kind::Open('(' | '[') => depth += 1,
            Kind::Close('(' | '[') => depth -= 1,
            _ => {}
        }
        pairs &= depth >= 0;
        squares += usize::from(is_square(&token.kind));
    }
    if (pairs && depth == 0) || squares % 2 == 1 {
        return;
    }
    let brackets = tokens.iter_mut().filter(|token| is_square(&token.kind));
    for (index, token) in brackets.enumerate() {
        let opens = index % 2 == 0;
        let faces_in = opens == matches!(token.kind, Kind::Open(_));
        let bracket = if faces_in { '[' } else { '(' };
        token.kind = if opens { Kind::Open(bracket) } else { Kind::Close(bracket) };
    }
}
