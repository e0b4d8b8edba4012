//! The token as text, its signature, its payload as JSON.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};

use super::*;

#[test]
fn form() {
    let mut table = Table::default();
    let twin = entra_v2();
    let good = twin.sign();
    let (head, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    for (name, rule, token) in [
        ("empty", Rule::Parts, String::new()),
        ("no dot", Rule::Parts, "abc".to_owned()),
        ("one dot", Rule::Parts, format!("{head}.{payload}")),
        ("only dots", Rule::Parts, "..".to_owned()),
        ("a thousand dots", Rule::Parts, ".".repeat(1000)),
        ("empty header", Rule::Parts, format!(".{payload}.{signature}")),
        ("empty payload", Rule::Parts, format!("{head}..{signature}")),
        ("empty signature", Rule::Parts, format!("{head}.{payload}.")),
        ("four parts", Rule::Parts, format!("{good}.x")),
        ("JWE", Rule::Encrypted, format!("{good}.x.y")),
        ("six parts", Rule::Parts, format!("{good}.x.y.z")),
        (
            "one byte too long",
            Rule::Size,
            format!("{good}{}", "A".repeat(16 * 1024 + 1 - good.len())),
        ),
        ("a megabyte", Rule::Size, "A".repeat(1 << 20)),
        ("a megabyte of dots", Rule::Size, ".".repeat(1 << 20)),
        ("space before", Rule::Base64, format!(" {good}")),
        ("newline after", Rule::Base64, format!("{good}\n")),
        (
            "space inside",
            Rule::Base64,
            format!("{head}. {payload}.{signature}"),
        ),
        (
            "tab inside",
            Rule::Base64,
            format!("{head}.{payload}\t.{signature}"),
        ),
        ("NUL after", Rule::Base64, format!("{good}\0")),
        ("no-break space", Rule::Base64, format!("{good}\u{a0}")),
        ("comma joined", Rule::Encrypted, format!("{good},{good}")),
        (
            "padded",
            Rule::Base64,
            swap_part(&good, 2, &format!("{signature}==")),
        ),
        (
            "plus",
            Rule::Base64,
            swap_part(&good, 2, &signature.replace(['-', '_'], "+")),
        ),
        (
            "percent",
            Rule::Base64,
            swap_part(&good, 1, &format!("%{payload}")),
        ),
        ("one character alone", Rule::Base64, swap_part(&good, 2, "A")),
    ] {
        table.raw(name, rule, &twin, token);
    }
    let claims = twin.claims.to_string();
    table.raw("standard alphabet", Rule::Base64, &twin, {
        let padded = BASE64_URL_SAFE.encode(format!("{claims} "));
        swap_part(&good, 1, &format!("{padded}="))
    });
    table.raw(
        "slashes",
        Rule::Base64,
        &twin,
        swap_part(&good, 2, &BASE64_STANDARD_NO_PAD.encode([0xff; 256])),
    );
    // 256 bytes leave four unused bits in the last character: each of the other fifteen spellings is refused.
    let last = signature.chars().last().unwrap();
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        if other != last && !"AQgw".contains(other) {
            let changed = format!("{}{other}", &signature[..signature.len() - 1]);
            table.raw(
                &format!("trailing bits {other}"),
                Rule::Base64,
                &twin,
                swap_part(&good, 2, &changed),
            );
        }
    }
    table.check(&identity());
}

#[test]
fn signature() {
    let mut table = Table::default();
    for twin in bases() {
        let good = twin.sign();
        let (header, claims) = (twin.header.to_string(), twin.claims.to_string());
        let parts: Vec<&str> = good.split('.').collect();
        table.add(
            "another's key under this name",
            Rule::Signature,
            &twin,
            twin.clone().signed_by(stranger()),
        );
        table.raw(
            "RS384 said to be RS256",
            Rule::Signature,
            &twin,
            twin.signer.sign_rs384(&header, &claims),
        );
        table.raw(
            "PS256 said to be RS256",
            Rule::Signature,
            &twin,
            twin.signer.sign_ps256(&header, &claims),
        );
        let more = twin.clone().with("exp", NOW + 7200).claims.to_string();
        table.raw(
            "changed claims",
            Rule::Signature,
            &twin,
            swap_part(&good, 1, &encode(more)),
        );
        table.raw(
            "a space more",
            Rule::Signature,
            &twin,
            swap_part(&good, 1, &encode(format!("{claims} "))),
        );
        let reordered = format!(
            r#"{{"kid":"{}","alg":"RS256","typ":{}}}"#,
            twin.signer.kid, twin.header["typ"]
        );
        table.raw(
            "changed header",
            Rule::Signature,
            &twin,
            swap_part(&good, 0, &encode(reordered)),
        );
        table.raw(
            "zeros",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode([0; 256])),
        );
        table.raw(
            "short",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode([1; 64])),
        );
        table.raw(
            "one byte",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode([1])),
        );
        table.raw(
            "the modulus itself",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode(twin.signer.modulus())),
        );
        let signature = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        let mut longer = signature.clone();
        longer.push(0);
        table.raw(
            "a byte more",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode(longer)),
        );
        let mut leading = vec![0];
        leading.extend(&signature);
        table.raw(
            "a leading zero",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode(leading)),
        );
        let mut flipped = signature;
        flipped[128] ^= 1;
        table.raw(
            "one bit",
            Rule::Signature,
            &twin,
            swap_part(&good, 2, &encode(flipped)),
        );
        // The classic: the public key as an HMAC secret. The algorithm is pinned, so no secret is ever tried.
        for secret in [
            twin.signer.public_der(),
            twin.signer.modulus(),
            twin.signer.kid.into(),
        ] {
            let header = twin.clone().header("alg", "HS256").header.to_string();
            let signed = format!("{}.{}", encode(header), encode(&claims));
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
            let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
            table.raw("RS→HS", Rule::Alg, &twin, format!("{signed}.{}", encode(tag)));
        }
    }
    table.check(&identity());
}

#[test]
fn payload_text() {
    let mut table = Table::default();
    for twin in bases() {
        let header = twin.header.to_string();
        let claims = twin.claims.to_string();
        let body = claims.strip_prefix('{').unwrap();
        for (name, rule, payload) in [
            ("not JSON", Rule::PayloadJson, "{\"iss\":".to_owned()),
            ("an array", Rule::PayloadJson, format!("[{claims}]")),
            ("a string", Rule::PayloadJson, "\"x\"".to_owned()),
            ("two objects", Rule::PayloadJson, format!("{claims}{claims}")),
            (
                "trailing comma",
                Rule::PayloadJson,
                format!("{},}}", claims.strip_suffix('}').unwrap()),
            ),
            ("comment", Rule::PayloadJson, format!("{{/**/{body}")),
            (
                "100 levels",
                Rule::PayloadJson,
                format!("{{\"x\":{}{},{body}", "[".repeat(100), "]".repeat(100)),
            ),
            (
                "5000 levels",
                Rule::PayloadJson,
                format!("{{\"x\":{}{},{body}", "[".repeat(5000), "]".repeat(5000)),
            ),
            (
                "3000 values",
                Rule::PayloadJson,
                format!("{{\"x\":[{}0],{body}", "0,".repeat(3000)),
            ),
            (
                "lone surrogate",
                Rule::PayloadJson,
                format!("{{\"x\":\"\\ud800\",{body}"),
            ),
            (
                "control character",
                Rule::PayloadJson,
                format!("{{\"x\":\"\u{1}\",{body}"),
            ),
            (
                "exp twice",
                Rule::PayloadDuplicate,
                format!("{{\"exp\":{},{body}", NOW + 10),
            ),
            (
                "iss twice",
                Rule::PayloadDuplicate,
                format!("{{\"iss\":\"https://evil\",{body}"),
            ),
            (
                "aud escaped twice",
                Rule::PayloadDuplicate,
                format!("{{\"\\u0061ud\":\"x\",{body}"),
            ),
            (
                "deep duplicate",
                Rule::PayloadDuplicate,
                format!("{{\"x\":[{{\"y\":{{\"a\":1,\"\\u0061\":2}}}}],{body}"),
            ),
        ] {
            table.raw(name, rule, &twin, twin.signer.sign(&header, &payload));
        }
        let mut invalid = claims.into_bytes();
        invalid.splice(1..1, b"\"x\":\"\xff\",".iter().copied());
        let token = swap_part(&twin.sign(), 1, &encode(invalid));
        table.raw("not UTF-8", Rule::PayloadJson, &twin, token);
    }
    let twin = entra_v2();
    let body = twin.claims.to_string();
    let body = body.strip_prefix('{').unwrap();
    let token = twin.signer.sign(
        &twin.header.to_string(),
        &format!("{{\"\\u0074id\":\"{OTHER_TID}\",{body}"),
    );
    table.raw("tid escaped twice", Rule::PayloadDuplicate, &twin, token);
    table.check(&identity());
}
