//! Tuples with their permutations in words: `(1, 2, 3) and its permutations`, `all cyclic permutations of (1, 2, 3)`.

use crate::math::tree::node::Node;

/// Items beyond which permutations are not listed.
const MAX_ITEMS: usize = 5;

/// The text of a tuple whose permutations a text names, and whether only the cyclic ones are meant.
pub(crate) fn named_permutations(text: &str) -> Option<(String, bool)> {
    if !text.contains("permutation") || text.len() > 200 {
        return None;
    }
    let plain = text.replace("\\text{", " ").replace(['$', '}', '~'], " ").replace("\\ ", " ");
    let plain = plain.trim().trim_end_matches('.').trim_end();
    let lowered = plain.to_ascii_lowercase();
    let at = lowered.find("permutation")?;
    let end = at + "permutation".len();
    let behind = lowered[end..].strip_prefix('s').unwrap_or(&lowered[end..]);
    let is_cyclic = lowered[..at].trim_end().ends_with("cyclic");
    let before =
        without_words(&plain[..at], &["cyclic", "all", "its", "their", "any", "the", "possible"]);
    // `all permutations of (1, 2, 3)`
    if before.is_empty() {
        let rest = behind.trim_start().strip_prefix("of ")?;
        let tuple = plain[plain.len() - rest.len()..].trim();
        return is_tuple(tuple).then(|| (tuple.to_owned(), is_cyclic));
    }
    let closes = matches!(
        behind.trim(),
        "" | "thereof" | "of it" | "of these" | "of this" | "of this triple"
    );
    let main = without_words(before, &["and", "or", "with", "&"]);
    let main = main.trim_end_matches([',', ' ', ';']);
    (closes && main.len() < before.len() && is_tuple(main)).then(|| (main.to_owned(), is_cyclic))
}

/// A text without these words at its end.
fn without_words<'t>(text: &'t str, words: &[&str]) -> &'t str {
    let mut rest = text.trim_end();
    while let Some(word) = rest.rsplit(' ').next().filter(|word| words.contains(word)) {
        rest = rest[..rest.len() - word.len()].trim_end();
    }
    rest
}

fn is_tuple(text: &str) -> bool {
    text.ends_with(')') && !text.chars().any(|c| c == '∪')
}

/// All orders of a tuple, or of each tuple of a list.
pub(crate) fn permuted(node: &Node, is_cyclic: bool) -> Option<Node> {
    let tuples = match node {
        Node::List(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut all: Vec<Node> = Vec::new();
    for tuple in tuples {
        let tuple = tuple.equation().map_or(tuple, |(_, value)| value);
        let Node::Tuple { items, left_closed: false, right_closed: false } = tuple else {
            return None;
        };
        if items.len() > MAX_ITEMS {
            return None;
        }
        let orders = if is_cyclic { rotations(items) } else { orders(items) };
        for items in orders {
            let tuple = Node::Tuple { items, left_closed: false, right_closed: false };
            if !all.contains(&tuple) {
                all.push(tuple);
            }
        }
    }
    Some(Node::List(all))
}

fn rotations(items: &[Node]) -> Vec<Vec<Node>> {
    (0..items.len())
        .map(|start| items[start..].iter().chain(&items[..start]).cloned().collect())
        .collect()
}

fn orders(items: &[Node]) -> Vec<Vec<Node>> {
    if items.len() < 2 {
        return vec![items.to_vec()];
    }
    let mut all = Vec::new();
    for first in 0..items.len() {
        let mut rest = items.to_vec();
        let head = rest.remove(first);
        for mut tail in orders(&rest) {
            tail.insert(0, head.clone());
            all.push(tail);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_are_named_behind_or_in_front_of_the_tuple() {
        for (text, expected) in [
            ("(1,2,3) and its permutations", Some(("(1,2,3)", false))),
            (r"(1,2,3) \text{ and all cyclic permutations}", Some(("(1,2,3)", true))),
            (r"\text{all permutations of } (1,2,3)", Some(("(1,2,3)", false))),
            ("(1,2,3) and no permutation", None),
            ("(1,2,3) is a permutation", None),
            ("the number of permutations", None),
        ] {
            let found = named_permutations(text);
            let found = found.as_ref().map(|(tuple, is_cyclic)| (tuple.as_str(), *is_cyclic));
            assert_eq!(found, expected, "{text}");
        }
    }
}
