//! Sums with an ellipsis, `1 + 2 + ⋯ + n`, as the sums they abbreviate.
//!
//! The first terms and the last one determine the sum, or it is not read. `2 + 4 + ⋯ + 64` leaves open whether it adds or
//! doubles.

use num_traits::{One, Signed, ToPrimitive, Zero};

use crate::math::fuel::{Fuel, Stop};
use crate::math::tree::node::{Expr, Function, Rational};
use crate::math::value::identity::Comparer;

/// The name of the index, which no text can have.
const INDEX: &str = "⋯";

/// Terms that a sum of numbers may have.
const MAX_TERMS: i64 = 1_000_000;

/// Whether an expression is the ellipsis itself.
pub(super) fn is_ellipsis(term: &Expr) -> bool {
    matches!(term, Expr::Symbol(name) if **name == *"dots")
}

/// Whether terms are few enough to stand in front of an ellipsis.
pub(super) fn is_short(terms: &Expr) -> bool {
    matches!(terms, Expr::Add(terms) if (2..=16).contains(&terms.len()))
}

/// The sum of the first terms, an ellipsis and the last term; `None` where they leave it open.
pub(super) fn abbreviated(
    first: &[Expr],
    last: &Expr,
    fuel: &mut Fuel,
) -> Result<Option<Expr>, Stop> {
    if first.len() < 2 || first.iter().any(is_ellipsis) {
        return Ok(None);
    }
    if let Some(sum) = by_formula(first, last, fuel)? {
        return Ok(Some(sum));
    }
    let geometric = geometric(first, last);
    if first.len() > 2 && geometric.is_some() {
        return Ok(geometric);
    }
    let mut steps = None;
    let Some(body) = between(&first[0], &first[1], last, &mut steps) else { return Ok(None) };
    let is_beyond = |steps: i64| usize::try_from(steps).is_ok_and(|steps| steps >= first.len());
    let Some(steps) = steps.filter(|steps| is_beyond(*steps) && *steps <= MAX_TERMS) else {
        return Ok(None);
    };
    let mut comparer = Comparer { fuel, relative_tolerance: 0.0 };
    for (index, term) in (0..).zip(first) {
        if !comparer.identical(&with_index(&body, INDEX, &Expr::integer(index)), term)? {
            return Ok(None);
        }
    }
    Ok(geometric.is_none().then(|| sum(Expr::integer(0), Expr::integer(steps), body)))
}

fn sum(low: Expr, high: Expr, body: Expr) -> Expr {
    Expr::Call(Function::Sum, vec![Expr::symbol(INDEX), low, high, body])
}

/// The sum where the last term is the general one: `1 + r + r^2 + ⋯ + r^n`.
fn by_formula(first: &[Expr], last: &Expr, fuel: &mut Fuel) -> Result<Option<Expr>, Stop> {
    // Of `2^{10}` the exponent is the index.
    if let Expr::Pow(pair) = last
        && let (Expr::Number(_), Expr::Number(_)) = (&pair.0, &pair.1)
    {
        let general = pair.0.clone().power(Expr::symbol(INDEX));
        return Ok(fitting(first, &general, INDEX, fuel)?
            .map(|low| sum(Expr::integer(low), pair.1.clone(), general)));
    }
    let mut names: Vec<Box<str>> = Vec::new();
    collect(last, &mut names);
    for name in &names {
        if let Some(low) = fitting(first, last, name, fuel)? {
            let body = with_index(last, name, &Expr::symbol(INDEX));
            return Ok(Some(sum(Expr::integer(low), Expr::symbol(name), body)));
        }
    }
    Ok(None)
}

/// The index of the first term, if a general term gives all of them in a row.
fn fitting(
    first: &[Expr],
    general: &Expr,
    name: &str,
    fuel: &mut Fuel,
) -> Result<Option<i64>, Stop> {
    let mut comparer = Comparer { fuel, relative_tolerance: 0.0 };
    for low in [1, 0, 2] {
        let mut fits = true;
        for (index, term) in (low..).zip(first) {
            fits = fits
                && comparer.identical(&with_index(general, name, &Expr::integer(index)), term)?;
        }
        if fits {
            return Ok(Some(low));
        }
    }
    Ok(None)
}

/// The symbols of an expression, each once.
fn collect(expr: &Expr, names: &mut Vec<Box<str>>) {
    match expr {
        Expr::Symbol(name) if !names.contains(name) => names.push(name.clone()),
        Expr::Pow(pair) => {
            collect(&pair.0, names);
            collect(&pair.1, names);
        }
        other => other.children().iter().for_each(|child| collect(child, names)),
    }
}

fn with_index(expr: &Expr, name: &str, value: &Expr) -> Expr {
    expr.map(&|inner| match inner {
        Expr::Symbol(symbol) if **symbol == *name => Some(value.clone()),
        _ => None,
    })
}

/// The general term of three of the same shape, whose numbers grow by equal steps. `steps` is how many there are from the
/// first to the last.
fn between(one: &Expr, two: &Expr, last: &Expr, steps: &mut Option<i64>) -> Option<Expr> {
    if one == two && two == last {
        return Some(one.clone());
    }
    let children = |steps: &mut Option<i64>, ones: &[Expr], twos: &[Expr], lasts: &[Expr]| {
        let same = ones.len() == twos.len() && twos.len() == lasts.len();
        let all = ones.iter().zip(twos).zip(lasts);
        let all: Option<Vec<Expr>> =
            all.map(|((one, two), last)| between(one, two, last, steps)).collect();
        all.filter(|_| same)
    };
    Some(match (one, two, last) {
        (Expr::Number(first), Expr::Number(second), Expr::Number(end)) => {
            let step = second - first;
            if step.is_zero() {
                return None;
            }
            let count = (end - first) / &step;
            let count = count.is_integer().then(|| count.to_integer().to_i64())??;
            if steps.is_some_and(|known| known != count) {
                return None;
            }
            *steps = Some(count);
            Expr::Number(first.clone()).plus(Expr::Number(step).times(Expr::symbol(INDEX)))
        }
        (Expr::Add(ones), Expr::Add(twos), Expr::Add(lasts)) => {
            Expr::Add(children(steps, ones, twos, lasts)?)
        }
        (Expr::Mul(ones), Expr::Mul(twos), Expr::Mul(lasts)) => {
            Expr::Mul(children(steps, ones, twos, lasts)?)
        }
        (Expr::Pow(one), Expr::Pow(two), Expr::Pow(last)) => {
            let base = between(&one.0, &two.0, &last.0, steps)?;
            base.power(between(&one.1, &two.1, &last.1, steps)?)
        }
        (Expr::Call(name, ones), Expr::Call(other, twos), Expr::Call(third, lasts))
            if name == other && other == third =>
        {
            Expr::Call(name.clone(), children(steps, ones, twos, lasts)?)
        }
        _ => return None,
    })
}

/// The sum of numbers that grow by a constant factor up to the last one.
fn geometric(first: &[Expr], last: &Expr) -> Option<Expr> {
    let number = |expr: &Expr| match expr {
        Expr::Number(value) if !value.is_zero() => Some(value.clone()),
        _ => None,
    };
    let first: Vec<Rational> = first.iter().map(number).collect::<Option<_>>()?;
    let last = number(last)?;
    let ratio = &first[1] / &first[0];
    if ratio.abs().is_one() || first.windows(2).any(|pair| &pair[1] / &pair[0] != ratio) {
        return None;
    }
    let mut term = first[0].clone();
    let count = (0..256).find(|_| {
        let found = term == last;
        term *= &ratio;
        found
    })?;
    let general =
        Expr::Number(first[0].clone()).times(Expr::Number(ratio).power(Expr::symbol(INDEX)));
    let is_beyond = usize::try_from(count).is_ok_and(|count| count >= first.len());
    is_beyond.then(|| sum(Expr::integer(0), Expr::integer(count), general))
}

#[cfg(test)]
mod tests {
    use crate::equivalent;

    #[test]
    fn an_ellipsis_stands_for_a_sum_where_its_terms_determine_it() {
        for (abbreviated, value) in [
            (r"1+2+\cdots+n", r"\frac{n(n+1)}{2}"),
            (r"1+3+5+\dots+(2n-1)", "n^2"),
            (r"1^2+2^2+\cdots+n^2", r"\frac{n(n+1)(2n+1)}{6}"),
            (r"1+r+r^2+\cdots+r^n", r"\frac{1-r^{n+1}}{1-r}"),
            (r"1+2+\cdots+100", "5050"),
            (r"1+2+4+\cdots+1024", "2047"),
            (r"1+2+4+\cdots+2^{10}", "2047"),
            (r"\frac{1}{1\cdot2}+\frac{1}{2\cdot3}+\cdots+\frac{1}{9\cdot10}", r"\frac{9}{10}"),
        ] {
            assert!(equivalent(abbreviated, value), "{abbreviated}");
        }
        for (abbreviated, value) in [
            // By twos or by powers of two.
            (r"2+4+\cdots+64", "1056"),
            (r"2+4+\cdots+64", "126"),
            (r"1+2+\cdots+n^2", r"\frac{n(n+1)(2n+1)}{6}"),
            (r"1+2+\cdots+n", r"\frac{n(n-1)}{2}"),
            (r"1+2+3+\cdots+99", "5050"),
            (r"1+4+5+\cdots+100", "5050"),
        ] {
            assert!(!equivalent(abbreviated, value), "{abbreviated}");
        }
    }
}
