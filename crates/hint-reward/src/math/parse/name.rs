//! Names, functions and sums.

use num_traits::One;

use crate::math::fuel::Stop;
use crate::math::lex::literal::{Commas, read_literal};
use crate::math::lex::token::{Kind, Token};
use crate::math::parse::parser::{Parser, into_expr, is_sentence_word};
use crate::math::parse::stance::changes_name;
use crate::math::tree::node::{Expr, Function, INDEX, Node, Rational, Relation};
use crate::number::word::cardinal;

impl<'a> Parser<'_, 'a, '_> {
    /// A name with its subscript and primes, applied to arguments where it is a function.
    pub(super) fn named(&mut self, name: &str) -> Result<Node, Stop> {
        if let Some(segment) = self.segment(name) {
            return Ok(segment);
        }
        let mut full = name.to_owned();
        if self.take(&Kind::Operator('_')) {
            full.push('_');
            full.push_str(&self.subscript_text()?);
        }
        while self.take(&Kind::Operator('\'')) {
            full.push('\'');
        }
        if self.peek() == Some(&Kind::Operator('^'))
            && self.peek_at(1) == Some(&Kind::Operator('\''))
        {
            self.at += 2;
            full.push('\'');
        }
        if name == "P"
            && let Some(event) = self.event()?
        {
            return Ok(Node::Expr(Expr::Symbol(format!("P({event})").into())));
        }
        let is_function =
            matches!(name, "f" | "g" | "h" | "F" | "G" | "H" | "phi" | "psi" | "zeta")
                || full.ends_with('\'');
        // `T(10) = 2` gives a value of T.
        let gives_value = matches!(
            (self.peek_at(1), self.peek_at(2), self.peek_at(3)),
            (
                Some(Kind::Number(_) | Kind::Name(_)),
                Some(Kind::Close('(')),
                Some(Kind::Relation(Relation::Equal))
            )
        );
        if self.peek() == Some(&Kind::Open('('))
            && (is_function || gives_value || self.arguments_follow())
        {
            self.at += 1;
            let arguments = match self.nested(|parser| parser.bracketed('('))? {
                Node::Expr(argument) => vec![argument],
                Node::Tuple { items, left_closed: false, right_closed: false } => {
                    items.into_iter().map(into_expr).collect::<Result<_, _>>()?
                }
                _ => return Err(Stop::Unreadable("an argument that is no number")),
            };
            if full == "zeta"
                && let [Expr::Number(power)] = arguments.as_slice()
                && power.is_integer()
                && *power > Rational::one()
                && *power <= Rational::from_integer(MAX_ZETA.into())
            {
                return Ok(Node::Expr(zeta(power)));
            }
            return Ok(Node::Expr(Expr::Call(Function::Named(full.into()), arguments)));
        }
        Ok(Node::Expr(Expr::Symbol(full.into())))
    }

    /// `AB` behind its first letter: a segment, whose ends have no order. A third letter, a subscript or an argument makes
    /// the letters what they are otherwise.
    fn segment(&mut self, name: &str) -> Option<Node> {
        let is_capital = |name: &str| name.len() == 1 && name.as_bytes()[0].is_ascii_uppercase();
        let before = self.at.checked_sub(2).map(|at| &self.tokens[at].kind);
        let follows = matches!(before, Some(Kind::Name(name)) if is_capital(name))
            && !self.tokens[self.at - 1].spaced;
        let Some(Token { kind: Kind::Name(second), spaced: false }) = self.tokens.get(self.at)
        else {
            return None;
        };
        let goes_on = matches!(self.peek_at(1), Some(Kind::Operator('_' | '\'') | Kind::Open('(')))
            || matches!(self.tokens.get(self.at + 1), Some(Token { kind: Kind::Name(third), spaced: false }) if is_capital(third));
        if follows || goes_on || !is_capital(name) || !is_capital(second) || name == *second {
            return None;
        }
        self.at += 1;
        let (first, second) = if name < *second { (name, *second) } else { (*second, name) };
        Some(Node::Expr(Expr::Symbol(format!("{first}{second}").into())))
    }

    /// Content of the brackets of `P(X = 2)` or `P(A | B)`, which no expression is.
    fn event(&mut self) -> Result<Option<String>, Stop> {
        if self.peek() != Some(&Kind::Open('(')) {
            return Ok(None);
        }
        let rest = &self.tokens[self.at + 1..];
        let Some(end) = rest.iter().position(|token| token.kind == Kind::Close('(')) else {
            return Ok(None);
        };
        let inside = &rest[..end];
        let is_event = inside.iter().any(|token| {
            matches!(
                token.kind,
                Kind::Relation(_)
                    | Kind::Operator('|')
                    | Kind::Mid
                    | Kind::Union
                    | Kind::Intersection
            )
        });
        if !is_event {
            return Ok(None);
        }
        let mut text = String::new();
        for token in inside {
            write_token(&token.kind, &mut text)?;
        }
        self.at += end + 2;
        Ok(Some(text))
    }

    /// Whether the bracket that opens here holds several arguments.
    fn arguments_follow(&self) -> bool {
        let mut depth = 0_usize;
        for token in &self.tokens[self.at..] {
            match token.kind {
                Kind::Open(_) => depth += 1,
                Kind::Close(_) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return false;
                    }
                }
                Kind::Comma if depth == 1 => return true,
                _ => {}
            }
        }
        false
    }

    /// The text of a subscript or of an accented name.
    pub(super) fn subscript_text(&mut self) -> Result<String, Stop> {
        let mut text = String::new();
        if !self.take(&Kind::Open('{')) {
            let kind = self.peek().ok_or(Stop::Unreadable("a subscript is missing"))?;
            self.at += 1;
            write_token(kind, &mut text)?;
            return Ok(text);
        }
        let mut depth = 1;
        while depth > 0 {
            let kind = self.peek().ok_or(Stop::Unreadable("a subscript that is not closed"))?;
            self.at += 1;
            match kind {
                Kind::Open('{') => depth += 1,
                Kind::Close('{') => depth -= 1,
                other => write_token(other, &mut text)?,
            }
        }
        self.fuel.spend(text.len() as u64)?;
        Ok(text)
    }

    /// An integer with its base as subscript, from the underscore.
    pub(super) fn based(&mut self, digits: &str) -> Result<Node, Stop> {
        self.at += 1;
        let base = self.subscript_text()?;
        let base = base.trim_start_matches("base").trim();
        // `1011_{(2)}`
        let base = base.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(base);
        let base: u32 = base
            .parse()
            .ok()
            .or_else(|| cardinal(base).and_then(|base| u32::try_from(base).ok()))
            .filter(|base| (2..=36).contains(base))
            .ok_or(Stop::Unreadable("a base"))?;
        based_in(digits, base)
    }

    pub(super) fn call(&mut self, function: &Function) -> Result<Expr, Stop> {
        let mut function = function.clone();
        let mut exponent = None;
        let mut base = None;
        loop {
            if exponent.is_none() && self.peek() == Some(&Kind::Operator('^')) {
                self.at += 1;
                exponent = Some(self.nested(Self::exponent)?);
            } else if base.is_none() && function == Function::Log && self.take(&Kind::Operator('_'))
            {
                base = Some(self.argument()?);
            } else {
                break;
            }
        }
        if exponent.as_ref() == Some(&Expr::integer(-1)) {
            let inverse = match function {
                Function::Sin => Some(Function::Asin),
                Function::Cos => Some(Function::Acos),
                Function::Tan => Some(Function::Atan),
                _ => None,
            };
            if let Some(inverse) = inverse {
                function = inverse;
                exponent = None;
            }
        }
        let mut arguments = self.nested(Self::function_arguments)?;
        let many =
            matches!(function, Function::Gcd | Function::Lcm | Function::Min | Function::Max);
        if !many && arguments.len() != 1 && !matches!(function, Function::Named(_)) {
            return Err(Stop::Unreadable("a function with a wrong number of arguments"));
        }
        if function == Function::Log {
            arguments.insert(0, base.unwrap_or_else(|| Expr::integer(10)));
        }
        let call = match &function {
            Function::Named(name) if &**name == "exp" && arguments.len() == 1 => {
                Expr::E.power(arguments.remove(0))
            }
            Function::Named(name) if &**name == "cis" && arguments.len() == 1 => {
                let angle = arguments.remove(0);
                let sine = Expr::Call(Function::Sin, vec![angle.clone()]);
                Expr::Call(Function::Cos, vec![angle]).plus(Expr::I.times(sine))
            }
            Function::Named(name) if is_inverse_hyperbolic(name) && arguments.len() == 1 => {
                inverse_hyperbolic(name, arguments.remove(0))
            }
            _ => Expr::Call(function, arguments),
        };
        Ok(match exponent {
            Some(exponent) => call.power(exponent),
            None => call,
        })
    }

    fn function_arguments(&mut self) -> Result<Vec<Expr>, Stop> {
        if self.take(&Kind::Open('(')) {
            return match self.bracketed('(')? {
                Node::Expr(argument) => Ok(vec![argument]),
                Node::Tuple { items, .. } => items.into_iter().map(into_expr).collect(),
                other => Ok(vec![into_expr(other)?]),
            };
        }
        if matches!(self.peek(), Some(Kind::Open('S'))) {
            return match self.power()? {
                Node::Set(items) => items.into_iter().map(into_expr).collect(),
                _ => Err(Stop::Unreadable("an argument that is no number")),
            };
        }
        let mut argument = into_expr(self.factor()?)?;
        while self.starts_factor()
            && !matches!(self.peek(), Some(Kind::Function(_) | Kind::Open('(' | '[')))
        {
            argument = argument.times(into_expr(self.power()?)?);
        }
        Ok(vec![argument])
    }

    /// `\sum_{k=a}^{b} body`.
    pub(super) fn series(&mut self, function: Function) -> Result<Expr, Stop> {
        self.expect(&Kind::Operator('_'), "a sum without its range")?;
        let brackets = if self.take(&Kind::Open('(')) { '(' } else { '{' };
        if brackets == '{' {
            self.expect(&Kind::Open('{'), "a sum without its range")?;
        }
        let variable = match self.peek() {
            Some(Kind::Name(name)) => (*name).to_owned(),
            Some(Kind::I) => "i".to_owned(),
            _ => return Err(Stop::Unreadable("a sum without its variable")),
        };
        self.at += 1;
        self.expect(&Kind::Relation(Relation::Equal), "a sum without its range")?;
        let low = into_expr(self.sum()?)?;
        self.expect(&Kind::Close(brackets), "a sum without its range")?;
        self.expect(&Kind::Operator('^'), "a sum without its upper end")?;
        let high = self.argument()?;
        let mut body = self.nested(|parser| into_expr(parser.product()?))?;
        if variable == "i" {
            body = body.map(&|expr| (*expr == Expr::I).then(|| Expr::symbol("i")));
        }
        let body = body.map(&|expr| indexed_by(expr, &variable));
        Ok(Expr::Call(function, vec![Expr::symbol(&variable), low, high, body]))
    }

    /// `\int_{a}^{b} body dx`.
    pub(super) fn integral(&mut self) -> Result<Expr, Stop> {
        self.expect(&Kind::Operator('_'), "an integral without its lower end")?;
        let low = self.signed_argument()?;
        self.expect(&Kind::Operator('^'), "an integral without its upper end")?;
        let high = self.signed_argument()?;
        let (mut depth, mut inner) = (0_usize, 0_usize);
        let mut end = None;
        for (index, token) in self.tokens.iter().enumerate().skip(self.at) {
            match &token.kind {
                Kind::Open(_) | Kind::Begin(_) => depth += 1,
                Kind::Close(_) | Kind::End(_) if depth == 0 => break,
                Kind::Close(_) | Kind::End(_) => depth -= 1,
                // The first `d` belongs to the innermost integral.
                Kind::Integral => inner += 1,
                Kind::Name("d") if inner > 0 => inner -= 1,
                Kind::Name("d") if depth == 0 => {
                    end = Some(index);
                    break;
                }
                _ => {}
            }
        }
        let Some(end) = end else { return self.integral_of_fraction(low, high) };
        let variable = self.differential(end)?;
        let body = if self.at == end {
            Expr::integer(1)
        } else {
            self.within(end, "an integrand that cannot be read")?
        };
        self.at = end + 2;
        Ok(Expr::Call(Function::Integral, vec![Expr::symbol(variable), low, high, body]))
    }

    /// The variable behind the `d` at a place.
    fn differential(&self, at: usize) -> Result<&'a str, Stop> {
        match self.tokens.get(at + 1).map(|token| &token.kind) {
            Some(Kind::Name(variable)) => Ok(variable),
            _ => Err(Stop::Unreadable("an integral without its variable")),
        }
    }

    /// The tokens up to an end as one sum, with nothing left over.
    fn within(&mut self, end: usize, reason: &'static str) -> Result<Expr, Stop> {
        let all = self.tokens;
        self.tokens = &all[..end];
        let body = self.nested(|parser| into_expr(parser.sum()?));
        let complete = self.at == end;
        self.tokens = all;
        if complete { body } else { body.and(Err(Stop::Unreadable(reason))) }
    }

    /// `\frac{dx}{x}` and `2\frac{x\,dx}{1+x}`: the variable ends the numerator of the last factor.
    fn integral_of_fraction(&mut self, low: Expr, high: Expr) -> Result<Expr, Stop> {
        const REASON: &str = "an integral without its variable";
        let is = |at: usize, kind: &Kind<'_>| self.tokens.get(at).is_some_and(|t| t.kind == *kind);
        let place = (self.at..self.tokens.len())
            .find(|at| is(*at, &Kind::Name("d")) && is(*at + 2, &Kind::Close('{')))
            .ok_or(Stop::Unreadable(REASON))?;
        let variable = self.differential(place)?;
        let group = |from: usize| {
            let mut depth = 0_usize;
            self.tokens[from..].iter().position(|token| {
                match token.kind {
                    Kind::Open('{') => depth += 1,
                    Kind::Close('{') => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth == 0
            })
        };
        let end = place + 3 + group(place + 3).ok_or(Stop::Unreadable(REASON))? + 1;
        // In place of `dx` the numerator has a factor of one.
        let mut tokens = self.tokens[self.at..place].to_vec();
        if tokens.last().is_some_and(|token| token.kind != Kind::Open('{')) {
            tokens.push(Token { kind: Kind::Operator('*'), spaced: true });
        }
        let one = read_literal("1", Commas::Separate, false)?.literal;
        tokens.push(Token { kind: Kind::Number(one), spaced: true });
        tokens.extend_from_slice(&self.tokens[place + 2..end]);
        let count = tokens.len();
        let mut parser = Parser {
            tokens: &tokens,
            at: 0,
            fuel: &mut *self.fuel,
            depth: self.depth,
            bars: 0,
            matrices: 0,
            set_braces: 0,
        };
        let body = parser.within(count, "an integrand that cannot be read")?;
        self.at = end;
        Ok(Expr::Call(Function::Integral, vec![Expr::symbol(variable), low, high, body]))
    }

    /// The derivative of a name behind a fraction command: `{dy}{dx}` is `y'`, and `{dy}{dt}` a name of its own.
    pub(super) fn derivative(&mut self) -> Option<Node> {
        let group = |at: usize| match self.tokens.get(at..at + 4)? {
            [open, d, name, close]
                if open.kind == Kind::Open('{')
                    && d.kind == Kind::Name("d")
                    && close.kind == Kind::Close('{') =>
            {
                match name.kind {
                    Kind::Name(name) => Some(name),
                    _ => None,
                }
            }
            _ => None,
        };
        let (function, variable) = (group(self.at)?, group(self.at + 4)?);
        self.at += 8;
        let name = match variable {
            "x" => format!("{function}'"),
            _ => format!("d{function}/d{variable}"),
        };
        Some(Node::Expr(Expr::Symbol(name.into())))
    }

    /// `\lim_{x \to a} body`.
    pub(super) fn limit(&mut self) -> Result<Expr, Stop> {
        self.expect(&Kind::Operator('_'), "a limit without its variable")?;
        self.expect(&Kind::Open('{'), "a limit without its variable")?;
        let Some(Kind::Name(variable)) = self.peek() else {
            return Err(Stop::Unreadable("a limit without its variable"));
        };
        self.at += 1;
        self.expect(&Kind::Relation(Relation::Other('→')), "a limit without its arrow")?;
        let sign = match self.tokens.get(self.at + 1..self.at + 3) {
            Some([caret, sign]) if caret.kind == Kind::Operator('^') => match sign.kind {
                Kind::Operator('+') => 1,
                Kind::Operator('-') => -1,
                _ => 0,
            },
            _ => 0,
        };
        let target = if sign == 0 {
            into_expr(self.sum()?)?
        } else {
            let target = self.argument()?;
            self.at += 2;
            target
        };
        self.expect(&Kind::Close('{'), "a limit without its variable")?;
        let body = self.nested(|parser| into_expr(parser.product()?))?;
        let arguments = vec![Expr::symbol(variable), target, Expr::integer(sign), body];
        Ok(Expr::Call(Function::Limit, arguments))
    }

    /// An end of an integral: `-\infty` without braces has its sign.
    fn signed_argument(&mut self) -> Result<Expr, Stop> {
        let negative = self.take(&Kind::Operator('-'));
        let argument = self.argument()?;
        Ok(if negative { argument.negated() } else { argument })
    }

    /// A run of words, as a name or as text.
    pub(super) fn words(&mut self) -> Result<Node, Stop> {
        let start = self.at;
        let mut text = String::new();
        while let Some(Kind::Word(word) | Kind::Text(word) | Kind::Name(word)) = self.peek() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
            self.at += 1;
        }
        if self.at == start + 1 {
            let bare = text.trim();
            let is_based = self.peek() == Some(&Kind::Operator('_'))
                && bare.starts_with(|c: char| c.is_ascii_digit())
                && bare.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
            if is_based {
                return self.based(bare);
            }
            let bare =
                bare.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(bare);
            if bare.len() == 1 && bare.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                let name = bare.to_owned();
                return self.named(&name);
            }
            if let Some(value) = cardinal(&bare.to_lowercase()) {
                if self.peek() == Some(&Kind::Open('(')) {
                    return Err(Stop::Unreadable("a bracket behind a number in words"));
                }
                return Ok(Node::Expr(Expr::integer(value)));
            }
            if !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit()) && bare.len() < 18
            {
                let value: i64 =
                    bare.parse().map_err(|_| Stop::Unreadable("a malformed number"))?;
                return Ok(Node::Expr(Expr::integer(value)));
            }
        }
        let ends = matches!(
            self.peek(),
            None | Some(
                Kind::Comma
                    | Kind::Semicolon
                    | Kind::And
                    | Kind::Or
                    | Kind::Close(_)
                    | Kind::Ampersand
            )
        );
        if !ends && (is_sentence_word(&text) || changes_name(&text)) {
            return Err(Stop::Unreadable("a sentence"));
        }
        Ok(Node::text(&text))
    }
}

/// An integer by its digits in a base.
pub(super) fn based_in(digits: &str, base: u32) -> Result<Node, Stop> {
    let value = num_bigint::BigInt::parse_bytes(digits.as_bytes(), base)
        .ok_or(Stop::Unreadable("a digit that its base does not have"))?;
    let digits = digits.trim_start_matches('0').into();
    Ok(Node::Based { value: Rational::from_integer(value), digits, base })
}

/// A symbol whose subscript has the bound variable, with [`INDEX`] in its place. `a_k` is the same sequence for
/// every name of the variable.
fn indexed_by(expr: &Expr, variable: &str) -> Option<Expr> {
    let Expr::Symbol(name) = expr else { return None };
    let (base, subscript) = name.split_once('_')?;
    subscript.contains(variable).then(|| {
        let subscript = subscript.replace(variable, INDEX);
        Expr::Symbol(format!("{base}_{subscript}").into())
    })
}

/// The text of a token inside a subscript.
fn write_token(kind: &Kind<'_>, text: &mut String) -> Result<(), Stop> {
    match kind {
        Kind::Number(literal) => text.push_str(literal.raw),
        Kind::Name(name) | Kind::Word(name) | Kind::Text(name) => text.push_str(name),
        Kind::Operator(operator) => text.push(*operator),
        Kind::E => text.push('e'),
        Kind::I => text.push('i'),
        Kind::Pi => text.push('π'),
        Kind::Infinity => text.push('∞'),
        Kind::Comma => text.push(','),
        Kind::Open(open) => text.push(*open),
        Kind::Close(_) => text.push(')'),
        Kind::Function(Function::Named(name)) => text.push_str(name),
        Kind::Function(Function::Max) => text.push_str("max"),
        Kind::Function(Function::Min) => text.push_str("min"),
        Kind::Relation(Relation::Equal) => text.push('='),
        Kind::Relation(Relation::Less) => text.push('<'),
        Kind::Relation(Relation::Greater) => text.push('>'),
        Kind::Relation(Relation::LessEqual) => text.push('≤'),
        Kind::Relation(Relation::GreaterEqual) => text.push('≥'),
        Kind::Mid => text.push('|'),
        Kind::Union => text.push('∪'),
        Kind::Intersection => text.push('∩'),
        _ => return Err(Stop::Unreadable("a subscript with something unexpected")),
    }
    Ok(())
}

/// Whether a function is `arsinh`, `arcosh` or `artanh`, under any of its names.
fn is_inverse_hyperbolic(name: &str) -> bool {
    name.starts_with("ar") && name.ends_with('h')
}

/// An inverse hyperbolic function as the logarithm that it is.
fn inverse_hyperbolic(name: &str, argument: Expr) -> Expr {
    let (one, half) = (Expr::integer(1), Expr::Number(Rational::new(1.into(), 2.into())));
    let ln = |argument| Expr::Call(Function::Ln, vec![argument]);
    if name.ends_with("tanh") {
        let quotient = one.clone().plus(argument.clone()).over(one.minus(argument));
        return half.times(ln(quotient));
    }
    let square = argument.clone().power(Expr::integer(2));
    let radicand = if name.ends_with("sinh") { square.plus(one) } else { square.minus(one) };
    ln(argument.plus(radicand.power(half)))
}

/// The largest argument of Riemann's function that has a value here. From 70 on it is 1 to 20 digits.
const MAX_ZETA: u32 = 40;

/// Riemann's function at an integer above 1, as the sum that defines it.
fn zeta(power: &Rational) -> Expr {
    let body = Expr::symbol("n").power(Expr::Number(-power));
    Expr::Call(Function::Sum, vec![Expr::symbol("n"), Expr::integer(1), Expr::Infinity, body])
}
