//! Prompts for a teacher.

#[cfg(feature = "teacher")]
use std::borrow::Cow;

use serde::{Deserialize, Serialize};

#[cfg(feature = "teacher")]
use crate::data::Problem;
#[cfg(feature = "teacher")]
use crate::hint::provider::HintRequest;

/// The messages that ask a teacher for a hint.
///
/// They may name `{question}`, `{answer}`, `{solution}` (a problem without one gets no hint then),
/// and `{reference}` (the solution, or else the answer). They may also name `{level}`, `{levels}`
/// and `{amount}`, a sentence about the level (nothing where there is only one).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherPrompt {
    /// The system's message; none if it is empty.
    pub system: String,
    /// The user's message.
    pub user: String,
}

impl Default for TeacherPrompt {
    /// Asks for a Meta-Hint as the HINT paper describes it: the way of thinking, no values, no answer.
    /// The wording is ours.
    fn default() -> Self {
        let system = include_str!("system.txt").trim_end();
        let user = include_str!("user.txt").trim_end();
        Self { system: system.to_owned(), user: user.to_owned() }
    }
}

const NAMES: [&str; 7] =
    ["question", "answer", "solution", "reference", "amount", "level", "levels"];

impl TeacherPrompt {
    /// The first unknown name in braces.
    pub(crate) fn unknown_placeholder(&self) -> Option<&str> {
        self.names().find(|name| !NAMES.contains(name))
    }

    /// The first name in braces other than `allowed`.
    pub(crate) fn placeholder_but(&self, allowed: &str) -> Option<&str> {
        self.names().find(|name| *name != allowed)
    }

    /// The names in braces.
    fn names(&self) -> impl Iterator<Item = &str> {
        [&self.system, &self.user].into_iter().flat_map(|text| {
            pieces(text).filter_map(|piece| match piece {
                Piece::Name(name) => Some(name),
                Piece::Text(_) => None,
            })
        })
    }

    /// The two messages; `None` if the problem lacks a part that they show.
    #[cfg(feature = "teacher")]
    pub(super) fn render(
        &self,
        request: &HintRequest<'_>,
        level: usize,
        levels: usize,
    ) -> Option<(String, String)> {
        let render = |text| render(text, request.problem, level, levels);
        let (system, mut user) = (render(&self.system)?, render(&self.user)?);
        if request.retry > 0 {
            user.push_str(
                "\n\nAn earlier hint gave a value or the answer away. Be more abstract, and write no \
                 number that the problem does not state.",
            );
        }
        Some((system, user))
    }
}

#[cfg(feature = "teacher")]
fn render(text: &str, problem: &Problem, level: usize, levels: usize) -> Option<String> {
    let texts = pieces(text).map(|piece| {
        Some(match piece {
            Piece::Text(text) => Cow::from(text),
            Piece::Name("question") => Cow::from(&problem.question),
            Piece::Name("answer") => Cow::from(&problem.answer),
            Piece::Name("solution") => Cow::from(problem.solution.as_ref()?),
            Piece::Name("reference") => Cow::from(match &problem.solution {
                Some(solution) => format!("Reference solution: {solution}"),
                None => format!("Reference answer: {}", problem.answer),
            }),
            Piece::Name("level") => Cow::from(level.to_string()),
            Piece::Name("levels") => Cow::from(levels.to_string()),
            Piece::Name("amount") if levels > 1 => Cow::from(format!(
                "Amount of help: {level} of {levels}, where 1 names the idea alone and {levels} \
                 outlines the steps. "
            )),
            Piece::Name(_) => Cow::from(""),
        })
    });
    texts.collect()
}

#[cfg_attr(
    not(feature = "teacher"),
    expect(dead_code, reason = "only a teacher reads the text between names")
)]
enum Piece<'t> {
    Text(&'t str),
    /// `{name}`, of lower-case letters.
    Name(&'t str),
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut from = 0;
        while let Some(open) = rest[from..].find('{').map(|at| from + at) {
            let inner = &rest[open + 1..];
            let length = inner.find(|c: char| !(c.is_ascii_lowercase() || c == '_'));
            let length = length.unwrap_or(inner.len());
            if length > 0 && inner[length..].starts_with('}') {
                if open > 0 {
                    let text = &rest[..open];
                    rest = &rest[open..];
                    return Some(Piece::Text(text));
                }
                rest = &inner[length + 1..];
                return Some(Piece::Name(&inner[..length]));
            }
            from = open + 1;
        }
        Some(Piece::Text(std::mem::take(&mut rest)))
    })
}

#[cfg(all(test, feature = "teacher"))]
mod tests {
    use super::*;

    fn rendered(user: &str, problem: &Problem, levels: usize) -> Option<String> {
        let prompt = TeacherPrompt { system: String::new(), user: user.to_owned() };
        Some(prompt.render(&HintRequest::new(problem), 1, levels)?.1)
    }

    #[test]
    fn names_are_replaced_once_and_other_braces_stay() {
        let problem = Problem::new("p", "{answer}", "4");
        let text = r"{question} \boxed{} {X} {level}/{levels} {reference}";
        let expected = r"{answer} \boxed{} {X} 1/2 Reference answer: 4";
        assert_eq!(rendered(text, &problem, 2).as_deref(), Some(expected));
        assert_eq!(rendered("{amount}x", &problem, 1).as_deref(), Some("x"));
    }

    #[test]
    fn a_prompt_that_shows_the_solution_needs_one() {
        let problem = Problem::new("p", "2 + 2", "4");
        assert_eq!(rendered("{solution}", &problem, 1), None);
        let problem = problem.with_solution("s");
        assert_eq!(rendered("{solution}", &problem, 1).as_deref(), Some("s"));
    }

    #[test]
    fn unknown_names_are_found() {
        let prompt = |user: &str| TeacherPrompt { system: String::new(), user: user.to_owned() };
        assert_eq!(prompt("{quest}").unknown_placeholder(), Some("quest"));
        assert_eq!(TeacherPrompt::default().unknown_placeholder(), None);
    }
}
