//! Reading a dump: one completion a line of JSON, or a row of Parquet.

use std::collections::BTreeMap;
use std::path::Path;

use hint_affinity::{AffinityAccumulator, AffinityError, ClipRange, HintTransfer, TeacherFit};
use serde_json::{Map, Value};

use crate::error::{DumpError, Place};
use crate::records;

/// Measurements of some of the completions.
#[derive(Debug)]
pub(crate) struct Table {
    /// Completions.
    pub(crate) rows: usize,
    /// Their trained tokens.
    pub(crate) tokens: AffinityAccumulator,
    /// The same, against the distribution that sampled them.
    pub(crate) behavior: AffinityAccumulator,
    /// The hinted prompt against the plain one.
    pub(crate) teacher: AffinityAccumulator,
    /// Completions on both prompts without a mark whether they are correct.
    pub(crate) unjudged: usize,
    /// Dependence of the correct completions on their hint.
    pub(crate) transfer: HintTransfer,
    /// Fit of the teacher to the tokens that the policy considers.
    pub(crate) fit: TeacherFit,
}

impl Table {
    fn new(clip: ClipRange) -> Self {
        let [tokens, behavior, teacher] = [(); 3].map(|()| AffinityAccumulator::new(clip));
        Self {
            rows: 0,
            tokens,
            behavior,
            teacher,
            unjudged: 0,
            transfer: HintTransfer::new(),
            fit: TeacherFit::new(),
        }
    }

    fn push(&mut self, row: &Row, place: Place) -> Result<(), DumpError> {
        self.rows += 1;
        let failed = |source| DumpError::Token { place, source };
        self.add(row).map_err(failed)
    }

    fn add(&mut self, row: &Row) -> Result<(), AffinityError> {
        self.tokens.extend(&row.log_ratios, &row.weights)?;
        if let Some(log_ratios) = &row.behavior {
            self.behavior.extend(log_ratios, &row.weights)?;
        }
        if let Some((plain, hinted)) = &row.prompts {
            let deltas: Vec<f64> = plain.iter().zip(hinted).map(|(p, q)| q - p).collect();
            self.teacher.extend(&deltas, &row.weights)?;
            match row.is_correct {
                Some(true) => self.transfer.push(plain, hinted)?,
                Some(false) => {}
                None => self.unjudged += 1,
            }
        }
        for top in &row.top {
            self.fit.push(&top.policy, &top.teacher, top.shared)?;
        }
        Ok(())
    }
}

/// Measurements of a whole dump.
#[derive(Debug)]
pub(crate) struct Report {
    /// Every completion.
    pub(crate) all: Table,
    /// By `source`, where completions have one.
    pub(crate) sources: BTreeMap<String, Table>,
    /// By `group`, where completions have one.
    pub(crate) groups: BTreeMap<String, Table>,
}

impl Report {
    /// Reads a file.
    pub(crate) fn read(path: &Path, clip: ClipRange) -> Result<Self, DumpError> {
        let (sources, groups) = (BTreeMap::new(), BTreeMap::new());
        let mut report = Self { all: Table::new(clip), sources, groups };
        records::for_each(path, |object, place| {
            let row = Row::new(object, place)?;
            report.all.push(&row, place)?;
            for (name, tables) in
                [(&row.source, &mut report.sources), (&row.group, &mut report.groups)]
            {
                if let Some(name) = name {
                    let table = tables.entry(name.clone()).or_insert_with(|| Table::new(clip));
                    table.push(&row, place)?;
                }
            }
            Ok(())
        })?;
        if report.all.rows == 0 {
            return Err(DumpError::Empty { path: path.to_path_buf() });
        }
        Ok(report)
    }
}

/// One completion: its trained tokens.
struct Row {
    log_ratios: Vec<f64>,
    weights: Vec<f64>,
    /// Log-ratios against the distribution that sampled.
    behavior: Option<Vec<f64>>,
    /// Log-probabilities on the plain and on the hinted prompt.
    prompts: Option<(Vec<f64>, Vec<f64>)>,
    is_correct: Option<bool>,
    top: Vec<TopTokens>,
    group: Option<String>,
    source: Option<String>,
}

impl Row {
    fn new(object: Map<String, Value>, place: Place) -> Result<Self, DumpError> {
        let fields = Fields { object, place };
        let logprobs = fields.numbers("logprobs")?;
        let count = logprobs.len();
        let old_logprobs =
            fields.of_length("old_logprobs", count, fields.numbers("old_logprobs")?)?;
        let advantages = match fields.object.get("advantages") {
            Some(Value::Number(_)) => vec![fields.number("advantages")?; count],
            _ => fields.of_length("advantages", count, fields.numbers("advantages")?)?,
        };
        let mask = match fields.object.get("mask") {
            None | Some(Value::Null) => vec![true; count],
            Some(_) => fields.of_length("mask", count, fields.flags("mask")?)?,
        };
        let kept = (0..count).filter(|&index| mask[index]).collect::<Vec<_>>();
        let trained = |field: &'static str| -> Result<Option<Vec<f64>>, DumpError> {
            if fields.get(field).is_null() {
                return Ok(None);
            }
            let values = fields.of_length(field, count, fields.numbers(field)?)?;
            Ok(Some(kept.iter().map(|&index| values[index]).collect()))
        };
        let behavior = trained("behavior_logprobs")?;
        let behavior = behavior.map(|sampled| {
            kept.iter().zip(sampled).map(|(&index, sampled)| logprobs[index] - sampled).collect()
        });
        let prompts = trained("plain_logprobs")?.zip(trained("hinted_logprobs")?);
        Ok(Self {
            log_ratios: kept.iter().map(|&index| logprobs[index] - old_logprobs[index]).collect(),
            weights: kept.iter().map(|&index| advantages[index].abs()).collect(),
            behavior,
            prompts,
            is_correct: match fields.get("correct") {
                Value::Null => None,
                value => Some(fields.flag("correct", "true or false, or 1 or 0", value)?),
            },
            top: fields.top(count, &kept)?,
            group: fields.name("group")?,
            source: fields.name("source")?,
        })
    }
}

/// The policy's most likely tokens at one position, in log-probabilities.
struct TopTokens {
    policy: Vec<f64>,
    teacher: Vec<f64>,
    /// Number of them among the teacher's own.
    shared: usize,
}

/// The fields of one completion.
struct Fields {
    object: Map<String, Value>,
    place: Place,
}

impl Fields {
    fn error(&self, field: &'static str, expected: &'static str, found: &Value) -> DumpError {
        DumpError::Field { place: self.place, field, expected, found: describe(found) }
    }

    fn get(&self, field: &str) -> &Value {
        self.object.get(field).unwrap_or(&Value::Null)
    }

    fn number(&self, field: &'static str) -> Result<f64, DumpError> {
        let value = self.get(field);
        value.as_f64().ok_or_else(|| self.error(field, "a number", value))
    }

    fn list(&self, field: &'static str, expected: &'static str) -> Result<&[Value], DumpError> {
        match self.get(field) {
            Value::Array(items) => Ok(items),
            other => Err(self.error(field, expected, other)),
        }
    }

    fn numbers(&self, field: &'static str) -> Result<Vec<f64>, DumpError> {
        const EXPECTED: &str = "a list of numbers";
        let items = self.list(field, EXPECTED)?.iter();
        items.map(|item| item.as_f64().ok_or_else(|| self.error(field, EXPECTED, item))).collect()
    }

    /// The most likely tokens at each position that trains, if the row has them.
    fn top(&self, count: usize, kept: &[usize]) -> Result<Vec<TopTokens>, DumpError> {
        const FIELDS: [&str; 2] = ["top_logprobs", "top_teacher_logprobs"];
        const EXPECTED: &str = "a list of lists of numbers";
        if FIELDS.iter().all(|field| self.get(field).is_null()) {
            return Ok(Vec::new());
        }
        let lists = |field: &'static str| -> Result<Vec<Vec<f64>>, DumpError> {
            let numbers = |item: &Value| -> Option<Vec<f64>> {
                item.as_array()?.iter().map(Value::as_f64).collect()
            };
            let items = self.list(field, EXPECTED)?.iter();
            let lists: Result<Vec<_>, _> = items
                .map(|item| numbers(item).ok_or_else(|| self.error(field, EXPECTED, item)))
                .collect();
            self.of_length(field, count, lists?)
        };
        let (policy, teacher) = (lists(FIELDS[0])?, lists(FIELDS[1])?);
        let whole = |item: &Value| {
            let whole = item.as_u64().and_then(|count| usize::try_from(count).ok());
            whole.ok_or_else(|| self.error("top_shared", "a list of whole numbers", item))
        };
        let shared = self.list("top_shared", "a list of whole numbers")?.iter();
        let shared = shared.map(whole).collect::<Result<Vec<_>, _>>()?;
        let shared = self.of_length("top_shared", count, shared)?;
        let at = |&index: &usize| TopTokens {
            policy: policy[index].clone(),
            teacher: teacher[index].clone(),
            shared: shared[index],
        };
        Ok(kept.iter().map(at).collect())
    }

    fn flags(&self, field: &'static str) -> Result<Vec<bool>, DumpError> {
        const EXPECTED: &str = "a list of true and false, or of 1 and 0";
        let items = self.list(field, EXPECTED)?.iter();
        items.map(|item| self.flag(field, EXPECTED, item)).collect()
    }

    fn flag(
        &self,
        field: &'static str,
        expected: &'static str,
        value: &Value,
    ) -> Result<bool, DumpError> {
        match (value.as_bool(), value.as_f64()) {
            (Some(flag), _) => Ok(flag),
            (_, Some(number)) if number == 0.0 || number == 1.0 => Ok(number == 1.0),
            _ => Err(self.error(field, expected, value)),
        }
    }

    fn of_length<T>(
        &self,
        field: &'static str,
        expected: usize,
        values: Vec<T>,
    ) -> Result<Vec<T>, DumpError> {
        let found = values.len();
        if found == expected {
            return Ok(values);
        }
        Err(DumpError::Length { place: self.place, field, found, expected })
    }

    fn name(&self, field: &'static str) -> Result<Option<String>, DumpError> {
        match self.get(field) {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            Value::Number(number) => Ok(Some(number.to_string())),
            other => Err(self.error(field, "a text or a number", other)),
        }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(items) => format!("a list of {} entries", items.len()),
        Value::Object(_) => "an object".to_owned(),
        other => format!("`{other}`"),
    }
}
