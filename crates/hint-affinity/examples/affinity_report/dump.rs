//! Reading a dump: one completion a line of JSON, or a row of Parquet.

use std::collections::BTreeMap;
use std::path::Path;

use hint_affinity::{AffinityAccumulator, ClipRange};
use serde_json::{Map, Value};

use crate::error::{DumpError, Place};
use crate::records;

/// What some of the completions measure.
#[derive(Debug)]
pub(crate) struct Table {
    /// Completions.
    pub(crate) rows: usize,
    /// Their trained tokens.
    pub(crate) tokens: AffinityAccumulator,
}

impl Table {
    fn new(clip: ClipRange) -> Self {
        Self { rows: 0, tokens: AffinityAccumulator::new(clip) }
    }

    fn push(&mut self, row: &Row, place: Place) -> Result<(), DumpError> {
        self.rows += 1;
        let failed = |source| DumpError::Token { place, source };
        self.tokens.extend(&row.log_ratios, &row.weights).map_err(failed)
    }
}

/// What a whole dump measures.
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
        Ok(Self {
            log_ratios: kept.iter().map(|&index| logprobs[index] - old_logprobs[index]).collect(),
            weights: kept.iter().map(|&index| advantages[index].abs()).collect(),
            group: fields.name("group")?,
            source: fields.name("source")?,
        })
    }
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

    fn flags(&self, field: &'static str) -> Result<Vec<bool>, DumpError> {
        const EXPECTED: &str = "a list of true and false, or of 1 and 0";
        let flag = |item: &Value| match (item.as_bool(), item.as_f64()) {
            (Some(flag), _) => Ok(flag),
            (_, Some(number)) if number == 0.0 || number == 1.0 => Ok(number == 1.0),
            _ => Err(self.error(field, EXPECTED, item)),
        };
        self.list(field, EXPECTED)?.iter().map(flag).collect()
    }

    fn of_length<T>(
        &self,
        field: &'static str,
        expected: usize,
        values: Vec<T>,
    ) -> Result<Vec<T>, DumpError> {
        let got = values.len();
        if got == expected {
            return Ok(values);
        }
        Err(DumpError::Length { place: self.place, field, got, expected })
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
