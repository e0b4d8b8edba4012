//! `alphaswarm revocations`: tokens that are refused although they verify.

use contract::ProviderId;
use jiff::Timestamp;
use registry::key::Kind;
use registry::{Command, Open, Revocation};

use crate::args::registry::{Revocations, RevocationsCommand, Revoked};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;
use crate::store::Registry;

/// Carries out one command.
pub async fn run(
    args: Revocations,
    environment: &Environment,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let open = if matches!(args.command, RevocationsCommand::List { .. }) {
        Open::Read
    } else {
        Open::Write
    };
    let registry = Registry::open(&args.registry, environment, open).await?;
    match args.command {
        RevocationsCommand::List { provider } => {
            let mut revocations = registry.read(&[Kind::Revocation], output).await?.revocations;
            revocations.retain(|listed| {
                provider
                    .as_ref()
                    .is_none_or(|provider| listed.record.provider == *provider)
            });
            output.list(&revocations, "no revocations")
        }
        RevocationsCommand::Add {
            tokens,
            issued_before,
            write,
        } => {
            let (provider, subject) = whose(&tokens)?;
            let said = format!(
                "{} refused",
                what(&provider, subject.as_deref(), tokens.token_id.as_deref())
            );
            let command = Command::Revoke(Revocation {
                provider,
                subject,
                token_id: tokens.token_id,
                // Times in tokens are whole seconds: one that was issued in this very second is meant too.
                not_before: issued_before.unwrap_or_else(|| Timestamp::now().as_second().saturating_add(1)),
            });
            registry.write(&command, &write, &said, output).await
        }
        RevocationsCommand::Lift { tokens, write } => {
            let (provider, subject) = whose(&tokens)?;
            let said = format!(
                "{} no longer refused",
                what(&provider, subject.as_deref(), tokens.token_id.as_deref())
            );
            let command = Command::LiftRevocation {
                provider,
                subject,
                token_id: tokens.token_id,
            };
            registry.write(&command, &write, &said, output).await
        }
    }
}

/// The provider, and the subject if it is about one.
fn whose(tokens: &Revoked) -> Result<(ProviderId, Option<String>), Failure> {
    match (&tokens.principal, &tokens.provider) {
        (Some((provider, subject)), _) => Ok((provider.clone(), Some(subject.clone()))),
        (None, Some(provider)) => Ok((provider.clone(), tokens.subject.clone())),
        (None, None) => Err(Failure::usage("whose tokens? Name --provider or --principal")),
    }
}

fn what(provider: &ProviderId, subject: Option<&str>, token_id: Option<&str>) -> String {
    match (subject, token_id) {
        (_, Some(token_id)) => format!("token {token_id} of {provider} is"),
        (Some(subject), None) => format!("the tokens of {subject} of {provider} are"),
        (None, None) => format!("all tokens of {provider} are"),
    }
}
