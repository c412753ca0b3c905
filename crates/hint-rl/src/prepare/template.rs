//! One symbolic template: a problem, and the recipe for more of its kind.
//!
//! `question_annotated` holds the question with `{name,default}` placeholders, then `#init:` lines
//! that say where values come from and `#conditions:` that they must meet. `answer_annotated` holds
//! the worked answer with `{expression}` placeholders.

use std::collections::BTreeMap;
use std::path::Path;

use rand::{Rng, RngExt};
use serde::Deserialize;

use super::error::SourceError;
use super::expression::{Expression, Node, Value, Variables, evaluate, number_of};
use super::number::Number;

/// Draws that may fail in a row before a template counts as exhausted. The tightest conditions of
/// the published templates hold about once in ten thousand draws.
const MAX_TRIES: usize = 200_000;

/// A range with more values than this is refused, so that no file makes us fill the memory.
const MAX_RANGE: usize = 1_000_000;

/// The text of a template file; fields we do not use are ignored.
#[derive(Debug, Clone, Deserialize)]
struct TemplateFile {
    question: String,
    answer: String,
    question_annotated: String,
    answer_annotated: String,
}

/// A problem and its annotations.
#[derive(Debug, Clone)]
pub struct Template {
    /// Name of the file without its extension, such as `0007`.
    pub id: String,
    /// The original problem.
    pub base: Instance,
    recipe: Result<Recipe, String>,
}

/// A question with its worked answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The question.
    pub question: String,
    /// The worked answer, with `<<6*2=12>>` marks and without the `####` line.
    pub solution: String,
    /// What follows `####`.
    pub answer: String,
}

#[derive(Debug, Clone)]
struct Recipe {
    question: Vec<Piece>,
    answer: Vec<Piece>,
    /// The `#answer:` expression, where it is one that we can evaluate.
    result: Option<Expression>,
    lines: Vec<Line>,
    conditions: Vec<Expression>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Hole(Expression),
}

/// One `#init:` line.
#[derive(Debug, Clone)]
struct Line {
    names: Vec<String>,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Origin {
    /// One of these rows; a row has a value for each name.
    OneOf(Vec<Vec<Value>>),
    /// Different items, one for each name.
    Distinct(Vec<Value>),
    /// Computed from earlier lines.
    Derived(Expression),
}

impl Template {
    /// Parses a template file. `replacements` are the lists that `#init:` lines may name.
    ///
    /// Annotations that cannot be used do not make the problem unusable: see [`Self::unsupported`].
    ///
    /// # Errors
    ///
    /// [`SourceError::Field`] if the file is no template or the answer has no `####` line.
    pub fn parse(
        id: &str,
        file: &Path,
        text: &str,
        replacements: &Variables,
    ) -> Result<Self, SourceError> {
        let fail = |field: &str, reason: String| SourceError::Field {
            file: file.to_path_buf(),
            field: field.to_owned(),
            reason,
        };
        let parsed: TemplateFile =
            toml::from_str(text).map_err(|error| fail("(file)", error.message().to_owned()))?;
        let base = Instance::from_texts(parsed.question.trim(), &parsed.answer)
            .ok_or_else(|| fail("answer", "has no line `#### RESULT`".to_owned()))?;
        let recipe = Recipe::parse(&parsed, replacements);
        let recipe = recipe.and_then(|(recipe, defaults)| {
            let instance = recipe.instance(&defaults).map_err(|error| error.to_string())?;
            if Number::parse(&instance.answer) == Number::parse(&base.answer) {
                Ok(recipe)
            } else {
                Err(format!(
                    "the annotated answer gives {} for the original values, the answer is {}",
                    instance.answer, base.answer
                ))
            }
        });
        Ok(Self { id: id.to_owned(), base, recipe })
    }

    /// Why no instances can be drawn, or `None` if they can.
    pub fn unsupported(&self) -> Option<&str> {
        self.recipe.as_ref().err().map(String::as_str)
    }

    /// Draws `count` instances that differ from each other and from the original.
    ///
    /// The first instances are the same whatever `count` is.
    ///
    /// # Errors
    ///
    /// [`SourceError::Expression`] if the annotations cannot be used,
    /// [`SourceError::Exhausted`] if there seem to be no more instances.
    pub fn draw<R: Rng>(&self, count: usize, rng: &mut R) -> Result<Vec<Instance>, SourceError> {
        let recipe = self.recipe.as_ref().map_err(|reason| SourceError::Expression {
            text: self.id.clone(),
            reason: reason.clone(),
        })?;
        let mut instances: Vec<Instance> = Vec::with_capacity(count.min(1024));
        let mut tries = 0;
        while instances.len() < count {
            tries += 1;
            if tries > MAX_TRIES {
                return Err(SourceError::Exhausted { id: self.id.clone(), tries: MAX_TRIES });
            }
            let Some(instance) = recipe.try_draw(rng) else { continue };
            if instance.question != self.base.question
                && instances.iter().all(|other| other.question != instance.question)
            {
                instances.push(instance);
                tries = 0;
            }
        }
        Ok(instances)
    }
}

impl Instance {
    fn from_texts(question: &str, answer: &str) -> Option<Self> {
        let (solution, result) = answer.rsplit_once("####")?;
        let result = result.trim().replace(',', "");
        if result.is_empty() {
            return None;
        }
        Some(Self {
            question: question.to_owned(),
            solution: solution.trim().to_owned(),
            answer: result,
        })
    }
}

impl Recipe {
    /// The recipe and the values of the original problem.
    fn parse(file: &TemplateFile, replacements: &Variables) -> Result<(Self, Variables), String> {
        let text = file.question_annotated.trim();
        let (question, rest) = text.split_once("#init:").ok_or("there is no `#init:`")?;
        let (rest, result) = rest.split_once("#answer:").unwrap_or((rest, ""));
        let (init, conditions) = rest.split_once("#conditions:").unwrap_or((rest, ""));
        let (question, mut defaults) = question_pieces(question.trim())?;
        let lines = entries(init)
            .map(|entry| Line::parse(entry, replacements))
            .collect::<Result<Vec<_>, _>>()?;
        let conditions = entries(conditions)
            .map(Expression::parse)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        for line in &lines {
            line.complete(&mut defaults)?;
        }
        let answer = answer_pieces(file.answer_annotated.trim())?;
        let result = Expression::parse(result).ok();
        Ok((Self { question, answer, result, lines, conditions }, defaults))
    }

    /// One draw of all values; `None` if it breaks a condition or does not read well.
    fn try_draw<R: Rng>(&self, rng: &mut R) -> Option<Instance> {
        let mut variables = Variables::new();
        for line in &self.lines {
            line.draw(rng, &mut variables)?;
        }
        // A condition that cannot be evaluated, such as a division by zero, does not hold.
        let holds = |condition: &Expression| condition.is_true(&variables).unwrap_or(false);
        if !self.conditions.iter().all(holds) {
            return None;
        }
        let instance = self.instance(&variables).ok()?;
        let number = Number::parse(&instance.answer)?;
        // The two annotations of the answer check each other.
        let agrees = match self.result.as_ref().map(|result| result.evaluate(&variables)) {
            Some(Ok(Value::Number(result))) => result == number,
            _ => true,
        };
        agrees.then_some(instance)
    }

    fn instance(&self, variables: &Variables) -> Result<Instance, SourceError> {
        let question = capitalize_sentences(&render(&self.question, variables)?);
        let answer = capitalize_sentences(&render(&self.answer, variables)?);
        Instance::from_texts(&question, &answer).ok_or_else(|| SourceError::Expression {
            text: "answer_annotated".to_owned(),
            reason: "has no line `#### RESULT`".to_owned(),
        })
    }
}

impl Line {
    fn parse(entry: &str, replacements: &Variables) -> Result<Self, String> {
        let (left, right) = entry.split_once('=').ok_or_else(|| format!("`{entry}` has no `=`"))?;
        let names: Vec<String> = left
            .split(',')
            .map(|name| name.trim_matches(['(', ')', '$', ' ']).to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        let expression = Expression::parse(right).map_err(|error| error.to_string())?;
        let origin = match expression.as_call() {
            Some((function, args)) => origin_of_call(function, args, names.len(), replacements)
                .map_err(|reason| format!("`{entry}`: {reason}"))?,
            None => Some(Origin::Derived(expression.clone())),
        };
        Ok(Self { names, origin: origin.unwrap_or(Origin::Derived(expression)) })
    }

    fn draw<R: Rng>(&self, rng: &mut R, variables: &mut Variables) -> Option<()> {
        match &self.origin {
            Origin::OneOf(rows) => {
                if rows.is_empty() {
                    return None;
                }
                let row = &rows[rng.random_range(0..rows.len())];
                variables.extend(self.names.iter().cloned().zip(row.iter().cloned()));
            }
            Origin::Distinct(items) => {
                let mut left: Vec<&Value> = items.iter().collect();
                for name in &self.names {
                    if left.is_empty() {
                        return None;
                    }
                    let item = left.swap_remove(rng.random_range(0..left.len()));
                    variables.insert(name.clone(), item.clone());
                }
            }
            Origin::Derived(expression) => {
                let value = expression.evaluate(variables).ok()?;
                variables.insert(self.names.first()?.clone(), value);
            }
        }
        Some(())
    }

    /// Fills in the values that the original question does not show.
    fn complete(&self, defaults: &mut Variables) -> Result<(), String> {
        let Some(missing) = self.names.iter().find(|name| !defaults.contains_key(*name)) else {
            return Ok(());
        };
        match &self.origin {
            Origin::OneOf(rows) => {
                let agrees = |row: &&Vec<Value>| {
                    let mut pairs = self.names.iter().zip(row.iter());
                    pairs.all(|(name, value)| defaults.get(name).is_none_or(|d| d == value))
                };
                let mut matching = rows.iter().filter(agrees);
                match (matching.next(), matching.next()) {
                    (Some(row), None) => {
                        let pairs = self.names.iter().cloned().zip(row.iter().cloned());
                        defaults.extend(pairs.collect::<Vec<_>>());
                        Ok(())
                    }
                    (None, _) => Err(format!("no value of `{missing}` fits the original question")),
                    _ => Err(format!("the original value of `{missing}` is ambiguous")),
                }
            }
            Origin::Distinct(_) => Err(format!("the original value of `{missing}` is not shown")),
            Origin::Derived(expression) => {
                let value = expression.evaluate(defaults).map_err(|error| error.to_string())?;
                defaults.insert(missing.clone(), value);
                Ok(())
            }
        }
    }
}

/// Reads the lists of `replacements.json`.
///
/// # Errors
///
/// [`SourceError::Field`] if the text is no object of lists.
pub fn parse_replacements(file: &Path, text: &str) -> Result<Variables, SourceError> {
    let lists: BTreeMap<String, Vec<serde_json::Value>> =
        serde_json::from_str(text).map_err(|error| SourceError::Field {
            file: file.to_path_buf(),
            field: "(file)".to_owned(),
            reason: format!("{error}, expected an object of lists"),
        })?;
    let value = |value: &serde_json::Value| plain_value(value);
    Ok(lists
        .into_iter()
        .map(|(name, items)| (name, Value::List(items.iter().map(value).collect())))
        .collect())
}

fn plain_value(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Array(items) => Value::List(items.iter().map(plain_value).collect()),
        serde_json::Value::String(text) => Value::read(text),
        other => Value::read(&other.to_string()),
    }
}

/// `None` for a function that computes rather than draws.
fn origin_of_call(
    function: &str,
    args: &[Node],
    names: usize,
    replacements: &Variables,
) -> Result<Option<Origin>, String> {
    let values: Vec<Value> = match function {
        "sample" | "sample_sequential" | "range" | "range_str" | "arange" => {
            args.iter().map(|arg| list_or_value(arg, replacements)).collect::<Result<_, _>>()?
        }
        _ => return Ok(None),
    };
    let number = |at: usize, default: Option<Number>| match values.get(at) {
        Some(value) => number_of(value.clone()),
        None => default.ok_or_else(|| format!("argument {at} is missing")),
    };
    let list = |at: usize| match values.get(at) {
        Some(Value::List(items)) if !items.is_empty() => Ok(items.clone()),
        _ => Err(format!("argument {at} is no list with items")),
    };
    let one = Some(Number::whole(1));
    let origin = match function {
        "sample" if number(1, one)? == Number::whole(1) => {
            let rows = list(0)?.into_iter().map(|item| row(item, names));
            Origin::OneOf(rows.collect::<Result<_, _>>()?)
        }
        "sample" => Origin::Distinct(list(0)?.into_iter().map(read_text).collect()),
        "sample_sequential" => {
            let items = list(0)?;
            let window = |start: usize| {
                (0..names).map(|i| items[(start + i) % items.len()].clone()).collect()
            };
            Origin::OneOf((0..items.len()).map(window).collect())
        }
        "range_str" => {
            let words = list(3)?;
            let rows = range(number(0, None)?, number(1, None)?, number(2, one)?, false)?
                .into_iter()
                .filter_map(|value| {
                    let at = usize::try_from(value.as_whole()?.checked_sub(1)?).ok()?;
                    Some(vec![words.get(at)?.clone(), Value::Number(value)])
                })
                .collect();
            Origin::OneOf(rows)
        }
        _ => {
            let inclusive = function == "arange";
            let values = range(number(0, None)?, number(1, None)?, number(2, one)?, inclusive)?;
            Origin::OneOf(values.into_iter().map(|value| vec![Value::Number(value)]).collect())
        }
    };
    match &origin {
        Origin::OneOf(rows) if rows.iter().any(|row| row.len() != names) => {
            Err(format!("the values do not match {names} names"))
        }
        Origin::Distinct(items) if items.len() < names => {
            Err(format!("{} items are too few for {names} names", items.len()))
        }
        _ => Ok(Some(origin)),
    }
}

/// As [`evaluate`], with `range_list` for a list of numbers.
fn list_or_value(node: &Node, replacements: &Variables) -> Result<Value, String> {
    if let Node::Call(function, args) = node
        && function == "range_list"
    {
        let numbers = args
            .iter()
            .map(|arg| number_of(evaluate(arg, replacements)?))
            .collect::<Result<Vec<_>, _>>()?;
        let [start, end, rest @ ..] = numbers.as_slice() else {
            return Err("range_list() of less than two numbers".to_owned());
        };
        let step = rest.first().copied().unwrap_or(Number::whole(1));
        let values = range(*start, *end, step, false)?;
        return Ok(Value::List(values.into_iter().map(Value::Number).collect()));
    }
    evaluate(node, replacements)
}

/// `start`, `start + step`, … up to `end`.
fn range(start: Number, end: Number, step: Number, inclusive: bool) -> Result<Vec<Number>, String> {
    if step <= Number::whole(0) {
        return Err(format!("a range has step {step}, expected more than 0"));
    }
    let mut values = Vec::new();
    let mut value = start;
    while value < end || (inclusive && value == end) {
        if values.len() == MAX_RANGE {
            return Err(format!("a range has more than {MAX_RANGE} values"));
        }
        values.push(value);
        value = value.plus(step).ok_or("overflow")?;
    }
    Ok(values)
}

/// One value per name; nested pairs are flattened by one level where that makes the number fit.
fn row(item: Value, names: usize) -> Result<Vec<Value>, String> {
    match item {
        item if names == 1 => Ok(vec![read_text(item)]),
        Value::List(items) if items.len() == names => {
            Ok(items.into_iter().map(read_text).collect())
        }
        other => Err(format!("{other:?} does not match {names} names")),
    }
}

/// Texts such as `"1/2"` are numbers.
fn read_text(value: Value) -> Value {
    match value {
        Value::Text(text) => Value::read(&text),
        other => other,
    }
}

/// The `- …` entries of a block.
fn entries(block: &str) -> impl Iterator<Item = &str> {
    block.lines().map(|line| line.trim().trim_start_matches('-').trim()).filter(|l| !l.is_empty())
}

/// The pieces of the question and the values of its `{name,default}` placeholders.
fn question_pieces(text: &str) -> Result<(Vec<Piece>, Variables), String> {
    let mut defaults = Variables::new();
    let pieces = pieces(text, |hole| {
        let (name, default) =
            hole.split_once(',').ok_or_else(|| format!("`{{{hole}}}` has no default"))?;
        let name = name.trim();
        defaults.entry(name.to_owned()).or_insert_with(|| Value::read(default));
        Expression::parse(name).map_err(|error| error.to_string())
    })?;
    Ok((pieces, defaults))
}

fn answer_pieces(text: &str) -> Result<Vec<Piece>, String> {
    pieces(text, |hole| Expression::parse(hole).map_err(|error| error.to_string()))
}

fn pieces(
    text: &str,
    mut hole: impl FnMut(&str) -> Result<Expression, String>,
) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after.split_once('}').ok_or("a `{` is not closed")?;
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Hole(hole(inside)?));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

fn render(pieces: &[Piece], variables: &Variables) -> Result<String, SourceError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Hole(expression) => {
                let value = expression.evaluate(variables)?;
                let part = value.to_text().ok_or_else(|| SourceError::Expression {
                    text: expression.text().to_owned(),
                    reason: "gives a list, a truth value or a decimal that does not end".to_owned(),
                })?;
                // Inside `<<…>>` and after `####` numbers stay plain.
                let mark = text.rfind("<<").is_some_and(|at| !text[at..].contains(">>"));
                let plain = mark || text.trim_end().ends_with("####");
                text.push_str(&if plain { part } else { group_thousands(&part) });
            }
        }
    }
    Ok(text)
}

/// `12500` becomes `12,500`; shorter numbers and other texts stay as they are.
fn group_thousands(text: &str) -> String {
    if text.len() < 5 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return text.to_owned();
    }
    let mut grouped = String::new();
    for (i, digit) in text.chars().enumerate() {
        if i > 0 && (text.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A drawn noun may have come to stand at the start of a sentence.
fn capitalize_sentences(text: &str) -> String {
    let mut capitalized = String::with_capacity(text.len());
    let (mut starts, mut ended) = (true, false);
    for c in text.chars() {
        let c = if starts && c.is_lowercase() { c.to_ascii_uppercase() } else { c };
        capitalized.push(c);
        if c.is_whitespace() {
            starts |= ended;
        } else {
            ended = matches!(c, '.' | '!' | '?');
            starts = false;
        }
    }
    capitalized
}

#[cfg(test)]
mod tests;
