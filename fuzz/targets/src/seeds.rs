//! Where the fuzzers start: every attack of the table, every good token, odd requests.

use conformance::{Setting, attacks, providers};
use serde_json::json;

use crate::check::{CBA_OFF, OPTIONAL, STRONG, TOKENS, VOUCHED};
use crate::differential::Change;
use crate::token::SIGN;
use crate::world::{NOW, WORLD};

/// The seeds of a target, by its name.
#[must_use]
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "token" => token(),
        "jwks" => jwks(),
        "check" => check(),
        "differential" => differential(),
        other => panic!("no target {other}"),
    }
}

fn token() -> Vec<Vec<u8>> {
    let setting = Setting {
        now: NOW,
        canary: "http://127.0.0.1:9".to_owned(),
    };
    let cases = attacks::cases(&setting);
    let bad = attacks::one_of_each(&cases)
        .into_iter()
        .map(|case| case.token.clone().into_bytes());
    let signed = WORLD.drafts().map(|draft| {
        let header = draft.clone().header("alg", "ES256").header;
        [
            &[SIGN],
            header.to_string().as_bytes(),
            b"\n",
            draft.claims.to_string().as_bytes(),
        ]
        .concat()
    });
    bad.chain(signed).collect()
}

fn jwks() -> Vec<Vec<u8>> {
    let sets = providers::all(NOW).into_iter().map(|provider| provider.key_set());
    let ours = WORLD.providers.iter().flat_map(|provider| {
        let keys: Vec<_> = provider.keys.values().cloned().collect();
        let alone = keys
            .iter()
            .map(|key| conformance::keys::key_set(std::slice::from_ref(key)));
        alone
            .chain([conformance::keys::key_set(&keys)])
            .collect::<Vec<_>>()
    });
    let okp = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]});
    // Found by a run: half a surrogate pair spoils the key that has it, and no other.
    let half = okp.to_string().replace(r#"{"kty""#, r#"{"x":"\uDADD"},{"kty""#);
    let odd = [
        okp.to_string(),
        half,
        r#"{"keys":[]}"#.to_owned(),
        r#"{"keys":[],"keys":[]}"#.to_owned(),
        format!(r#"{{"keys":[{}null]}}"#, "null,".repeat(1000)),
        "[".repeat(1000),
    ];
    sets.chain(ours).chain(odd.map(String::into_bytes)).collect()
}

fn check() -> Vec<Vec<u8>> {
    let modes = [0, VOUCHED, VOUCHED | OPTIONAL, VOUCHED | CBA_OFF];
    let paths = [
        "/",
        "/admin",
        "/admin/users?x=1",
        "/ADMIN",
        "//admin",
        "/%61dmin",
        "/a/../admin",
        "/admin;a=b",
        "/public",
        "/public/..;/admin",
        "/console",
        "/write",
        "/a%2f..%2fadmin",
        "/\\admin",
        "/%2561dmin",
        "*",
        "",
    ];
    let mut seeds = Vec::new();
    for mode in modes {
        for path in paths {
            for token in ["", "aBearer {0}", "aBearer {1}", "aBearer a.b.c", "c{11}"] {
                let text = format!("mGET\nhauth0-a.example.com\np{path}\n{token}\nireq-1");
                seeds.push([&[mode], text.as_bytes()].concat());
            }
        }
    }
    assert_eq!(STRONG, 0);
    for number in 0..TOKENS.len() {
        for rest in [
            "",
            "\naBearer x",
            "\nc{12}",
            "\nuwebsocket\nwalphaswarm.bearer.{1}, chat",
        ] {
            for letter in ["aBearer ", "c", "uwebsocket\nwchat, alphaswarm.bearer."] {
                let text = format!("mPOST\nhany.example\np/x\n{letter}{{{number}}}{rest}");
                seeds.push([&[VOUCHED], text.as_bytes()].concat());
            }
        }
    }
    seeds
}

fn differential() -> Vec<Vec<u8>> {
    let bases = u8::try_from(WORLD.drafts().count()).unwrap();
    let mut seeds: Vec<Vec<u8>> = (0..bases).map(|base| vec![base]).collect();
    for base in 0..bases {
        for which in 0..30 {
            seeds.push(vec![base, Change::NO_CLAIM, which, 0]);
            seeds.push(vec![base, Change::CLAIM, which, which.wrapping_mul(7)]);
            seeds.push(vec![base, Change::HEADER, which, which.wrapping_mul(5)]);
            seeds.push(vec![base, Change::TIME, which, which / 4]);
            seeds.push(vec![base, Change::SIGNER, which, 0]);
            seeds.push(vec![base, Change::BYTE, which.wrapping_mul(9), which]);
            seeds.push(vec![base, Change::TWICE, which, which]);
        }
    }
    seeds
}
