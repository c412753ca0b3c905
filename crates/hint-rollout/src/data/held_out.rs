//! Choice of the problems that are held out from training.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::columns::Columns;
use crate::data::config::{DataConfig, DataFile};
use crate::data::problem::place;
use crate::data::read::DroppedRows;
use crate::data::set::{ProblemSet, Problems};
use crate::error::RolloutError;
use crate::run::no_fields;

/// Choice of the problems that are held out from training, for evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum HeldOut {
    /// No training problem is held out. There is no evaluation, unless the program brings problems
    /// of its own.
    #[default]
    #[serde(deserialize_with = "no_fields")]
    None,
    /// A share of the training problems, chosen by [`is_held_out`].
    Share {
        /// In `(0, 1)`.
        frac: f64,
    },
    /// The problems of another file. Training problems of the same [content](crate::Problem::content) are not
    /// trained on; ids are unique in each file, and may coincide between the two.
    File {
        /// A file, as [`read_problems`](crate::data::read_problems) reads. Rows that cannot be read are left out, and
        /// problems are kept on disk, as those of the training file are.
        path: PathBuf,
        /// Names of its columns, where they differ from [`DataConfig::columns`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        columns: Option<Columns>,
    },
}

/// Problems to train on, and problems that are held out.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Split {
    /// Problems to train on.
    pub train: ProblemSet,
    /// Problems to evaluate on. None of them has the content of one to train on.
    pub held_out: ProblemSet,
    /// Training problems that are left out because they are held out under another id.
    pub removed: Vec<Removed>,
    /// Rows of a held-out file that are left out, because they cannot be read.
    pub dropped: Vec<DroppedRows>,
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
    /// Names the problems that are not trained on, with the reason, in one line; `None` when there
    /// are none.
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
    /// Splits `problems`, keeping their order. `data` applies to a held-out file.
    ///
    /// # Errors
    ///
    /// As [`DataConfig::read_file`], for a held-out file; errors of reading a problem.
    pub fn split(
        &self,
        problems: impl Into<ProblemSet>,
        data: &DataConfig,
    ) -> Result<Split, RolloutError> {
        let problems = problems.into();
        let mut dropped = Vec::new();
        let (train, held_out) = match self {
            Self::None => return Ok(Split { train: problems, ..Split::default() }),
            Self::Share { frac } => problems
                .partition(|problem| Ok::<_, RolloutError>(!is_held_out(&problem.id, *frac)))?,
            Self::File { path, columns } => {
                let file = DataFile { columns: columns.clone(), ..DataFile::new(path) };
                let read = data.read_file(&file)?;
                dropped = read.dropped;
                (problems, read.problems)
            }
        };
        let mut contents = HashMap::new();
        for (index, problem) in held_out.iter().enumerate() {
            contents.insert(problem?.content_hash(), index);
        }
        let mut removed = Vec::new();
        let train = train.filter(|problem| {
            let Some(&index) = contents.get(&problem.content_hash()) else { return Ok(true) };
            let held_out = held_out.at(index)?.id.clone();
            removed.push(Removed { id: problem.id.clone(), held_out });
            Ok::<_, RolloutError>(false)
        })?;
        Ok(Split { train, held_out, removed, dropped, unused: 0 })
    }
}

/// Whether the problem named `id` belongs to the held-out share `frac` of its data set.
///
/// The id is hashed. The first eight bytes of SHA-256 over its UTF-8 bytes, read as a big-endian
/// number and divided by 2⁶⁴, are below `frac`. So the answer is the same in every version, on every
/// machine, in any order and beside any other problems. A smaller share is a part of a larger one.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::Problem;

    fn problems(ids: &[String]) -> ProblemSet {
        ids.iter().map(|id| Problem::new(id, "?", "1")).collect()
    }

    fn ids(problems: &ProblemSet) -> std::collections::BTreeSet<String> {
        problems.iter().map(|problem| problem.unwrap().id.clone()).collect()
    }

    fn split_held_out(problems: &ProblemSet, frac: f64) -> (ProblemSet, ProblemSet) {
        problems
            .partition(|problem| Ok::<_, RolloutError>(!is_held_out(&problem.id, frac)))
            .expect("they are in memory")
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
            let (_, held) = split_held_out(&problems(&all), frac);
            let (_, same) = split_held_out(&problems(&reversed), frac);
            prop_assert_eq!(super::tests::ids(&held), super::tests::ids(&same));
            let fewer = &all[..keep.min(all.len())];
            let (_, part) = split_held_out(&problems(fewer), frac);
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
        let split =
            HeldOut::File { path, columns: None }.split(train, &DataConfig::default()).unwrap();
        assert_eq!(ids(&split.train).into_iter().collect::<Vec<_>>(), ["1"]);
        assert_eq!(split.held_out.len(), 2);
        assert_eq!(
            split.removed_line().unwrap(),
            "2 of 3 problems are not trained on, because a held-out problem asks the same; the first is \
             `x`, held out as `1`"
        );
        // The same question on both sides of a share.
        let all = (0..40).map(|id| Problem::new(id.to_string(), (id / 2).to_string(), "1"));
        let split = HeldOut::Share { frac: 0.5 }
            .split(all.collect::<ProblemSet>(), &DataConfig::default())
            .unwrap();
        let contents = |set: &ProblemSet| {
            set.iter().map(|problem| problem.unwrap().content()).collect::<Vec<_>>()
        };
        let held_out = contents(&split.held_out);
        assert!(contents(&split.train).iter().all(|content| !held_out.contains(content)));
        assert!(!split.removed.is_empty() && !split.train.is_empty());
        assert_eq!(split.train.len() + split.removed.len() + split.held_out.len(), 40);
    }

    #[test]
    fn shares_are_kept_and_nested() {
        let all = (0..4000).map(|index| format!("problem-{index}")).collect::<Vec<_>>();
        let (train, held) = split_held_out(&problems(&all), 0.1);
        assert_eq!(train.len() + held.len(), 4000);
        // 400 expected, with a deviation of 19.
        assert!((320..=480).contains(&held.len()), "{}", held.len());
        let (_, more) = split_held_out(&problems(&all), 0.2);
        assert!(ids(&held).is_subset(&ids(&more)));
        assert_eq!(held.sample_by_hash(held.len() + 1).unwrap().len(), held.len());
        let some = more.sample_by_hash(50).unwrap();
        assert_eq!(some.len(), 50);
        assert!(ids(&some).is_subset(&ids(&held)));
    }
}
