//! The sampler of a run: the policy in this process, or vLLM servers.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use hint_grpo::weight_tensors;
use hint_policy::{LoraConfig, Policy as _, SaveOptions, SharedPolicy};
use hint_rollout::engine::vllm::{VllmBuilder, VllmEngine, VllmEvent, VllmFollower, VllmOptions};
use hint_rollout::engine::{HeadWeights, WeightTensor};
use hint_rollout::error::VllmError;
use hint_rollout::net::ApiKey;
use hint_rollout::{LocalEngine, PolicyVersion, RolloutEngine, RolloutError, WeightSource};

use super::settings::Settings;
use super::transfer::{VllmWeights, over_gpus};
use crate::launch::ProcessGroup;
use crate::workload::{Compute, Model, api_key};

/// Name under which servers are to serve the model.
pub(crate) const SERVED_NAME: &str = "policy";

/// The variable from which `vllm serve` takes the key that it asks for, and this program the one that it sends.
const SERVER_KEY: &str = "VLLM_API_KEY";

/// The key in the environment variable that an option names, or else in the usual one if it is set.
///
/// # Errors
///
/// A variable that the option names, and that is not set.
pub(crate) fn server_key(variable: Option<&str>) -> Result<Option<ApiKey>> {
    let Some(variable) = variable else { return Ok(api_key(SERVER_KEY)) };
    let missing = || {
        format!(
            "the variable `{variable}` is not set, or empty; it is to hold the API key of the servers"
        )
    };
    api_key(variable).map(Some).with_context(missing)
}

/// Names the option of a key that servers refuse.
pub(crate) fn explain_key(error: RolloutError) -> anyhow::Error {
    if matches!(error, RolloutError::Vllm(VllmError::Key { .. })) {
        let advice =
            format!("set `{SERVER_KEY}` to it, or name another variable with --vllm-key-env");
        return anyhow!("{error}: {advice}");
    }
    error.into()
}

/// As [`explain_key`], and names the way around adapters, which need options of the servers.
fn explain(error: RolloutError) -> anyhow::Error {
    let is_about_adapters = match &error {
        RolloutError::Vllm(VllmError::Setting { setting, .. }) => setting.contains("lora"),
        RolloutError::Vllm(VllmError::RuntimeLora { .. }) => true,
        _ => false,
    };
    if is_about_adapters {
        return anyhow!("{error}; or let it have whole weights by --vllm-merged");
    }
    explain_key(error)
}

/// The engine that `settings` ask for, which samples from `copy` if there is one. `dir` is the folder of the run;
/// servers get their weights below it, after `lock` kept other processes out.
///
/// # Errors
///
/// Servers that cannot be used, with the reason of each; those of `lock`.
pub(crate) fn engine(
    settings: &Settings,
    model: &Model,
    copy: Option<&SharedPolicy>,
    dir: &Path,
    lock: impl FnOnce() -> Result<()>,
) -> Result<Box<dyn RolloutEngine>> {
    if settings.vllm.is_empty() {
        return Ok(local(settings, model, copy));
    }
    let (policy, stop_tokens) = (&model.policy, model.stop_tokens.clone());
    let mut options = VllmOptions::new(&settings.vllm, SERVED_NAME, dir.join("vllm-weights"));
    if settings.compute != Compute::Bf16 {
        options.dtype = Some("float32".to_owned());
    }
    options.adapter_rank = adapter_rank(settings, policy);
    options.weight_path = settings.vllm_weights.path();
    let has_adapters = options.adapter_rank.is_some();
    let mut builder = VllmEngine::builder(options).stop_tokens(stop_tokens);
    if !has_adapters {
        builder = connect_gpus(builder, settings.vllm_weights, policy)?;
    }
    if let Some(key) = server_key(settings.vllm_key_env.as_deref())? {
        builder = builder.api_key(key);
    }
    let mut engine = builder.observer(report_server).connect().map_err(explain)?;
    // Another process of this run would lose its weights.
    lock()?;
    // An earlier run may have left its own weights there.
    engine.sync(&Initial(policy))?;
    Ok(Box::new(engine))
}

/// Lets the weights go from GPU to GPU where `way` allows it and this program can.
///
/// # Errors
///
/// A program that cannot, if it is asked for.
fn connect_gpus(
    builder: VllmBuilder,
    way: VllmWeights,
    policy: &SharedPolicy,
) -> Result<VllmBuilder> {
    if way == VllmWeights::Folder {
        return Ok(builder);
    }
    match over_gpus(policy.lock().device()) {
        Ok(transfer) => Ok(builder.transfer(transfer)),
        Err(reason) if way == VllmWeights::Nccl => bail!(
            "--vllm-weights nccl does not work here: {reason}; leave the option out to take a folder"
        ),
        Err(reason) => {
            inform!("servers get weights through a folder ({reason})");
            Ok(builder)
        }
    }
}

/// Rank of the adapters that servers get in place of whole weights, if there are any that they read.
fn adapter_rank(settings: &Settings, policy: &SharedPolicy) -> Option<usize> {
    let policy = policy.lock();
    let lora = policy.lora().filter(|_| !settings.vllm_merged)?;
    if !lora.is_uniform() {
        note!(
            "servers get the adapters merged into whole weights: they read none of several ranks, or with whole modules"
        );
        return None;
    }
    Some(lora.rank)
}

/// The servers that the first process connects to, and its followers in the others.
pub(crate) fn follow(
    processes: &ProcessGroup,
    connect: impl FnOnce() -> Result<Box<dyn RolloutEngine>>,
) -> Result<Box<dyn RolloutEngine>> {
    let mut connected = None;
    let max_positions = processes.broadcast_value(|| {
        let engine = connect()?;
        let max_positions = engine.max_positions();
        connected = Some(engine);
        Ok(max_positions)
    })?;
    Ok(connected.unwrap_or_else(|| Box::new(VllmFollower::new(max_positions))))
}

/// The policy in this process, or its copy.
pub(crate) fn local(
    settings: &Settings,
    model: &Model,
    copy: Option<&SharedPolicy>,
) -> Box<dyn RolloutEngine> {
    let policy = copy.unwrap_or(&model.policy).clone();
    let engine = LocalEngine::new(policy, model.stop_tokens.clone())
        .with_tokenizer(Arc::clone(&model.tokenizer));
    Box::new(match settings.max_batch {
        Some(max_batch) => engine.with_max_batch(max_batch),
        None => engine,
    })
}

/// The weights that a run starts from.
struct Initial<'a>(&'a SharedPolicy);

impl WeightSource for Initial<'_> {
    fn version(&self) -> PolicyVersion {
        PolicyVersion(0)
    }

    fn write_checkpoint(&self, dir: &Path, head: HeadWeights) -> Result<(), RolloutError> {
        let untied_head = head == HeadWeights::Untied;
        let options = SaveOptions { untied_head, merged: true, ..SaveOptions::default() };
        Ok(self.0.lock().save_as(dir, &options)?)
    }

    fn write_adapter(&self, dir: &Path) -> Result<bool, RolloutError> {
        let policy = self.0.lock();
        let is_readable = policy.lora().is_some_and(LoraConfig::is_uniform);
        if is_readable {
            policy.save(dir)?;
        }
        Ok(is_readable)
    }

    fn tensors(&self, head: HeadWeights) -> Result<Option<Vec<WeightTensor>>, RolloutError> {
        weight_tensors(self.0, head)
    }
}

/// Reports servers that fail and come back to a person.
pub(crate) fn report_server(event: &VllmEvent<'_>) {
    match event {
        VllmEvent::ServerDown { server, error, requests } => {
            note!("{server} is down, {requests} requests go to the others: {error}");
        }
        VllmEvent::ServerBack { server } => note!("{server} is back"),
        VllmEvent::Path { server, refusal: None } => {
            inform!("{server} gets weights from GPU to GPU, over NCCL");
        }
        VllmEvent::Path { server, refusal: Some(reason) } => {
            inform!("{server} gets weights through a folder ({reason})");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, channel};

    use hint_rollout::error::HttpError;
    use hint_rollout::{GenerationRequest, Sampling};
    use serde_json::Value;

    use super::super::Options;
    use super::*;

    /// A server that is ready to sample, and the paths that it is asked for.
    fn server() -> (String, Receiver<String>) {
        server_with("0123abcd-step-7", "null")
    }

    /// As [`server`], with this label of its weights and this `lora_config`.
    fn server_with(label: &'static str, lora: &'static str) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, paths) = channel();
        std::thread::spawn(move || {
            let mut adapters = String::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (path, body) = request(&stream);
                if let Some(name) = body["lora_name"].as_str() {
                    adapters = format!(r#",{{"id":"{name}"}}"#);
                }
                let model = r#"{"dtype":"torch.float32","logprobs_mode":"processed_logprobs"}"#;
                let (status, body) = match path.as_str() {
                    "/v1/models" => {
                        let model = r#"{"id":"policy","max_model_len":1024}"#;
                        (200, format!(r#"{{"data":[{model}{adapters}]}}"#))
                    }
                    "/v1/load_lora_adapter" if body.is_null() => (405, "{}".to_owned()),
                    "/weight_info" => (200, format!(r#"{{"weight_version":"{label}"}}"#)),
                    path if path.starts_with("/server_info") => {
                        let config = format!(r#"{{"model_config":{model},"lora_config":{lora}}}"#);
                        (200, format!(r#"{{"vllm_config":{config}}}"#))
                    }
                    _ => (200, "{}".to_owned()),
                };
                let _ = sender.send(path);
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n");
                let _ = write!(stream, "{head}Connection: close\r\n\r\n{body}");
            }
        });
        (address, paths)
    }

    /// The path of a request, and its body; null for an empty one.
    fn request(stream: &TcpStream) -> (String, Value) {
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            line.trim().to_lowercase()
        };
        let path = line().split(' ').nth(1).unwrap().to_owned();
        let headers = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()));
        let lengths =
            headers.filter_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; lengths.last().unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        (path, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[test]
    fn servers_of_a_run_that_is_in_use_keep_their_weights() {
        let (address, paths) = server();
        let options = Options::parse(["hint_grpo", "--vllm", &address]).unwrap();
        let settings = options.resolve().unwrap();
        let model = settings.workload().unwrap().model(1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let refused = engine(&settings, &model, None, dir.path(), || bail!("in use by process 7"));
        assert_eq!(refused.err().unwrap().to_string(), "in use by process 7");
        let asked = paths.try_iter().collect::<Vec<_>>();
        let expected = ["/health", "/v1/models", "/server_info?config_format=json", "/weight_info"];
        assert_eq!(asked, expected, "nothing is loaded");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn servers_of_adapters_need_options_of_their_own_unless_they_get_whole_weights() {
        let (address, _paths) = server();
        let refused = |args: &[&str]| {
            let args = ["hint_grpo", "--vllm", &address].into_iter().chain(args.iter().copied());
            let settings = Options::parse(args).unwrap().resolve().unwrap();
            let model = settings.workload().unwrap().model(1).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let refused = engine(&settings, &model, None, dir.path(), || bail!("in use"));
            refused.err().unwrap().to_string()
        };
        let found = refused(&["--lora=rank=12"]);
        let expected = "start it with `--enable-lora --max-lora-rank 16`; or let it have whole weights by --vllm-merged";
        assert!(found.contains(expected), "{found}");
        assert_eq!(refused(&["--lora=rank=12", "--vllm-merged"]), "in use");
        assert_eq!(refused(&[]), "in use");
    }

    #[test]
    fn weights_over_nccl_are_refused_where_the_policy_is_on_the_cpu() {
        let (address, paths) = server();
        let args = ["hint_grpo", "--vllm", &address, "--vllm-weights", "nccl", "--device", "cpu"];
        let settings = Options::parse(args).unwrap().resolve().unwrap();
        let model = settings.workload().unwrap().model(1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let refused = engine(&settings, &model, None, dir.path(), || Ok(())).err().unwrap();
        let expected = "--vllm-weights nccl does not work here: the policy is on the CPU; leave";
        assert!(refused.to_string().starts_with(expected), "{refused}");
        assert_eq!(paths.try_iter().count(), 0, "no server is asked");
    }

    #[test]
    fn servers_get_the_adapter_that_the_run_starts_from() {
        let (address, paths) = server_with("default", r#"{"max_lora_rank":16}"#);
        let args = ["hint_grpo", "--vllm", &address, "--lora=rank=12"];
        let settings = Options::parse(args).unwrap().resolve().unwrap();
        let model = settings.workload().unwrap().model(1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        engine(&settings, &model, None, dir.path(), || Ok(())).unwrap();
        let asked = paths.try_iter().collect::<Vec<_>>();
        // Once whether there is such an interface, and once for the adapter.
        let loads = asked.iter().filter(|path| *path == "/v1/load_lora_adapter").count();
        assert_eq!(loads, 2, "{asked:?}");
        assert!(!asked.iter().any(|path| path.starts_with("/pause")), "{asked:?}");
        let weights = dir.path().join("vllm-weights/step-0");
        assert!(weights.join("adapter_model.safetensors").is_file());
        assert!(!weights.join("model.safetensors").exists());
    }

    #[test]
    fn a_key_comes_from_the_variable_that_is_named() {
        let missing = server_key(Some("HINT_RL_HAS_NO_SUCH_KEY")).unwrap_err().to_string();
        assert!(missing.contains("`HINT_RL_HAS_NO_SUCH_KEY` is not set"), "{missing}");
        // Any variable that is always there.
        assert!(server_key(Some("PATH")).unwrap().is_some());
        let message = "Unauthorized".to_owned();
        let source =
            HttpError::Status { url: "http://a/v1/models".to_owned(), status: 401, message };
        let refused = VllmError::Key { server: "http://a".to_owned(), source };
        let text = explain_key(refused.into()).to_string();
        assert!(text.contains("http://a") && text.contains("--vllm-key-env"), "{text}");
    }

    #[test]
    fn a_stop_text_ends_a_completion_behind_the_least_length() {
        let settings = Options::parse(["hint_grpo"]).unwrap().resolve().unwrap();
        let model = settings.workload().unwrap().model(1).unwrap();
        let mut engine = local(&settings, &model, None);
        let mut sample = |stop: Vec<String>, min_completion_len| {
            let sampling = Sampling {
                temperature: 0.0,
                max_completion_len: 12,
                min_completion_len,
                stop,
                // The stop tokens as well, so that only texts end it.
                banned_tokens: model.stop_tokens.clone(),
                ..Sampling::default()
            };
            let prompt = model.tokenizer.encode("A").unwrap();
            let request = GenerationRequest::new(prompt, 1, 3, sampling);
            engine.generate(&[request]).unwrap().remove(0).remove(0).tokens
        };
        let text = |tokens: &[u32]| model.tokenizer.decode_skip_special(tokens).unwrap();
        let whole = sample(Vec::new(), 0);
        assert_eq!(whole.len(), 12);
        // A text over two tokens.
        let stop = text(&whole[3..5]);
        for least in 0..=whole.len() {
            let before = text(&whole[..least]).len();
            let ends = |len: &usize| {
                let begin = text(&whole[..*len]).rfind(&stop);
                begin.is_some_and(|begin| begin + stop.len() > before)
            };
            let expected = (least + 1..whole.len()).find(ends).unwrap_or(whole.len());
            assert_eq!(sample(vec![stop.clone()], least).len(), expected, "{least}: {stop:?}");
        }
    }
}
