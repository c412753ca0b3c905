//! Where and how long processes wait for each other.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use crate::error::CollectiveError;

/// Where the processes of a group meet. Every one is given the same, except for its rank.
///
/// `torchrun` and most schedulers hand these settings over in `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`. Reading
/// them is up to the program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rendezvous {
    /// The number of this process, from 0.
    pub rank: usize,
    /// How many processes there are.
    pub world: usize,
    /// The name or address of the machine that serves the store.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Whether somebody else, such as the agent of `torchrun`, serves the store; otherwise rank 0 does. At such a store
    /// processes may meet again after a failure. Rank 0 begins an attempt, and the others join the newest one.
    pub has_store: bool,
    /// The address of this machine that the other ranks reach it at, if the route to the store does not tell.
    pub own_address: Option<String>,
}

impl Rendezvous {
    /// Rank `rank` of `world` processes that meet at a store of rank 0.
    pub fn new(rank: usize, world: usize, address: impl Into<String>, port: u16) -> Self {
        let address = address.into();
        Self { rank, world, address, port, has_store: false, own_address: None }
    }

    /// Meets at a store that somebody else serves.
    #[must_use]
    pub const fn at_store(mut self) -> Self {
        self.has_store = true;
        self
    }

    /// Sets the address of this machine that the other ranks reach it at.
    #[must_use]
    pub fn with_own_address(mut self, address: impl Into<String>) -> Self {
        self.own_address = Some(address.into());
        self
    }

    pub(super) fn check(&self) -> Result<(), CollectiveError> {
        let Self { rank, world, .. } = self;
        if rank < world {
            return Ok(());
        }
        Err(CollectiveError::Rendezvous(format!(
            "the rank must be below the number of processes, found rank {rank} of {world}"
        )))
    }

    /// The address of this machine that the others reach it at: the one that it reaches the store from.
    pub(super) fn reached_at(&self) -> Result<String, CollectiveError> {
        if let Some(address) = &self.own_address {
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
pub struct Limits {
    /// For all of them to meet, once the store is there, and for the store to be there. Five minutes by default.
    pub meeting: Duration,
    /// For a rank that is alive to come to an operation. Ten minutes by default.
    pub deadline: Duration,
    /// For a sign of life of a rank, also of one that computes. Ten seconds by default. A rank that ends while others wait
    /// for it is noticed sooner.
    pub lifesign: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            meeting: Duration::from_mins(5),
            deadline: Duration::from_mins(10),
            lifesign: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// Sets how long to wait for all ranks to meet.
    #[must_use]
    pub const fn with_meeting(mut self, meeting: Duration) -> Self {
        self.meeting = meeting;
        self
    }

    /// Sets how long to wait for a rank that is alive.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how long a rank may give no sign of life.
    #[must_use]
    pub const fn with_lifesign(mut self, lifesign: Duration) -> Self {
        self.lifesign = lifesign;
        self
    }
}
