//! Questions to a router's control listener, or to a control plane, asked with an operator's token.

use contract::{Code, Envelope, port};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;

use crate::args::operator::Operator;
use crate::command::token;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::http;

/// A program and the token that it is shown.
pub(super) struct Asked {
    /// The option that names the program.
    option: &'static str,
    base: String,
    token: HeaderValue,
}

impl Asked {
    /// A router, by its option or on this machine.
    pub(super) fn new(args: &Operator, environment: &Environment) -> Result<Self, Failure> {
        let base = args
            .router
            .clone()
            .unwrap_or_else(|| environment.local(port::ROUTER_CONTROL));
        Self::at(args, "--router", base, environment)
    }

    /// The control plane at `base`.
    pub(super) fn control_plane(
        args: &Operator,
        base: &str,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        Self::at(args, "--control-plane", base.to_owned(), environment)
    }

    /// Reads the operator's token: the file's, else the environment's.
    fn at(
        args: &Operator,
        option: &'static str,
        base: String,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let token = match (&args.operator_token_file, &environment.operator_token) {
            (Some(file), _) => token::read(file)?,
            (None, Some(token)) => token.expose().trim_end().to_owned(),
            (None, None) => String::new(),
        };
        if token.is_empty() {
            return Err(Failure::usage("this needs an operator's token").next(
                "name --operator-token-file FILE or set ALPHASWARM_OPERATOR_TOKEN (dev: alphaswarm token mint --tenant \
                 operator --role cluster:read)",
            ));
        }
        let mut token = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            Failure::usage("the operator's token holds characters that cannot travel in a header")
        })?;
        token.set_sensitive(true);
        Ok(Self { option, base, token })
    }

    /// A question, still without a body.
    pub(super) fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        let url = http::join(&http::parse_base(&self.base, self.option)?, path)?;
        Ok(http::client()?
            .request(method, url)
            .header(AUTHORIZATION, self.token.clone()))
    }

    /// The answer's data.
    pub(super) async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let (program, what) = match self.option {
            "--router" => ("router", "another router's control listener"),
            _ => ("control plane", "another one"),
        };
        let peer = format!("the {program} at {}", self.base);
        let next = format!(
            "start the dev stack with: alphaswarm up (or name {what} with {} URL)",
            self.option
        );
        let (status, body) = http::exchange(request, &peer, &next).await?;
        read(status, &body, &peer)
    }
}

fn read<T: DeserializeOwned>(status: StatusCode, body: &[u8], peer: &str) -> Result<T, Failure> {
    let strange = || {
        Failure::failed(format!(
            "{peer} answered status {} without our envelope",
            status.as_u16()
        ))
        .next("check that --router names the control listener of a tenant-router (port 9192 by default), or --control-plane a \
             control plane (8090)")
    };
    let envelope: Envelope<T> = serde_json::from_slice(body).map_err(|_| strange())?;
    match (envelope.data, envelope.error) {
        (Some(data), None) if status.is_success() => Ok(data),
        (_, Some(error)) => {
            let failure = Failure::failed(format!("{peer} refuses: {} {}", status.as_u16(), error.code));
            let standard = Code::ALL.iter().any(|code| code.message() == error.message);
            let next = match Code::ALL.iter().find(|code| code.as_str() == error.code) {
                Some(Code::Unauthenticated) => Some("the operator's token is not good: it may have expired"),
                Some(Code::Forbidden) => Some(
                    "the token needs the scope cluster:read (to change something cluster:admin), and its provider, tenant \
                     and audience a place in the program's ALPHASWARM_OPERATORS",
                ),
                Some(Code::NotReady) => Some("the router has no keys yet to judge the operator's token by"),
                // The program's own words say what is wrong.
                Some(Code::BadRequest) if !standard => Some(error.message.as_str()),
                Some(Code::BadRequest) => {
                    Some("a token, host or path is longer than the router takes (128 KiB together)")
                }
                _ => None,
            };
            let failure = failure.code(error.code);
            Err(match next {
                Some(next) => failure.next(next),
                None => failure,
            })
        }
        _ => Err(strange()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_an_operators_token_needs() {
        let told = |code: Code| {
            let body = serde_json::to_vec(&Envelope::<()>::refused(code, "")).unwrap();
            let status = StatusCode::from_u16(code.status()).unwrap();
            read::<u8>(status, &body, "the router").unwrap_err()
        };
        let forbidden = told(Code::Forbidden);
        assert_eq!(
            (forbidden.exit_code(), forbidden.code.as_deref()),
            (1, Some("forbidden"))
        );
        assert!(forbidden.next.unwrap().contains("ALPHASWARM_OPERATORS"));
        assert!(told(Code::Unauthenticated).next.unwrap().contains("expired"));
        for body in ["", "<html>", r#"{"status":"ok","data":null,"error":null}"#] {
            let failure = read::<u8>(StatusCode::OK, body.as_bytes(), "the router").unwrap_err();
            assert!(failure.what.contains("without our envelope"), "{body}");
        }
        assert_eq!(
            read::<u8>(StatusCode::OK, br#"{"status":"ok","data":7,"error":null}"#, "r").unwrap(),
            7
        );
    }
}
