//! Frequencies of rotary position embeddings, and their scaling.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::error::PolicyError;

/// Stretching of rotary frequencies for rows longer than in pre-training.
///
/// Serializes as the `rope_scaling` object of `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RopeScaling {
    /// Unchanged frequencies.
    Default,
    /// All frequencies divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Frequencies that shrink with rows longer than the model supports, which are refused; other rows have
    /// them unchanged.
    Dynamic {
        /// By how much rows may be longer.
        factor: f64,
        /// The base is multiplied by `alpha^(d / (d − 2))` for rows of every length, with `d` rotated dimensions
        /// (`HunYuan`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alpha: Option<f64>,
    },
    /// Frequencies with a divisor each (`LongRoPE`). Rows longer than in pre-training have other divisors, so one row
    /// would change its angles as it grows. They are refused here, unless
    /// [`ModelConfig::long_factors`] gives rows of every length those.
    #[serde(rename = "longrope")]
    LongRope {
        /// Divisors for rows of at most the length of pre-training.
        short_factor: Vec<f64>,
        /// Divisors for longer rows.
        long_factor: Vec<f64>,
        /// Row length of pre-training, in tokens.
        original_max_position_embeddings: usize,
        /// Factor on cosines and sines; derived from the two lengths if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attention_factor: Option<f64>,
    },
    /// Long wavelengths divided by `factor`, short ones kept, a linear blend in between (Llama 3.1).
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Row length of pre-training, in tokens.
        original_max_position_embeddings: usize,
    },
    /// A blend by number of rotations, with a factor on the attention scores (YaRN).
    Yarn {
        /// The divisor of the slow frequencies.
        factor: f64,
        /// Row length of pre-training, in tokens; `max_position_embeddings` if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        original_max_position_embeddings: Option<usize>,
        /// Factor on cosines and sines; derived from `factor` if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attention_factor: Option<f64>,
        /// Rotations above which a frequency is kept; 32 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beta_fast: Option<f64>,
        /// Rotations below which a frequency is divided by `factor`; 1 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beta_slow: Option<f64>,
        /// Numerator scale of the derived attention factor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mscale: Option<f64>,
        /// Denominator scale of the derived attention factor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mscale_all_dim: Option<f64>,
        /// Whether the blend starts and ends at whole frequencies; true if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        truncate: Option<bool>,
    },
}

impl RopeScaling {
    /// The `rope_type` values that are implemented.
    pub(crate) const SUPPORTED: &'static str = "default, linear, dynamic, longrope, llama3, yarn";

    /// Checks the ranges.
    pub(crate) fn validate(&self, config: &ModelConfig) -> Result<(), PolicyError> {
        let positive = |field: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                return Ok(());
            }
            Err(PolicyError::config(format!("rope_scaling.{field}"), &value, "a positive number"))
        };
        match *self {
            Self::Default => Ok(()),
            Self::Linear { factor } | Self::Dynamic { factor, alpha: None } => {
                positive("factor", factor)
            }
            Self::Dynamic { factor, alpha: Some(alpha) } => {
                positive("factor", factor)?;
                positive("alpha", alpha)?;
                positive("rotary dimensions - 2", config.rotary_dim() as f64 - 2.0)
            }
            Self::LongRope {
                ref short_factor,
                ref long_factor,
                original_max_position_embeddings,
                attention_factor,
            } => {
                let pairs = config.rotary_dim() / 2;
                for (field, factors) in
                    [("short_factor", short_factor), ("long_factor", long_factor)]
                {
                    factors.iter().try_for_each(|&factor| positive(field, factor))?;
                    if factors.len() != pairs {
                        let expected = format!("{pairs} numbers, one for each rotary pair");
                        let field = format!("rope_scaling.{field}");
                        return Err(PolicyError::config(field, &factors.len(), expected));
                    }
                }
                positive("attention_factor", attention_factor.unwrap_or(1.0))?;
                // The derived factor divides by the logarithm of the length.
                positive(
                    "original_max_position_embeddings - 1",
                    original_max_position_embeddings as f64 - 1.0,
                )
            }
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                positive("factor", factor)?;
                positive("low_freq_factor", low_freq_factor)?;
                positive("high_freq_factor - low_freq_factor", high_freq_factor - low_freq_factor)?;
                positive(
                    "original_max_position_embeddings",
                    original_max_position_embeddings as f64,
                )
            }
            Self::Yarn { factor, attention_factor, beta_fast, beta_slow, .. } => {
                positive("factor", factor)?;
                positive("attention_factor", attention_factor.unwrap_or(1.0))?;
                positive("beta_fast", beta_fast.unwrap_or(32.0))?;
                positive("beta_slow", beta_slow.unwrap_or(1.0))
            }
        }
    }

    /// Radians per position for each pair of a head, and the factor on cosines and sines.
    pub(crate) fn frequencies(&self, config: &ModelConfig) -> (Vec<f64>, f64) {
        let dim = config.rotary_dim() as f64;
        let base: Vec<f64> = (0..config.rotary_dim() / 2)
            .map(|pair| config.rope_theta.powf(-2.0 * pair as f64 / dim))
            .collect();
        match *self {
            Self::Default | Self::Dynamic { alpha: None, .. } => (base, 1.0),
            Self::Dynamic { alpha: Some(alpha), .. } => {
                let stretch = alpha.powf(dim / (dim - 2.0));
                let slower = |(pair, frequency): (usize, &f64)| {
                    frequency * stretch.powf(-2.0 * pair as f64 / dim)
                };
                (base.iter().enumerate().map(slower).collect(), 1.0)
            }
            Self::Linear { factor } => (base.iter().map(|f| f / factor).collect(), 1.0),
            Self::LongRope {
                ref short_factor,
                ref long_factor,
                original_max_position_embeddings,
                attention_factor,
            } => {
                let factors = if config.long_factors { long_factor } else { short_factor };
                let original = original_max_position_embeddings as f64;
                let stretch = (config.max_position_embeddings as f64 / original).max(1.0);
                let derived = (1.0 + stretch.ln() / original.ln()).sqrt();
                let divided = base.iter().zip(factors).map(|(f, divisor)| f / divisor);
                (divided.collect(), attention_factor.unwrap_or(derived))
            }
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let original = original_max_position_embeddings as f64;
                let scale = |frequency: &f64| {
                    let wavelength = 2.0 * PI / frequency;
                    if wavelength > original / low_freq_factor {
                        return frequency / factor;
                    }
                    if wavelength < original / high_freq_factor {
                        return *frequency;
                    }
                    let keep = (original / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    frequency * (keep + (1.0 - keep) / factor)
                };
                (base.iter().map(scale).collect(), 1.0)
            }
            Self::Yarn {
                factor,
                original_max_position_embeddings,
                attention_factor,
                beta_fast,
                beta_slow,
                mscale,
                mscale_all_dim,
                truncate,
            } => {
                let original =
                    original_max_position_embeddings.unwrap_or(config.max_position_embeddings);
                // Pair index at which a frequency makes `rotations` turns over the original length.
                let pair_of = |rotations: f64| {
                    dim * (original as f64 / (rotations * 2.0 * PI)).ln()
                        / (2.0 * config.rope_theta.ln())
                };
                let (mut low, mut high) =
                    (pair_of(beta_fast.unwrap_or(32.0)), pair_of(beta_slow.unwrap_or(1.0)));
                if truncate.unwrap_or(true) {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
                // A ramp of width 0 would divide by 0.
                if high - low < 1e-3 {
                    high = low + 1e-3;
                }
                let blend = base.iter().enumerate().map(|(pair, frequency)| {
                    let stretch = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * ((1.0 - stretch) + stretch / factor)
                });
                let scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
                let derived = match (mscale, mscale_all_dim) {
                    (Some(m), Some(all)) if m != 0.0 && all != 0.0 => scale(m) / scale(all),
                    _ => scale(1.0),
                };
                (blend.collect(), attention_factor.unwrap_or(derived))
            }
        }
    }
}
