//! The engine: the sampler of completions.

use std::any::Any;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::peers::Peers;
use crate::error::{RolloutError, Violations};
use crate::run::Activity;

/// Number of optimizer steps behind a set of weights.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PolicyVersion(pub u64);

/// Sampling of completions.
///
/// ```
/// use hint_rollout::Sampling;
///
/// let sampling = Sampling { temperature: 0.7, top_p: 0.9, ..Sampling::default() };
/// assert!(sampling.truncates(), "a nucleus leaves tokens out");
/// assert_eq!(sampling.greedy().temperature, 0.0);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Softmax temperature. 0 is greedy. (HINT reference: 0.9)
    pub temperature: f64,
    /// Keep only this many of the likeliest tokens.
    pub top_k: Option<usize>,
    /// Keep the likeliest tokens whose probabilities sum to this. In `(0, 1]`.
    pub top_p: f64,
    /// Drop tokens less likely than this share of the likeliest. In `[0, 1)`.
    pub min_p: f64,
    /// Longest completion, in tokens. (HINT reference: 3000)
    pub max_completion_len: usize,
    /// Shortest completion, in tokens: before them, stop tokens cannot be drawn, and stop texts do not count. A stop
    /// text that begins within them is cut behind them.
    pub min_completion_len: usize,
    /// Texts that end a completion, which is cut before them: it has the tokens that precede the text, and
    /// their log-probabilities. They may be of several tokens.
    pub stop: Vec<String>,
    /// Tokens that are never drawn, by id; the others are renormalized.
    pub banned_tokens: Vec<u32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.9,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            max_completion_len: 3000,
            min_completion_len: 0,
            stop: Vec::new(),
            banned_tokens: Vec::new(),
        }
    }
}

impl Sampling {
    pub(crate) fn check(&self, at: &mut Violations) {
        at.not_negative("temperature", self.temperature);
        at.require(self.top_k != Some(0), "top_k", "must be at least 1", 0);
        at.positive_share("top_p", self.top_p);
        let holds = (0.0..1.0).contains(&self.min_p);
        at.require(holds, "min_p", "must be in [0, 1)", self.min_p);
        at.at_least("max_completion_len", self.max_completion_len, 1);
        let holds = self.min_completion_len <= self.max_completion_len;
        let expected = "must not exceed max_completion_len";
        at.require(holds, "min_completion_len", expected, self.min_completion_len);
        let holds = self.stop.iter().all(|text| !text.is_empty());
        at.require(holds, "stop", "must hold no empty text", format_args!("{:?}", self.stop));
    }

    /// Whether some tokens cannot be drawn, so that the distribution is not the policy's own.
    pub fn truncates(&self) -> bool {
        let excludes = self.min_completion_len > 0 || !self.banned_tokens.is_empty();
        excludes || self.top_k.is_some() || self.top_p < 1.0 || self.min_p > 0.0
    }

    /// Where the first of the texts [`stop`](Self::stop) begins in the text of `tokens`, in bytes. One counts if it ends
    /// behind the first [`min_completion_len`](Self::min_completion_len) tokens, as in vLLM.
    pub(crate) fn find_stop<E>(
        &self,
        tokens: &[u32],
        decode: impl Fn(&[u32]) -> Result<String, E>,
    ) -> Result<Option<usize>, E> {
        if self.stop.is_empty() || tokens.len() <= self.min_completion_len {
            return Ok(None);
        }
        let least = decode(&tokens[..self.min_completion_len])?;
        // The mark of a character of which tokens are missing is no text yet.
        let least = least.trim_end_matches('\u{fffd}').len();
        let text = decode(tokens)?;
        let begin = |stop: &String| {
            let from = text.ceil_char_boundary((least + 1).saturating_sub(stop.len()));
            text[from..].find(stop.as_str()).map(|place| from + place)
        };
        Ok(self.stop.iter().filter_map(begin).min())
    }

    /// The same limits, with the likeliest token each time.
    #[must_use]
    pub fn greedy(&self) -> Self {
        Self { temperature: 0.0, top_k: None, top_p: 1.0, min_p: 0.0, ..self.clone() }
    }
}

/// One prompt to continue.
///
/// ```
/// use hint_rollout::{GenerationRequest, Sampling};
///
/// let sampling = Sampling { max_completion_len: 64, ..Sampling::default() };
/// let request = GenerationRequest::new(vec![1, 2, 3], 8, 17, sampling);
/// assert_eq!((request.num_completions, request.seed), (8, 17));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GenerationRequest {
    /// The sampling prompt, which may contain a hint. Token ids.
    pub prompt: Vec<u32>,
    /// Number of completions to sample.
    pub num_completions: usize,
    /// Seed. The random numbers of a completion depend on it, on the completion's index and on the
    /// token's position, never on other requests.
    pub seed: u64,
    /// Sampling of the completions.
    pub sampling: Sampling,
    /// Tokens that a completion is expected to have, from earlier completions of the problem. An engine may take long
    /// ones first; it changes no result beyond float noise.
    pub expected_tokens: Option<f64>,
}

impl GenerationRequest {
    /// A request for `num_completions` completions of `prompt`.
    pub fn new(prompt: Vec<u32>, num_completions: usize, seed: u64, sampling: Sampling) -> Self {
        Self { prompt, num_completions, seed, sampling, expected_tokens: None }
    }
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The policy sampled a stop token, which is the last token of the completion.
    Stop,
    /// The token limit was reached.
    Length,
}

impl StopReason {
    /// The `snake_case` name, as in serialized form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Result of one call after a prompt.
///
/// ```
/// use hint_rollout::{Completion, PolicyVersion, StopReason};
///
/// // Three tokens, the second of which a tool wrote.
/// let logprobs = vec![-0.3, 0.0, -1.2];
/// let completion = Completion::new(vec![7, 8, 9], logprobs, StopReason::Length, PolicyVersion(0))
///     .with_loss_mask(vec![true, false, true]);
/// assert_eq!(completion.policy_tokens(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Completion {
    /// The sampled tokens, the stop token included.
    pub tokens: Vec<u32>,
    /// `log μ(y_t | sampling prompt, y_<t)` of each token, in nats: the distribution that drew it,
    /// with temperature, truncation and hint. One per token.
    pub behavior_logprobs: Vec<f64>,
    /// Tokens that train: true for tokens that the policy wrote. A token that somebody else wrote
    /// in the middle of a completion, such as the output of a tool, is context alone.
    pub loss_mask: Vec<bool>,
    /// Why it ended.
    pub stop: StopReason,
    /// The weights that sampled it.
    pub version: PolicyVersion,
}

impl Completion {
    /// A completion of which the policy wrote every token.
    pub fn new(
        tokens: Vec<u32>,
        behavior_logprobs: Vec<f64>,
        stop: StopReason,
        version: PolicyVersion,
    ) -> Self {
        let loss_mask = vec![true; tokens.len()];
        Self { tokens, behavior_logprobs, loss_mask, stop, version }
    }

    /// Sets which tokens train: one entry per token, false for tokens that the policy did not
    /// write.
    #[must_use]
    pub fn with_loss_mask(mut self, loss_mask: Vec<bool>) -> Self {
        self.loss_mask = loss_mask;
        self
    }

    /// How many of its tokens the policy wrote.
    pub fn policy_tokens(&self) -> usize {
        self.loss_mask.iter().filter(|trains| **trains).count()
    }
}

/// What a caller of [`RolloutEngine::generate_watched`] does with completions as they end.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use hint_rollout::Completion;
/// use hint_rollout::engine::GenerationWatch;
///
/// /// Counts tokens while others are sampled.
/// struct Tokens(AtomicUsize);
///
/// impl GenerationWatch for Tokens {
///     fn on_completion(&self, _request: usize, _index: usize, completion: &Completion) {
///         self.0.fetch_add(completion.tokens.len(), Ordering::Relaxed);
///     }
/// }
/// ```
pub trait GenerationWatch: Sync {
    /// A completion has ended: the one with the number `index`, from 0, of the request at the place `request` in the call.
    /// The engine goes on when this returns.
    fn on_completion(&self, request: usize, index: usize, completion: &Completion);

    /// Whether the other completions of a request end where they are, asked after one of it has ended. They are returned with
    /// the tokens that were sampled so far, perhaps none, and as if the limit was reached. An engine that
    /// [`ends_requests`](RolloutEngine::ends_requests) asks it.
    fn is_decided(&self, request: usize) -> bool {
        let _ = request;
        false
    }
}

/// Samples completions. Handles no rewards, groups or hints.
///
/// ```
/// use hint_rollout::{Completion, GenerationRequest, PolicyVersion, RolloutEngine, RolloutError, StopReason, WeightSource};
///
/// /// Answers every prompt with its own last token.
/// struct Echo;
///
/// impl RolloutEngine for Echo {
///     fn generate(
///         &mut self,
///         requests: &[GenerationRequest],
///     ) -> Result<Vec<Vec<Completion>>, RolloutError> {
///         let echo = |request: &GenerationRequest| {
///             let tokens = request.prompt.last().copied().into_iter().collect::<Vec<_>>();
///             let logprobs = vec![0.0; tokens.len()];
///             Completion::new(tokens, logprobs, StopReason::Length, PolicyVersion(0))
///         };
///         Ok(requests.iter().map(|r| vec![echo(r); r.num_completions]).collect())
///     }
///
///     fn sync(&mut self, _weights: &dyn WeightSource) -> Result<(), RolloutError> {
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no engine",
    note = "implement its two methods, `generate` and `sync`; `LocalEngine` samples from a policy in \
            this process"
)]
pub trait RolloutEngine: Send {
    /// Its name and its settings, for the record of a run: a run is not resumed with another engine. By default the name
    /// of its type: an engine with settings that change its samples writes them too. `None` for engines that a run may
    /// move between, such as those of this crate.
    fn name(&self) -> Option<String> {
        Some(std::any::type_name::<Self>().to_owned())
    }

    /// Returns `request.num_completions` completions for each request, in request order. Each has
    /// one finite log-probability and one entry of the loss mask per token. The log-probability of a
    /// token that the policy did not write is ignored; 0 will do.
    ///
    /// # Errors
    ///
    /// Any error that keeps the engine from sampling. A user's own engine wraps its error with
    /// [`RolloutError::other`].
    fn generate(
        &mut self,
        requests: &[GenerationRequest],
    ) -> Result<Vec<Vec<Completion>>, RolloutError>;

    /// As [`generate`](Self::generate), and tells `watch` of completions as they end, so that they are judged while
    /// others are sampled. Those that it tells of are the ones that it returns, each once, in any order. By default it tells
    /// of none: then all are judged after the call.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate).
    fn generate_watched(
        &mut self,
        requests: &[GenerationRequest],
        watch: &dyn GenerationWatch,
    ) -> Result<Vec<Vec<Completion>>, RolloutError> {
        let _ = watch;
        self.generate(requests)
    }

    /// Whether [`generate_watched`](Self::generate_watched) tells of every completion at its end, and ends a request that the
    /// watch [calls decided](GenerationWatch::is_decided). False by default; `rollout.early_stop` needs it.
    fn ends_requests(&self) -> bool {
        false
    }

    /// Takes up new weights. An engine that shares the policy in memory only records the version.
    ///
    /// # Errors
    ///
    /// Any error that keeps the engine from loading them.
    fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError>;

    /// Gets the counter of a display, which the engine advances by one for each completion that it has sampled.
    /// By default nothing is counted.
    fn watch(&mut self, activity: &Activity) {
        let _ = activity;
    }

    /// Tokens that a prompt and its completion may have together; `None` if it is not known.
    /// [`TooLong`] decides the treatment of longer ones; they are not asked.
    fn max_positions(&self) -> Option<usize> {
        None
    }

    /// Tokens that a prompt may have. By default it must leave room for one token more.
    fn max_prompt_len(&self, sampling: &Sampling) -> Option<usize> {
        let _ = sampling;
        self.max_positions().map(|positions| positions.saturating_sub(1))
    }

    /// The policy in the memory of this process that it samples from, by its number there
    /// (`hint_policy::SharedPolicy::id`). `None` by default, and for an engine elsewhere. A run that samples ahead
    /// refuses an engine whose policy is the trained one.
    fn policy_id(&self) -> Option<usize> {
        None
    }

    /// The processes that it shares every call with, if there are any.
    fn peers(&self) -> Option<&dyn Peers> {
        None
    }

    /// Whether the first of several processes samples for all of them, and alone takes up weights. So it is with servers,
    /// which have one set of weights. By default each process samples its part.
    ///
    /// The other processes have an engine for which this holds as well. It is asked for its limits alone, which must be
    /// those of the first process.
    fn samples_for_all(&self) -> bool {
        false
    }

    /// The [limit](Self::max_positions) of the engine of the first process, which [samples for
    /// all](Self::samples_for_all). The engines of the others take it over after each call.
    fn follow(&mut self, max_positions: Option<usize>) {
        let _ = max_positions;
    }
}

/// Treatment of a prompt, a hint or a demonstration that is longer than the engine holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// The problem, or the hint, is left out and counted.
    #[default]
    Drop,
    /// A hint is cut until it fits. A prompt or a demonstration is left out and counted.
    TruncateHint,
    /// The run stops.
    Abort,
}

/// A pointer to an engine is one.
macro_rules! forward_to_engine {
    ($($pointer:ty),*) => {$(
        impl<E: RolloutEngine + ?Sized> RolloutEngine for $pointer {
            fn name(&self) -> Option<String> {
                (**self).name()
            }

            fn generate(
                &mut self,
                requests: &[GenerationRequest],
            ) -> Result<Vec<Vec<Completion>>, RolloutError> {
                (**self).generate(requests)
            }

            fn generate_watched(
                &mut self,
                requests: &[GenerationRequest],
                watch: &dyn GenerationWatch,
            ) -> Result<Vec<Vec<Completion>>, RolloutError> {
                (**self).generate_watched(requests, watch)
            }

            fn ends_requests(&self) -> bool {
                (**self).ends_requests()
            }

            fn sync(&mut self, weights: &dyn WeightSource) -> Result<(), RolloutError> {
                (**self).sync(weights)
            }

            fn watch(&mut self, activity: &Activity) {
                (**self).watch(activity);
            }

            fn max_positions(&self) -> Option<usize> {
                (**self).max_positions()
            }

            fn max_prompt_len(&self, sampling: &Sampling) -> Option<usize> {
                (**self).max_prompt_len(sampling)
            }

            fn policy_id(&self) -> Option<usize> {
                (**self).policy_id()
            }

            fn peers(&self) -> Option<&dyn Peers> {
                (**self).peers()
            }

            fn samples_for_all(&self) -> bool {
                (**self).samples_for_all()
            }

            fn follow(&mut self, max_positions: Option<usize>) {
                (**self).follow(max_positions);
            }
        }
    )*};
}

forward_to_engine!(Box<E>, &mut E);

/// Form of the LM head in an engine's checkpoint, for a model that shares it with the embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadWeights {
    /// Left out, as in training.
    Tied,
    /// Written as `lm_head.weight`, with `tie_word_embeddings` off.
    Untied,
}

/// Weights as an engine in another process can consume them.
///
/// ```
/// use std::path::Path;
///
/// use hint_rollout::engine::HeadWeights;
/// use hint_rollout::{PolicyVersion, RolloutError, WeightSource};
///
/// /// Weights that a trainer of another program has written already.
/// struct Exported<'a> {
///     folder: &'a Path,
///     step: u64,
/// }
///
/// impl WeightSource for Exported<'_> {
///     fn version(&self) -> PolicyVersion {
///         PolicyVersion(self.step)
///     }
///
///     fn write_checkpoint(&self, dir: &Path, _head: HeadWeights) -> Result<(), RolloutError> {
///         for file in ["config.json", "model.safetensors"] {
///             std::fs::copy(self.folder.join(file), dir.join(file))
///                 .map_err(|error| RolloutError::other("copy of the weights", error))?;
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait WeightSource {
    /// Version of these weights: the number of optimizer steps taken.
    fn version(&self) -> PolicyVersion;

    /// Writes a folder that holds the weights as `model.safetensors` and their `config.json`.
    ///
    /// # Errors
    ///
    /// Any error that keeps the folder from being written.
    fn write_checkpoint(&self, dir: &Path, head: HeadWeights) -> Result<(), RolloutError>;

    /// Writes the low-rank adapters alone into `dir`, as PEFT's `adapter_model.safetensors` and `adapter_config.json`.
    /// Returns false, and writes nothing, unless all that is trained are adapters of one rank and scale. That is the
    /// default.
    ///
    /// # Errors
    ///
    /// Any error that keeps the folder from being written.
    fn write_adapter(&self, dir: &Path) -> Result<bool, RolloutError> {
        let _ = dir;
        Ok(false)
    }

    /// The tensors that [`WeightSource::write_checkpoint`] writes, under the same names and in the same order. With `None`,
    /// which is the default, engines read the folder.
    ///
    /// # Errors
    ///
    /// Any error that keeps the tensors from being made.
    fn tensors(&self, head: HeadWeights) -> Result<Option<Vec<WeightTensor>>, RolloutError> {
        let _ = head;
        Ok(None)
    }
}

/// A tensor of a [`WeightSource`].
pub struct WeightTensor {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<i64>,
    /// Its values, for the program's own transfer, which knows their type. Those of a policy of `hint-policy` are a
    /// `tch::Tensor` of floating-point numbers, of any kind, on any device.
    pub values: Box<dyn Any + Send>,
}

impl fmt::Debug for WeightTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, shape, values: _ } = self;
        f.debug_struct("WeightTensor")
            .field("name", name)
            .field("shape", shape)
            .finish_non_exhaustive()
    }
}

/// Checks the contract of an engine: counts, one log-probability per token, all of them finite.
pub(crate) fn check_contract(
    ids: &[&str],
    requests: &[GenerationRequest],
    sampled: &[Vec<Completion>],
) -> Result<(), RolloutError> {
    check_counts(requests, sampled)?;
    for (problem, completions) in ids.iter().zip(sampled) {
        for completion in completions {
            let logprobs = &completion.behavior_logprobs;
            if let Some(position) = logprobs.iter().position(|value| !value.is_finite()) {
                return Err(RolloutError::EngineNotFinite {
                    problem: (*problem).to_owned(),
                    position,
                    value: logprobs[position],
                });
            }
        }
    }
    Ok(())
}

pub(crate) fn check_counts(
    requests: &[GenerationRequest],
    sampled: &[Vec<Completion>],
) -> Result<(), RolloutError> {
    let expect = |what, expected, found| {
        if expected == found {
            Ok(())
        } else {
            Err(RolloutError::EngineContract { what, expected, found })
        }
    };
    expect("groups of completions", requests.len(), sampled.len())?;
    for (request, completions) in requests.iter().zip(sampled) {
        expect("completions", request.num_completions, completions.len())?;
        for completion in completions {
            let logprobs = &completion.behavior_logprobs;
            expect("log-probabilities", completion.tokens.len(), logprobs.len())?;
            let mask = &completion.loss_mask;
            expect("entries of the loss mask", completion.tokens.len(), mask.len())?;
        }
    }
    Ok(())
}
