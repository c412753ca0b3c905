//! Inputs of a reward.

use std::collections::BTreeMap;

use serde_json::Value;

/// Input of a reward: one completion and the reference answer of its problem.
///
/// # Examples
///
/// ```
/// use hint_reward::RewardInput;
///
/// let input = RewardInput::new(r"so \boxed{4}", "4").with_prompt("What is 2 + 2?").with_problem_id("sum-1");
/// assert_eq!(input.reference, "4");
/// assert!(!input.truncated);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RewardInput<'a> {
    /// Text of the question, without hint and chat template; empty if unknown.
    pub prompt: &'a str,
    /// Text the policy produced.
    pub completion: &'a str,
    /// Reference answer.
    pub reference: &'a str,
    /// Further reference answers, each of which is as good; usually none.
    pub accepted: &'a [String],
    /// Whether the completion was cut off by the token limit.
    pub truncated: bool,
    /// Length of the completion in tokens that the policy wrote, if known.
    pub completion_tokens: Option<usize>,
    /// Id of the problem, for messages; empty if unknown.
    pub problem_id: &'a str,
    /// Further columns of the problem's row: unit tests, a schema, a category.
    pub columns: Option<&'a BTreeMap<String, Value>>,
}

impl<'a> RewardInput<'a> {
    /// Returns the input of a complete completion with unknown prompt and problem id.
    pub fn new(completion: &'a str, reference: &'a str) -> Self {
        Self {
            prompt: "",
            completion,
            reference,
            accepted: &[],
            truncated: false,
            completion_tokens: None,
            problem_id: "",
            columns: None,
        }
    }

    /// Sets further reference answers, each of which is as good.
    ///
    /// ```
    /// use hint_reward::{MathVerifier, RewardInput, Verifier};
    ///
    /// let accepted = ["2n - 2".to_owned()];
    /// let input = RewardInput::new(r"\boxed{2(n-1)}", "n").with_accepted(&accepted);
    /// assert!(MathVerifier::new().verify(&input).verdict.is_correct());
    /// ```
    #[must_use]
    pub fn with_accepted(mut self, accepted: &'a [String]) -> Self {
        self.accepted = accepted;
        self
    }

    /// The reference and the further ones.
    pub fn references(&self) -> impl Iterator<Item = &'a str> {
        std::iter::once(self.reference).chain(self.accepted.iter().map(String::as_str))
    }

    /// Sets the text of the question.
    #[must_use]
    pub fn with_prompt(mut self, prompt: &'a str) -> Self {
        self.prompt = prompt;
        self
    }

    /// Sets whether the token limit cut the completion off.
    #[must_use]
    pub fn with_truncated(mut self, truncated: bool) -> Self {
        self.truncated = truncated;
        self
    }

    /// Sets the length of the completion, in tokens that the policy wrote.
    #[must_use]
    pub fn with_completion_tokens(mut self, tokens: usize) -> Self {
        self.completion_tokens = Some(tokens);
        self
    }

    /// Sets the id of the problem.
    #[must_use]
    pub fn with_problem_id(mut self, problem_id: &'a str) -> Self {
        self.problem_id = problem_id;
        self
    }

    /// Sets the further columns of the problem's row.
    #[must_use]
    pub fn with_columns(mut self, columns: &'a BTreeMap<String, Value>) -> Self {
        self.columns = Some(columns);
        self
    }

    /// A further column of the problem's row; `None` if the row does not have it.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use hint_reward::RewardInput;
    /// use serde_json::json;
    ///
    /// let columns = BTreeMap::from([("tolerance".to_owned(), json!(0.01))]);
    /// let input = RewardInput::new("9.8", "9.81").with_columns(&columns);
    /// assert_eq!(input.column("tolerance").and_then(|value| value.as_f64()), Some(0.01));
    /// assert_eq!(input.column("unit"), None);
    /// ```
    pub fn column(&self, name: &str) -> Option<&'a Value> {
        self.columns?.get(name)
    }
}
