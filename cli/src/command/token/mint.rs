//! `alphaswarm token mint`: a token of any shape from the dev stack's identity provider.

use contract::dev::{DevProvider, MintRequest, Minted};
use contract::{header, port};

use crate::args::{Mint, MintShape};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::http;
use crate::output::Output;

/// How long ago a token of `--expired` expired, in seconds: well beyond any provider's leeway.
const EXPIRED_SINCE: i64 = -3600;

/// Mints and prints. Only the token goes to stdout, so that `$(…)` holds it and nothing else.
pub async fn run(args: &Mint, environment: &Environment, output: &mut Output<'_>) -> Result<(), Failure> {
    let minted = mint(&args.shape, environment).await?;
    if output.is_json() {
        return output.result(&minted, "");
    }
    output.line(&if args.header {
        header_line(&minted)
    } else {
        minted.token
    })
}

/// Asks the dev identity provider for a token.
pub async fn mint(shape: &MintShape, environment: &Environment) -> Result<Minted, Failure> {
    let base = shape
        .idp
        .clone()
        .unwrap_or_else(|| environment.local(port::DEV_IDP));
    let url = http::join(&http::parse_base(&base, "--idp")?, "/mint")?;
    let peer = format!("the dev identity provider at {base}");
    let next = "start the dev stack with: alphaswarm up (or name another with --idp URL)";
    let (status, body) = http::exchange(http::client()?.post(url).json(&request(shape)), &peer, next).await?;
    if !status.is_success() {
        let why = message(&body).unwrap_or_else(|| "without a reason".to_owned());
        return Err(
            Failure::failed(format!("{peer} refused with status {}: {why}", status.as_u16()))
                .next("correct the options; see: alphaswarm token mint --help"),
        );
    }
    serde_json::from_slice(&body).map_err(|_| {
        // The text is not shown: it may hold a token.
        Failure::failed(format!("{peer} answered something else than a token")).next(next)
    })
}

/// The body of `POST /mint`.
#[must_use]
pub fn request(shape: &MintShape) -> MintRequest {
    MintRequest {
        provider: shape.provider.map(DevProvider::from),
        tenant: shape.tenant.clone(),
        subject: shape.subject.clone(),
        audience: shape.audience.clone(),
        scopes: shape.scopes.clone(),
        roles: shape.roles.clone(),
        acr: shape.acr.clone(),
        lifetime: if shape.expired {
            Some(EXPIRED_SINCE)
        } else {
            shape.lifetime
        },
        version: shape.version,
        service: shape.service,
        claims: shape.claims.iter().cloned().collect(),
        header: shape.jose.iter().cloned().collect(),
    }
}

/// The value of the header that a token travels in.
#[must_use]
pub fn header_value(minted: &Minted) -> String {
    if minted.header.eq_ignore_ascii_case(header::AUTHORIZATION) {
        format!("Bearer {}", minted.token)
    } else {
        minted.token.clone()
    }
}

fn header_line(minted: &Minted) -> String {
    format!("{}: {}", minted.header, header_value(minted))
}

/// The reason in an error body, whether it comes in the envelope or bare.
fn message(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = value
        .pointer("/error/message")
        .or_else(|| value.pointer("/error"))?;
    text.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, TokenCommand};
    use clap::Parser as _;

    fn parse(args: &[&str]) -> MintRequest {
        let cli = Cli::try_parse_from(["alphaswarm", "token", "mint"].iter().chain(args)).unwrap();
        let Command::Token(TokenCommand::Mint(mint)) = cli.command else {
            panic!("not mint")
        };
        request(&mint.shape)
    }

    #[test]
    fn only_what_was_asked_for_differs_from_a_good_token() {
        assert_eq!(parse(&["--tenant", "acme"]), MintRequest::good("acme"));
        assert_eq!(parse(&["--tenant", "acme", "--expired"]).lifetime, Some(-3600));
        assert_eq!(
            parse(&["--tenant", "acme", "--lifetime", "-5"]).lifetime,
            Some(-5)
        );
    }

    #[test]
    fn every_option_reaches_the_request() {
        let request = parse(&[
            "--tenant",
            "globex",
            "--provider",
            "cloudflare-access",
            "--audience",
            "aud",
            "--acr",
            "high",
            "--scope",
            "a",
            "--scope",
            "b",
            "--role",
            "r",
            "--service",
            "--version",
            "1",
            "--subject",
            "s",
            "--claim",
            "n=1",
            "--claim",
            "text=a=b",
            "--claim",
            "gone=null",
            "--jose",
            "alg=none",
        ]);
        let expected = MintRequest {
            provider: Some(DevProvider::CloudflareAccess),
            audience: Some("aud".to_owned()),
            acr: Some("high".to_owned()),
            scopes: vec!["a".to_owned(), "b".to_owned()],
            roles: vec!["r".to_owned()],
            service: true,
            version: Some(1),
            subject: Some("s".to_owned()),
            claims: serde_json::json!({ "n": 1, "text": "a=b", "gone": null })
                .as_object()
                .unwrap()
                .clone(),
            header: serde_json::json!({ "alg": "none" }).as_object().unwrap().clone(),
            ..MintRequest::good("globex")
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn a_bearer_and_an_access_token_travel_in_their_own_headers() {
        let minted = |header: &str| Minted {
            token: "a.b.c".to_owned(),
            header: header.to_owned(),
        };
        assert_eq!(
            header_line(&minted("authorization")),
            "authorization: Bearer a.b.c"
        );
        assert_eq!(
            header_line(&minted("cf-access-jwt-assertion")),
            "cf-access-jwt-assertion: a.b.c"
        );
    }
}
