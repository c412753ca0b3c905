//! Dependence of completions on their hint: rivals of Affinity from the same two rows of log-probabilities.

use crate::error::AffinityError;
use crate::sum::DoubleDouble;
use crate::support::check_rows;

/// Dependence of hinted completions on their hint.
///
/// It takes the log-probabilities of the same tokens on the plain prompt and on the hinted one.
///
/// ```text
/// hint reliance      = 1/N · Σ_i 1/T_i · Σ_t (p_it − q_it)
/// transfer weight    = exp(min(hint reliance, 0) / temperature)
/// gap                = Σ_it (q_it − p_it) / Σ_i T_i
/// off-context weight = Σ_it clamp(exp(p_it − q_it), min, max) / Σ_i T_i
/// ```
///
/// with `p` the log-probabilities on the plain prompt and `q` on the hinted one. There are `N` completions with `T_i` tokens. Source: (AFF-4) in [the book](../../book/math.html#affinity).
///
/// Hint reliance is 0 for completions that are as likely without the hint, and negative where they need it. Its
/// source measures it over correct completions, so add only those. It weighs completions alike, while the gap and the off-context weight
/// weigh tokens alike. The result depends neither on how the completions were split nor (to a relative 1e-12) on their order.
///
/// # Examples
///
/// ```
/// use hint_affinity::HintTransfer;
///
/// let mut transfer = HintTransfer::new();
/// transfer.push(&[-1.0, -3.0], &[-1.0, -1.0])?; // the hint decides the second token
/// transfer.push(&[-2.0], &[-2.0])?;
/// assert_eq!(transfer.hint_reliance(), Some(-0.5));
/// assert_eq!(transfer.gap(), Some(2.0 / 3.0));
/// # Ok::<(), hint_affinity::AffinityError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct HintTransfer {
    min: f64,
    max: f64,
    completions: usize,
    tokens: usize,
    /// Mean of `p − q` of each completion.
    means: DoubleDouble,
    /// `p − q` of each token.
    shift: DoubleDouble,
    /// Clamped ratio of each token.
    ratio: DoubleDouble,
}

impl HintTransfer {
    /// Returns an empty measure with the bounds of OC-GRPO for the off-context weight, 0.01 and 1.
    pub fn new() -> Self {
        let zero = DoubleDouble::default();
        Self {
            min: 0.01,
            max: 1.0,
            completions: 0,
            tokens: 0,
            means: zero,
            shift: zero,
            ratio: zero,
        }
    }

    /// Sets the bounds of the off-context weight of a token.
    ///
    /// # Errors
    ///
    /// [`AffinityError::WeightRange`] unless `0 <= min <= max`, both finite. Set them before the first completion.
    pub fn with_bounds(mut self, min: f64, max: f64) -> Result<Self, AffinityError> {
        if !(0.0 <= min && min <= max && max.is_finite()) {
            return Err(AffinityError::WeightRange { min, max });
        }
        (self.min, self.max) = (min, max);
        Ok(self)
    }

    /// Adds one completion with the log-probabilities of its tokens, in nats. One without tokens is left out.
    ///
    /// # Errors
    ///
    /// [`AffinityError::LengthMismatch`] or [`AffinityError::NotFinite`], with an index into these slices; the measure is
    /// unchanged then.
    pub fn push(&mut self, plain: &[f64], hinted: &[f64]) -> Result<(), AffinityError> {
        check_rows(("plain", plain), ("hinted", hinted))?;
        if plain.is_empty() {
            return Ok(());
        }
        let mut shift = DoubleDouble::default();
        for (plain, hinted) in plain.iter().zip(hinted) {
            shift = shift + (DoubleDouble::from(*plain) - DoubleDouble::from(*hinted));
            self.ratio = self.ratio + (plain - hinted).exp().clamp(self.min, self.max).into();
        }
        self.completions += 1;
        self.tokens += plain.len();
        self.shift = self.shift + shift;
        self.means = self.means + shift / (plain.len() as f64).into();
        Ok(())
    }

    /// Adds the completions of another measure.
    ///
    /// # Errors
    ///
    /// [`AffinityError::MergeMismatch`] if the two differ in their bounds.
    pub fn merge(&mut self, other: &Self) -> Result<(), AffinityError> {
        if (self.min, self.max) != (other.min, other.max) {
            return Err(AffinityError::MergeMismatch { what: "bounds of the off-context weight" });
        }
        self.completions += other.completions;
        self.tokens += other.tokens;
        self.means = self.means + other.means;
        self.shift = self.shift + other.shift;
        self.ratio = self.ratio + other.ratio;
        Ok(())
    }

    /// Completions added so far that have tokens.
    pub fn completions(&self) -> usize {
        self.completions
    }

    /// Tokens added so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Hint reliance, in nats per token; `None` without a completion.
    pub fn hint_reliance(&self) -> Option<f64> {
        (self.completions > 0).then(|| self.means.to_f64() / self.completions as f64)
    }

    /// The factor on the reward of a hint, 1 for a hint that is not needed.
    /// `None` without a completion, or unless the temperature is above 0.
    pub fn transfer_weight(&self, temperature: f64) -> Option<f64> {
        let reliance = self.hint_reliance().filter(|_| temperature > 0.0)?;
        Some((reliance.min(0.0) / temperature).exp())
    }

    /// Mean rise of a token's log-probability by the hint, in nats; `None` without a token.
    pub fn gap(&self) -> Option<f64> {
        self.mean_of_tokens(DoubleDouble::default() - self.shift)
    }

    /// Mean off-context weight of a token, see (HINTED-1); `None` without a token.
    pub fn off_context_weight(&self) -> Option<f64> {
        self.mean_of_tokens(self.ratio)
    }

    fn mean_of_tokens(&self, sum: DoubleDouble) -> Option<f64> {
        (self.tokens > 0).then(|| sum.to_f64() / self.tokens as f64)
    }
}

impl Default for HintTransfer {
    fn default() -> Self {
        Self::new()
    }
}
