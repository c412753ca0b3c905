//! The processes that share a run, as `torchrun` or a scheduler describes them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use hint_dist::{Collective, Single, broadcast_value};
use hint_grpo::Observer;
use hint_grpo::observer::Phase;
use hint_process::end_at_once;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::Device;

/// How often the group is looked at while this process computes.
const LOOK: Duration = Duration::from_millis(500);
/// Looks that a process has to end by itself when the group has failed.
const GRACE: u32 = 20;
/// The shortest limit for a checkpoint to be written; `--collective-timeout` is the limit where it is longer.
const WRITING: Duration = Duration::from_mins(10);

/// Way of the tensors of GPUs between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Backend {
    /// NCCL where the program has it and each process has a GPU of its own, else Gloo.
    Auto,
    /// Through host memory.
    Gloo,
    /// From GPU to GPU; an error where that does not work.
    Nccl,
}

/// The processes that share a run; this one alone where nobody says otherwise.
#[derive(Debug, Clone)]
pub(crate) struct ProcessGroup {
    collective: Arc<dyn Collective>,
    /// The same group, for NCCL.
    #[cfg(feature = "nccl")]
    gloo: Option<Arc<hint_dist::Gloo>>,
    /// The same group with NCCL for the tensors of GPUs, once they are connected.
    over_nccl: Arc<OnceLock<Arc<dyn Collective>>>,
    /// The number of this process on its machine, from 0, and how many there are.
    local: (usize, usize),
    /// Whether a launcher started them again after a failure.
    is_restart: bool,
    /// Whether this process writes a checkpoint.
    writes: Arc<AtomicBool>,
}

impl Default for ProcessGroup {
    fn default() -> Self {
        Self {
            collective: Arc::new(Single),
            #[cfg(feature = "nccl")]
            gloo: None,
            over_nccl: Arc::default(),
            local: (0, 1),
            is_restart: false,
            writes: Arc::default(),
        }
    }
}

/// A variable of the environment, if it is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the program reads what its launcher says")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    let Some(text) = variable(name) else { return Ok(None) };
    let parsed = text.parse().ok();
    Ok(Some(parsed.with_context(|| format!("{name} must be a number, found `{text}`"))?))
}

/// Whether any of the processes was started again. The agent of a machine counts the failures of its own processes alone. So
/// that of the first process may have counted none.
fn is_any_restart(collective: &dyn Collective, is_restart: bool) -> Result<bool> {
    let all = collective.all_gather_bytes(&[u8::from(is_restart)])?;
    Ok(all.contains(&vec![1]))
}

/// How many processes the environment speaks of.
fn world_size() -> Result<usize> {
    let world_size = number("WORLD_SIZE")?;
    ensure!(
        world_size.is_some() || variable("RANK").is_none(),
        "RANK is set, so WORLD_SIZE must be set as well"
    );
    Ok(world_size.unwrap_or(1))
}

impl ProcessGroup {
    /// Meets the processes that `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` speak of. Call it after signals are
    /// caught, since it starts threads. No operation waits longer than `timeout` for a process that is alive. `bind_address` is that
    /// of this machine, if the route to the store does not tell.
    ///
    /// # Errors
    ///
    /// Variables that are missing or do not fit together, processes that do not come, an address for a process alone.
    pub(crate) fn join(timeout: Duration, bind_address: Option<String>) -> Result<Self> {
        let world_size = world_size()?;
        let is_restart = number::<u64>("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0) > 0;
        if world_size <= 1 {
            ensure!(
                bind_address.is_none(),
                "--bind-address is for several processes, and this one is alone: WORLD_SIZE is not above 1"
            );
            return Ok(Self { is_restart, ..Self::default() });
        }
        let needs =
            |name: &str| format!("WORLD_SIZE is {world_size}, so {name} must be set as well");
        let rank = number("RANK")?.with_context(|| needs("RANK"))?;
        let address = variable("MASTER_ADDR").with_context(|| needs("MASTER_ADDR"))?;
        let port = number("MASTER_PORT")?.with_context(|| needs("MASTER_PORT"))?;
        // Else all would take the same GPU and all cores.
        let local_rank = number("LOCAL_RANK")?.with_context(|| needs("LOCAL_RANK"))?;
        let local_world = number("LOCAL_WORLD_SIZE")?.with_context(|| needs("LOCAL_WORLD_SIZE"))?;
        let local = (local_rank, local_world);
        let env = LaunchEnv { rank, world_size, address, port };
        let gloo = connect(env, timeout, bind_address)?;
        let collective: Arc<dyn Collective> = gloo.clone();
        let is_restart = is_any_restart(&*collective, is_restart)?;
        let writes = Arc::default();
        watch(Arc::downgrade(&collective), Arc::clone(&writes), looks_while_writing(timeout));
        Ok(Self {
            collective,
            #[cfg(feature = "nccl")]
            gloo: Some(gloo),
            over_nccl: Arc::default(),
            local,
            is_restart,
            writes,
        })
    }

    /// Connects the devices that the processes compute on, over NCCL if `backend` allows it. Every process calls it with its
    /// own. Returns a line that names the way of tensors, where there is a choice.
    ///
    /// # Errors
    ///
    /// GPUs that NCCL cannot connect, or a process alone, if NCCL is asked for; a process that ended.
    pub(crate) fn connect_devices(
        &self,
        device: Device,
        backend: Backend,
    ) -> Result<Option<String>> {
        if self.world_size() == 1 {
            ensure!(
                backend != Backend::Nccl,
                "--backend nccl is for several processes, and this one is alone; leave the option out"
            );
            return Ok(None);
        }
        let refusal = match backend {
            Backend::Gloo => Some("as asked for".to_owned()),
            #[cfg(feature = "nccl")]
            Backend::Auto | Backend::Nccl => self.connect_gpus(device)?,
            #[cfg(not(feature = "nccl"))]
            Backend::Auto | Backend::Nccl => {
                Some("this program was built without its feature `nccl`".to_owned())
            }
        };
        describe(backend, device, refusal)
    }

    /// Connects the GPUs over NCCL. Returns the reason where that is not possible.
    #[cfg(feature = "nccl")]
    fn connect_gpus(&self, device: Device) -> Result<Option<String>> {
        use hint_dist::{CollectiveError, Nccl};

        let Some(gloo) = self.gloo.clone() else {
            return Ok(Some("this process is alone".to_owned()));
        };
        match Nccl::connect(gloo, device) {
            Ok(member) => {
                // It is set once, here.
                let _ = self.over_nccl.set(Arc::new(member));
                Ok(None)
            }
            Err(refused @ CollectiveError::NoNccl { .. }) => Ok(Some(refused.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// The collective that a run shares its steps through.
    pub(crate) fn collective(&self) -> Arc<dyn Collective> {
        Arc::clone(self.over_nccl.get().unwrap_or(&self.collective))
    }

    /// How many processes there are.
    pub(crate) fn world_size(&self) -> usize {
        self.collective.world_size()
    }

    /// Whether this process writes files and talks to its user.
    pub(crate) fn is_first(&self) -> bool {
        self.collective.rank() == 0
    }

    /// The number of this process on its machine, from 0, if there are several.
    pub(crate) fn local_rank(&self) -> Option<usize> {
        (self.world_size() > 1).then_some(self.local.0)
    }

    /// How many processes share this machine.
    pub(crate) const fn on_machine(&self) -> usize {
        self.local.1
    }

    /// Whether a launcher started them again after a failure.
    pub(crate) const fn is_restart(&self) -> bool {
        self.is_restart
    }

    /// Gives every process a value that the first one makes.
    pub(crate) fn broadcast_value<T: Serialize + DeserializeOwned>(
        &self,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        broadcast_value(&*self.collective, make)
    }

    /// Learns when a checkpoint is written, which the end of another process does not interrupt.
    pub(crate) fn writing(&self) -> impl Observer + 'static {
        Writing(Arc::clone(&self.writes))
    }

    /// Ends what the processes share: waits for the others after a success, and tells them of an error.
    pub(crate) fn end<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => {
                self.collective().shutdown()?;
                Ok(value)
            }
            Err(error) => {
                self.collective().abort(&format!("{error:#}"));
                Err(error)
            }
        }
    }

    /// Refuses an option that several processes cannot share yet.
    pub(crate) fn refuse(&self, is_given: bool, option: &str, reason: &str) -> Result<()> {
        ensure!(
            self.world_size() == 1 || !is_given,
            "{option} does not work with several processes (WORLD_SIZE is {}): {reason}",
            self.world_size()
        );
        Ok(())
    }
}

/// The line that names the way of tensors, where there is a choice. `refusal` is why NCCL is not taken.
fn describe(backend: Backend, device: Device, refusal: Option<String>) -> Result<Option<String>> {
    match (refusal, backend) {
        (None, _) => Ok(Some("tensors travel from GPU to GPU, over NCCL".to_owned())),
        (Some(reason), Backend::Nccl) => {
            bail!("--backend nccl does not work here: {reason}; leave the option out to take Gloo")
        }
        (Some(_), _) if device == Device::Cpu => Ok(None),
        (Some(reason), Backend::Auto | Backend::Gloo) => {
            Ok(Some(format!("tensors of GPUs travel through host memory, over Gloo ({reason})")))
        }
    }
}

/// Refuses to run a command in several processes that would not share its work.
///
/// # Errors
///
/// `WORLD_SIZE` is more than 1.
pub fn refuse_several() -> Result<()> {
    match world_size()? {
        0 | 1 => Ok(()),
        world_size => {
            bail!(
                "WORLD_SIZE is {world_size}, and of the commands that compute, `train` alone is shared by processes"
            )
        }
    }
}

/// The place of a process in its group, as the environment describes it.
struct LaunchEnv {
    rank: usize,
    world_size: usize,
    address: String,
    port: u16,
}

#[cfg(feature = "gloo")]
fn connect(
    env: LaunchEnv,
    timeout: Duration,
    bind_address: Option<String>,
) -> Result<Arc<hint_dist::Gloo>> {
    let LaunchEnv { rank, world_size, address, port } = env;
    let mut rendezvous = hint_dist::Rendezvous::new(rank, world_size, address, port);
    rendezvous.bind_address = bind_address;
    if variable("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True") {
        rendezvous = rendezvous.with_external_store();
    }
    let timeouts = hint_dist::Timeouts::default().with_operation(timeout);
    Ok(Arc::new(hint_dist::Gloo::connect(&rendezvous, timeouts)?))
}

#[cfg(not(feature = "gloo"))]
fn connect(env: LaunchEnv, _: Duration, _: Option<String>) -> Result<Arc<Single>> {
    let LaunchEnv { rank, world_size, address, port } = env;
    bail!(
        "rank {rank} of {world_size} cannot meet the others at {address}:{port}; build the program with its feature `gloo`"
    )
}

struct Writing(Arc<AtomicBool>);

impl Observer for Writing {
    fn on_phase(&mut self, _step: u64, phase: Phase) {
        self.0.store(phase == Phase::Checkpoint, Ordering::Relaxed);
    }

    fn on_checkpoint(&mut self, _dir: &Path) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Looks that a checkpoint has to be written, where the others wait no longer than `timeout` for one.
fn looks_while_writing(timeout: Duration) -> u32 {
    u32::try_from(timeout.max(WRITING).as_millis() / LOOK.as_millis()).unwrap_or(u32::MAX)
}

/// Ends this process when another one has failed and this one computes for long: the result would be of no use. A
/// checkpoint is written to its end, within so many looks as `writing`.
fn watch(collective: Weak<dyn Collective>, writes: Arc<AtomicBool>, mut writing: u32) {
    let look = move || {
        let failure = loop {
            let Some(group) = collective.upgrade() else { return };
            if let Some(failure) = group.failure() {
                break failure;
            }
            drop(group);
            thread::sleep(LOOK);
        };
        // As soon as the main thread reaches an operation, it ends by itself.
        let mut grace = GRACE;
        while grace > 0 {
            thread::sleep(LOOK);
            if collective.strong_count() == 0 {
                return;
            }
            if writes.load(Ordering::Relaxed) && writing > 0 {
                writing -= 1;
            } else {
                grace -= 1;
            }
        }
        note!("Error: {failure}");
        end_at_once();
    };
    // Without this thread, the process ends when it has computed its part.
    let _ = thread::Builder::new().name("peers".to_owned()).spawn(look);
}

#[cfg(test)]
mod tests {
    use hint_dist::Threads;

    use super::*;

    #[test]
    fn the_way_of_tensors_is_named_where_there_is_a_choice() {
        let gpu = Device::Cuda(1);
        let line = |backend, device, refusal: Option<&str>| {
            describe(backend, device, refusal.map(str::to_owned)).map_err(|error| error.to_string())
        };
        let nccl = || Ok(Some("tensors travel from GPU to GPU, over NCCL".to_owned()));
        assert_eq!(line(Backend::Auto, gpu, None), nccl());
        assert_eq!(line(Backend::Nccl, gpu, None), nccl());
        let shared = "each of the ranks 0, 1 cannot use NCCL: it needs a GPU of its own";
        let gloo = "tensors of GPUs travel through host memory, over Gloo";
        assert_eq!(line(Backend::Auto, gpu, Some(shared)), Ok(Some(format!("{gloo} ({shared})"))));
        let asked = Ok(Some(format!("{gloo} (as asked for)")));
        assert_eq!(line(Backend::Gloo, gpu, Some("as asked for")), asked);
        assert_eq!(line(Backend::Auto, Device::Cpu, Some("it computes on the CPU")), Ok(None));
        assert_eq!(line(Backend::Gloo, Device::Cpu, Some("as asked for")), Ok(None));
        for device in [gpu, Device::Cpu] {
            let error = line(Backend::Nccl, device, Some(shared)).unwrap_err();
            let expected = format!("--backend nccl does not work here: {shared}; leave");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn a_checkpoint_has_the_time_that_the_others_would_wait() {
        assert_eq!(looks_while_writing(Duration::from_secs(5)), 1200);
        assert_eq!(looks_while_writing(Duration::from_hours(1)), 7200);
        assert_eq!(looks_while_writing(Duration::MAX), u32::MAX);
    }

    #[test]
    fn a_restart_that_one_machine_counts_is_one_for_all() {
        let found = |counted: [bool; 2]| {
            let ask = |member: Threads| {
                let found = is_any_restart(&member, counted[member.rank()]).unwrap();
                member.shutdown().unwrap();
                found
            };
            thread::scope(|scope| {
                let members = Threads::group(2, Duration::from_secs(20)).into_iter();
                let threads = members.map(|member| scope.spawn(move || ask(member)));
                let threads = threads.collect::<Vec<_>>();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            })
        };
        assert_eq!(found([false, true]), [true, true]);
        assert_eq!(found([true, false]), [true, true]);
        assert_eq!(found([false, false]), [false, false]);
    }

    #[test]
    fn a_process_alone_exchanges_nothing() {
        let alone = ProcessGroup::default();
        for backend in [Backend::Auto, Backend::Gloo] {
            assert_eq!(alone.connect_devices(Device::Cuda(0), backend).unwrap(), None);
        }
        let error = alone.connect_devices(Device::Cuda(0), Backend::Nccl).unwrap_err().to_string();
        assert!(error.starts_with("--backend nccl is for several processes"), "{error}");
        assert_eq!(alone.collective().world_size(), 1);
    }
}
