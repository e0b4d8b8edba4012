//! Which ports a stack listens on: the defaults of [`contract::port`], all moved by one offset.
//!
//! `up` uses the offset it was given and says which port is taken. Tests ask for any free block: parallel tests of one
//! process and of several processes (and several users) never get the same one, because a block is locked by a file
//! for as long as it is held, and every port of it was bound once to see that nobody else listens there.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, bail};
use contract::port;

/// Offsets of free blocks are multiples of this: the smallest step at which no two blocks share a port.
const STEP: u16 = 34;
/// From here on Linux hands out ports to outgoing connections, so a listener may find its port taken at any time.
const EPHEMERAL: u16 = 32_768;

/// The ports of one instance of the stack; by default the default ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    offset: u16,
}

impl Ports {
    /// The default ports, each moved by `offset`. An error if one would leave the range of ports.
    pub fn new(offset: u16) -> anyhow::Result<Self> {
        let highest = port::ALL.into_iter().max().unwrap_or(0);
        if highest.checked_add(offset).is_none() {
            bail!(
                "ALPHASWARM_PORT_OFFSET={offset} is too large: at most {}",
                u16::MAX - highest
            );
        }
        Ok(Self { offset })
    }

    /// What `ALPHASWARM_PORT_OFFSET` says.
    #[must_use]
    pub fn offset(self) -> u16 {
        self.offset
    }

    /// Where a default port has moved to.
    #[must_use]
    pub fn at(self, default: u16) -> u16 {
        default.saturating_add(self.offset)
    }

    /// The loopback address of a moved default port.
    #[must_use]
    pub fn addr(self, default: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.at(default)))
    }
}

/// Ports held for a stack; free again when dropped.
#[derive(Debug)]
pub struct Block {
    ports: Ports,
    // Held for its lock only; none for a block whose offset somebody chose.
    _lock: Option<File>,
}

impl Block {
    /// The block at `offset`. An error names the first of `needed` (default port, what it is for) that is taken.
    pub fn chosen(offset: u16, needed: &[(u16, &str)]) -> anyhow::Result<Self> {
        let ports = Ports::new(offset)?;
        for (default, purpose) in needed {
            if let Err(cause) = TcpListener::bind(ports.addr(*default)) {
                bail!(
                    "port {} ({purpose}) cannot be used: {cause}; stop what listens there, or move all ports with \
                     ALPHASWARM_PORT_OFFSET=n",
                    ports.at(*default)
                );
            }
        }
        Ok(Self { ports, _lock: None })
    }

    /// Any block that nobody else uses.
    pub fn free() -> anyhow::Result<Self> {
        // The user is in the name, because another user's files could not be opened.
        let user = rustix::process::getuid().as_raw();
        let locks = std::env::temp_dir().join(format!("alphaswarm-ports-{user}"));
        std::fs::create_dir_all(&locks).with_context(|| format!("cannot create {}", locks.display()))?;
        let highest = port::ALL.into_iter().max().unwrap_or(0);
        let count = (EPHEMERAL - 1 - highest) / STEP;
        // Different processes begin at different blocks, which only saves them from trying the same ones.
        let start = u16::try_from(std::process::id() % u32::from(count)).unwrap_or(0);
        // Block 0 is left to `up`.
        for n in (0..count).map(|n| (start + n) % count + 1) {
            let ports = Ports::new(n * STEP)?;
            let path = locks.join(n.to_string());
            let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
            if lock.try_lock().is_ok()
                && port::ALL
                    .into_iter()
                    .all(|p| TcpListener::bind(ports.addr(p)).is_ok())
            {
                return Ok(Self {
                    ports,
                    _lock: Some(lock),
                });
            }
        }
        bail!("no block of free ports found below {EPHEMERAL}")
    }

    /// The ports in it.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_share_no_port() {
        let mut seen = std::collections::BTreeMap::new();
        for n in 0..=(EPHEMERAL - 1 - port::EDGE_ADMIN) / STEP {
            let ports = Ports::new(n * STEP).unwrap();
            for default in port::ALL {
                assert!(ports.at(default) < EPHEMERAL);
                if let Some(other) = seen.insert(ports.at(default), n) {
                    panic!("blocks {other} and {n} share port {}", ports.at(default));
                }
            }
        }
    }

    #[test]
    fn a_held_block_is_not_given_twice() {
        let blocks: Vec<_> = (0..8).map(|_| Block::free().unwrap()).collect();
        let mut offsets: Vec<_> = blocks.iter().map(|block| block.ports().offset()).collect();
        offsets.sort_unstable();
        offsets.dedup();
        assert_eq!(offsets.len(), 8);
        assert!(!offsets.contains(&0), "block 0 is for `up`");
    }

    #[test]
    fn a_block_with_a_taken_port_is_passed_over() {
        let held = Block::free().unwrap();
        let offset = held.ports().offset();
        let listener = TcpListener::bind(held.ports().addr(port::ROUTER_CONTROL)).unwrap();
        drop(held);
        let next: Vec<_> = (0..4).map(|_| Block::free().unwrap()).collect();
        assert!(next.iter().all(|block| block.ports().offset() != offset));
        drop(listener);
    }

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let held = Block::free().unwrap();
        let listener = TcpListener::bind(held.ports().addr(port::EDGE)).unwrap();
        let error = Block::chosen(
            held.ports().offset(),
            &[(port::EDGE_ADMIN, "Envoy's admin"), (port::EDGE, "Envoy")],
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.contains(&format!("port {} (Envoy)", listener.local_addr().unwrap().port())),
            "{error}"
        );
        assert!(error.contains("ALPHASWARM_PORT_OFFSET"), "{error}");
        assert!(!error.contains('\n'), "one line: {error}");
    }

    #[test]
    fn an_offset_beyond_the_last_port_is_refused() {
        assert!(Ports::new(u16::MAX - port::EDGE_ADMIN).is_ok());
        assert!(Ports::new(u16::MAX - port::EDGE_ADMIN + 1).is_err());
    }
}
