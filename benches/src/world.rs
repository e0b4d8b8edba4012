//! A world for `decide` without any process around it: real keys, real tokens, a registry of any size in memory.

#![expect(
    clippy::unwrap_used,
    reason = "a part that refuses what is built here is a bug of the benchmark"
)]

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use contract::assertion::AssertionClaims;
use contract::{CellId, LinkKind, ProviderId, TenantId};
use decision::{Attributes, AuthMode, Bulkhead, CbaMode, Fairness, Field, Policy, World};
use identity::{CacheOptions, Identity, IdentityConfig, KeyRing, KeysFrom, Minter, Operators};
use registry::snapshot::Builder;
use registry::{
    Cell, CellState, Link, LinkState, Mover, Phase, Placement, Position, Record, Snapshot, Tenant,
    TenantState,
};
use router::outcome::Recorder;
use router::signing::{KeyTimes, Signing};
use router::world::Edge;

/// A typical access token: about this many bytes or more.
pub const TOKEN_BYTES: usize = 1000;

const PROVIDERS: &str = r#"
[[provider]]
name = "auth0"
kind = "auth0"
domain = "https://bench.eu.auth0.com/"
audience = "https://api.example.com"
"#;

/// One registry, one identity provider, one signing key.
pub struct Fixture {
    /// Seconds since 1970 at which everything is valid.
    pub now: i64,
    /// With the verified-token cache.
    pub identity: Arc<Identity>,
    /// The same provider and keys, with a cache that forgets at once.
    pub uncached: Arc<Identity>,
    /// The registry.
    pub snapshot: Snapshot,
    /// No rules: every path needs a good token.
    pub policy: Policy,
    fairness: Fairness,
    minter: Minter,
    tenants: usize,
    key: KeyPair,
    kid: String,
}

impl Fixture {
    /// A registry with `tenants` tenants, one Auth0 organization each, over 16 cells.
    ///
    /// # Panics
    /// When a part refuses what is built here, which is a bug of the benchmark.
    #[must_use]
    pub fn new(tenants: usize) -> Self {
        // The router's own code asks the clock, so everything is valid by the real one.
        let now = jiff::Timestamp::now().as_second();
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let kid = "bench-key-1".to_owned();
        let jwks = jwks(&key, &kid);
        let identity = |options| verifier(&jwks, now, options);
        Self {
            now,
            identity: identity(CacheOptions::default()),
            uncached: identity(CacheOptions {
                ttl_seconds: 0,
                ..CacheOptions::default()
            }),
            snapshot: registry_of(tenants),
            policy: Policy::default(),
            fairness: Fairness {
                bulkhead: Bulkhead::unlimited(),
                ..Fairness::default()
            },
            minter: Minter::generate("bench-router").unwrap(),
            tenants,
            key,
            kid,
        }
    }

    /// What the router checks with.
    pub fn edge(&self, recorder: Recorder) -> Edge {
        let (mut writer, registry) = registry::channel(self.snapshot.clone());
        writer.contacted();
        Edge {
            registry,
            registry_max_staleness: Duration::from_secs(3600),
            identity: Arc::clone(&self.identity),
            policy: Arc::new(ArcSwap::from_pointee(Policy::default())),
            fairness: Fairness {
                bulkhead: Bulkhead::unlimited(),
                ..Fairness::default()
            },
            signer: Signing::open(
                "bench-router",
                None,
                KeyTimes {
                    lifetime: Duration::ZERO,
                    rotation: Duration::from_secs(24 * 3600),
                },
            )
            .unwrap()
            .signer(),
            auth_mode: AuthMode::Required,
            cba_mode: CbaMode::Enforce,
            warm: true.into(),
            strip_token: false,
            shadow: Arc::default(),
            recorder,
        }
    }

    /// The same provider and keys, with nothing remembered.
    #[must_use]
    pub fn fresh(&self) -> Arc<Identity> {
        verifier(&jwks(&self.key, &self.kid), self.now, CacheOptions::default())
    }

    /// What `decide` reads.
    #[must_use]
    pub fn world(&self) -> World<'_> {
        World {
            snapshot: Some(&self.snapshot),
            identity: &self.identity,
            policy: &self.policy,
            fairness: &self.fairness,
            minter: &self.minter,
            auth_mode: AuthMode::Required,
            cba_mode: CbaMode::Enforce,
            warm: true,
        }
    }

    /// `authorization` values of `count` distinct tokens, one a tenant as far as there are enough.
    #[must_use]
    pub fn bearers(&self, count: usize) -> Vec<String> {
        (0..count).map(|n| format!("Bearer {}", self.token(n))).collect()
    }

    /// The key, the signed bytes and the signature of `token`, for what a bare signature check costs.
    ///
    /// # Panics
    /// When `token` is none of ours.
    #[must_use]
    pub fn raw(&self, token: &str) -> (ParsedPublicKey, Vec<u8>, Vec<u8>) {
        let der = self.key.public_key().as_ref();
        let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        (key, signed.as_bytes().to_vec(), B64.decode(signature).unwrap())
    }

    /// What an assertion says.
    ///
    /// # Panics
    /// Never: the names are good.
    #[must_use]
    pub fn assertion_claims(&self) -> AssertionClaims {
        AssertionClaims {
            iss: self.minter.router_id().to_owned(),
            aud: CellId::parse("cell-bench-00").unwrap(),
            sub: None,
            principal_kind: None,
            tenant: Some(TenantId::parse("tenant-00000000").unwrap()),
            scopes: Some("read:backtests read:strategies run:backtests write:strategies".to_owned()),
            epoch: 1,
            access: None,
            iat: self.now,
            exp: self.now + 60,
        }
    }

    /// The attributes of a plain API request.
    #[must_use]
    pub fn attributes(authorization: &str) -> Attributes<'_> {
        Attributes {
            method: "GET",
            host: "api.example.com",
            path: "/api/strategies?limit=50",
            authorization: Field::One(authorization.as_bytes()),
            request_id: "3f0c8a52-8f0e-4c51-9a55-0123456789ab",
            vouched: true,
            ..Attributes::default()
        }
    }

    /// A good token of tenant number `n`, with the claims that Auth0 sets and a few permissions.
    ///
    /// # Panics
    /// Never, short of a failing random source.
    #[must_use]
    pub fn token(&self, n: usize) -> String {
        let header = serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": self.kid});
        let claims = serde_json::json!({
            "iss": "https://bench.eu.auth0.com/",
            "sub": format!("auth0|{n:024x}"),
            "aud": ["https://api.example.com", "https://bench.eu.auth0.com/userinfo"],
            "iat": self.now - 60,
            "exp": self.now + 3600,
            "scope": "openid profile email offline_access",
            "org_id": org(n % self.tenants),
            "azp": "6bQvCq1fJ0s8mT2yWzX4kLh9",
            "gty": "authorization_code",
            "sid": "3f0c8a528f0e4c519a550123456789ab",
            "https://example.com/roles": ["analyst", "backtest-operator"],
            "permissions": ["read:strategies", "write:strategies", "read:backtests", "run:backtests"],
        });
        let mut token = format!(
            "{}.{}",
            B64.encode(header.to_string()),
            B64.encode(claims.to_string())
        );
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                token.as_bytes(),
                &mut signature,
            )
            .unwrap();
        token.push('.');
        token.push_str(&B64.encode(signature));
        token
    }
}

fn verifier(jwks: &str, now: i64, options: CacheOptions) -> Arc<Identity> {
    let identity = Identity::new(
        IdentityConfig::parse(PROVIDERS).unwrap(),
        Operators::default(),
        options,
    );
    let ring = KeyRing::parse(jwks.as_bytes(), identity::algorithm::Algorithm::Rs256, now).unwrap();
    let published = identity.publish_keys(&ProviderId::parse("auth0").unwrap(), ring, KeysFrom::Network);
    assert!(published.changed);
    identity
}

fn org(n: usize) -> String {
    format!("org_{n:016}")
}

fn jwks(key: &KeyPair, kid: &str) -> String {
    let public = key.public_key();
    let n = public.modulus().big_endian_without_leading_zero().to_vec();
    let e = public.exponent().big_endian_without_leading_zero().to_vec();
    serde_json::json!({"keys": [{
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": B64.encode(n), "e": B64.encode(e),
    }]})
    .to_string()
}

fn registry_of(tenants: usize) -> Snapshot {
    let cell = |n: usize| CellId::parse(&format!("cell-bench-{n:02}")).unwrap();
    let provider = ProviderId::parse("auth0").unwrap();
    let mut builder = Builder::default();
    for n in 0..16 {
        builder
            .put(Record::Cell(Cell {
                id: cell(n),
                state: CellState::Active,
                tier: "shared".to_owned(),
                region: "local".to_owned(),
                endpoints: vec!["127.0.0.1:9".to_owned()],
                tls: false,
                weight: 100,
                capacity: None,
                runtime: None,
                health_path: None,
            }))
            .unwrap();
    }
    for n in 0..tenants {
        let tenant = TenantId::parse(&format!("tenant-{n:08}")).unwrap();
        let records = [
            Record::Tenant(Tenant {
                id: tenant.clone(),
                state: TenantState::Active,
                name: String::new(),
                requests_per_second: None,
                tier: None,
                region: None,
                apart: None,
                drain: registry::Drain::Refuse,
            }),
            Record::Placement(Placement {
                tenant: tenant.clone(),
                cell: cell(n % 16),
                epoch: 1,
                phase: Phase::Settled,
                target: None,
                previous: None,
                flipped_at: None,
                mover: Mover::Operator,
                drain: registry::Drain::Refuse,
            }),
            Record::Link(Link {
                provider: provider.clone(),
                kind: LinkKind::OrgId,
                external_id: org(n),
                tenant,
                state: LinkState::Active,
            }),
        ];
        for record in records {
            builder.put(record).unwrap();
        }
    }
    builder.finish(Position::default()).unwrap()
}
