//! Real connections on loopback, with hyper's client.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http2;

use super::*;
use crate::drain::{self, Trigger};

type Sender = http2::SendRequest<Full<Bytes>>;

/// A listener whose connections live for `max_age`; `/slow` is answered after 300 ms.
async fn serve(max_age: Option<Duration>) -> (SocketAddr, Trigger) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind("test", any, Gauge::default()).await.unwrap();
    let listener = Listener {
        max_age,
        http2_only: true,
        ..listener
    };
    let address = listener.address().unwrap();
    let (trigger, shutdown) = drain::signal();
    let service = tower::service_fn(async |request: Request<Incoming>| {
        if request.uri().path() == "/slow" {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    tokio::spawn(listener.serve(service, shutdown, Duration::from_secs(5)));
    (address, trigger)
}

/// A connection, and a task that ends with it.
async fn connect(address: SocketAddr) -> (Sender, tokio::task::JoinHandle<Result<(), hyper::Error>>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

async fn ask(sender: &mut Sender, path: &str) -> Result<u16, hyper::Error> {
    let request = Request::get(format!("http://test{path}"))
        .body(Full::default())
        .unwrap();
    Ok(sender.send_request(request).await?.status().as_u16())
}

#[tokio::test]
async fn an_old_connection_ends_after_what_is_under_way() {
    let (address, _trigger) = serve(Some(Duration::from_millis(100))).await;
    let (mut sender, connection) = connect(address).await;
    // Asked while young, answered when it is too old.
    assert_eq!(ask(&mut sender, "/slow").await.unwrap(), 200);
    let ended = tokio::time::timeout(Duration::from_secs(5), connection).await;
    ended.expect("it ends by itself").unwrap().unwrap();
    let (mut sender, _connection) = connect(address).await;
    assert_eq!(
        ask(&mut sender, "/").await.unwrap(),
        200,
        "the next one is welcome"
    );
}

#[tokio::test]
async fn without_an_age_only_the_drain_ends_a_connection() {
    let (address, trigger) = serve(None).await;
    let (mut sender, mut connection) = connect(address).await;
    assert_eq!(ask(&mut sender, "/").await.unwrap(), 200);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut connection).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(ask(&mut sender, "/").await.unwrap(), 200);
    trigger.fire();
    let ended = tokio::time::timeout(Duration::from_secs(5), connection).await;
    ended.expect("it is asked to end").unwrap().unwrap();
}

#[test]
fn ages_are_spread_by_a_tenth() {
    let age = Duration::from_secs(1000);
    let ages: Vec<Duration> = (0..200).map(|_| spread(age)).collect();
    assert!(
        ages.iter().all(|a| (900..=1100).contains(&a.as_secs())),
        "{ages:?}"
    );
    assert!(ages.iter().any(|a| a.as_secs() < 980) && ages.iter().any(|a| a.as_secs() > 1020));
}
