//! Reading weights from safetensors, in one file or sharded with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use crate::config::ModelConfig;
use crate::config::layout::{HEAD, Init, ParameterSpec, layout};
use crate::error::PolicyError;
use crate::ffi;
use crate::files::text;
use crate::io::progress::{LoadProgress, LoadedFiles, ProgressRecorder};
use crate::tensor::size;

pub(crate) const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A safetensors file in memory.
pub(crate) struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    pub(crate) fn open(path: &Path) -> Result<Self, PolicyError> {
        Ok(Self { path: path.to_owned(), map: ffi::map_file(path)? })
    }

    /// Size in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.map.len() as u64
    }

    pub(crate) fn parse(&self) -> Result<ParsedFile<'_>, PolicyError> {
        text::refuse_pointer(&self.path, &self.map)?;
        let tensors = SafeTensors::deserialize(&self.map).map_err(|error| {
            PolicyError::Corrupt { path: self.path.clone(), reason: error.to_string() }
        })?;
        Ok(ParsedFile { path: &self.path, tensors })
    }
}

/// The tensors of a [`MappedFile`].
pub(crate) struct ParsedFile<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
}

impl ParsedFile<'_> {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.tensors.names()
    }

    /// Element type of the tensor of `spec`, which is checked, as its shape is.
    fn header(&self, spec: &ParameterSpec) -> Result<String, PolicyError> {
        let missing =
            || PolicyError::MissingTensor { path: self.path.to_owned(), tensor: spec.name.clone() };
        let view = self.tensors.tensor(&spec.name).map_err(|_| missing())?;
        let (_, name) = element_type(self.path, spec, view.dtype())?;
        let shape: Vec<i64> = view.shape().iter().map(|&n| size(n)).collect();
        check_shape(self.path, spec, &shape)?;
        Ok(name.to_owned())
    }

    /// The tensor of `spec` as `Float` on `device`.
    pub(crate) fn read(&self, spec: &ParameterSpec, device: Device) -> Result<Tensor, PolicyError> {
        Ok(read_tensor(&self.tensors, self.path, spec, device)?.0)
    }

    /// The tensor `name` of any shape, as `Float` on `device`.
    pub(crate) fn any(&self, name: &str, device: Device) -> Result<Tensor, PolicyError> {
        let shape = match self.tensors.tensor(name) {
            Ok(view) => view.shape().iter().map(|&n| size(n)).collect(),
            Err(_) => Vec::new(),
        };
        self.read(&ParameterSpec { name: name.to_owned(), shape, init: Init::Zeros }, device)
    }

    /// As [`Self::read`], with reports to the `recorder`.
    fn record(
        &self,
        spec: &ParameterSpec,
        device: Device,
        recorder: &mut ProgressRecorder<'_>,
    ) -> Result<Tensor, PolicyError> {
        let (tensor, kind, bytes) = read_tensor(&self.tensors, self.path, spec, device)?;
        recorder.tensor(kind, tensor.numel(), bytes);
        Ok(tensor)
    }
}

/// The part of `model.safetensors.index.json` that is needed.
#[derive(Debug, Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Whether `dir` holds weights in this format.
pub(crate) fn exist(dir: &Path) -> bool {
    dir.join(SINGLE).exists() || dir.join(INDEX).exists()
}

/// Reads the tensors of `specs`, the parameters of `config`, in order, as `Float` on `device`; one file is
/// mapped at a time.
pub(crate) fn read(
    dir: &Path,
    config: &ModelConfig,
    specs: &[ParameterSpec],
    device: Device,
    observer: &mut dyn FnMut(LoadProgress),
) -> Result<(Vec<Tensor>, LoadedFiles), PolicyError> {
    let mut found: Vec<Option<Tensor>> = specs.iter().map(|_| None).collect();
    let files = visit(dir, config, specs, device, observer, |index, tensor| {
        found[index] = Some(tensor);
    })?;
    let missing = |spec: &ParameterSpec| PolicyError::MissingTensor {
        path: dir.to_owned(),
        tensor: spec.name.clone(),
    };
    let tensors = found.into_iter().zip(specs);
    let tensors = tensors.map(|(tensor, spec)| tensor.ok_or_else(|| missing(spec)));
    Ok((tensors.collect::<Result<_, _>>()?, files))
}

/// Hands the tensors of `specs` to `take`, with their indices, in the order of the files.
pub(crate) fn visit(
    dir: &Path,
    config: &ModelConfig,
    specs: &[ParameterSpec],
    device: Device,
    observer: &mut dyn FnMut(LoadProgress),
    mut take: impl FnMut(usize, Tensor),
) -> Result<LoadedFiles, PolicyError> {
    let specs = &located(dir, specs)?;
    let files = files(dir, specs)?;
    let total = files.keys().map(|path| {
        let read = |source| PolicyError::Read { path: path.clone(), source };
        Ok(std::fs::metadata(path).map_err(read)?.len())
    });
    let mut recorder = ProgressRecorder::new(total.sum::<Result<u64, PolicyError>>()?, observer);
    let known: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let (mut embedding, mut head) = (None, None);
    for (path, wanted) in files {
        let mapped = MappedFile::open(&path)?;
        let file = mapped.parse()?;
        for index in wanted {
            let tensor = file.record(&specs[index], device, &mut recorder)?;
            // Checkpoints begin with the embedding.
            if index == 0 {
                embedding = Some(tensor.shallow_clone());
            }
            take(index, tensor);
        }
        for name in file.names().into_iter().filter(|name| !known.contains(name)) {
            if config.tie_word_embeddings && name.ends_with(HEAD) {
                let shape = vec![size(config.vocab_size), size(config.hidden_size)];
                let spec = ParameterSpec { name: name.to_owned(), shape, init: Init::Normal };
                head = Some(file.read(&spec, device)?);
            } else {
                recorder.unused(name);
            }
        }
        recorder.file(mapped.len());
    }
    if head.is_some() && head != embedding {
        return Err(PolicyError::config(
            "tie_word_embeddings",
            "true",
            "`lm_head.weight` to equal `model.embed_tokens.weight`, from which it differs; set it to false to \
             use that head, or remove the tensor to use the embedding (programs disagree on which one counts)",
        ));
    }
    Ok(recorder.into_files())
}

/// The parameters under the names that `dir` has for them.
fn located(dir: &Path, specs: &[ParameterSpec]) -> Result<Vec<ParameterSpec>, PolicyError> {
    let names = stored_names(dir)?;
    let specs: Vec<ParameterSpec> = specs.iter().map(|spec| spec.stored_as(&names)).collect();
    let is_missing = |spec: &&ParameterSpec| !names.contains(&spec.name);
    if let Some(embedding) = specs.first().filter(is_missing) {
        let prefixed = names.iter().find_map(|name| name.strip_suffix(&embedding.name));
        if let Some(prefix) = prefixed.filter(|prefix| prefix.ends_with('.')) {
            let supported = "names as `save_pretrained` writes them; the model was saved from within another \
                             (compiled, of several devices, or with adapters): save the inner one, or remove the prefix";
            let option = format!("prefix of tensors in {}", dir.display());
            return Err(PolicyError::unsupported(&option, prefix, supported));
        }
    }
    check_modules(dir, &specs, &names)?;
    if specs.iter().any(|spec| spec.name == HEAD && !names.contains(HEAD)) {
        return Err(PolicyError::config(
            "tie_word_embeddings",
            "false",
            "`lm_head.weight` in the files, which lack it; set it to true if the model uses its embedding as head",
        ));
    }
    Ok(specs)
}

/// Ends of tensors of a projection that stand in the place of its weight, and their reasons.
const IN_PLACE: [(&str, &str); 6] = [
    ("base_layer.weight", "it was saved with its adapters; merge them by `merge_and_unload`"),
    ("qweight", QUANTIZED),
    ("weight_packed", QUANTIZED),
    ("weight_blocks", QUANTIZED),
    ("w_q", QUANTIZED),
    ("SCB", QUANTIZED),
];

const QUANTIZED: &str = "it is quantized; load the model that was quantized, in bf16, f16 or f32";

/// Refuses weights that are there in another form, by its name.
fn check_modules(
    dir: &Path,
    specs: &[ParameterSpec],
    names: &BTreeSet<String>,
) -> Result<(), PolicyError> {
    let missing = specs.iter().filter(|spec| !names.contains(&spec.name));
    for module in missing.filter_map(|spec| spec.name.strip_suffix("weight")) {
        let found = IN_PLACE.iter().find(|(end, _)| names.contains(&format!("{module}{end}")));
        if let Some((end, reason)) = found {
            let option = format!("{module}weight in {}", dir.display());
            let supported = format!("plain weights; {reason}");
            return Err(PolicyError::unsupported(&option, &format!("{module}{end}"), supported));
        }
    }
    Ok(())
}

/// Content of `dir` for a model, by headers alone.
pub(crate) fn survey(dir: &Path, config: &ModelConfig) -> Result<LoadedFiles, PolicyError> {
    let specs = located(dir, &layout(config))?;
    let mut survey = LoadedFiles::default();
    let known: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    for (path, wanted) in files(dir, &specs)? {
        let mapped = MappedFile::open(&path)?;
        let file = mapped.parse()?;
        for index in wanted {
            let kind = file.header(&specs[index])?;
            *survey.types.entry(kind).or_default() += specs[index].values();
        }
        let tied = |name: &str| config.tie_word_embeddings && name.ends_with(HEAD);
        let unused = file.names().into_iter().filter(|name| !known.contains(name) && !tied(name));
        survey.unused.extend(unused.map(str::to_owned));
        survey.bytes += mapped.len();
    }
    Ok(survey)
}

/// The names of all tensors in `dir`.
fn stored_names(dir: &Path) -> Result<BTreeSet<String>, PolicyError> {
    let index = dir.join(INDEX);
    if dir.join(SINGLE).exists() || !index.exists() {
        let file = MappedFile::open(&dir.join(SINGLE))?;
        return Ok(file.parse()?.names().into_iter().map(str::to_owned).collect());
    }
    Ok(read_index(&index)?.weight_map.into_keys().collect())
}

fn read_index(path: &Path) -> Result<Index, PolicyError> {
    let text = text::read(path)?;
    serde_json::from_str(&text)
        .map_err(|source| PolicyError::Json { path: path.to_owned(), source })
}

impl ParameterSpec {
    /// The same parameter under its name among `names`. Models of several kinds of input keep their language
    /// model under a prefix. A model that was saved without its head lacks one.
    fn stored_as(&self, names: &BTreeSet<String>) -> Self {
        let inner = self.name.strip_prefix("model.").unwrap_or(&self.name);
        let prefixed = [
            self.name.clone(),
            format!("language_model.{}", self.name),
            format!("model.language_model.{inner}"),
            inner.to_owned(),
        ];
        let stored = prefixed.into_iter().find(|name| names.contains(name));
        Self { name: stored.unwrap_or_else(|| self.name.clone()), ..self.clone() }
    }
}

/// The file of `dir` that holds each of `specs`, by index. Files without any are listed too.
fn files(
    dir: &Path,
    specs: &[ParameterSpec],
) -> Result<BTreeMap<PathBuf, Vec<usize>>, PolicyError> {
    let single = dir.join(SINGLE);
    let index_path = dir.join(INDEX);
    if single.exists() || !index_path.exists() {
        return Ok(BTreeMap::from([(single, (0..specs.len()).collect())]));
    }
    let index = read_index(&index_path)?;
    let mut files: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
    for (tensor, name) in &index.weight_map {
        // A shard lies beside its index; anything else would read files the user did not name.
        if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
            return Err(PolicyError::Corrupt {
                path: index_path,
                reason: format!("shard `{name}` of tensor `{tensor}` is not a file name"),
            });
        }
        files.entry(dir.join(name)).or_default();
    }
    if let Some(path) = files.keys().find(|path| !path.is_file()) {
        let missing = files.keys().filter(|path| !path.is_file()).count();
        let remedy = format!(
            "`{INDEX}` names it; {missing} of {} files are missing: get them, too",
            files.len()
        );
        return Err(PolicyError::MissingFile { path: path.clone(), remedy });
    }
    for (position, spec) in specs.iter().enumerate() {
        let name = index.weight_map.get(&spec.name).ok_or_else(|| PolicyError::MissingTensor {
            path: index_path.clone(),
            tensor: spec.name.clone(),
        })?;
        files.entry(dir.join(name)).or_default().push(position);
    }
    Ok(files)
}

/// A tensor as `Float` on `device`, its element type in the file, and its size there in bytes.
fn read_tensor(
    file: &SafeTensors<'_>,
    path: &Path,
    spec: &ParameterSpec,
    device: Device,
) -> Result<(Tensor, &'static str, usize), PolicyError> {
    let view = file.tensor(&spec.name).map_err(|_| PolicyError::MissingTensor {
        path: path.to_owned(),
        tensor: spec.name.clone(),
    })?;
    let (kind, name) = element_type(path, spec, view.dtype())?;
    let shape: Vec<i64> = view.shape().iter().map(|&n| size(n)).collect();
    check_shape(path, spec, &shape)?;
    let torch = |source| PolicyError::torch("copy a tensor", source);
    let tensor = Tensor::f_from_data_size(view.data(), &shape, kind).map_err(torch)?;
    Ok((finish(path, spec, &tensor, device)?, name, view.data().len()))
}

/// The kind of an element type, and its name in the file.
fn element_type(
    path: &Path,
    spec: &ParameterSpec,
    found: Dtype,
) -> Result<(Kind, &'static str), PolicyError> {
    match found {
        Dtype::F32 => Ok((Kind::Float, "F32")),
        Dtype::F16 => Ok((Kind::Half, "F16")),
        Dtype::BF16 => Ok((Kind::BFloat16, "BF16")),
        Dtype::F64 => Ok((Kind::Double, "F64")),
        other => Err(PolicyError::TensorType {
            path: path.to_owned(),
            tensor: spec.name.clone(),
            found: format!("{other:?}"),
            supported: "F32, F16, BF16, F64",
        }),
    }
}

/// Checks the shape that a file gives for a tensor.
pub(crate) fn check_shape(
    path: &Path,
    spec: &ParameterSpec,
    found: &[i64],
) -> Result<(), PolicyError> {
    if found == spec.shape {
        return Ok(());
    }
    Err(PolicyError::TensorShape {
        path: path.to_owned(),
        tensor: spec.name.clone(),
        found: found.to_vec(),
        expected: spec.shape.clone(),
    })
}

/// Converts to `Float` on `device` and refuses NaN and infinities.
pub(crate) fn finish(
    path: &Path,
    spec: &ParameterSpec,
    tensor: &Tensor,
    device: Device,
) -> Result<Tensor, PolicyError> {
    let torch = |source| PolicyError::torch("move a tensor to the device", source);
    let tensor = tensor.f_to_kind(Kind::Float).map_err(torch)?;
    // One pass without a copy; a NaN comes out as both.
    let (least, most) = tensor.f_aminmax(None, false).map_err(torch)?;
    if !(least.double_value(&[]).is_finite() && most.double_value(&[]).is_finite()) {
        let count = tensor.isfinite().logical_not().sum(Kind::Int64).int64_value(&[]);
        let tensor = spec.name.clone();
        return Err(PolicyError::NotFinite { path: path.to_owned(), tensor, count });
    }
    tensor.f_to_device(device).map_err(torch)
}
