//! The expressions of template annotations: a small subset of Python's.
//!
//! Numbers, quoted text, names, lists and tuples, `+ - * / // % **`, chained comparisons,
//! `not` / `and` / `or`, `a if c else b`, and calls. Crates that evaluate expressions have a syntax
//! of their own (`//`, chained comparisons and conditional expressions are missing or mean
//! something else), so this is a parser of our own.

use std::collections::BTreeMap;

use super::error::SourceError;
use super::number::{Notation, Number};

/// Expressions may nest this deep; deeper ones are refused, so that no input overflows the stack.
const MAX_DEPTH: usize = 64;

/// A chain `a + b + c …` is a tree as deep as it is long, so length is limited for the same reason.
const MAX_TOKENS: usize = 2000;

/// What an expression evaluates to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// A truth value.
    Bool(bool),
    /// A list or tuple.
    List(Vec<Self>),
}

impl Value {
    /// A text is read as a number if it looks like one (`"1/2"`, `"0.25"`).
    pub fn read(text: &str) -> Self {
        Number::parse(text).map_or_else(|| Self::Text(text.trim().to_owned()), Self::Number)
    }

    /// As it appears in a text; `None` for a decimal that does not end, and for lists.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Number(number) => number.to_text(),
            Self::Text(text) => Some(text.clone()),
            Self::Bool(_) | Self::List(_) => None,
        }
    }
}

/// Values by variable name.
pub type Variables = BTreeMap<String, Value>;

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: String,
    node: Node,
}

/// The structure of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Constant(Value),
    Name(String),
    List(Vec<Self>),
    Negate(Box<Self>),
    Not(Box<Self>),
    Binary(Operator, Box<Self>, Box<Self>),
    /// `a < b <= c`: the first operand, then operator and operand of each further one.
    Compare(Box<Self>, Vec<(Comparison, Self)>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    /// `then if condition else otherwise`
    If {
        condition: Box<Self>,
        then: Box<Self>,
        otherwise: Box<Self>,
    },
    Call(String, Vec<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Expression {
    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// [`SourceError::Expression`] if it is not in the supported subset.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        let fail = |reason: String| SourceError::Expression { text: text.to_owned(), reason };
        let tokens = tokenize(text).map_err(fail)?;
        if tokens.len() > MAX_TOKENS {
            return Err(fail(format!("has more than {MAX_TOKENS} tokens")));
        }
        let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
        let node = parser.conditional().map_err(fail)?;
        match parser.peek() {
            None => Ok(Self { text: text.to_owned(), node }),
            Some(token) => Err(fail(format!("unexpected {token:?} after the expression"))),
        }
    }

    /// The value under `variables`.
    ///
    /// # Errors
    ///
    /// [`SourceError::Expression`] for an unknown name or function, wrong kinds of operands,
    /// division by zero and overflow.
    pub fn evaluate(&self, variables: &Variables) -> Result<Value, SourceError> {
        evaluate(&self.node, variables)
            .map_err(|reason| SourceError::Expression { text: self.text.clone(), reason })
    }

    /// Whether the value under `variables` is true.
    ///
    /// # Errors
    ///
    /// As [`Self::evaluate`], and for a value that is no truth value.
    pub fn is_true(&self, variables: &Variables) -> Result<bool, SourceError> {
        match self.evaluate(variables)? {
            Value::Bool(value) => Ok(value),
            other => Err(SourceError::Expression {
                text: self.text.clone(),
                reason: format!("is {other:?}, expected a truth value"),
            }),
        }
    }

    /// The function's name and arguments if this is a call.
    pub(super) fn as_call(&self) -> Option<(&str, &[Node])> {
        match &self.node {
            Node::Call(name, args) => Some((name, args)),
            _ => None,
        }
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(Number),
    Text(String),
    Word(String),
    Symbol(&'static str),
}

/// Longer symbols first, so that `**` is not read as two `*`.
const SYMBOLS: [&str; 21] = [
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "<", ">", "(", ")", "[", "]", ",",
    "=", ".", ":",
];

fn tokenize(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end_of =
            |accepts: fn(char) -> bool| rest.find(|c: char| !accepts(c)).unwrap_or(rest.len());
        let length = if first.is_ascii_digit() {
            let length = end_of(|c| c.is_ascii_digit() || c == '.');
            let number = Number::parse(&rest[..length])
                .ok_or_else(|| format!("`{}` is no number", &rest[..length]))?;
            tokens.push(Token::Number(number));
            length
        } else if first.is_alphabetic() || first == '_' {
            let length = end_of(|c| c.is_alphanumeric() || c == '_');
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        } else if first == '\'' || first == '"' {
            let body = &rest[1..];
            let length = body.find(first).ok_or("a quote is not closed")?;
            tokens.push(Token::Text(body[..length].to_owned()));
            length + 2
        } else {
            let symbol = SYMBOLS
                .iter()
                .find(|symbol| rest.starts_with(**symbol))
                .ok_or_else(|| format!("unexpected `{first}`"))?;
            tokens.push(Token::Symbol(symbol));
            symbol.len()
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w == word);
        self.at += usize::from(found);
        found
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<(), String> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(format!("`{symbol}` expected")) }
    }

    fn conditional(&mut self) -> Result<Node, String> {
        if self.depth == MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        self.depth += 1;
        let then = self.disjunction()?;
        let node = if self.take_word("if") {
            let condition = Box::new(self.disjunction()?);
            if !self.take_word("else") {
                return Err("`else` expected".to_owned());
            }
            Node::If { condition, then: Box::new(then), otherwise: Box::new(self.conditional()?) }
        } else {
            then
        };
        self.depth -= 1;
        Ok(node)
    }

    fn disjunction(&mut self) -> Result<Node, String> {
        let mut left = self.conjunction()?;
        while self.take_word("or") {
            left = Node::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Node, String> {
        let mut left = self.negation()?;
        while self.take_word("and") {
            left = Node::And(Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Node, String> {
        let mut negated = false;
        while self.take_word("not") {
            negated = !negated;
        }
        let node = self.comparison()?;
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn comparison(&mut self) -> Result<Node, String> {
        const TABLE: [(&str, Comparison); 6] = [
            ("==", Comparison::Eq),
            ("!=", Comparison::Ne),
            ("<=", Comparison::Le),
            (">=", Comparison::Ge),
            ("<", Comparison::Lt),
            (">", Comparison::Gt),
        ];
        let first = self.sum()?;
        let mut rest = Vec::new();
        while let Some((_, comparison)) = TABLE.iter().find(|(s, _)| self.take_symbol(s)) {
            rest.push((*comparison, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Node::Compare(Box::new(first), rest) })
    }

    fn sum(&mut self) -> Result<Node, String> {
        const TABLE: [(&str, Operator); 2] = [("+", Operator::Add), ("-", Operator::Sub)];
        let mut left = self.product()?;
        while let Some((_, operator)) = TABLE.iter().find(|(s, _)| self.take_symbol(s)) {
            left = Node::Binary(*operator, Box::new(left), Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Node, String> {
        const TABLE: [(&str, Operator); 4] = [
            ("*", Operator::Mul),
            ("//", Operator::FloorDiv),
            ("/", Operator::Div),
            ("%", Operator::Rem),
        ];
        let mut left = self.signed()?;
        while let Some((_, operator)) = TABLE.iter().find(|(s, _)| self.take_symbol(s)) {
            left = Node::Binary(*operator, Box::new(left), Box::new(self.signed()?));
        }
        Ok(left)
    }

    fn signed(&mut self) -> Result<Node, String> {
        let mut negative = false;
        loop {
            if self.take_symbol("-") {
                negative = !negative;
            } else if !self.take_symbol("+") {
                break;
            }
        }
        let base = self.atom()?;
        let node = if self.take_symbol("**") {
            self.depth += 1;
            if self.depth >= MAX_DEPTH {
                return Err(format!("nested deeper than {MAX_DEPTH}"));
            }
            let exponent = self.signed()?;
            self.depth -= 1;
            Node::Binary(Operator::Pow, Box::new(base), Box::new(exponent))
        } else {
            base
        };
        Ok(if negative { Node::Negate(Box::new(node)) } else { node })
    }

    fn atom(&mut self) -> Result<Node, String> {
        let token = self.peek().cloned().ok_or("ends too early")?;
        self.at += 1;
        match token {
            Token::Number(number) => Ok(Node::Constant(Value::Number(number))),
            Token::Text(text) => Ok(Node::Constant(Value::Text(text))),
            Token::Word(word) => match word.as_str() {
                "True" => Ok(Node::Constant(Value::Bool(true))),
                "False" => Ok(Node::Constant(Value::Bool(false))),
                _ if self.take_symbol("(") => Ok(Node::Call(word, self.items(")")?.0)),
                _ => Ok(Node::Name(word)),
            },
            Token::Symbol("(") => {
                let (mut items, comma) = self.items(")")?;
                match items.pop() {
                    Some(only) if items.is_empty() && !comma => Ok(only),
                    last => {
                        items.extend(last);
                        Ok(Node::List(items))
                    }
                }
            }
            Token::Symbol("[") => Ok(Node::List(self.items("]")?.0)),
            Token::Symbol(symbol) => Err(format!("unexpected `{symbol}`")),
        }
    }

    /// Comma-separated expressions up to `close`, and whether there was a comma.
    fn items(&mut self, close: &str) -> Result<(Vec<Node>, bool), String> {
        let (mut items, mut comma) = (Vec::new(), false);
        while !self.take_symbol(close) {
            items.push(self.conditional()?);
            if self.take_symbol(",") {
                comma = true;
            } else {
                self.expect_symbol(close)?;
                break;
            }
        }
        Ok((items, comma))
    }
}

/// Evaluates a node; the error is the reason alone.
pub(super) fn evaluate(node: &Node, variables: &Variables) -> Result<Value, String> {
    let number = |node: &Node| number_of(evaluate(node, variables)?);
    let truth = |node: &Node| match evaluate(node, variables)? {
        Value::Bool(value) => Ok(value),
        other => Err(format!("{other:?} is no truth value")),
    };
    match node {
        Node::Constant(value) => Ok(value.clone()),
        Node::Name(name) => {
            variables.get(name).cloned().ok_or_else(|| format!("`{name}` is not defined"))
        }
        Node::List(items) => items
            .iter()
            .map(|item| evaluate(item, variables))
            .collect::<Result<_, _>>()
            .map(Value::List),
        Node::Negate(inner) => {
            number(inner)?.negated().map(Value::Number).ok_or_else(|| "overflow".to_owned())
        }
        Node::Not(inner) => Ok(Value::Bool(!truth(inner)?)),
        Node::Binary(operator, left, right) => {
            apply(*operator, number(left)?, number(right)?).map(Value::Number)
        }
        Node::Compare(first, rest) => {
            let mut left = evaluate(first, variables)?;
            for (comparison, right) in rest {
                let right = evaluate(right, variables)?;
                if !compare(*comparison, &left, &right)? {
                    return Ok(Value::Bool(false));
                }
                left = right;
            }
            Ok(Value::Bool(true))
        }
        Node::And(left, right) => Ok(Value::Bool(truth(left)? && truth(right)?)),
        Node::Or(left, right) => Ok(Value::Bool(truth(left)? || truth(right)?)),
        Node::If { condition, then, otherwise } => {
            evaluate(if truth(condition)? { then } else { otherwise }, variables)
        }
        Node::Call(name, args) => {
            let args: Vec<Value> =
                args.iter().map(|arg| evaluate(arg, variables)).collect::<Result<_, _>>()?;
            call(name, &args)
        }
    }
}

/// The number in `value`.
pub(super) fn number_of(value: Value) -> Result<Number, String> {
    match value {
        Value::Number(number) => Ok(number),
        other => Err(format!("{other:?} is no number")),
    }
}

fn apply(operator: Operator, left: Number, right: Number) -> Result<Number, String> {
    let divides = matches!(operator, Operator::Div | Operator::FloorDiv | Operator::Rem);
    if divides && right.is_zero() {
        return Err("division by zero".to_owned());
    }
    let result = match operator {
        Operator::Add => left.plus(right),
        Operator::Sub => left.minus(right),
        Operator::Mul => left.times(right),
        Operator::Div => left.over(right),
        Operator::FloorDiv => left.over(right).map(Number::floor),
        Operator::Rem => remainder(left, right),
        Operator::Pow => power(left, right),
    };
    result.ok_or_else(|| "overflow".to_owned())
}

/// `left - right * floor(left / right)`, which has the sign of `right`.
fn remainder(left: Number, right: Number) -> Option<Number> {
    left.minus(right.times(left.over(right)?.floor())?)
}

fn power(base: Number, exponent: Number) -> Option<Number> {
    // An i128 holds no power of 2 or more beyond this.
    const MAX_EXPONENT: i128 = 127;
    let exponent = exponent.as_whole().filter(|e| (0..=MAX_EXPONENT).contains(e))?;
    (0..exponent).try_fold(Number::whole(1), |product, _| product.times(base))
}

fn compare(comparison: Comparison, left: &Value, right: &Value) -> Result<bool, String> {
    match comparison {
        Comparison::Eq => return Ok(left == right),
        Comparison::Ne => return Ok(left != right),
        _ => {}
    }
    let (Value::Number(left), Value::Number(right)) = (left, right) else {
        return Err(format!("{left:?} and {right:?} have no order"));
    };
    Ok(match comparison {
        Comparison::Lt => left < right,
        Comparison::Le => left <= right,
        Comparison::Gt => left > right,
        _ => left >= right,
    })
}

fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let whole = |number: Number| {
        number.as_whole().map(Number::whole).ok_or_else(|| format!("{number} is not whole"))
    };
    let overflow = || "overflow".to_owned();
    let numbers = || args.iter().cloned().map(number_of).collect::<Result<Vec<_>, _>>();
    match (name, args.len()) {
        ("is_int", 1) => Ok(Value::Bool(numbers()?[0].is_whole())),
        ("divides", 2) => {
            let numbers = numbers()?;
            if numbers[1].is_zero() {
                return Ok(Value::Bool(false));
            }
            let rest = remainder(numbers[0], numbers[1]).ok_or_else(overflow)?;
            Ok(Value::Bool(rest.is_zero()))
        }
        ("int", 1) => Ok(Value::Number(numbers()?[0].truncate())),
        ("float", 1) => Ok(Value::Number(numbers()?[0].with_notation(Notation::Decimal))),
        ("Fraction", 1) => Ok(Value::Number(numbers()?[0].with_notation(Notation::Fraction))),
        ("ensure_int", 1) => whole(numbers()?[0]).map(Value::Number),
        ("round", 1) => numbers()?[0].round(0).map(Value::Number).ok_or_else(overflow),
        ("round", 2) => {
            let numbers = numbers()?;
            let digits = numbers[1].as_whole().and_then(|d| u32::try_from(d).ok());
            let digits = digits.ok_or("the digits to round to are not a small whole number")?;
            numbers[0].round(digits).map(Value::Number).ok_or_else(overflow)
        }
        ("plural", 3) => {
            let Value::Number(count) = args[0] else { return Err("plural() of no number".into()) };
            let one = count == Number::whole(1) || count == Number::whole(-1);
            Ok(args[if one { 1 } else { 2 }].clone())
        }
        ("str", 1) => {
            args[0].to_text().map(Value::Text).ok_or_else(|| "str() of a list".to_owned())
        }
        _ => Err(format!("unknown function `{name}` of {} arguments", args.len())),
    }
}

#[cfg(test)]
mod tests;
