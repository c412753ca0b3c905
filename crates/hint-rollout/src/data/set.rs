//! Problems in memory or on disk.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::data::problem::{Problem, hash, place};
use crate::data::spill::{Spill, SpillWriter};
use crate::error::RolloutError;

/// Problems in a fixed order, in memory or on disk.
///
/// A `Vec` or an array keeps them in memory, a [`ProblemSet`] on disk where they are many. Numbers of a run depend on the
/// problems and their order, not on where they are kept. A run may read them on a second thread.
///
/// ```
/// use std::borrow::Cow;
///
/// use hint_rollout::{Problem, Problems, RolloutError};
///
/// /// Sums, made when they are read.
/// struct Sums;
///
/// impl Problems for Sums {
///     fn len(&self) -> usize {
///         100
///     }
///
///     fn at(&self, index: usize) -> Result<Cow<'_, Problem>, RolloutError> {
///         let (question, answer) = (format!("{index} + 1?"), (index + 1).to_string());
///         Ok(Cow::Owned(Problem::new(index.to_string(), question, answer)))
///     }
/// }
///
/// assert_eq!(Sums.at(3)?.answer, "4");
/// # Ok::<(), RolloutError>(())
/// ```
pub trait Problems: Sync {
    /// Number of problems.
    fn len(&self) -> usize;

    /// The problem at `index`, which is below [`Problems::len`].
    ///
    /// # Errors
    ///
    /// A problem that cannot be read.
    fn at(&self, index: usize) -> Result<Cow<'_, Problem>, RolloutError>;

    /// Whether the set is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The indices of the problems with these ids, in order, each with its id. Looks at every problem by default.
    ///
    /// # Errors
    ///
    /// As [`Problems::at`].
    fn find<'i>(&self, ids: &BTreeSet<&'i str>) -> Result<Vec<(usize, &'i str)>, RolloutError> {
        let mut found = Vec::new();
        for index in 0..self.len() {
            found.extend(ids.get(&*self.at(index)?.id).map(|id| (index, *id)));
        }
        Ok(found)
    }

    /// The indices of the problems that have a text in `column`, by that text. Looks at every problem by
    /// default.
    ///
    /// # Errors
    ///
    /// As [`Problems::at`].
    fn by_column(&self, column: &str) -> Result<Arc<ByText>, RolloutError> {
        let mut groups = ByText::new();
        for index in 0..self.len() {
            if let Some(text) = self.at(index)?.text_of(column) {
                groups.entry(text).or_default().push(index);
            }
        }
        Ok(Arc::new(groups))
    }
}

/// Indices of problems by the text of one of their columns.
pub type ByText = BTreeMap<String, Vec<usize>>;

impl dyn Problems + '_ {
    /// The problems in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Cow<'_, Problem>, RolloutError>> {
        (0..self.len()).map(|index| self.at(index))
    }
}

impl Problems for Vec<Problem> {
    fn len(&self) -> usize {
        self.len()
    }

    fn at(&self, index: usize) -> Result<Cow<'_, Problem>, RolloutError> {
        Ok(Cow::Borrowed(&self[index]))
    }
}

impl Problems for &[Problem] {
    fn len(&self) -> usize {
        <[Problem]>::len(self)
    }

    fn at(&self, index: usize) -> Result<Cow<'_, Problem>, RolloutError> {
        Ok(Cow::Borrowed(&self[index]))
    }
}

impl<const COUNT: usize> Problems for [Problem; COUNT] {
    fn len(&self) -> usize {
        COUNT
    }

    fn at(&self, index: usize) -> Result<Cow<'_, Problem>, RolloutError> {
        Ok(Cow::Borrowed(&self[index]))
    }
}

/// Problems, kept in a file beyond a limit of memory, and read again when they are asked for.
///
/// It takes some tens of bytes of memory for each problem on disk. Copies and parts share the problems.
#[derive(Debug, Clone, Default)]
pub struct ProblemSet {
    store: Arc<Store>,
    /// Problems of the store, ascending.
    members: Vec<u32>,
    /// The answer to [`Problems::by_column`], by the column that was asked for first.
    groups: OnceLock<(String, Arc<ByText>)>,
}

#[derive(Debug, Default)]
struct Store {
    kept: Vec<Problem>,
    /// Problems behind the kept ones.
    spill: Option<Spill>,
}

impl ProblemSet {
    fn part(&self, members: Vec<u32>) -> Self {
        Self { store: Arc::clone(&self.store), members, groups: OnceLock::new() }
    }

    /// Number of problems.
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the set is empty.
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Number of them on disk.
    pub fn on_disk(&self) -> usize {
        let kept = self.store.kept.len();
        self.members.len() - self.members.partition_point(|&member| (member as usize) < kept)
    }

    /// The problems in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Cow<'_, Problem>, RolloutError>> {
        self.members.iter().map(|&member| self.store.at(member))
    }

    /// The problems that `keep` returns true for.
    ///
    /// # Errors
    ///
    /// A problem that cannot be read, and the errors of `keep`.
    pub fn filter<E: From<RolloutError>>(
        &self,
        mut keep: impl FnMut(&Problem) -> Result<bool, E>,
    ) -> Result<Self, E> {
        Ok(self.partition(|problem| keep(problem))?.0)
    }

    /// The problems that `is_first` returns true for, and the others.
    ///
    /// # Errors
    ///
    /// As [`ProblemSet::filter`].
    pub fn partition<E: From<RolloutError>>(
        &self,
        mut is_first: impl FnMut(&Problem) -> Result<bool, E>,
    ) -> Result<(Self, Self), E> {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (problem, &member) in self.iter().zip(&self.members) {
            let part = if is_first(&*problem?)? { &mut first } else { &mut second };
            part.push(member);
        }
        Ok((self.part(first), self.part(second)))
    }

    /// The `count` problems whose ids hash lowest, in their order: a sample that depends only on the
    /// ids. All of them when there are fewer.
    ///
    /// # Errors
    ///
    /// A problem that cannot be read.
    pub fn sample_by_hash(&self, count: usize) -> Result<Self, RolloutError> {
        if self.len() <= count {
            return Ok(self.clone());
        }
        let places = self.iter().zip(&self.members).map(|(problem, &member)| {
            let id = problem?.id.clone();
            Ok((place(&id), id, member))
        });
        let mut places = places.collect::<Result<Vec<_>, RolloutError>>()?;
        places.sort_by(|left, right| left.0.total_cmp(&right.0).then_with(|| left.1.cmp(&right.1)));
        let mut members =
            places.into_iter().take(count).map(|(_, _, member)| member).collect::<Vec<_>>();
        members.sort_unstable();
        Ok(self.part(members))
    }

    /// All of them, in memory.
    ///
    /// # Errors
    ///
    /// A problem that cannot be read.
    pub fn to_vec(&self) -> Result<Vec<Problem>, RolloutError> {
        self.iter().map(|problem| problem.map(Cow::into_owned)).collect()
    }
}

impl Problems for ProblemSet {
    fn len(&self) -> usize {
        self.len()
    }

    fn at(&self, index: usize) -> Result<Cow<'_, Problem>, RolloutError> {
        self.store.at(self.members[index])
    }

    /// Reads no problem.
    fn find<'i>(&self, ids: &BTreeSet<&'i str>) -> Result<Vec<(usize, &'i str)>, RolloutError> {
        let keys = ids.iter().map(|id| (hash(id), *id)).collect::<HashMap<_, _>>();
        let id = |member: u32| {
            let index = member as usize;
            match (self.store.kept.get(index), &self.store.spill) {
                (None, Some(spill)) => keys.get(&spill.key(index - self.store.kept.len())).copied(),
                _ => ids.get(&*self.store.kept[index].id).copied(),
            }
        };
        let members = self.members.iter().enumerate();
        Ok(members.filter_map(|(index, member)| Some((index, id(*member)?))).collect())
    }

    fn by_column(&self, column: &str) -> Result<Arc<ByText>, RolloutError> {
        if let Some((_, groups)) = self.groups.get().filter(|(known, _)| known == column) {
            return Ok(Arc::clone(groups));
        }
        let mut groups = ByText::new();
        for (index, problem) in self.iter().enumerate() {
            if let Some(text) = problem?.text_of(column) {
                groups.entry(text).or_default().push(index);
            }
        }
        let groups = Arc::new(groups);
        let _ = self.groups.set((column.to_owned(), Arc::clone(&groups)));
        Ok(groups)
    }
}

impl From<Vec<Problem>> for ProblemSet {
    fn from(kept: Vec<Problem>) -> Self {
        let members = (0..).take(kept.len()).collect();
        let store = Arc::new(Store { kept, spill: None });
        Self { store, members, groups: OnceLock::new() }
    }
}

impl FromIterator<Problem> for ProblemSet {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        problems.into_iter().collect::<Vec<_>>().into()
    }
}

impl Store {
    fn at(&self, member: u32) -> Result<Cow<'_, Problem>, RolloutError> {
        let index = member as usize;
        match (self.kept.get(index), &self.spill) {
            (None, Some(spill)) => spill.read(index - self.kept.len()).map(Cow::Owned),
            _ => Ok(Cow::Borrowed(&self.kept[index])),
        }
    }
}

/// Makes a [`ProblemSet`] of problems one after the other.
///
/// ```
/// use hint_rollout::Problem;
/// use hint_rollout::data::ProblemSetBuilder;
///
/// # fn main() -> Result<(), hint_rollout::RolloutError> {
/// // Two kilobytes in memory, the rest in a file of the system's folder for temporary files.
/// let mut builder = ProblemSetBuilder::new(2048, None);
/// for number in 0..100 {
///     builder.push(Problem::new(number.to_string(), format!("{number} + 1"), (number + 1).to_string()))?;
/// }
/// let problems = builder.finish()?;
/// assert_eq!(problems.len(), 100);
/// assert!(problems.on_disk() > 50);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ProblemSetBuilder<'d> {
    kept: Vec<Problem>,
    /// Bytes that problems may still take.
    room: u64,
    dir: Option<&'d Path>,
    spill: Option<SpillWriter>,
}

impl<'d> ProblemSetBuilder<'d> {
    /// Keeps problems of about `memory` bytes in memory, and the rest in a file without a name. The file is in `dir`,
    /// or in the system's folder for temporary files. It goes when the set does, or the process.
    pub const fn new(memory: u64, dir: Option<&'d Path>) -> Self {
        Self { kept: Vec::new(), room: memory, dir, spill: None }
    }

    /// Adds a problem.
    ///
    /// # Errors
    ///
    /// [`RolloutError::SpillProblems`].
    pub fn push(&mut self, problem: Problem) -> Result<(), RolloutError> {
        if self.spill.is_none() {
            match self.room.checked_sub(size(&problem)) {
                Some(room) => {
                    self.room = room;
                    self.kept.push(problem);
                    return Ok(());
                }
                None => self.spill = Some(SpillWriter::create(self.dir)?),
            }
        }
        match &mut self.spill {
            Some(spill) => spill.push(&problem, hash(&problem.id)),
            None => Ok(()),
        }
    }

    /// The set of all of them.
    ///
    /// # Errors
    ///
    /// [`RolloutError::SpillProblems`].
    pub fn finish(self) -> Result<ProblemSet, RolloutError> {
        let spill = self.spill.map(SpillWriter::finish).transpose()?;
        let count = self.kept.len() + spill.as_ref().map_or(0, Spill::len);
        let members = (0..).take(count).collect();
        let store = Arc::new(Store { kept: self.kept, spill });
        Ok(ProblemSet { store, members, groups: OnceLock::new() })
    }
}

/// About how much memory a problem takes, in bytes.
fn size(problem: &Problem) -> u64 {
    let Problem { id, question, context, answer, accepted, hint, solution, level, columns } =
        problem;
    let turns = context.iter().flat_map(|turn| [&turn.role, &turn.content]);
    let texts = [id, question, answer].into_iter().chain(turns).chain(accepted);
    let texts = texts.chain(hint).chain(solution).chain(level).map(|text| text.len() + TEXT);
    let columns = columns.iter().map(|(name, value)| name.len() + TEXT + size_of_value(value));
    (size_of::<Problem>() + texts.chain(columns).sum::<usize>()) as u64
}

/// The memory of a text beside its bytes.
const TEXT: usize = size_of::<String>() + 2 * size_of::<usize>();

fn size_of_value(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size_of_value).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + TEXT + size_of_value(value)).sum()
        }
        _ => 0,
    };
    size_of::<Value>() + inside
}
