//! A network cable between a program and a server: it can be cut, jammed, made slow, or plugged into another server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the cable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plugged {
    /// Into the server on this port, with this delay for every piece that goes through.
    Into(u16, Duration),
    /// Connections stand, and nothing goes through.
    Jammed,
    /// Connections end, and new ones end at once.
    Cut,
}

/// A cable. It is gone when dropped.
pub(crate) struct Cable {
    address: SocketAddr,
    plugged: watch::Sender<Plugged>,
    accepting: JoinHandle<()>,
}

impl Cable {
    /// Into the server on this port.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (plugged, seen) = watch::channel(Plugged::Into(port, Duration::ZERO));
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(join(near, seen.clone()));
            }
        });
        Self {
            address,
            plugged,
            accepting,
        }
    }

    /// Its near end.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn plug(&self, plugged: Plugged) {
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
    let mut piece = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let Some((_, delay)) = free(&mut plugged).await else {
            return;
        };
        tokio::time::sleep(delay).await;
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
