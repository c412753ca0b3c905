//! A completion without the parts that say nothing of its answer.
//!
//! These are the end of a proof, what was struck out, and the next problem.

/// The text without the sign that ends a proof.
pub(super) fn without_proof_end(text: &str) -> &str {
    const SIGNS: [&str; 6] = ["\\square", "\\blacksquare", "\\Box", "QED", "Q.E.D", "q.e.d"];
    let trimmed = text.trim_end().trim_end_matches('.');
    let (inside, is_formula) = match trimmed.strip_suffix('$') {
        Some(inside) => (inside.trim_end(), true),
        None => (trimmed, false),
    };
    let Some(rest) = SIGNS.iter().find_map(|sign| inside.strip_suffix(sign)) else { return text };
    let rest = rest.trim_end();
    // A formula of its own leaves with its dollar signs.
    let rest = if is_formula { rest.strip_suffix('$') } else { Some(rest) };
    rest.map(str::trim_end).filter(|rest| !rest.is_empty()).unwrap_or(text)
}

/// The text up to the next problem, which a base model invents behind its answer in the form of its examples.
pub(super) fn without_next_problem(text: &str) -> &str {
    const ENDS: [&str; 2] = ["I hope it is correct.", "I hope this is correct."];
    const TITLES: [&str; 6] = ["Problem", "Question", "Exercise", "Q:", "Example", "Solve the"];
    let end = ENDS.iter().filter_map(|end| text.find(end).map(|at| at + end.len())).min();
    let Some(end) = end else { return text };
    let behind = text[end..].trim_start_matches([' ', '*', '#', '-']);
    let starts_anew = behind.starts_with('\n')
        && TITLES
            .iter()
            .any(|title| behind.trim_start_matches(['\n', ' ', '*', '#', '-']).starts_with(title));
    if starts_anew { &text[..end] } else { text }
}

/// The text without its struck-out parts: `~~60~~ 61`.
pub(super) fn without_struck(text: &str) -> String {
    let mut parts = text.split("~~");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    while let Some(struck) = parts.next() {
        match parts.next() {
            Some(behind) => kept.push_str(behind),
            None => kept.extend(["~~", struck]),
        }
    }
    kept
}
