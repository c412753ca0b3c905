//! Functions from a completion to a verdict.

use std::fmt;
use std::sync::Arc;

use crate::input::RewardInput;
use crate::verifier::verdict::Judgment;

/// Judges whether a completion gives the reference answer.
///
/// A judgment is never an error. Faults while judging are failure verdicts
/// ([`Verdict::is_failure`](crate::verifier::verdict::Verdict::is_failure)), which cannot be mistaken for a wrong
/// answer.
///
/// # Examples
///
/// ```
/// use hint_reward::{Judgment, RewardInput, Verdict, Verifier};
///
/// struct LastWord;
///
/// impl Verifier for LastWord {
///     fn verify(&self, input: &RewardInput<'_>) -> Judgment {
///         match input.completion.split_whitespace().last() {
///             None => Judgment::new(Verdict::NoAnswer),
///             Some(word) if word == input.reference => Judgment::new(Verdict::Correct).with_extracted(word),
///             Some(word) => Judgment::new(Verdict::Incorrect).with_extracted(word),
///         }
///     }
/// }
///
/// assert!(LastWord.verify(&RewardInput::new("it is 4", "4")).verdict.is_correct());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Verifier`",
    note = "wrap a closure `|input: &RewardInput<'_>| -> Judgment` with `hint_reward::verifier_from_fn(\"name\", closure)`"
)]
pub trait Verifier: Send + Sync {
    /// Its name and its settings, for the record of a run: a run is not resumed with others. By default the name of its
    /// type: a verifier with settings writes them too.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// The verdict on one completion, with the extracted and compared answers.
    fn verify(&self, input: &RewardInput<'_>) -> Judgment;

    /// The verdicts on the completions of one problem, in order. By default one after the other; a verifier that waits
    /// for a server asks about several at a time.
    fn verify_group(&self, inputs: &[RewardInput<'_>]) -> Vec<Judgment> {
        inputs.iter().map(|input| self.verify(input)).collect()
    }

    /// Whether two extracted answers are equal, for votes over answers. By default the same text; a verifier that
    /// reads answers compares them as it compares with a reference.
    fn same_answer(&self, left: &str, right: &str) -> bool {
        left.trim() == right.trim()
    }
}

/// A closure as a [`Verifier`]; see [`verifier_from_fn`].
#[derive(Clone)]
pub struct FnVerifier<F> {
    name: String,
    verify: F,
}

impl<F> fmt::Debug for FnVerifier<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FnVerifier").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F> Verifier for FnVerifier<F>
where
    F: Fn(&RewardInput<'_>) -> Judgment + Send + Sync,
{
    fn name(&self) -> String {
        self.name.clone()
    }

    fn verify(&self, input: &RewardInput<'_>) -> Judgment {
        (self.verify)(input)
    }
}

/// Turns a closure into a [`Verifier`]. The name goes into the record of a run.
///
/// # Examples
///
/// ```
/// use hint_reward::{Judgment, RewardInput, Verdict, Verifier, verifier_from_fn};
///
/// let verifier = verifier_from_fn("same_text", |input| {
///     let right = input.completion == input.reference;
///     Judgment::new(if right { Verdict::Correct } else { Verdict::Incorrect })
/// });
/// assert!(verifier.verify(&RewardInput::new("5", "4")).verdict.is_wrong());
/// ```
pub fn verifier_from_fn<F>(name: impl Into<String>, verify: F) -> FnVerifier<F>
where
    F: Fn(&RewardInput<'_>) -> Judgment + Send + Sync,
{
    FnVerifier { name: name.into(), verify }
}

macro_rules! forward_verifier {
    ($pointer:ty) => {
        impl<V: Verifier + ?Sized> Verifier for $pointer {
            fn name(&self) -> String {
                (**self).name()
            }

            fn verify(&self, input: &RewardInput<'_>) -> Judgment {
                (**self).verify(input)
            }

            fn verify_group(&self, inputs: &[RewardInput<'_>]) -> Vec<Judgment> {
                (**self).verify_group(inputs)
            }

            fn same_answer(&self, left: &str, right: &str) -> bool {
                (**self).same_answer(left, right)
            }
        }
    };
}

forward_verifier!(&V);
forward_verifier!(Box<V>);
forward_verifier!(Arc<V>);
