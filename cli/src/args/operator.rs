//! `alphaswarm explain` and `alphaswarm jwks`: what a router tells operators only.

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
