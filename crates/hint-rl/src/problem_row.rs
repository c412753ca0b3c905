//! Problems as rows of a file.

use hint_rollout::Problem;
use serde_json::{Map, Value, json};

/// Problems as JSONL, one a line.
pub(crate) fn problem_lines<'p>(problems: impl IntoIterator<Item = &'p Problem>) -> String {
    let line = |problem| Value::Object(problem_row(problem)).to_string() + "\n";
    problems.into_iter().map(line).collect()
}

/// A problem as the row that reads back as it.
pub(crate) fn problem_row(problem: &Problem) -> Map<String, Value> {
    let Problem { id, question, context, answer, accepted, hint, solution, level, columns, .. } =
        problem;
    let turns = context.iter().map(|turn| json!({ "role": turn.role, "content": turn.content }));
    let question = if context.is_empty() {
        json!(question)
    } else {
        turns.chain([json!({ "role": "user", "content": question })]).collect()
    };
    let mut row = Map::from_iter([
        ("id".to_owned(), json!(id)),
        ("question".to_owned(), question),
        ("answer".to_owned(), json!(answer)),
    ]);
    if !accepted.is_empty() {
        row.insert("accepted_answers".to_owned(), json!(accepted));
    }
    for (name, value) in [("abstract_hint", hint), ("solution", solution), ("level", level)] {
        row.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
    }
    row.extend(columns.iter().map(|(name, value)| (name.clone(), value.clone())));
    row
}
