//! `alphaswarm explain`, `alphaswarm jwks` and `alphaswarm xds`: what a router tells operators only.

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
