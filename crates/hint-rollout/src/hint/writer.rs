//! The policy as a writer of hints.

use crate::data::{HintLevel, Problem};
use crate::engine::{GenerationRequest, RolloutEngine, Sampling, check_counts};
use crate::error::RolloutError;
use crate::prompt::PromptFormat;
use crate::run::Seed;
use crate::sample::cut_at_stop;

/// A text that the policy is asked to write.
///
/// ```
/// use hint_rollout::hint::WriteRequest;
/// use hint_rollout::{Sampling, Seed};
///
/// let sampling = Sampling { max_completion_len: 80, ..Sampling::default() };
/// let request = WriteRequest::new("Give a hint for 2 + 2, not the answer.", sampling, Seed::new(7));
/// assert_eq!(request.sampling.max_completion_len, 80);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WriteRequest {
    /// The request, as the message of a user.
    pub prompt: String,
    /// Sampling of the text.
    pub sampling: Sampling,
    /// Seed.
    pub seed: Seed,
}

impl WriteRequest {
    /// A request.
    pub fn new(prompt: impl Into<String>, sampling: Sampling, seed: Seed) -> Self {
        Self { prompt: prompt.into(), sampling, seed }
    }
}

/// The policy as a writer of self-hints. The [`Collector`](crate::collect::Collector) hands providers its
/// own engine.
///
/// ```
/// use hint_rollout::RolloutError;
/// use hint_rollout::hint::{HintWriter, WriteRequest};
///
/// /// Writes the request itself, for tests of a source of hints.
/// struct Echo;
///
/// impl HintWriter for Echo {
///     fn write(&mut self, requests: &[WriteRequest]) -> Result<Vec<String>, RolloutError> {
///         Ok(requests.iter().map(|request| request.prompt.clone()).collect())
///     }
/// }
/// ```
pub trait HintWriter {
    /// One text for each request, in order.
    ///
    /// # Errors
    ///
    /// Errors of the engine and of the prompt format.
    fn write(&mut self, requests: &[WriteRequest]) -> Result<Vec<String>, RolloutError>;

    /// Whether `solution` solves `problem`, by the verdict that completions get.
    ///
    /// # Errors
    ///
    /// A solution that cannot be judged; the default refuses.
    fn is_correct(&mut self, problem: &Problem, solution: &str) -> Result<bool, RolloutError> {
        let _ = (problem, solution);
        let message = "it has no verifier; a teacher that solves needs a collector";
        Err(RolloutError::other("hint writer", message))
    }

    /// The beginning of `text`: that share of the tokens which the policy reads it as, cut back to a
    /// whole character.
    ///
    /// # Errors
    ///
    /// Errors of the prompt format; the default refuses.
    fn first_tokens(&mut self, text: &str, level: HintLevel) -> Result<String, RolloutError> {
        let _ = (text, level);
        let message = "it has no tokens; cut the solution at words, lines or characters";
        Err(RolloutError::other("hint writer", message))
    }
}

/// Writes with an engine and a prompt format. A [`Collector`](crate::collect::Collector) hands it to its
/// provider, and a program uses it to make hints outside of a collector.
///
/// ```
/// use hint_rollout::hint::{EngineWriter, HintWriter, WriteRequest};
/// use hint_rollout::{PromptFormat, RolloutEngine, RolloutError, Sampling, Seed};
///
/// # fn example(engine: &mut dyn RolloutEngine, format: &dyn PromptFormat) -> Result<(), RolloutError> {
/// let mut writer = EngineWriter::new(engine, format);
/// let request = WriteRequest::new("Give a hint for 2 + 2.", Sampling::default(), Seed::new(7));
/// let hints = writer.write(&[request])?;
/// println!("{} ({} tokens)", hints[0], writer.tokens());
/// # Ok(())
/// # }
/// ```
pub struct EngineWriter<'e> {
    engine: &'e mut dyn RolloutEngine,
    format: &'e dyn PromptFormat,
    tokens: usize,
    prompt_tokens: usize,
}

impl std::fmt::Debug for EngineWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineWriter").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl<'e> EngineWriter<'e> {
    /// A writer.
    pub fn new(engine: &'e mut dyn RolloutEngine, format: &'e dyn PromptFormat) -> Self {
        Self { engine, format, tokens: 0, prompt_tokens: 0 }
    }

    /// Tokens sampled so far.
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens of the prompts that they were sampled from.
    pub const fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }
}

impl HintWriter for EngineWriter<'_> {
    /// A prompt that is longer than the engine holds has an empty text.
    fn write(&mut self, requests: &[WriteRequest]) -> Result<Vec<String>, RolloutError> {
        let mut texts = vec![String::new(); requests.len()];
        let mut asked = Vec::new();
        let mut places = Vec::new();
        for (place, request) in requests.iter().enumerate() {
            let prompt = self.format.encode_message(&request.prompt)?;
            let limit = self.engine.max_prompt_len(&request.sampling).unwrap_or(usize::MAX);
            if prompt.len() <= limit {
                let (seed, sampling) = (request.seed.value(), request.sampling.clone());
                asked.push(GenerationRequest::new(prompt, 1, seed, sampling));
                places.push(place);
            }
        }
        if asked.is_empty() {
            return Ok(texts);
        }
        let mut sampled = self.engine.generate(&asked)?;
        check_counts(&asked, &sampled)?;
        for (request, completion) in asked.iter().zip(sampled.iter_mut().flatten()) {
            cut_at_stop(self.format, &request.sampling, completion)?;
        }
        self.prompt_tokens += asked.iter().map(|request| request.prompt.len()).sum::<usize>();
        for (place, completion) in places.into_iter().zip(sampled.iter().flatten()) {
            self.tokens += completion.tokens.len();
            texts[place] = self.format.decode(&completion.tokens)?;
        }
        Ok(texts)
    }

    fn first_tokens(&mut self, text: &str, level: HintLevel) -> Result<String, RolloutError> {
        let tokens = self.format.encode_completion(text)?;
        let mut count = level.of(tokens.len());
        // A token may end within a character, and decode to what the text does not have.
        while count > 0 {
            let start = self.format.decode(&tokens[..count])?;
            if text.starts_with(&start) {
                return Ok(start);
            }
            if text.trim_start().starts_with(&start) {
                let space = text.len() - text.trim_start().len();
                return Ok(text[..space + start.len()].to_owned());
            }
            count -= 1;
        }
        Ok(String::new())
    }
}
