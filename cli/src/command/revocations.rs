//! `alphaswarm revocations`: tokens that are refused although they verify.

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
            let said = format!("{} refused", what(&tokens));
            let command = Command::Revoke(Revocation {
                provider: tokens.provider,
                subject: tokens.subject,
                token_id: tokens.token_id,
                not_before: issued_before.unwrap_or_else(|| Timestamp::now().as_second()),
            });
            registry.write(&command, &write, &said, output).await
        }
        RevocationsCommand::Lift { tokens, write } => {
            let said = format!("{} no longer refused", what(&tokens));
            let command = Command::LiftRevocation {
                provider: tokens.provider,
                subject: tokens.subject,
                token_id: tokens.token_id,
            };
            registry.write(&command, &write, &said, output).await
        }
    }
}

fn what(tokens: &Revoked) -> String {
    let provider = &tokens.provider;
    match (&tokens.subject, &tokens.token_id) {
        (_, Some(token_id)) => format!("token {token_id} of {provider} is"),
        (Some(subject), None) => format!("the tokens of {subject} of {provider} are"),
        (None, None) => format!("all tokens of {provider} are"),
    }
}
