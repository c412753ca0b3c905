//! Answers as LaTeX that reads back as the same answer.

use std::fmt;

use num_traits::{One, Signed};

use crate::math::tree::node::{Expr, Function, Node, Rational, Relation};

/// The answer as LaTeX.
pub(crate) fn render(node: &Node) -> String {
    let mut out = String::new();
    write_node(node, &mut out);
    out
}

fn write_node(node: &Node, out: &mut String) {
    match node {
        Node::Expr(expr) => write_expr(expr, Place::Sum, out),
        Node::Chain { terms, relations } => {
            for (index, term) in terms.iter().enumerate() {
                let before = index.checked_sub(1).map(|before| relations[before]);
                out.push_str(before.map_or("", relation));
                write_node(term, out);
                if before == Some(Relation::Modulo) {
                    out.push('}');
                }
            }
        }
        Node::Tuple { items, left_closed, right_closed } => {
            out.push(if *left_closed { '[' } else { '(' });
            write_items(items, ", ", out);
            out.push(if *right_closed { ']' } else { ')' });
        }
        Node::Set(items) => {
            out.push_str("\\{");
            write_items(items, ", ", out);
            out.push_str("\\}");
        }
        Node::List(items) => write_items(items, ", ", out),
        Node::Union(items) if items.iter().all(|item| matches!(item, Node::Chain { .. })) => {
            write_items(items, " \\text{ or } ", out);
        }
        Node::Intersection(items)
            if items.iter().all(|item| matches!(item, Node::Chain { .. })) =>
        {
            write_items(items, " \\text{ and } ", out);
        }
        Node::Union(items) => write_items(items, " \\cup ", out),
        Node::Intersection(items) => write_items(items, " \\cap ", out),
        Node::Difference(pair) => {
            write_node(&pair.0, out);
            out.push_str(" \\setminus ");
            write_node(&pair.1, out);
        }
        Node::Ratio(terms) => {
            for (index, term) in terms.iter().enumerate() {
                if index > 0 {
                    out.push_str(" : ");
                }
                write_expr(term, Place::Sum, out);
            }
        }
        Node::Given { main, condition, essential } => {
            write_node(main, out);
            out.push_str(if *essential { "\\text{ if }" } else { "\\text{ for }" });
            write_node(condition, out);
        }
        Node::Piecewise(branches) => {
            out.push_str("\\begin{cases}");
            for (index, (value, condition)) in branches.iter().enumerate() {
                out.push_str(if index > 0 { " \\\\ " } else { "" });
                write_node(value, out);
                out.push_str(" & ");
                write_node(condition, out);
            }
            out.push_str("\\end{cases}");
        }
        Node::Matrix(rows) => {
            out.push_str("\\begin{pmatrix}");
            for (index, row) in rows.iter().enumerate() {
                if index > 0 {
                    out.push_str(" \\\\ ");
                }
                write_items(row, " & ", out);
            }
            out.push_str("\\end{pmatrix}");
        }
        Node::Clock(text) => out.push_str(text),
        Node::TimeOfDay { minutes } => {
            let half = if minutes / 60 < 12 { "am" } else { "pm" };
            let hour = (minutes / 60 + 11) % 12 + 1;
            put(out, format_args!("\\text{{{hour}:{:02} {half}}}", minutes % 60));
        }
        Node::Quantity(inner, unit) => {
            write_node(inner, out);
            out.push_str("\\text{ ");
            out.push_str(unit);
            out.push('}');
        }
        Node::Based { digits, base, .. } => {
            out.push_str(if digits.is_empty() { "0" } else { digits });
            put(out, format_args!("_{{{base}}}"));
        }
        Node::NumberSet(letter) => match letter {
            'r' | 'q' | 'z' | 'c' => {
                put(out, format_args!("\\mathbb{{{}}}^*", letter.to_ascii_uppercase()));
            }
            'ρ' => out.push_str("\\mathbb{R}^+"),
            'ν' => out.push_str("\\mathbb{R}^-"),
            'κ' => out.push_str("\\mathbb{Q}^+"),
            'ϱ' => out.push_str("\\mathbb{R}_{\\ge 0}"),
            'ω' => out.push_str("\\mathbb{Z}_{\\ge 0}"),
            'ζ' => out.push_str("\\mathbb{Z}^+"),
            _ => put(out, format_args!("\\mathbb{{{letter}}}")),
        },
        Node::Text(text) => put(out, format_args!("\\text{{{text}}}")),
    }
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    out.push_str(&text.to_string());
}

fn write_items(items: &[Node], separator: &str, out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(separator);
        }
        write_node(item, out);
    }
}

fn relation(relation: Relation) -> &'static str {
    match relation {
        Relation::Equal => " = ",
        Relation::NotEqual => " \\ne ",
        Relation::Less => " < ",
        Relation::LessEqual => " \\le ",
        Relation::Greater => " > ",
        Relation::GreaterEqual => " \\ge ",
        Relation::Approximately => " \\approx ",
        Relation::In => " \\in ",
        Relation::Modulo => " \\pmod{",
        Relation::Other('≡') => " \\equiv ",
        Relation::Other('∼') => " \\sim ",
        Relation::Other('≅') => " \\cong ",
        Relation::Other('∝') => " \\propto ",
        Relation::Other('⊥') => " \\perp ",
        Relation::Other('∥') => " \\parallel ",
        Relation::Other('⊂') => " \\subset ",
        Relation::Other('⇒') => " \\implies ",
        Relation::Other('⇔') => " \\iff ",
        Relation::Other('∉') => " \\notin ",
        Relation::Other(_) => " \\to ",
    }
}

/// Context of an expression, which decides whether it needs brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Sum,
    Factor,
    Base,
}

fn write_expr(expr: &Expr, place: Place, out: &mut String) {
    let inner = match expr {
        Expr::Number(value) if value.is_negative() || !value.is_integer() => Place::Sum,
        Expr::Decimal { value, .. } if value.is_negative() => Place::Sum,
        Expr::Add(_) => Place::Sum,
        Expr::Mul(_)
        | Expr::Pow(_)
        | Expr::Call(
            Function::Factorial | Function::DoubleFactorial | Function::Degrees | Function::Mod,
            _,
        ) => Place::Factor,
        _ => Place::Base,
    };
    let needs_brackets = match inner {
        Place::Sum => place > Place::Sum,
        Place::Factor => place > Place::Factor,
        Place::Base => false,
    };
    if needs_brackets {
        out.push_str("\\left(");
    }
    write_bare(expr, out);
    if needs_brackets {
        out.push_str("\\right)");
    }
}

fn write_bare(expr: &Expr, out: &mut String) {
    match expr {
        Expr::Number(value) => write_number(value, out),
        Expr::Decimal { value, places } => write_decimal(value, *places, out),
        Expr::Symbol(name) => write_symbol(name, out),
        Expr::Pi => out.push_str("\\pi "),
        Expr::E => out.push_str("\\mathrm{e}"),
        Expr::I => out.push_str("\\mathrm{i}"),
        Expr::Infinity => out.push_str("\\infty "),
        Expr::PlusMinus => out.push_str("\\pm 1"),
        Expr::Add(terms) => {
            for (index, term) in terms.iter().enumerate() {
                if index > 0 {
                    out.push_str(" + ");
                }
                let first_negative = index > 0 && is_negative(term);
                write_expr(term, if first_negative { Place::Base } else { Place::Factor }, out);
            }
        }
        Expr::Mul(factors) => {
            if let [Expr::Number(minus), rest @ ..] = factors.as_slice()
                && (-minus).is_one()
                && !rest.is_empty()
            {
                out.push('-');
                write_product(rest, out);
            } else {
                write_product(factors, out);
            }
        }
        Expr::Pow(pair) => {
            write_expr(&pair.0, Place::Base, out);
            out.push_str("^{");
            write_expr(&pair.1, Place::Sum, out);
            out.push('}');
        }
        Expr::Call(function, arguments) => write_call(function, arguments, out),
    }
}

fn is_negative(expr: &Expr) -> bool {
    match expr {
        Expr::Number(value) | Expr::Decimal { value, .. } => value.is_negative(),
        Expr::Mul(factors) => factors.first().is_some_and(is_negative),
        _ => false,
    }
}

fn write_product(factors: &[Expr], out: &mut String) {
    for (index, factor) in factors.iter().enumerate() {
        if index > 0 {
            out.push_str(" \\cdot ");
        }
        let place = if matches!(factor, Expr::Pow(_)) { Place::Factor } else { Place::Base };
        write_expr(factor, place, out);
    }
}

fn write_number(value: &Rational, out: &mut String) {
    if value.is_integer() {
        out.push_str(&value.numer().to_string());
    } else {
        let sign = if value.is_negative() { "-" } else { "" };
        put(out, format_args!("{sign}\\frac{{{}}}{{{}}}", value.numer().abs(), value.denom()));
    }
}

/// A decimal with exactly the places it was written with.
fn write_decimal(value: &Rational, places: i32, out: &mut String) {
    let places = usize::try_from(places.clamp(0, 4000)).unwrap_or(0);
    let power = num_bigint::BigInt::from(10).pow(u32::try_from(places).unwrap_or(0));
    let scaled = (value.abs() * Rational::from_integer(power)).to_integer().to_string();
    if value.is_negative() {
        out.push('-');
    }
    let padded = format!("{scaled:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    out.push_str(whole);
    if fraction.is_empty() {
        out.push_str(".0");
    } else {
        out.push('.');
        out.push_str(fraction);
    }
}

fn write_symbol(name: &str, out: &mut String) {
    let primes = name.len() - name.trim_end_matches('\'').len();
    let (base, subscript) = match name.trim_end_matches('\'').split_once('_') {
        Some((base, subscript)) => (base, Some(subscript)),
        None => (name.trim_end_matches('\''), None),
    };
    match base.split_once(' ') {
        Some(("angle", rest)) => put(out, format_args!("\\angle {rest}")),
        Some(("triangle", rest)) => put(out, format_args!("\\triangle {rest}")),
        Some(("bar", rest)) => put(out, format_args!("\\overline{{{rest}}}")),
        Some((accent @ ("vec" | "hat" | "tilde" | "dot"), rest)) => {
            put(out, format_args!("\\{accent}{{{rest}}}"));
        }
        Some(("under", rest)) => put(out, format_args!("\\underline{{{rest}}}")),
        _ if base == "dots" => out.push_str("\\dots "),
        _ if base.len() > 1 && base.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            put(out, format_args!("\\{base} "));
        }
        _ => out.push_str(base),
    }
    if let Some(subscript) = subscript {
        put(out, format_args!("_{{{subscript}}}"));
    }
    out.push_str(&"'".repeat(primes));
}

fn write_call(function: &Function, arguments: &[Expr], out: &mut String) {
    let name = match function {
        Function::Abs => return wrapped("\\left|", arguments, "\\right|", out),
        Function::Floor => return wrapped("\\lfloor ", arguments, "\\rfloor ", out),
        Function::Ceil => return wrapped("\\lceil ", arguments, "\\rceil ", out),
        Function::Factorial | Function::DoubleFactorial | Function::Degrees => {
            write_expr(&arguments[0], Place::Base, out);
            return out.push_str(match function {
                Function::Factorial => "!",
                Function::DoubleFactorial => "!!",
                _ => "^{\\circ}",
            });
        }
        Function::Binomial => {
            out.push_str("\\binom{");
            write_expr(&arguments[0], Place::Sum, out);
            out.push_str("}{");
            write_expr(&arguments[1], Place::Sum, out);
            return out.push('}');
        }
        Function::Mod => {
            write_expr(&arguments[0], Place::Base, out);
            out.push_str(" \\bmod ");
            return write_expr(&arguments[1], Place::Base, out);
        }
        Function::Log => {
            out.push_str("\\log_{");
            write_expr(&arguments[0], Place::Sum, out);
            return wrapped("}\\left(", &arguments[1..], "\\right)", out);
        }
        Function::Sum | Function::Product => {
            out.push_str(if *function == Function::Sum { "\\sum_{" } else { "\\prod_{" });
            write_expr(&arguments[0], Place::Sum, out);
            out.push('=');
            write_expr(&arguments[1], Place::Sum, out);
            out.push_str("}^{");
            write_expr(&arguments[2], Place::Sum, out);
            out.push_str("}\\left(");
            let mut body = String::new();
            write_expr(&arguments[3], Place::Sum, &mut body);
            if let Expr::Symbol(variable) = &arguments[0] {
                body = body.replace(crate::math::tree::node::INDEX, variable);
            }
            out.push_str(&body);
            return out.push_str("\\right)");
        }
        Function::Integral => {
            out.push_str("\\int_{");
            write_expr(&arguments[1], Place::Sum, out);
            out.push_str("}^{");
            write_expr(&arguments[2], Place::Sum, out);
            out.push('}');
            wrapped("\\left(", &arguments[3..], "\\right) d ", out);
            return write_expr(&arguments[0], Place::Base, out);
        }
        Function::Limit => {
            out.push_str("\\lim_{");
            write_expr(&arguments[0], Place::Base, out);
            out.push_str(" \\to ");
            write_expr(&arguments[1], Place::Base, out);
            match &arguments[2] {
                Expr::Number(side) if side.is_positive() => out.push_str("^+"),
                Expr::Number(side) if side.is_negative() => out.push_str("^-"),
                _ => {}
            }
            return wrapped("}\\left(", &arguments[3..], "\\right)", out);
        }
        Function::Named(name) => {
            if name.len() > 1 && name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                put(out, format_args!("\\operatorname{{{name}}}"));
            } else {
                write_symbol(name, out);
            }
            return wrapped("\\left(", arguments, "\\right)", out);
        }
        Function::Sin => "\\sin",
        Function::Cos => "\\cos",
        Function::Tan => "\\tan",
        Function::Cot => "\\cot",
        Function::Sec => "\\sec",
        Function::Csc => "\\csc",
        Function::Asin => "\\arcsin",
        Function::Acos => "\\arccos",
        Function::Atan => "\\arctan",
        Function::Sinh => "\\sinh",
        Function::Cosh => "\\cosh",
        Function::Tanh => "\\tanh",
        Function::Ln => "\\ln",
        Function::Gcd => "\\gcd",
        Function::Lcm => "\\operatorname{lcm}",
        Function::Min => "\\min",
        Function::Max => "\\max",
    };
    out.push_str(name);
    wrapped("\\left(", arguments, "\\right)", out);
}

fn wrapped(open: &str, arguments: &[Expr], close: &str, out: &mut String) {
    out.push_str(open);
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_expr(argument, Place::Sum, out);
    }
    out.push_str(close);
}
