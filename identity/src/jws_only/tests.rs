use serde_json::{Value, json};

use super::*;
use crate::testing::{encode, signer, stranger};

/// RFC 7515 appendix A.2 (RS256), A.3 (ES256) and RFC 8037 appendix A (EdDSA), with their keys.
fn published() -> [(&'static str, Value); 3] {
    [
        (
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
            json!({"kty": "RSA", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ", "e": "AQAB"}),
        ),
        (
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
            json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
        ),
        (
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
            json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        ),
    ]
}

fn verify(token: &str, keys: &[Value]) -> Result<Vec<u8>, Rule> {
    verify_jws_with_jwks(token, &json!({ "keys": keys }).to_string()).map_err(|refusal| refusal.rule)
}

#[test]
fn published_examples_verify_and_their_changes_do_not() {
    let keys: Vec<Value> = published().into_iter().map(|(_, key)| key).collect();
    for (token, key) in published() {
        let payload = verify(token, std::slice::from_ref(&key)).unwrap();
        assert_eq!(verify(token, &keys), Ok(payload), "found among others");
        let others: Vec<Value> = keys.iter().filter(|other| **other != key).cloned().collect();
        assert_eq!(verify(token, &others), Err(Rule::Alg), "no key of its type");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let zeros = encode(vec![0; signature.len() * 3 / 4]);
        assert_eq!(
            verify(&format!("{signed}.{zeros}"), std::slice::from_ref(&key)),
            Err(Rule::Signature)
        );
        let first = if signature.starts_with('A') { "B" } else { "A" };
        assert_eq!(
            verify(&format!("{signed}.{first}{}", &signature[1..]), &[key]),
            Err(Rule::Signature)
        );
    }
}

#[test]
fn payloads_may_be_anything_or_nothing() {
    let header = r#"{"alg":"RS256","kid":"entra-1"}"#;
    for payload in ["", "not JSON", "{\"a\":1,\"a\":2}"] {
        let token = signer(0).sign(header, payload);
        assert_eq!(
            verify(&token, &[signer(0).jwk()]),
            Ok(payload.as_bytes().to_vec()),
            "{payload:?}"
        );
    }
}

#[test]
fn names_types_and_uses_bind() {
    let named = signer(0).sign(r#"{"alg":"RS256","kid":"entra-1"}"#, "x");
    let nameless = signer(0).sign(r#"{"alg":"RS256"}"#, "x");
    let key = || signer(0).jwk();
    let with = |name: &str, value: Value| {
        let mut jwk = key();
        jwk[name] = value;
        jwk
    };
    assert!(verify(&named, &[stranger().jwk(), key()]).is_ok());
    assert!(verify(&nameless, &[stranger().jwk(), key()]).is_ok());
    assert_eq!(
        verify(&named, &[with("kid", json!("other"))]),
        Err(Rule::UnknownKid)
    );
    assert_eq!(verify(&named, &[stranger().jwk()]), Err(Rule::UnknownKid));
    assert_eq!(verify(&nameless, &[stranger().jwk()]), Err(Rule::Signature));
    assert_eq!(verify(&named, &[with("alg", json!("RS384"))]), Err(Rule::Alg));
    assert_eq!(verify(&named, &[with("alg", json!("PS256"))]), Err(Rule::Alg));
    for unusable in [
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        json!({"kty": "oct", "k": "AAAA"}),
    ] {
        assert_eq!(verify(&named, &[unusable]), Err(Rule::NoKeys));
    }
    assert_eq!(verify(&named, &[]), Err(Rule::NoKeys));
    assert_eq!(
        verify_jws_with_jwks(&named, "no JSON").unwrap_err().rule,
        Rule::NoKeys
    );
    for alg in ["none", "HS256", "RS384"] {
        let token = signer(0).sign(&json!({"alg": alg}).to_string(), "x");
        assert!(
            matches!(verify(&token, &[key()]), Err(Rule::Alg | Rule::Signature)),
            "{alg}"
        );
    }
    let critical = signer(0).sign(r#"{"alg":"RS256","crit":["exp"]}"#, "x");
    assert_eq!(verify(&critical, &[key()]), Err(Rule::HeaderMember));
}
