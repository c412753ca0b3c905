//! Completions of many prompts, with rows entering and leaving the batch as they can.

use std::collections::VecDeque;

use tch::{Device, Tensor};

use crate::error::PolicyError;
use crate::policy::Policy;
use crate::policy::decoder::{Decoder, DecoderOptions, Prefill, PrefixId, check_prompts};
use crate::runtime::catch_out_of_memory;
use crate::sampling::draw::{SampledToken, draw_on_host};
use crate::sampling::mode::Draw;
use crate::sampling::params::SamplingParams;
use crate::sampling::probs::host_rows;
use crate::sampling::random::CompletionRng;
use crate::sampling::rows::{draw_rows, exclude};
use crate::tensor::size;

/// A prompt and how many completions of it are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRequest {
    /// Token ids of the prompt. At least one.
    pub prompt: Vec<u32>,
    /// Number of completions to draw.
    pub num_completions: usize,
    /// The random number of completion `i` at position `t` is a function of `(seed, i, t)` alone.
    pub seed: u64,
    /// Choice of tokens.
    pub params: SamplingParams,
}

/// Limits of [`sample`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleOptions {
    /// Rows decoded at the same time, at most. At least 1.
    pub max_batch: usize,
    /// Whether the result of a request must not depend, to the last bit, on other requests at the
    /// same time.
    ///
    /// Random numbers never do, but kernels sum in an order that the shape of the batch decides.
    /// Log-probabilities then differ by float noise, and now and then a drawn token does too. With this
    /// option each prompt is processed alone and each row attends alone, which takes longer. It holds
    /// on a CPU with oneDNN, computing in `Float` or `BFloat16`. A GPU refuses it.
    pub batch_invariant: bool,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self { max_batch: 256, batch_invariant: false }
    }
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// A stop token was drawn; it is the last of the completion's tokens.
    Stop,
    /// The limit of new tokens, or of the model's positions, was reached. Or a watch [ended the
    /// request](SampleWatch::ends_request).
    Length,
}

/// One completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Its token ids, a stop token included.
    pub tokens: Vec<u32>,
    /// Log-probability of each token in nats, of the distribution that drew it: tempered,
    /// truncated and renormalized. 0 for greedy decoding. Length as `tokens`.
    pub behavior_logprobs: Vec<f64>,
    /// Why it ended.
    pub stop: FinishReason,
}

/// Draws `num_completions` completions for each request; results are in request order.
///
/// A prompt is processed once for all its completions. At most `options.max_batch` rows are decoded
/// at a time; a row that finishes leaves, and a waiting one takes its place.
///
/// # Errors
///
/// An empty or too long prompt, a token id outside the vocabulary, sampling parameters out of
/// range, or non-finite logits.
///
/// # Examples
///
/// ```
/// use hint_policy::config::Architecture;
/// use hint_policy::{CausalLm, ModelConfig, SampleOptions, SampleRequest, SamplingParams, sample};
/// use tch::Device;
///
/// let policy = CausalLm::init(&ModelConfig::small(Architecture::Llama, 60), 1, Device::Cpu)?;
/// let params = SamplingParams { max_new_tokens: 5, ..SamplingParams::default() };
/// let request = SampleRequest { prompt: vec![1, 2, 3], num_completions: 4, seed: 42, params };
/// let samples = sample(&policy, &[request], &SampleOptions::default())?;
/// assert_eq!(samples[0].len(), 4);
/// # Ok::<(), hint_policy::PolicyError>(())
/// ```
pub fn sample(
    policy: &dyn Policy,
    requests: &[SampleRequest],
    options: &SampleOptions,
) -> Result<Vec<Vec<Generation>>, PolicyError> {
    sample_until(policy, requests, options, &|_: usize, _: &[u32]| false)
}

/// View of a caller of [`sample_until`] on the completions as they grow.
///
/// ```
/// use hint_policy::sampling::SampleWatch;
///
/// // A closure is one: this one ends a completion at its third token 9.
/// let watch = |_request: usize, tokens: &[u32]| tokens.iter().filter(|token| **token == 9).count() >= 3;
/// assert!(SampleWatch::is_over(&watch, 0, &[9, 1, 9, 9]));
/// ```
pub trait SampleWatch {
    /// Whether a completion ends here with [`FinishReason::Stop`], by the index of its request and its tokens
    /// so far.
    fn is_over(&self, request: usize, tokens: &[u32]) -> bool;

    /// A completion has ended: the one with the number `completion`, from 0, of a request. `sample` is what is returned for
    /// it at last.
    fn on_end(&self, request: usize, completion: usize, sample: &Generation) {
        let _ = (request, completion, sample);
    }

    /// Whether the other completions of a request end where they are, asked after one of it has ended. They have the tokens
    /// that were drawn so far, perhaps none, and [`FinishReason::Length`]. [`on_end`](Self::on_end) hears of none of them.
    fn ends_request(&self, request: usize) -> bool {
        let _ = request;
        false
    }
}

impl<F: Fn(usize, &[u32]) -> bool> SampleWatch for F {
    fn is_over(&self, request: usize, tokens: &[u32]) -> bool {
        self(request, tokens)
    }
}

/// As [`sample`], watched by `watch`, which may end a completion. A closure of the index of a request and the
/// tokens so far is a watch. It ends the completions for which it returns true.
///
/// # Errors
///
/// As [`sample`].
pub fn sample_until(
    policy: &dyn Policy,
    requests: &[SampleRequest],
    options: &SampleOptions,
    watch: &dyn SampleWatch,
) -> Result<Vec<Vec<Generation>>, PolicyError> {
    if options.max_batch == 0 {
        return Err(PolicyError::option("max_batch", &0, "at least 1"));
    }
    let (vocab_size, max_positions) = (policy.vocab_size(), policy.max_positions());
    for (row, request) in requests.iter().enumerate() {
        request.params.validate()?;
        check_excluded(&request.params, vocab_size)?;
        // The first completion token is predicted from the prompt, so a full prompt is one too long.
        let len = request.prompt.len();
        if len >= max_positions {
            return Err(PolicyError::RowTooLong { row, len: len + 1, max_positions });
        }
        check_prompts(&[&request.prompt], vocab_size, max_positions).map_err(
            |error| match error {
                PolicyError::EmptyPrompt { .. } => PolicyError::EmptyPrompt { row },
                PolicyError::TokenOutOfRange { position, token, vocab_size, .. } => {
                    PolicyError::TokenOutOfRange { row, position, token, vocab_size }
                }
                other => other,
            },
        )?;
    }
    let rows: usize = requests.iter().map(|request| request.num_completions).sum();
    if rows == 0 {
        return Ok(requests.iter().map(|_| Vec::new()).collect());
    }
    let longest =
        requests.iter().map(|request| request.prompt.len() + limit(request, max_positions));
    let decoder_options = DecoderOptions {
        max_rows: rows.min(options.max_batch),
        max_positions: longest.max().unwrap_or(1),
        batch_invariant: options.batch_invariant,
    };
    catch_out_of_memory("sample completions", || {
        run(policy, requests, options.max_batch, &decoder_options, watch)
    })
}

/// As [`sample`], of requests that were checked.
fn run(
    policy: &dyn Policy,
    requests: &[SampleRequest],
    max_batch: usize,
    decoder_options: &DecoderOptions,
    watch: &dyn SampleWatch,
) -> Result<Vec<Vec<Generation>>, PolicyError> {
    let max_positions = policy.max_positions();
    if decoder_options.batch_invariant && policy.device() != Device::Cpu {
        return Err(PolicyError::option(
            "batch_invariant",
            &true,
            "false on a GPU, whose kernels depend on the batch",
        ));
    }
    let decoder = policy.decoder(decoder_options)?;
    let samples = requests.iter().map(|request| vec![None; request.num_completions]).collect();
    let mut run = Run {
        decoder,
        requests,
        max_positions,
        max_batch,
        watch,
        rows: Vec::new(),
        waiting: requests
            .iter()
            .enumerate()
            .filter(|(_, request)| request.num_completions > 0)
            .map(|(index, _)| index)
            .collect(),
        started: VecDeque::new(),
        ended: vec![false; requests.len()],
        samples,
    };
    run.finish()?;
    // A request that was ended may have completions that never began.
    let nothing = || Generation {
        tokens: Vec::new(),
        behavior_logprobs: Vec::new(),
        stop: FinishReason::Length,
    };
    let filled = |samples: Vec<Option<Generation>>| {
        samples.into_iter().map(|sample| sample.unwrap_or_else(nothing)).collect()
    };
    Ok(run.samples.into_iter().map(filled).collect())
}

/// Refuses tokens that the model does not have, and a ban of all that it has.
fn check_excluded(params: &SamplingParams, vocab_size: usize) -> Result<(), PolicyError> {
    let mut excluded = params.excluded(0).collect::<Vec<_>>();
    excluded.sort_unstable();
    excluded.dedup();
    match excluded.last() {
        Some(&last) if last as usize >= vocab_size => {
            Err(PolicyError::option("banned_tokens", &last, "ids below the size of the vocabulary"))
        }
        Some(_) if excluded.len() == vocab_size => {
            Err(PolicyError::option("banned_tokens", &excluded.len(), "fewer than all tokens"))
        }
        _ => Ok(()),
    }
}

/// Most tokens a completion of `request` can have.
fn limit(request: &SampleRequest, max_positions: usize) -> usize {
    request.params.max_new_tokens.min(max_positions - request.prompt.len())
}

/// A completion that is being decoded.
struct Row {
    request: usize,
    completion: usize,
    rng: CompletionRng,
    tokens: Vec<u32>,
    logprobs: Vec<f64>,
}

/// A request some of whose completions wait for a place.
struct Started {
    request: usize,
    prefix: PrefixId,
    first: First,
    next: usize,
}

/// Distribution of the first token, `[vocab]`.
enum First {
    /// Logits or probabilities, see [`host_rows`].
    Host(Vec<f32>),
    /// Logits on a GPU.
    Device(Tensor),
}

impl First {
    /// A token for each draw.
    fn draw(&self, draws: &[Draw<'_>]) -> Vec<Option<SampledToken>> {
        match self {
            Self::Host(scores) => draws.iter().map(|draw| draw_on_host(scores, draw)).collect(),
            Self::Device(logits) => {
                let rows = logits.unsqueeze(0).expand([size(draws.len()), -1], false);
                draw_rows(&rows, draws)
            }
        }
    }
}

struct Run<'a> {
    decoder: Box<dyn Decoder + 'a>,
    requests: &'a [SampleRequest],
    max_positions: usize,
    max_batch: usize,
    watch: &'a dyn SampleWatch,
    /// In the decoder's order.
    rows: Vec<Row>,
    waiting: VecDeque<usize>,
    started: VecDeque<Started>,
    /// Whether the watch ended a request.
    ended: Vec<bool>,
    /// `[request][completion]`.
    samples: Vec<Vec<Option<Generation>>>,
}

impl Run<'_> {
    fn finish(&mut self) -> Result<(), PolicyError> {
        loop {
            self.admit()?;
            if self.rows.is_empty() {
                return Ok(());
            }
            let last: Vec<u32> =
                self.rows.iter().filter_map(|row| row.tokens.last().copied()).collect();
            let logits = self.decoder.step(&last)?;
            let requests = self.requests;
            let drawn =
                self.rows.iter().map(|row| (&requests[row.request].params, row.tokens.len()));
            let logits = exclude(&logits, drawn);
            let draws: Vec<Draw<'_>> = self
                .rows
                .iter_mut()
                .map(|row| Draw {
                    params: &requests[row.request].params,
                    uniform: row.rng.next_uniform(),
                })
                .collect();
            for (row, drawn) in self.rows.iter_mut().zip(draw_rows(&logits, &draws)) {
                row.push(drawn)?;
            }
            self.release_finished()?;
        }
    }

    /// Starts waiting completions while there is room.
    fn admit(&mut self) -> Result<(), PolicyError> {
        let mut started = std::mem::take(&mut self.started);
        while self.rows.len() < self.max_batch {
            if started.is_empty() {
                started = self.prefill(self.max_batch - self.rows.len())?;
            }
            let Some(request) = started.front_mut() else { break };
            self.start(request)?;
            if request.next == self.requests[request.request].num_completions {
                self.decoder.release(request.prefix);
                started.pop_front();
            }
        }
        self.started = started;
        Ok(())
    }

    /// Processes the prompts of as many waiting requests as have completions for `room` rows.
    fn prefill(&mut self, room: usize) -> Result<VecDeque<Started>, PolicyError> {
        let mut taken = Vec::new();
        let mut rows = 0;
        while rows < room
            && let Some(request) = self.waiting.pop_front()
        {
            rows += self.requests[request].num_completions;
            taken.push(request);
        }
        if taken.is_empty() {
            return Ok(VecDeque::new());
        }
        let requests = self.requests;
        let prompts: Vec<&[u32]> =
            taken.iter().map(|&request| requests[request].prompt.as_slice()).collect();
        let Prefill { prefixes, logits } = self.decoder.prefill(&prompts)?;
        let params: Vec<&SamplingParams> =
            taken.iter().map(|&request| &requests[request].params).collect();
        let logits = exclude(&logits, params.iter().map(|params| (*params, 0)));
        let first: Vec<First> = if logits.device() == Device::Cpu {
            let scores = host_rows(&logits, &params);
            let rows = scores.chunks_exact(scores.len() / taken.len());
            rows.map(|row| First::Host(row.to_vec())).collect()
        } else {
            (0..size(taken.len())).map(|row| First::Device(logits.get(row))).collect()
        };
        let started = taken.into_iter().zip(prefixes).zip(first);
        let start = |((request, prefix), first)| Started { request, prefix, first, next: 0 };
        Ok(started.map(start).collect())
    }

    /// Draws the first tokens of as many completions of `started` as there is room for, and forks
    /// rows for those that continue.
    fn start(&mut self, started: &mut Started) -> Result<(), PolicyError> {
        let requests = self.requests;
        let request = &requests[started.request];
        let room = self.max_batch - self.rows.len();
        let mut forked = 0;
        while started.next < request.num_completions
            && forked < room
            && !self.ended[started.request]
        {
            let last = request.num_completions.min(started.next + room - forked);
            let mut rows: Vec<Row> = (started.next..last)
                .map(|completion| Row {
                    request: started.request,
                    completion,
                    rng: CompletionRng::new(request.seed, completion as u64),
                    tokens: Vec::new(),
                    logprobs: Vec::new(),
                })
                .collect();
            started.next = last;
            let params = &request.params;
            let draw = |row: &mut Row| Draw { params, uniform: row.rng.next_uniform() };
            let draws: Vec<Draw<'_>> = rows.iter_mut().map(draw).collect();
            for (mut row, drawn) in rows.into_iter().zip(started.first.draw(&draws)) {
                row.push(drawn)?;
                if let Some(stop) = self.stop(&row) {
                    self.keep(row, stop);
                } else {
                    self.rows.push(row);
                    forked += 1;
                }
            }
        }
        if self.ended[started.request] {
            started.next = request.num_completions;
        }
        if forked > 0 {
            self.decoder.fork(started.prefix, forked)?;
        }
        Ok(())
    }

    /// Why a completion ends here.
    fn stop(&self, row: &Row) -> Option<FinishReason> {
        if self.ended[row.request] {
            return Some(FinishReason::Length);
        }
        row.stop(&self.requests[row.request], self.max_positions, self.watch)
    }

    /// Keeps a completion that has ended. Returns whether its request ends with it.
    fn keep(&mut self, row: Row, stop: FinishReason) -> bool {
        let (request, completion) = (row.request, row.completion);
        let sample = row.into_sample(stop);
        let is_cut = self.ended[request];
        if !is_cut {
            self.watch.on_end(request, completion, &sample);
            self.ended[request] = self.watch.ends_request(request);
        }
        self.samples[request][completion] = Some(sample);
        self.ended[request] && !is_cut
    }

    /// Takes finished rows out; the last rows move into their places.
    fn release_finished(&mut self) -> Result<(), PolicyError> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        let mut index = 0;
        while index < self.rows.len() {
            let row = &self.rows[index];
            match self.stop(row) {
                None => index += 1,
                Some(stop) => {
                    order.swap_remove(index);
                    let row = self.rows.swap_remove(index);
                    if self.keep(row, stop) {
                        // Rows before it may be of the same request.
                        index = 0;
                    }
                }
            }
        }
        if order.len() < self.decoder.rows() {
            self.decoder.retain(&order)?;
        }
        Ok(())
    }
}

impl Row {
    fn push(&mut self, drawn: Option<SampledToken>) -> Result<(), PolicyError> {
        let SampledToken { token, logprob } = drawn.ok_or(PolicyError::NonFiniteLogits {
            request: self.request,
            position: self.tokens.len(),
        })?;
        self.tokens.push(token);
        self.logprobs.push(logprob);
        Ok(())
    }

    fn stop(
        &self,
        request: &SampleRequest,
        max_positions: usize,
        watch: &dyn SampleWatch,
    ) -> Option<FinishReason> {
        let last = self.tokens.last()?;
        if request.params.stop_tokens.contains(last) || watch.is_over(self.request, &self.tokens) {
            return Some(FinishReason::Stop);
        }
        (self.tokens.len() >= limit(request, max_positions)).then_some(FinishReason::Length)
    }

    fn into_sample(self, stop: FinishReason) -> Generation {
        Generation { tokens: self.tokens, behavior_logprobs: self.logprobs, stop }
    }
}
