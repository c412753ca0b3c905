//! From tokens to answers: lists, relations, sets and the text around expressions.

use std::fmt::Write as _;

use crate::math::fuel::{Fuel, Stop};
use crate::math::lex::facing::face_inwards;
use crate::math::lex::lexer::lex;
use crate::math::lex::literal::Commas;
use crate::math::lex::token::{Kind, Token};
use crate::math::parse::branches::branches;
use crate::math::parse::frame::{Frame, Tie, restricts_nothing, with_ties_apart};
use crate::math::parse::stance::words_of;
use crate::math::parse::wording::with_relations;
use crate::math::tree::node::{Expr, Function, Node, Rational, Relation};
use crate::math::value::identity::{Comparer, has_symbols};

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
    with_relations(&mut lexed.tokens);
    with_ties_apart(&mut lexed.tokens);
    if let Some(node) = branches(&lexed.tokens, fuel, whole)? {
        return Ok(Parsed { node, ambiguous_comma: lexed.ambiguous_comma });
    }
    let frame = Frame::of(&lexed.tokens);
    let main = whole(frame.main, fuel)?;
    if frame.is_partial || (frame.condition.is_some() && matches!(main, Node::Text(_))) {
        return Err(Stop::Unreadable("a sentence"));
    }
    let node = match frame.condition {
        None => main,
        Some((tie, tokens)) => conditioned(main, tie, tokens, fuel)?,
    };
    Ok(Parsed { node, ambiguous_comma: lexed.ambiguous_comma })
}

/// Reads all of the tokens as one answer.
fn whole(tokens: &[Token<'_>], fuel: &mut Fuel) -> Result<Node, Stop> {
    let mut parser = Parser { tokens, at: 0, fuel, depth: 0, bars: 0, matrices: 0, set_braces: 0 };
    let node = parser.list()?;
    if parser.at < tokens.len() {
        return Err(Stop::Unreadable("something follows the answer"));
    }
    Ok(node)
}

/// An answer with the condition behind it.
fn conditioned(main: Node, tie: Tie, tokens: &[Token<'_>], fuel: &mut Fuel) -> Result<Node, Stop> {
    if distinguishes_cases(tie, tokens) {
        return Err(Stop::Unreadable("an answer for one case and another"));
    }
    let condition = match whole(tokens, fuel) {
        Ok(Node::List(mut items)) if items.len() == 1 => items.remove(0),
        Ok(node) => node,
        Err(Stop::Unreadable(_)) if tie != Tie::Except => Node::text(&spelled(tokens)),
        Err(stop) => return Err(stop),
    };
    if tie != Tie::Except {
        // `all n such that n ≡ 1 (mod 4)`
        if matches!(main, Node::Expr(Expr::Symbol(_))) && matches!(condition, Node::Chain { .. }) {
            return Ok(condition);
        }
        // Words may change the answer: `18 with the digits swapped`.
        let essential = tie == Tie::Essential || !may_be_left_out(&condition, tie, &main);
        return Ok(Node::Given { main: Box::new(main), condition: Box::new(condition), essential });
    }
    // Without a set to take it from, it is all there is to say: `every n except n = 4`.
    let excluded = match condition {
        Node::Chain { mut terms, relations } if relations == [Relation::Equal] => terms.remove(1),
        Node::List(items) | Node::Union(items) => Node::Set(
            items
                .into_iter()
                .map(|item| match item {
                    Node::Chain { mut terms, relations } if relations == [Relation::Equal] => {
                        terms.remove(1)
                    }
                    other => other,
                })
                .collect(),
        ),
        other => other,
    };
    if matches!(main, Node::Expr(Expr::Symbol(_)))
        && let Node::Expr(_) = excluded
    {
        return Ok(Node::Chain {
            terms: vec![main, excluded],
            relations: vec![Relation::NotEqual],
        });
    }
    let excluded = if let Node::Expr(_) = excluded { Node::Set(vec![excluded]) } else { excluded };
    Ok(Node::Difference(Box::new((main, excluded))))
}

/// Whether an answer says the same without its condition.
///
/// Such a condition restricts nothing, bounds or defines a letter of the answer, or names the place where it is reached.
fn may_be_left_out(condition: &Node, tie: Tie, main: &Node) -> bool {
    let has_letter = |terms: &[Node]| {
        terms.iter().any(|term| {
            matches!(term, Node::Expr(expr) if expr.any(
                &|inner| matches!(inner, Expr::Symbol(name) if main.has_symbol(name)),
            ))
        })
    };
    match condition {
        Node::Text(words) => {
            let defines = |word: &str| word.len() == 1 && main.has_symbol(word);
            restricts_nothing(words) || (tie == Tie::Definition && words_of(words).any(defines))
        }
        Node::Expr(Expr::Symbol(_)) | Node::NumberSet(_) => true,
        Node::Quantity(inner, unit) => {
            matches!(**inner, Node::Expr(Expr::Symbol(_))) && restricts_nothing(unit)
        }
        Node::List(items) if is_counted_off(items) => {
            has_letter(&items[..1]) || {
                items[0].equation().is_some_and(|(name, _)| has_letter(std::slice::from_ref(name)))
            }
        }
        Node::List(items) | Node::Intersection(items) | Node::Union(items) => {
            items.iter().all(|item| may_be_left_out(item, tie, main))
        }
        Node::Chain { terms, relations } => {
            let is_equation = relations.iter().all(|relation| *relation == Relation::Equal);
            if is_equation {
                return tie == Tie::Place && !has_letter(&terms[..1]) && is_place(terms, main);
            }
            let is_domain = relations == &[Relation::In];
            (is_domain || is_natural_bound(terms, relations))
                && (tie != Tie::Domain || has_letter(terms) || is_domain)
        }
        _ => tie == Tie::Place,
    }
}

/// Whether an equation says where a value is reached: `8 when x = 2`. A letter of its own has a value, and the answer is a
/// number, or the place depends on its letters: `2√(ab) when x = √(a/b)`.
fn is_place(terms: &[Node], main: &Node) -> bool {
    let [label @ (Node::Expr(Expr::Symbol(_)) | Node::Tuple { .. }), place] = terms else {
        return false;
    };
    let main = main.equation().map_or(main, |(_, value)| value);
    let is_number = |node: &Node| !matches!(node, Node::Expr(expr) if has_symbols(expr));
    let names_letter = |node: &Node| {
        matches!(node, Node::Expr(expr) if expr.any(
            &|inner| matches!(inner, Expr::Symbol(name) if main.has_symbol(name)),
        ))
    };
    label.is_label() && (is_number(main) || names_letter(place))
}

/// Whether a bound of one letter says where the domain of a formula starts, or excludes values: `n ≥ 1`, `x > 0`, `x ≠ 1`.
/// Other bounds, such as `x < 0`, restrict an answer.
fn is_natural_bound(terms: &[Node], relations: &[Relation]) -> bool {
    const LAST_START: i64 = 3;
    let ([Node::Expr(left), Node::Expr(right)], [relation]) = (terms, relations) else {
        return is_range(terms, relations);
    };
    let is_letter = |expr: &Expr| matches!(expr, Expr::Symbol(_));
    let is_start = |expr: &Expr| {
        expr.as_number().is_some_and(|start| {
            (0..=LAST_START).any(|first| *start == Rational::from_integer(first.into()))
        })
    };
    match relation {
        Relation::NotEqual => left != right && (is_letter(left) || !has_symbols(right)),
        Relation::Greater | Relation::GreaterEqual => is_letter(left) && is_start(right),
        Relation::Less | Relation::LessEqual => is_letter(right) && is_start(left),
        _ => false,
    }
}

/// Whether a letter runs from one number to another.
fn is_range(terms: &[Node], relations: &[Relation]) -> bool {
    let is_number = |node: &Node| matches!(node, Node::Expr(expr) if !has_symbols(expr));
    matches!(terms, [low, Node::Expr(Expr::Symbol(_)), high] if is_number(low) && is_number(high))
        && relations.iter().all(|relation| relation.is_order())
}

/// Whether items count off the numbers from the first one: `n = 1, 2, 3, …`.
fn is_counted_off(items: &[Node]) -> bool {
    let is_dots = |item: &Node| matches!(item, Node::Expr(Expr::Symbol(name)) if &**name == "dots");
    items.first().is_some_and(|first| first.equation().is_some()) && items.iter().any(is_dots)
}

/// Whether a condition continues with another case: `14 when x = 2 but 9 in general`,
/// `14 when x = 2 and 9 when x = 3`.
fn distinguishes_cases(tie: Tie, tokens: &[Token<'_>]) -> bool {
    tokens.iter().any(|token| {
        let (Kind::Word(text) | Kind::Text(text)) = token.kind else { return false };
        words_of(text).any(|word| {
            matches!(word, "but" | "else" | "otherwise" | "however" | "general" | "generally")
                || (tie != Tie::Except && matches!(word, "when" | "if" | "unless"))
        })
    })
}

/// Tokens as words, for a condition that is no formula.
fn spelled(tokens: &[Token<'_>]) -> String {
    let mut text = String::new();
    for token in tokens {
        if !text.is_empty() {
            text.push(' ');
        }
        match &token.kind {
            Kind::Word(word) | Kind::Text(word) | Kind::Name(word) => text.push_str(word),
            Kind::Number(literal) => text.push_str(literal.raw),
            other => {
                let _ = write!(text, "{other:?}");
            }
        }
    }
    text
}

pub(crate) struct Parser<'t, 'a, 'f> {
    pub(crate) tokens: &'t [Token<'a>],
    pub(crate) at: usize,
    pub(crate) fuel: &'f mut Fuel,
    pub(super) depth: usize,
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
        if let Some(classes) = shared_modulus(&items) {
            return Ok(Node::List(classes));
        }
        if joint == Joint::Or && self.restates(&items)? {
            return Ok(items.remove(0));
        }
        let bounds = joint == Joint::Or && items.iter().any(is_order_chain);
        let conditions =
            items.iter().all(|item| is_condition(item) || (bounds && is_assignment(item)));
        let named = items.iter().any(|item| matches!(item, Node::Chain { .. }));
        let related = items.iter().any(relates);
        Ok(match joint {
            Joint::Vee if conditions || !named || related => Node::Union(items),
            Joint::Wedge if !named || related || items.iter().all(is_order_chain) => {
                Node::Intersection(items)
            }
            Joint::Or if conditions || names_differ(&items) || related => Node::Union(items),
            Joint::And if conditions && items.iter().all(is_order_chain) => {
                Node::Intersection(items)
            }
            _ => Node::List(items),
        })
    }

    /// Whether all items are the same number, as in `5/6 or 0.8333…`: a decimal may be rounded to its last place.
    fn restates(&mut self, items: &[Node]) -> Result<bool, Stop> {
        let Some((Node::Expr(first), rest)) = items.split_first() else { return Ok(false) };
        let mut comparer = Comparer { fuel: self.fuel, relative_tolerance: 0.01 };
        for item in rest {
            match item {
                Node::Expr(other) if comparer.identical(first, other)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Items up to the end or a closing bracket, and their separator.
    pub(crate) fn items(&mut self) -> Result<(Vec<Node>, Joint), Stop> {
        let mut items = Vec::new();
        let mut joint = Joint::None;
        loop {
            let mut last = None;
            while let Some(found) = self.separator() {
                if !items.is_empty() {
                    joint = joint.merge(found);
                }
                last = Some(found);
            }
            if self.peek().is_none() && matches!(last, Some(Joint::Or | Joint::And)) {
                return Err(Stop::Unreadable("a list that breaks off"));
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
                        | Kind::Operator('|' | '∨' | '∧')
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
                Kind::Relation(relation)
                    if depth == 1
                        && (matches!(relation, Relation::In | Relation::NotEqual)
                            || relation.is_order()) =>
                {
                    return true;
                }
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
            Kind::Operator('∨') => Joint::Vee,
            Kind::Operator('∧') => Joint::Wedge,
            Kind::RowBreak if self.matrices == 0 => Joint::Comma,
            _ => return None,
        };
        self.at += 1;
        Some(joint)
    }
}

/// `x ≡ 1, 4 (mod 5)` as two congruences: the modulus of the last item is everyone's.
fn shared_modulus(items: &[Node]) -> Option<Vec<Node>> {
    let (Node::Chain { terms, relations: last }, before) = items.split_last()? else { return None };
    let [Node::Expr(_), Node::Expr(modulus)] = terms.as_slice() else { return None };
    let Node::Chain { terms: first, relations } = before.first()? else { return None };
    let ([subject, _], [Relation::Other('≡')], [Relation::Modulo]) =
        (first.as_slice(), relations.as_slice(), last.as_slice())
    else {
        return None;
    };
    let class = |item: &Node| {
        let residue = match item {
            Node::Chain { terms, .. } => terms.get(usize::from(*item == before[0]))?,
            other => other,
        };
        let Node::Expr(residue) = residue else { return None };
        Some(Node::Chain {
            terms: vec![subject.clone(), Node::Expr(residue.clone()), Node::Expr(modulus.clone())],
            relations: vec![Relation::Other('≡'), Relation::Modulo],
        })
    };
    items.iter().map(class).collect()
}

/// Separator of the items of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joint {
    None,
    Comma,
    And,
    Or,
    /// The signs ∨ and ∧.
    Vee,
    Wedge,
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

/// Whether an item says how two things are related, other than by an equation or a congruence: `x ∉ B`.
fn relates(node: &Node) -> bool {
    matches!(node, Node::Chain { relations, .. } if relations.iter().any(|relation| {
        *relation == Relation::In || matches!(relation, Relation::Other(sign) if *sign != '≡')
    }) && !relations.contains(&Relation::Modulo))
}

/// `a = 2`, a point beside the intervals of `a < 0 or a = 2`.
fn is_assignment(node: &Node) -> bool {
    matches!(node, Node::Chain { terms, relations } if *relations == [Relation::Equal]
        && matches!(terms.first(), Some(Node::Expr(Expr::Symbol(_)))))
}

/// Whether all items are assignments, and not all to the same name: `x = 1 or y = 2`.
fn names_differ(items: &[Node]) -> bool {
    let name = |item: &Node| match item {
        item if is_assignment(item) => item.equation().map(|(name, _)| name.clone()),
        _ => None,
    };
    let names: Option<Vec<Node>> = items.iter().map(name).collect();
    let base = |node: &Node| match node {
        Node::Expr(Expr::Symbol(name)) => name.split('_').next().map(ToOwned::to_owned),
        _ => None,
    };
    names.is_some_and(|names| names.iter().any(|name| base(name) != base(&names[0])))
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
