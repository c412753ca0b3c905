//! Parameters of sampling.

use serde::{Deserialize, Serialize};

use crate::error::PolicyError;

/// Choice of tokens, and the end of a completion.
///
/// The logits are divided by `temperature`. Then `top_k`, `top_p` and `min_p` each remove tokens,
/// in this order. The rest is renormalized and drawn from. With the defaults nothing is removed,
/// and the distribution is the one that [`Policy::score`](crate::Policy::score) reports at the same
/// temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingParams {
    /// Divides the logits. 0 always takes the most probable token (the lowest id among equals).
    pub temperature: f64,
    /// Keeps this many most probable tokens. `None` keeps all.
    pub top_k: Option<usize>,
    /// Keeps the fewest most probable tokens that together reach this probability. In `(0, 1]`;
    /// 1 keeps all.
    pub top_p: f64,
    /// Keeps tokens at least this fraction as probable as the most probable one. In `[0, 1]`; 0
    /// keeps all.
    pub min_p: f64,
    /// A completion has at most this many tokens. At least 1.
    pub max_new_tokens: usize,
    /// A completion has at least this many tokens: before them, stop tokens cannot be drawn.
    pub min_new_tokens: usize,
    /// Tokens that are never drawn; the others are renormalized.
    pub banned_tokens: Vec<u32>,
    /// A completion ends with the first of these tokens.
    pub stop_tokens: Vec<u32>,
}

impl Default for SamplingParams {
    /// The model's own distribution, 256 tokens, no stop token.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            max_new_tokens: 256,
            min_new_tokens: 0,
            banned_tokens: Vec::new(),
            stop_tokens: Vec::new(),
        }
    }
}

impl SamplingParams {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidOption`] naming the field, [`PolicyError::InvalidOptions`] for several.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let mut wrong = Vec::new();
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            let expected = "a number of at least 0";
            wrong.push(PolicyError::option("temperature", &self.temperature, expected));
        }
        if self.top_k == Some(0) {
            wrong.push(PolicyError::option("top_k", &0, "at least 1, or none"));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            wrong.push(PolicyError::option("top_p", &self.top_p, "a number in (0, 1]"));
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            wrong.push(PolicyError::option("min_p", &self.min_p, "a number in [0, 1]"));
        }
        if self.min_new_tokens > self.max_new_tokens {
            let expected = "at most `max_new_tokens`";
            wrong.push(PolicyError::option("min_new_tokens", &self.min_new_tokens, expected));
        }
        if self.max_new_tokens == 0 {
            wrong.push(PolicyError::option("max_new_tokens", &0, "at least 1"));
        }
        PolicyError::options(wrong)
    }

    /// Tokens that cannot be drawn after `drawn` tokens of a completion.
    pub(crate) fn excluded(&self, drawn: usize) -> impl Iterator<Item = u32> + '_ {
        let stops = (drawn < self.min_new_tokens).then_some(&self.stop_tokens);
        self.banned_tokens.iter().chain(stops.into_iter().flatten()).copied()
    }

    /// Whether any token can be removed before drawing.
    pub(crate) fn truncates(&self) -> bool {
        self.top_k.is_some() || self.top_p < 1.0 || self.min_p > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_validates() {
        assert!(SamplingParams::default().validate().is_ok());
    }

    #[test]
    fn unknown_key_is_rejected() {
        let parsed = serde_json::from_str::<SamplingParams>(r#"{"temperatur": 1.0}"#);
        assert!(parsed.is_err_and(|error| error.to_string().contains("temperatur")));
    }

    #[test]
    fn json_round_trips() {
        let params = SamplingParams { top_k: Some(5), min_p: 0.1, ..SamplingParams::default() };
        let json = serde_json::to_string(&params).unwrap();
        assert_eq!(serde_json::from_str::<SamplingParams>(&json).unwrap(), params);
    }

    #[test]
    fn each_range_is_checked() {
        #[track_caller]
        fn check(field: &str, change: impl FnOnce(&mut SamplingParams)) {
            let mut params = SamplingParams::default();
            change(&mut params);
            let text = params.validate().unwrap_err().to_string();
            assert!(text.contains(field), "{text}");
        }
        check("temperature", |params| params.temperature = -1.0);
        check("temperature", |params| params.temperature = f64::NAN);
        check("top_k", |params| params.top_k = Some(0));
        check("top_p", |params| params.top_p = 0.0);
        check("top_p", |params| params.top_p = 1.1);
        check("min_p", |params| params.min_p = f64::NAN);
        check("max_new_tokens", |params| params.max_new_tokens = 0);
        check("min_new_tokens", |params| params.min_new_tokens = 999);
    }
}
