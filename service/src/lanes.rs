//! Threads that serve connections, each for itself: a request is read, answered and written on one thread, and nobody has to be
//! woken for it. On a runtime that spreads its tasks over all threads, waking another thread costs more than many an answer.
//!
//! The price: what comes over one connection is done by one thread. A new connection goes to the thread that has the fewest,
//! so a client that wants all threads opens as many connections; Envoy opens one for each of its workers.

use std::io;
use std::net::TcpStream as StdStream;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The threads. They end with it, and whatever they still serve.
pub struct Lanes {
    lanes: Vec<Lane>,
}

struct Lane {
    thread: Handle,
    connections: Arc<AtomicUsize>,
    _ends: oneshot::Sender<()>,
}

/// A connection of a lane.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lanes {
    /// One for each processor that this process may use.
    pub fn for_each_processor(name: &str) -> io::Result<Self> {
        Self::start(name, std::thread::available_parallelism()?)
    }

    /// So many. `name` is what tools that list threads show, with a number.
    pub fn start(name: &str, count: NonZeroUsize) -> io::Result<Self> {
        let lanes = (0..count.get()).map(|n| Lane::start(&format!("{name}-{n}")));
        Ok(Self {
            lanes: lanes.collect::<io::Result<_>>()?,
        })
    }

    /// Serves `stream` by `conversation` on the thread that has the fewest connections.
    pub fn serve<C, F>(&self, stream: TcpStream, conversation: C) -> io::Result<()>
    where
        C: FnOnce(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        // A socket wakes the runtime that it was registered with: it has to change hands.
        let stream: StdStream = stream.into_std()?;
        let fewest = self
            .lanes
            .iter()
            .min_by_key(|lane| lane.connections.load(Ordering::Relaxed));
        let Some(lane) = fewest else {
            return Err(io::Error::other("there is no thread"));
        };
        lane.connections.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&lane.connections));
        lane.thread.spawn(async move {
            let _place = place;
            match TcpStream::from_std(stream) {
                Ok(stream) => conversation(stream).await,
                Err(error) => tracing::warn!(%error, "a connection cannot be served"),
            }
        });
        Ok(())
    }
}

impl Lane {
    fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = runtime.handle().clone();
        let (ends, ended) = oneshot::channel();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Also what was spawned runs here, until the lanes are dropped.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self {
            thread,
            connections: Arc::default(),
            _ends: ends,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::thread::ThreadId;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn connections_spread_over_the_threads_and_places_come_free() {
        let lanes = Lanes::start("test", NonZeroUsize::new(2).unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, mut threads) = mpsc::unbounded_channel();
        let open = async |number: u32| {
            let client = TcpStream::connect(address).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let told = told.clone();
            let serve = async move |mut stream: TcpStream| {
                told.send((number, std::thread::current().id())).unwrap();
                // Until the client goes.
                let _ = stream.read(&mut [0]).await;
                told.send((number, std::thread::current().id())).unwrap();
            };
            lanes.serve(stream, serve).unwrap();
            client
        };
        let mut on: BTreeMap<u32, ThreadId> = BTreeMap::new();
        let mut clients = Vec::new();
        for number in 0..4 {
            clients.push(open(number).await);
            let (of, thread) = threads.recv().await.unwrap();
            assert_eq!(of, number);
            on.insert(number, thread);
        }
        assert_ne!(on[&0], on[&1]);
        assert_eq!((on[&0], on[&1]), (on[&2], on[&3]), "two each");
        // Both of the second thread end: the next two go there.
        drop(clients.remove(3));
        drop(clients.remove(1));
        for _ in 0..2 {
            let (of, thread) = threads.recv().await.unwrap();
            assert_eq!(thread, on[&of], "it stayed where it was");
        }
        while lanes.lanes.iter().any(|lane| {
            let connections = lane.connections.load(Ordering::Relaxed);
            connections != 0 && connections != 2
        }) {
            tokio::task::yield_now().await;
        }
        for number in [4, 5] {
            clients.push(open(number).await);
            assert_eq!(threads.recv().await.unwrap(), (number, on[&1]));
        }
    }
}
