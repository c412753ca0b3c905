//! Content of a model's files, without loading it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tch::{Device, Tensor};

use crate::config::layout::layout;
use crate::config::{LoraConfig, ModelConfig};
use crate::error::PolicyError;
use crate::gguf::Gguf;
use crate::io::progress::{LoadProgress, LoadedFiles};
use crate::io::{generation, gguf_model, load, peft, safetensors_file};

/// Content of a model's files, without loading it.
///
/// ```no_run
/// use hint_policy::io::Inspection;
///
/// let model = Inspection::new("Qwen2.5-0.5B-Instruct", None)?;
/// println!("{:?}, ends at {:?}", model.config, model.stop_tokens);
/// model.check_values()?; // Reads every weight: none may be infinite or not a number.
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Path of the weights.
    pub path: PathBuf,
    /// Shape and constants.
    pub config: ModelConfig,
    /// Content of its weights.
    pub files: LoadedFiles,
    /// Tokens that end a completion, sorted, without those of the tokenizer.
    pub stop_tokens: Vec<u32>,
    /// Shape of the adapter, if the folder holds one.
    pub lora: Option<LoraConfig>,
    /// Folder of the adapter.
    pub adapter: Option<PathBuf>,
    /// Settings of `generation_config.json`, of the model and then of the adapter.
    pub generation: Map<String, Value>,
}

impl Inspection {
    /// Reads configuration and headers of a folder or file that [`CausalLm::load`](crate::CausalLm::load) takes.
    /// Checks that every tensor of the model is there with the right shape. `base` is the base model of an adapter, in
    /// place of the one that it names.
    ///
    /// # Errors
    ///
    /// As [`CausalLm::load`](crate::CausalLm::load), apart from what [`Inspection::check_values`] finds.
    pub fn new(path: impl AsRef<Path>, base: Option<&Path>) -> Result<Self, PolicyError> {
        let path = path.as_ref();
        if path.is_file() {
            return Self::of_gguf(&Gguf::open(path)?);
        }
        let path = load::resolve(path);
        if load::is_adapter(&path)? {
            let adapter = peft::read_config(&path)?;
            let found = load::find_base(&path, adapter.base, base)?;
            let model = Self::new(found, None)?;
            peft::survey(&model.config, &adapter.lora, &path)?;
            let lora = Some(adapter.lora);
            let own = generation::read(&path)?;
            let stop_tokens = load::sorted([&model.stop_tokens, &generation::stop_tokens(&own)]);
            let generation = model.generation.into_iter().chain(own).collect();
            return Ok(Self { lora, adapter: Some(path), stop_tokens, generation, ..model });
        }
        let config = load::folder_config(&path)?;
        let files = safetensors_file::survey(&path, &config)?;
        let generation = generation::read(&path)?;
        let named = generation::stop_tokens(&generation);
        Ok(Self {
            stop_tokens: load::sorted([&named, &config.eos_token_ids]),
            lora: None,
            adapter: None,
            generation,
            files,
            config,
            path,
        })
    }

    fn of_gguf(gguf: &Gguf) -> Result<Self, PolicyError> {
        let config = gguf_model::config(gguf)?;
        let files = gguf_model::survey(gguf, &config)?;
        Ok(Self {
            path: gguf.path().to_owned(),
            stop_tokens: load::sorted([&gguf_model::stop_tokens(gguf), &config.eos_token_ids]),
            lora: None,
            adapter: None,
            generation: Map::new(),
            files,
            config,
        })
    }

    /// Reads all weights of the model, one at a time, as [`CausalLm::load`](crate::CausalLm::load) would.
    ///
    /// # Errors
    ///
    /// Values that are not finite, or a head that differs from the embedding that stands for it. An adapter that holds
    /// changed weights of the model.
    pub fn check_values(&self) -> Result<(), PolicyError> {
        let (config, observer, device) = (&self.config, &mut |_: LoadProgress| {}, Device::Cpu);
        let specs = layout(config);
        let beside = match (&self.adapter, &self.lora) {
            (Some(dir), Some(lora)) => peft::survey(config, lora, dir)?,
            _ => Vec::new(),
        };
        let mut differs = None;
        let mut check = |index: usize, tensor: &Tensor| {
            let mut same = beside.iter().filter(|one| one.name == specs[index].name);
            differs = differs.take().or_else(|| same.find_map(|one| one.check(tensor).err()));
        };
        if self.path.is_file() {
            let mut indices = 0..;
            let check = |tensor: Tensor| indices.next().into_iter().for_each(|i| check(i, &tensor));
            gguf_model::visit(&Gguf::open(&self.path)?, config, device, observer, check)?;
        } else {
            let check = |index, tensor: Tensor| check(index, &tensor);
            safetensors_file::visit(&self.path, config, &specs, device, observer, check)?;
        }
        differs.map_or(Ok(()), Err)
    }
}
