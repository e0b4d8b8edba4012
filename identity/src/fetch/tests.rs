//! Against a real HTTP server on loopback that answers as told.

mod discovery;
mod lifecycle;
mod server;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::{IdentityConfig, KeySource};
use crate::scopes::Operators;
use crate::testing::signer;
use crate::verify::{CacheOptions, ProviderStatus, Slot};

use server::{Answer, Server};

/// No test waits longer than this for something that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// An Auth0 provider at the server, with short times. Background refresh is off unless asked for.
struct World {
    server: Server,
    identity: Arc<Identity>,
    options: FetchOptions,
}

impl World {
    async fn new() -> Self {
        let server = Server::start().await;
        let toml = format!(
            "[[provider]]\nname = \"auth0\"\nkind = \"auth0\"\ndomain = \"{}/\"\naudience = \"api\"\n",
            server.url
        );
        let identity = Identity::new(
            IdentityConfig::parse(&toml).unwrap(),
            Operators::none(),
            CacheOptions::default(),
        );
        let options = FetchOptions {
            refresh: Some(Duration::from_secs(3600)),
            miss_cooldown: Duration::from_secs(3600),
            rotation_cooldown: Duration::from_secs(3600),
            deadline: Duration::from_millis(500),
            retry_min: Duration::from_millis(20),
            retry_max: Duration::from_millis(100),
            ..FetchOptions::default()
        };
        Self {
            server,
            identity,
            options,
        }
    }

    fn keys_on_disk(mut self, directory: &Path) -> Self {
        self.options.directory = Some(directory.to_owned());
        self
    }

    /// Serves discovery and these keys.
    fn serve(&self, keys: &[Value]) {
        self.server.answer(
            "/.well-known/openid-configuration",
            Answer::json(&self.discovery()),
        );
        self.server
            .answer("/keys", Answer::json(&json!({ "keys": keys })));
    }

    fn discovery(&self) -> Value {
        json!({"issuer": format!("{}/", self.server.url), "jwks_uri": format!("{}/keys", self.server.url)})
    }

    /// Starts the refresher; it ends with the returned guard.
    fn start(&self) -> tokio::task::JoinSet<()> {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(refresh_keys(
            self.identity.clone(),
            self.options.clone(),
            std::future::pending(),
        ));
        tasks
    }

    fn status(&self) -> ProviderStatus {
        self.identity.status().remove(0)
    }

    async fn until(&self, what: &str, condition: impl Fn(&ProviderStatus) -> bool) -> ProviderStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if condition(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what} did not come: {status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A token of the provider that the key at `at` signs, under that key's name.
    fn token(&self, at: usize) -> String {
        self.token_named(at, signer(at).kid)
    }

    fn token_named(&self, at: usize, kid: &str) -> String {
        crate::testing::auth0()
            .signed_by(signer(at))
            .header("kid", kid)
            .with("iss", format!("{}/", self.server.url))
            .with("aud", "api")
            .with("iat", unix_now())
            .with("exp", unix_now() + 600)
            .sign()
    }

    fn accepts(&self, token: &str) -> bool {
        self.identity.verify(token, Slot::Bearer, unix_now()).is_ok()
    }
}

#[test]
fn jitter_stays_within_a_tenth() {
    let pause = Duration::from_secs(100);
    let pauses: Vec<Duration> = (0..200).map(|_| jittered(pause)).collect();
    assert!(pauses.iter().all(|pause| (90..=110).contains(&pause.as_secs())));
    assert!(pauses.iter().max() > pauses.iter().min());
}

/// However rarely keys are to be fetched, they do not run out in between.
#[test]
fn refreshes_come_well_before_keys_run_out() {
    let interval = |refresh: Option<u64>, max_staleness: u64| {
        let identity = Identity::new(
            IdentityConfig::parse(&crate::testing::PROVIDERS).unwrap(),
            Operators::none(),
            CacheOptions::default(),
        );
        let options = Arc::new(FetchOptions {
            refresh: refresh.map(Duration::from_secs),
            max_staleness: Duration::from_secs(max_staleness),
            ..FetchOptions::default()
        });
        let of = |provider: &Arc<Provider>| Refresher {
            identity: Arc::clone(&identity),
            provider: Arc::clone(provider),
            downloader: Arc::new(Downloader::new(&[], options.deadline)),
            options: Arc::clone(&options),
            last_good: None,
            jwks_uri: None,
        };
        let providers = identity.providers();
        [&providers[0], &providers[1]].map(|provider| of(provider).refresh_interval())
    };
    let seconds = |entra, auth0| [Duration::from_secs(entra), Duration::from_secs(auth0)];
    assert_eq!(interval(None, 24 * 3600), seconds(3600, 900));
    assert_eq!(interval(Some(60), 24 * 3600), seconds(60, 60));
    assert_eq!(interval(None, 1800), seconds(600, 600));
    assert_eq!(interval(Some(3600), 6), seconds(2, 2));
    assert_eq!(
        interval(None, 0),
        [Duration::from_millis(200); 2],
        "never a busy loop"
    );
}
