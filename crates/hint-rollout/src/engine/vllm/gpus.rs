//! The way of one server's weights over GPUs, without a folder.
//!
//! This is vLLM's protocol for trainers without Python. The program and the workers of one server make a group of GPUs. They
//! meet by an id that the program makes. The program is rank 0, the workers follow. The workers begin with the sum of
//! one number. Each server has a group of its own. So one that dies keeps the others waiting for the limit of a tensor, once.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::engine::contract::{PolicyVersion, WeightTensor};
use crate::engine::vllm::options::WeightPath;
use crate::engine::vllm::server::Server;
use crate::error::{HttpError, RolloutError, VllmError};

/// The option of a server that takes weights so.
const OPTION: &str = r#"--weight-transfer-config '{"backend":"nccl"}'"#;
/// A variable with which a server sets `NCCL_ALGO`, `NCCL_PROTO` and others, which must be the same on both sides.
const INVARIANT: &str = "VLLM_BATCH_INVARIANT";
const START: &str = "/start_weight_update";
/// Lets a server receive.
pub(super) const UPDATE: &str = "/update_weights";
const FINISH: &str = "/finish_weight_update";

/// Connects the GPU of this program to those of servers, for [`VllmBuilder::transfer`](super::VllmBuilder::transfer).
///
/// That of `hint-rl` is NCCL's, by `NcclChannel` of `hint-dist`.
///
/// ```
/// use std::time::Duration;
///
/// use hint_rollout::RolloutError;
/// use hint_rollout::engine::vllm::{WeightLink, WeightTransfer};
///
/// /// Says who joins, and hands on.
/// #[derive(Debug)]
/// struct Told<T>(T);
///
/// impl<T: WeightTransfer> WeightTransfer for Told<T> {
///     fn new_id(&self) -> Result<Vec<u8>, RolloutError> {
///         self.0.new_id()
///     }
///
///     fn join(
///         &self,
///         id: &[u8],
///         world_size: usize,
///         timeout: Duration,
///     ) -> Result<Box<dyn WeightLink>, RolloutError> {
///         println!("{} GPUs of a server join", world_size - 1);
///         self.0.join(id, world_size, timeout)
///     }
/// }
/// ```
pub trait WeightTransfer: Send + Sync + fmt::Debug {
    /// The id of a new group of GPUs: the 128 bytes of `ncclGetUniqueId`.
    ///
    /// # Errors
    ///
    /// Any error that keeps a group from being made.
    fn new_id(&self) -> Result<Vec<u8>, RolloutError>;

    /// Joins the group as rank 0 of `world_size`, and takes part in a sum of one `float32` number of all ranks. Returns when
    /// all are there.
    ///
    /// # Errors
    ///
    /// Any error of the connection; ranks that are not there within `timeout`. Then the thread of this call must end.
    fn join(
        &self,
        id: &[u8],
        world_size: usize,
        timeout: Duration,
    ) -> Result<Box<dyn WeightLink>, RolloutError>;
}

/// A connection to the GPUs of one server. Dropping it ends what is under way.
///
/// ```
/// use std::time::Duration;
///
/// use hint_rollout::RolloutError;
/// use hint_rollout::engine::WeightTensor;
/// use hint_rollout::engine::vllm::WeightLink;
///
/// /// Counts the numbers that pass through it.
/// #[derive(Debug)]
/// struct Counted<T> {
///     inner: T,
///     numbers: i64,
/// }
///
/// impl<T: WeightLink> WeightLink for Counted<T> {
///     fn start(&mut self, tensor: &WeightTensor) -> Result<(), RolloutError> {
///         self.numbers += tensor.shape.iter().product::<i64>();
///         self.inner.start(tensor)
///     }
///
///     fn poll(&mut self, wait: Duration) -> Result<bool, RolloutError> {
///         self.inner.poll(wait)
///     }
/// }
/// ```
pub trait WeightLink: Send + fmt::Debug {
    /// Starts to broadcast the values of `tensor` from rank 0, as contiguous `float32`. Waits for nobody, so that other
    /// servers get theirs at the same time. The tensor before has arrived.
    ///
    /// # Errors
    ///
    /// Any error of the connection. The link is dropped then.
    fn start(&mut self, tensor: &WeightTensor) -> Result<(), RolloutError>;

    /// Whether the tensor has arrived. Waits for that as long as `wait`: it is asked again, until the server has given up or
    /// the tensor is late.
    ///
    /// # Errors
    ///
    /// Any error of the connection. The link is dropped then.
    fn poll(&mut self, wait: Duration) -> Result<bool, RolloutError>;
}

/// The way of a server's weights over GPUs.
#[expect(clippy::struct_excessive_bools, reason = "each is known at another time")]
#[derive(Debug, Default)]
pub(super) struct GpuPath {
    /// Whether the program has GPUs for it. Without them, it only ends what another trainer has begun.
    has_transfer: bool,
    pub(super) link: Option<Box<dyn WeightLink>>,
    /// Why its weights go through the folder, until it is checked again.
    refusal: Option<String>,
    /// Whether a transfer may have begun and not ended.
    is_half: bool,
    /// Whether it gave no answer to the last transfer. It is not asked again in the same change of weights.
    pub(super) is_silent: bool,
    /// Whether it has got the weights of the present change.
    pub(super) has_new: bool,
    /// The refusal that was told last, empty for none.
    told: Option<String>,
}

impl GpuPath {
    pub(super) fn new(has_transfer: bool) -> Self {
        Self { has_transfer, ..Self::default() }
    }

    /// Reads in `info` whether the server was started for it.
    pub(super) fn check(
        &mut self,
        server: &Server,
        info: &Value,
        path: WeightPath,
    ) -> Result<(), VllmError> {
        let backend = info["vllm_config"]["weight_transfer_config"]["backend"].as_str();
        // A trainer that ended in a transfer has left it so. The next one may be without the transfer.
        self.is_half = backend.is_some() && server.is_paused()?;
        if !self.has_transfer {
            return Ok(());
        }
        if backend != Some("nccl") {
            if path == WeightPath::Nccl {
                return Err(server.setting(
                    "weight_transfer_config",
                    "nccl".to_owned(),
                    backend.unwrap_or("none").to_owned(),
                    OPTION.to_owned(),
                ));
            }
            self.refuse(format!("it was started without `{OPTION}`"));
            return Ok(());
        }
        if info["vllm_env"][INVARIANT] == json!(true) {
            if path == WeightPath::Nccl {
                let fix = format!("{INVARIANT}=0");
                return Err(server.setting(INVARIANT, "0".to_owned(), "1".to_owned(), fix));
            }
            self.refuse(format!("`{INVARIANT}` sets options of NCCL that this program has not"));
            return Ok(());
        }
        self.refusal = None;
        Ok(())
    }

    pub(super) fn refuse(&mut self, reason: String) {
        self.link = None;
        self.refusal = Some(reason);
    }

    /// Forgets a server that is down, but for what it holds.
    pub(super) fn close(&mut self) {
        self.link = None;
        self.refusal = None;
        self.has_new = false;
    }

    /// Why the weights go through the folder.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Whether the way is another one than when this was asked last.
    pub(super) fn is_news(&mut self) -> bool {
        let present = self.refusal.clone().unwrap_or_default();
        self.told.replace(present.clone()) != Some(present)
    }

    /// Ends a transfer that broke off. Otherwise the server would add the next weights to the part that it got. Fails once for
    /// a server that gave no answer.
    pub(super) fn settle(&mut self, server: &Server) -> Result<(), VllmError> {
        if std::mem::take(&mut self.is_silent) {
            return Err(server.control.late(UPDATE).into());
        }
        if !self.is_half {
            return Ok(());
        }
        match server.post(START, &Value::Null) {
            // It is refused where the broken one is still open.
            Ok(_) | Err(VllmError::Http(HttpError::Status { .. })) => {}
            Err(error) => return Err(error),
        }
        server.post(FINISH, &json!({}))?;
        self.is_half = false;
        Ok(())
    }

    /// Connects the GPUs if they are not, and lets the server wait for tensors.
    pub(super) fn begin(
        &mut self,
        server: &Server,
        transfer: &Arc<dyn WeightTransfer>,
        timeout: Duration,
    ) -> Result<(), String> {
        let text = |error: VllmError| error.chain();
        self.settle(server).map_err(text)?;
        if self.link.is_none() {
            self.link = Some(join(server, transfer, timeout)?);
        }
        server.post("/pause?mode=wait", &Value::Null).map_err(text)?;
        self.is_half = true;
        server.post(START, &Value::Null).map_err(text)?;
        Ok(())
    }

    /// Puts the tensors that have arrived to use.
    pub(super) fn finish(
        &mut self,
        server: &Server,
        version: PolicyVersion,
    ) -> Result<(), VllmError> {
        server.post(FINISH, &json!({}))?;
        self.is_half = false;
        server.adopt(version)
    }
}

/// Makes a group with the workers of the server.
fn join(
    server: &Server,
    transfer: &Arc<dyn WeightTransfer>,
    timeout: Duration,
) -> Result<Box<dyn WeightLink>, String> {
    let text = |error: VllmError| error.chain();
    let answer = server.dev("/get_world_size", "/get_world_size").map_err(text)?;
    let workers = answer["world_size"].as_u64().and_then(|workers| usize::try_from(workers).ok());
    let workers = workers.ok_or_else(|| format!("it has {} GPUs", answer["world_size"]))?;
    let world_size = workers.saturating_add(1);
    // It may be in the group of an earlier run.
    server.post("/shutdown_weight_transfer_engine", &Value::Null).map_err(text)?;
    let id = transfer.new_id().map_err(|error| error.chain())?;
    let init = json!({ "init_info": {
        "nccl_unique_id_b64": BASE64.encode(&id),
        "rank_offset": 1,
        "world_size": world_size,
        "packed": false,
    }});
    let (sender, joined) = channel();
    let transfer = Arc::clone(transfer);
    // Left behind if the server refuses: it ends within its limit.
    std::thread::spawn(move || sender.send(transfer.join(&id, world_size, timeout)));
    server.post("/init_weight_transfer_engine", &init).map_err(text)?;
    match joined.recv_timeout(timeout) {
        Ok(link) => link.map_err(|error| error.chain()),
        Err(_) => Err(format!("its GPUs are not there within {} s", timeout.as_secs_f64())),
    }
}
