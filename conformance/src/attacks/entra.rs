//! Entra's own rules.

use serde_json::json;

use super::{Base, Row, Table};
use crate::tokens::{self, OID, OTHER_TID, TID};

/// The directory of all personal Microsoft accounts.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

pub(super) fn add(table: &mut Table<'_>) {
    for base in [
        table.base("Entra v2", tokens::entra_v2),
        table.base("Entra v1", tokens::entra_v1),
    ] {
        table.row = Row::OtherTokens;
        let other = base.draft().with("tid", OTHER_TID);
        table.add("tid of another directory", "tid", &base, &other);
        for (attack, value) in [
            ("in capitals", json!(TID.to_uppercase())),
            ("with a slash", json!(format!("{TID}/"))),
            ("in braces", json!(format!("{{{TID}}}"))),
            ("without dashes", json!(TID.replace('-', ""))),
            ("in an array", json!([TID])),
            ("that is a path", json!("../x")),
            ("that is the placeholder", json!("{tenantid}")),
            ("of zeros", json!("00000000-0000-0000-0000-000000000000")),
        ] {
            table.add(
                &format!("tid {attack}"),
                "tid",
                &base,
                &base.draft().with("tid", value),
            );
        }
        for word in ["common", "organizations", "consumers", "contoso.onmicrosoft.com"] {
            table.claim("tid", &base, "tid", &[json!(word)]);
        }
        table.claim("tid", &base, "tid", &[json!(""), json!(null), json!(1)]);
        table.missing("tid", &base, "tid");
        for issuer in [
            "common",
            "organizations",
            "{tenantid}",
            "",
            "../x",
            &TID.to_uppercase(),
        ] {
            let iss = base.draft.claims["iss"].as_str().unwrap().replace(TID, issuer);
            let bad = base.draft().with("iss", iss).with("tid", issuer);
            table.add(
                &format!("directory {issuer:?} in iss and tid"),
                "iss",
                &base,
                &bad,
            );
        }
        let iss = base.draft.claims["iss"].as_str().unwrap().replace(TID, CONSUMERS);
        let personal = base.draft().with("tid", CONSUMERS).with("iss", iss);
        table.add("a personal account", "consumer_account", &base, &personal);

        versions_and_ids(table, &base);

        table.row = Row::OtherTokens;
        for claim in ["nonce", "at_hash", "c_hash", "s_hash", "events"] {
            table.claim("token_use", &base, claim, &[json!("x"), json!(null)]);
        }
        table.missing("token_use", &base, "scp");
        let (client, other) = if base.draft.claims["ver"] == "1.0" {
            ("appid", "azp")
        } else {
            ("azp", "appid")
        };
        let bad = base.draft().without(client);
        table.add("no client", "token_use", &base, &bad);
        let bad = base.draft().without(client).with(other, tokens::CLIENT);
        table.add(
            "the client under the other version's name",
            "token_use",
            &base,
            &bad,
        );
        for (attack, value) in [
            ("no GUID", json!("x")),
            ("empty", json!("")),
            ("a number", json!(1)),
            ("in capitals", json!(tokens::CLIENT.to_uppercase())),
        ] {
            table.add(
                &format!("client is {attack}"),
                "client",
                &base,
                &base.draft().with(client, value),
            );
        }
        let id_token = base
            .draft()
            .without("scp")
            .without(client)
            .with("nonce", "n")
            .with("preferred_username", "a@example.com");
        table.add("an Entra id token", "token_use", &base, &id_token);
        let bad = base
            .draft()
            .without("scp")
            .without(client)
            .with("roles", json!(["admin"]));
        table.add("an Entra id token with roles", "token_use", &base, &bad);
        let graph = base
            .draft()
            .header("nonce", "n")
            .with("aud", "https://graph.microsoft.com");
        table.add("a Microsoft Graph token", "header_member", &base, &graph);
    }
    clouds(table);
}

fn versions_and_ids(table: &mut Table<'_>, base: &Base) {
    table.row = Row::Provider;
    table.claim(
        "ver",
        base,
        "ver",
        &[
            json!("3.0"),
            json!("1"),
            json!("2"),
            json!(2),
            json!(2.0),
            json!(["2.0"]),
            json!(null),
            json!(""),
        ],
    );
    table.missing("ver", base, "ver");
    let swapped = if base.draft.claims["ver"] == "1.0" {
        "2.0"
    } else {
        "1.0"
    };
    table.add(
        "ver of the other version",
        "ver",
        base,
        &base.draft().with("ver", swapped),
    );
    table.claim(
        "sub",
        base,
        "oid",
        &[json!(""), json!("x"), json!(null), json!(1)],
    );
    table.add(
        "oid in an array",
        "sub",
        base,
        &base.draft().with("oid", json!([OID])),
    );
    table.add(
        "oid in capitals",
        "sub",
        base,
        &base.draft().with("oid", OID.to_uppercase()),
    );
    table.missing("sub", base, "oid");
    table.claim(
        "scopes",
        base,
        "scp",
        &[json!(1), json!(["a"]), json!(null), json!({"a": 1})],
    );
    table.claim(
        "scopes",
        base,
        "roles",
        &[json!("admin"), json!([1]), json!(null), json!({"a": 1})],
    );
    let many: Vec<String> = (0..600).map(|n| format!("role:{n}")).collect();
    table.claim("scopes", base, "roles", &[json!(many)]);
    table.claim(
        "jti",
        base,
        "uti",
        &[json!(1), json!(""), json!("a\nb"), json!("x".repeat(300))],
    );
    table.claim(
        "step_up",
        base,
        "acrs",
        &[json!(1), json!([1]), json!(null), json!("c1")],
    );
    table.claim(
        "token_use",
        base,
        "idtyp",
        &[json!(1), json!(["app"]), json!(null)],
    );
    for facet in ["xms_act_fct", "xms_sub_fct"] {
        table.claim("sub", base, facet, &[json!(11), json!(["11"]), json!(null)]);
    }
    table.claim("client", base, "xms_cc", &[json!(1), json!([1]), json!(null)]);
}

fn clouds(table: &mut Table<'_>) {
    let base = table.base("Entra v2", tokens::entra_v2);
    table.row = Row::OtherTokens;
    let issued_by = |host: &str| base.draft().with("iss", format!("https://{host}/{TID}/v2.0"));
    for host in [
        "login.microsoftonline.de",
        "login.windows.net",
        "login.microsoft.com",
        "example.ciamlogin.com",
        "login.microsoftonline.com:8443",
        "sts.windows.net",
        "login.chinacloudapi.cn",
        "b2c.b2clogin.com",
    ] {
        table.add(&format!("issued by {host}"), "iss", &base, &issued_by(host));
    }
    // These are configured, each with keys of its own, which the public cloud's are not among.
    for host in ["login.microsoftonline.us", "login.partner.microsoftonline.cn"] {
        let attack = format!("the public cloud's key for {host}");
        table.add(&attack, "unknown_kid", &base, &issued_by(host));
    }
    let bad = base.draft().with(
        "iss",
        format!("https://{0}.ciamlogin.com/{0}/v2.0", tokens::CIAM_TID),
    );
    table.add(
        "the public cloud's key for an external directory",
        "unknown_kid",
        &base,
        &bad,
    );
    for (base, attack) in [
        (
            table.base("Entra US Government", tokens::gov),
            "a directory that Government does not list",
        ),
        (
            table.base("Entra external", tokens::ciam),
            "an external directory that is not listed",
        ),
    ] {
        let own = base.draft.claims["tid"].as_str().unwrap();
        let iss = base.draft.claims["iss"].as_str().unwrap().replace(own, OTHER_TID);
        let bad = base.draft().with("iss", iss).with("tid", OTHER_TID);
        table.add(attack, "iss", &base, &bad);
    }
    let base = table.base("Entra US Government", tokens::gov);
    let v1 = base
        .draft()
        .with("ver", "1.0")
        .with("iss", format!("https://sts.windows.net/{TID}/"))
        .with("appid", tokens::CLIENT);
    table.add(
        "Government's key for a version 1 issuer of the public cloud",
        "unknown_kid",
        &base,
        &v1,
    );
    let base = table.base("Entra external", tokens::ciam);
    let named = base.draft().with(
        "iss",
        format!("https://contoso.ciamlogin.com/{}/v2.0", tokens::CIAM_TID),
    );
    table.add(
        "an external directory under its name instead of its GUID",
        "iss",
        &base,
        &named,
    );
}
