//! `alphaswarm token verify --jws-only`: a signature and nothing else, so that public test vectors can drive the same
//! decoder, key checks and cryptography that tokens meet.

use std::path::Path;

use crate::args::Verify;
use crate::failure::Failure;
use crate::output::Output;

/// The largest key file that is read, in bytes.
const MAX_JWKS: u64 = 1 << 20;

/// Verifies the token on stdin. Refused is a failure: exit code 1.
pub fn run(args: &Verify, output: &mut Output<'_>) -> Result<(), Failure> {
    let jwks = read_jwks(&args.jwks)?;
    let token = super::read(Path::new("-"))?;
    let payload = verify(&token, &jwks)?;
    let value = serde_json::json!({ "verified": true, "payload_bytes": payload.len() });
    output.result(&value, &format!("verified: {} bytes of payload", payload.len()))
}

fn verify(token: &str, jwks: &str) -> Result<Vec<u8>, Failure> {
    identity::verify_jws_with_jwks(token, jwks)
        .map_err(|refusal| Failure::failed(format!("refused by rule {refusal}")).code(refusal.rule.name()))
}

fn read_jwks(file: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(MAX_JWKS).read_to_end(&mut bytes))
        .map_err(|error| {
            Failure::usage(format!(
                "the key set cannot be read from {}: {error}",
                file.display()
            ))
            .next("name a readable file with a JWK set: --jwks keys.json")
        })?;
    // What is no text holds no usable key, which is the verifier's to say.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_that_cannot_be_read_is_a_usage_error() {
        let directory = tempfile::tempdir().unwrap();
        let failure = read_jwks(&directory.path().join("absent.json")).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
    }

    /// RFC 8037, appendix A.4: EdDSA over a text that is no JSON. One of ours, bent, beside it.
    const JWKS: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    const TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    #[test]
    fn a_published_vector_verifies_and_its_bent_twin_does_not() {
        assert_eq!(verify(TOKEN, JWKS).unwrap(), b"Example of Ed25519 signing");
        let bent = TOKEN.replace(".hgyY", ".hgyZ");
        assert_eq!(verify(&bent, JWKS).unwrap_err().exit_code(), 1);
    }

    #[test]
    fn without_a_usable_key_everything_is_refused() {
        for jwks in [
            "",
            "{}",
            r#"{"keys":[]}"#,
            "not json",
            r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#,
        ] {
            let failure = verify(TOKEN, jwks).unwrap_err();
            assert_eq!(failure.exit_code(), 1, "{jwks}");
            assert!(!failure.what.contains("RXhhbXBs"), "{}", failure.what);
        }
    }
}
