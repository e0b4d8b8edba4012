//! `alphaswarm revocations`.

use clap::{Args, Subcommand};
use contract::{Principal, ProviderId};

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
  alphaswarm revocations add --principal entra:72f988bf/3f2a        every token of one caller until now
  alphaswarm revocations add --provider auth0 --subject 'auth0|42' --issued-before 2026-01-31T12:00:00Z
  alphaswarm revocations add --provider auth0 --all                 everybody signs in again")]
    Add {
        /// What.
        #[command(flatten)]
        tokens: Revoked,
        /// Tokens issued before this are refused, as RFC 3339 time or seconds since 1970 [default: now, the present
        /// second included]
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        issued_before: Option<i64>,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Take a revocation back.
    #[command(after_help = "Example:\n  alphaswarm revocations lift --principal entra:72f988bf/3f2a")]
    Lift {
        /// What.
        #[command(flatten)]
        tokens: Revoked,
        /// How to write.
        #[command(flatten)]
        write: WriteArgs,
    },
}

/// Which tokens. Exactly one of the four ways, because forgetting one must not revoke everybody.
#[derive(Clone, Debug, Args)]
#[command(group(clap::ArgGroup::new("tokens").required(true).args(["principal", "subject", "token_id", "all"])))]
pub struct Revoked {
    /// Whose tokens: the provider's instance name.
    #[arg(long, required_unless_present = "principal", conflicts_with = "principal")]
    pub provider: Option<ProviderId>,
    /// This principal's, as `resolve` and x-alphaswarm-principal show it.
    #[arg(long, value_name = "PROVIDER:ID", value_parser = parse_principal)]
    pub principal: Option<(ProviderId, String)>,
    /// This subject's: what stands behind the colon of the principal, undone of its percent-encoding. Entra: tid/oid.
    #[arg(long)]
    pub subject: Option<String>,
    /// This one token (jti or uti).
    #[arg(long, value_name = "ID")]
    pub token_id: Option<String>,
    /// All of the provider's.
    #[arg(long)]
    pub all: bool,
}

/// A principal back to its two parts.
fn parse_principal(text: &str) -> Result<(ProviderId, String), String> {
    let wrong = || "not a principal: provider:id, as in entra:72f988bf-…/3f2a…".to_owned();
    let principal = Principal::try_from(text.to_owned()).map_err(|_| wrong())?;
    let (provider, id) = principal.as_str().split_once(':').ok_or_else(wrong)?;
    let provider = ProviderId::parse(provider).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut rest = id.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().ok_or_else(wrong)?, rest.next().ok_or_else(wrong)?];
            let digits = std::str::from_utf8(&digits).map_err(|_| wrong())?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        } else {
            bytes.push(byte);
        }
    }
    let id = String::from_utf8(bytes).map_err(|_| wrong())?;
    // One spelling for each principal: what was copied whole comes out as it went in.
    if Principal::new(&provider, &id) == principal {
        Ok((provider, id))
    } else {
        Err(wrong())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_goes_back_to_what_it_was_made_of() {
        let provider = ProviderId::parse("entra").unwrap();
        for id in ["72f988bf/3f2a", "auth0|42", "a b:c%d,é", ""] {
            let principal = Principal::new(&provider, id);
            assert_eq!(
                parse_principal(principal.as_str()),
                Ok((provider.clone(), id.to_owned()))
            );
        }
        for bad in [
            "",
            "entra",
            ":x",
            "Entra:x",
            "entra:a%4",
            "entra:a%zz",
            "entra:%ff",
            "entra:a b",
            "a1:b:c",
            "entra:%41",
        ] {
            assert!(parse_principal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(parse_time("1970-01-01T00:01:00Z"), Ok(60));
        assert_eq!(parse_time("-5"), Ok(-5));
        assert!(parse_time("yesterday").is_err());
    }
}
