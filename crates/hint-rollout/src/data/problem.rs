//! Problems and their JSONL reader.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;

use crate::error::RolloutError;
use crate::run::fnv1a;

/// One row of a data set.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Problem {
    /// Unique name of the problem within its data set.
    pub id: String,
    /// The question, as the policy sees it without a hint.
    pub question: String,
    /// The reference answer that completions are judged against.
    pub answer: String,
    /// The Meta-Hint, if the data set has one.
    pub hint: Option<String>,
    /// A worked solution, if the data set has one.
    pub solution: Option<String>,
    /// Difficulty level, if the data set has one.
    pub level: Option<String>,
    /// Every other column.
    pub columns: BTreeMap<String, Value>,
}

impl Problem {
    /// A problem without hint, solution, level or further columns.
    pub fn new(
        id: impl Into<String>,
        question: impl Into<String>,
        answer: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            question: question.into(),
            answer: answer.into(),
            hint: None,
            solution: None,
            level: None,
            columns: BTreeMap::new(),
        }
    }

    /// Sets the Meta-Hint. A blank text is none.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|text| !text.trim().is_empty());
        self
    }

    /// Sets the worked solution. A blank text is none.
    #[must_use]
    pub fn with_solution(mut self, solution: impl Into<String>) -> Self {
        self.solution = Some(solution.into()).filter(|text| !text.trim().is_empty());
        self
    }

    /// Sets the difficulty level.
    #[must_use]
    pub fn with_level(mut self, level: impl Into<String>) -> Self {
        self.level = Some(level.into());
        self
    }

    /// The value of a column as text: `level`, or a text, a number or a truth value of another
    /// column. `None` for others, and where there is none.
    pub fn text_of(&self, column: &str) -> Option<String> {
        if column == "level" {
            return self.level.clone();
        }
        match self.columns.get(column)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    /// The error for a text column that a hint was asked for by and that is not there.
    pub(crate) fn missing_column(&self, column: &str) -> RolloutError {
        RolloutError::HintColumn {
            problem: self.id.clone(),
            column: column.to_owned(),
            available: self.columns.keys().cloned().collect::<Vec<_>>().join(", "),
        }
    }
}

/// Reads problems from a JSONL file in the HINT format: one object a line with `question` (or
/// `problem`), `answer`, and optionally `abstract_hint` (or `hint`), `solution`, `level` and `id`.
///
/// Numbers are accepted as answers, ids and levels. A problem without `id` gets one that is made
/// from its question. Blank lines are skipped; any other column ends up in [`Problem::columns`].
///
/// # Errors
///
/// [`RolloutError::ReadProblems`], [`RolloutError::ProblemSyntax`],
/// [`RolloutError::ProblemField`], [`RolloutError::DuplicateProblem`] or
/// [`RolloutError::NoProblems`], each naming the file and, where there is one, the line.
pub fn read_problems(path: impl AsRef<Path>) -> Result<Vec<Problem>, RolloutError> {
    let path = path.as_ref();
    let bytes = std::fs::read(path)
        .map_err(|source| RolloutError::ReadProblems { path: path.to_path_buf(), source })?;
    let text = String::from_utf8(bytes).map_err(|source| RolloutError::ReadProblems {
        path: path.to_path_buf(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, source.utf8_error()),
    })?;
    parse_problems(&text, path)
}

/// Parses the text of a problem file; `origin` is the file that errors name.
///
/// # Errors
///
/// As [`read_problems`].
pub fn parse_problems(text: &str, origin: &Path) -> Result<Vec<Problem>, RolloutError> {
    let mut problems = Vec::new();
    let mut first_lines = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start_matches('\u{feff}');
        if line.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        let mut problem = parse_line(line, origin, number)?;
        if problem.id.is_empty() {
            problem.id = format!("{:016x}", fnv1a(problem.question.as_bytes()));
            // Data sets repeat questions; only an explicit id promises to be unique.
            if first_lines.contains_key(&problem.id) {
                problem.id = format!("{}-{number}", problem.id);
            }
        }
        if let Some(first_line) = first_lines.insert(problem.id.clone(), number) {
            return Err(RolloutError::DuplicateProblem {
                path: origin.to_path_buf(),
                line: number,
                first_line,
                id: problem.id,
            });
        }
        problems.push(problem);
    }
    if problems.is_empty() {
        return Err(RolloutError::NoProblems { path: origin.to_path_buf() });
    }
    Ok(problems)
}

fn parse_line(line: &str, origin: &Path, number: usize) -> Result<Problem, RolloutError> {
    let mut columns: BTreeMap<String, Value> = serde_json::from_str(line).map_err(|source| {
        RolloutError::ProblemSyntax { path: origin.to_path_buf(), line: number, source }
    })?;
    let mut fields = Fields { columns: &mut columns, origin, number, is_blank: false };
    let question = fields.required("question|problem", &["question", "problem"], "a text")?;
    let answer = fields.required("answer", &["answer"], "a text or a number")?;
    let hint = fields.optional("abstract_hint|hint", &["abstract_hint", "hint"])?;
    let solution = fields.optional("solution", &["solution"])?;
    let level = fields.optional("level", &["level"])?;
    let id = fields.optional("id", &["id"])?.unwrap_or_default();
    Ok(Problem { id, question, answer, hint, solution, level, columns })
}

/// The columns of one line, taken out as they are recognized.
struct Fields<'a> {
    columns: &'a mut BTreeMap<String, Value>,
    origin: &'a Path,
    number: usize,
    /// Whether a blank text was passed over: it is none.
    is_blank: bool,
}

impl Fields<'_> {
    fn required(
        &mut self,
        field: &'static str,
        names: &[&str],
        expected: &'static str,
    ) -> Result<String, RolloutError> {
        self.is_blank = false;
        let found = self.optional(field, names)?;
        let missing = if self.is_blank { "an empty text" } else { "nothing" };
        found.ok_or_else(|| self.error(field, expected, missing.to_owned()))
    }

    fn optional(
        &mut self,
        field: &'static str,
        names: &[&str],
    ) -> Result<Option<String>, RolloutError> {
        for name in names {
            match self.columns.remove(*name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) if text.trim().is_empty() => {
                    self.is_blank = true;
                }
                Some(Value::String(text)) => return Ok(Some(text)),
                Some(Value::Number(number)) => return Ok(Some(number.to_string())),
                Some(other) => {
                    return Err(self.error(field, "a text or a number", describe(&other)));
                }
            }
        }
        Ok(None)
    }

    fn error(&self, field: &'static str, expected: &'static str, found: String) -> RolloutError {
        RolloutError::ProblemField {
            path: self.origin.to_path_buf(),
            line: self.number,
            field,
            expected,
            found,
        }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(_) => "a text".to_owned(),
        Value::Array(items) => format!("a list of {} items", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}
