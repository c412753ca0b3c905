//! From tokens to expressions: sums, products, powers, functions, atoms.

use num_traits::Signed;

use crate::math::fuel::Stop;
use crate::math::lex::token::Kind;
use crate::math::parse::ellipsis::{abbreviated, is_ellipsis, is_short};
use crate::math::parse::name::based_in;
use crate::math::parse::parser::{Parser, into_expr};
use crate::math::parse::suffix::{part_of_degree, percent};
use crate::math::tree::node::{Expr, Function, Node, Rational};

/// Powers, factorials and percent signs on one value beyond which it is not read.
const MAX_SUFFIXES: usize = 4;

impl Parser<'_, '_, '_> {
    pub(crate) fn sum(&mut self) -> Result<Node, Stop> {
        let mut left = self.signed()?;
        // The terms in front of an ellipsis, and the one behind it.
        let mut ellipsis: Option<(Expr, Option<Expr>)> = None;
        loop {
            let sign = match self.peek() {
                Some(Kind::Operator(sign @ ('+' | '-'))) => *sign,
                Some(Kind::PlusMinus) => '±',
                Some(Kind::MinusPlus) => '∓',
                _ => break,
            };
            self.at += 1;
            let is_group = matches!(self.peek(), Some(Kind::Open(_)));
            let right = self.signed()?;
            left = match (left, right) {
                // `n^2 + 1 \bmod 5`: the modulus is that of the sum.
                (left, Node::Expr(Expr::Call(Function::Mod, arguments)))
                    if !is_group && arguments.len() == 2 =>
                {
                    let (last, modulus) = (&arguments[0], &arguments[1]);
                    let sum = into_expr(left)?.plus(signed(last.clone(), sign));
                    Node::Expr(Expr::Call(Function::Mod, vec![sum, modulus.clone()]))
                }
                // `ℝ − {2}`
                (left @ (Node::NumberSet(_) | Node::Union(_)), right @ Node::Set(_))
                    if sign == '-' =>
                {
                    Node::Difference(Box::new((left, right)))
                }
                (Node::Matrix(left), Node::Matrix(right)) => {
                    self.matrix_sum(left, right, sign == '-')?
                }
                // `\{x | x < 5\} − \{2\}`
                (
                    left @ (Node::Chain { .. } | Node::Tuple { .. } | Node::Set(_)),
                    right @ Node::Set(_),
                ) if sign == '-' => Node::Difference(Box::new((left, right))),
                (left, right) => {
                    let (left, right) = (into_expr(left)?, into_expr(right)?);
                    ellipsis = match ellipsis {
                        None if is_ellipsis(&right) && sign == '+' && is_short(&left) => {
                            Some((left.clone(), None))
                        }
                        Some((first, None)) if sign == '+' => Some((first, Some(right.clone()))),
                        _ => None,
                    };
                    Node::Expr(left.plus(signed(right, sign)))
                }
            };
        }
        if let Some((Expr::Add(first), Some(last))) = &ellipsis
            && let Some(sum) = abbreviated(first, last, self.fuel)?
        {
            return Ok(Node::Expr(sum));
        }
        Ok(left)
    }

    fn signed(&mut self) -> Result<Node, Stop> {
        let sign = match self.peek() {
            Some(Kind::Operator(sign @ ('+' | '-'))) => *sign,
            Some(Kind::PlusMinus) => '±',
            Some(Kind::MinusPlus) => '∓',
            _ => return self.product(),
        };
        self.at += 1;
        if sign == '-'
            && self
                .tokens
                .get(self.at)
                .is_some_and(|next| next.kind == Kind::Operator('-') && !next.spaced)
        {
            return Err(Stop::Unreadable("two signs in a row"));
        }
        let is_group = matches!(self.peek(), Some(Kind::Open(_)));
        let operand = self.nested(Self::signed)?;
        match operand {
            // `-6 mod 7` may be 1 or -6.
            Node::Expr(Expr::Call(Function::Mod, _)) if sign == '-' && !is_group => {
                Err(Stop::Unreadable("a remainder with a sign in front"))
            }
            Node::Matrix(rows) if sign == '-' => self.scaled(&Expr::integer(-1), rows),
            // `±(1, 2)` is two points.
            Node::Tuple { items, left_closed: false, right_closed: false } if sign != '+' => {
                let negated = items
                    .iter()
                    .map(|item| Ok(Node::Expr(into_expr(item.clone())?.negated())))
                    .collect::<Result<Vec<_>, Stop>>()?;
                let tuple = |items| Node::Tuple { items, left_closed: false, right_closed: false };
                Ok(if sign == '-' {
                    tuple(negated)
                } else {
                    Node::List(vec![tuple(items), tuple(negated)])
                })
            }
            // Two signs in a row belong to one number; a minus before an interval means nothing.
            operand => Ok(Node::Expr(signed(into_expr(operand)?, sign))),
        }
    }

    pub(super) fn product(&mut self) -> Result<Node, Stop> {
        let mut left = self.power()?;
        loop {
            match self.peek() {
                Some(Kind::Operator('*')) => {
                    self.at += 1;
                    let right = self.factor()?;
                    left = self.multiply(left, right)?;
                }
                Some(Kind::Operator('/')) => {
                    if matches!(self.peek_at(1), Some(Kind::Word(_) | Kind::Text(_))) {
                        return Ok(left);
                    }
                    self.at += 1;
                    let right = into_expr(self.factor()?)?;
                    left = match left {
                        Node::Matrix(rows) => self.scaled(&right.reciprocal(), rows)?,
                        other => Node::Expr(quotient(into_expr(other)?, right)),
                    };
                }
                Some(Kind::Mod) => {
                    self.at += 1;
                    let right = into_expr(self.factor()?)?;
                    if matches!(left, Node::Expr(Expr::Call(Function::Mod, _))) {
                        return Err(Stop::Unreadable("a remainder of a remainder"));
                    }
                    left = Node::Expr(Expr::Call(Function::Mod, vec![into_expr(left)?, right]));
                }
                _ if self.starts_factor() => {
                    if matches!(self.peek(), Some(Kind::Number(_))) {
                        left = self.number_behind(left)?;
                        continue;
                    }
                    let right = self.power()?;
                    left = self.multiply(left, right)?;
                }
                _ => return Ok(left),
            }
        }
    }

    /// A number that directly follows a factor: `3 1/2` is mixed, `x 2` is a product, `2 3` is two answers.
    fn number_behind(&mut self, left: Node) -> Result<Node, Stop> {
        let whole = match &left {
            Node::Expr(Expr::Number(value)) if value.is_integer() => Some(value.clone()),
            Node::Expr(Expr::Number(_) | Expr::Decimal { .. }) => None,
            _ => {
                let right = self.power()?;
                return self.multiply(left, right);
            }
        };
        if let (
            Some(whole),
            Some(Kind::Number(numerator)),
            Some(Kind::Operator('/')),
            Some(Kind::Number(denominator)),
        ) = (whole, self.peek(), self.peek_at(1), self.peek_at(2))
            && numerator.places.is_none()
            && denominator.places.is_none()
            && numerator.value < denominator.value
        {
            let fraction = &numerator.value / &denominator.value;
            self.at += 3;
            let mixed = Expr::Number(whole + fraction);
            return Ok(Node::Expr(if self.take(&Kind::Percent) { percent(mixed) } else { mixed }));
        }
        // `\frac{1}{3} 2^n`
        if self.follows_fraction()
            && matches!(self.peek_at(1), Some(Kind::Operator('^') | Kind::Name(_) | Kind::Root))
        {
            let right = self.power()?;
            return self.multiply(left, right);
        }
        Err(Stop::Unreadable("two numbers side by side"))
    }

    /// Whether a fraction command with its arguments ends here.
    fn follows_fraction(&self) -> bool {
        let mut at = self.at;
        for _ in 0..2 {
            let Some(token) = at.checked_sub(1).map(|before| &self.tokens[before]) else {
                return false;
            };
            at -= 1;
            if token.kind == Kind::Close('{') {
                let mut depth = 1;
                while depth > 0 && at > 0 {
                    at -= 1;
                    match self.tokens[at].kind {
                        Kind::Close('{') => depth += 1,
                        Kind::Open('{') => depth -= 1,
                        _ => {}
                    }
                }
            }
        }
        at.checked_sub(1).is_some_and(|before| self.tokens[before].kind == Kind::Fraction)
    }

    /// An explicit factor, which may carry a sign.
    pub(super) fn factor(&mut self) -> Result<Node, Stop> {
        match self.peek() {
            Some(Kind::Operator('-' | '+')) => self.nested(|parser| {
                let negative = parser.peek() == Some(&Kind::Operator('-'));
                parser.at += 1;
                let operand = into_expr(parser.factor()?)?;
                Ok(Node::Expr(if negative { operand.negated() } else { operand }))
            }),
            _ => self.power(),
        }
    }

    /// Whether the next token starts a factor of an implicit product.
    pub(super) fn starts_factor(&self) -> bool {
        match self.peek() {
            // `8 (eight)` says it twice.
            Some(Kind::Open('(')) => {
                !self.remark_follows()
                    && !self.number_in_brackets()
                    && !matches!(
                        self.peek_at(1),
                        Some(Kind::Word(_) | Kind::Text(_) | Kind::Mod | Kind::Or)
                    )
            }
            Some(
                Kind::Number(_)
                | Kind::Name(_)
                | Kind::Function(_)
                | Kind::Open(_)
                | Kind::Begin(_)
                | Kind::Root
                | Kind::Binomial
                | Kind::Box
                | Kind::Accent(_)
                | Kind::Prefix(_)
                | Kind::Sum
                | Kind::Product
                | Kind::Integral
                | Kind::Limit
                | Kind::Pi
                | Kind::E
                | Kind::I
                | Kind::Infinity,
            ) => true,
            // `\frac{\text{m}}{\text{s}}` is a unit.
            Some(Kind::Fraction) => !matches!(self.peek_at(2), Some(Kind::Word(_) | Kind::Text(_))),
            Some(Kind::Operator('|')) => self.bars == 0 && self.set_braces == 0,
            _ => false,
        }
    }

    /// An atom with its attachments: powers, factorials, percent, degrees.
    pub(super) fn power(&mut self) -> Result<Node, Stop> {
        let mut base = self.nested(Self::atom)?;
        let mut suffixes = 0;
        loop {
            // Each one wraps the value: a run of them would nest as deep as it is long.
            if suffixes > MAX_SUFFIXES {
                return Err(Stop::Unreadable("too many suffixes"));
            }
            suffixes += 1;
            match self.peek() {
                Some(Kind::Operator('^')) => {
                    self.at += 1;
                    base = self.raised(base)?;
                }
                Some(Kind::Degree)
                    if matches!(base, Node::Expr(Expr::Symbol(_)))
                        && matches!(self.peek_at(1), Some(Kind::Name(_))) =>
                {
                    return self.composed(into_expr(base)?);
                }
                Some(Kind::Degree) => {
                    self.at += 1;
                    base = self.degrees(into_expr(base)?);
                }
                Some(Kind::Operator('\''))
                    if matches!(base, Node::Expr(Expr::Number(_) | Expr::Decimal { .. })) =>
                {
                    let primes = self.primes();
                    base = Node::Expr(Expr::Call(
                        Function::Degrees,
                        vec![part_of_degree(into_expr(base)?, primes)],
                    ));
                }
                Some(Kind::Operator('!')) => {
                    self.at += 1;
                    let doubled = self
                        .tokens
                        .get(self.at)
                        .is_some_and(|token| token.kind == Kind::Operator('!') && !token.spaced);
                    self.at += usize::from(doubled);
                    let function =
                        if doubled { Function::DoubleFactorial } else { Function::Factorial };
                    base = Node::Expr(Expr::Call(function, vec![into_expr(base)?]));
                }
                Some(Kind::Percent) => {
                    self.at += 1;
                    base = Node::Expr(percent(into_expr(base)?));
                }
                Some(Kind::Operator('_')) => match self.subscripted(&base)? {
                    Some(whole) => base = whole,
                    None => return Ok(base),
                },
                _ => return Ok(base),
            }
        }
    }

    /// A value with the exponent behind the caret: a power, degrees, or the ending of an ordinal.
    fn raised(&mut self, base: Node) -> Result<Node, Stop> {
        if self.ordinal_exponent() {
            return Ok(base);
        }
        if self.degree_exponent() {
            return Ok(self.degrees(into_expr(base)?));
        }
        if matches!(base, Node::Expr(Expr::Number(_) | Expr::Decimal { .. }))
            && let Some(primes) = self.prime_exponent()
        {
            let part = part_of_degree(into_expr(base)?, primes);
            return Ok(Node::Expr(Expr::Call(Function::Degrees, vec![part])));
        }
        let exponent = self.nested(Self::exponent)?;
        Ok(Node::Expr(into_expr(base)?.power(exponent)))
    }

    /// A value with the subscript here: `f(x)_{max}`, `|PQ|_{\text{max}}`, `{x}_{1}`, `(1101)_2`. `None` if it has none of
    /// these.
    fn subscripted(&mut self, base: &Node) -> Result<Option<Node>, Stop> {
        let is_open_name = matches!(base, Node::Expr(Expr::Symbol(name)) if !name.contains('_'));
        if self.word_subscript() || (is_open_name && self.follows_bracket()) {
            self.at += 1;
            let subscript = self.subscript_text()?;
            return Ok(Some(Node::Expr(match into_expr(base.clone())? {
                Expr::Symbol(name) if !name.contains('_') => {
                    Expr::Symbol(format!("{name}_{subscript}").into())
                }
                other => Expr::Call(Function::Named(format!("{subscript} of").into()), vec![other]),
            })));
        }
        match base {
            Node::Expr(Expr::Number(value)) if value.is_integer() && self.follows_bracket() => {
                self.based(&value.to_integer().to_string()).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn follows_bracket(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        before.is_some_and(|token| matches!(token.kind, Kind::Close('(' | '{')))
    }

    pub(super) fn exponent(&mut self) -> Result<Expr, Stop> {
        let negative = match self.peek() {
            Some(Kind::Operator(sign @ ('+' | '-'))) => {
                self.at += 1;
                *sign == '-'
            }
            _ => false,
        };
        let mut exponent = into_expr(self.atom()?)?;
        if self.take(&Kind::Operator('^')) {
            exponent = exponent.power(self.nested(Self::exponent)?);
        }
        Ok(if negative { exponent.negated() } else { exponent })
    }

    fn atom(&mut self) -> Result<Node, Stop> {
        let Some(kind) = self.peek() else {
            return Err(Stop::Unreadable("an operand is missing"));
        };
        self.at += 1;
        Ok(match kind {
            Kind::Number(literal) => {
                if self.peek() == Some(&Kind::Operator('_')) && literal.places.is_none() {
                    return self.based(literal.raw);
                }
                if literal.places.is_none()
                    && let Some(base) = self.base_in_words()
                {
                    return based_in(literal.raw, base);
                }
                let value = literal.value.clone();
                match literal.places {
                    Some(places) => Node::Expr(Expr::Decimal { value, places }),
                    None => Node::Expr(Expr::Number(self.mixed(value))),
                }
            }
            Kind::Name(name) => self.named(name)?,
            Kind::Word(_) | Kind::Text(_) => {
                self.at -= 1;
                self.words()?
            }
            Kind::Function(function) => Node::Expr(self.call(function)?),
            Kind::Open(open @ ('(' | '[')) => {
                let inner = self.bracketed(*open)?;
                self.transposed(inner)
            }
            Kind::Open('{') => {
                let inner = self.list()?;
                self.expect(&Kind::Close('{'), "a group that is not closed")?;
                inner
            }
            Kind::Open('S') => self.set()?,
            Kind::Open(which) => {
                let inner = into_expr(self.sum()?)?;
                self.expect(&Kind::Close(*which), "a floor or ceiling that is not closed")?;
                let function = if *which == 'f' { Function::Floor } else { Function::Ceil };
                Node::Expr(Expr::Call(function, vec![inner]))
            }
            Kind::Operator('|') => {
                self.bars += 1;
                let inner = into_expr(self.sum()?)?;
                self.bars -= 1;
                self.expect(&Kind::Operator('|'), "an absolute value that is not closed")?;
                Node::Expr(Expr::Call(Function::Abs, vec![inner]))
            }
            Kind::Begin(name) => {
                let matrix = self.matrix(name)?;
                self.transposed(matrix)
            }
            Kind::Fraction if let Some(derivative) = self.derivative() => derivative,
            Kind::Fraction => {
                let numerator = self.argument()?;
                let denominator = self.argument()?;
                Node::Expr(quotient(numerator, denominator))
            }
            Kind::Root => self.root()?,
            Kind::Binomial => {
                let arguments = vec![self.argument()?, self.argument()?];
                Node::Expr(Expr::Call(Function::Binomial, arguments))
            }
            Kind::Box => {
                self.expect(&Kind::Open('{'), "a box without its group")?;
                let inner = self.list()?;
                self.expect(&Kind::Close('{'), "a group that is not closed")?;
                inner
            }
            Kind::Accent("bar") if self.complex_group() => {
                let value = self.argument()?;
                let conjugate = value.map(&|expr| (*expr == Expr::I).then(|| Expr::I.negated()));
                Node::Expr(conjugate)
            }
            Kind::Accent(accent) => {
                let name = self.subscript_text()?;
                // `\vec{i}` and `\hat{i}` are the same unit vector.
                let is_axis = *accent == "vec" && matches!(name.as_str(), "i" | "j" | "k");
                let accent = if is_axis { "hat" } else { accent };
                Node::Expr(Expr::Symbol(format!("{accent} {name}").into()))
            }
            Kind::Prefix(prefix) => {
                let mut name = (*prefix).to_owned();
                while let Some(Kind::Name(part)) = self.peek() {
                    name.push(' ');
                    name.push_str(part);
                    self.at += 1;
                }
                Node::Expr(Expr::Symbol(name.into()))
            }
            Kind::Integral => Node::Expr(self.integral()?),
            Kind::Limit => Node::Expr(self.limit()?),
            Kind::Sum => Node::Expr(self.series(Function::Sum)?),
            Kind::Product => Node::Expr(self.series(Function::Product)?),
            Kind::Pi => Node::Expr(Expr::Pi),
            Kind::E if self.peek() == Some(&Kind::Operator('_')) => self.named("e")?,
            Kind::I if self.peek() == Some(&Kind::Operator('_')) => self.named("i")?,
            Kind::E => Node::Expr(Expr::E),
            Kind::I => Node::Expr(Expr::I),
            Kind::Infinity => Node::Expr(Expr::Infinity),
            Kind::EmptySet => Node::Set(Vec::new()),
            Kind::NumberSet(letter) => Node::NumberSet(self.set_part(*letter)),
            _ => return Err(Stop::Unreadable("an operator where an operand should be")),
        })
    }

    /// Whether a group follows that computes with i.
    fn complex_group(&self) -> bool {
        let rest = &self.tokens[self.at..];
        let end = rest.iter().position(|token| token.kind == Kind::Close('{')).unwrap_or(0);
        let group = &rest[..end];
        group.first().is_some_and(|token| token.kind == Kind::Open('{'))
            && group.iter().any(|token| token.kind == Kind::I)
            && group.iter().any(|token| matches!(token.kind, Kind::Number(_)))
    }

    /// An integer with a fraction directly behind it, `3\frac{1}{2}`.
    fn mixed(&mut self, whole: Rational) -> Rational {
        if self.peek() != Some(&Kind::Fraction) || !whole.is_integer() {
            return whole;
        }
        let start = self.at;
        self.at += 1;
        let parts = [self.integer_argument(), self.integer_argument()];
        if let [Some(numerator), Some(denominator)] = parts
            && numerator < denominator
            && numerator.is_positive()
        {
            return whole + numerator / denominator;
        }
        self.at = start;
        whole
    }

    fn integer_argument(&mut self) -> Option<Rational> {
        let grouped = self.take(&Kind::Open('{'));
        let Some(Kind::Number(literal)) = self.peek() else {
            return None;
        };
        self.at += 1;
        if grouped && !self.take(&Kind::Close('{')) {
            return None;
        }
        literal.places.is_none().then(|| literal.value.clone())
    }

    /// One argument of a command: a group or a single atom.
    pub(super) fn argument(&mut self) -> Result<Expr, Stop> {
        self.nested(|parser| into_expr(parser.atom()?))
    }

    fn root(&mut self) -> Result<Node, Stop> {
        let index = if self.take(&Kind::Open('[')) {
            let index = into_expr(self.sum()?)?;
            self.expect(&Kind::Close('['), "a root index that is not closed")?;
            index
        } else {
            Expr::integer(2)
        };
        let radicand = self.argument()?;
        let exponent = match index {
            Expr::Number(value) if value.is_positive() => Expr::Number(value.recip()),
            other => other.reciprocal(),
        };
        Ok(Node::Expr(radicand.power(exponent)))
    }
}

fn signed(expr: Expr, sign: char) -> Expr {
    match sign {
        '-' => expr.negated(),
        '±' => Expr::PlusMinus.times(expr),
        '∓' => Expr::PlusMinus.times(expr).negated(),
        _ => expr,
    }
}

/// A quotient, as one number where both sides are short numbers. Longer ones wait for [`exact`](crate::math::value::exact), which pays for
/// them.
fn quotient(numerator: Expr, denominator: Expr) -> Expr {
    let is_short = |value: &Rational| value.numer().bits() + value.denom().bits() <= 256;
    match (numerator, denominator) {
        (Expr::Number(numerator), Expr::Number(denominator))
            if denominator.is_positive() && is_short(&numerator) && is_short(&denominator) =>
        {
            Expr::Number(numerator / denominator)
        }
        (numerator, denominator) => numerator.over(denominator),
    }
}
