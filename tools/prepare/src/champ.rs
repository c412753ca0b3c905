//! Competition problems with human-written hints and concepts.
//!
//! The hint of a problem is the list that its authors attached to it. It holds hints for this
//! problem and general concepts, in their order, one per line. Answers are reduced to a form that a
//! verifier can judge (`3 is the only possible value` to `3`). Problems whose answer is neither a
//! number nor a short expression are left out and counted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result};
use hint_reward::number::ExactNumber;
use hint_rl::fetch::{Content, Package};
use serde::Deserialize;

use crate::problem::SourceProblem;

/// The data set, MIT.
pub(crate) const PACKAGE: Package = Package {
    name: "champ-dataset",
    version: "1.0.0",
    needed_mib: 90,
    content: Content::File {
        member: "champ_dataset/dataset_files/v0.json",
        target: "data/champ/v0.json",
        sha256: "72fa7727c8c3d4377d297b2cd171dc35ad86e2cfe9df2043131ba8a5389e5a71",
    },
};

/// The problems that can be judged, and how many cannot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Champ {
    /// In the order of the data set: by category, then by number.
    pub(crate) problems: Vec<SourceProblem>,
    /// Number of problems left out, by reason.
    pub(crate) skipped: BTreeMap<&'static str, usize>,
}

impl Champ {
    /// Reads the data set's `v0.json`.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let shown = || format!("`{}`", path.display());
        let file = BufReader::new(File::open(path).with_context(shown)?);
        let data: Data = serde_json::from_reader(file).with_context(shown)?;
        let mut champ = Self::default();
        let mut ids = data.problems.keys().collect::<Vec<_>>();
        ids.sort_by_key(|id| natural_key(id));
        for id in ids {
            let problem = &data.problems[id];
            let answer = match judgeable(&problem.answer) {
                Ok(answer) => answer,
                Err(reason) => {
                    *champ.skipped.entry(reason).or_default() += 1;
                    continue;
                }
            };
            let help = problem.ch_list.iter().map(|key| {
                let text = data.hints.get(key).or_else(|| data.concepts.get(key));
                text.with_context(|| format!("`{id}` names `{key}`, which is no hint or concept"))
            });
            let help = help.collect::<Result<Vec<_>>>()?;
            champ.problems.push(SourceProblem {
                id: format!("champ/{}", id.trim_start_matches("P_")),
                question: problem.text.trim().to_owned(),
                answer,
                hint: lines(help),
                solution: lines(&problem.solution.steps),
                level: None,
                category: Some(problem.category.clone()),
            });
        }
        Ok(champ)
    }
}

/// The part of the file that is used here; everything else in it, such as transcripts of models, is
/// skipped.
#[derive(Debug, Deserialize)]
struct Data {
    problems: BTreeMap<String, Problem>,
    hints: BTreeMap<String, Text>,
    concepts: BTreeMap<String, Text>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(rename = "_text")]
    text: String,
    #[serde(rename = "_answer")]
    answer: String,
    category: String,
    solution: Solution,
    ch_list: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Solution {
    steps: Vec<Text>,
}

#[derive(Debug, Deserialize)]
struct Text {
    #[serde(rename = "_text")]
    text: String,
}

/// The texts, one per line; nothing if the list is empty.
fn lines<'t>(texts: impl IntoIterator<Item = &'t Text>) -> Option<String> {
    let lines = texts.into_iter().map(|text| text.text.trim()).collect::<Vec<_>>();
    (!lines.is_empty()).then(|| lines.join("\n"))
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
        let Some(path) = crate::cached(&PACKAGE) else { return };
        let champ = Champ::load(&path).unwrap();
        assert_eq!(champ.problems.len() + champ.skipped.values().sum::<usize>(), 270);
        assert!(champ.problems.len() > 160, "{}", champ.problems.len());
        assert!(champ.problems.iter().all(|problem| problem.hint.is_some()));
    }

    fn load(text: &str) -> Result<Champ> {
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
    fn a_hint_that_is_not_there_is_an_error() {
        let error = load(&DATA.replace("\"H_1\", ", "\"H_9\", ")).unwrap_err().to_string();
        assert_eq!(error, "`P_Sums_2` names `H_9`, which is no hint or concept");
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
