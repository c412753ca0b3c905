//! Which problems are held out from training.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::columns::Columns;
use crate::data::problem::Problem;
use crate::data::read::read_problems_from;
use crate::error::RolloutError;
use crate::run::no_fields;

/// Which problems are held out from training, for evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum HeldOut {
    /// None of the training problems. There is no evaluation, unless the program brings problems of
    /// its own.
    #[default]
    #[serde(deserialize_with = "no_fields")]
    None,
    /// A share of the training problems, chosen by [`is_held_out`].
    Share {
        /// In `(0, 1)`.
        frac: f64,
    },
    /// The problems of another file. Training problems of the same [content](Problem::content) are not
    /// trained on; ids are unique in each file, and may coincide between the two.
    File {
        /// A file, as [`read_problems`](crate::data::read_problems) reads.
        path: PathBuf,
    },
}

/// Problems to train on, and problems that are held out.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Split {
    /// Problems to train on.
    pub train: Vec<Problem>,
    /// Problems to evaluate on. None of them has the content of one to train on.
    pub held_out: Vec<Problem>,
    /// Training problems that are left out because they are held out under another id.
    pub removed: Vec<Removed>,
    /// Problems that are held out, but more than are evaluated.
    pub unused: usize,
}

/// A training problem that is left out because a held-out problem has the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Its id.
    pub id: String,
    /// The id of the held-out problem.
    pub held_out: String,
}

impl Split {
    /// Says which problems are not trained on and why, in one line; `None` when there are none.
    pub fn removed_line(&self) -> Option<String> {
        let first = self.removed.first()?;
        let total = self.train.len() + self.removed.len();
        Some(format!(
            "{} of {total} problems are not trained on, because a held-out problem asks the same; the first \
             is {first}",
            self.removed.len()
        ))
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, held_out } = self;
        write!(f, "`{id}`")?;
        if id == held_out { Ok(()) } else { write!(f, ", held out as `{held_out}`") }
    }
}

impl HeldOut {
    /// Splits `problems`, keeping their order. `columns` are those of a held-out file.
    ///
    /// # Errors
    ///
    /// As [`read_problems_from`], for a held-out file.
    pub fn split(&self, problems: Vec<Problem>, columns: &Columns) -> Result<Split, RolloutError> {
        let (mut train, held_out) = match self {
            Self::None => (problems, Vec::new()),
            Self::Share { frac } => split_held_out(problems, *frac),
            Self::File { path } => (problems, read_problems_from(&[path], columns)?),
        };
        let contents = held_out.iter().map(|problem| (problem.content(), problem.id.clone()));
        let contents = contents.collect::<HashMap<_, _>>();
        let mut removed = Vec::new();
        train.retain(|problem| match contents.get(&problem.content()) {
            Some(held_out) => {
                removed.push(Removed { id: problem.id.clone(), held_out: held_out.clone() });
                false
            }
            None => true,
        });
        Ok(Split { train, held_out, removed, unused: 0 })
    }
}

/// Whether the problem named `id` belongs to the held-out share `frac` of its data set.
///
/// The id is hashed: the first eight bytes of SHA-256 over its UTF-8 bytes, read as a big-endian
/// number and divided by 2⁶⁴, are below `frac`. So the answer is the same in every version, on every
/// machine, in any order and whatever other problems there are; and a smaller share is a part of a
/// larger one.
///
/// ```
/// use hint_rollout::data::is_held_out;
///
/// // SHA-256 of "7" begins with 79 02 69 90: 0.4727 of the range.
/// assert!(is_held_out("7", 0.48) && !is_held_out("7", 0.47));
/// ```
pub fn is_held_out(id: &str, frac: f64) -> bool {
    place(id) < frac
}

/// Where the hash of an id stands in `[0, 1)`.
fn place(id: &str) -> f64 {
    let digest = Sha256::digest(id.as_bytes());
    let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    // 53 bits are what an f64 holds; rounding up could reach 1.
    (first >> 11) as f64 / (1_u64 << 53) as f64
}

/// Splits problems into those to train on and the held-out share `frac`, by [`is_held_out`]. Both
/// keep their order.
pub fn split_held_out(problems: Vec<Problem>, frac: f64) -> (Vec<Problem>, Vec<Problem>) {
    problems.into_iter().partition(|problem| !is_held_out(&problem.id, frac))
}

/// The `count` problems whose ids hash lowest, in their order: a sample that depends on nothing but
/// the ids. All of them when there are fewer.
pub fn sample_by_hash(problems: Vec<Problem>, count: usize) -> Vec<Problem> {
    if problems.len() <= count {
        return problems;
    }
    let mut places =
        problems.iter().map(|problem| (place(&problem.id), &problem.id)).collect::<Vec<_>>();
    places.sort_by(|left, right| left.0.total_cmp(&right.0).then_with(|| left.1.cmp(right.1)));
    let chosen = places.into_iter().take(count).map(|(_, id)| id.clone());
    let chosen = chosen.collect::<std::collections::BTreeSet<_>>();
    problems.into_iter().filter(|problem| chosen.contains(&problem.id)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problems(ids: &[String]) -> Vec<Problem> {
        ids.iter().map(|id| Problem::new(id, "?", "1")).collect()
    }

    fn ids(problems: &[Problem]) -> std::collections::BTreeSet<String> {
        problems.iter().map(|problem| problem.id.clone()).collect()
    }

    #[test]
    fn places_are_those_of_sha_256() {
        // int(hashlib.sha256(id.encode()).hexdigest()[:16], 16) / 2**64
        for (id, expected) in [
            ("", 0.889_415_994_891_337_4),
            ("7", 0.472_693_062_362_099_24),
            ("gsm-symbolic/0007", 0.227_749_345_914_699_75),
            ("Höhe", 0.643_932_537_885_715_8),
        ] {
            assert!((place(id) - expected).abs() < 1e-15, "{id}: {}", place(id));
        }
    }

    proptest! {
        #[test]
        fn the_split_depends_neither_on_order_nor_on_other_problems(
            ids in prop::collection::btree_set("[a-z0-9]{1,6}", 1..40),
            frac in 0.0_f64..1.0,
            keep in 1_usize..40,
        ) {
            let all = ids.iter().cloned().collect::<Vec<_>>();
            let mut reversed = all.clone();
            reversed.reverse();
            let (_, held) = split_held_out(problems(&all), frac);
            let (_, same) = split_held_out(problems(&reversed), frac);
            prop_assert_eq!(super::tests::ids(&held), super::tests::ids(&same));
            let fewer = &all[..keep.min(all.len())];
            let (_, part) = split_held_out(problems(fewer), frac);
            let expected = super::tests::ids(&held).into_iter().filter(|id| fewer.contains(id)).collect();
            prop_assert_eq!(super::tests::ids(&part), expected);
        }
    }

    #[test]
    fn equal_questions_are_held_out_whatever_their_ids() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("held-out.jsonl");
        let rows = [
            r#"{"id": "1", "question": "What is\n 1 + 1?", "answer": "2"}"#,
            r#"{"id": "2", "question": "2 + 2", "answer": "4"}"#,
        ];
        std::fs::write(&path, rows.join("\n")).unwrap();
        let train = vec![
            Problem::new("1", "What is 3 + 3?", "6"),
            Problem::new("x", " What is 1 + 1?", "2"),
            Problem::new("2", "2 + 2", "4"),
        ];
        let split = HeldOut::File { path }.split(train, &Columns::default()).unwrap();
        assert_eq!(split.train.iter().map(|problem| &*problem.id).collect::<Vec<_>>(), ["1"]);
        assert_eq!(split.held_out.len(), 2);
        assert_eq!(
            split.removed_line().unwrap(),
            "2 of 3 problems are not trained on, because a held-out problem asks the same; the first is \
             `x`, held out as `1`"
        );
        // The same question on both sides of a share.
        let all = (0..40).map(|id| Problem::new(id.to_string(), (id / 2).to_string(), "1"));
        let split = HeldOut::Share { frac: 0.5 }.split(all.collect(), &Columns::default()).unwrap();
        let held_out = split.held_out.iter().map(Problem::content).collect::<Vec<_>>();
        assert!(split.train.iter().all(|problem| !held_out.contains(&problem.content())));
        assert!(!split.removed.is_empty() && !split.train.is_empty());
        assert_eq!(split.train.len() + split.removed.len() + split.held_out.len(), 40);
    }

    #[test]
    fn shares_are_kept_and_nested() {
        let all = (0..4000).map(|index| format!("problem-{index}")).collect::<Vec<_>>();
        let (train, held) = split_held_out(problems(&all), 0.1);
        assert_eq!(train.len() + held.len(), 4000);
        // 400 expected, with a deviation of 19.
        assert!((320..=480).contains(&held.len()), "{}", held.len());
        let (_, more) = split_held_out(problems(&all), 0.2);
        assert!(ids(&held).is_subset(&ids(&more)));
        assert_eq!(sample_by_hash(held.clone(), held.len() + 1).len(), held.len());
        let some = sample_by_hash(more, 50);
        assert_eq!(some.len(), 50);
        assert!(ids(&some).is_subset(&ids(&held)));
    }
}
