//! The syntax tree of an answer.

use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

/// An exact rational number.
pub(crate) type Rational = BigRational;

/// Stands for the bound variable of a sum in the subscripts of its body.
pub(crate) const INDEX: &str = "□";

/// A real-valued (or complex-valued) expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    /// An exact number.
    Number(Rational),
    /// A number written with a decimal point, and how many digits stand behind the point.
    Decimal {
        value: Rational,
        places: i32,
    },
    /// A variable or a name, with its subscript.
    Symbol(Box<str>),
    Pi,
    E,
    I,
    Infinity,
    /// The sign `±`, which is +1 in one reading and −1 in the other.
    PlusMinus,
    Add(Vec<Self>),
    Mul(Vec<Self>),
    /// Base and exponent.
    Pow(Box<(Self, Self)>),
    Call(Function, Vec<Self>),
}

/// A function of one or more arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Ln,
    /// Base first, then the argument.
    Log,
    Abs,
    Floor,
    Ceil,
    Factorial,
    /// The product of every second number, `7!! = 7·5·3·1`.
    DoubleFactorial,
    Binomial,
    Gcd,
    Lcm,
    Min,
    Max,
    Mod,
    /// Bound variable, lower end, upper end, body.
    Sum,
    /// Bound variable, lower end, upper end, body.
    Product,
    /// Bound variable, lower end, upper end, body.
    Integral,
    /// Bound variable, where it goes, from which side (a sign, 0 for both), body.
    Limit,
    /// Degrees as radians: the argument times π/180.
    Degrees,
    /// A function known only by name.
    Named(Box<str>),
}

/// Relation of two terms of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Approximately,
    In,
    /// Between a remainder and its modulus: `a ≡ b (mod m)` is the chain `a ≡ b mod m, m`.
    Modulo,
    /// Any other relation sign, by its character.
    Other(char),
}

impl Relation {
    /// The relation read from right to left.
    pub(crate) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            other => other,
        }
    }

    pub(crate) fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual)
    }
}

/// An answer: an expression, or something built from expressions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Expr(Expr),
    /// `a < b ≤ c`: one relation fewer than terms.
    Chain {
        terms: Vec<Self>,
        relations: Vec<Relation>,
    },
    /// Items in brackets; a pair is an interval where the context allows it. `true` is a closed (square)
    /// end.
    Tuple {
        items: Vec<Self>,
        left_closed: bool,
        right_closed: bool,
    },
    Set(Vec<Self>),
    /// Items without brackets.
    List(Vec<Self>),
    Union(Vec<Self>),
    Intersection(Vec<Self>),
    Difference(Box<(Self, Self)>),
    /// `a : b : c`.
    Ratio(Vec<Expr>),
    Matrix(Vec<Vec<Self>>),
    /// A clock time or another pair of digit groups, as written.
    Clock(Box<str>),
    /// A time of day with its half named, `3:30 pm`.
    TimeOfDay {
        /// Since midnight.
        minutes: u32,
    },
    /// A quantity and its unit as written.
    Quantity(Box<Self>, Box<str>),
    /// An integer written in a base, with the base.
    Based {
        value: Rational,
        digits: Box<str>,
        base: u32,
    },
    /// ℝ, ℤ and so on. A Greek letter stands for the positive or negative part, a small one for the nonzero part: see
    /// the parser.
    NumberSet(char),
    /// An answer under a condition. An essential condition is part of the answer.
    Given {
        main: Box<Self>,
        condition: Box<Self>,
        essential: bool,
    },
    /// Values with their conditions.
    Piecewise(Vec<(Self, Self)>),
    /// Words.
    Text(Box<str>),
}

impl Expr {
    pub(crate) fn integer(value: i64) -> Self {
        Self::Number(Rational::from_integer(value.into()))
    }

    pub(crate) fn symbol(name: &str) -> Self {
        Self::Symbol(name.into())
    }

    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Number(value) => Self::Number(-value),
            Self::Decimal { value, places } => Self::Decimal { value: -value, places },
            Self::Mul(mut factors) => {
                if let Some(Self::Number(first)) = factors.first_mut() {
                    *first = -first.clone();
                } else {
                    factors.insert(0, Self::integer(-1));
                }
                Self::Mul(factors)
            }
            other => Self::Mul(vec![Self::integer(-1), other]),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Add(mut terms), Self::Add(more)) => {
                terms.extend(more);
                Self::Add(terms)
            }
            (Self::Add(mut terms), other) => {
                terms.push(other);
                Self::Add(terms)
            }
            (first, other) => Self::Add(vec![first, other]),
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    pub(crate) fn times(self, other: Self) -> Self {
        match (self, other) {
            (Self::Mul(mut factors), Self::Mul(more)) => {
                factors.extend(more);
                Self::Mul(factors)
            }
            (Self::Mul(mut factors), other) => {
                factors.push(other);
                Self::Mul(factors)
            }
            (first, other) => Self::Mul(vec![first, other]),
        }
    }

    pub(crate) fn over(self, other: Self) -> Self {
        self.times(other.reciprocal())
    }

    pub(crate) fn reciprocal(self) -> Self {
        self.power(Self::integer(-1))
    }

    pub(crate) fn power(self, exponent: Self) -> Self {
        Self::Pow(Box::new((self, exponent)))
    }

    /// The exact value if it is a plain number.
    pub(crate) fn as_number(&self) -> Option<&Rational> {
        match self {
            Self::Number(value) | Self::Decimal { value, .. } => Some(value),
            _ => None,
        }
    }

    /// Whether it is a letter that mostly stands for the unknown.
    fn is_unknown(&self) -> bool {
        matches!(self, Self::Symbol(name) if matches!(&**name, "x" | "y" | "t" | "n" | "k" | "m"))
    }

    /// Number of nodes.
    pub(crate) fn size(&self) -> u64 {
        let below: u64 = match self {
            Self::Pow(pair) => pair.0.size() + pair.1.size(),
            other => other.children().iter().map(Self::size).sum(),
        };
        below + 1
    }

    /// Whether a symbol inside is a term of a sequence that a sum runs over: such a sum cannot be expanded.
    pub(crate) fn is_indexed(&self) -> bool {
        self.any(&|expr| matches!(expr, Self::Symbol(name) if name.contains(INDEX)))
    }

    /// Direct subexpressions.
    pub(crate) fn children(&self) -> &[Self] {
        match self {
            Self::Add(items) | Self::Mul(items) | Self::Call(_, items) => items,
            _ => &[],
        }
    }

    /// Whether the predicate holds for this expression or one inside it.
    pub(crate) fn any(&self, predicate: &dyn Fn(&Self) -> bool) -> bool {
        if predicate(self) {
            return true;
        }
        if let Self::Pow(pair) = self {
            return pair.0.any(predicate) || pair.1.any(predicate);
        }
        self.children().iter().any(|child| child.any(predicate))
    }

    /// Visits the name of every symbol.
    fn each_symbol(&self, visit: &mut dyn FnMut(&str)) {
        match self {
            Self::Symbol(name) => visit(name),
            Self::Pow(pair) => {
                pair.0.each_symbol(visit);
                pair.1.each_symbol(visit);
            }
            other => other.children().iter().for_each(|child| child.each_symbol(visit)),
        }
    }

    /// The expression with every symbol `name` or every `±` replaced, by the rule `replace`.
    pub(crate) fn map(&self, replace: &dyn Fn(&Self) -> Option<Self>) -> Self {
        if let Some(replacement) = replace(self) {
            return replacement;
        }
        let all = |items: &[Self]| items.iter().map(|item| item.map(replace)).collect();
        match self {
            Self::Add(items) => Self::Add(all(items)),
            Self::Mul(items) => Self::Mul(all(items)),
            Self::Call(function, items) => Self::Call(function.clone(), all(items)),
            Self::Pow(pair) => pair.0.map(replace).power(pair.1.map(replace)),
            leaf => leaf.clone(),
        }
    }

    /// Whether a symbol, a name or a sign `±` is left that nothing binds.
    pub(crate) fn is_open(&self) -> bool {
        fn walk<'e>(expr: &'e Expr, bound: &mut Vec<&'e str>) -> bool {
            match expr {
                Expr::Symbol(name) => !bound.contains(&&**name),
                Expr::PlusMinus | Expr::Call(Function::Named(_), _) => true,
                Expr::Pow(pair) => walk(&pair.0, bound) || walk(&pair.1, bound),
                Expr::Call(
                    Function::Sum | Function::Product | Function::Integral | Function::Limit,
                    arguments,
                ) => {
                    let [Expr::Symbol(variable), ends @ .., body] = arguments.as_slice() else {
                        return true;
                    };
                    if ends.iter().any(|end| walk(end, bound)) {
                        return true;
                    }
                    bound.push(variable);
                    let open = walk(body, bound);
                    bound.pop();
                    open
                }
                other => other.children().iter().any(|child| walk(child, bound)),
            }
        }
        walk(self, &mut Vec::new())
    }

    /// +1 or −1 if this is `∞` or `−∞`.
    pub(crate) fn infinite_sign(&self) -> Option<i8> {
        match self {
            Self::Infinity => Some(1),
            Self::Mul(factors) => {
                let mut sign = 1;
                let mut infinite = false;
                for factor in factors {
                    match factor {
                        Self::Infinity => infinite = true,
                        Self::Number(value) if !value.is_zero() => {
                            if value.is_negative() {
                                sign = -sign;
                            }
                        }
                        _ => return None,
                    }
                }
                infinite.then_some(sign)
            }
            _ => None,
        }
    }

    /// Whether the expression names a quantity rather than computes one. Such a name may stand on the left of
    /// `=` when only the right side is the answer.
    pub(crate) fn is_label(&self) -> bool {
        match self {
            // `¬x = 5` and `x_{wrong} = 5` name another value than x.
            Self::Symbol(name) => {
                const OTHERS: [&str; 5] = ["wrong", "false", "other", "old", "error"];
                let index = name.split_once('_').map_or("", |(_, index)| index);
                !name.starts_with("neg ") && !OTHERS.contains(&index)
            }
            Self::Call(Function::Named(_), arguments) => arguments
                .iter()
                .all(|argument| argument.is_label() || argument.as_number().is_some()),
            // `|x| = 5` is an equation for x. `|AB| = 5` names a value.
            Self::Call(Function::Abs | Function::Ln | Function::Log, arguments) => {
                arguments.iter().all(|argument| argument.is_label() && !argument.is_unknown())
            }
            Self::Call(_, arguments) => arguments.iter().all(Self::is_label),
            Self::Mul(factors) => factors.iter().all(|factor| match factor {
                Self::Pow(pair) => pair.0.is_label() && pair.1 == Self::integer(-1),
                other => other.is_label(),
            }),
            Self::Add(terms) => terms.iter().all(|term| match term {
                Self::Symbol(_) => true,
                Self::Mul(factors) => match factors.as_slice() {
                    [Self::Number(one), Self::Symbol(_)] => (-one).is_one(),
                    _ => false,
                },
                _ => false,
            }),
            _ => false,
        }
    }
}

impl Function {
    /// Whether arguments that are numbers have an exact value.
    pub(crate) fn is_arithmetic(&self) -> bool {
        matches!(
            self,
            Self::Factorial
                | Self::DoubleFactorial
                | Self::Binomial
                | Self::Gcd
                | Self::Lcm
                | Self::Min
                | Self::Max
                | Self::Mod
                | Self::Abs
                | Self::Floor
                | Self::Ceil
        )
    }
}

impl Node {
    /// The two sides of an equation.
    pub(crate) fn equation(&self) -> Option<(&Self, &Self)> {
        match self {
            Self::Chain { terms, relations } => match (terms.as_slice(), relations.as_slice()) {
                ([left, right], [Relation::Equal]) => Some((left, right)),
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// Whether a symbol of this name occurs in it.
    pub(crate) fn has_symbol(&self, name: &str) -> bool {
        let is_it = |expr: &Expr| matches!(expr, Expr::Symbol(symbol) if **symbol == *name);
        match self {
            Self::Expr(expr) => expr.any(&is_it),
            Self::Ratio(terms) => terms.iter().any(|term| term.any(&is_it)),
            other => other.children().any(|child| child.has_symbol(name)),
        }
    }

    /// The node with one symbol renamed, inside lists, tuples, sets and relations.
    pub(crate) fn renamed(&self, from: &str, to: &str) -> Self {
        self.mapped(&|expr| match expr {
            Expr::Symbol(symbol) if **symbol == *from => Some(Expr::symbol(to)),
            _ => None,
        })
    }

    /// The node with its expressions replaced by a rule: see [`Expr::map`].
    pub(crate) fn mapped(&self, replace: &dyn Fn(&Expr) -> Option<Expr>) -> Self {
        let all = |items: &[Self]| items.iter().map(|item| item.mapped(replace)).collect();
        let boxed = |node: &Self| Box::new(node.mapped(replace));
        match self {
            Self::Expr(expr) => Self::Expr(expr.map(replace)),
            Self::Chain { terms, relations } => {
                Self::Chain { terms: all(terms), relations: relations.clone() }
            }
            Self::Tuple { items, left_closed, right_closed } => Self::Tuple {
                items: all(items),
                left_closed: *left_closed,
                right_closed: *right_closed,
            },
            Self::Set(items) => Self::Set(all(items)),
            Self::List(items) => Self::List(all(items)),
            Self::Union(items) => Self::Union(all(items)),
            Self::Intersection(items) => Self::Intersection(all(items)),
            Self::Ratio(terms) => Self::Ratio(terms.iter().map(|term| term.map(replace)).collect()),
            Self::Matrix(rows) => Self::Matrix(rows.iter().map(|row| all(row)).collect()),
            Self::Given { main, condition, essential } => Self::Given {
                main: boxed(main),
                condition: boxed(condition),
                essential: *essential,
            },
            Self::Piecewise(branches) => Self::Piecewise(
                branches
                    .iter()
                    .map(|(value, condition)| (value.mapped(replace), condition.mapped(replace)))
                    .collect(),
            ),
            Self::Quantity(inner, unit) => Self::Quantity(boxed(inner), unit.clone()),
            other => other.clone(),
        }
    }

    /// Visits the name of every symbol.
    pub(crate) fn each_symbol(&self, visit: &mut dyn FnMut(&str)) {
        match self {
            Self::Expr(expr) => expr.each_symbol(visit),
            Self::Ratio(terms) => terms.iter().for_each(|term| term.each_symbol(visit)),
            other => other.children().for_each(|child| child.each_symbol(visit)),
        }
    }

    /// Direct parts that are nodes.
    fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match self {
            Self::Chain { terms: items, .. }
            | Self::Tuple { items, .. }
            | Self::Set(items)
            | Self::List(items)
            | Self::Union(items)
            | Self::Intersection(items) => Box::new(items.iter()),
            Self::Matrix(rows) => Box::new(rows.iter().flatten()),
            Self::Difference(pair) => Box::new([&pair.0, &pair.1].into_iter()),
            Self::Given { main, condition, .. } => Box::new([&**main, &**condition].into_iter()),
            Self::Piecewise(branches) => {
                Box::new(branches.iter().flat_map(|(value, condition)| [value, condition]))
            }
            Self::Quantity(inner, _) => Box::new(std::iter::once(&**inner)),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Whether the node names a quantity; see [`Expr::is_label`].
    pub(crate) fn is_label(&self) -> bool {
        match self {
            Self::Expr(expr) => expr.is_label(),
            Self::Text(_) => true,
            Self::Ratio(terms) => terms.iter().all(Expr::is_label),
            Self::Tuple { items, .. } => items.iter().all(Self::is_label),
            _ => false,
        }
    }
}

/// The symbols of an expression, each once.
pub(crate) fn symbols<'e>(expr: &'e Expr, found: &mut Vec<&'e str>) {
    match expr {
        Expr::Symbol(name) if !found.contains(&&**name) => found.push(name),
        Expr::Pow(pair) => {
            symbols(&pair.0, found);
            symbols(&pair.1, found);
        }
        other => other.children().iter().for_each(|child| symbols(child, found)),
    }
}
