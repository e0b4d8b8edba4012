//! A network cable between a program and a server on loopback: it can be cut, jammed, made slow, or plugged into another
//! server.
//!
//! A cable that is cut does not listen, as a machine whose server has died: whoever connects is refused. To take them and
//! close them at once would be another fault, which clients notice later. Its port is none that the system hands out, so
//! that nobody else gets it meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ports::Block;

/// The largest piece that goes through at once, in bytes.
const PIECE: usize = 16 * 1024;
/// After a failed accept (no free descriptor, say) or bind, so that the next does not follow at once.
const PAUSE: Duration = Duration::from_millis(20);

/// How the cable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugged {
    /// Into the server on this port, with this delay for every piece that goes through.
    Into(u16, Duration),
    /// Connections stand, and nothing goes through.
    Jammed,
    /// Connections end, and new ones are refused.
    Cut,
}

/// A cable. It is gone when dropped.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    plugged: watch::Sender<Plugged>,
    accepting: JoinHandle<()>,
    // Held for its port only.
    _block: Block,
}

impl Cable {
    /// Into the server on this port.
    pub async fn to(port: u16) -> anyhow::Result<Self> {
        let block = Block::free()?;
        let address = block.ports().addr(contract::port::EDGE);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("no cable can begin at {address}"))?;
        let (plugged, seen) = watch::channel(Plugged::Into(port, Duration::ZERO));
        let accepting = tokio::spawn(accept(listener, address, seen));
        Ok(Self {
            address,
            plugged,
            accepting,
            _block: block,
        })
    }

    /// Its near end.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes how it is, for connections that stand too.
    pub fn plug(&self, plugged: Plugged) {
        self.plugged.send_replace(plugged);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.accepting.abort();
        self.plugged.send_replace(Plugged::Cut);
    }
}

/// Listens while the cable is not cut.
async fn accept(mut listener: TcpListener, address: SocketAddr, mut plugged: watch::Receiver<Plugged>) {
    loop {
        let mut watching = plugged.clone();
        let cut = watching.wait_for(|plugged| *plugged == Plugged::Cut);
        tokio::select! {
            ended = async {
                loop {
                    match listener.accept().await {
                        Ok((near, _)) => drop(tokio::spawn(join(near, plugged.clone()))),
                        Err(_) => tokio::time::sleep(PAUSE).await,
                    }
                }
            } => ended,
            _ = cut => {}
        }
        drop(listener);
        if plugged
            .wait_for(|plugged| *plugged != Plugged::Cut)
            .await
            .is_err()
        {
            return;
        }
        listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
    }
}

async fn join(near: TcpStream, mut plugged: watch::Receiver<Plugged>) {
    let Some((port, _)) = free(&mut plugged).await else {
        return;
    };
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    // A piece waits for no other: the cable's own delay is the only one.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let moved =
        |now: &Plugged| matches!(now, Plugged::Cut) || matches!(now, Plugged::Into(now, _) if *now != port);
    let mut watching = plugged.clone();
    tokio::select! {
        () = carry(from_near, to_far, plugged.clone()) => {}
        () = carry(from_far, to_near, plugged) => {}
        _ = watching.wait_for(moved) => {}
    }
}

/// Waits while the cable is jammed; where it leads and how slowly, unless it is cut.
async fn free(plugged: &mut watch::Receiver<Plugged>) -> Option<(u16, Duration)> {
    let plugged = plugged
        .wait_for(|plugged| *plugged != Plugged::Jammed)
        .await
        .ok()?;
    match *plugged {
        Plugged::Into(port, delay) => Some((port, delay)),
        _ => None,
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut plugged: watch::Receiver<Plugged>) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let Some((_, delay)) = free(&mut plugged).await else {
            return;
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let Some(read) = piece.get(..length) else { return };
        if to.write_all(read).await.is_err() {
            return;
        }
    }
}
