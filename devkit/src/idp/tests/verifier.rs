//! Our own verifier against all of it.

use super::*;

/// The providers file and our own verifier agree with what is served and signed here.
#[tokio::test]
async fn our_own_verifier_admits_every_good_token_and_links_it() {
    use contract::{LinkKind, ProviderId};
    use identity::{CacheOptions, Identity, IdentityConfig, KeyRing, KeysFrom, Operators, Slot};
    let world = World::start().await;
    let config = IdentityConfig::parse(&dev::providers_file_at(&world.server.url())).unwrap();
    let operators = Operators::parse(&dev::operators()).unwrap();
    let identity = Identity::new(config, operators, CacheOptions::default());
    let now = jiff::Timestamp::now().as_second();
    for (provider, path) in [
        (DevProvider::Entra, "/entra/common/discovery/v2.0/keys"),
        (DevProvider::Auth0, "/auth0/.well-known/jwks.json"),
        (DevProvider::CloudflareAccess, "/access/cdn-cgi/access/certs"),
    ] {
        let document = world.fetch(path).await.bytes().await.unwrap();
        let ring = KeyRing::parse(&document, identity::algorithm::Algorithm::Rs256, now).unwrap();
        assert!(ring.skipped().is_empty(), "{path}");
        identity.publish_keys(
            &ProviderId::parse(dev::provider_name(provider)).unwrap(),
            ring,
            KeysFrom::Network,
        );
    }
    let verify = async |request: &MintRequest| {
        let minted = world.client.mint(request).await.unwrap();
        let access = minted.header == contract::header::ACCESS_ASSERTION;
        identity.verify(
            &minted.token,
            if access { Slot::Access } else { Slot::Bearer },
            now,
        )
    };
    for tenant in dev::TENANTS {
        for service in [false, true] {
            for version in [None, Some(1)]
                .into_iter()
                .filter(|v| v.is_none() || tenant.provider == DevProvider::Entra)
            {
                let good = request(tenant.id, |r| {
                    r.service = service;
                    r.version = version;
                });
                let verified = verify(&good)
                    .await
                    .unwrap_or_else(|refusal| panic!("{good:?}: {refusal}"));
                let named = |kind: LinkKind| verified.claims.links.iter().find(|link| link.kind == kind);
                assert_eq!(&*named(tenant.kind).unwrap().id, tenant.external_id);
                assert!(!verified.claims.strong && !verified.claims.operator && !verified.claims.perimeter);
            }
        }
    }
    for tenant in ["acme", "globex"] {
        let strong = request(tenant, |r| r.acr = Some("high".into()));
        assert!(verify(&strong).await.unwrap().claims.strong, "{tenant}");
    }
    let operator = request(dev::OPERATOR, |r| r.scopes = vec!["cluster:admin".into()]);
    let operator = verify(&operator).await.unwrap();
    assert!(operator.claims.operator && operator.claims.scopes.contains("cluster:admin"));
    let perimeter = request("initech", |r| r.audience = Some(dev::PERIMETER_AUD.into()));
    assert!(verify(&perimeter).await.unwrap().claims.perimeter);
    let named = request("acme", |r| r.subject = Some("alice".into()));
    assert!(verify(&named).await.is_ok());
    let by_claim = request("stranger", |r| {
        r.provider = Some(DevProvider::Auth0);
        r.claims
            .insert(dev::AUTH0_TENANT_CLAIM.into(), "globex-eu".into());
    });
    let by_claim = verify(&by_claim).await.unwrap();
    assert!(
        by_claim
            .claims
            .links
            .iter()
            .any(|link| link.kind == LinkKind::Claim && &*link.id == "globex-eu")
    );

    let expired = request("acme", |r| r.lifetime = Some(-120));
    let elsewhere = request("acme", |r| r.audience = Some("api://other".into()));
    for bad in [expired, elsewhere] {
        assert!(verify(&bad).await.is_err(), "{bad:?}");
    }
}
