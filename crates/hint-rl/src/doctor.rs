//! `hint-rl doctor`: shows on one screen the content of a model's files, and whether it can be
//! trained.
//!
//! ```text
//! hint-rl doctor models/Qwen3-0.6B
//! ```
//!
//! Reads configuration, tokenizer, chat template and every weight, one tensor at a time. The exit code is 0 if all is
//! well, 2 if something is unusual, and 1 if the model cannot be used.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use hint_policy::estimate::{MemoryDemand, MemoryEstimate, SampledBatch, mebibytes};
use hint_policy::gguf::Gguf;
use hint_policy::io::Inspection;
use hint_policy::model::LoadReport;
use hint_policy::tokenizer::ChatMessage;
use hint_policy::{ModelConfig, Tokenizer};
use tch::{Device, Kind};

use crate::workload::{base_path, model_path};

/// Shows the content of a model's files, and whether it can be trained. The exit code is 0 if all is well, 2 if
/// something is unusual, and 1 if the model cannot be used.
#[derive(Debug, Args)]
pub struct Options {
    /// A folder in Hugging Face format, a GGUF file, an adapter, the folder of a run, `tiny` or `smollm2`.
    model: String,

    /// The base model of an adapter, in place of the one that it names.
    #[arg(long, value_name = "PATH")]
    base: Option<PathBuf>,

    /// Read the headers of the weights alone, which takes no time, and overlooks values that are not finite.
    #[arg(long)]
    headers_only: bool,
}

/// Exit code of a model that can be used, but has something unusual.
const UNUSUAL: u8 = 2;

/// Variables and tags of chat templates that change a prompt.
const FEATURES: [&str; 8] = [
    "tools",
    "documents",
    "enable_thinking",
    "reasoning_effort",
    "strftime_now",
    "date_string",
    "add_generation_prompt",
    "{% generation %}",
];

/// Assumptions of the estimates of memory: the length of rows, and how many are sampled and trained at a time.
const ROW: usize = 1024;
const ROWS: usize = 64;
const MICRO_BATCH: usize = 8192;

/// Runs the command.
///
/// # Errors
///
/// A model that cannot be used, with the reason.
pub fn run(options: &Options) -> Result<ExitCode> {
    let path = model_path(&options.model)?;
    let base = base_path(&path, options.base.clone())?;
    let found = Inspection::new(&path, base.as_deref())?;
    let tokenizer = tokenizer(&path, &found.path);
    let mut report = report(&path, &found, tokenizer.as_ref().map_err(|error| chain(error)));
    if !options.headers_only
        && let Err(error) = found.check_values()
    {
        report.unusable.push(chain(&error));
    }
    for (what, text) in report.lines {
        say!("{what:<12} {text}");
    }
    for text in &report.unusual {
        say!("{:<12} {text}", "unusual");
    }
    for text in &report.unusable {
        say!("{:<12} {text}", "unusable");
    }
    Ok(match (report.unusable.is_empty(), report.unusual.is_empty()) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(UNUSUAL),
        (true, true) => ExitCode::SUCCESS,
    })
}

/// The findings.
struct Report {
    /// The content, line by line.
    lines: Vec<(&'static str, String)>,
    unusual: Vec<String>,
    /// Why it cannot be used.
    unusable: Vec<String>,
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Configuration of the folder, or of the base of an adapter.
fn tokenizer(path: &Path, base: &Path) -> Result<Tokenizer, hint_policy::PolicyError> {
    let path = if path.is_file() || path.join("tokenizer.json").is_file() { path } else { base };
    if path.is_file() {
        Tokenizer::from_gguf(&Gguf::open(path)?)
    } else {
        Tokenizer::from_dir(path)
    }
}

fn report(path: &Path, found: &Inspection, tokenizer: Result<&Tokenizer, String>) -> Report {
    let (config, mut unusual, mut unusable) = (&found.config, Vec::new(), Vec::new());
    let mut lines =
        vec![("model", format!("{}, {}", config.architecture.class_name(), path.display()))];
    lines.push(("sizes", sizes(config)));
    let types: Vec<&str> = found.files.types.keys().map(String::as_str).collect();
    let millions = config.num_parameters() as f64 / 1e6;
    let (types, bytes) = (types.join(" + "), mebibytes(found.files.bytes));
    lines.push(("weights", format!("{millions:.1} M values in {types}, files of {bytes}")));
    if let Some(lora) = &found.lora {
        let (rank, targets) = (lora.rank, lora.target_modules.join(", "));
        lines.push((
            "adapter",
            format!("rank {rank} on {targets}; base `{}`", found.path.display()),
        ));
    }
    match tokenizer {
        Ok(tokenizer) => {
            describe(tokenizer, found, &mut lines, &mut unusual);
        }
        Err(error) => unusable.push(format!("no tokenizer: {error}")),
    }
    unusual.extend(ignored_settings(found));
    if let [first, rest @ ..] = found.files.unused.as_slice() {
        let others =
            if rest.is_empty() { String::new() } else { format!(" and {} others", rest.len()) };
        unusual.push(format!("the model does not use tensor `{first}`{others} of its files"));
    }
    if config.max_positions() < config.max_position_embeddings {
        unusual.push(format!(
            "rows of more than {} tokens are refused, though the model supports {} (LongRoPE)",
            config.max_positions(),
            config.max_position_embeddings
        ));
    }
    for (name, compute, adapts) in [
        ("f32", Kind::Float, false),
        ("bf16", Kind::BFloat16, false),
        ("bf16, LoRA", Kind::BFloat16, true),
    ] {
        let total = mebibytes(memory(config, compute, adapts));
        let row = ROW.min(config.max_positions());
        let text = format!("{total:>11} in {name}: AdamW on a CPU, {ROWS} rows of {row} tokens");
        lines.push(("memory", text));
    }
    Report { lines, unusual, unusable }
}

/// Settings of `generation_config.json` that nothing here follows: a run has its own.
fn ignored_settings(found: &Inspection) -> Option<String> {
    let is_set = |key: &&str| {
        let value = found.generation.get(*key);
        value.is_some_and(|value| !value.is_null() && value.as_f64() != Some(1.0))
    };
    let keys = ["stop_strings", "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids"]
        .into_iter()
        .chain([
            "suppress_tokens",
            "begin_suppress_tokens",
            "forced_bos_token_id",
            "min_new_tokens",
        ]);
    let keys: Vec<String> = keys.filter(is_set).map(|key| format!("`{key}`")).collect();
    (!keys.is_empty()).then(|| {
        format!("`generation_config.json` sets {}, which sampling does not follow", keys.join(", "))
    })
}

fn sizes(config: &ModelConfig) -> String {
    let windows = config.sliding_windows.iter().flatten().count();
    let windows = match config.sliding_windows.iter().flatten().next() {
        Some(window) => format!(", windows of {window} in {windows} of them"),
        None => String::new(),
    };
    let recurrent = match &config.delta_net {
        Some(sizes) => {
            let count = (0..config.num_hidden_layers).filter(|&layer| sizes.mixes(layer)).count();
            let (heads, keys) = (sizes.value_heads, sizes.key_heads);
            format!(", gated delta-nets of {heads} heads ({keys} for keys) in {count} of them")
        }
        None => String::new(),
    };
    format!(
        "{} layers{windows}{recurrent}, width {}, {} heads ({} for keys) of {},\n{:13}feed-forward {}, vocabulary {}, up to {} tokens",
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        "",
        config.intermediate_size,
        config.vocab_size,
        config.max_positions(),
    )
}

fn describe(
    tokenizer: &Tokenizer,
    found: &Inspection,
    lines: &mut Vec<(&'static str, String)>,
    unusual: &mut Vec<String>,
) {
    lines.push(("tokenizer", format!("{} tokens", tokenizer.vocab_size())));
    if tokenizer.vocab_size() > found.config.vocab_size {
        unusual.push(format!(
            "the tokenizer has {} tokens, the model {}",
            tokenizer.vocab_size(),
            found.config.vocab_size
        ));
    }
    let mut stops = found.stop_tokens.clone();
    stops.extend(tokenizer.eos_token_id());
    stops.sort_unstable();
    stops.dedup();
    let named = |id: &u32| format!("{id} {:?}", tokenizer.decode(&[*id]).unwrap_or_default());
    let names: Vec<String> = stops.iter().map(named).collect();
    lines.push(("stop tokens", names.join(", ")));
    if stops.is_empty() {
        unusual.push("no token ends a completion; give one with `--stop-token`".to_owned());
    }
    unusual.extend(tokenizer.warnings().iter().cloned());
    match tokenizer.chat_template() {
        None => unusual.push("no chat template: prompts are plain text".to_owned()),
        Some(template) => {
            let used: Vec<&str> =
                FEATURES.into_iter().filter(|feature| template.contains(feature)).collect();
            lines.push(("template", format!("uses {}", used.join(", "))));
            let message = [ChatMessage::user("2 + 2?")];
            match tokenizer.apply_chat_template(&message, true) {
                Ok(text) => {
                    let tokens = tokenizer.encode(&text).map_or(0, |tokens| tokens.len());
                    lines.push(("a prompt", format!("{text:?}, {tokens} tokens")));
                }
                Err(error) => unusual.push(format!("the chat template fails: {}", chain(&error))),
            }
            if let Some(token) = tokenizer.unstopped_turn(&stops) {
                unusual.push(format!(
                    "the chat template ends an answer by {token:?}, which ends no completion; add it with `--stop-token`"
                ));
            }
        }
    }
}

/// An estimate for a model that is not loaded.
fn memory(config: &ModelConfig, compute: Kind, adapts: bool) -> u64 {
    let parameters = config.num_parameters();
    let row = ROW.min(config.max_positions());
    // Rank 16 on every projection is about a hundredth of a model.
    let trainable = if adapts { parameters / 100 } else { parameters };
    let stored = if adapts { compute } else { Kind::Float };
    let report = LoadReport {
        architecture: config.architecture,
        source: None,
        files: hint_policy::io::LoadedFiles::default(),
        parameters: if adapts { parameters + trainable } else { parameters },
        trainable,
        bytes: parameters * stored.elt_size_in_bytes() + if adapts { 4 * trainable } else { 0 },
        stored,
        compute,
        device: Device::Cpu,
    };
    let gradient_bytes = 4 * trainable as u64;
    MemoryEstimate::new(&MemoryDemand {
        model: config,
        report: &report,
        gradient_bytes,
        optimizer_bytes: 2 * gradient_bytes,
        reference: false,
        teacher_bytes: 0,
        gradient_checkpointing: false,
        sampled: vec![SampledBatch { prompts: ROWS / 8, each: 8, max_batch: ROWS }],
        longest_prompt: row / 2,
        longest_completion: row / 2,
        micro_batch_tokens: MICRO_BATCH,
    })
    .total()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::tiny_model;

    #[test]
    fn the_embedded_model_is_described_and_its_tokenizer_missed_without_one() {
        let path = tiny_model();
        let found = Inspection::new(&path, None).unwrap();
        let tokenizer = tokenizer(&path, &found.path).unwrap();
        let lines = report(&path, &found, Ok(&tokenizer)).lines;
        let text: Vec<String> = lines.iter().map(|(what, text)| format!("{what} {text}")).collect();
        let text = text.join("\n");
        for words in [
            "model LlamaForCausalLM",
            "3 layers",
            "F32",
            "stop tokens",
            "in bf16: AdamW",
            "rows of 256 tokens",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let unusable = report(&path, &found, Err("nothing".into())).unusable;
        assert_eq!(unusable, ["no tokenizer: nothing"]);
        found.check_values().unwrap();
    }
}
