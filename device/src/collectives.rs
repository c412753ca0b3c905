//! Exchanges between two or more processes with a GPU each: NCCL beside Gloo, and a rank that is killed.

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use hint_dist::{
    Collective, CollectiveError, Gloo, Nccl, NcclChannel, PeerState, Rendezvous, Timeouts,
};
use hint_policy::tch::{Device, Kind, Tensor};

/// Elements of the tensor whose exchange is timed: 256 MiB.
const TIMED: i64 = 1 << 26;
/// Exchanges of it.
const EXCHANGES: u8 = 5;

/// The place of this process in a group, and what the group does.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The number of this process, from 0.
    #[arg(long)]
    rank: usize,

    /// How many processes there are.
    #[arg(long)]
    world_size: usize,

    /// The address of rank 0.
    #[arg(long, default_value = "127.0.0.1")]
    address: String,

    /// Its port; the next one is taken as well.
    #[arg(long)]
    port: u16,

    /// Kill this rank while the GPUs exchange numbers. The others must name it.
    #[arg(long, value_name = "RANK")]
    kill: Option<usize>,
}

/// Compares NCCL with Gloo, or sees a rank die.
pub(crate) fn check(options: &Options, device: Device) -> Result<()> {
    let Options { rank, world_size, address, port, kill } = options;
    let meet = |port: u16| {
        let rendezvous = Rendezvous::new(*rank, *world_size, address.clone(), port);
        Gloo::connect(&rendezvous, Timeouts::default())
    };
    let nccl = Nccl::connect(Arc::new(meet(*port)?), device)?;
    if let Some(dying) = kill {
        return kill_one(&nccl, *dying, device);
    }
    let gloo = meet(port + 1)?;
    compare(&nccl, &gloo, device)?;
    carry_weights(&gloo, device)?;
    let groups: [(&str, &dyn Collective); 2] = [("NCCL", &nccl), ("Gloo", &gloo)];
    for (name, group) in groups {
        let rate = rate(group, device)?;
        if *rank == 0 {
            println!("{name}: {rate:.2} GB/s per GPU, all-reduce of 256 MiB");
        }
    }
    nccl.shutdown()?;
    gloo.shutdown()?;
    Ok(())
}

/// Fails unless both give the same bits, for tensors of every kind and of several sizes, and for values of the host.
fn compare(nccl: &dyn Collective, gloo: &dyn Collective, device: Device) -> Result<()> {
    let world_size = i64::try_from(nccl.world_size())?;
    let kinds = [
        Kind::Float,
        Kind::BFloat16,
        Kind::Half,
        Kind::Double,
        Kind::Int64,
        Kind::Int16,
        Kind::Uint8,
        Kind::Bool,
    ];
    let mut compared = 0;
    for kind in kinds {
        for elements in [world_size, 1000 * world_size, world_size << 20] {
            let own = numbers(nccl.rank(), elements, kind, device);
            for operation in [all_to_all, all_gather, broadcast, reduce_scatter, all_reduce] {
                let (found, expected) = (operation(nccl, &own)?, operation(gloo, &own)?);
                ensure!(found.device() == device, "the result is on {:?}", found.device());
                ensure!(found.equal(&expected), "{elements} elements of {kind:?} differ");
                compared += 1;
            }
        }
    }
    let name = format!("rank {}", nccl.rank());
    let names = nccl.all_gather_bytes(name.as_bytes())?;
    ensure!(names == gloo.all_gather_bytes(name.as_bytes())?, "the names of the ranks differ");
    if nccl.rank() == 0 {
        println!("{compared} exchanges of {world_size} GPUs have the bits of Gloo");
    }
    Ok(())
}

/// Fails unless weights of rank 0 arrive at the others as at servers: by an id alone, a tensor at a time. A rank that
/// others do not join ends within its limit.
fn carry_weights(gloo: &Gloo, device: Device) -> Result<()> {
    let (rank, world_size, limit) = (gloo.rank(), gloo.world_size(), Duration::from_secs(20));
    // All ranks take that of rank 0.
    let id = gloo.all_gather_bytes(&NcclChannel::new_id()?)?.swap_remove(0);
    let channel = NcclChannel::join(&id, rank, world_size, device, limit)?;
    for elements in [1, 49_152, 1 << 22] {
        let expected = numbers(0, elements, Kind::Float, device);
        let tensor = if rank == 0 { expected.copy() } else { expected.zeros_like() };
        channel.broadcast(&tensor, 0, limit)?;
        ensure!(tensor.equal(&expected), "{elements} weights of rank 0 differ in rank {rank}");
    }
    // Nobody leaves while another one still receives.
    gloo.barrier()?;
    drop(channel);
    let (id, start) = (NcclChannel::new_id()?, now());
    let alone = NcclChannel::join(&id, 0, 2, device, Duration::from_secs(2));
    let seconds = start.elapsed().as_secs_f64();
    ensure!(
        alone.is_err() && seconds < 20.0,
        "a rank waits {seconds} s for one that does not come"
    );
    if rank == 0 {
        println!("weights of rank 0 are those of all {world_size} ranks, by an id alone");
    }
    gloo.barrier()?;
    Ok(())
}

/// Numbers of a rank, `[elements]`.
fn numbers(rank: usize, elements: i64, kind: Kind, device: Device) -> Tensor {
    let waves = (Tensor::arange(elements, (Kind::Double, device)) + rank as f64).sin();
    (waves * 100.0).to_kind(kind)
}

fn all_to_all(group: &dyn Collective, own: &Tensor) -> Result<Tensor, CollectiveError> {
    let mut parts = own.zeros_like();
    group.all_to_all(&mut parts, own)?;
    Ok(parts)
}

fn all_gather(group: &dyn Collective, own: &Tensor) -> Result<Tensor, CollectiveError> {
    let elements = i64::try_from(own.numel() * group.world_size()).expect("it fits a GPU");
    let mut all = Tensor::zeros([elements], (own.kind(), own.device()));
    group.all_gather(&mut all, own)?;
    Ok(all)
}

fn broadcast(group: &dyn Collective, own: &Tensor) -> Result<Tensor, CollectiveError> {
    let mut tensor = own.copy();
    group.broadcast(&mut tensor, group.world_size() - 1)?;
    Ok(tensor)
}

fn reduce_scatter(group: &dyn Collective, own: &Tensor) -> Result<Tensor, CollectiveError> {
    let elements = i64::try_from(own.numel() / group.world_size()).expect("it fits a GPU");
    let mut part = Tensor::zeros([elements], (own.kind(), own.device()));
    group.reduce_scatter(&mut part, own)?;
    Ok(part)
}

fn all_reduce(group: &dyn Collective, own: &Tensor) -> Result<Tensor, CollectiveError> {
    let mut tensor = own.copy();
    group.all_reduce(&mut tensor)?;
    Ok(tensor)
}

/// What a GPU sends in a second of all-reduce, in GB.
fn rate(group: &dyn Collective, device: Device) -> Result<f64> {
    let mut tensor = Tensor::ones([TIMED], (Kind::Float, device));
    group.all_reduce(&mut tensor)?;
    let start = now();
    for _ in 0..EXCHANGES {
        group.all_reduce(&mut tensor)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let world_size = group.world_size() as f64;
    let sent = 2.0 * (world_size - 1.0) / world_size * 4.0 * TIMED as f64;
    Ok(f64::from(EXCHANGES) * sent / 1e9 / seconds)
}

/// Exchanges numbers until the rank `dying` is dead, and fails unless the error names it.
fn kill_one(nccl: &Nccl, dying: usize, device: Device) -> Result<()> {
    if nccl.rank() == dying {
        thread::spawn(|| {
            thread::sleep(Duration::from_secs(2));
            let id = std::process::id().to_string();
            // A signal that cannot be caught: nobody says goodbye.
            Command::new("kill").args(["-9", &id]).status()
        });
    }
    let mut tensor = Tensor::ones([TIMED], (Kind::Float, device));
    let start = now();
    let error = loop {
        if let Err(error) = nccl.all_reduce(&mut tensor) {
            break error;
        }
    };
    let seconds = start.elapsed().as_secs_f64() - 2.0;
    println!("rank {}: {error}, {seconds:.1} s after the kill", nccl.rank());
    let expected = CollectiveError::Peer { ranks: vec![dying], state: PeerState::Ended };
    ensure!(error == expected, "expected `{expected}`");
    ensure!(seconds < 30.0, "it took too long");
    // The GPU is free again, and computes.
    let sum = Tensor::ones([4], (Kind::Float, device)).sum(Kind::Float).double_value(&[]);
    ensure!(sum == 4.0, "the GPU adds 4 ones to {sum}");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a program measures time")]
fn now() -> Instant {
    Instant::now()
}
