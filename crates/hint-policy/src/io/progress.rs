//! Progress of loading, and the bytes read.

use std::collections::BTreeMap;

/// Amount of a model's weights that was read so far, in bytes of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes that were read.
    pub done: u64,
    /// Size of the files.
    pub total: u64,
}

/// Content of the files of weights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedFiles {
    /// Their size in bytes.
    pub bytes: u64,
    /// Number of values that were read, by the name of their element type in the files.
    pub types: BTreeMap<String, usize>,
    /// Tensors that the model has no use for.
    pub unused: Vec<String>,
}

/// Counts the bytes that are read and reports them to an observer.
pub(crate) struct ProgressRecorder<'a> {
    files: LoadedFiles,
    done: u64,
    /// Bytes that were read at the end of the last whole file.
    whole: u64,
    observer: &'a mut dyn FnMut(LoadProgress),
}

impl<'a> ProgressRecorder<'a> {
    /// Begins to read files of `bytes` in all.
    pub(crate) fn new(bytes: u64, observer: &'a mut dyn FnMut(LoadProgress)) -> Self {
        let files = LoadedFiles { bytes, ..LoadedFiles::default() };
        let mut recorder = Self { files, done: 0, whole: 0, observer };
        recorder.tell();
        recorder
    }

    /// A tensor was read.
    pub(crate) fn tensor(&mut self, kind: &str, values: usize, bytes: usize) {
        *self.files.types.entry(kind.to_owned()).or_default() += values;
        self.done += bytes as u64;
        self.tell();
    }

    /// A tensor is there that nobody reads.
    pub(crate) fn unused(&mut self, name: &str) {
        self.files.unused.push(name.to_owned());
    }

    /// Nothing more is read from a file of `bytes`.
    pub(crate) fn file(&mut self, bytes: u64) {
        self.whole += bytes;
        self.done = self.whole;
        self.tell();
    }

    pub(crate) fn into_files(mut self) -> LoadedFiles {
        self.files.unused.sort_unstable();
        self.files
    }

    fn tell(&mut self) {
        let total = self.files.bytes;
        (self.observer)(LoadProgress { done: self.done.min(total), total });
    }
}
