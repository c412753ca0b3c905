//! Competition problems with human-written hints and concepts.
//!
//! The hint of a problem is the list that its authors attached to it: hints for this problem and
//! general concepts, in their order, one a line. Answers are reduced to what a verifier can judge
//! (`3 is the only possible value` to `3`); problems whose answer is not a number or a short
//! expression are left out and counted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use hint_reward::number::ExactNumber;
use serde::Deserialize;
use serde_json::Value;

use super::error::SourceError;
use super::problem::SourceProblem;

/// The problems that can be judged, and how many cannot.
#[derive(Debug, Clone, Default)]
pub struct Champ {
    /// In the order of the data set: by category, then by number.
    pub problems: Vec<SourceProblem>,
    /// Number of problems left out, by reason.
    pub skipped: BTreeMap<&'static str, usize>,
}

impl Champ {
    /// Reads the data set's `v0.json`.
    ///
    /// # Errors
    ///
    /// [`SourceError::Read`] if the file cannot be opened, [`SourceError::Field`] if it does not
    /// have the expected form.
    pub fn load(path: &Path) -> Result<Self, SourceError> {
        let file = File::open(path)
            .map_err(|source| SourceError::Read { path: path.to_path_buf(), source })?;
        let data: RawData =
            serde_json::from_reader(BufReader::new(file)).map_err(|error| SourceError::Field {
                file: path.to_path_buf(),
                field: "(file)".to_owned(),
                reason: error.to_string(),
            })?;
        Self::from_raw(path, &data)
    }

    fn from_raw(path: &Path, data: &RawData) -> Result<Self, SourceError> {
        let mut champ = Self::default();
        let mut ids: Vec<&String> = data.problems.keys().collect();
        ids.sort_by_key(|id| natural_key(id));
        for id in ids {
            let raw = &data.problems[id];
            let field = |name: &str| format!("problems.{id}.{name}");
            let text = |value: &Value, name: &str| text(path, &field(name), value);
            let answer = text(&raw.answer, "_answer")?;
            let question = text(&raw.text, "_text")?;
            let category = text(&raw.category, "category")?;
            let mut lines = Vec::new();
            for (i, item) in list(path, &field("ch_list"), &raw.ch_list)?.iter().enumerate() {
                let name = field(&format!("ch_list[{i}]"));
                let key = self::text(path, &name, item)?;
                let source = data.hints.get(&key).or_else(|| data.concepts.get(&key));
                let source = source.ok_or_else(|| SourceError::Field {
                    file: path.to_path_buf(),
                    field: name,
                    reason: format!("names `{key}`, which is neither a hint nor a concept"),
                })?;
                lines.push(self::text(path, &format!("{key}._text"), &source.text)?);
            }
            let steps = list(path, &field("solution.steps"), &raw.solution["steps"])?;
            let mut solution = Vec::with_capacity(steps.len());
            for (i, step) in steps.iter().enumerate() {
                solution.push(text(&step["_text"], &format!("solution.steps[{i}]._text"))?);
            }
            match judgeable(&answer) {
                Ok(answer) => champ.problems.push(SourceProblem {
                    id: format!("champ/{}", id.trim_start_matches("P_")),
                    question,
                    answer,
                    hint: (!lines.is_empty()).then(|| lines.join("\n")),
                    solution: (!solution.is_empty()).then(|| solution.join("\n")),
                    level: None,
                    category: Some(category),
                }),
                Err(reason) => *champ.skipped.entry(reason).or_default() += 1,
            }
        }
        Ok(champ)
    }
}

/// The file as we use it; everything else in it, such as transcripts of models, is skipped over.
#[derive(Debug, Deserialize)]
struct RawData {
    problems: BTreeMap<String, RawProblem>,
    hints: BTreeMap<String, RawText>,
    concepts: BTreeMap<String, RawText>,
}

#[derive(Debug, Deserialize)]
struct RawProblem {
    #[serde(rename = "_text", default)]
    text: Value,
    #[serde(rename = "_answer", default)]
    answer: Value,
    #[serde(default)]
    category: Value,
    #[serde(default)]
    solution: Value,
    #[serde(default)]
    ch_list: Value,
}

#[derive(Debug, Deserialize)]
struct RawText {
    #[serde(rename = "_text", default)]
    text: Value,
}

fn text(file: &Path, field: &str, value: &Value) -> Result<String, SourceError> {
    match value.as_str().map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(wrong_kind(file, field, value, "a text")),
    }
}

fn list<'a>(file: &Path, field: &str, value: &'a Value) -> Result<&'a [Value], SourceError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| wrong_kind(file, field, value, "a list"))
}

fn wrong_kind(file: &Path, field: &str, value: &Value, expected: &str) -> SourceError {
    const SHOWN: usize = 40;
    let got: String = value.to_string().chars().take(SHOWN).collect();
    SourceError::Field {
        file: file.to_path_buf(),
        field: field.to_owned(),
        reason: format!("is `{got}`, expected {expected}"),
    }
}

/// `P_Sequence_12` sorts behind `P_Sequence_2`.
fn natural_key(id: &str) -> (String, u64, String) {
    let (stem, number) = id.rsplit_once('_').unwrap_or((id, ""));
    (stem.to_owned(), number.parse().unwrap_or(u64::MAX), number.to_owned())
}

/// The answer as a number or a short expression, or why it is neither.
fn judgeable(answer: &str) -> Result<String, &'static str> {
    const PREFIXES: [&str; 2] =
        ["The limit exists and is equal to ", "The only possible value for the limit is "];
    const SUFFIXES: [&str; 1] = [" is the only possible value"];
    let mut core = answer.trim();
    for prefix in PREFIXES {
        core = core.strip_prefix(prefix).unwrap_or(core);
    }
    // `100 (i.e., all values)`: a parenthesis that starts with a word explains.
    if let Some((before, inside)) = core.split_once(" (")
        && inside.chars().take(2).all(|c| c.is_alphabetic() || c == '.')
    {
        core = before;
    }
    let forms: Vec<&str> = ["or equivalently", "or approximately", "or an equivalent form such as"]
        .iter()
        .find_map(|separator| core.split_once(&format!(", {separator} ")))
        .map_or_else(|| vec![core], |(first, second)| vec![first, second]);
    // Of two forms a plain number is judged most reliably.
    core = forms.iter().find(|form| ExactNumber::parse(form).is_some()).unwrap_or(&forms[0]);
    for suffix in SUFFIXES {
        core = core.strip_suffix(suffix).unwrap_or(core);
    }
    // `98 values`: a number and what it counts.
    if let Some((number, unit)) = core.split_once(' ')
        && ExactNumber::parse(number).is_some()
        && unit.chars().all(|c| c.is_ascii_lowercase())
    {
        core = number;
    }
    if ExactNumber::parse(core).is_some() || is_expression(core) {
        return Ok(core.to_owned());
    }
    Err(reason(core))
}

/// Whether `text` is one closed expression: numbers, one-letter variables, `sqrt`, `floor`, `C(n, k)`,
/// operators and brackets.
fn is_expression(text: &str) -> bool {
    const MAX_LEN: usize = 48;
    let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    let known = |word: &str| word.len() == 1 || ["sqrt", "floor"].contains(&word);
    // Implicit products such as `xy` are letters side by side.
    let product = |word: &str| word.len() <= 2 && word.chars().all(|c| c.is_ascii_lowercase());
    let symbols = |c: char| c.is_ascii_alphanumeric() || "+-*/^!()., −".contains(c);
    let separated = text.contains(',') && !text.contains("C(");
    text.len() <= MAX_LEN
        && !text.contains("...")
        && !separated
        && text.chars().all(symbols)
        && words.clone().all(|word| known(word) || product(word))
        && !["is", "no", "or"].iter().any(|w| words.clone().any(|word| word == *w))
}

fn reason(answer: &str) -> &'static str {
    let lower = answer.to_ascii_lowercase();
    let has = |text: &str| lower.contains(text);
    if lower.starts_with("yes") || lower == "no" {
        "yes-or-no answer"
    } else if has("...") || has("sum_") || answer.len() > 60 {
        "open form (sum, product or series)"
    } else if has("=") || has("<") || has(">") {
        "equation or inequality"
    } else if has("±") || has(" and ") || has(", ") && !has("[") {
        "several values"
    } else if has("[") {
        "interval"
    } else {
        "answer in words"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = r#"{
        "problems": {
            "P_Sums_10": {"_text": "What is a?", "_answer": "No", "category": "Sums",
                "solution": {"steps": []}, "ch_list": [], "conversations": {"x": [1]}},
            "P_Sums_2": {"_text": "What is 3+4?", "_answer": "7, or equivalently 14/2", "category": "Sums",
                "solution": {"steps": [{"_text": "3+4=7."}]}, "ch_list": ["H_1", "C_add"]}
        },
        "hints": {"H_1": {"_text": "Count on. "}},
        "concepts": {"C_add": {"_text": "Addition commutes."}}
    }"#;

    #[test]
    fn published_problems_are_judgeable_or_counted_and_all_have_hints() {
        let Some(path) = crate::prepare::cached(&crate::prepare::CHAMP) else { return };
        let champ = Champ::load(&path).unwrap();
        assert_eq!(champ.problems.len() + champ.skipped.values().sum::<usize>(), 270);
        assert!(champ.problems.len() > 160, "{}", champ.problems.len());
        assert!(champ.problems.iter().all(|problem| problem.hint.is_some()));
    }

    fn load(text: &str) -> Result<Champ, SourceError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Champ::load(file.path())
    }

    #[test]
    fn hints_and_concepts_join_in_the_order_of_the_list() {
        let champ = load(DATA).unwrap();
        assert_eq!(champ.problems.len(), 1);
        let problem = &champ.problems[0];
        assert_eq!(problem.id, "champ/Sums_2");
        assert_eq!(problem.answer, "7");
        assert_eq!(problem.hint.as_deref(), Some("Count on.\nAddition commutes."));
        assert_eq!(problem.solution.as_deref(), Some("3+4=7."));
        assert_eq!(champ.skipped, BTreeMap::from([("yes-or-no answer", 1)]));
    }

    #[test]
    fn malformed_file_is_an_error_naming_the_field() {
        #[track_caller]
        fn check(from: &str, to: &str, field: &str, reason: &str) {
            let error = load(&DATA.replace(from, to)).unwrap_err();
            let SourceError::Field { field: found, reason: why, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!(found, field);
            assert!(why.contains(reason), "{why}");
        }
        check(r#""What is 3+4?""#, "5", "problems.P_Sums_2._text", "is `5`, expected a text");
        check(r#""H_1", "#, r#""H_9", "#, "problems.P_Sums_2.ch_list[0]", "names `H_9`");
        check(r#"{"_text": "3+4=7."}"#, "{}", "problems.P_Sums_2.solution.steps[0]._text", "null");
        check(r#""Count on. ""#, "[]", "H_1._text", "expected a text");
        check(r#""hints""#, r#""hint""#, "(file)", "missing field `hints`");
        check("}", "", "(file)", "line");
    }

    #[test]
    fn answers_are_reduced_to_what_can_be_judged() {
        #[track_caller]
        fn check(answer: &str, expected: &str) {
            assert_eq!(judgeable(answer).as_deref(), Ok(expected), "{answer}");
        }
        check("C(4, 2), or equivalently 6", "6");
        check("5/14, or approximately 35.7%", "5/14");
        check("100 (i.e., all values)", "100");
        check("-3 is the only possible value", "-3");
        check("The limit exists and is equal to (a+3b)/2", "(a+3b)/2");
        check("98 values", "98");
        check("2*C(n, 4)", "2*C(n, 4)");
        check("sqrt(3)/3, or equivalently 1/sqrt(3)", "sqrt(3)/3");
        check("(x+y)(x^2-xy+y^2)", "(x+y)(x^2-xy+y^2)");
    }

    #[test]
    fn answers_that_cannot_be_judged_say_why() {
        #[track_caller]
        fn check(answer: &str, expected: &str) {
            assert_eq!(judgeable(answer), Err(expected), "{answer}");
        }
        check("No", "yes-or-no answer");
        check("Yes, and it is 5", "yes-or-no answer");
        check("x=2, y=1", "equation or inequality");
        check("1 and 19", "several values");
        check("[-1, 1]", "interval");
        check("sum_(k=1)^n 1/k", "open form (sum, product or series)");
        check("Exactly one", "answer in words");
        check("At least 1 number", "answer in words");
    }
}
