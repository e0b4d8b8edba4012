//! `alphaswarm revocations`.

use clap::{Args, Subcommand};
use contract::ProviderId;

use super::{RegistryArgs, WriteArgs};

/// `alphaswarm revocations …`
#[derive(Debug, Args)]
pub struct Revocations {
    /// Which registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: RevocationsCommand,
}

/// What can be done with revocations.
#[derive(Debug, Subcommand)]
pub enum RevocationsCommand {
    /// List revocations.
    #[command(after_help = "Example:\n  alphaswarm revocations list --provider entra")]
    List {
        /// Only this provider's.
        #[arg(long)]
        provider: Option<ProviderId>,
    },
    /// Refuse one token, one subject's tokens, or all of a provider's.
    #[command(after_help = "\
Examples:
  alphaswarm revocations add --provider entra --token-id 4Xr1…      one token (its jti or uti)
  alphaswarm revocations add --provider entra --subject 3f2a…       every token issued until now
  alphaswarm revocations add --provider auth0 --subject 'auth0|42' --issued-before 2026-01-31T12:00:00Z
  alphaswarm revocations add --provider auth0 --all                 everybody signs in again")]
    Add {
        /// What.
        #[command(flatten)]
        tokens: Revoked,
        /// Tokens issued before this are refused, as RFC 3339 time or seconds since 1970 [default: now]
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        issued_before: Option<i64>,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Take a revocation back.
    #[command(after_help = "Example:\n  alphaswarm revocations lift --provider entra --subject 3f2a…")]
    Lift {
        /// What.
        #[command(flatten)]
        tokens: Revoked,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
}

/// Which tokens. Exactly one of the three ways, because forgetting one must not revoke everybody.
#[derive(Clone, Debug, Args)]
#[command(group(clap::ArgGroup::new("tokens").required(true).args(["subject", "token_id", "all"])))]
pub struct Revoked {
    /// Whose tokens: the provider's instance name.
    #[arg(long)]
    pub provider: ProviderId,
    /// This subject's.
    #[arg(long)]
    pub subject: Option<String>,
    /// This one token (jti or uti).
    #[arg(long, value_name = "ID")]
    pub token_id: Option<String>,
    /// All of the provider's.
    #[arg(long)]
    pub all: bool,
}

/// Seconds since 1970, from an RFC 3339 time or a number.
fn parse_time(text: &str) -> Result<i64, String> {
    let time = || {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_second)
    };
    text.parse::<i64>()
        .ok()
        .or_else(time)
        .ok_or_else(|| "not a time: RFC 3339 as in 2026-01-31T12:00:00Z, or seconds since 1970".to_owned())
}
