//! `alphaswarm hosts`: host names that belong to one tenant.

use registry::key::Kind;
use registry::{Command, Open};

use crate::args::registry::{Hosts, HostsCommand};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;
use crate::store::Registry;

/// Carries out one command.
pub async fn run(args: Hosts, environment: &Environment, output: &mut Output<'_>) -> Result<(), Failure> {
    let open = if matches!(args.command, HostsCommand::List { .. }) {
        Open::Read
    } else {
        Open::Write
    };
    let registry = Registry::open(&args.registry, environment, open).await?;
    match args.command {
        HostsCommand::List { tenant } => {
            let mut hosts = registry.read(&[Kind::Host], output).await?.hosts;
            hosts.retain(|host| tenant.as_ref().is_none_or(|tenant| host.record.tenant == *tenant));
            output.list(&hosts, "no hosts; add one with: alphaswarm hosts add")
        }
        HostsCommand::Add { host, tenant, write } => {
            let said = format!("host {host} belongs to tenant {tenant}");
            registry
                .write(&Command::AddHost { host, tenant }, &write, &said, output)
                .await
        }
        HostsCommand::Remove { host, write } => {
            let said = format!("host {host} belongs to nobody");
            registry
                .write(&Command::RemoveHost { host }, &write, &said, output)
                .await
        }
    }
}
