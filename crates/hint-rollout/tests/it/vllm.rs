//! The vLLM engine against a local server that gives the answers recorded from vLLM 0.32.0.

mod aborted;
mod adapters;
mod order;
mod transfer;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use hint_rollout::engine::HeadWeights;
use hint_rollout::engine::vllm::{VllmEngine, VllmEvent, VllmOptions};
use hint_rollout::error::VllmError;
use hint_rollout::{
    GenerationRequest, PolicyVersion, RolloutEngine, RolloutError, Sampling, StopReason,
    WeightSource,
};
use serde_json::{Value, json};

use crate::stop_texts::{TWO_STOPS, collected, left_of_two_stops, sampling};

const MODELS: &str = r#"{"object":"list","data":[{"id":"smollm2","object":"model","owned_by":"vllm","max_model_len":1024}]}"#;
const INFO: &str = r#"{"vllm_config":{"model_config":{"model":"smollm2","dtype":"torch.float32","max_model_len":1024,"logprobs_mode":"processed_logprobs"}}}"#;
const COMPLETION: &str = r#"{"id":"cmpl-8f3c43f7a883e421","object":"text_completion","created":1795620340,"model":"smollm2","choices":[{"index":0,"text":" Paris, the capital of France","logprobs":{"text_offset":[0,13,24,36,49,61],"token_logprobs":[-0.156009703874588,-1.7266685962677002,-2.136831760406494,-0.09363206475973129,-0.12073897570371628,-1.346420407295227],"tokens":["token_id:7042","token_id:28","token_id:260","token_id:3575","token_id:282","token_id:4649"]},"finish_reason":"length","stop_reason":null,"token_ids":[7042,28,260,3575,282,4649],"prompt_logprobs":null},{"index":1,"text":" Monaco, which became famous","logprobs":{"text_offset":[0,13,27,38,50,63],"token_logprobs":[-5.475517272949219,-0.050979241728782654,-1.5197162628173828,-1.299691081047058,-6.100078582763672,-5.220973014831543],"tokens":["token_id:3692","token_id:22667","token_id:28","token_id:527","token_id:2163","token_id:4248"]},"finish_reason":"length","stop_reason":null,"token_ids":[3692,22667,28,527,2163,4248],"prompt_logprobs":null}],"usage":{"prompt_tokens":5,"total_tokens":17,"completion_tokens":12}}"#;
const RELOAD_FAILED: &str = r#"{"error":{"message":"Call to collective_rpc method failed: Worker failed with error 'Repo id must be in the form 'repo_name' or 'namespace/repo_name'', please check the stack trace above for the root cause","type":"InternalServerError","param":null,"code":500}}"#;

/// What a server answers to a path in place of the recorded answer: status and body. Status 0 breaks the connection.
type Script = Box<dyn FnMut(&str) -> Option<(u16, String)> + Send>;

/// The status of no answer at all: the server waits until the client closes the connection.
const HANG: u16 = 1;

/// A server on this machine.
struct Recorded {
    address: String,
    log: Arc<Mutex<Vec<String>>>,
    /// Bodies of the requests for completions, and of those about weights from GPU to GPU.
    bodies: Arc<Mutex<Vec<Value>>>,
    /// Names of the adapters that it has.
    adapters: Arc<Mutex<Vec<String>>>,
    /// Gets a message when a client has closed a connection that hangs.
    closed: Receiver<()>,
}

impl Recorded {
    /// Answers as recorded, except for a path that `change` answers.
    fn start(mut change: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("a bound socket"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&log);
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&bodies);
        let adapters = Arc::new(Mutex::new(Vec::new()));
        let loaded = Arc::clone(&adapters);
        let (close, closed) = channel();
        std::thread::spawn(move || {
            let mut label = "default".to_owned();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let Some((path, body)) = read_request(&mut stream) else { continue };
                seen.lock().expect("no test panics here").push(path.clone());
                let is_kept =
                    ["/v1/completions", "/init_weight_transfer_engine", "/update_weights"];
                if is_kept.contains(&path.as_str()) {
                    let body = serde_json::from_str(&body).expect("JSON");
                    asked.lock().expect("no test panics here").push(body);
                } else if path == "/update_weight_version" {
                    let body: Value = serde_json::from_str(&body).expect("JSON");
                    body["new_version"].as_str().expect("a text").clone_into(&mut label);
                }
                if let Some((status, body)) = change(&path) {
                    match status {
                        0 => {}
                        HANG => {
                            let close = close.clone();
                            std::thread::spawn(move || {
                                if matches!(stream.read(&mut [0]), Ok(0)) {
                                    // A test that has ended does not listen.
                                    let _ = close.send(());
                                }
                            });
                        }
                        status => answer(&mut stream, status, &body),
                    }
                    continue;
                }
                let mut loaded = loaded.lock().expect("no test panics here");
                if let Some((status, body)) = adapters::answer(&mut loaded, &path, &body) {
                    answer(&mut stream, status, &body);
                    continue;
                }
                let recorded = |path: &str| match path {
                    "/v1/models" => MODELS.to_owned(),
                    "/server_info?config_format=json" => INFO.to_owned(),
                    "/weight_info" => format!(r#"{{"weight_version":"{label}"}}"#),
                    "/v1/completions" => COMPLETION.to_owned(),
                    "/pause?mode=wait" => r#"{"status":"paused"}"#.to_owned(),
                    "/collective_rpc" => r#"{"results":[null]}"#.to_owned(),
                    "/resume" => r#"{"status":"resumed"}"#.to_owned(),
                    "/is_paused" => r#"{"is_paused":false}"#.to_owned(),
                    _ => String::new(),
                };
                answer(&mut stream, 200, &recorded(&path));
            }
        });
        Self { address, log, bodies, adapters, closed }
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().expect("no test panics here"))
    }

    /// How often a path was asked for since the last look.
    fn count(&self, wanted: &str) -> usize {
        self.log().iter().filter(|path| *path == wanted).count()
    }
}

fn read_request(stream: &mut std::net::TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, String::from_utf8(body).ok()?))
}

fn answer(stream: &mut std::net::TcpStream, status: u16, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n");
    // A client that gave up is no failure of the server.
    let _ = write!(stream, "{head}Content-Type: application/json\r\n\r\n{body}");
}

fn plain() -> Script {
    Box::new(|_| None)
}

fn on(path: &'static str, status: u16, body: &'static str) -> Script {
    Box::new(move |asked| (asked == path).then(|| (status, body.to_owned())))
}

struct Weights(u64);

impl WeightSource for Weights {
    fn version(&self) -> PolicyVersion {
        PolicyVersion(self.0)
    }

    fn write_checkpoint(&self, dir: &Path, head: HeadWeights) -> Result<(), RolloutError> {
        assert_eq!(head, HeadWeights::Untied);
        std::fs::write(dir.join("model.safetensors"), "weights")
            .map_err(|source| RolloutError::other("weights", source))
    }
}

type Events = Arc<Mutex<Vec<String>>>;

fn connect(servers: &[&Recorded], dir: &Path) -> (Result<VllmEngine, RolloutError>, Events) {
    connect_with(servers, dir, 32)
}

fn connect_with(
    servers: &[&Recorded],
    dir: &Path,
    parallel: usize,
) -> (Result<VllmEngine, RolloutError>, Events) {
    connect_to(VllmOptions { parallel, ..options(servers, dir) })
}

fn options(servers: &[&Recorded], dir: &Path) -> VllmOptions {
    let addresses = servers.iter().map(|server| server.address.clone());
    VllmOptions {
        backoff_s: 0.001,
        request_timeout_s: 10.0,
        dtype: Some("float32".to_owned()),
        ..VllmOptions::new(addresses, "smollm2", dir)
    }
}

fn connect_to(options: VllmOptions) -> (Result<VllmEngine, RolloutError>, Events) {
    let events = Events::default();
    let seen = Arc::clone(&events);
    let observer = move |event: &VllmEvent<'_>| {
        let text = match event {
            VllmEvent::ServerDown { requests, .. } => format!("down {requests}"),
            VllmEvent::ServerBack { .. } => "back".to_owned(),
            VllmEvent::Synced { version, up, down } => format!("synced {} {up} {down}", version.0),
            _ => "other".to_owned(),
        };
        seen.lock().expect("no test panics here").push(text);
    };
    let engine = VllmEngine::builder(options).stop_tokens(vec![2]).observer(observer).connect();
    (engine, events)
}

fn request(max_completion_len: usize) -> GenerationRequest {
    let sampling = Sampling { max_completion_len, ..Sampling::default() };
    GenerationRequest::new(vec![504, 3575, 282, 4649, 314], 2, u64::MAX, sampling)
}

#[test]
fn recorded_answer_becomes_completions_of_the_synced_version() {
    let dir = tempfile::tempdir().unwrap();
    let server = Recorded::start(plain());
    let mut engine = connect(&[&server], dir.path()).0.unwrap();
    server.log();
    engine.sync(&Weights(7)).unwrap();
    let control = server.log();
    assert_eq!(
        control,
        [
            "/health",
            "/pause?mode=wait",
            "/collective_rpc",
            "/reset_prefix_cache",
            "/update_weight_version",
            "/weight_info",
            "/resume",
            "/is_paused"
        ]
    );
    assert!(dir.path().join("step-7/model.safetensors").exists());
    let groups = engine.generate(&[request(6)]).unwrap();
    let completions = &groups[0];
    assert_eq!(completions.len(), 2);
    assert_eq!(completions[0].tokens, [7042, 28, 260, 3575, 282, 4649]);
    assert_eq!(completions[1].behavior_logprobs[0], -5.475_517_272_949_219);
    assert!(completions.iter().all(|c| c.stop == StopReason::Length));
    assert!(completions.iter().all(|c| c.version == PolicyVersion(7)));
    // The next weights take the place of the old ones.
    engine.sync(&Weights(8)).unwrap();
    assert!(!dir.path().join("step-7").exists());
}

#[test]
fn wrong_server_options_are_named_with_their_fix() {
    #[track_caller]
    fn check(script: Script, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let error = connect(&[&Recorded::start(script)], dir.path()).0.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let info = "/server_info?config_format=json";
    check(on(info, 404, "{}"), "VLLM_SERVER_DEV_MODE=1");
    check(on(info, 500, "{}"), "needs `pip`");
    let raw = r#"{"vllm_config":{"model_config":{"logprobs_mode":"raw_logprobs"}}}"#;
    check(on(info, 200, raw), "--logprobs-mode processed_logprobs");
    let half = r#"{"vllm_config":{"model_config":{"logprobs_mode":"processed_logprobs","dtype":"torch.bfloat16"}}}"#;
    check(on(info, 200, half), "--dtype float32");
    check(on("/v1/models", 200, r#"{"data":[{"id":"other"}]}"#), "--served-model-name smollm2");
}

#[test]
fn stop_texts_least_length_and_bans_reach_the_server_and_mean_the_same_here() {
    // A server that samples to the end, as one does that ends at none of the texts.
    let tokens = TWO_STOPS.bytes().collect::<Vec<_>>();
    let choice = |index: usize| {
        json!({
            "index": index, "token_ids": tokens, "finish_reason": "length",
            "logprobs": {"token_logprobs": vec![-0.5; tokens.len()]},
        })
    };
    let answer = json!({"choices": [choice(0), choice(1)]});
    for least in [0, 9, 11, 12, 30, 32, 33, tokens.len()] {
        let (dir, answer) = (tempfile::tempdir().unwrap(), answer.to_string());
        let server = Recorded::start(Box::new(move |path| {
            (path == "/v1/completions").then(|| (200, answer.clone()))
        }));
        let engine = connect(&[&server], dir.path()).0.unwrap();
        let sampling = Sampling {
            max_completion_len: tokens.len(),
            min_completion_len: least,
            banned_tokens: vec![7, 9],
            ..sampling()
        };
        assert_eq!(collected(engine, sampling), left_of_two_stops(least), "{least}");
        let body = server.bodies.lock().unwrap().pop().expect("one request");
        let fields = ["stop", "include_stop_str_in_output", "logit_bias", "min_tokens"];
        let expected = [
            json!(["\nQ:", "END"]),
            json!(true),
            json!({"7": -100, "9": -100}),
            if least == 0 { Value::Null } else { least.into() },
        ];
        assert_eq!(fields.map(|field| body[field].clone()), expected, "{least}");
    }
}

#[test]
fn a_limit_of_the_servers_own_on_completions_is_named() {
    // Six tokens in place of the eight that were asked for.
    let dir = tempfile::tempdir().unwrap();
    let mut engine = connect(&[&Recorded::start(plain())], dir.path()).0.unwrap();
    let error = engine.generate(&[request(8)]).unwrap_err();
    assert!(matches!(error, RolloutError::Vllm(VllmError::Setting { .. })), "{error}");
    let error = error.to_string();
    let expected =
        "`max_new_tokens` is 6, expected at least 8; start it with `--generation-config vllm`";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn too_long_requests_are_refused_before_they_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Recorded::start(plain());
    let mut engine = connect(&[&server], dir.path()).0.unwrap();
    let error = engine.generate(&[request(1020)]).unwrap_err();
    assert!(matches!(error, RolloutError::Vllm(VllmError::TooLong { limit: 1024, .. })), "{error}");
}

#[test]
fn failing_server_is_reported_and_the_others_take_over() {
    let dir = tempfile::tempdir().unwrap();
    let (failing, has_failed) = channel();
    // The good server answers nothing before the bad one was asked.
    let mut has_failed = Some(has_failed);
    let good = Recorded::start(Box::new(move |path| {
        if path == "/v1/completions"
            && let Some(has_failed) = has_failed.take()
        {
            has_failed.recv().expect("the bad server is asked");
        }
        None
    }));
    let bad = Recorded::start(Box::new(move |path| {
        (path == "/v1/completions").then(|| {
            // Later attempts find nobody who waits.
            let _ = failing.send(());
            (0, String::new())
        })
    }));
    let (engine, events) = connect_with(&[&bad, &good], dir.path(), 1);
    let mut engine = engine.unwrap();
    engine.sync(&Weights(1)).unwrap();
    let groups = engine.generate(&[request(6), request(6), request(6)]).unwrap();
    assert_eq!(groups.len(), 3);
    assert!(groups.iter().all(|group| group.len() == 2));
    assert_eq!(*events.lock().unwrap(), ["synced 1 2 0", "down 1"]);
}

#[test]
fn a_slow_server_gets_fewer_requests() {
    let dir = tempfile::tempdir().unwrap();
    let (begin, has_begun) = channel();
    let (last, is_over) = channel();
    // Answers when the other one was asked nine times.
    let mut is_over = Some(is_over);
    let slow = Recorded::start(Box::new(move |path| {
        if path == "/v1/completions"
            && let Some(is_over) = is_over.take()
        {
            begin.send(()).expect("the fast server waits");
            is_over.recv().expect("the fast server answers");
        }
        None
    }));
    let mut asked = 0;
    let fast = Recorded::start(Box::new(move |path| {
        if path != "/v1/completions" {
            return None;
        }
        asked += 1;
        if asked == 1 {
            has_begun.recv().expect("the slow server is asked");
        }
        if asked == 9 {
            last.send(()).expect("the slow server waits");
        }
        None
    }));
    let (engine, events) = connect_with(&[&slow, &fast], dir.path(), 1);
    let groups = engine.unwrap().generate(&vec![request(6); 10]).unwrap();
    assert_eq!(groups.len(), 10);
    assert_eq!((slow.count("/v1/completions"), fast.count("/v1/completions")), (1, 9));
    assert!(events.lock().unwrap().is_empty());
}

#[test]
fn a_server_that_is_down_is_left_out_of_more_and_more_calls() {
    let dir = tempfile::tempdir().unwrap();
    let down = Recorded::start(on("/health", 503, "{}"));
    let up = Recorded::start(plain());
    let mut engine = connect(&[&down, &up], dir.path()).0.unwrap();
    assert_eq!(down.count("/health"), 1);
    let mut asked = Vec::new();
    for call in 1..=22 {
        // A change of weights is a call as well.
        if call == 6 {
            engine.sync(&Weights(1)).unwrap();
        } else {
            engine.generate(&[request(6)]).unwrap();
        }
        if down.count("/health") > 0 {
            asked.push(call);
        }
    }
    assert_eq!(asked, [1, 3, 6, 11, 20]);
    assert_eq!(up.count("/health"), 23);
    // With nobody else there, it is asked each time.
    let mut engine = {
        let mut asked = 0;
        // The first question is that of the connection.
        let server = Recorded::start(Box::new(move |path| {
            asked += usize::from(path == "/health");
            (path == "/health" && asked > 1).then(|| (503, "{}".to_owned()))
        }));
        let engine = connect(&[&server], dir.path()).0.unwrap();
        (engine, server)
    };
    for _ in 0..5 {
        engine.0.generate(&[request(6)]).unwrap_err();
    }
    assert_eq!(engine.1.count("/health"), 6);
}

#[test]
fn a_server_that_was_left_out_is_asked_before_the_run_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut asked = 0;
    // Down for connect and the first call, and left out of the second one.
    let back = Recorded::start(Box::new(move |path| {
        asked += usize::from(path == "/health");
        (path == "/health" && asked <= 2).then(|| (503, "{}".to_owned()))
    }));
    let mut asked = 0;
    let lost = Recorded::start(Box::new(move |path| {
        asked += usize::from(path == "/v1/completions");
        (path == "/v1/completions" && asked > 1).then(|| (0, String::new()))
    }));
    let mut engine = connect(&[&back, &lost], dir.path()).0.unwrap();
    engine.generate(&[request(6)]).unwrap();
    assert_eq!((back.count("/health"), back.bodies.lock().unwrap().len()), (2, 0));
    assert_eq!(engine.generate(&[request(6), request(6)]).unwrap().len(), 2);
    assert_eq!(back.bodies.lock().unwrap().len(), 2);
    // The same for a change of weights.
    let mut asked = 0;
    let back = Recorded::start(Box::new(move |path| {
        asked += usize::from(path == "/health");
        (path == "/health" && asked <= 2).then(|| (503, "{}".to_owned()))
    }));
    let lost = Recorded::start(on("/collective_rpc", 500, RELOAD_FAILED));
    let (engine, events) = connect(&[&back, &lost], dir.path());
    let mut engine = engine.unwrap();
    engine.generate(&[request(6)]).unwrap();
    engine.sync(&Weights(1)).unwrap();
    assert_eq!(*events.lock().unwrap(), ["down 0", "down 0", "back", "synced 1 1 1"]);
}

#[test]
fn a_server_that_asks_for_a_key_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Recorded::start(on("/v1/models", 401, r#"{"error":"Unauthorized"}"#));
    let error = connect(&[&server], dir.path()).0.unwrap_err();
    assert!(matches!(error, RolloutError::Vllm(VllmError::Key { .. })), "{error}");
    assert!(error.to_string().contains(&server.address), "{error}");
}

#[test]
fn failed_reload_leaves_the_server_paused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Recorded::start(on("/collective_rpc", 500, RELOAD_FAILED));
    let mut engine = connect(&[&server], dir.path()).0.unwrap();
    server.log();
    let error = engine.sync(&Weights(3)).unwrap_err();
    assert!(matches!(&error, RolloutError::Vllm(VllmError::AllDown { .. })), "{error}");
    assert!(error.to_string().contains("stays paused"), "{error}");
    assert!(!server.log().contains(&"/resume".to_owned()));
}

#[test]
fn a_server_that_keeps_keys_of_former_weights_stays_paused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Recorded::start(on("/reset_prefix_cache", 200, r#"{"success":false}"#));
    let mut engine = connect(&[&server], dir.path()).0.unwrap();
    server.log();
    let error = engine.sync(&Weights(3)).unwrap_err().to_string();
    assert!(error.contains("keys and values of the former weights"), "{error}");
    assert!(!server.log().contains(&"/resume".to_owned()));
}

#[test]
fn good_weights_after_a_failed_reload_resume_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut reloads = 0;
    let server = Recorded::start(Box::new(move |path| {
        reloads += usize::from(path == "/collective_rpc");
        (path == "/collective_rpc" && reloads == 1).then(|| (500, RELOAD_FAILED.to_owned()))
    }));
    let (engine, events) = connect(&[&server], dir.path());
    let mut engine = engine.unwrap();
    engine.sync(&Weights(3)).unwrap_err();
    engine.sync(&Weights(4)).unwrap();
    assert_eq!(*events.lock().unwrap(), ["down 0", "back", "synced 4 1 0"]);
    let groups = engine.generate(&[request(6)]).unwrap();
    assert!(groups[0].iter().all(|completion| completion.version == PolicyVersion(4)));
}

#[test]
fn server_that_stays_paused_is_not_asked_for_completions() {
    let dir = tempfile::tempdir().unwrap();
    let server = Recorded::start(on("/is_paused", 200, r#"{"is_paused":true}"#));
    let (engine, events) = connect(&[&server], dir.path());
    let mut engine = engine.unwrap();
    for _ in 0..2 {
        let error = engine.sync(&Weights(1)).unwrap_err().to_string();
        assert!(error.contains("is still paused after new weights were loaded"), "{error}");
    }
    assert!(engine.generate(&[request(6)]).is_err());
    assert!(!server.log().contains(&"/v1/completions".to_owned()));
    assert_eq!(*events.lock().unwrap(), ["down 0"], "whoever watches is told once");
}

#[test]
fn server_that_was_started_anew_gets_the_weights_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut asked = 0;
    // The third question (after connect and sync) is the one before sampling.
    let server = Recorded::start(Box::new(move |path| {
        asked += usize::from(path == "/weight_info");
        (path == "/weight_info" && asked == 3)
            .then(|| (200, r#"{"weight_version":"default"}"#.to_owned()))
    }));
    let mut engine = connect(&[&server], dir.path()).0.unwrap();
    engine.sync(&Weights(5)).unwrap();
    server.log();
    engine.generate(&[request(6)]).unwrap();
    let log = server.log();
    let place = |wanted: &str| log.iter().position(|path| path == wanted).expect("it was asked");
    assert!(place("/collective_rpc") < place("/v1/completions"), "{log:?}");
}

#[test]
fn two_runs_on_one_server_are_told_apart_at_the_same_step() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Recorded::start(plain());
    let mut engine = connect(&[&server], dir.path()).0.unwrap();
    engine.sync(&Weights(1)).unwrap();
    engine.generate(&[request(6)]).unwrap();
    // The other run takes the server over, which an ended one may have left behind.
    let mut other = connect(&[&server], other_dir.path()).0.unwrap();
    other.sync(&Weights(1)).unwrap();
    server.log();
    let error = engine.generate(&[request(6)]).unwrap_err();
    let RolloutError::Vllm(VllmError::OtherRun { found, .. }) = &error else { panic!("{error}") };
    assert!(found.ends_with("-step-1"), "{found}");
    assert!(!server.log().contains(&"/collective_rpc".to_owned()), "no reloading in turns");
    other.generate(&[request(6)]).unwrap();
    // The same run continues, as after a kill.
    let mut again = connect(&[&server], dir.path()).0.unwrap();
    again.sync(&Weights(2)).unwrap();
    again.generate(&[request(6)]).unwrap();
}

#[test]
fn weights_of_another_run_during_a_batch_are_found_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut asked = 0;
    // Connecting and the weights ask twice, and the beginning of the batch once more.
    let server = Recorded::start(Box::new(move |path| {
        asked += usize::from(path == "/weight_info");
        (path == "/weight_info" && asked == 4)
            .then(|| (200, r#"{"weight_version":"0123abcd-step-1"}"#.to_owned()))
    }));
    let mut engine = connect(&[&server], dir.path()).0.unwrap();
    engine.sync(&Weights(1)).unwrap();
    let error = engine.generate(&[request(6)]).unwrap_err();
    assert!(matches!(error, RolloutError::Vllm(VllmError::OtherRun { .. })), "{error}");
}
