//! Adapters in place of whole weights, each version under a name of its own.

use std::path::Path;

use hint_rollout::engine::HeadWeights;
use hint_rollout::engine::vllm::{VllmEngine, VllmOptions};
use hint_rollout::error::VllmError;
use hint_rollout::{PolicyVersion, RolloutEngine, RolloutError, WeightSource};
use serde_json::{Value, json};

use super::{Events, Recorded, Script, Weights, connect_to, on, options, request};

const INFO_PATH: &str = "/server_info?config_format=json";
const LOAD: &str = "/v1/load_lora_adapter";
const UNLOAD: &str = "/v1/unload_lora_adapter";

/// The part of a server that has adapters, as in vLLM 0.32.0: its answer, and what it has `loaded` afterwards.
pub(super) fn answer(loaded: &mut Vec<String>, path: &str, body: &str) -> Option<(u16, String)> {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let name = body["lora_name"].as_str().unwrap_or_default().to_owned();
    let place = loaded.iter().position(|known| *known == name);
    let missing =
        |text: String| (404, json!({"error": {"message": text, "code": 404}}).to_string());
    match path {
        "/v1/models" if !loaded.is_empty() => {
            let model = json!({"id": "smollm2", "max_model_len": 1024});
            let adapters = loaded.iter().map(|id| json!({"id": id, "parent": "smollm2"}));
            let all = std::iter::once(model).chain(adapters).collect::<Vec<_>>();
            Some((200, json!({"object": "list", "data": all}).to_string()))
        }
        // A GET has no body.
        LOAD if body.is_null() => Some((405, r#"{"detail":"Method Not Allowed"}"#.to_owned())),
        LOAD if place.is_some() => {
            let text = format!("The lora adapter '{name}' has already been loaded.");
            Some((400, json!({"error": {"message": text, "code": 400}}).to_string()))
        }
        LOAD => {
            let dir = Path::new(body["lora_path"].as_str()?);
            if !dir.is_absolute() || !dir.join("adapter_model.safetensors").exists() {
                return Some(missing(format!("No adapter found for '{name}'")));
            }
            let text = format!("Success: LoRA adapter '{name}' added successfully.");
            loaded.push(name);
            Some((200, text))
        }
        UNLOAD => match place {
            Some(place) => {
                let name = loaded.remove(place);
                Some((200, format!("Success: LoRA adapter '{name}' removed successfully.")))
            }
            None => Some(missing(format!("The lora adapter '{name}' cannot be found."))),
        },
        "/v1/completions" => {
            let model = body["model"].as_str()?;
            let is_known = model == "smollm2" || loaded.iter().any(|known| known == model);
            (!is_known).then(|| missing(format!("The model `{model}` does not exist.")))
        }
        _ => None,
    }
}

/// The description of a server with such a `lora_config`.
fn info(lora: &Value) -> String {
    let model = json!({
        "model": "smollm2", "dtype": "torch.float32", "logprobs_mode": "processed_logprobs",
    });
    json!({"vllm_config": {"model_config": model, "lora_config": lora}}).to_string()
}

/// A server with `--enable-lora --max-lora-rank 16`, except for a path that `change` answers.
fn server(mut change: Script) -> Recorded {
    let info = info(&json!({"max_lora_rank": 16, "max_loras": 1, "lora_dtype": "torch.float32"}));
    Recorded::start(Box::new(move |path| {
        change(path).or_else(|| (path == INFO_PATH).then(|| (200, info.clone())))
    }))
}

fn plain() -> Script {
    Box::new(|_| None)
}

fn connect(
    servers: &[&Recorded],
    dir: &Path,
    rank: usize,
) -> (Result<VllmEngine, RolloutError>, Events) {
    connect_to(VllmOptions { adapter_rank: Some(rank), parallel: 1, ..options(servers, dir) })
}

/// An adapter of this version, with such a content.
struct Adapter(u64, &'static str);

impl WeightSource for Adapter {
    fn version(&self) -> PolicyVersion {
        PolicyVersion(self.0)
    }

    fn write_checkpoint(&self, _: &Path, _: HeadWeights) -> Result<(), RolloutError> {
        unreachable!("no checkpoint is written for an adapter")
    }

    fn write_adapter(&self, dir: &Path) -> Result<bool, RolloutError> {
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::write(dir.join(file), self.1)
                .map_err(|source| RolloutError::other("adapter", source))?;
        }
        Ok(true)
    }
}

/// The models that the requests for completions named, by their versions.
fn models(server: &Recorded) -> Vec<String> {
    let bodies = std::mem::take(&mut *server.bodies.lock().expect("no test panics here"));
    let name = |body: &Value| version(body["model"].as_str().expect("a name"));
    bodies.iter().map(name).collect()
}

fn adapters(server: &Recorded) -> Vec<String> {
    let adapters = server.adapters.lock().expect("no test panics here");
    adapters.iter().map(|name| version(name)).collect()
}

/// The version in the name of an adapter: what stands between run and hash.
fn version(name: &str) -> String {
    let (_, rest) = name.split_once('-').expect("a run");
    rest.rsplit_once('-').expect("a hash").0.to_owned()
}

#[test]
fn each_version_has_a_name_that_requests_ask_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(plain());
    let mut engine = connect(&[&server], dir.path(), 12).0.unwrap();
    server.log();
    engine.sync(&Adapter(7, "values")).unwrap();
    let list = "/v1/models";
    let expected = ["/health", "/weight_info", list, LOAD, list];
    assert_eq!(server.log(), expected, "nothing is paused or reloaded");
    assert!(dir.path().join("step-7/adapter_model.safetensors").exists());
    let groups = engine.generate(&[request(6)]).unwrap();
    assert!(groups[0].iter().all(|completion| completion.version == PolicyVersion(7)));
    assert_eq!([models(&server), adapters(&server)], [["step-7"], ["step-7"]]);
    // The next version takes the place of the former one, here and on the server.
    engine.sync(&Adapter(8, "values")).unwrap();
    engine.generate(&[request(6)]).unwrap();
    assert_eq!([models(&server), adapters(&server)], [["step-8"], ["step-8"]]);
    assert!(!dir.path().join("step-7").exists());
}

#[test]
fn missing_options_are_named_with_their_fix() {
    #[track_caller]
    fn check(server: &Recorded, rank: usize, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let error = connect(&[server], dir.path(), rank).0.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(server.adapters.lock().unwrap().is_empty());
    }
    let without = Recorded::start(plain());
    check(&without, 12, "start it with `--enable-lora --max-lora-rank 16`");
    let expected =
        "`max_lora_rank` is 16, expected at least 17; start it with `--max-lora-rank 32`";
    check(&server(plain()), 17, expected);
    let fixed = on(LOAD, 404, r#"{"detail":"Not Found"}"#);
    check(&server(fixed), 16, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True");
    let trained = on("/weight_info", 200, r#"{"weight_version":"0123abcd-step-3"}"#);
    check(&server(trained), 16, "has the weights `0123abcd-step-3` of a run");
    // Without adapters, nothing of that is asked for.
    let dir = tempfile::tempdir().unwrap();
    connect_to(options(&[&without], dir.path())).0.unwrap();
}

#[test]
fn weights_without_an_adapter_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(plain());
    let mut engine = connect(&[&server], dir.path(), 16).0.unwrap();
    let error = engine.sync(&Weights(1)).unwrap_err();
    assert!(matches!(error, RolloutError::Vllm(VllmError::NoAdapter)), "{error}");
    assert!(server.adapters.lock().unwrap().is_empty());
}

#[test]
fn a_server_that_was_restarted_gets_the_adapter_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(plain());
    let mut engine = connect(&[&server], dir.path(), 16).0.unwrap();
    engine.sync(&Adapter(3, "values")).unwrap();
    server.adapters.lock().unwrap().clear();
    engine.generate(&[request(6)]).unwrap();
    assert_eq!([models(&server), adapters(&server)], [["step-3"], ["step-3"]]);
    // Other adapters, such as those of another run, stay.
    server.adapters.lock().unwrap().push("0123abcd-step-9-0123456789abcdef".to_owned());
    engine.sync(&Adapter(4, "values")).unwrap();
    assert_eq!(adapters(&server), ["step-9", "step-4"]);
}

#[test]
fn other_values_of_the_same_step_have_another_name() {
    // As in a run that was resumed from an earlier step: the server may know prompts by the former name.
    let dir = tempfile::tempdir().unwrap();
    let server = server(plain());
    let mut names = Vec::new();
    for content in ["values", "values", "other values"] {
        let mut engine = connect(&[&server], dir.path(), 16).0.unwrap();
        server.log();
        engine.sync(&Adapter(3, content)).unwrap();
        let loads = server.count(LOAD);
        engine.generate(&[request(6)]).unwrap();
        let body = server.bodies.lock().unwrap().pop().unwrap();
        names.push((body["model"].as_str().unwrap().to_owned(), loads));
    }
    assert_eq!(names[0].0, names[1].0);
    assert_ne!(names[0].0, names[2].0);
    assert_eq!(names.iter().map(|(_, loads)| *loads).collect::<Vec<_>>(), [1, 0, 1]);
    assert_eq!(*server.adapters.lock().unwrap(), [names[2].0.clone()]);
}

#[test]
fn a_server_that_loses_its_adapter_in_a_batch_is_left_out_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut asked = 0;
    let missing = r#"{"error":{"message":"The model does not exist.","code":404}}"#;
    let lost = server(Box::new(move |path| {
        asked += usize::from(path == "/v1/completions");
        (path == "/v1/completions" && asked == 1).then(|| (404, missing.to_owned()))
    }));
    let (good, dir) = (server(plain()), dir.path());
    let (engine, events) = connect(&[&lost, &good], dir, 16);
    let mut engine = engine.unwrap();
    engine.sync(&Adapter(1, "values")).unwrap();
    // One of them may be done before the other begins.
    while asked_for(&lost) == 0 {
        let groups = engine.generate(&vec![request(6); 4]).unwrap();
        assert!(groups.iter().all(|group| group.len() == 2));
    }
    assert_eq!(*events.lock().unwrap(), ["synced 1 2 0", "down 1"]);
    engine.generate(&[request(6)]).unwrap();
    assert_eq!(*events.lock().unwrap(), ["synced 1 2 0", "down 1", "back"]);
    assert_eq!(adapters(&lost), ["step-1"]);
}

fn asked_for(server: &Recorded) -> usize {
    server.bodies.lock().expect("no test panics here").len()
}

#[test]
fn an_adapter_that_no_server_loads_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let refused = r#"{"error":{"message":"LoRA rank 64 is greater than 16","code":500}}"#;
    let mut gets = 0;
    let server = server(Box::new(move |path| {
        // The first question is whether there is such an interface.
        gets += usize::from(path == LOAD);
        (path == LOAD && gets > 1).then(|| (500, refused.to_owned()))
    }));
    let mut engine = connect(&[&server], dir.path(), 16).0.unwrap();
    let error = engine.sync(&Adapter(2, "values")).unwrap_err().to_string();
    assert!(error.contains("could not load the adapter of version 2"), "{error}");
    assert!(error.contains("LoRA rank 64 is greater"), "{error}");
}
