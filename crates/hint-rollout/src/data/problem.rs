//! One row of a data set.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::data::path::value_at;
use crate::error::RolloutError;

/// A message of a chat before the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Role of the speaker: `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

/// One row of a data set.
///
/// ```
/// use hint_rollout::Problem;
///
/// let problem = Problem::new("trays", "3 trays of 12 rolls, 20 are sold. Rest?", "16")
///     .with_hint("Find the total first.")
///     .with_level("2");
/// assert_eq!(problem.references().collect::<Vec<_>>(), ["16"]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Problem {
    /// Unique name of the problem within its data set.
    pub id: String,
    /// The question, as the policy sees it without a hint.
    pub question: String,
    /// Messages before the question in a chat, such as a message of the system. Usually empty.
    pub context: Vec<Turn>,
    /// The reference answer that completions are judged against.
    pub answer: String,
    /// Further reference answers, each of which is as good. Usually empty.
    pub accepted: Vec<String>,
    /// The Meta-Hint, if the data set has one.
    pub hint: Option<String>,
    /// A worked solution, if the data set has one.
    pub solution: Option<String>,
    /// Difficulty level, if the data set has one.
    pub level: Option<String>,
    /// Every other column.
    pub columns: BTreeMap<String, Value>,
}

/// Names under which [`Problem::hint`] is asked for, where no other column has them.
const HINT: [&str; 2] = ["abstract_hint", "hint"];
/// The same of [`Problem::solution`].
const SOLUTION: &str = "solution";

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
            context: Vec::new(),
            answer: answer.into(),
            accepted: Vec::new(),
            hint: None,
            solution: None,
            level: None,
            columns: BTreeMap::new(),
        }
    }

    /// Sets further reference answers, each of which is as good.
    #[must_use]
    pub fn with_accepted(mut self, accepted: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.accepted = accepted.into_iter().map(Into::into).collect();
        self
    }

    /// The reference answer and the further ones.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.answer).chain(&self.accepted).map(String::as_str)
    }

    /// Sets the Meta-Hint. A blank text counts as missing.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|text| !text.trim().is_empty());
        self
    }

    /// Sets the worked solution. A blank text counts as missing.
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

    /// The question and the messages of a chat before it, without the system's, with white space
    /// collapsed. Problems of equal content are the same problem, under any id.
    pub fn content(&self) -> String {
        let turns = self.context.iter().filter(|turn| turn.role != "system");
        let texts = turns.map(|turn| turn.content.as_str()).chain([self.question.as_str()]);
        texts.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }

    /// A hash of [`Problem::content`]. Problems of equal hashes have the same content.
    pub fn content_hash(&self) -> u128 {
        hash(&self.content())
    }

    /// The value of a column as text: `level`, or another column with a text, a number or a truth
    /// value. Its name may be a path with dots, also into JSON that is written as a text. `None` for other values, and
    /// for a missing column.
    pub fn text_of(&self, column: &str) -> Option<String> {
        if column == "level" {
            return self.level.clone();
        }
        let value = self.columns.get(column).map(Cow::Borrowed).or_else(|| {
            let (first, path) = column.split_once('.')?;
            value_at(self.columns.get(first)?, path)
        });
        match &*value? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    /// The text of a column that holds hints or demonstrations; `None` if it is blank. The reader takes the usual columns
    /// for [`Problem::hint`] and [`Problem::solution`], so their names stand for these.
    ///
    /// # Errors
    ///
    /// A column that is not there, since a misspelt name would otherwise switch hints off without a word.
    pub(crate) fn hint_text(&self, column: &str) -> Result<Option<&str>, RolloutError> {
        let text = match self.columns.get(column) {
            Some(Value::String(text)) => Some(text.as_str()),
            Some(Value::Null) => None,
            None if HINT.contains(&column) => self.hint.as_deref(),
            None if column == SOLUTION => self.solution.as_deref(),
            _ => return Err(self.missing_column(column)),
        };
        Ok(text.filter(|text| !text.trim().is_empty()))
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

/// The first half of SHA-256: texts of equal hashes are equal.
pub(crate) fn hash(text: &str) -> u128 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// Place of an id's hash in `[0, 1)`.
pub(crate) fn place(id: &str) -> f64 {
    // 53 bits are what an f64 holds; rounding up could reach 1.
    (hash(id) >> 75) as f64 / (1_u64 << 53) as f64
}
