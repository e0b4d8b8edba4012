//! Tokens that no provider would issue.

use super::*;

#[tokio::test]
async fn attacks_are_minted_as_asked() {
    let world = World::start().await;
    let mint = async |alg: Value| {
        let request = request("acme", |r| drop(r.header.insert("alg".into(), alg)));
        world.client.mint(&request).await.unwrap().token
    };

    for none in ["none", "None", "NONE", ""] {
        let token = mint(none.into()).await;
        assert_eq!(part(&token, 0)["alg"], none);
        assert!(token.ends_with('.') && token.matches('.').count() == 2, "{token}");
    }

    // RS→HS: a verifier that takes the public key for a secret accepts this.
    let token = mint("HS256".into()).await;
    let keys = world.keys(DevProvider::Entra).await;
    let jwk = keys.find(part(&token, 0)["kid"].as_str().unwrap()).unwrap();
    let jsonwebtoken::jwk::AlgorithmParameters::RSA(rsa) = &jwk.algorithm else {
        panic!("an RSA key")
    };
    let secret = DecodingKey::from_secret(public_pem(&rsa.n, &rsa.e).as_bytes());
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_aud = false;
    assert!(jsonwebtoken::decode::<Value>(&token, &secret, &validation).is_ok());

    let key = DecodingKey::from_jwk(jwk).unwrap();
    for (name, algorithm) in [
        ("RS384", Algorithm::RS384),
        ("RS512", Algorithm::RS512),
        ("PS256", Algorithm::PS256),
    ] {
        let mut validation = Validation::new(algorithm);
        validation.validate_aud = false;
        let token = mint(name.into()).await;
        assert!(
            jsonwebtoken::decode::<Value>(&token, &key, &validation).is_ok(),
            "{name}"
        );
    }
    for stray in ["ES256", "EdDSA"] {
        let token = mint(stray.into()).await;
        assert_eq!(
            token.rsplit('.').next().unwrap().len(),
            86,
            "64 bytes of signature"
        );
        assert_eq!(world.verified(DevProvider::Entra, &token).await, None);
    }

    // A foreign key under a known name: Auth0's key signs what claims to be Entra's.
    let kid = part(&mint("RS256".into()).await, 0)["kid"].clone();
    let foreign = request("acme", |r| {
        r.provider = Some(DevProvider::Auth0);
        r.header.insert("kid".into(), kid);
    });
    let token = world.client.mint(&foreign).await.unwrap().token;
    assert_eq!(world.verified(DevProvider::Entra, &token).await, None);
}

/// The PEM of a public key, built from its JWK alone, as an attacker would.
fn public_pem(n: &str, e: &str) -> String {
    let integer = |bytes: &[u8]| {
        let mut content = if bytes[0] >= 0x80 { vec![0] } else { vec![] };
        content.extend_from_slice(bytes);
        der(0x02, &content)
    };
    let n = integer(&URL_SAFE_NO_PAD.decode(n).unwrap());
    let e = integer(&URL_SAFE_NO_PAD.decode(e).unwrap());
    let key = der(0x30, &[n, e].concat());
    let algorithm = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    let bits = der(0x03, &[&[0], key.as_slice()].concat());
    let base64 = STANDARD.encode(der(0x30, &[algorithm.as_slice(), &bits].concat()));
    let lines: Vec<_> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let head = match length {
        0..=127 => vec![tag, length.to_be_bytes()[1]],
        _ => [[tag, 0x82].as_slice(), &length.to_be_bytes()].concat(),
    };
    [head, content.to_vec()].concat()
}

#[tokio::test]
async fn raw_bytes_are_signed_as_they_are() {
    let world = World::start().await;
    let request = SignRequest {
        provider: DevProvider::Entra,
        kid: None,
        header: r#"{"alg":"RS256","kid":"${kid}","kid":"${kid}"}"#.into(),
        payload: r#"{"tid":"a","\u0074id":"b"}"#.into(),
        alg: None,
    };
    let token = world.client.sign(&request).await.unwrap().token;
    let parts: Vec<_> = token.split('.').collect();
    assert_eq!(
        URL_SAFE_NO_PAD.decode(parts[1]).unwrap(),
        request.payload.as_bytes()
    );
    let kid = part(&token, 0)["kid"].as_str().unwrap().to_owned();
    let keys = world.keys(DevProvider::Entra).await;
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let message = format!("{}.{}", parts[0], parts[1]);
    assert!(jsonwebtoken::crypto::verify(parts[2], message.as_bytes(), &key, Algorithm::RS256).unwrap());
}
