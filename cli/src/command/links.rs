//! `alphaswarm links`: what in a token names a tenant.

use registry::command::LinkId;
use registry::key::Kind;
use registry::{Command, LinkState, Open};

use crate::args::registry::{Links, LinksCommand, OneLink, WriteArgs};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;
use crate::rows::link_state;
use crate::store::Registry;

/// Carries out one command.
pub async fn run(args: Links, environment: &Environment, output: &mut Output<'_>) -> Result<(), Failure> {
    let open = if matches!(args.command, LinksCommand::List { .. }) {
        Open::Read
    } else {
        Open::Write
    };
    let registry = Registry::open(&args.registry, environment, open).await?;
    match args.command {
        LinksCommand::List {
            tenant,
            provider,
            state,
        } => {
            let mut links = registry.read(&[Kind::Link], output).await?.links;
            links.retain(|listed| {
                let link = &listed.record;
                tenant.as_ref().is_none_or(|tenant| link.tenant == *tenant)
                    && provider
                        .as_ref()
                        .is_none_or(|provider| link.provider == *provider)
                    && state.is_none_or(|state| link.state == state)
            });
            output.list(&links, "no links; add one with: alphaswarm links add")
        }
        LinksCommand::Add { link, tenant, write } => {
            let next = format!(
                "alphaswarm links activate --provider {} --kind {} --id {}",
                link.provider, link.kind, link.id
            );
            let said = format!("{} names tenant {tenant}", name(&link));
            let command = Command::AddLink {
                link: id(link),
                tenant,
            };
            registry
                .write_and_hint(&command, &write, &said, &next, output)
                .await
        }
        LinksCommand::Activate { link, write } => {
            set_state(&registry, link, LinkState::Active, &write, output).await
        }
        LinksCommand::Revoke { link, write } => {
            set_state(&registry, link, LinkState::Revoked, &write, output).await
        }
    }
}

async fn set_state(
    registry: &Registry,
    link: OneLink,
    state: LinkState,
    write: &WriteArgs,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let said = format!("{} is {}", name(&link), link_state(state).text());
    registry
        .write(
            &Command::SetLinkState {
                link: id(link),
                state,
            },
            write,
            &said,
            output,
        )
        .await
}

fn name(link: &OneLink) -> String {
    format!("link {}/{}/{}", link.provider, link.kind, link.id)
}

fn id(link: OneLink) -> LinkId {
    LinkId {
        provider: link.provider,
        kind: link.kind,
        external_id: link.id,
    }
}
