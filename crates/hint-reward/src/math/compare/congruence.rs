//! Congruences and other ways to name residue classes: `x ≡ 3 (mod 7)`, `x = 7k + 3, k ∈ ℤ`, `n` odd.

use num_bigint::BigInt;
use num_traits::{One, Signed, Zero};

use crate::math::compare::comparison::Comparison;
use crate::math::fuel::Stop;
use crate::math::tree::node::{Expr, Function, Node, Rational, Relation, symbols};

/// Residues a congruence may have at most.
const MAX_RESIDUES: usize = 64;

/// Content of a congruence: its subject is one of the residues by the modulus.
struct Congruence<'n> {
    subject: Option<&'n Node>,
    residues: Vec<BigInt>,
    modulus: BigInt,
}

impl Comparison<'_, '_> {
    /// Whether two congruences have the same solutions. `None` if the answers are none.
    pub(super) fn same_congruence(&mut self, a: &Node, b: &Node) -> Result<Option<bool>, Stop> {
        let (first, second) = match (congruence(a), congruence(b)) {
            (Some(first), Some(second)) => (first, second),
            // `n ≡ ±1 (mod 6)` against `n = 6k ± 1`
            (Some(first), None) => match without_domain(b) {
                Some(second) => (first, second),
                None => return Ok(None),
            },
            (None, Some(second)) => match without_domain(a) {
                Some(first) => (first, second),
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        if let (Some(subject), Some(other)) = (first.subject, second.subject)
            && !self.same(subject, other)?
        {
            return Ok(Some(false));
        }
        Ok(Some(first.modulus == second.modulus && first.residues == second.residues))
    }
}

/// Whether a congruence holds where none of the others does; `None` if one of them is no congruence.
pub(super) fn completes(node: &Node, others: &[Node]) -> Option<bool> {
    let own = congruence(node)?;
    let others: Vec<Congruence<'_>> = others.iter().map(congruence).collect::<Option<_>>()?;
    let is_alike = |other: &Congruence<'_>| {
        other.modulus == own.modulus
            && other.subject == own.subject
            && !other.residues.iter().any(|residue| own.residues.contains(residue))
    };
    let mut residues: Vec<&BigInt> = others.iter().flat_map(|other| &other.residues).collect();
    residues.sort();
    residues.dedup();
    let count = BigInt::from(residues.len() + own.residues.len());
    Some(others.iter().all(is_alike) && count == own.modulus)
}

/// Reads `n = 6k ± 1` where nothing says that `k` is an integer. By convention it is.
fn without_domain(node: &Node) -> Option<Congruence<'_>> {
    let equations = match node {
        Node::List(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let (_, Node::Expr(value)) = equations.first()?.equation()? else { return None };
    let mut names = Vec::new();
    symbols(value, &mut names);
    let [parameter @ ("k" | "m" | "t" | "j" | "l" | "q" | "n")] = names.as_slice() else {
        return None;
    };
    joined(equations.iter().map(|equation| {
        progression(equation, parameter)
            .filter(|class| !class.subject.is_some_and(|subject| subject.has_symbol(parameter)))
    }))
}

/// Reads `x ≡ 3 (mod 7)`, `x = 7k + 3, k ∈ ℤ`, `n ≡ ±1 (mod 5)` and `n is even`.
fn congruence(node: &Node) -> Option<Congruence<'_>> {
    match node {
        Node::Chain { terms, relations } => match (terms.as_slice(), relations.as_slice()) {
            ([residue, Node::Expr(modulus)], [Relation::Modulo]) => {
                class(None, &[residue], modulus)
            }
            (
                [subject, residue, Node::Expr(modulus)],
                [Relation::Other('≡') | Relation::Equal, Relation::Modulo],
            ) => class(Some(subject), &[residue], modulus),
            _ => None,
        },
        // An odd number, of whatever name.
        Node::Text(word) if matches!(&**word, "odd" | "even") => Some(Congruence {
            subject: None,
            residues: vec![BigInt::from(i32::from(&**word == "odd"))],
            modulus: BigInt::from(2),
        }),
        Node::Given { main, condition, .. } => progression(main, integer_parameter(condition)?),
        Node::List(items) => {
            if let [equations @ .., condition] = items.as_slice()
                && let Some(parameter) = integer_parameter(condition)
            {
                return match equations {
                    [equation] => progression(equation, parameter),
                    several => joined(several.iter().map(|node| progression(node, parameter))),
                };
            }
            joined(items.iter().map(congruence))
        }
        _ => None,
    }
}

/// Congruences by one modulus as one, with all their residues.
fn joined<'n>(classes: impl Iterator<Item = Option<Congruence<'n>>>) -> Option<Congruence<'n>> {
    let classes: Vec<Congruence<'_>> = classes.collect::<Option<_>>()?;
    let (first, rest) = classes.split_first()?;
    if rest.iter().any(|class| class.modulus != first.modulus || class.subject != first.subject) {
        return None;
    }
    let mut residues: Vec<BigInt> =
        classes.iter().flat_map(|class| class.residues.clone()).collect();
    residues.sort();
    residues.dedup();
    (residues.len() <= MAX_RESIDUES).then(|| Congruence {
        subject: first.subject,
        residues,
        modulus: first.modulus.clone(),
    })
}

/// The parameter of `k ∈ ℤ`.
fn integer_parameter(condition: &Node) -> Option<&str> {
    let Node::Chain { terms, relations } = condition else { return None };
    match (terms.as_slice(), relations.as_slice()) {
        ([Node::Expr(Expr::Symbol(parameter)), Node::NumberSet('Z')], [Relation::In]) => {
            Some(parameter)
        }
        _ => None,
    }
}

fn class<'n>(
    subject: Option<&'n Node>,
    residues: &[&Node],
    modulus: &Expr,
) -> Option<Congruence<'n>> {
    let modulus =
        modulus.as_number().filter(|modulus| modulus.is_integer() && modulus.is_positive())?;
    let modulus = modulus.to_integer();
    let mut all = Vec::new();
    for residue in residues {
        let Node::Expr(residue) = residue else { return None };
        let value = match residue {
            Expr::Call(Function::Mod, arguments) => arguments.first()?,
            other => other,
        };
        // `±1` stands for both.
        let signs: &[i64] =
            if value.any(&|expr| *expr == Expr::PlusMinus) { &[1, -1] } else { &[1] };
        for sign in signs {
            let value = value.map(&|expr| (*expr == Expr::PlusMinus).then(|| Expr::integer(*sign)));
            let value = integer(&value)?;
            all.push(((value % &modulus) + &modulus) % &modulus);
        }
    }
    all.sort();
    all.dedup();
    Some(Congruence { subject, residues: all, modulus })
}

/// The value of a product of integers.
fn integer(expr: &Expr) -> Option<BigInt> {
    match expr {
        Expr::Number(value) if value.is_integer() => Some(value.to_integer()),
        Expr::Mul(factors) => factors
            .iter()
            .try_fold(BigInt::one(), |product, factor| Some(product * integer(factor)?)),
        _ => None,
    }
}

/// `x = 7k + 3` for all integers k.
fn progression<'n>(node: &'n Node, parameter: &str) -> Option<Congruence<'n>> {
    let (subject, Node::Expr(value)) = node.equation()? else { return None };
    let Node::Expr(Expr::Symbol(_)) = subject else { return None };
    let mut step = Rational::zero();
    let mut offset = Rational::zero();
    let terms = match value {
        Expr::Add(terms) => terms.as_slice(),
        other => std::slice::from_ref(other),
    };
    for term in terms {
        if let Some(value) = integer(term) {
            offset += Rational::from_integer(value);
            continue;
        }
        match term {
            Expr::Symbol(name) if **name == *parameter => step += Rational::one(),
            Expr::Mul(factors) => match factors.as_slice() {
                [Expr::Number(value), Expr::Symbol(name)] if **name == *parameter => step += value,
                _ => return None,
            },
            _ => return None,
        }
    }
    if step.is_zero() || !step.is_integer() || !offset.is_integer() {
        return None;
    }
    let modulus = step.abs().to_integer();
    let residue = ((offset.to_integer() % &modulus) + &modulus) % &modulus;
    Some(Congruence { subject: Some(subject), residues: vec![residue], modulus })
}
