//! A network cable between a program and a server on loopback: it can be cut, jammed, made slow, or plugged into another
//! server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The largest piece that goes through at once, in bytes.
const PIECE: usize = 16 * 1024;
/// After a failed accept (no free descriptor, say), so that the next does not follow at once.
const PAUSE: Duration = Duration::from_millis(20);

/// How the cable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugged {
    /// Into the server on this port, with this delay for every piece that goes through.
    Into(u16, Duration),
    /// Connections stand, and nothing goes through.
    Jammed,
    /// Connections end, and new ones end at once.
    Cut,
}

/// A cable. It is gone when dropped.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    plugged: watch::Sender<Plugged>,
    accepting: JoinHandle<()>,
}

impl Cable {
    /// Into the server on this port.
    pub async fn to(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("no port for a cable")?;
        let address = listener.local_addr()?;
        let (plugged, seen) = watch::channel(Plugged::Into(port, Duration::ZERO));
        let accepting = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((near, _)) => drop(tokio::spawn(join(near, seen.clone()))),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        });
        Ok(Self {
            address,
            plugged,
            accepting,
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
