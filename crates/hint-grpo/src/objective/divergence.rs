//! Divergences between the policy and a teacher, over a few tokens of each distribution.

use hint_rollout::error::Violations;
use hint_rollout::run::no_fields;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Distance of the policy from a teacher at a token, as a term of the loss.
///
/// ```text
/// D_t = Σ_v f( p(v | x, y_<t), q(v | x⊕h, y_<t) ) over the support and its tail          (CREDIT-4)
/// ```
///
/// `p` is the policy, which alone is differentiated, and `q` the teacher. Source: (CREDIT-4) in
/// [the book](../../../book/math.html#credit).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// Factor of the term. Not negative.
    pub coef: f64,
    /// The divergence.
    pub kind: DivergenceKind,
    /// Tokens of the support. At least 1; all tokens where the vocabulary has no more.
    pub top_k: usize,
    /// Distribution whose likeliest tokens are the support.
    pub support: Support,
    /// The treatment of all other tokens.
    pub tail: Tail,
}

/// A divergence of the policy `p` from the teacher `q`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum DivergenceKind {
    /// `Σ q log(q / p)`: the policy covers all that the teacher finds likely. (TRL: `distillation_alpha = 0`)
    #[serde(deserialize_with = "no_fields")]
    ForwardKl,
    /// `Σ p log(p / q)`: the policy avoids all that the teacher finds unlikely. (TRL: `distillation_alpha = 1`)
    #[serde(deserialize_with = "no_fields")]
    ReverseKl,
    /// `(1 − a) Σ p log(p / m) + a Σ q log(q / m)` with `m = (1 − a) p + a q`, the Jensen-Shannon divergence.
    /// (TRL: `distillation_alpha = a`)
    Jsd {
        /// `a`. In `(0, 1)`.
        #[serde(default = "half")]
        teacher_share: f64,
    },
}

const fn half() -> f64 {
    0.5
}

/// Choice of the tokens that a [`Divergence`] looks at: the likeliest of one distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// The policy's likeliest tokens at the time of the optimizer step. (TRL's `sdpo` and `sdft` with a
    /// local teacher)
    #[default]
    Student,
    /// The teacher's likeliest tokens. (TRL with a teacher behind a server)
    Teacher,
}

/// Treatment of the probability of the tokens outside of the support of a [`Divergence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tail {
    /// It counts as one more token: the result is a lower bound of the divergence over the whole vocabulary.
    /// (TRL: `distillation_add_tail`)
    #[default]
    Bucket,
    /// It is left out, and the probabilities of the support are scaled to a sum of 1.
    Drop,
}

/// Largest logarithm of a support's probability that has a tail. (TRL: `add_tail_bucket`)
const FULL: f64 = -1e-7;

impl Divergence {
    /// The divergence at each token, `[tokens]`, in `Double`. The arguments are log-probabilities `[tokens, k]` of the
    /// same tokens. Differentiable in the policy's log-probabilities.
    pub fn per_token(&self, student: &Tensor, teacher: &Tensor) -> Tensor {
        let whole = |logprobs: &Tensor| {
            let wide = logprobs.to_kind(Kind::Double);
            let mass = wide.logsumexp([-1_i64].as_slice(), true);
            match self.tail {
                Tail::Bucket => Tensor::cat(&[wide, mass.clamp_max(FULL).expm1().neg().log()], -1),
                Tail::Drop => wide - mass,
            }
        };
        let (student, teacher) = (whole(student), whole(&teacher.detach()));
        match self.kind {
            DivergenceKind::ForwardKl => kl(&teacher, &student),
            DivergenceKind::ReverseKl => kl(&student, &teacher),
            DivergenceKind::Jsd { teacher_share } => {
                let own = &student + (1.0 - teacher_share).ln();
                let mixture = own.logaddexp(&(&teacher + teacher_share.ln()));
                kl(&student, &mixture) * (1.0 - teacher_share)
                    + kl(&teacher, &mixture) * teacher_share
            }
        }
    }

    pub(crate) fn check(&self, at: &mut Violations) {
        at.not_negative("coef", self.coef);
        at.at_least("top_k", self.top_k, 1);
        if let DivergenceKind::Jsd { teacher_share } = self.kind {
            let holds = 0.0 < teacher_share && teacher_share < 1.0;
            at.require(holds, "kind.teacher_share", "must be in (0, 1)", teacher_share);
        }
    }
}

/// `Σ p log(p / q)` over the last dimension, of log-probabilities.
fn kl(p: &Tensor, q: &Tensor) -> Tensor {
    (p.exp() * (p - q)).sum_dim_intlist([-1_i64].as_slice(), false, None::<Kind>)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [DivergenceKind; 3] = [
        DivergenceKind::ForwardKl,
        DivergenceKind::ReverseKl,
        DivergenceKind::Jsd { teacher_share: 0.3 },
    ];

    fn of(kind: DivergenceKind, tail: Tail) -> Divergence {
        Divergence { coef: 1.0, kind, top_k: 2, support: Support::Student, tail }
    }

    fn logs(probabilities: &[f64]) -> Tensor {
        Tensor::from_slice(probabilities).log().view([1, -1])
    }

    #[test]
    fn a_tail_is_one_more_token_or_none_at_all() {
        let (student, teacher) = (logs(&[0.5, 0.1]), logs(&[0.2, 0.2]));
        let (p, q): ([f64; 3], [f64; 3]) = ([0.5, 0.1, 0.4], [0.2, 0.2, 0.6]);
        let sum =
            |p: &[f64], q: &[f64]| p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
        let scaled = |of: &[f64; 3]| [of[0] / (of[0] + of[1]), of[1] / (of[0] + of[1])];
        for (tail, p, q) in [
            (Tail::Bucket, p.to_vec(), q.to_vec()),
            (Tail::Drop, scaled(&p).to_vec(), scaled(&q).to_vec()),
        ] {
            let m = p.iter().zip(&q).map(|(p, q)| 0.7 * p + 0.3 * q).collect::<Vec<_>>();
            let expected = [sum(&q, &p), sum(&p, &q), 0.7 * sum(&p, &m) + 0.3 * sum(&q, &m)];
            for (kind, expected) in KINDS.into_iter().zip(expected) {
                let found = of(kind, tail).per_token(&student, &teacher).double_value(&[0]);
                assert!((found - expected).abs() < 1e-12, "{kind:?} {tail:?}: {found} {expected}");
            }
        }
    }

    #[test]
    fn a_support_with_all_probability_has_a_tail_of_almost_nothing() {
        for kind in KINDS {
            let student = logs(&[0.4, 0.6]).set_requires_grad(true);
            let found = of(kind, Tail::Bucket).per_token(&student, &logs(&[0.6, 0.4]));
            found.sum(Kind::Double).backward();
            let gradient = Vec::<f64>::try_from(student.grad().view([-1])).expect("dense");
            let exact = of(kind, Tail::Drop).per_token(&student, &logs(&[0.6, 0.4]));
            assert!((found - exact).double_value(&[0]).abs() < 1e-6, "{kind:?}");
            assert!(gradient.iter().all(|value| value.is_finite()), "{kind:?}: {gradient:?}");
        }
    }
}
