//! Fingerprints of training data.

use std::collections::BTreeMap;

use hint_rollout::data::Problems;
use hint_rollout::{Problem, RolloutError};

/// Number of items, and CRC-32 over their parts in order.
pub fn fingerprint<'a, P>(items: impl IntoIterator<Item = P>) -> String
where
    P: IntoIterator<Item = &'a [u8]>,
{
    let mut fingerprint = Fingerprint::default();
    items.into_iter().for_each(|item| fingerprint.add(item));
    fingerprint.finish()
}

/// Number of items so far, and CRC-32 over their parts.
#[derive(Default)]
struct Fingerprint {
    count: usize,
    hasher: crc32fast::Hasher,
}

impl Fingerprint {
    fn add<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) {
        self.count += 1;
        for part in parts {
            self.hasher.update(part);
            self.hasher.update(&[0]);
        }
    }

    fn finish(self) -> String {
        format!("{}-{:08x}", self.count, self.hasher.finalize())
    }
}

/// Fingerprints of problems, in order: of questions and answers, of hints, of solutions, and of all
/// other columns.
pub(crate) fn problem_fingerprints(
    problems: &dyn Problems,
) -> Result<BTreeMap<String, String>, RolloutError> {
    let [mut asked, mut hints, mut solutions, mut columns] =
        [(); 4].map(|()| Fingerprint::default());
    for problem in problems.iter() {
        let problem: &Problem = &*problem?;
        let id = [&problem.id].into_iter();
        let turns = problem.context.iter().flat_map(|turn| [&turn.role, &turn.content]);
        let texts = id.clone().chain([&problem.question, &problem.answer]).chain(turns);
        asked.add(texts.chain(&problem.accepted).map(String::as_bytes));
        for (of, text) in [(&mut hints, &problem.hint), (&mut solutions, &problem.solution)] {
            if let Some(text) = text {
                of.add(id.clone().chain([text]).map(String::as_bytes));
            }
        }
        let level = problem.level.iter().map(|level| format!("level={level}"));
        let rest = problem.columns.iter().map(|(name, value)| format!("{name}={value}"));
        let all = level.chain(rest).collect::<Vec<_>>();
        if !all.is_empty() {
            columns.add(id.chain(&all).map(String::as_bytes));
        }
    }
    let named =
        [("problems", asked), ("hints", hints), ("solutions", solutions), ("columns", columns)];
    Ok(named.map(|(name, of)| (name.to_owned(), of.finish())).into())
}
