//! The columns of the table: one list, from which the schema and the cells of a file follow.

use std::fmt::Write as _;

use hint_affinity::Affinity;
use hint_reward::Level;
use hint_reward::extract::AnswerSource;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedRowGroupWriter;

use super::RolloutRecord;

/// The cells of one column. Any may be absent.
pub(super) enum Cells<'r> {
    Integer(Vec<Option<i64>>),
    Real(Vec<Option<f64>>),
    Flag(Vec<Option<bool>>),
    Text(Vec<Option<&'r str>>),
    Tokens(Vec<Option<&'r [u32]>>),
    Logprobs(Vec<Option<&'r [f32]>>),
    Named(Vec<Vec<(&'r str, f64)>>),
}

/// The columns of `records`, in the order of the file.
pub(super) fn columns(records: &[RolloutRecord]) -> Vec<(&'static str, Cells<'_>)> {
    use Cells::{Flag, Integer, Logprobs, Named, Real, Text, Tokens};
    fn each<'r, T>(records: &'r [RolloutRecord], cell: impl Fn(&'r RolloutRecord) -> T) -> Vec<T> {
        records.iter().map(cell).collect()
    }
    let integer = |cell: fn(&RolloutRecord) -> u64| {
        Integer(each(records, |record| i64::try_from(cell(record)).ok()))
    };
    let real = |cell: fn(&RolloutRecord) -> Option<f64>| Real(each(records, cell));
    let affinity = |of: fn(&RolloutRecord) -> Option<Affinity>, part: fn(Affinity) -> f64| {
        Real(each(records, |record| of(record).map(part)))
    };
    vec![
        ("step", integer(|record| record.step)),
        ("group", integer(|record| record.group as u64)),
        ("completion", integer(|record| record.completion as u64)),
        ("problem", Text(each(records, |record| Some(record.problem.as_str())))),
        ("question", Text(each(records, |record| record.question.as_deref()))),
        ("reference", Text(each(records, |record| record.reference.as_deref()))),
        ("problem_level", Text(each(records, |record| record.problem_level.as_deref()))),
        ("role", Text(each(records, |record| Some(record.role.name())))),
        ("source", Text(each(records, |record| Some(record.source.name())))),
        ("hint", Text(each(records, |record| record.hint.as_deref()))),
        ("hint_share", real(|record| record.hint_share)),
        ("hint_leaks", Flag(each(records, |record| record.hint_leaks))),
        ("teacher_hint", Text(each(records, |record| record.teacher_hint.as_deref()))),
        ("contrast_hint", Text(each(records, |record| record.contrast_hint.as_deref()))),
        ("text", Text(each(records, |record| Some(record.text.as_str())))),
        ("prompt", Tokens(each(records, |record| Some(record.prompt.as_slice())))),
        ("sampled_prompt", Tokens(each(records, |record| record.sampled_prompt.as_deref()))),
        ("teacher_prompt", Tokens(each(records, |record| record.teacher_prompt.as_deref()))),
        ("tokens", Tokens(each(records, |record| Some(record.tokens.as_slice())))),
        ("untrained_tokens", Tokens(each(records, |record| record.untrained_tokens.as_deref()))),
        ("stop", Text(each(records, |record| Some(record.stop.name())))),
        ("version", integer(|record| record.version)),
        ("verdict", Text(each(records, |record| Some(record.verdict.name())))),
        ("extracted", Text(each(records, |record| record.extracted.as_deref()))),
        ("extracted_by", Text(each(records, |record| record.extracted_by.map(AnswerSource::name)))),
        ("level", Text(each(records, |record| record.level.map(Level::name)))),
        ("reason", Text(each(records, |record| record.reason.as_deref()))),
        ("reward", real(|record| Some(record.reward))),
        (
            "reward_parts",
            Named(each(records, |record| {
                record.reward_parts.iter().map(|(name, value)| (name.as_str(), *value)).collect()
            })),
        ),
        ("advantage", real(|record| record.advantage)),
        (
            "behavior_logprobs",
            Logprobs(each(records, |record| Some(record.behavior_logprobs.as_slice()))),
        ),
        ("logprobs", Logprobs(each(records, |record| record.logprobs.as_deref()))),
        ("old_logprobs", Logprobs(each(records, |record| record.old_logprobs.as_deref()))),
        ("plain_logprobs", Logprobs(each(records, |record| record.plain_logprobs.as_deref()))),
        ("ref_logprobs", Logprobs(each(records, |record| record.ref_logprobs.as_deref()))),
        ("teacher_logprobs", Logprobs(each(records, |record| record.teacher_logprobs.as_deref()))),
        (
            "contrast_logprobs",
            Logprobs(each(records, |record| record.contrast_logprobs.as_deref())),
        ),
        ("affinity_eur", affinity(|record| record.affinity, Affinity::eur)),
        ("affinity_uc", affinity(|record| record.affinity, Affinity::uc)),
        ("affinity", affinity(|record| record.affinity, Affinity::value)),
        ("behavior_affinity_eur", affinity(|record| record.behavior_affinity, Affinity::eur)),
        ("behavior_affinity_uc", affinity(|record| record.behavior_affinity, Affinity::uc)),
        ("behavior_affinity", affinity(|record| record.behavior_affinity, Affinity::value)),
        ("hinted_weight", real(|record| record.hinted_weight)),
    ]
}

/// The schema of columns, in Parquet's notation.
pub(super) fn schema(columns: &[(&'static str, Cells<'_>)]) -> String {
    let mut schema = "message rollouts {".to_owned();
    for (name, cells) in columns {
        let list = |element: &str| {
            format!(
                "optional group {name} (LIST) {{ repeated group list {{ required {element}; }} }}"
            )
        };
        let column = match cells {
            Cells::Integer(_) => format!("optional int64 {name};"),
            Cells::Real(_) => format!("optional double {name};"),
            Cells::Flag(_) => format!("optional boolean {name};"),
            Cells::Text(_) => format!("optional binary {name} (STRING);"),
            Cells::Tokens(_) => list("int32 element (INTEGER(32,false))"),
            Cells::Logprobs(_) => list("float element"),
            Cells::Named(_) => format!(
                "optional group {name} (MAP) {{ repeated group key_value {{ required binary key \
                 (STRING); required double value; }} }}"
            ),
        };
        let _ = write!(schema, " {column}");
    }
    schema + " }"
}

impl Cells<'_> {
    /// Writes the column.
    pub(super) fn write(
        &self,
        group: &mut SerializedRowGroupWriter<'_, std::fs::File>,
    ) -> Result<()> {
        match self {
            Self::Integer(cells) => flat::<Int64Type, _>(group, cells, |cell| *cell),
            Self::Real(cells) => flat::<DoubleType, _>(group, cells, |cell| *cell),
            Self::Flag(cells) => flat::<BoolType, _>(group, cells, |cell| *cell),
            Self::Text(cells) => flat::<ByteArrayType, _>(group, cells, |cell| text(cell)),
            // Parquet's unsigned 32-bit numbers are the bits of signed ones.
            Self::Tokens(cells) => {
                let levels = Levels::of(cells.iter().map(|cell| cell.map(<[u32]>::len)));
                let tokens = cells.iter().flatten().copied().flatten();
                leaf::<Int32Type>(
                    group,
                    &tokens.map(|id| id.cast_signed()).collect::<Vec<_>>(),
                    &levels,
                )
            }
            Self::Logprobs(cells) => {
                let levels = Levels::of(cells.iter().map(|cell| cell.map(<[f32]>::len)));
                leaf::<FloatType>(
                    group,
                    &cells.iter().flatten().copied().flatten().copied().collect::<Vec<_>>(),
                    &levels,
                )
            }
            Self::Named(cells) => {
                let levels = Levels::of(cells.iter().map(|cell| Some(cell.len())));
                let names = cells.iter().flatten().map(|(name, _)| text(name)).collect::<Vec<_>>();
                leaf::<ByteArrayType>(group, &names, &levels)?;
                let values = cells.iter().flatten().map(|(_, value)| *value).collect::<Vec<_>>();
                leaf::<DoubleType>(group, &values, &levels)
            }
        }
    }
}

fn text(cell: &str) -> ByteArray {
    ByteArray::from(cell.as_bytes().to_vec())
}

/// Writes cells without structure.
fn flat<T: DataType, C>(
    group: &mut SerializedRowGroupWriter<'_, std::fs::File>,
    cells: &[Option<C>],
    value: impl Fn(&C) -> T::T,
) -> Result<()> {
    let definition = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values = cells.iter().flatten().map(value).collect::<Vec<_>>();
    leaf::<T>(group, &values, &Levels { definition, repetition: None })
}

/// Positions of a column's values, in Parquet's encoding of nested data.
struct Levels {
    definition: Vec<i16>,
    repetition: Option<Vec<i16>>,
}

impl Levels {
    /// Of lists of these lengths; `None` is an absent list.
    fn of(lengths: impl Iterator<Item = Option<usize>>) -> Self {
        let (mut definition, mut repetition) = (Vec::new(), Vec::new());
        for length in lengths {
            match length {
                Some(length @ 1..) => {
                    definition.extend(std::iter::repeat_n(2, length));
                    repetition.push(0);
                    repetition.extend(std::iter::repeat_n(1, length - 1));
                }
                empty => {
                    definition.push(i16::from(empty.is_some()));
                    repetition.push(0);
                }
            }
        }
        Self { definition, repetition: Some(repetition) }
    }
}

/// Writes the next leaf of the schema.
fn leaf<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, std::fs::File>,
    values: &[T::T],
    levels: &Levels,
) -> Result<()> {
    let missing = || ParquetError::General("the schema has too few columns".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    let repetition = levels.repetition.as_deref();
    column.typed::<T>().write_batch(values, Some(&levels.definition), repetition)?;
    column.close()
}
