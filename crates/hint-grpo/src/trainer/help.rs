//! What the helped rows of an update are weighted with, and how their ratio is shaped.

use hint_affinity::ClipRange;
use hint_rollout::RunProgress;

use super::Trainer;
use super::affinity::group_weights;
use super::scoring::Frozen;
use crate::batch::{Row, Rows, Side};
use crate::{GrpoError, HelpWeight, RatioShaping};

/// Weights and shaping of one update.
#[derive(Debug, Default)]
pub(super) struct HelpFactors {
    /// The weight of each row, `None` for plain ones; or `None` when nothing is weighted.
    pub(super) rows: Option<Vec<Option<f64>>>,
    /// The weight of each token of helped rows; or `None` when nothing is weighted by token.
    pub(super) tokens: Option<Vec<Option<Vec<f64>>>>,
    /// `γ` of the shaped ratio, if there is one.
    pub(super) gamma: Option<f64>,
}

impl HelpFactors {
    /// Those of the rows `indices`.
    pub(super) fn part(&self, indices: &[usize]) -> Self {
        let pick = |rows: &Vec<Option<f64>>| indices.iter().map(|&index| rows[index]).collect();
        let pick_tokens = |tokens: &Vec<Option<Vec<f64>>>| {
            indices.iter().map(|&index| tokens[index].clone()).collect()
        };
        let tokens = self.tokens.as_ref().map(pick_tokens);
        Self { rows: self.rows.as_ref().map(pick), tokens, gamma: self.gamma }
    }
}

impl Trainer {
    /// The factors of an optimizer step. A group's Affinity and a quantile need all helped rows before
    /// the first of them is differentiated.
    pub(super) fn help_factors(
        &self,
        rows: &Rows<'_>,
        frozen: &Frozen,
        is_first: bool,
        clip: ClipRange,
    ) -> Result<HelpFactors, GrpoError> {
        let mut factors = HelpFactors::default();
        if !rows.rows.iter().any(Row::is_helped) {
            return Ok(factors);
        }
        let by_affinity = |weight: &HelpWeight| matches!(weight, HelpWeight::Affinity { exponent, .. } if *exponent != 0.0);
        let by_quantile = matches!(self.config.shaping, RatioShaping::Quantile { .. });
        let log_ratios = if by_quantile || self.config.weight.iter().any(by_affinity) {
            self.helped_log_ratios(rows, frozen, is_first)?
        } else {
            Vec::new()
        };
        let progress = RunProgress::new(self.progress.step, self.config.run.steps);
        for weight in &self.config.weight {
            match *weight {
                HelpWeight::Affinity { exponent: 0.0, .. } => {}
                HelpWeight::Affinity { exponent, variant } => {
                    let groups = group_weights(&rows.rows, &log_ratios, clip, exponent, variant)?;
                    let of_row =
                        rows.rows.iter().map(|row| row.is_helped().then(|| groups[&row.group]));
                    multiply(&mut factors.rows, of_row);
                }
                HelpWeight::OffContext { min, max } => {
                    let clamp = |ratios: &Vec<f64>| {
                        ratios.iter().map(|ratio| ratio.exp().clamp(min, max)).collect::<Vec<_>>()
                    };
                    let ratios = frozen.off_context.iter().flatten();
                    factors.tokens =
                        Some(ratios.map(|ratios| ratios.as_ref().map(clamp)).collect());
                }
                HelpWeight::Schedule { value } => {
                    let value = value.at(progress);
                    multiply(
                        &mut factors.rows,
                        rows.rows.iter().map(|row| row.is_helped().then_some(value)),
                    );
                }
            }
        }
        factors.gamma = match self.config.shaping {
            RatioShaping::Off {} => None,
            RatioShaping::Fixed { gamma } => Some(gamma),
            RatioShaping::Quantile { quantile: share } => Some(
                quantile(log_ratios.iter().flatten().flatten().copied().collect(), share).exp(),
            ),
        };
        Ok(factors)
    }

    /// Log-ratios of helped rows under the current policy; `None` for plain rows.
    fn helped_log_ratios(
        &self,
        rows: &Rows<'_>,
        frozen: &Frozen,
        is_first: bool,
    ) -> Result<Vec<Option<Vec<f64>>>, GrpoError> {
        // In the first optimizer step on the same context the policy is the old policy, unless the
        // engine has its own opinion.
        let is_old =
            |row: &Row<'_>| is_first && row.has_same_context() && !self.takes_engine_logprobs(row);
        let new =
            self.score_some(&rows.rows, Side::Numerator, |row| row.is_helped() && !is_old(row))?;
        let log_ratios = rows.rows.iter().zip(new).zip(&frozen.old).map(|((row, new), old)| {
            row.is_helped().then(|| match (new, old) {
                (Some(new), Some(old)) => new.iter().zip(old).map(|(new, old)| new - old).collect(),
                _ => vec![0.0; row.completion.len()],
            })
        });
        Ok(log_ratios.collect())
    }
}

fn multiply(rows: &mut Option<Vec<Option<f64>>>, factors: impl Iterator<Item = Option<f64>>) {
    *rows = Some(match rows.take() {
        None => factors.collect(),
        Some(rows) => {
            rows.into_iter().zip(factors).map(|(row, factor)| Some(row? * factor?)).collect()
        }
    });
}

/// The quantile of `values`, with linear interpolation between neighbours, as `torch.quantile`
/// defaults to. Of log-ratios here: the exponential keeps the order, and interpolates geometrically.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let position = share * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in [0, last]")]
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    values[below] + (values[above] - values[below]) * (position - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(vec![3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(vec![0.0, 10.0], 0.9), 9.0);
        assert_eq!(quantile(vec![7.0], 0.9), 7.0);
    }
}
