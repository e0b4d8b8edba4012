//! `alphaswarm explain`, `jwks`, `xds` and `log-level`: what running programs tell operators only.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::parse_path;

/// How the router is asked.
#[derive(Debug, Args)]
pub struct Operator {
    /// A file that holds the operator's token [default: the variable ALPHASWARM_OPERATOR_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub operator_token_file: Option<PathBuf>,
    /// Base URL of the router's control listener [default: http://127.0.0.1:9192, plus ALPHASWARM_PORT_OFFSET]
    #[arg(long, value_name = "URL")]
    pub router: Option<String>,
}

/// `alphaswarm explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// How the router is asked.
    #[command(flatten)]
    pub operator: Operator,
    /// A file that holds the token, or - for stdin.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub token_file: PathBuf,
    /// The token is a Cloudflare Access one: it travels in Cf-Access-Jwt-Assertion.
    #[arg(long)]
    pub access: bool,
    /// A Cloudflare Access token beside the bearer.
    #[arg(long, value_name = "FILE", conflicts_with = "access")]
    pub access_token_file: Option<PathBuf>,
    /// Without a token.
    #[arg(long, conflicts_with_all = ["token_file", "access", "access_token_file"])]
    pub anonymous: bool,
    /// The request's host; without it no host says anything.
    #[arg(long)]
    pub host: Option<String>,
    /// The request's path and query.
    #[arg(long, default_value = "/", value_parser = parse_path)]
    pub path: String,
    /// The request's method.
    #[arg(long, default_value = "GET")]
    pub method: String,
}

/// `alphaswarm log-level`
#[derive(Debug, Args)]
pub struct LogLevel {
    /// How the router is asked.
    #[command(flatten)]
    pub operator: Operator,
    /// Base URL of a control plane, which is asked instead of a router, for example http://127.0.0.1:8090
    #[arg(long, value_name = "URL", conflicts_with = "router")]
    pub control_plane: Option<String>,
    /// The new filter, for example info,decision=debug; without one the filter is shown.
    pub filter: Option<String>,
    /// How long it lasts, for example 90s, 10m or 2h, at most 24h; the configured filter then comes back.
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = parse_time)]
    pub lasts: u64,
}

/// `90s`, `10m`, `2h`, in seconds.
fn parse_time(text: &str) -> Result<u64, String> {
    const DAY: u64 = 24 * 3600;
    let wrong = || format!("{text:?} is no time from 1s to 24h, such as 10m");
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (text.get(..at), 1),
        Some((at, 'm')) => (text.get(..at), 60),
        Some((at, 'h')) => (text.get(..at), 3600),
        _ => return Err(wrong()),
    };
    number
        .and_then(|number| number.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(unit))
        .filter(|seconds| (1..=DAY).contains(seconds))
        .ok_or_else(wrong)
}

/// `alphaswarm jwks …`
#[derive(Debug, Subcommand)]
pub enum Jwks {
    /// Each provider's keys: usable or not, from where, how old, and why the last fetch failed.
    #[command(after_help = "\
Examples:
  alphaswarm token mint --tenant operator --role cluster:read > operator.jwt
  alphaswarm jwks status --operator-token-file operator.jwt
  alphaswarm jwks status --operator-token-file operator.jwt --json")]
    Status(Operator),
}

/// `alphaswarm xds …`
#[derive(Debug, Subcommand)]
pub enum Xds {
    /// Each connected Envoy: the registry version it has, whether that is what it should have, and what it refused.
    #[command(after_help = "\
Examples:
  alphaswarm token mint --tenant operator --role cluster:read > operator.jwt
  alphaswarm xds status --operator-token-file operator.jwt
  alphaswarm xds status --operator-token-file operator.jwt --router http://10.0.0.1:9192 --router http://10.0.0.2:9192
  alphaswarm xds status --operator-token-file operator.jwt --json

Exit code 0: every router answers, and every Envoy has what it should have or is behind for less than --grace; 1: an Envoy
has refused something or is behind for longer, a cell cannot be given to Envoys, a router does not answer or has no
registry, or there is no Envoy at all; 2: wrong command line.")]
    Status(XdsStatus),
}

/// `alphaswarm xds status`
#[derive(Debug, Args)]
pub struct XdsStatus {
    /// A file that holds the operator's token [default: the variable ALPHASWARM_OPERATOR_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub operator_token_file: Option<PathBuf>,
    /// Base URL of a router's control listener; repeat for more, since each Envoy is connected to one of them
    /// [default: http://127.0.0.1:9192, plus ALPHASWARM_PORT_OFFSET]
    #[arg(long = "router", value_name = "URL")]
    pub routers: Vec<String>,
    /// How long an Envoy may be behind without being a failure, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub grace: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_an_end() {
        for (text, seconds) in [("1s", 1), ("90s", 90), ("10m", 600), ("24h", 86_400)] {
            assert_eq!(parse_time(text), Ok(seconds));
        }
        for wrong in [
            "",
            "10",
            "0s",
            "25h",
            "-1m",
            "1.5h",
            "m",
            "10d",
            "9999999999999999999h",
            "1\u{e4}",
        ] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
