//! Prompt formats of a local tokenizer.

use std::sync::Arc;

use hint_policy::Tokenizer;
use hint_policy::tokenizer::ChatMessage;

use crate::data::{Hint, Problem, Turn};
use crate::error::RolloutError;
use crate::prompt::contract::{HintTemplate, PromptFormat};

/// Chat prompts: the model's own chat template around the question.
///
/// ```no_run
/// use hint_policy::{LoadOptions, LoadedModel};
/// use hint_rollout::{ChatFormat, Problem, PromptFormat};
///
/// let model = LoadedModel::load("Qwen2.5-0.5B-Instruct", &LoadOptions::default())?;
/// let format = ChatFormat::new(model.tokenizer.into(), model.stop_tokens)
///     .with_instruction("Put the final answer in \\boxed{}.");
/// let prompt = format.encode(&Problem::new("sum", "What is 2 + 2?", "4"), None)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatFormat {
    tokenizer: Arc<Tokenizer>,
    stop_tokens: Vec<u32>,
    system: Option<String>,
    instruction: String,
    template: HintTemplate,
}

impl ChatFormat {
    /// The template of `tokenizer`, no system message of our own, the hint template of the HINT
    /// reference code.
    pub fn new(tokenizer: Arc<Tokenizer>, stop_tokens: Vec<u32>) -> Self {
        let stop_tokens = eos_first(&tokenizer, stop_tokens);
        Self {
            tokenizer,
            stop_tokens,
            system: None,
            instruction: String::new(),
            template: HintTemplate::default(),
        }
    }

    /// Puts a system message in front.
    #[must_use]
    pub fn with_system(mut self, system: impl Into<String>) -> Self {
        self.system = Some(system.into());
        self
    }

    /// Ends every user message, hinted or not, with an instruction on its own line.
    #[must_use]
    pub fn with_instruction(mut self, instruction: impl Into<String>) -> Self {
        self.instruction = instruction.into();
        self
    }

    /// Sets how a hint joins the question.
    #[must_use]
    pub fn with_hint_template(mut self, template: HintTemplate) -> Self {
        self.template = template;
        self
    }
}

impl ChatFormat {
    /// Our own message of the system, unless the context has one, the context, and the message.
    fn encode_chat(&self, context: &[Turn], message: &str) -> Result<Vec<u32>, RolloutError> {
        let system = self.system.iter().map(|system| ChatMessage::new("system", system));
        let own = context.iter().all(|turn| turn.role != "system");
        let turns = context.iter().map(|turn| ChatMessage::new(&turn.role, &turn.content));
        let messages = system.filter(|_| own).chain(turns);
        let messages = messages.chain([ChatMessage::new("user", message)]).collect::<Vec<_>>();
        let text = self.tokenizer.apply_chat_template(&messages, true)?;
        Ok(self.tokenizer.encode(&text)?)
    }
}

impl PromptFormat for ChatFormat {
    fn name(&self) -> Option<String> {
        let Self { system, instruction, template, .. } = self;
        Some(format!("ChatFormat with {system:?}, {instruction:?}, {template:?}"))
    }

    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        let mut content = self.template.render(&problem.question, hint);
        if !self.instruction.is_empty() {
            content.push('\n');
            content.push_str(&self.instruction);
        }
        self.encode_chat(&problem.context, &content)
    }

    fn encode_message(&self, message: &str) -> Result<Vec<u32>, RolloutError> {
        self.encode_chat(&[], message)
    }

    fn encode_completion(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
        Ok(self.tokenizer.encode(text)?)
    }

    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
        Ok(self.tokenizer.decode_skip_special(completion)?)
    }

    fn stop_tokens(&self) -> &[u32] {
        &self.stop_tokens
    }
}

/// Plain text prompts, for base models and small models without a chat template.
///
/// ```no_run
/// use hint_policy::{LoadOptions, LoadedModel};
/// use hint_rollout::{Hint, Problem, PromptFormat, TextFormat};
///
/// let model = LoadedModel::load("a-base-model", &LoadOptions::default())?;
/// let format = TextFormat::new(model.tokenizer.into(), model.stop_tokens).with_frame("Q: ", "\nA:");
/// let hint = Hint::new("Count on your fingers.");
/// let prompt = format.encode(&Problem::new("sum", "What is 2 + 2?", "4"), Some(&hint))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TextFormat {
    tokenizer: Arc<Tokenizer>,
    stop_tokens: Vec<u32>,
    prefix: String,
    suffix: String,
    template: HintTemplate,
}

impl TextFormat {
    /// The question alone, with the hint template of the HINT reference code.
    pub fn new(tokenizer: Arc<Tokenizer>, stop_tokens: Vec<u32>) -> Self {
        let template = HintTemplate::default();
        let stop_tokens = eos_first(&tokenizer, stop_tokens);
        Self { tokenizer, stop_tokens, prefix: String::new(), suffix: String::new(), template }
    }

    /// Sets the text before the question and the text after question and hint.
    #[must_use]
    pub fn with_frame(mut self, prefix: impl Into<String>, suffix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self.suffix = suffix.into();
        self
    }

    /// Sets how a hint joins the question.
    #[must_use]
    pub fn with_hint_template(mut self, template: HintTemplate) -> Self {
        self.template = template;
        self
    }
}

impl PromptFormat for TextFormat {
    fn name(&self) -> Option<String> {
        let Self { prefix, suffix, template, .. } = self;
        Some(format!("TextFormat with {prefix:?}, {suffix:?}, {template:?}"))
    }

    fn encode(&self, problem: &Problem, hint: Option<&Hint>) -> Result<Vec<u32>, RolloutError> {
        let context = problem.context.iter().map(|turn| format!("{}\n\n", turn.content));
        let context = context.collect::<String>();
        let body = self.template.render(&problem.question, hint);
        let text = format!("{context}{}{body}{}", self.prefix, self.suffix);
        Ok(self.tokenizer.encode_with_special_tokens(&text)?)
    }

    fn encode_completion(&self, text: &str) -> Result<Vec<u32>, RolloutError> {
        Ok(self.tokenizer.encode(text)?)
    }

    fn decode(&self, completion: &[u32]) -> Result<String, RolloutError> {
        Ok(self.tokenizer.decode_skip_special(completion)?)
    }

    fn stop_tokens(&self) -> &[u32] {
        &self.stop_tokens
    }
}

/// The stop tokens, the one that the tokenizer calls the end of a sequence first: it ends
/// demonstrations.
fn eos_first(tokenizer: &Tokenizer, mut stop_tokens: Vec<u32>) -> Vec<u32> {
    stop_tokens.sort_by_key(|token| Some(*token) != tokenizer.eos_token_id());
    stop_tokens
}
