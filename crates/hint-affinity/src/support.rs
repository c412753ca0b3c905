//! Fit of a hint, as a teacher, to the policy's most likely tokens at each position.

use crate::error::AffinityError;
use crate::sum::DoubleDouble;

/// Log-probabilities up to here are rounding of 0.
const MAX_LOG_PROBABILITY: f64 = 1e-4;

/// The least probability of the teacher outside the listed tokens that the divergence separates
/// from 0.
const MIN_TAIL: f64 = 1e-7;

/// Fit of a teacher to a policy, over the `k` tokens that the policy finds most likely at each position. The teacher is
/// mostly the policy itself on the hinted prompt.
///
/// ```text
/// overlap       = mean_t( n_t / k )
/// compatibility = mean_t( Σ_{v∈K_t} q_t(v) )
/// divergence    = mean_t( Σ_{v∈K_t} p_t(v) (log p_t(v) − log q_t(v)) + r_t (log r_t − log s_t) )
/// teachability  = mean_t( compatibility_t · divergence_t )
/// ```
///
/// with `K_t` the policy's `k` most likely tokens at position `t`. The policy gives them the probabilities `p`, the teacher
/// `q`, and `n_t` of them are among the teacher's own `k`. All other tokens are one bucket, to which the policy gives
/// `r = 1 − Σ p` and the teacher `s = 1 − Σ q`, at least 1e-7. So the divergence is never negative. Source: (AFF-5) in
/// [the book](../../book/math.html#affinity).
///
/// # Examples
///
/// ```
/// use hint_affinity::TeacherFit;
///
/// let mut fit = TeacherFit::new();
/// let (policy, teacher) = ([0.5_f64.ln(), 0.25_f64.ln()], [0.5_f64.ln(), 0.25_f64.ln()]);
/// fit.push(&policy, &teacher, 2)?; // both agree
/// assert_eq!(fit.overlap(), Some(1.0));
/// assert_eq!(fit.teachability(), Some(0.0));
/// # Ok::<(), hint_affinity::AffinityError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TeacherFit {
    positions: usize,
    overlap: DoubleDouble,
    compatibility: DoubleDouble,
    divergence: DoubleDouble,
    teachability: DoubleDouble,
}

impl TeacherFit {
    /// Returns an empty measure.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one position with the policy's `k` most likely tokens. Both rows are log-probabilities in nats. `shared` counts the
    /// tokens that are among the teacher's own `k`.
    ///
    /// # Errors
    ///
    /// [`AffinityError::LengthMismatch`], [`AffinityError::NotFinite`], [`AffinityError::PositiveLogProbability`], or [`AffinityError::SharedTokens`] if more
    /// tokens are shared than there are. The measure is unchanged then.
    pub fn push(
        &mut self,
        policy: &[f64],
        teacher: &[f64],
        shared: usize,
    ) -> Result<(), AffinityError> {
        check_rows(("policy", policy), ("teacher", teacher))?;
        for (name, row) in [("policy", policy), ("teacher", teacher)] {
            if let Some(index) = row.iter().position(|value| *value > MAX_LOG_PROBABILITY) {
                let found = row[index];
                return Err(AffinityError::PositiveLogProbability { name, index, found });
            }
        }
        if shared > policy.len() {
            return Err(AffinityError::SharedTokens { found: shared, expected: policy.len() });
        }
        if policy.is_empty() {
            return Ok(());
        }
        let (mut listed, mut compatibility, mut divergence) = (0.0, 0.0, 0.0);
        for (policy, teacher) in policy.iter().zip(teacher) {
            compatibility += teacher.exp();
            listed += policy.exp();
            divergence += policy.exp() * (policy - teacher);
        }
        let tail = 1.0 - listed;
        if tail > 0.0 {
            divergence += tail * (tail / (1.0 - compatibility).max(MIN_TAIL)).ln();
        }
        let divergence = f64::max(divergence, 0.0);
        self.positions += 1;
        self.overlap = self.overlap + (shared as f64 / policy.len() as f64).into();
        self.compatibility = self.compatibility + compatibility.into();
        self.divergence = self.divergence + divergence.into();
        self.teachability = self.teachability + DoubleDouble::product(compatibility, divergence);
        Ok(())
    }

    /// Adds the tokens of another measure.
    pub fn merge(&mut self, other: &Self) {
        self.positions += other.positions;
        self.overlap = self.overlap + other.overlap;
        self.compatibility = self.compatibility + other.compatibility;
        self.divergence = self.divergence + other.divergence;
        self.teachability = self.teachability + other.teachability;
    }

    /// Positions added so far.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Share of the policy's most likely tokens that the teacher has among its own; `None` without a position.
    pub fn overlap(&self) -> Option<f64> {
        self.mean(self.overlap)
    }

    /// Probability that the teacher gives to the policy's most likely tokens; `None` without a position.
    pub fn compatibility(&self) -> Option<f64> {
        self.mean(self.compatibility)
    }

    /// Divergence of the teacher over these tokens and the bucket of all others, in nats, at least 0; `None` without a position.
    pub fn divergence(&self) -> Option<f64> {
        self.mean(self.divergence)
    }

    /// Divergence that falls on tokens which the policy considers; `None` without a position.
    pub fn teachability(&self) -> Option<f64> {
        self.mean(self.teachability)
    }

    fn mean(&self, sum: DoubleDouble) -> Option<f64> {
        (self.positions > 0).then(|| sum.to_f64() / self.positions as f64)
    }
}

/// Checks that two rows have the same length and only finite numbers.
pub(crate) fn check_rows(
    (first_name, first): (&'static str, &[f64]),
    (second_name, second): (&'static str, &[f64]),
) -> Result<(), AffinityError> {
    if second.len() != first.len() {
        return Err(AffinityError::LengthMismatch {
            name: second_name,
            found: second.len(),
            expected: first.len(),
        });
    }
    for (name, row) in [(first_name, first), (second_name, second)] {
        if let Some(index) = row.iter().position(|value| !value.is_finite()) {
            return Err(AffinityError::NotFinite { name, index, found: row[index] });
        }
    }
    Ok(())
}
