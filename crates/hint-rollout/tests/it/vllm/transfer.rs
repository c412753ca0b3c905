//! Weights from GPU to GPU: the server's side of vLLM's protocol, with threads in the place of GPUs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_encoding::BASE64;
use hint_rollout::engine::vllm::{
    VllmEngine, VllmEvent, VllmOptions, WeightLink, WeightPath, WeightTransfer,
};
use hint_rollout::engine::{HeadWeights, WeightTensor};
use hint_rollout::{PolicyVersion, RolloutEngine, RolloutError, WeightSource};
use serde_json::json;

use super::{Events, HANG, Recorded, Weights, connect_to, options, plain, request};

const GPU_INFO: &str = r#"{"vllm_config":{"weight_transfer_config":{"backend":"nccl"},"model_config":{"model":"smollm2","dtype":"torch.float32","logprobs_mode":"processed_logprobs"}}}"#;
const INVARIANT_INFO: &str = r#"{"vllm_config":{"weight_transfer_config":{"backend":"nccl"},"model_config":{"model":"smollm2","dtype":"torch.float32","logprobs_mode":"processed_logprobs"}},"vllm_env":{"VLLM_BATCH_INVARIANT":true}}"#;
const LOST: &str = r#"{"error":{"message":"a rank is lost"}}"#;
const INFO_PATH: &str = "/server_info?config_format=json";
const NAMES: [&str; 3] = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"];
const WAIT: Duration = Duration::from_secs(20);

/// Weights that are tensors, too. Each has its name for values.
struct Tensors(u64);

impl WeightSource for Tensors {
    fn version(&self) -> PolicyVersion {
        PolicyVersion(self.0)
    }

    fn write_checkpoint(&self, dir: &Path, head: HeadWeights) -> Result<(), RolloutError> {
        Weights(self.0).write_checkpoint(dir, head)
    }

    fn tensors(&self, head: HeadWeights) -> Result<Option<Vec<WeightTensor>>, RolloutError> {
        assert_eq!(head, HeadWeights::Untied);
        let tensor = |name: &str| WeightTensor {
            name: name.to_owned(),
            shape: vec![4, 2],
            values: Box::new(name.to_owned()),
        };
        Ok(Some(NAMES.map(tensor).into()))
    }
}

/// The GPU of the trainer. Its groups have one server's worker, at the other end of two channels.
#[derive(Debug)]
struct Gpu {
    joins: Sender<(Vec<u8>, usize)>,
    values: Sender<String>,
    /// Tensors that a link carries before it breaks.
    limit: usize,
}

#[derive(Debug)]
struct Link {
    values: Sender<String>,
    left: usize,
    has_arrived: bool,
}

impl WeightTransfer for Gpu {
    fn new_id(&self) -> Result<Vec<u8>, RolloutError> {
        Ok(vec![7; 128])
    }

    fn join(
        &self,
        id: &[u8],
        world_size: usize,
        _timeout: Duration,
    ) -> Result<Box<dyn WeightLink>, RolloutError> {
        // Two GPUs never receive.
        let left = if world_size > 2 { 0 } else { self.limit };
        if left > 0 {
            // The server of a test that has ended does not listen.
            let _ = self.joins.send((id.to_vec(), world_size));
        }
        Ok(Box::new(Link { values: self.values.clone(), left, has_arrived: true }))
    }
}

impl WeightLink for Link {
    fn start(&mut self, tensor: &WeightTensor) -> Result<(), RolloutError> {
        self.has_arrived = self.left > 0;
        if !self.has_arrived {
            return Ok(());
        }
        self.left -= 1;
        let values = tensor.values.downcast_ref::<String>().expect("the name");
        let sent = self.values.send(values.clone());
        sent.map_err(|error| RolloutError::other("NCCL", error.to_string()))
    }

    fn poll(&mut self, wait: Duration) -> Result<bool, RolloutError> {
        if !self.has_arrived {
            std::thread::sleep(wait);
        }
        Ok(self.has_arrived)
    }
}

/// What a server with one GPU has joined and received.
#[derive(Debug, Default, Clone)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn push(&self, text: String) {
        self.0.lock().expect("no test panics here").push(text);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no test panics here"))
    }
}

/// A server with one GPU and the trainer's GPU that it can be joined with. `patience` bounds its wait for a tensor.
fn with_gpu(limit: usize, patience: Duration) -> (Recorded, Arc<Gpu>, Seen) {
    let (joins, joined) = channel::<(Vec<u8>, usize)>();
    let (values, received) = channel::<String>();
    let seen = Seen::default();
    let of_server = seen.clone();
    let server = Recorded::start(Box::new(move |path| match path {
        INFO_PATH => Some((200, GPU_INFO.to_owned())),
        "/get_world_size" => Some((200, r#"{"world_size":1}"#.to_owned())),
        // Answers when the other rank is there, as NCCL does.
        "/init_weight_transfer_engine" => match joined.recv_timeout(WAIT) {
            Ok((id, world_size)) => {
                of_server.push(format!("{} bytes, {world_size} ranks", id.len()));
                Some((200, "{}".to_owned()))
            }
            Err(_) => Some((500, "{}".to_owned())),
        },
        "/update_weights" => {
            for _ in NAMES {
                match received.recv_timeout(patience) {
                    Ok(values) => of_server.push(values),
                    Err(_) => return Some((500, LOST.to_owned())),
                }
            }
            Some((200, "{}".to_owned()))
        }
        _ => None,
    }));
    (server, Arc::new(Gpu { joins, values, limit }), seen)
}

/// An engine with this GPU, and the ways that it reports.
fn connect_gpu(options: VllmOptions, gpu: Arc<Gpu>) -> (Result<VllmEngine, RolloutError>, Events) {
    let events = Events::default();
    let seen = Arc::clone(&events);
    let observer = move |event: &VllmEvent<'_>| {
        let text = match event {
            VllmEvent::Path { refusal, .. } => refusal.unwrap_or("from GPU to GPU").to_owned(),
            VllmEvent::ServerDown { error, .. } => format!("down: {error}"),
            VllmEvent::ServerBack { .. } => "back".to_owned(),
            VllmEvent::Synced { version, up, down } => format!("synced {} {up} {down}", version.0),
            _ => return,
        };
        seen.lock().expect("no test panics here").push(text);
    };
    let builder = VllmEngine::builder(options).stop_tokens(vec![2]).observer(observer);
    (builder.transfer(gpu).connect(), events)
}

fn take(events: &Events) -> Vec<String> {
    std::mem::take(&mut *events.lock().expect("no test panics here"))
}

#[test]
fn weights_go_from_gpu_to_gpu_and_none_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (server, gpu, seen) = with_gpu(usize::MAX, WAIT);
    let (engine, events) = connect_gpu(options(&[&server], dir.path()), gpu);
    let mut engine = engine.unwrap();
    server.log();
    engine.sync(&Tensors(7)).unwrap();
    let update = [
        "/pause?mode=wait",
        "/start_weight_update",
        "/update_weights",
        "/finish_weight_update",
        "/reset_prefix_cache",
        "/update_weight_version",
        "/weight_info",
        "/resume",
        "/is_paused",
    ];
    let join = [
        "/health",
        "/get_world_size",
        "/shutdown_weight_transfer_engine",
        "/init_weight_transfer_engine",
    ];
    assert_eq!(server.log(), join.into_iter().chain(update).collect::<Vec<_>>());
    let received = || NAMES.map(str::to_owned).to_vec();
    assert_eq!(seen.take(), [vec!["128 bytes, 2 ranks".to_owned()], received()].concat());
    let bodies = std::mem::take(&mut *server.bodies.lock().unwrap());
    let id = BASE64.encode(&[7; 128]);
    let init = json!({
        "nccl_unique_id_b64": id, "rank_offset": 1, "world_size": 2, "packed": false,
    });
    assert_eq!(bodies[0], json!({ "init_info": init }));
    let (kinds, shapes) = (["float32"; 3], [[4, 2]; 3]);
    let tensors = json!({ "names": NAMES, "dtype_names": kinds, "shapes": shapes });
    assert_eq!(bodies[1], json!({ "update_info": tensors }));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let groups = engine.generate(&[request(6)]).unwrap();
    assert!(groups[0].iter().all(|completion| completion.version == PolicyVersion(7)));
    // The GPUs stay connected.
    server.log();
    engine.sync(&Tensors(8)).unwrap();
    assert_eq!(server.log(), std::iter::once("/health").chain(update).collect::<Vec<_>>());
    assert_eq!(seen.take(), received());
    assert_eq!(take(&events), ["from GPU to GPU", "synced 7 1 0", "synced 8 1 0"]);
}

#[test]
fn a_server_whose_transfer_breaks_gets_a_folder_after_the_rest_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (server, gpu, seen) = with_gpu(1, Duration::from_millis(50));
    let (engine, events) = connect_gpu(options(&[&server], dir.path()), gpu);
    let mut engine = engine.unwrap();
    server.log();
    engine.sync(&Tensors(1)).unwrap();
    assert_eq!(seen.take().last().map(String::as_str), Some(NAMES[0]));
    let log = server.log();
    let broken = log.iter().position(|path| path == "/update_weights").expect("it was begun");
    let expected = [
        "/start_weight_update",
        "/finish_weight_update",
        "/pause?mode=wait",
        "/collective_rpc",
        "/reset_prefix_cache",
    ];
    assert_eq!(log[broken + 1..broken + 6], expected);
    assert!(dir.path().join("step-1/model.safetensors").exists());
    engine.generate(&[request(6)]).unwrap();
    engine.sync(&Tensors(2)).unwrap();
    assert!(!server.log().contains(&"/update_weights".to_owned()), "it is not tried again");
    let told = take(&events);
    assert!(told[0].contains("a rank is lost"), "{told:?}");
    assert_eq!(told[1..], ["synced 1 1 0", "synced 2 1 0"]);
}

#[test]
fn a_server_that_ends_in_a_transfer_is_left_out_and_the_other_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (good, gpu, seen) = with_gpu(usize::MAX, WAIT);
    let mut has_ended = false;
    let ending = Recorded::start(Box::new(move |path| {
        has_ended |= path == "/start_weight_update";
        match path {
            _ if has_ended => Some((0, String::new())),
            INFO_PATH => Some((200, GPU_INFO.to_owned())),
            "/get_world_size" => Some((200, r#"{"world_size":1}"#.to_owned())),
            _ => None,
        }
    }));
    let (engine, events) = connect_gpu(options(&[&ending, &good], dir.path()), gpu);
    let mut engine = engine.unwrap();
    engine.sync(&Tensors(1)).unwrap();
    assert_eq!(seen.take().len(), 1 + NAMES.len());
    // The folder waits for the one that ended.
    assert!(dir.path().join("step-1/model.safetensors").exists());
    assert_eq!(engine.generate(&[request(6), request(6)]).unwrap().len(), 2);
    let told = take(&events);
    assert!(told[2].starts_with("down: "), "{told:?}");
    assert_eq!((told[1].as_str(), told[3].as_str()), ("from GPU to GPU", "synced 1 1 1"));
}

#[test]
fn a_server_that_lost_weights_of_gpus_waits_for_the_next_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (server, gpu, _seen) = with_gpu(usize::MAX, WAIT);
    let (engine, events) = connect_gpu(options(&[&server], dir.path()), gpu);
    let mut engine = engine.unwrap();
    engine.sync(&Tensors(1)).unwrap();
    // It was started again: its label is another one.
    let relabel = r#"{"new_version":"default"}"#;
    let address = server.address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = "POST /update_weight_version HTTP/1.1\r\nContent-Length:";
    write!(stream, "{head} {}\r\n\r\n{relabel}", relabel.len()).unwrap();
    stream.read_to_string(&mut String::new()).unwrap();
    for _ in 0..3 {
        let error = engine.generate(&[request(6)]).unwrap_err().to_string();
        assert!(error.contains("has lost the weights of version 1"), "{error}");
    }
    take(&events);
    engine.sync(&Tensors(2)).unwrap();
    assert_eq!(take(&events), ["back", "synced 2 1 0"]);
    engine.generate(&[request(6)]).unwrap();
}

#[test]
fn a_server_that_never_receives_keeps_the_weights_of_no_other() {
    let dir = tempfile::tempdir().unwrap();
    // Its request lasts longer than `sync_timeout_s`.
    let (good, gpu, seen) = with_gpu(usize::MAX, WAIT);
    let silent = Recorded::start(Box::new(|path| match path {
        INFO_PATH => Some((200, GPU_INFO.to_owned())),
        "/get_world_size" => Some((200, r#"{"world_size":2}"#.to_owned())),
        "/update_weights" => Some((HANG, String::new())),
        _ => None,
    }));
    let options = VllmOptions { sync_timeout_s: 1.0, ..options(&[&silent, &good], dir.path()) };
    let (engine, events) = connect_gpu(options, gpu);
    let mut engine = engine.unwrap();
    silent.log();
    engine.sync(&Tensors(1)).unwrap();
    let received = NAMES.map(str::to_owned).to_vec();
    assert_eq!(seen.take(), [vec!["128 bytes, 2 ranks".to_owned()], received].concat());
    assert_eq!(good.count("/collective_rpc"), 0);
    // Its request was closed, and it is asked nothing more.
    silent.closed.recv_timeout(WAIT).unwrap();
    assert_eq!(silent.log().last().map(String::as_str), Some("/update_weights"));
    let told = take(&events);
    assert_eq!(told[..2], ["a tensor has not arrived within 1 s", "from GPU to GPU"]);
    assert!(told[2].starts_with("down: "), "{told:?}");
    assert_eq!(told[3..], ["synced 1 1 1"]);
    // It is there again, and gets the folder.
    assert_eq!(engine.generate(&[request(6), request(6)]).unwrap().len(), 2);
    assert_eq!(take(&events), ["back"]);
    assert_eq!(silent.count("/collective_rpc"), 1);
}

#[test]
fn a_server_that_has_kept_weights_of_gpus_is_back_before_the_next_ones() {
    let dir = tempfile::tempdir().unwrap();
    let ill = Arc::new(Mutex::new(""));
    let of_server = Arc::clone(&ill);
    let server = Recorded::start(Box::new(move |path| match path {
        INFO_PATH => Some((200, GPU_INFO.to_owned())),
        "/get_world_size" => Some((200, r#"{"world_size":1}"#.to_owned())),
        path if *of_server.lock().expect("no test panics here") != path => None,
        "/is_paused" => Some((200, r#"{"is_paused":true}"#.to_owned())),
        _ => Some((500, LOST.to_owned())),
    }));
    let set = |path: &'static str| *ill.lock().expect("no test panics here") = path;
    let (values, _received) = channel();
    let gpu = Gpu { joins: channel().0, values, limit: usize::MAX };
    let options = VllmOptions { attempts: 1, ..options(&[&server], dir.path()) };
    let (engine, events) = connect_gpu(options, Arc::new(gpu));
    let mut engine = engine.unwrap();
    engine.sync(&Tensors(1)).unwrap();
    assert_eq!(take(&events), ["from GPU to GPU", "synced 1 1 0"]);
    set("/v1/completions");
    engine.generate(&[request(6)]).unwrap_err();
    set("");
    engine.generate(&[request(6)]).unwrap();
    let told = take(&events);
    assert!(told[0].starts_with("down: "), "{told:?}");
    assert_eq!(told[1..], ["back"]);
    // One that is paused may have part of other weights.
    set("/v1/completions");
    engine.generate(&[request(6)]).unwrap_err();
    set("/is_paused");
    let error = engine.generate(&[request(6)]).unwrap_err().to_string();
    assert!(error.contains("has lost the weights of version 1"), "{error}");
}

#[test]
fn the_rest_of_another_trainer_is_ended_before_a_folder_is_read() {
    let asked = ["/get_world_size"];
    for (weight_path, asked) in [(WeightPath::Auto, &asked[..]), (WeightPath::Folder, &asked[..0])]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut is_new = true;
        // Paused at first, and without a GPU to join.
        let server = Recorded::start(Box::new(move |path| match path {
            INFO_PATH => Some((200, GPU_INFO.to_owned())),
            "/get_world_size" => Some((500, LOST.to_owned())),
            "/is_paused" if std::mem::take(&mut is_new) => {
                Some((200, r#"{"is_paused":true}"#.to_owned()))
            }
            _ => None,
        }));
        let gpu = Gpu { joins: channel().0, values: channel().0, limit: 0 };
        let options = VllmOptions { weight_path, ..options(&[&server], dir.path()) };
        let (engine, _events) = connect_gpu(options, Arc::new(gpu));
        let mut engine = engine.unwrap();
        server.log();
        engine.sync(&Tensors(1)).unwrap();
        let rest = ["/health", "/start_weight_update", "/finish_weight_update"];
        let expected = [&rest[..], asked, &["/pause?mode=wait", "/collective_rpc"]].concat();
        assert_eq!(server.log()[..expected.len()], expected);
    }
}

#[test]
fn a_server_that_sets_options_of_nccl_gets_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let info = |path: &str| (path == INFO_PATH).then(|| (200, INVARIANT_INFO.to_owned()));
    let server = Recorded::start(Box::new(info));
    let gpu = || Arc::new(Gpu { joins: channel().0, values: channel().0, limit: 0 });
    let (engine, events) = connect_gpu(options(&[&server], dir.path()), gpu());
    engine.unwrap().sync(&Tensors(1)).unwrap();
    let told = take(&events);
    assert!(told[0].starts_with("`VLLM_BATCH_INVARIANT` sets options of NCCL"), "{told:?}");
    assert_eq!(told[1..], ["synced 1 1 0"]);
    let options = VllmOptions { weight_path: WeightPath::Nccl, ..options(&[&server], dir.path()) };
    let error = connect_gpu(options, gpu()).0.unwrap_err().to_string();
    assert!(error.contains("start it with `VLLM_BATCH_INVARIANT=0`"), "{error}");
}

#[test]
fn a_server_that_is_back_while_a_folder_is_written_is_not_down() {
    let dir = tempfile::tempdir().unwrap();
    let mut asked = 0;
    // It is away when the change of weights begins.
    let server = Recorded::start(Box::new(move |path| {
        asked += usize::from(path == "/health");
        (path == "/health" && asked == 2).then(|| (503, "{}".to_owned()))
    }));
    let gpu = Gpu { joins: channel().0, values: channel().0, limit: 0 };
    let options =
        VllmOptions { weight_path: WeightPath::Folder, ..options(&[&server], dir.path()) };
    let (engine, events) = connect_gpu(options, Arc::new(gpu));
    engine.unwrap().sync(&Tensors(1)).unwrap();
    assert_eq!(take(&events), ["synced 1 1 0"]);
    assert_eq!(server.count("/collective_rpc"), 1);
}

#[test]
fn a_server_without_the_option_gets_a_folder_unless_gpus_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = Recorded::start(plain());
    let gpu = || {
        let gpu = Gpu { joins: channel().0, values: channel().0, limit: 0 };
        Arc::new(gpu)
    };
    let (engine, events) = connect_gpu(options(&[&server], dir.path()), gpu());
    engine.unwrap().sync(&Tensors(1)).unwrap();
    let option = r#"--weight-transfer-config '{"backend":"nccl"}'"#;
    let reason = format!("it was started without `{option}`");
    assert_eq!(take(&events), [reason.as_str(), "synced 1 1 0"]);

    let with = |weight_path, adapter_rank| VllmOptions {
        weight_path,
        adapter_rank,
        ..options(&[&server], dir.path())
    };
    let refused = |options, expected: &str| {
        let error = connect_gpu(options, gpu()).0.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(with(WeightPath::Nccl, None), &format!("start it with `{option}`"));
    refused(with(WeightPath::Nccl, Some(4)), "must not be nccl with `adapter_rank`");
    let error = connect_to(with(WeightPath::Nccl, None)).0.unwrap_err().to_string();
    assert!(error.contains("without a connection of GPUs"), "{error}");
    // A folder that is asked for needs no reason.
    server.log();
    let (engine, events) = connect_gpu(with(WeightPath::Folder, None), gpu());
    engine.unwrap().sync(&Tensors(1)).unwrap();
    assert_eq!(take(&events), ["synced 1 1 0"]);
    assert_eq!(server.count(INFO_PATH), 1);
}
