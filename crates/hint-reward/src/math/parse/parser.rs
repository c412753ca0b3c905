//! From tokens to answers: lists, relations, sets and what stands around expressions.

use crate::math::fuel::{Fuel, Stop};
use crate::math::lex::facing::face_inwards;
use crate::math::lex::lexer::lex;
use crate::math::lex::literal::Commas;
use crate::math::lex::token::{Kind, Token};
use crate::math::tree::node::{Expr, Function, Node, Relation};

/// Depth of nesting beyond which a text is not read as an answer.
pub(super) const MAX_DEPTH: usize = 48;

/// An answer that was read.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) node: Node,
    /// Whether [`Commas::Unusual`] would read something else.
    pub(crate) ambiguous_comma: bool,
}

/// Reads a whole text as one answer.
pub(crate) fn parse(text: &str, commas: Commas, fuel: &mut Fuel) -> Result<Parsed, Stop> {
    let mut lexed = lex(text, commas, fuel)?;
    face_inwards(&mut lexed.tokens);
    let mut parser = Parser {
        tokens: &lexed.tokens,
        at: 0,
        fuel,
        depth: 0,
        bars: 0,
        matrices: 0,
        set_braces: 0,
    };
    let node = parser.list()?;
    if parser.at < parser.tokens.len() {
        return Err(Stop::Unreadable("something follows the answer"));
    }
    Ok(Parsed { node, ambiguous_comma: lexed.ambiguous_comma })
}

pub(crate) struct Parser<'t, 'a, 'f> {
    pub(crate) tokens: &'t [Token<'a>],
    pub(crate) at: usize,
    pub(crate) fuel: &'f mut Fuel,
    depth: usize,
    /// Open `|`, inside which another one closes.
    pub(crate) bars: usize,
    /// Open matrices, inside which `&` and `\\` belong to the matrix.
    pub(super) matrices: usize,
    /// Open set braces, inside which `|` starts a condition.
    pub(crate) set_braces: usize,
}

impl<'t, 'a> Parser<'t, 'a, '_> {
    pub(crate) fn peek(&self) -> Option<&'t Kind<'a>> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    pub(crate) fn peek_at(&self, ahead: usize) -> Option<&'t Kind<'a>> {
        self.tokens.get(self.at + ahead).map(|token| &token.kind)
    }

    pub(crate) fn take(&mut self, kind: &Kind<'_>) -> bool {
        let found = self.peek() == Some(kind);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, kind: &Kind<'_>, reason: &'static str) -> Result<(), Stop> {
        if self.take(kind) { Ok(()) } else { Err(Stop::Unreadable(reason)) }
    }

    /// Runs one level deeper.
    pub(crate) fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        self.fuel.spend(20)?;
        if self.depth >= MAX_DEPTH {
            return Err(Stop::Unreadable("the nesting is too deep"));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// Items up to the end or a closing bracket, as one node.
    pub(crate) fn list(&mut self) -> Result<Node, Stop> {
        let (mut items, joint) = self.items()?;
        if items.is_empty() {
            return Err(Stop::Unreadable("nothing to read"));
        }
        if items.len() == 1 {
            return Ok(items.remove(0));
        }
        let conditions = items.iter().all(is_condition);
        Ok(match joint {
            Joint::Or if conditions => Node::Union(items),
            Joint::And if conditions && items.iter().all(is_order_chain) => {
                Node::Intersection(items)
            }
            _ => Node::List(items),
        })
    }

    /// Items up to the end or a closing bracket, and what joins them.
    pub(crate) fn items(&mut self) -> Result<(Vec<Node>, Joint), Stop> {
        let mut items = Vec::new();
        let mut joint = Joint::None;
        loop {
            while let Some(found) = self.separator() {
                if !items.is_empty() {
                    joint = joint.merge(found);
                }
            }
            if matches!(
                self.peek(),
                None | Some(
                    Kind::Close(_) | Kind::Ampersand | Kind::RowBreak | Kind::End(_) | Kind::Mid
                )
            ) || (self.set_braces > 0 && self.peek() == Some(&Kind::Operator('|')))
            {
                return Ok((items, joint));
            }
            items.push(self.nested(Self::item)?);
            if self.remark_follows() {
                continue;
            }
            if !matches!(
                self.peek(),
                None | Some(
                    Kind::Comma
                        | Kind::Semicolon
                        | Kind::And
                        | Kind::Or
                        | Kind::RowBreak
                        | Kind::Close(_)
                        | Kind::Ampersand
                        | Kind::End(_)
                        | Kind::Mid
                        | Kind::Operator('|')
                        | Kind::Colon
                )
            ) {
                return Err(Stop::Unreadable("two answers without a separator"));
            }
            if matches!(self.peek(), Some(Kind::Operator('|') | Kind::Colon)) {
                return Ok((items, joint));
            }
        }
    }

    /// Whether the bracket that opens here holds a remark such as `(k \in \mathbb{Z})`.
    pub(crate) fn remark_follows(&self) -> bool {
        if self.peek() != Some(&Kind::Open('(')) {
            return false;
        }
        let mut depth = 0_usize;
        for token in &self.tokens[self.at..] {
            match token.kind {
                Kind::Open(_) => depth += 1,
                Kind::Close(_) if depth <= 1 => return false,
                Kind::Close(_) => depth -= 1,
                Kind::Relation(Relation::In) if depth == 1 => return true,
                _ => {}
            }
        }
        false
    }

    fn separator(&mut self) -> Option<Joint> {
        let joint = match self.peek()? {
            Kind::Comma | Kind::Semicolon => Joint::Comma,
            Kind::And => Joint::And,
            Kind::Or => Joint::Or,
            Kind::RowBreak if self.matrices == 0 => Joint::Comma,
            _ => return None,
        };
        self.at += 1;
        Some(joint)
    }
}

/// What joins the items of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joint {
    None,
    Comma,
    And,
    Or,
}

impl Joint {
    fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::None | Self::Comma, other) => other,
            (first, Self::Comma) => first,
            (first, other) if first == other => first,
            _ => Self::Comma,
        }
    }
}

/// The expression of a node that is one.
pub(crate) fn into_expr(node: Node) -> Result<Expr, Stop> {
    match node {
        Node::Expr(expr) => Ok(expr),
        Node::Quantity(inner, unit) if &*unit == "degree" => {
            Ok(Expr::Call(Function::Degrees, vec![into_expr(*inner)?]))
        }
        _ => Err(Stop::Unreadable("arithmetic on something that is no number")),
    }
}

/// Whether an item restricts a variable.
fn is_condition(node: &Node) -> bool {
    match node {
        Node::Chain { relations, .. } => {
            relations.iter().all(|r| r.is_order() || matches!(r, Relation::In | Relation::NotEqual))
        }
        Node::Union(_) | Node::Intersection(_) => true,
        _ => false,
    }
}

fn is_order_chain(node: &Node) -> bool {
    matches!(node, Node::Chain { relations, .. } if relations.iter().all(|r| r.is_order() || *r == Relation::NotEqual))
}

/// Words that show that a sentence is going on, not a unit.
pub(crate) fn is_sentence_word(word: &str) -> bool {
    word.split_whitespace().any(|word| {
        matches!(
            word.to_lowercase().as_str(),
            "is" | "are"
                | "was"
                | "the"
                | "be"
                | "which"
                | "so"
                | "because"
                | "since"
                | "but"
                | "not"
                | "if"
                | "then"
                | "answer"
                | "solution"
                | "we"
                | "therefore"
                | "thus"
                | "where"
                | "when"
                | "that"
                | "this"
                | "it"
                | "has"
                | "have"
                | "for"
                | "from"
                | "by"
                | "with"
                | "as"
                | "only"
                | "none"
        )
    })
}
