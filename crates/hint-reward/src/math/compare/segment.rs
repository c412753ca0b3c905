//! Two capitals side by side: the segment `AB`, or the product of `A` and `B`.

use std::borrow::Cow;

use crate::math::tree::node::{Expr, Node};

/// Two answers with products in the place of segments, where one has an end of a segment alone.
///
/// So `PV = nRT` can equal `V = nRT/P`. An answer that has nothing but segments keeps them: `AB/AC` is not `B/C`.
pub(crate) fn with_segments<'n>(a: &'n Node, b: &'n Node) -> (Cow<'n, Node>, Cow<'n, Node>) {
    let (first, second) = (Letters::of(a), Letters::of(b));
    if first.ends.is_empty() && second.ends.is_empty() {
        return (Cow::Borrowed(a), Cow::Borrowed(b));
    }
    let is_alone = |end: &char| first.alone.contains(end) || second.alone.contains(end);
    let may_expand = |own: &Letters| !own.alone.is_empty() && own.ends.iter().any(is_alone);
    if !may_expand(&first) && !may_expand(&second) {
        return (Cow::Borrowed(a), Cow::Borrowed(b));
    }
    let product = |expr: &Expr| match expr {
        Expr::Symbol(name) if is_segment(name) => {
            Some(Expr::symbol(&name[..1]).times(Expr::symbol(&name[1..])))
        }
        _ => None,
    };
    let expanded = |node: &'n Node, own: &Letters| {
        if own.alone.is_empty() { Cow::Borrowed(node) } else { Cow::Owned(node.mapped(&product)) }
    };
    (expanded(a, &first), expanded(b, &second))
}

/// The letters of an answer.
struct Letters {
    /// The ends of its segments.
    ends: Vec<char>,
    /// Those that are names of their own.
    alone: Vec<char>,
}

impl Letters {
    fn of(node: &Node) -> Self {
        let mut letters = Self { ends: Vec::new(), alone: Vec::new() };
        node.each_symbol(&mut |name| {
            if is_segment(name) {
                letters.ends.extend(name.chars());
            } else if let Some(letter) = name.chars().next() {
                letters.alone.push(letter);
            }
        });
        letters
    }
}

/// Whether a name is one of two capitals.
pub(crate) fn is_segment(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_uppercase())
}
