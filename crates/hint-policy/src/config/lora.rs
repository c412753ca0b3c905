//! Shape and place of low-rank adapters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::config::layout::{projection_names, projection_path, projections};
use crate::error::PolicyError;

/// The target that stands for every projection of the transformer blocks.
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
    /// The projections that get an adapter: `"all-linear"`, or names as in PEFT. A name is a path
    /// such as `"model.layers.0.self_attn.q_proj"` or the end of one, such as `"q_proj"`.
    pub target_modules: Vec<String>,
    /// Whether the scale is `alpha / √rank` in place of `alpha / rank`.
    pub rank_stabilized: bool,
    /// Other ranks for some projections, by names as in `target_modules`; a `^` in front makes a name
    /// the whole path. Two that fit one module must agree: PEFT takes the first of the file.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Other alphas, as `rank_pattern`.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Modules without adapters that are trained and saved in whole, such as `"lm_head"`: all whose paths end so.
    pub modules_to_save: Vec<String>,
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
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            modules_to_save: Vec::new(),
        }
    }
}

impl LoraConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidOption`] naming the field, [`PolicyError::InvalidOptions`] for several.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let mut wrong = Vec::new();
        for rank in self.rank_pattern.values().chain([&self.rank]) {
            if *rank == 0 || *rank > 1 << 20 {
                wrong.push(PolicyError::option("lora.rank", rank, "at least 1"));
            }
        }
        for alpha in self.alpha_pattern.values().chain([&self.alpha]) {
            if !(alpha.is_finite() && *alpha > 0.0) {
                wrong.push(PolicyError::option("lora.alpha", alpha, "a positive number"));
            }
        }
        let patterns = self.rank_pattern.keys().chain(self.alpha_pattern.keys());
        for pattern in patterns.into_iter().filter(|pattern| !is_name(pattern)) {
            let expected = "names of modules, maybe with ^ in front; no other regular expressions";
            let field = "lora.rank_pattern or alpha_pattern";
            wrong.push(PolicyError::option(field, pattern, expected));
        }
        wrong.extend(agree("lora.rank_pattern", &self.rank_pattern).err());
        wrong.extend(agree("lora.alpha_pattern", &self.alpha_pattern).err());
        if !(0.0..1.0).contains(&self.dropout) {
            wrong.push(PolicyError::option("lora.dropout", &self.dropout, "at least 0, below 1"));
        }
        if self.target_modules.is_empty() {
            wrong.push(PolicyError::option("lora.target_modules", "[]", "at least one name"));
        }
        PolicyError::options(wrong)
    }

    /// Whether every adapter has the same rank and scale, and nothing else is trained. Servers such as vLLM read no
    /// others.
    pub fn is_uniform(&self) -> bool {
        self.rank_pattern.is_empty()
            && self.alpha_pattern.is_empty()
            && self.modules_to_save.is_empty()
    }

    /// Rank of the update of a projection, and the factor on it.
    pub(crate) fn shape_of(&self, path: &str) -> (usize, f64) {
        let rank = *of_path(&self.rank_pattern, path).unwrap_or(&self.rank);
        let alpha = *of_path(&self.alpha_pattern, path).unwrap_or(&self.alpha);
        let divisor = if self.rank_stabilized { (rank as f64).sqrt() } else { rank as f64 };
        (rank, alpha / divisor)
    }

    /// The parameters among `names` that belong to modules that are saved in whole.
    pub(crate) fn saved(
        &self,
        config: &ModelConfig,
        names: &[String],
    ) -> Result<Vec<usize>, PolicyError> {
        let module =
            |name: &str| name.rsplit_once('.').map_or(name, |(module, _)| module).to_owned();
        let mut saved = Vec::new();
        for target in &self.modules_to_save {
            // Any end of a path will do, as in PEFT.
            let found = (0..names.len()).filter(|&index| module(&names[index]).ends_with(target));
            let found: Vec<usize> = found.collect();
            // Such as a mixer, of which the parameters that stand in it directly are only a part.
            let has_modules = |index: &usize| {
                let inner = format!("{}.", module(&names[*index]));
                let rest = |name: &String| name.strip_prefix(&inner).map(str::to_owned);
                names.iter().filter_map(rest).any(|rest| rest.contains('.'))
            };
            if found.is_empty() || found.iter().any(has_modules) {
                let supported =
                    "modules with weights of their own, such as lm_head, embed_tokens, norm";
                return Err(PolicyError::unsupported("modules_to_save", target, supported));
            }
            saved.extend(found);
        }
        let is_adapted = |&&index: &&usize| {
            let module = module(&names[index]);
            let targets = self.targets(config).unwrap_or_default();
            let path = |layer, at: usize| projection_path(layer, projections(config, layer)[at]);
            targets.iter().any(|&(layer, at)| path(layer, at) == module)
        };
        if let Some(&index) = saved.iter().find(is_adapted) {
            let supported = "modules that are no targets of adapters";
            return Err(PolicyError::unsupported("modules_to_save", &names[index], supported));
        }
        let tied =
            |&&index: &&usize| config.tie_word_embeddings && names[index].contains("embed_tokens");
        if saved.iter().any(|index| tied(&index)) {
            let supported =
                "modules other than the embedding that the LM head shares (PEFT would part them)";
            return Err(PolicyError::unsupported("modules_to_save", "embed_tokens", supported));
        }
        saved.sort_unstable();
        saved.dedup();
        Ok(saved)
    }

    /// The projections of a model that get an adapter: layer, and index in its [`projections`].
    pub(crate) fn targets(&self, config: &ModelConfig) -> Result<Vec<(usize, usize)>, PolicyError> {
        let paths = (0..config.num_hidden_layers).flat_map(|layer| {
            let paths = projections(config, layer).into_iter().enumerate();
            paths.map(move |(index, path)| ((layer, index), projection_path(layer, path)))
        });
        let all: Vec<((usize, usize), String)> = paths.collect();
        let matches = |target: &str, path: &str| target == ALL_LINEAR || ends_with(path, target);
        let unmatched = |target: &&String| !all.iter().any(|(_, path)| matches(target, path));
        if let Some(target) = self.target_modules.iter().find(unmatched) {
            let names = projection_names(config).join(", ");
            return Err(PolicyError::unsupported(
                "target_modules",
                target,
                format!("{ALL_LINEAR}, paths of modules, {names}"),
            ));
        }
        let wanted = |(place, path): &((usize, usize), String)| {
            self.target_modules.iter().any(|target| matches(target, path)).then_some(*place)
        };
        Ok(all.iter().filter_map(wanted).collect())
    }
}

/// Whether a pattern is a name of modules, in place of another regular expression.
pub(crate) fn is_name(pattern: &str) -> bool {
    let name = pattern.strip_prefix('^').unwrap_or(pattern);
    name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

/// Whether `target` is the end of a path, from a point on.
fn ends_with(path: &str, target: &str) -> bool {
    path.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Refuses patterns that fit one module and have different values.
fn agree<T: PartialEq>(
    field: &'static str,
    patterns: &BTreeMap<String, T>,
) -> Result<(), PolicyError> {
    let name = |pattern: &'_ String| pattern.trim_start_matches('^').to_owned();
    for (pattern, value) in patterns {
        let other = patterns.iter().find(|(other, found)| {
            // Only the end of a path can fit several.
            !other.starts_with('^') && ends_with(&name(pattern), other) && *found != value
        });
        if let Some((other, _)) = other {
            let found = format!("`{pattern}` and `{other}`");
            return Err(PolicyError::option(field, &found, "one value for each module"));
        }
    }
    Ok(())
}

/// The value of a pattern that fits a path.
fn of_path<'a, T>(patterns: &'a BTreeMap<String, T>, path: &str) -> Option<&'a T> {
    let fits = |pattern: &str| match pattern.strip_prefix('^') {
        Some(whole) => path == whole,
        None => ends_with(path, pattern),
    };
    patterns.iter().find(|(pattern, _)| fits(pattern)).map(|(_, value)| value)
}
