//! Meeting point and timeouts of the processes of a group.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use crate::error::CollectiveError;

/// Where the processes of a group meet. Every one is given the same, except for its rank.
///
/// `torchrun` and most schedulers hand these settings over in `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`. Reading
/// them is up to the program.
///
/// ```
/// use hint_dist::Rendezvous;
///
/// // The second of two processes of `torchrun`, whose agent serves the store.
/// let meeting = Rendezvous::new(1, 2, "10.0.0.1", 29500).with_external_store();
/// assert!(meeting.rank < meeting.world_size && meeting.external_store);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rendezvous {
    /// The number of this process, from 0.
    pub rank: usize,
    /// How many processes there are.
    pub world_size: usize,
    /// The name or address of the machine that serves the store.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Whether somebody else, such as the agent of `torchrun`, serves the store; otherwise rank 0 does. At such a store
    /// processes may meet again after a failure. Rank 0 begins an attempt, and the others join the newest one.
    pub external_store: bool,
    /// The address of this machine that the other ranks reach it at, if the route to the store does not tell.
    pub bind_address: Option<String>,
}

impl Rendezvous {
    /// Rank `rank` of `world_size` processes that meet at a store of rank 0.
    pub fn new(rank: usize, world_size: usize, address: impl Into<String>, port: u16) -> Self {
        let address = address.into();
        Self { rank, world_size, address, port, external_store: false, bind_address: None }
    }

    /// Meets at a store that somebody else serves.
    #[must_use]
    pub const fn with_external_store(mut self) -> Self {
        self.external_store = true;
        self
    }

    pub(super) fn check(&self) -> Result<(), CollectiveError> {
        let Self { rank, world_size, .. } = self;
        if rank < world_size {
            return Ok(());
        }
        Err(CollectiveError::Rendezvous(format!(
            "the rank must be below the number of processes, found rank {rank} of {world_size}"
        )))
    }

    /// Listens at `bind_address`, if there is one. Where that fails, this rank gives the reason, and Gloo gives none.
    pub(super) fn check_bind_address(&self) -> Result<(), CollectiveError> {
        let Some(address) = &self.bind_address else { return Ok(()) };
        TcpListener::bind((address.as_str(), 0)).map(drop).map_err(|error| {
            let is_elsewhere =
                matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::InvalidInput);
            let problem = if is_elsewhere {
                format!("`{address}` is no address of this machine ({error})")
            } else {
                format!("cannot listen at `{address}` ({error})")
            };
            let reason = format!("{problem}; give another one as `--bind-address`");
            CollectiveError::failed(self.rank, &reason)
        })
    }

    /// The address of this machine that the others reach it at: the one that it reaches the store from.
    pub(super) fn reached_at(&self) -> Result<String, CollectiveError> {
        if let Some(address) = &self.bind_address {
            return Ok(address.clone());
        }
        let failed = |error| {
            let (address, port) = (&self.address, self.port);
            CollectiveError::Rendezvous(format!(
                "`{address}:{port}` is no usable address ({error})"
            ))
        };
        let resolved = (self.address.as_str(), self.port).to_socket_addrs().map_err(failed)?;
        let mut all = resolved.collect::<Vec<_>>();
        all.sort_by_key(SocketAddr::is_ipv6);
        let Some(store) = all.first() else {
            return Err(failed(std::io::Error::other("it has no address")));
        };
        let address = route_to(*store).map_err(failed)?;
        // Many systems list the name of a machine as one of its loopback addresses, which mean another machine elsewhere.
        let is_name = self.address != "localhost" && self.address.parse::<IpAddr>().is_err();
        if is_name && address.is_loopback() {
            // Of a network for documentation: no machine has it, so the route is the default one.
            let outside = route_to(SocketAddr::from(([192, 0, 2, 1], 9)));
            return Ok(outside.unwrap_or(address).to_string());
        }
        Ok(address.to_string())
    }
}

/// The address of this machine that packets to `target` come from. Connecting a datagram socket sends nothing.
fn route_to(target: SocketAddr) -> std::io::Result<IpAddr> {
    let any = if target.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

/// How long the processes of a group wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// For all of them to meet, once the store is there, and for the store to be there. Five minutes by default.
    pub rendezvous: Duration,
    /// For a rank that is alive to come to an operation. Ten minutes by default.
    pub operation: Duration,
    /// For a heartbeat of a rank, also of one that computes. Ten seconds by default. A rank that ends while others wait
    /// for it is noticed sooner.
    pub heartbeat: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            rendezvous: Duration::from_mins(5),
            operation: Duration::from_mins(10),
            heartbeat: Duration::from_secs(10),
        }
    }
}

impl Timeouts {
    /// Sets how long to wait for all ranks to meet.
    #[must_use]
    pub const fn with_rendezvous(mut self, rendezvous: Duration) -> Self {
        self.rendezvous = rendezvous;
        self
    }

    /// Sets how long to wait for a rank that is alive.
    #[must_use]
    pub const fn with_operation(mut self, operation: Duration) -> Self {
        self.operation = operation;
        self
    }

    /// Sets how long a rank may send no heartbeat.
    #[must_use]
    pub const fn with_heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }
}
