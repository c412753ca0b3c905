//! Properties of a model, and its memory.

use std::fmt;
use std::path::PathBuf;

use tch::{Device, Kind};

use crate::config::architecture::Architecture;
use crate::io::progress::LoadedFiles;
use crate::model::CausalLm;
use crate::policy::{Parameter, Policy};

/// Properties of a model and its memory, for a person to read.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadReport {
    /// Family of the model.
    pub architecture: Architecture,
    /// Path that it was loaded from; `None` with random weights.
    pub source: Option<PathBuf>,
    /// Files that were read there, adapters not counted; empty with random weights.
    pub files: LoadedFiles,
    /// Values of the model, adapters included.
    pub parameters: usize,
    /// Values that a trainer gets to train: the adapters', if there are any, else all.
    pub trainable: usize,
    /// Memory of the parameters on their device, in bytes.
    pub bytes: usize,
    /// Element type of the parameters that are not adapters.
    pub stored: Kind,
    /// Kind of the forward pass.
    pub compute: Kind,
    /// Device of the parameters.
    pub device: Device,
}

impl fmt::Display for LoadReport {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millions = |count: usize| count as f64 / 1e6;
        write!(
            f,
            "{}, {:.1} M parameters",
            self.architecture.model_type(),
            millions(self.parameters)
        )?;
        if self.trainable != self.parameters {
            write!(f, " ({:.2} M trained)", millions(self.trainable))?;
        }
        let mut types: Vec<_> = self.files.types.iter().collect();
        types.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (index, (name, _)) in types.iter().enumerate() {
            write!(f, "{}{name}", if index == 0 { " from " } else { " + " })?;
        }
        if self.files.bytes > 0 {
            write!(f, " ({:.0} MiB)", self.files.bytes as f64 / f64::from(1 << 20))?;
        }
        let mebibytes = self.bytes as f64 / f64::from(1 << 20);
        let (stored, compute) = (number_format(self.stored), number_format(self.compute));
        write!(f, ", {mebibytes:.0} MiB of {stored} on {}", place(self.device))?;
        write!(f, ", computing in {compute}")?;
        match self.files.unused.as_slice() {
            [] => Ok(()),
            [one] => write!(f, "; tensor `{one}` of the files is not used"),
            [first, rest @ ..] => {
                write!(f, "; tensor `{first}` and {} others of the files are not used", rest.len())
            }
        }
    }
}

/// The name of a number format, as in `--compute`.
fn number_format(kind: Kind) -> String {
    match kind {
        Kind::Float => "f32".to_owned(),
        Kind::Double => "f64".to_owned(),
        Kind::Half => "f16".to_owned(),
        Kind::BFloat16 => "bf16".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A device in words.
fn place(device: Device) -> String {
    match device {
        Device::Cpu => "the CPU".to_owned(),
        Device::Cuda(index) => format!("cuda:{index}"),
        other => format!("{other:?}"),
    }
}

impl CausalLm {
    /// Properties of the model and its memory.
    pub fn report(&self) -> LoadReport {
        let count = |parameters: &[Parameter]| -> usize {
            parameters.iter().map(|parameter| parameter.tensor.numel()).sum()
        };
        let (own, trained) = (self.weights.parameters(), self.parameters());
        let stored = own.first().map_or(self.compute, |parameter| parameter.tensor.kind());
        let saved = self.weights.saved().map(|parameter| parameter.tensor.numel()).sum::<usize>();
        let adapters = if self.lora.is_some() { count(&trained) - saved } else { 0 };
        let width = Kind::Float.elt_size_in_bytes();
        // What is trained in place of a parameter is kept beside it.
        let bytes = count(&own) * stored.elt_size_in_bytes() + (adapters + saved) * width;
        LoadReport {
            architecture: self.config.architecture,
            source: self.source.clone(),
            files: self.files.clone(),
            parameters: count(&own) + adapters,
            trainable: count(&trained),
            bytes,
            stored,
            compute: self.compute,
            device: self.device,
        }
    }
}
