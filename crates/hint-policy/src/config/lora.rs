//! Shape and place of low-rank adapters.

use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::config::layout::{projection_path, projections};
use crate::error::PolicyError;

/// Which target stands for every projection of the transformer blocks.
pub(crate) const ALL_LINEAR: &str = "all-linear";

/// Shape and place of low-rank adapters.
///
/// # Examples
///
/// ```
/// use hint_policy::config::Architecture;
/// use hint_policy::{CausalLm, LoraConfig, ModelConfig, Policy};
/// use tch::Device;
///
/// let config = ModelConfig::small(Architecture::Llama, 60);
/// let policy = CausalLm::init(&config, 1, Device::Cpu)?;
/// let lora = LoraConfig { rank: 4, ..LoraConfig::default() };
/// let policy = policy.with_lora(&lora, 7)?;
/// // Only the adapters are trained: two matrices for each of 7 projections of 4 layers.
/// assert_eq!(policy.parameters().len(), 2 * 7 * 4);
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank of the update of each projection. At least 1.
    pub rank: usize,
    /// Numerator of the update's scale. Positive.
    pub alpha: f64,
    /// Share of the inputs that an adapter does not see while training. In `[0, 1)`.
    pub dropout: f64,
    /// The projections that get an adapter: `"all-linear"`, or names as in PEFT, each a path such
    /// as `"model.layers.0.self_attn.q_proj"` or the end of one, such as `"q_proj"`.
    pub target_modules: Vec<String>,
    /// Whether the scale is `alpha / √rank` in place of `alpha / rank`.
    pub rank_stabilized: bool,
}

impl Default for LoraConfig {
    /// Rank 16 and alpha 32 on every projection, without dropout.
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            target_modules: vec![ALL_LINEAR.to_owned()],
            rank_stabilized: false,
        }
    }
}

impl LoraConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidOption`] naming the field.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.rank == 0 || self.rank > 1 << 20 {
            return Err(PolicyError::option("lora.rank", &self.rank, "at least 1"));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(PolicyError::option("lora.alpha", &self.alpha, "a positive number"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(PolicyError::option("lora.dropout", &self.dropout, "at least 0, below 1"));
        }
        if self.target_modules.is_empty() {
            return Err(PolicyError::option("lora.target_modules", "[]", "at least one name"));
        }
        Ok(())
    }

    /// Factor on the update.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rank_stabilized { rank.sqrt() } else { rank }
    }

    /// The projections of a model that get an adapter: layer and index in [`projections`].
    pub(crate) fn targets(&self, config: &ModelConfig) -> Result<Vec<(usize, usize)>, PolicyError> {
        let names = projections(config.architecture);
        let count = names.len();
        let all = (0..config.num_hidden_layers)
            .flat_map(|layer| (0..count).map(move |projection| (layer, projection)));
        let matches = |target: &str, (layer, projection): (usize, usize)| {
            let path = projection_path(layer, names[projection]);
            target == ALL_LINEAR
                || path
                    .strip_suffix(target)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let unmatched = |target: &&String| !all.clone().any(|place| matches(target, place));
        if let Some(target) = self.target_modules.iter().find(unmatched) {
            let names = names.iter().map(|path| path.rsplit('.').next().unwrap_or(path));
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(PolicyError::unsupported(
                "target_modules",
                target,
                format!("{ALL_LINEAR}, paths of modules, {names}"),
            ));
        }
        let wanted = |place: &(usize, usize)| {
            self.target_modules.iter().any(|target| matches(target, *place))
        };
        Ok(all.clone().filter(wanted).collect())
    }
}
