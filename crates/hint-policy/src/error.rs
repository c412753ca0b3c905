//! The error type of this crate.

use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A batch or a list of prompts has no rows.
    #[error("there are no rows, at least 1 is expected")]
    NoRows,

    /// A prompt holds no token, so nothing predicts the first token of its completion.
    #[error(
        "row {row} has an empty prompt, at least 1 token is expected; start it with the model's bos token"
    )]
    EmptyPrompt {
        /// Index of the row.
        row: usize,
    },

    /// A token id does not exist in the model's vocabulary.
    #[error(
        "row {row} holds token id {token} at position {position}, expected an id below {vocab_size}"
    )]
    TokenOutOfRange {
        /// Index of the row.
        row: usize,
        /// Position in the row.
        position: usize,
        /// The id.
        token: i64,
        /// Vocabulary size of the model.
        vocab_size: usize,
    },

    /// A row is longer than the positions the model supports.
    #[error("row {row} needs {len} positions, the model supports {max_positions}")]
    RowTooLong {
        /// Index of the row.
        row: usize,
        /// Tokens of the row.
        len: usize,
        /// The model's limit.
        max_positions: usize,
    },

    /// The number of entries differs from the number of rows they belong to.
    #[error("{found} {name} were given for {expected} rows")]
    RowCount {
        /// Name of the entries.
        name: &'static str,
        /// Number given.
        found: usize,
        /// Number needed.
        expected: usize,
    },

    /// A row or prefix index of a decoder does not exist.
    #[error("there is no {name} {index}, there are {len}")]
    NoSuchIndex {
        /// `"row"` or `"prefix"`.
        name: &'static str,
        /// The index asked for.
        index: usize,
        /// Number that exists.
        len: usize,
    },

    /// A tensor has the wrong shape.
    #[error("`{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The offending tensor.
        name: &'static str,
        /// Its shape.
        found: Vec<i64>,
        /// The shape it should have.
        expected: Vec<i64>,
    },

    /// The model produced NaN or infinite logits.
    #[error("the logits of request {request} at completion position {position} are not finite")]
    NonFiniteLogits {
        /// Index of the request.
        request: usize,
        /// Position in the completion.
        position: usize,
    },

    /// A sampling parameter or score option is out of range.
    #[error("`{field}` is {found}, expected {expected}")]
    InvalidOption {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// The allowed values.
        expected: &'static str,
    },

    /// The weights that a pass reads could not be brought, see [`StageWeights`](crate::policy::StageWeights).
    #[error("cannot gather the weights of a pass")]
    Gather {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// Several options are out of range: an [`InvalidOption`](Self::InvalidOption) for each.
    #[error("{}", joined(.0))]
    InvalidOptions(Vec<Self>),

    /// A model configuration names something this crate does not implement.
    #[error("`{option}` is `{found}`, which is not supported; supported: {supported}")]
    Unsupported {
        /// The key of the configuration or metadata.
        option: String,
        /// Its value.
        found: String,
        /// The supported values.
        supported: String,
    },

    /// A model configuration contradicts itself or lacks a field.
    #[error("model configuration field `{field}` is {found}, expected {expected}")]
    InvalidConfig {
        /// The field.
        field: String,
        /// Its value, `missing` if it is absent.
        found: String,
        /// The expected value.
        expected: String,
    },

    /// A file or folder could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// A file or folder could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// A file that a model needs is not in its folder.
    #[error("there is no `{}`; {remedy}", path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
        /// The way to get it.
        remedy: String,
    },

    /// A path holds no model.
    #[error("`{}` holds no model, expected {expected}", path.display())]
    NoModel {
        /// The path.
        path: PathBuf,
        /// The thing that was searched.
        expected: String,
    },

    /// A JSON file does not parse or lacks a field.
    #[error("cannot parse `{}`", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },

    /// A weight file is truncated or corrupt.
    #[error("`{}` is truncated or corrupt: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The mismatch.
        reason: String,
    },

    /// A tensor the architecture needs is not in the file.
    #[error("`{}` has no tensor `{tensor}`", path.display())]
    MissingTensor {
        /// The file or folder.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },

    /// A tensor of a file has a shape that contradicts the configuration.
    #[error(
        "tensor `{tensor}` of `{}` has shape {found:?}, expected {expected:?}; the configuration and the weights belong to \
         different models, or one of them was changed",
        path.display()
    )]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<i64>,
        /// The shape the configuration implies.
        expected: Vec<i64>,
    },

    /// A tensor of a file has an element type this crate does not read.
    #[error("tensor `{tensor}` of `{}` has type {found}, supported: {supported}", path.display())]
    TensorType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
        /// The supported values.
        supported: &'static str,
    },

    /// A weight is NaN or infinite.
    #[error("tensor `{tensor}` of `{}` holds {count} NaN or infinite values", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Number of values.
        count: i64,
    },

    /// The tokenizer failed or could not be built.
    #[error("cannot {action}")]
    Tokenizer {
        /// The operation.
        action: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A model without a chat template was asked to render one.
    #[error(
        "the tokenizer has no chat template; build the prompt yourself, or add `chat_template.jinja`"
    )]
    NoChatTemplate,

    /// The chat template does not parse or refuses these messages.
    #[error("cannot render the chat template")]
    ChatTemplate {
        /// Why.
        #[source]
        source: minijinja::Error,
    },

    /// libtorch refused an operation whose failure depends on data or device.
    #[error("libtorch cannot {action}")]
    Torch {
        /// The operation.
        action: &'static str,
        /// Why.
        #[source]
        source: tch::TchError,
    },

    /// A GPU was asked for and cannot be used.
    #[error("cannot compute on `{device}`: {reason}")]
    NoDevice {
        /// The request.
        device: String,
        /// The missing part.
        reason: String,
    },

    /// libtorch could not allocate memory, on a GPU or on the host.
    #[error(
        "{action}: out of memory ({message}). Training takes less with fewer tokens per micro-batch \
         (`run.max_tokens_per_micro_batch`), gradient checkpointing or low-rank adapters; sampling with shorter \
         completions (`rollout.sampling.max_completion_len`) or fewer at a time (`--max-batch`, in evaluations \
         `evaluation.problems_per_call`); both in bfloat16"
    )]
    OutOfMemory {
        /// The operation.
        action: &'static str,
        /// Message of the allocator.
        message: String,
    },

    /// An error of a user's own [`Policy`](crate::Policy) or [`Decoder`](crate::Decoder).
    #[error("{part} failed")]
    Other {
        /// The part, for example `"policy"`.
        part: &'static str,
        /// The user's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl PolicyError {
    /// The same error, with another index of the row or request that it names. `rows` holds the new index at the place of
    /// the old one; an index beyond it stays. For functions that pass rows on in another order, or a part of them.
    ///
    /// ```
    /// use hint_policy::PolicyError;
    ///
    /// // The second of the rows that were passed on is the row 7 of the caller.
    /// let error = PolicyError::EmptyPrompt { row: 1 }.renumbered(&[4, 7]);
    /// assert!(matches!(error, PolicyError::EmptyPrompt { row: 7 }));
    /// ```
    #[must_use]
    pub fn renumbered(mut self, rows: &[usize]) -> Self {
        if let Self::EmptyPrompt { row }
        | Self::TokenOutOfRange { row, .. }
        | Self::RowTooLong { row, .. }
        | Self::NonFiniteLogits { request: row, .. } = &mut self
            && let Some(&renumbered) = rows.get(*row)
        {
            *row = renumbered;
        }
        self
    }

    /// A [`PolicyError::InvalidOption`] of a printable value.
    pub(crate) fn option(
        field: &'static str,
        found: &(impl ToString + ?Sized),
        expected: &'static str,
    ) -> Self {
        Self::InvalidOption { field, found: found.to_string(), expected }
    }

    /// The options that are out of range: nothing for none, the error itself for one.
    pub(crate) fn options(mut found: Vec<Self>) -> Result<(), Self> {
        match found.len() {
            0 => Ok(()),
            1 => Err(found.remove(0)),
            _ => Err(Self::InvalidOptions(found)),
        }
    }

    /// A [`PolicyError::InvalidConfig`] of a printable value.
    pub(crate) fn config(
        field: impl Into<String>,
        found: &(impl ToString + ?Sized),
        expected: impl Into<String>,
    ) -> Self {
        Self::InvalidConfig {
            field: field.into(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    /// A [`PolicyError::Unsupported`] of a printable value.
    pub(crate) fn unsupported(
        option: &str,
        found: &(impl ToString + ?Sized),
        supported: impl Into<String>,
    ) -> Self {
        Self::Unsupported {
            option: option.into(),
            found: found.to_string(),
            supported: supported.into(),
        }
    }
}
/// Several errors in one line.
fn joined(errors: &[PolicyError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
