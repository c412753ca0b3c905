//! Rotary position embeddings: frequencies, their scaling, and the tables of cosines and sines.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::ModelConfig;
use crate::PolicyError;
use crate::batch::size;

/// How rotary frequencies are stretched for rows longer than those of pre-training.
///
/// Serializes as the `rope_scaling` object of `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RopeScaling {
    /// Frequencies as they are.
    Default {},
    /// All frequencies divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
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
    pub(crate) const SUPPORTED: &'static str = "default, linear, llama3, yarn";

    /// Checks the ranges.
    pub(crate) fn validate(&self) -> Result<(), PolicyError> {
        let positive = |field: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                return Ok(());
            }
            Err(PolicyError::InvalidConfig {
                field: format!("rope_scaling.{field}"),
                value: value.to_string(),
                expected: "a positive number".into(),
            })
        };
        match *self {
            Self::Default {} => Ok(()),
            Self::Linear { factor } => positive("factor", factor),
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
        let dim = config.head_dim as f64;
        let base: Vec<f64> = (0..config.head_dim / 2)
            .map(|pair| config.rope_theta.powf(-2.0 * pair as f64 / dim))
            .collect();
        match *self {
            Self::Default {} => (base, 1.0),
            Self::Linear { factor } => (base.iter().map(|f| f / factor).collect(), 1.0),
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

/// Angles of the first `positions` positions, as cosines and sines `[positions, head_dim / 2]`.
///
/// Computed on the host in `f64`: in `f32` the angle of position 10⁵ has an error of 10⁻² radians.
pub(crate) fn tables(
    config: &ModelConfig,
    positions: usize,
    kind: Kind,
    device: Device,
) -> (Tensor, Tensor) {
    let (frequencies, factor) = config.rope_scaling.frequencies(config);
    let frequencies = Tensor::from_slice(&frequencies);
    let positions = Tensor::arange(size(positions), (Kind::Double, Device::Cpu));
    let angles = positions.unsqueeze(1) * frequencies.unsqueeze(0);
    let place = |table: Tensor| (table * factor).to_device(device).to_kind(kind);
    (place(angles.cos()), place(angles.sin()))
}

/// Rotates the pairs `(i, i + head_dim / 2)` of `heads` `[.., head_dim]` by the angles whose
/// `cos` and `sin` (`[.., head_dim / 2]`) broadcast against it. Differentiable in `heads`.
pub(crate) fn rotate(heads: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let kind = heads.kind();
    let halves = heads.to_kind(cos.kind()).chunk(2, -1);
    let (first, second) = (&halves[0], &halves[1]);
    Tensor::cat(&[first * cos - second * sin, second * cos + first * sin], -1).to_kind(kind)
}
