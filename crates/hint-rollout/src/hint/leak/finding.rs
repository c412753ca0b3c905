//! A place at which a hint gives something away.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Text in the place of a value.
pub(crate) const PLACEHOLDER: &str = "___";

/// A place at which a hint gives something away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// The value.
    pub kind: LeakKind,
    /// As the hint writes it.
    pub text: String,
    /// Place in the hint, in bytes.
    pub span: Range<usize>,
    /// The answer or the value that it is equal to.
    pub value: String,
}

/// A value that a hint may give away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakKind {
    /// The answer.
    Answer,
    /// The value of a step of the solution that the problem does not state.
    Step,
}

impl LeakKind {
    /// The `snake_case` name, as in serialized form and in metric keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Step => "step",
        }
    }
}

/// `text` with every leak replaced by a blank.
pub(crate) fn masked(text: &str, leaks: &[Leak]) -> String {
    let mut spans = leaks.iter().map(|leak| leak.span.clone()).collect::<Vec<_>>();
    spans.sort_by_key(|span| span.start);
    let mut blanked = String::with_capacity(text.len());
    let mut end = 0;
    for span in spans {
        if span.start >= end {
            blanked.push_str(&text[end..span.start]);
            blanked.push_str(PLACEHOLDER);
        }
        end = end.max(span.end);
    }
    blanked + &text[end..]
}
