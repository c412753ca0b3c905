//! Relations between expressions: chains, congruences, operations on sets, ratios, clock times.

use crate::math::fuel::Stop;
use crate::math::lex::token::Kind;
use crate::math::parse::parser::{MAX_DEPTH, Parser, into_expr};
use crate::math::tree::node::{Expr, Function, Node, Relation};

impl Parser<'_, '_, '_> {
    pub(super) fn chain(&mut self) -> Result<Node, Stop> {
        let mut terms = vec![self.set_expression()?];
        let mut relations = Vec::new();
        loop {
            // `x &= 2 + 3 \\\\ &= 5`: the chain continues in the next row.
            let row_goes_on = self.matrices == 0
                && self.peek() == Some(&Kind::RowBreak)
                && matches!(self.peek_at(1), Some(Kind::Relation(_)));
            self.at += usize::from(row_goes_on);
            let Some(Kind::Relation(relation)) = self.peek() else { break };
            let relation = *relation;
            self.at += 1;
            relations.push(relation);
            // `k ∈ Z`, in any typeface.
            if relation == Relation::In
                && let Some(Kind::Name(set @ ("R" | "Z" | "N" | "Q" | "C"))) = self.peek()
                && self.peek_at(1) != Some(&Kind::Open('('))
            {
                self.at += 1;
                let letter = set.chars().next().unwrap_or('R');
                terms.push(Node::NumberSet(self.set_part(letter)));
                continue;
            }
            terms.push(self.set_expression()?);
        }
        if let Some(modulus) = self.modulus()? {
            let remainder = into_expr(terms.pop().unwrap_or(Node::Expr(Expr::integer(0))))?;
            terms.push(Node::Expr(remainder_of(remainder, modulus.clone())));
            terms.push(Node::Expr(modulus));
            relations.push(Relation::Modulo);
        }
        if relations.contains(&Relation::Other('≡'))
            && let Some(Node::Expr(Expr::Call(Function::Mod, arguments))) = terms.last()
            && let [_, modulus] = arguments.as_slice()
        {
            // `a ≡ b mod m`
            let modulus = modulus.clone();
            terms.push(Node::Expr(modulus));
            relations.push(Relation::Modulo);
        }
        if relations.is_empty() {
            return Ok(terms.remove(0));
        }
        // `f(x) ≡ 0`: the function is constant.
        if relations == [Relation::Other('≡')] && is_function(&terms[0]) {
            relations[0] = Relation::Equal;
        }
        Ok(Node::Chain { terms, relations })
    }

    /// `\pmod m` and `(mod m)` behind a remainder.
    fn modulus(&mut self) -> Result<Option<Expr>, Stop> {
        if self.take(&Kind::Modulo) {
            return self.argument().map(Some);
        }
        if self.peek() != Some(&Kind::Open('(')) || self.peek_at(1) != Some(&Kind::Mod) {
            return Ok(None);
        }
        self.at += 2;
        let modulus = into_expr(self.sum()?)?;
        self.expect(&Kind::Close('('), "a modulus that is not closed")?;
        Ok(Some(modulus))
    }

    fn set_expression(&mut self) -> Result<Node, Stop> {
        let mut left = self.ratio()?;
        let mut nesting = 0;
        loop {
            let kind = self.peek();
            if !matches!(kind, Some(Kind::Union | Kind::Intersection | Kind::SetMinus)) {
                return Ok(left);
            }
            self.at += 1;
            let continues = matches!(
                (kind, &left),
                (Some(Kind::Union), Node::Union(_))
                    | (Some(Kind::Intersection), Node::Intersection(_))
            );
            nesting += usize::from(!continues);
            if nesting > MAX_DEPTH {
                return Err(Stop::Unreadable("too many operations on sets"));
            }
            let right = self.ratio()?;
            left = match kind {
                Some(Kind::Union) => match left {
                    Node::Union(mut parts) => {
                        parts.push(right);
                        Node::Union(parts)
                    }
                    other => Node::Union(vec![other, right]),
                },
                Some(Kind::Intersection) => match left {
                    Node::Intersection(mut parts) => {
                        parts.push(right);
                        Node::Intersection(parts)
                    }
                    other => Node::Intersection(vec![other, right]),
                },
                _ => Node::Difference(Box::new((left, right))),
            };
        }
    }

    fn ratio(&mut self) -> Result<Node, Stop> {
        if let Some(clock) = self.clock() {
            return Ok(clock);
        }
        let first = self.stacked()?;
        if !self.ratio_goes_on() || self.set_braces > 0 {
            return Ok(first);
        }
        let mut terms = vec![into_expr(first)?];
        while self.ratio_goes_on() {
            self.at += 1;
            terms.push(into_expr(self.sum()?)?);
        }
        Ok(Node::Ratio(terms))
    }

    /// `3 : 4` and `3 to 4`.
    fn ratio_goes_on(&self) -> bool {
        matches!(self.peek(), Some(Kind::Colon | Kind::Word("to") | Kind::Text("to")))
    }

    /// `a \over b` and `n \choose k`, which take all there is on either side.
    fn stacked(&mut self) -> Result<Node, Stop> {
        let first = self.sum()?;
        let is_choice = match self.peek() {
            Some(Kind::Choose) => true,
            Some(Kind::Over) => false,
            _ => return Ok(first),
        };
        self.at += 1;
        let (upper, lower) = (into_expr(first)?, into_expr(self.sum()?)?);
        Ok(Node::Expr(if is_choice {
            Expr::Call(Function::Binomial, vec![upper, lower])
        } else {
            upper.over(lower)
        }))
    }

    /// `12:05`: one or two digits, a colon, two digits.
    fn clock(&mut self) -> Option<Node> {
        let [Kind::Number(hours), Kind::Colon, Kind::Number(minutes)] =
            [self.peek()?, self.peek_at(1)?, self.peek_at(2)?]
        else {
            return None;
        };
        let digits = |raw: &str, range: std::ops::RangeInclusive<usize>| {
            range.contains(&raw.len()) && raw.bytes().all(|byte| byte.is_ascii_digit())
        };
        let hour_ok =
            digits(hours.raw, 1..=2) && hours.raw.parse::<u8>().is_ok_and(|hour| hour <= 24);
        let minute_ok =
            digits(minutes.raw, 2..=2) && minutes.raw.parse::<u8>().is_ok_and(|minute| minute < 60);
        let alone = self.peek_at(3) != Some(&Kind::Colon)
            && hours.places.is_none()
            && minutes.places.is_none()
            && !self.tokens[self.at + 1].spaced;
        if !(hour_ok && minute_ok && alone) {
            return None;
        }
        let text = format!("{}:{}", hours.raw.trim_start_matches('0'), minutes.raw);
        self.at += 3;
        Some(Node::Clock(text.into()))
    }
}

/// Whether a node is a function, with its argument or by its letter.
fn is_function(node: &Node) -> bool {
    match node {
        Node::Expr(Expr::Call(Function::Named(_), arguments)) => {
            matches!(arguments.as_slice(), [Expr::Symbol(_)])
        }
        Node::Expr(Expr::Symbol(name)) => matches!(&**name, "f" | "g" | "h" | "P" | "Q"),
        _ => false,
    }
}

/// The remainder of an expression, unless it is that already.
fn remainder_of(expr: Expr, modulus: Expr) -> Expr {
    match &expr {
        Expr::Call(Function::Mod, arguments) if arguments.get(1) == Some(&modulus) => expr,
        _ => Expr::Call(Function::Mod, vec![expr, modulus]),
    }
}
