//! `hint-rl doctor`: shows on one screen the content of a model's files, and whether it can be
//! trained.
//!
//! ```text
//! hint-rl doctor models/Qwen3-0.6B
//! ```
//!
//! Reads configuration, tokenizer, chat template and every weight, one tensor at a time. The exit code is 0 if all is
//! well, 2 if something is unusual, and 1 if the model cannot be used.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use hint_policy::estimate::{MemoryDemand, MemoryEstimate, SampledBatch, mebibytes};
use hint_policy::gguf::Gguf;
use hint_policy::io::Inspection;
use hint_policy::tokenizer::ChatMessage;
use hint_policy::{LoraConfig, ModelConfig, Tokenizer};
use tch::{Device, Kind};

use crate::plan::load_report;
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

    /// Read the headers of the weights alone, which takes no time. Values that are not finite are overlooked, and a head or
    /// an embedding that differs from the one that the model uses.
    #[arg(long)]
    headers_only: bool,
}

/// Exit codes of a model that cannot be used, and of one that can, but has something unusual.
const UNUSABLE: u8 = 1;
const UNUSUAL: u8 = 2;

/// Parts of tensors' names that a language model does without: vision, and layers that predict several tokens.
const OTHER_PARTS: [&str; 6] =
    ["vision_tower", "visual", "vision_model", "multi_modal_projector", "mtp", "mtp_layers"];

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
    let report = match Inspection::new(&path, base.as_deref()) {
        Err(error) => refused(&path, &error),
        Ok(found) => {
            let tokenizer = tokenizer(&path, &found.path);
            let values = if options.headers_only { Ok(()) } else { found.check_values() };
            let damage = values.err().map(|error| chain(&error));
            report(&path, &found, tokenizer.as_ref().map_err(|error| chain(error)), damage)
        }
    };
    for (what, text) in &report.lines {
        say!("{what:<12} {text}");
    }
    for text in &report.unusual {
        say!("{:<12} {text}", "unusual");
    }
    for text in &report.unusable {
        say!("{:<12} {text}", "unusable");
    }
    Ok(ExitCode::from(report.code()))
}

/// The findings.
struct Report {
    /// The content, line by line.
    lines: Vec<(&'static str, String)>,
    unusual: Vec<String>,
    /// Why it cannot be used.
    unusable: Vec<String>,
}

impl Report {
    fn code(&self) -> u8 {
        match (self.unusable.is_empty(), self.unusual.is_empty()) {
            (false, _) => UNUSABLE,
            (true, false) => UNUSUAL,
            (true, true) => 0,
        }
    }
}

/// The findings about a folder whose model is refused: the other files are read all the same.
fn refused(path: &Path, error: &hint_policy::PolicyError) -> Report {
    let mut report =
        Report { lines: Vec::new(), unusual: Vec::new(), unusable: vec![chain(error)] };
    let text = std::fs::read_to_string(path.join("config.json")).unwrap_or_default();
    if let Ok(config) = serde_json::from_str::<ModelConfig>(&text) {
        report.lines.extend([("model", title(&config, path)), ("sizes", sizes(&config))]);
    }
    report.lines.push(("training", "no, see below".to_owned()));
    // The tokenizer of an adapter is that of its base, as a rule.
    let is_adapter = path.join("adapter_config.json").is_file();
    match tokenizer(path, path) {
        Err(_) if is_adapter && !path.join("tokenizer.json").is_file() => {}
        Ok(tokenizer) => {
            report.lines.push(("tokenizer", format!("{} tokens", tokenizer.vocab_size())));
            report.unusual.extend(tokenizer.warnings().iter().cloned());
            report.lines.extend(template(&tokenizer, &mut report.unusual));
        }
        Err(error) => report.unusable.push(format!("no tokenizer: {}", chain(&error))),
    }
    report
}

fn title(config: &ModelConfig, path: &Path) -> String {
    format!("{}, {}", config.architecture.class_name(), path.display())
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

/// The findings about a model that loads, apart from a `damage` to its values.
fn report(
    path: &Path,
    found: &Inspection,
    tokenizer: Result<&Tokenizer, String>,
    damage: Option<String>,
) -> Report {
    let (config, mut unusual) = (&found.config, Vec::new());
    let mut unusable: Vec<String> = damage.into_iter().collect();
    let mut lines = vec![("model", title(config, path)), ("sizes", sizes(config))];
    lines.extend(rotation(config).map(|text| ("rotation", text)));
    lines.extend(own_code(&found.path).map(|text| ("own code", text)));
    let types: Vec<&str> = found.files.types.keys().map(String::as_str).collect();
    let millions = config.num_parameters() as f64 / 1e6;
    let (types, bytes) = (types.join(" + "), mebibytes(found.files.bytes));
    lines.push(("weights", format!("{millions:.1} M values in {types}, files of {bytes}")));
    if let Some(lora) = &found.lora {
        lines.push(("adapter", format!("{}; base `{}`", adapter(lora), found.path.display())));
    }
    match tokenizer {
        Ok(tokenizer) => {
            describe(tokenizer, found, &mut lines, &mut unusual);
        }
        Err(error) => unusable.push(format!("no tokenizer: {error}")),
    }
    unusual.extend(ignored_settings(found));
    let is_other = |name: &&String| name.split('.').any(|part| OTHER_PARTS.contains(&part));
    let (others, unused): (Vec<_>, Vec<_>) = found.files.unused.iter().partition(is_other);
    if !others.is_empty() {
        let parts = others.iter().flat_map(|name| name.split('.'));
        let parts: BTreeSet<&str> = parts.filter(|part| OTHER_PARTS.contains(part)).collect();
        let parts = parts.into_iter().collect::<Vec<_>>().join(", ");
        lines.push(("not used", format!("{} tensors of {parts}", others.len())));
    }
    if let [first, rest @ ..] = unused.as_slice() {
        let others =
            if rest.is_empty() { String::new() } else { format!(" and {} others", rest.len()) };
        unusual.push(format!("the model does not use tensor `{first}`{others} of its files"));
    }
    if config.max_positions() < config.max_position_embeddings {
        unusual.push(format!(
            "rows of more than {} tokens are refused, though the model supports {} (LongRoPE), unless `--long-factors` is given",
            config.max_positions(),
            config.max_position_embeddings
        ));
    }
    let training = match &found.lora {
        _ if !unusable.is_empty() => "no, see below",
        Some(_) => "yes, the adapter goes on",
        None => "yes, all weights or by LoRA",
    };
    lines.push(("training", training.to_owned()));
    lines.extend(memory_lines(config));
    Report { lines, unusual, unusable }
}

/// Memory of training, and its three largest parts.
fn memory_lines(config: &ModelConfig) -> Vec<(&'static str, String)> {
    let row = ROW.min(config.max_positions());
    let mut lines = vec![("memory", format!("with AdamW and {ROWS} rows of {row} tokens"))];
    for (name, compute, adapts, device) in [
        ("f32 on a CPU", Kind::Float, false, Device::Cpu),
        ("bf16 on a CPU", Kind::BFloat16, false, Device::Cpu),
        ("bf16 on a CPU, LoRA", Kind::BFloat16, true, Device::Cpu),
        ("bf16 on a GPU", Kind::BFloat16, false, Device::Cuda(0)),
        ("bf16 on a GPU, LoRA", Kind::BFloat16, true, Device::Cuda(0)),
    ] {
        let estimate = memory(config, compute, adapts, device);
        let sum = |parts: &[(_, u64)]| parts.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let is_rollout = sum(&estimate.rollout) > sum(&estimate.update);
        let phase = if is_rollout { &estimate.rollout } else { &estimate.update };
        let mut parts: Vec<_> = estimate.lasting.iter().chain(phase).collect();
        parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let largest = parts.iter().take(3);
        let largest: Vec<String> =
            largest.map(|(name, bytes)| format!("{name} {}", mebibytes(*bytes))).collect();
        let total = mebibytes(estimate.total());
        lines.push(("", format!("{total:>11} in {name}: {}", largest.join(", "))));
    }
    lines
}

/// Stretched rotary frequencies, with the numbers of their configuration.
fn rotation(config: &ModelConfig) -> Option<String> {
    let scaling = serde_json::to_value(&config.rope_scaling).ok()?;
    let kind = scaling.get("rope_type")?.as_str().filter(|kind| *kind != "default")?;
    let numbers = scaling.as_object()?.iter().filter(|(_, value)| value.is_number());
    let numbers: Vec<String> = numbers.map(|(key, value)| format!("{key} {value}")).collect();
    Some(format!("{kind}, {}", numbers.join(", ")))
}

/// The code that a folder names for its model, which transformers runs only if it is trusted.
fn own_code(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path.join("config.json")).ok()?;
    let config: serde_json::Value = serde_json::from_str(&text).ok()?;
    let code = config.get("auto_map")?.get("AutoModelForCausalLM")?.as_str()?;
    Some(format!("`{code}` is never run; the family of the configuration counts"))
}

/// Rank and modules of an adapter, by the last parts of their names.
fn adapter(lora: &LoraConfig) -> String {
    let last = |path: &String| path.rsplit('.').next().unwrap_or_default().to_owned();
    let targets: BTreeSet<String> = lora.target_modules.iter().map(last).collect();
    let targets = targets.into_iter().collect::<Vec<_>>().join(", ");
    let whole = match lora.modules_to_save.as_slice() {
        [] => String::new(),
        names => format!("; {} in whole", names.join(", ")),
    };
    format!("rank {} on {targets}{whole}", lora.rank)
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
    let head = if config.tie_word_embeddings { "tied head" } else { "head of its own" };
    format!(
        "{} layers{windows}{recurrent}, width {}, {} heads ({} for keys) of {},\n{:13}feed-forward {}, vocabulary {}, {head}, up to {} tokens",
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
    let (tokens, vocab) = (tokenizer.vocab_size(), found.config.vocab_size);
    let beyond = |id: usize| {
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        tokenizer.decode_skip_special(&[id]).is_ok_and(|text| text.is_empty())
    };
    // Such as places for images: no text of a problem has them.
    let are_special = (vocab..tokens).all(beyond);
    let more = if tokens > vocab && are_special {
        format!(", of which {} special ones are none of the model's", tokens - vocab)
    } else {
        String::new()
    };
    lines.push(("tokenizer", format!("{tokens} tokens{more}")));
    if !are_special {
        unusual.push(format!("the tokenizer has {tokens} tokens, the model {vocab}"));
    }
    let mut stops = found.stop_tokens.clone();
    stops.extend(tokenizer.eos_token_id());
    stops.sort_unstable();
    stops.dedup();
    let named = |id: &u32| format!("{id} {:?}", tokenizer.decode(&[*id]).unwrap_or_default());
    let names: Vec<String> = stops.iter().map(named).collect();
    lines.push(("stop tokens", names.join(", ")));
    let unreachable = stops.iter().filter(|&&id| usize::try_from(id).is_ok_and(|id| id >= vocab));
    let unreachable: Vec<String> = unreachable.map(ToString::to_string).collect();
    if !unreachable.is_empty() {
        let ids = unreachable.join(", ");
        unusual.push(format!("the model has no token {ids}, which is to end a completion"));
    }
    if stops.is_empty() {
        unusual.push("no token ends a completion; give one with `--stop-token`".to_owned());
    }
    unusual.extend(tokenizer.warnings().iter().cloned());
    lines.extend(template(tokenizer, unusual));
    if let Some(token) = tokenizer.unstopped_turn(&stops) {
        unusual.push(format!(
            "the chat template ends an answer by {token:?}, which ends no completion; add it with `--stop-token`"
        ));
    }
}

/// The chat template: its variables, and a prompt.
fn template(tokenizer: &Tokenizer, unusual: &mut Vec<String>) -> Vec<(&'static str, String)> {
    let Some(template) = tokenizer.chat_template() else {
        unusual.push("no chat template: prompts are plain text".to_owned());
        return Vec::new();
    };
    let variables = tokenizer.template_variables();
    let variables = if variables.is_empty() { "none".to_owned() } else { variables.join(", ") };
    let features = [("strftime_now", "asks for the date"), ("endgeneration", "marks answers")];
    let features = features.iter().filter(|(word, _)| template.contains(word));
    let features = features.flat_map(|(_, text)| ["; ", text]).collect::<String>();
    let mut lines = vec![("template", format!("variables: {variables}{features}"))];
    match tokenizer.apply_chat_template(&[ChatMessage::user("2 + 2?")], true) {
        Ok(text) => {
            let tokens = tokenizer.encode(&text).map_or(0, |tokens| tokens.len());
            lines.push(("a prompt", format!("{text:?}, {tokens} tokens")));
        }
        Err(error) => unusual.push(format!(
            "the chat template fails on a problem without a message of the system: {}; mend it, give one with `--system`, or \
             ask in plain text with `--no-chat-template`",
            chain(&error)
        )),
    }
    lines
}

/// An estimate for a model that is not loaded.
fn memory(config: &ModelConfig, compute: Kind, adapts: bool, device: Device) -> MemoryEstimate {
    let row = ROW.min(config.max_positions());
    // Rank 16 on every projection is about a hundredth of a model.
    let adapters = if adapts { config.num_parameters() / 100 } else { 0 };
    let report = load_report(config, adapters, compute, device);
    let gradient_bytes = 4 * report.trainable as u64;
    MemoryEstimate::new(&MemoryDemand {
        model: config,
        report: &report,
        gradient_bytes,
        frees_gradients: false,
        optimizer_bytes: 2 * gradient_bytes,
        gathered_bytes: None,
        reference: false,
        teacher_bytes: 0,
        sampler_bytes: 0,
        gradient_checkpointing: false,
        sampled: vec![SampledBatch { prompts: ROWS / 8, each: 8, max_batch: ROWS }],
        longest_prompt: row / 2,
        longest_completion: row / 2,
        micro_batch_tokens: MICRO_BATCH,
    })
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
        let lines = report(&path, &found, Ok(&tokenizer), None).lines;
        let text: Vec<String> = lines.iter().map(|(what, text)| format!("{what} {text}")).collect();
        let text = text.join("\n");
        for words in [
            "model LlamaForCausalLM",
            "3 layers",
            "F32",
            "stop tokens",
            "in bf16 on a CPU, LoRA: ",
            "in bf16 on a GPU: ",
            "program ",
            "rows of 256 tokens",
            "training yes, all weights or by LoRA",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let report = report(&path, &found, Err("nothing".into()), Some("damage".into()));
        assert_eq!(report.unusable, ["damage", "no tokenizer: nothing"]);
        assert!(report.lines.contains(&("training", "no, see below".to_owned())));
        found.check_values().unwrap();
    }

    /// Copies of the embedded model with damage: exit code and words.
    #[test]
    fn exit_codes_tell_the_unusual_from_the_unusable() {
        #[track_caller]
        fn check(damage: impl FnOnce(&Path), code: u8, words: &[&str]) {
            let dir = tempfile::tempdir().unwrap();
            for file in std::fs::read_dir(tiny_model()).unwrap().flatten() {
                std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
            }
            let template =
                "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}{{ mood }}";
            std::fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
            damage(dir.path());
            let report = match Inspection::new(dir.path(), None) {
                Ok(found) => {
                    let tokenizer = tokenizer(dir.path(), &found.path);
                    let tokenizer = tokenizer.as_ref().map_err(|error| chain(error));
                    report(dir.path(), &found, tokenizer, None)
                }
                Err(error) => refused(dir.path(), &error),
            };
            let lines = report.lines.iter().map(|(what, text)| format!("{what} {text}"));
            let text: Vec<String> =
                lines.chain(report.unusual.clone()).chain(report.unusable.clone()).collect();
            let text = text.join("\n");
            assert_eq!(report.code(), code, "{text}");
            for word in words {
                assert!(text.contains(word), "{text}: no {word}");
            }
        }
        let edit = |dir: &Path, key: &str, value: serde_json::Value| {
            let path = dir.join("config.json");
            let text = std::fs::read_to_string(&path).unwrap();
            let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
            json[key] = value;
            std::fs::write(path, json.to_string()).unwrap();
        };
        check(|_| {}, 0, &["variables: mood", "tied head"]);
        let yarn = serde_json::json!({"rope_type": "yarn", "factor": 4.0});
        check(|dir| edit(dir, "rope_scaling", yarn), 0, &["rotation yarn, factor 4"]);
        check(
            |dir| std::fs::remove_file(dir.join("chat_template.jinja")).unwrap(),
            UNUSUAL,
            &["no chat template"],
        );
        // Both are said at once.
        let damage = |dir: &Path| {
            edit(dir, "quantization_config", serde_json::json!({"quant_method": "gptq"}));
            std::fs::remove_file(dir.join("tokenizer.json")).unwrap();
        };
        check(damage, UNUSABLE, &["gptq", "no tokenizer"]);
        let damage = |dir: &Path| std::fs::remove_file(dir.join("model.safetensors")).unwrap();
        check(damage, UNUSABLE, &["3 layers", "holds no weights", "variables: mood"]);
    }
}
