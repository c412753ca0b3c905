//! Fingerprints of training data.

use std::collections::BTreeMap;

use hint_rollout::Problem;

/// Number of items, and CRC-32 over their parts in order.
pub fn fingerprint<'a, P>(items: impl IntoIterator<Item = P>) -> String
where
    P: IntoIterator<Item = &'a [u8]>,
{
    let mut hasher = crc32fast::Hasher::new();
    let mut count = 0;
    for item in items {
        count += 1;
        for part in item {
            hasher.update(part);
            hasher.update(&[0]);
        }
    }
    format!("{count}-{:08x}", hasher.finalize())
}

/// Fingerprints of problems, in order: of what is asked and expected, of hints, of solutions, and of all
/// other columns.
pub(crate) fn problem_fingerprints(problems: &[Problem]) -> BTreeMap<String, String> {
    let part = |name: &str, texts: &dyn Fn(&Problem) -> Option<Vec<String>>| {
        let texts = problems.iter().filter_map(texts).collect::<Vec<_>>();
        let items = texts.iter().map(|texts| texts.iter().map(String::as_bytes));
        (name.to_owned(), fingerprint(items))
    };
    let asked = |problem: &Problem| {
        let turns = problem.context.iter().flat_map(|turn| [&turn.role, &turn.content]);
        let texts = [&problem.id, &problem.question, &problem.answer].into_iter().chain(turns);
        Some(texts.chain(&problem.accepted).cloned().collect())
    };
    let of = |problem: &Problem, text: &Option<String>| {
        text.as_ref().map(|text| vec![problem.id.clone(), text.clone()])
    };
    let columns = |problem: &Problem| {
        let level = problem.level.iter().map(|level| format!("level={level}"));
        let rest = problem.columns.iter().map(|(name, value)| format!("{name}={value}"));
        let columns = level.chain(rest).collect::<Vec<_>>();
        (!columns.is_empty()).then(|| [vec![problem.id.clone()], columns].concat())
    };
    BTreeMap::from([
        part("problems", &asked),
        part("hints", &|problem| of(problem, &problem.hint)),
        part("solutions", &|problem| of(problem, &problem.solution)),
        part("columns", &columns),
    ])
}
