//! Models with low-rank adapters.

use std::path::Path;

use crate::config::lora::LoraConfig;
use crate::error::PolicyError;
use crate::io::peft;
use crate::model::{CausalLm, SAVE};
use crate::policy::stage_weights::StageCell;
use crate::runtime::catch_out_of_memory;
use crate::weights::adapter;

/// Work of adding adapters, for its errors.
const ATTACH: &str = "attach adapters";

impl CausalLm {
    /// The same model with fresh low-rank adapters, which alone are trained from now on. The other
    /// weights require no gradient, and are kept in the compute kind (so choose that before). The
    /// new model computes the same as the old one until the adapters are trained.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidOption`] for a value out of range. [`PolicyError::Unsupported`] for a
    /// target that the model does not have or for a model with adapters.
    pub fn with_lora(mut self, lora: &LoraConfig, seed: u64) -> Result<Self, PolicyError> {
        self.check_plain()?;
        catch_out_of_memory(ATTACH, || {
            let initial = adapter::initial(seed);
            adapter::attach(&self.config, &mut self.weights, lora, self.device, initial)?;
            Ok(self.adapted(lora))
        })
    }

    /// The same model with the adapters of a folder in PEFT's format, as [`CausalLm::with_lora`].
    ///
    /// # Errors
    ///
    /// A file that cannot be read, an option that is not supported, or a tensor that is missing,
    /// misshapen or not finite. Each error names file and tensor.
    pub fn with_adapter(mut self, dir: impl AsRef<Path>) -> Result<Self, PolicyError> {
        self.check_plain()?;
        let dir = dir.as_ref();
        let lora = peft::read_config(dir)?.lora;
        catch_out_of_memory(ATTACH, || {
            let unused = peft::attach(&self.config, &mut self.weights, &lora, dir, self.device)?;
            self.files.unused.extend(unused);
            Ok(self.adapted(&lora))
        })
    }

    fn check_plain(&self) -> Result<(), PolicyError> {
        if self.lora.is_none() {
            return Ok(());
        }
        Err(PolicyError::unsupported(
            "lora",
            "adapters on a model that has some",
            "one set of adapters; merge the first one by saving with `merged`",
        ))
    }

    fn adapted(mut self, lora: &LoraConfig) -> Self {
        self.weights.narrow(&self.config, self.compute);
        self.lora = Some(lora.clone());
        self.fused.get_mut().take();
        self
    }

    /// Shape of the adapters, if there are any.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// Writes the adapters into `dir` in PEFT's format: `adapter_config.json` and
    /// `adapter_model.safetensors`.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidOption`] for a model without adapters, [`PolicyError::Write`] naming
    /// the file, [`PolicyError::Gather`] for weights that are missing.
    pub fn save_adapter(&self, dir: impl AsRef<Path>) -> Result<(), PolicyError> {
        let Some(lora) = &self.lora else {
            return Err(PolicyError::option("lora", "none", "a model with adapters"));
        };
        let dir = dir.as_ref();
        catch_out_of_memory(SAVE, || {
            self.gather_all()?;
            peft::write(&self.config, &self.weights, lora, self.source.as_deref(), dir)
        })?;
        self.write_generation(dir, &self.stop_tokens)
    }

    /// The model without its adapters. It shares the weights of this one, which must not be trained
    /// themselves: the natural reference policy of adapters.
    ///
    /// # Errors
    ///
    /// [`PolicyError::InvalidOption`] for a model without adapters, whose weights are trained.
    pub fn base(&self) -> Result<Self, PolicyError> {
        if self.lora.is_none() {
            return Err(PolicyError::option("lora", "none", "a model with adapters"));
        }
        let weights = catch_out_of_memory("take the adapters off", || {
            Ok::<_, PolicyError>(self.weights.base(&self.config))
        })?;
        Ok(Self {
            config: self.config.clone(),
            weights,
            device: self.device,
            compute: self.compute,
            fused: std::cell::RefCell::default(),
            stage_weights: StageCell::default(),
            gradient_checkpointing: self.gradient_checkpointing,
            lora: None,
            source: self.source.clone(),
            files: self.files.clone(),
            generation: self.generation.clone(),
            stop_tokens: self.stop_tokens.clone(),
        })
    }
}
