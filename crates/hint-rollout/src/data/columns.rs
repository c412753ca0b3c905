//! From the columns of a row to a problem.

use std::path::Path;

use hint_reward::extract::extract_boxed;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::data::path::{value_at, written};
use crate::data::problem::{Problem, Turn};
use crate::error::RolloutError;

/// Names of the columns. A name may be a path with dots, such as `reward_model.ground_truth`, also into an object that is
/// written as a JSON text. A column that is not given is looked for under its usual names.
///
/// | | usual names |
/// |---|---|
/// | question | `question`, `problem`, `prompt`, `query`, `instruction` (with `input`), `input` |
/// | answer | `answer`, `final_answer`, `ground_truth`, `reward_model.ground_truth`, `target`, `expected_answer`; without one, the solution's last line after `####`, or its last `\boxed{}` |
/// | accepted | `accepted_answers`, a text or a list: further answers that are as good |
/// | hint | `abstract_hint`, `hint`, `hints`, `medium_hint` |
/// | solution | `solution` |
/// | level | `level`, `difficulty` |
/// | id | `id`, `problem_id`, `unique_id`, `uuid` |
///
/// Case does not count where no name fits exactly. A question may be a list of chat messages, or that list as a JSON
/// text. Their contents are texts or lists of text parts. The last one of the user is the question, and those before it are
/// [`Problem::context`]. An answer may be a list, any item of which is accepted. An answer that ends with `#### 42`, as
/// in GSM8K, is `42`, and the text a solution.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    /// Column of the question.
    pub question: Option<String>,
    /// Column of the reference answer.
    pub answer: Option<String>,
    /// Column of further answers that are as good.
    pub accepted: Option<String>,
    /// Column of the hint.
    pub hint: Option<String>,
    /// Column of the worked solution.
    pub solution: Option<String>,
    /// Column of the difficulty level.
    pub level: Option<String>,
    /// Column of the id.
    pub id: Option<String>,
}

const QUESTION: [&str; 6] = ["question", "problem", "prompt", "query", "instruction", "input"];
const ANSWER: [&str; 6] = [
    "answer",
    "final_answer",
    "ground_truth",
    "reward_model.ground_truth",
    "target",
    "expected_answer",
];
const ACCEPTED: [&str; 1] = ["accepted_answers"];
const HINT: [&str; 4] = ["abstract_hint", "hint", "hints", "medium_hint"];
const SOLUTION: [&str; 1] = ["solution"];
const LEVEL: [&str; 2] = ["level", "difficulty"];
const ID: [&str; 4] = ["id", "problem_id", "unique_id", "uuid"];

/// Words for no text, which programs write in place of it.
const NOTHING: [&str; 7] = ["none", "null", "nan", "n/a", "na", "nil", "<na>"];

/// Most bytes of a text. Prompts of it are encoded, which takes a thousand times its memory.
const LONGEST_TEXT: usize = 1 << 22;

/// Whether a column of this name is recognized.
pub(super) fn is_usual(name: &str) -> bool {
    let names = [&QUESTION[..], &ANSWER, &ACCEPTED, &HINT, &SOLUTION, &LEVEL, &ID];
    names.iter().any(|names| names.iter().any(|usual| is_named(name, usual)))
}

fn is_named(column: &str, usual: &str) -> bool {
    column.trim().eq_ignore_ascii_case(usual)
}

/// Most columns that an error lists, and most letters of each.
const LISTED: (usize, usize) = (40, 60);

/// A row whose recognized columns are taken out.
struct Fields<'a> {
    row: Map<String, Value>,
    origin: &'a Path,
    number: usize,
}

impl Columns {
    /// The problem of a row. Without a column for it, its id is empty.
    pub(crate) fn problem(
        &self,
        row: Map<String, Value>,
        origin: &Path,
        number: usize,
    ) -> Result<Problem, RolloutError> {
        let mut fields = Fields { row, origin, number };
        let (context, mut question) = fields.question(self.question.as_deref())?;
        if let Some(input) = fields.row.get("input").and_then(Value::as_str)
            && self.question.is_none()
            && fields.row.get("instruction").is_none()
            && !input.trim().is_empty()
            && is_named(&question.1, "instruction")
        {
            question.0 = format!("{}\n{input}", question.0);
        }
        let question = question.0;
        let mut solution = fields.lines("solution", self.solution.as_deref(), &SOLUTION)?;
        let mut answers = fields.texts("answer", self.answer.as_deref(), &ANSWER)?.into_iter();
        let mut answer = answers.next();
        let mut accepted = answers.collect::<Vec<_>>();
        accepted.extend(fields.texts("accepted", self.accepted.as_deref(), &ACCEPTED)?);
        if let Some(text) = &answer
            && let Some((steps, last)) = text.rsplit_once("####")
        {
            let last = last.trim().to_owned();
            if solution.is_none() && !steps.trim().is_empty() {
                solution = Some(text.clone());
            }
            answer = Some(last);
        }
        if answer.is_none() {
            let found = |text| marked(text).or_else(|| extract_boxed(text)).map(str::to_owned);
            answer = solution.as_deref().and_then(found);
        }
        let answer = answer.filter(|answer| !answer.is_empty());
        let answer = answer.ok_or_else(|| fields.missing("answer", "a text or a number"))?;
        let hint = fields.lines("hint", self.hint.as_deref(), &HINT)?;
        let level = fields.text("level", self.level.as_deref(), &LEVEL)?;
        let before = context.iter().map(|turn| &turn.content);
        let questions = before.chain([&question]).map(|text| ("question", text));
        let others =
            [("answer", Some(&answer)), ("solution", solution.as_ref()), ("hint", hint.as_ref())];
        let others = others.into_iter().filter_map(|(name, text)| Some((name, text?)));
        if let Some((name, text)) =
            questions.chain(others).find(|(_, text)| text.len() > LONGEST_TEXT)
        {
            let found = format!("{} bytes", text.len());
            return Err(fields.error(name, "at most 4 MiB of text", found));
        }
        let id = fields.text("id", self.id.as_deref(), &ID)?.unwrap_or_default();
        let columns = fields.row.into_iter().collect();
        Ok(Problem { id, question, context, answer, accepted, hint, solution, level, columns })
    }
}

impl Fields<'_> {
    /// Takes a column out, by its name or its path. Null and blank texts count as missing.
    fn take(&mut self, path: &str) -> Option<Value> {
        let is_there = |value: &Value| match value {
            Value::Null => false,
            Value::String(text) => !text.trim().is_empty(),
            _ => true,
        };
        if self.row.contains_key(path) {
            return self.row.shift_remove(path).filter(is_there);
        }
        // Part of a column: the column stays.
        let (column, rest) = path.split_once('.')?;
        let found = value_at(self.row.get(column)?, rest)?;
        is_there(&found).then(|| found.into_owned())
    }

    /// The first of the columns that is there, with its name.
    fn first(
        &mut self,
        field: &'static str,
        named: Option<&str>,
        usual: &[&'static str],
    ) -> Result<Option<(Value, String)>, RolloutError> {
        let Some(path) = named else {
            let found = usual.iter().find_map(|name| Some((self.take(name)?, (*name).to_owned())));
            let in_other_case = |name: &&str| {
                let column = self.row.keys().find(|column| is_named(column, name))?.clone();
                let value = self.row[&column].clone();
                self.take(&column)?;
                // Rewards and hint sources may ask for the others by these names.
                if !matches!(field, "question" | "answer") {
                    self.row.insert(column.clone(), value.clone());
                }
                Some((value, column))
            };
            return Ok(found.or_else(|| usual.iter().find_map(in_other_case)));
        };
        match self.take(path) {
            Some(value) => Ok(Some((value, path.to_owned()))),
            None if matches!(field, "question" | "answer") => {
                Err(self.missing(field, &format!("a column `{path}`")))
            }
            None => Ok(None),
        }
    }

    fn text(
        &mut self,
        field: &'static str,
        named: Option<&str>,
        usual: &[&'static str],
    ) -> Result<Option<String>, RolloutError> {
        match self.first(field, named, usual)? {
            None => Ok(None),
            Some((Value::String(text), _)) => Ok(Some(text)),
            Some((Value::Number(number), _)) => Ok(Some(number.to_string())),
            Some((Value::Bool(value), _)) => Ok(Some(value.to_string())),
            Some((other, name)) => {
                let found = described_part(field, &name, &other);
                Err(self.error(&name, "a text or a number", found))
            }
        }
    }

    /// A text or a number, or a list of them. Blank ones are left out.
    fn texts(
        &mut self,
        field: &'static str,
        named: Option<&str>,
        usual: &[&'static str],
    ) -> Result<Vec<String>, RolloutError> {
        let Some((value, name)) = self.first(field, named, usual)? else { return Ok(Vec::new()) };
        let items = match value {
            Value::Array(items) => items,
            single => vec![single],
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Value::Null => {}
                Value::String(text) if text.trim().is_empty() => {}
                Value::String(text) => texts.push(text),
                Value::Number(number) => texts.push(number.to_string()),
                Value::Bool(value) => texts.push(value.to_string()),
                other => {
                    let expected = "a text or a number, or a list of them";
                    return Err(self.error(&name, expected, described_part(field, &name, &other)));
                }
            }
        }
        Ok(texts)
    }

    /// A text, or a list of texts, one per line. A word for no text is none.
    fn lines(
        &mut self,
        field: &'static str,
        named: Option<&str>,
        usual: &[&'static str],
    ) -> Result<Option<String>, RolloutError> {
        let mut texts = self.texts(field, named, usual)?;
        texts.retain(|text| !NOTHING.contains(&text.trim().to_lowercase().as_str()));
        Ok((!texts.is_empty()).then(|| texts.join("\n")))
    }

    /// The context of the question, and the question with the name of its column.
    fn question(
        &mut self,
        named: Option<&str>,
    ) -> Result<(Vec<Turn>, (String, String)), RolloutError> {
        match self.first("question", named, &QUESTION)? {
            None => Err(self.missing("question", "a text or chat messages")),
            Some((Value::String(text), name)) => match written_chat(&text) {
                Some(messages) => self.messages(messages, name),
                None if PYTHON_CHAT.iter().any(|start| text.trim_start().starts_with(start)) => {
                    let found = "chat messages as Python prints them; write them by `json.dumps`";
                    Err(self.error(&name, MESSAGES, found.to_owned()))
                }
                None => Ok((Vec::new(), (text, name))),
            },
            Some((Value::Number(number), name)) => Ok((Vec::new(), (number.to_string(), name))),
            Some((Value::Array(messages), name)) => self.messages(messages, name),
            Some((other, name)) => {
                let found = format!("{}{}", describe(&other), self.by_columns(&other));
                Err(self.error(&name, "a text", found))
            }
        }
    }

    /// The context and the question of a chat.
    fn messages(
        &self,
        messages: Vec<Value>,
        name: String,
    ) -> Result<(Vec<Turn>, (String, String)), RolloutError> {
        let turns = messages.iter().map(turn).collect::<Option<Vec<_>>>();
        let last = turns.as_ref().and_then(|turns| turns.last());
        match (turns.as_deref(), last) {
            (Some([context @ .., _]), Some(last)) if last.role == "user" => {
                Ok((context.to_vec(), (last.content.clone(), name)))
            }
            (_, Some(last)) => {
                let found = format!("messages that end with one of `{}`", last.role);
                Err(self.error(&name, MESSAGES, found))
            }
            _ => {
                let part = other_part(&messages).map(|part| format!("a part of type `{part}`"));
                let list = Value::Array(messages);
                let found = || format!("{}{}", describe(&list), self.by_columns(&list));
                Err(self.error(&name, MESSAGES, part.unwrap_or_else(found)))
            }
        }
    }

    /// Advice for a file with one row, whose columns hold the values of all rows.
    fn by_columns(&self, question: &Value) -> &'static str {
        let size = |value: &Value| match value {
            Value::Array(items) => items.len(),
            Value::Object(items) => items.len(),
            _ => 0,
        };
        let (found, mut others) = (size(question), self.row.values().map(size));
        let advice = "; a table by columns is not read: write its rows, as pandas' `to_json(orient=\"records\")` does";
        if found > 1 && others.all(|other| other == found) { advice } else { "" }
    }

    fn missing(&self, field: &str, expected: &str) -> RolloutError {
        let mut paths = Vec::new();
        leaves(&self.row, "", 0, &mut paths);
        let usual: &[_] = if field == "question" { &QUESTION } else { &ANSWER };
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let is_likely =
            |path: &&String| usual.iter().any(|name| is_named(&last(path), &last(name)));
        let likely = paths.iter().find(is_likely).map_or("COLUMN", String::as_str);
        let listed = paths.iter().take(LISTED.0).map(|path| {
            let cut = path.chars().take(LISTED.1).collect::<String>();
            if cut.len() < path.len() { format!("`{cut}…`") } else { format!("`{path}`") }
        });
        let columns = listed.collect::<Vec<_>>().join(", ");
        let columns = match paths.len().saturating_sub(LISTED.0) {
            0 if columns.is_empty() => "none".to_owned(),
            0 => columns,
            more => format!("{columns} and {more} more"),
        };
        let printed = self.row.iter().find(|(_, value)| value.as_str().is_some_and(is_printed));
        let printed = printed.map_or_else(String::new, |(name, _)| {
            let cut = name.chars().take(LISTED.1).collect::<String>();
            format!("; `{cut}` is an object as Python prints it: write it by `json.dumps`")
        });
        let found = format!(
            "nothing; further columns: {columns}; name one by `data.columns.{field} = \"{likely}\"`{printed}"
        );
        self.error(field, expected, found)
    }

    fn error(&self, field: &str, expected: &str, found: String) -> RolloutError {
        RolloutError::ProblemField {
            path: self.origin.to_path_buf(),
            line: self.number,
            field: field.to_owned(),
            expected: expected.to_owned(),
            found,
        }
    }
}

/// The answer of a solution whose last line begins with `####`, as in GSM8K. Headings are elsewhere.
fn marked(solution: &str) -> Option<&str> {
    let answer = solution.trim_end().lines().last()?.trim_start().strip_prefix("####")?;
    (!answer.starts_with('#') && !answer.trim().is_empty()).then(|| answer.trim())
}

/// Expected content of a chat.
const MESSAGES: &str = "a text, or messages of `role` and `content` that end with one of the user";

/// How a list of messages begins that Python printed.
const PYTHON_CHAT: [&str; 4] = ["[{'role'", "[{'content'", "{'role'", "{'content'"];

/// Whether a text begins as an object does that Python printed.
fn is_printed(text: &str) -> bool {
    text.trim_start().starts_with("{'")
}

/// The messages of a chat that is written as JSON in a text.
fn written_chat(text: &str) -> Option<Vec<Value>> {
    let Some(Value::Array(messages)) = written(text) else { return None };
    let is_message = |item: &Value| item.get("role").is_some() && item.get("content").is_some();
    (!messages.is_empty() && messages.iter().all(is_message)).then_some(messages)
}

/// The paths of all columns, those inside of objects included.
fn leaves(row: &Map<String, Value>, before: &str, depth: usize, into: &mut Vec<String>) {
    for (name, value) in row {
        let path = format!("{before}{name}");
        let read = value.as_str().and_then(written);
        match read.as_ref().unwrap_or(value) {
            Value::Object(inside) if depth < 2 && !inside.is_empty() => {
                leaves(inside, &format!("{path}."), depth + 1, into);
            }
            _ => into.push(path),
        }
    }
}

/// A message of a chat. Its content is a text, or a list of parts that are texts, each in a line of its own.
fn turn(message: &Value) -> Option<Turn> {
    let content = match message.get("content")? {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(part).collect::<Option<Vec<_>>>()?.join("\n"),
        _ => return None,
    };
    Some(Turn { role: message.get("role")?.as_str()?.to_owned(), content })
}

/// A part of a message, if it is a text.
fn part(part: &Value) -> Option<&str> {
    (part.get("type")?.as_str()? == "text").then(|| part.get("text")?.as_str()).flatten()
}

/// The type of the first part of a message that is no text.
fn other_part(messages: &[Value]) -> Option<&str> {
    let contents = messages.iter().filter_map(|message| message.get("content")?.as_array());
    let types = contents.flatten().filter_map(|part| part.get("type")?.as_str());
    types.into_iter().find(|name| *name != "text")
}

/// A value that is no text, with the key that would read its first part.
fn described_part(field: &str, name: &str, value: &Value) -> String {
    let mut paths = Vec::new();
    if let Value::Object(inside) = value {
        leaves(inside, &format!("{name}."), 1, &mut paths);
    }
    let advice = paths.first().map_or_else(String::new, |path| {
        format!("; name a part of it by `data.columns.{field} = \"{path}\"`")
    });
    format!("{}{advice}", describe(value))
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
