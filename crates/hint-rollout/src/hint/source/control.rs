//! Controls: hints that should not help. A gain that a method has with them does not come from its
//! hints.

use serde_json::Value;

use crate::data::{Hint, Problem};
use crate::error::RolloutError;
use crate::hint::provider::{HintProvider, HintRequest};
use crate::hint::writer::HintWriter;
use crate::run::Seed;

/// The part of a hint that a control takes from its source.
macro_rules! forward_to_source {
    () => {
        fn levels(&self, problem: &Problem) -> Option<usize> {
            self.of.levels(problem)
        }

        fn state(&self) -> Value {
            self.of.state()
        }

        fn load_state(&self, state: &Value) -> Result<(), RolloutError> {
            self.of.load_state(state)
        }
    };
}

/// The hint of another problem of the same round of a step, drawn by the request's seed.
///
/// A problem with the same content and a hint with the same text are no placebo. There is no hint where no other
/// problem of the step has one.
///
/// ```
/// use hint_rollout::hint::source::Placebo;
/// use hint_rollout::{DatasetHints, HintProvider};
///
/// let control = Placebo::new(DatasetHints::new());
/// assert!(control.name().starts_with("placebo of"));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Placebo<P> {
    of: P,
}

impl<P: HintProvider> Placebo<P> {
    /// Gives the hints of `of`, each to another problem.
    pub const fn new(of: P) -> Self {
        Self { of }
    }
}

impl<P: HintProvider> HintProvider for Placebo<P> {
    fn name(&self) -> String {
        format!("placebo of {}", self.of.name())
    }

    /// Always `None`: there is no other problem without the others of the step.
    fn hint(&self, _request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        Ok(None)
    }

    fn hints(
        &self,
        requests: &[HintRequest<'_>],
        writer: &mut dyn HintWriter,
    ) -> Result<Vec<Option<Hint>>, RolloutError> {
        let own = self.of.hints(requests, writer)?;
        let candidates = requests.iter().map(others).collect::<Vec<_>>();
        let mut found = vec![None; requests.len()];
        let mut open = (0..requests.len()).collect::<Vec<_>>();
        for round in 0.. {
            open.retain(|&at| found[at].is_none() && round < candidates[at].len());
            if open.is_empty() {
                break;
            }
            let asked = open.iter().map(|&at| {
                let request = requests[at];
                HintRequest { problem: candidates[at][round], failed: &[], ..request }
            });
            let hints = self.of.hints(&asked.collect::<Vec<_>>(), writer)?;
            for (&at, hint) in open.iter().zip(hints) {
                let is_own =
                    |hint: &Hint| own[at].as_ref().is_some_and(|own| own.text == hint.text);
                found[at] = hint.filter(|hint| !is_own(hint));
            }
        }
        Ok(found)
    }

    forward_to_source!();
}

/// The other problems of the step, in the order in which they are tried.
fn others<'a>(request: &HintRequest<'a>) -> Vec<&'a Problem> {
    let order = request.seed.named("placebo").permutation(request.problems.len());
    let content = request.problem.content();
    let problems = order.into_iter().map(|at| request.problems[at]);
    problems.filter(|problem| problem.content() != content).collect()
}

/// Text that has nothing to do with any problem, as long as the problem's own hint.
///
/// Its words are everyday ones, drawn by the request's seed. It has the kind of the hint that it stands for, and as
/// many characters.
///
/// ```
/// use hint_rollout::hint::source::Unrelated;
/// use hint_rollout::{DatasetHints, HintProvider, HintRequest, Problem};
///
/// let problem = Problem::new("p1", "2 + 2?", "4").with_hint("Count on your fingers.");
/// let control = Unrelated::new(DatasetHints::new());
/// let hint = control.hint(&HintRequest::new(&problem))?.expect("the problem has a hint");
/// assert_eq!(hint.text.len(), "Count on your fingers.".len());
/// # Ok::<(), hint_rollout::RolloutError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Unrelated<P> {
    of: P,
}

impl<P: HintProvider> Unrelated<P> {
    /// Stands for the hints of `of`.
    pub const fn new(of: P) -> Self {
        Self { of }
    }
}

impl<P: HintProvider> HintProvider for Unrelated<P> {
    fn name(&self) -> String {
        format!("unrelated of {}", self.of.name())
    }

    fn hint(&self, request: &HintRequest<'_>) -> Result<Option<Hint>, RolloutError> {
        Ok(self.of.hint(request)?.map(|hint| unrelated(hint, request.seed)))
    }

    fn hints(
        &self,
        requests: &[HintRequest<'_>],
        writer: &mut dyn HintWriter,
    ) -> Result<Vec<Option<Hint>>, RolloutError> {
        let hints = self.of.hints(requests, writer)?.into_iter().zip(requests);
        Ok(hints.map(|(hint, request)| hint.map(|hint| unrelated(hint, request.seed))).collect())
    }

    forward_to_source!();
}

const WORDS: [&str; 32] = [
    "the", "garden", "behind", "a", "quiet", "house", "grows", "slowly", "while", "old", "birds",
    "sing", "near", "tall", "trees", "and", "rain", "falls", "on", "warm", "stones", "in", "early",
    "autumn", "light", "of", "long", "rivers", "under", "gray", "northern", "clouds",
];

fn unrelated(mut hint: Hint, seed: Seed) -> Hint {
    let seed = seed.named("unrelated");
    let length = hint.text.chars().count();
    let mut text = String::new();
    for word in 0.. {
        if text.len() >= length {
            break;
        }
        let place = seed.child(word).value() % WORDS.len() as u64;
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(WORDS[usize::try_from(place).unwrap_or_default()]);
    }
    // The words are ASCII, so that bytes are characters.
    text.truncate(length);
    hint.text = text;
    hint
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::source::DatasetHints;
    use crate::hint::writer::WriteRequest;

    /// Nothing is written here.
    struct NoWriter;

    impl HintWriter for NoWriter {
        fn write(&mut self, _requests: &[WriteRequest]) -> Result<Vec<String>, RolloutError> {
            Ok(Vec::new())
        }
    }

    fn problems() -> Vec<Problem> {
        let hint = ["count the rows", "count the rows", "halve it", "use symmetry"];
        let problem = |(at, hint): (usize, &&str)| {
            Problem::new(at.to_string(), format!("question {at}"), "1").with_hint(*hint)
        };
        hint.iter().enumerate().map(problem).collect()
    }

    #[test]
    fn a_placebo_is_a_different_hint_of_another_problem_of_the_step() {
        let problems = problems();
        let others = problems.iter().collect::<Vec<_>>();
        let placebo = Placebo::new(DatasetHints::new());
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let request = HintRequest::new(&problems[0]).with_problems(&others);
            let hints = placebo.hints(&[request.with_seed(Seed::new(seed))], &mut NoWriter);
            let hint = hints.expect("the data set has hints").remove(0).expect("two others differ");
            seen.insert(hint.text);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["halve it", "use symmetry"]);
        // Alone, or among problems with the same hint, there is none.
        for count in [1, 2] {
            let request = HintRequest::new(&problems[0]).with_problems(&others[..count]);
            assert_eq!(placebo.hints(&[request], &mut NoWriter).expect("no error"), [None]);
        }
    }

    #[test]
    fn unrelated_text_has_the_length_of_the_hint_and_none_of_its_words() {
        let problem = Problem::new("p", "q", "1").with_hint("Zähle die Zeilen, dann halbiere.");
        let request = HintRequest::new(&problem).with_seed(Seed::new(3));
        let source = Unrelated::new(DatasetHints::new());
        let hint = source.hint(&request).expect("no error").expect("the problem has a hint");
        assert_eq!(hint.text.chars().count(), 32);
        assert!(!hint.text.contains("eile"), "{}", hint.text);
        assert_eq!(source.hint(&request).expect("no error"), Some(hint), "a function of the seed");
        let other = source.hint(&request.with_seed(Seed::new(4))).expect("no error");
        assert_ne!(other, source.hint(&request).expect("no error"));
    }
}
