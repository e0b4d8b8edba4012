//! What good tokens of every shape say.

use contract::{LinkKind, PrincipalKind};
use serde_json::json;

use crate::claims::VerifiedClaims;
use crate::refusal::Rule;
use crate::scopes::Operators;
use crate::testing::*;
use crate::verify::{CacheOptions, Slot};

fn read(draft: &Draft) -> VerifiedClaims {
    read_as(draft, Operators::none())
}

fn read_as(draft: &Draft, operators: Operators) -> VerifiedClaims {
    let identity = identity_of(&PROVIDERS, operators, CacheOptions::default());
    let verified = identity
        .verify(&draft.sign(), draft.slot.into(), NOW)
        .unwrap_or_else(|refusal| panic!("{refusal}"));
    verified.claims.clone()
}

fn links(claims: &VerifiedClaims) -> Vec<(LinkKind, &str)> {
    claims
        .links
        .iter()
        .map(|link| (link.kind, link.id.as_ref()))
        .collect()
}

#[test]
fn entra_users_of_both_versions_are_the_same_principal_with_the_same_link() {
    let (v1, v2) = (read(&entra_v1()), read(&entra_v2()));
    for claims in [&v1, &v2] {
        assert_eq!(claims.principal.as_str(), format!("entra:{TID}/{OID}"));
        assert_eq!(claims.principal_kind, PrincipalKind::User);
        assert_eq!(links(claims), [(LinkKind::Tid, TID)]);
        assert_eq!(claims.scopes.as_ref(), "files.read files.write");
        assert_eq!(claims.client.as_deref(), Some(CLIENT));
        assert_eq!(claims.token_id.as_deref(), Some("uti-1"));
        assert_eq!(
            (claims.issued_at, claims.expires_at, claims.auth_time),
            (NOW - 10, NOW + 3600, None)
        );
        assert!(!claims.perimeter && !claims.operator && !claims.strong && !claims.takes_claims_challenge);
    }
    assert_eq!(v1.audience.as_ref(), "api://alphaswarm");
}

#[test]
fn entra_services_and_agents() {
    let app = entra_v2()
        .without("scp")
        .with("roles", json!(["tasks.run", "tasks.run"]));
    let claims = read(&app);
    assert_eq!(
        (claims.principal_kind, claims.scopes.as_ref()),
        (PrincipalKind::Service, "tasks.run")
    );
    let bare = read(&entra_v2().without("scp").with("idtyp", "app"));
    assert_eq!(
        (bare.principal_kind, bare.scopes.as_ref()),
        (PrincipalKind::Service, "")
    );
    for (name, value) in [
        ("xms_act_fct", "3 11 99"),
        ("xms_sub_fct", "11"),
        ("xms_sub_fct", "13 2"),
    ] {
        let agent = read(&entra_v2().with(name, value).with("scp", "/"));
        assert_eq!(
            (agent.principal_kind, agent.scopes.as_ref()),
            (PrincipalKind::Agent, ""),
            "{name} {value}"
        );
    }
    assert_eq!(
        read(&entra_v2().with("xms_act_fct", "110 1")).principal_kind,
        PrincipalKind::User
    );
}

#[test]
fn strong_sign_in_is_the_providers_own_sign_and_for_users_only() {
    assert!(read(&entra_v2().with("acrs", json!(["c2", "c1"]))).strong);
    assert!(!read(&entra_v2().with("acrs", json!(["c2"]))).strong);
    assert!(!read(&entra_v2().with("acr", "1")).strong);
    assert!(
        !read(
            &entra_v2()
                .without("scp")
                .with("idtyp", "app")
                .with("acrs", json!(["c1"]))
        )
        .strong
    );
    assert!(
        read(
            &auth0()
                .with("amr", json!(["pwd", "mfa"]))
                .with("auth_time", NOW - 5)
        )
        .strong
    );
    assert_eq!(read(&auth0().with("auth_time", NOW - 5)).auth_time, Some(NOW - 5));
    assert!(read(&entra_v2().with("xms_cc", json!(["cp1"]))).takes_claims_challenge);
    assert!(read(&entra_v2().with("xms_cc", "cp1")).takes_claims_challenge);
    assert!(
        read(&entra_v2().with("xms_cc", "foo CP1")).takes_claims_challenge,
        "in any letter case"
    );
    assert!(!read(&entra_v2().with("xms_cc", "cp11")).takes_claims_challenge);
}

#[test]
fn auth0_users_machines_and_literal_claim_names() {
    let user = read(&auth0());
    assert_eq!(user.principal.as_str(), "auth0:auth0|1");
    assert_eq!(links(&user), [(LinkKind::OrgId, "org_1")]);
    assert_eq!(user.scopes.as_ref(), "openid read:items write:items");

    let claimed = read(&auth0().without("org_id").with(TENANT_CLAIM, "globex"));
    assert_eq!(links(&claimed), [(LinkKind::Claim, "globex")]);
    // The name is one name, not a path into nested objects.
    let nested = auth0()
        .without("org_id")
        .with("https://alphaswarm", json!({"ai/tenant": {"v1/id": "globex"}}));
    assert!(read(&nested).links.is_empty());

    let machine = read(
        &auth0()
            .with("sub", "client-1@clients")
            .with("gty", "client-credentials")
            .without("org_id"),
    );
    assert_eq!(machine.principal_kind, PrincipalKind::Service);
    assert_eq!(links(&machine), [(LinkKind::ClientId, "client-1")]);

    let rfc = read(&auth0_rfc());
    assert_eq!(
        (rfc.client.as_deref(), rfc.token_id.as_deref()),
        (Some("client-2"), Some("jti-2"))
    );
    assert_eq!(links(&rfc), [(LinkKind::OrgId, "org_2")]);
    read(&auth0_rfc().header("typ", "application/at+jwt"));
    assert_eq!(
        read(&auth0().with("https://alphaswarm.ai/cell", "cell-a1"))
            .cell
            .as_deref(),
        Some("cell-a1")
    );
}

#[test]
fn access_users_services_and_the_perimeter() {
    let user = read(&access_user());
    assert_eq!(user.principal.as_str(), "access:user-1");
    assert_eq!(links(&user), [(LinkKind::Aud, AUD_TENANT)]);
    read(&access_user().with("aud", AUD_TENANT));
    read(&access_user().without_header("typ"));

    let service = read(&access_service());
    assert_eq!(service.principal.as_str(), "access:0123456789abcdef.access");
    assert_eq!(service.principal_kind, PrincipalKind::Service);
    assert_eq!(
        links(&service),
        [
            (LinkKind::Aud, AUD_TENANT),
            (LinkKind::CommonName, "0123456789abcdef.access")
        ]
    );
    read(&access_service().without("sub"));

    for draft in [access_user(), access_service()] {
        let perimeter = read(&draft.with("aud", json!([AUD_PERIMETER])));
        assert!(perimeter.perimeter && perimeter.links.is_empty());
    }
}

#[test]
fn operator_scopes_count_only_for_listed_provider_tenant_and_audience() {
    let all = "cluster:admin files.read operator:explain registry:write";
    let greedy = || {
        entra_v2()
            .with("scp", "files.read cluster:admin")
            .with("roles", json!(["registry:write", "operator:explain"]))
    };
    let at_operators = || greedy().with("aud", "api://operators");
    let list = |text: &str| Operators::parse(text).unwrap();

    assert_eq!(read(&greedy()).scopes.as_ref(), "files.read");
    assert_eq!(read(&at_operators()).scopes.as_ref(), "files.read");
    for others in [
        format!("entra/{OTHER_TID}@api://operators"),
        format!("entra/{TID}@api://alphaswarm"),
        format!("auth0/{TID}@api://operators"),
    ] {
        let claims = read_as(&at_operators(), list(&others));
        assert_eq!(
            (claims.scopes.as_ref(), claims.operator),
            ("files.read", false),
            "{others}"
        );
    }
    let ours = list(&format!("entra/{TID}@api://operators"));
    let claims = read_as(&at_operators(), ours.clone());
    assert_eq!((claims.scopes.as_ref(), claims.operator), (all, true));
    assert_eq!(
        read_as(&greedy(), ours).scopes.as_ref(),
        "files.read",
        "with the customers' audience"
    );

    let auth0 = || {
        auth0()
            .with("permissions", json!(["cluster:admin", "x cluster:admin"]))
            .with("scope", "Cluster:x a")
    };
    assert_eq!(read(&auth0()).scopes.as_ref(), "a");
    let claims = read_as(
        &auth0().with("aud", "https://operators.alphaswarm.ai"),
        list("auth0/org_1@https://operators.alphaswarm.ai"),
    );
    assert_eq!(claims.scopes.as_ref(), "Cluster:x a cluster:admin");
}

#[test]
fn national_clouds_and_external_directories() {
    for (settings, issuer, key_issuer) in [
        (
            r#"authority = "https://login.microsoftonline.us""#,
            format!("https://login.microsoftonline.us/{TID}/v2.0"),
            None,
        ),
        (
            r#"authority = "https://login.partner.microsoftonline.cn""#,
            format!("https://login.partner.microsoftonline.cn/{TID}/v2.0"),
            None,
        ),
        (
            r#"authority = "https://login.partner.microsoftonline.cn""#,
            format!("https://sts.chinacloudapi.cn/{TID}/"),
            Some(format!("https://login.partner.microsoftonline.cn/{TID}/v2.0")),
        ),
        (
            r#"authority = "https://contoso.ciamlogin.com""#,
            format!("https://{TID}.ciamlogin.com/{TID}/v2.0"),
            None,
        ),
    ] {
        let toml = format!(
            "[[provider]]\nname = \"cloud\"\nkind = \"entra\"\n{settings}\ntenants = [\"{TID}\"]\naudiences = [\"api://alphaswarm\"]"
        );
        let identity = identity_of(&toml, Operators::none(), CacheOptions::default());
        let jwk = signer(0).jwk_for(key_issuer.as_ref().unwrap_or(&issuer));
        identity.publish_keys(&provider("cloud"), ring(&[jwk]), crate::KeysFrom::Network);
        let base = if issuer.starts_with("https://sts") {
            entra_v1()
        } else {
            entra_v2()
        };
        let draft = base.with("aud", "api://alphaswarm").with("iss", issuer.as_str());
        let verified = identity.verify(&draft.sign(), draft.slot.into(), NOW);
        assert!(verified.is_ok(), "{issuer}: {:?}", verified.err());
        for public in [entra_v2().with("aud", "api://alphaswarm"), entra_v1()] {
            if settings.contains(".us") && public.claims["ver"] == "1.0" {
                continue; // the US cloud shares the v1 issuers; there only the keys tell the clouds apart
            }
            let refused = identity
                .verify(&public.sign(), draft.slot.into(), NOW)
                .unwrap_err();
            assert_eq!(refused.rule, crate::Rule::Issuer, "public cloud at {issuer}");
        }
    }
}

#[test]
fn scopes_of_access_come_from_the_configured_claim_and_nowhere_else() {
    let from = |setting: &str, claim: &str, value: serde_json::Value| {
        let toml = PROVIDERS.replace(
            "team = \"https://example.cloudflareaccess.com\"\n",
            &format!("team = \"https://example.cloudflareaccess.com\"\n{setting}\n"),
        );
        let identity = identity_of(&toml, Operators::none(), CacheOptions::default());
        let token = access_user().with(claim, value).sign();
        identity
            .verify(&token, Slot::Access, NOW)
            .map(|verified| verified.claims.scopes.to_string())
            .map_err(|refusal| refusal.rule)
    };
    let scopes = |text: &str| Ok(text.to_owned());
    let groups = || json!(["write:all", "read:all", "two words", "cluster:admin", "write:all"]);
    let own = "scopes_from = \"custom.https://x.example/groups\"";
    assert_eq!(from("", "groups", groups()), scopes(""), "not configured");
    assert_eq!(
        from("scopes_from = \"groups\"", "groups", groups()),
        scopes("read:all write:all"),
        "no operator scopes, no words with spaces"
    );
    assert_eq!(
        from("scopes_from = \"groups\"", "groups", json!("read:all")),
        scopes("read:all")
    );
    assert_eq!(
        from(own, "custom", json!({"https://x.example/groups": groups()})),
        scopes("read:all write:all")
    );
    assert_eq!(from(own, "custom", json!({"other": 1})), scopes(""));
    assert_eq!(from(own, "groups", groups()), scopes(""), "another claim");
    // A dot elsewhere is part of the name.
    assert_eq!(
        from("scopes_from = \"a.b\"", "a", json!({"b": ["read:all"]})),
        scopes("")
    );
    assert_eq!(
        from("scopes_from = \"a.b\"", "a.b", json!(["read:all"])),
        scopes("read:all")
    );
    for (setting, claim, bad) in [
        ("scopes_from = \"groups\"", "groups", json!([1])),
        ("scopes_from = \"groups\"", "groups", json!({"a": "b"})),
        (own, "custom", json!("text")),
        (own, "custom", json!({"https://x.example/groups": 7})),
    ] {
        assert_eq!(from(setting, claim, bad.clone()), Err(Rule::Scopes), "{bad}");
    }
}
