//! What stands in brackets: groups, tuples, sets.

use crate::math::fuel::Stop;
use crate::math::lex::token::Kind;
use crate::math::parse::parser::Parser;
use crate::math::tree::node::Node;

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
        if let [Node::List(inner)] = items.as_mut_slice()
            && open == *close
        {
            items = std::mem::take(inner);
        }
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
        let (mut items, _) = self.items()?;
        // `\{ {1,2} \}`
        if let [Node::List(inner)] = items.as_mut_slice() {
            items = std::mem::take(inner);
        }
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
