//! `alphaswarm tenants`: who lives where.

pub mod moves;

use contract::{CellId, TenantId};
use registry::command::TenantSettings;
use registry::key::Kind;
use registry::store::{Chosen, choose_cell};
use registry::{Command, Host, Link, Open, Refused, Tenant, TenantState};
use serde::Serialize;

use crate::args::registry::{SetTenant, Tenants, TenantsCommand, WriteArgs};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Field, Output, Row as _};
use crate::rows::{Listed, TenantLine, link_state, tenant_state};
use crate::store::{Book, Registry, refused, say_applied};

/// Carries out one command.
pub async fn run(args: Tenants, environment: &Environment, output: &mut Output<'_>) -> Result<(), Failure> {
    let open = match args.command {
        TenantsCommand::List { .. } | TenantsCommand::Show(_) => Open::Read,
        _ => Open::Write,
    };
    let registry = Registry::open(&args.registry, environment, open).await?;
    match args.command {
        TenantsCommand::List { state, cell } => list(&registry, state, cell.as_ref(), output).await,
        TenantsCommand::Show(tenant) => show(&registry, &tenant.tenant, output).await,
        TenantsCommand::Add {
            tenant,
            name,
            requests_per_second,
            wishes,
            drain,
            write,
        } => {
            let id = tenant.tenant;
            let name = name.unwrap_or_else(|| id.to_string());
            let command = Command::AddTenant(TenantSettings {
                id: id.clone(),
                name,
                requests_per_second,
                tier: wishes.tier,
                region: wishes.region,
                apart: wishes.apart,
                drain,
            });
            let next = format!("alphaswarm tenants place --tenant {id}");
            registry
                .write_and_hint(&command, &write, &format!("tenant {id} is known"), &next, output)
                .await
        }
        TenantsCommand::Set(args) => set(&registry, args, output).await,
        TenantsCommand::Activate { tenant, write } => {
            set_state(&registry, tenant.tenant, TenantState::Active, &write, output).await
        }
        TenantsCommand::Suspend { tenant, write } => {
            set_state(&registry, tenant.tenant, TenantState::Suspended, &write, output).await
        }
        TenantsCommand::Place { tenant, cell, write } => {
            let tenant = tenant.tenant;
            let Some(cell) = cell else {
                return place_by_policy(&registry, tenant, &write, output).await;
            };
            let said = format!("tenant {tenant} lives in cell {cell}");
            registry
                .write(&Command::Place { tenant, cell }, &write, &said, output)
                .await
        }
        TenantsCommand::Move(args) => moves::run(args, &registry, output).await,
    }
}

/// How often policy chooses anew because somebody else took the room.
const ATTEMPTS: u32 = 5;

async fn place_by_policy(
    registry: &Registry,
    tenant: TenantId,
    write: &WriteArgs,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let mut attempt = 1;
    loop {
        let (cell, why) = match choose_cell(&registry.store, &tenant).await.map_err(refused)? {
            Chosen::Placed(cell) => (cell, None),
            Chosen::Choice(choice) => (choice.cell, Some(choice.reason)),
        };
        let mut said = format!("tenant {tenant} lives in cell {cell}");
        if let Some(why) = &why {
            said.push_str(&format!(" ({why})"));
        }
        let command = Command::Place {
            tenant: tenant.clone(),
            cell,
        };
        if write.dry_run {
            return registry.write(&command, write, &said, output).await;
        }
        match registry.apply(&command, write).await? {
            Ok(applied) => return say_applied(&command, applied, &said, output),
            Err(Refused::Conflict { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(refusal) => return Err(refused(refusal)),
        }
    }
}

async fn list(
    registry: &Registry,
    state: Option<TenantState>,
    cell: Option<&CellId>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let book = registry.read(&[Kind::Tenant, Kind::Placement], output).await?;
    let lines: Vec<TenantLine> = book
        .tenants
        .iter()
        .filter(|tenant| state.is_none_or(|state| tenant.record.state == state))
        .map(|tenant| line(&book, tenant))
        .filter(|line| {
            cell.is_none_or(|cell| line.placement.as_ref().is_some_and(|p| p.record.cell == *cell))
        })
        .collect();
    output.list(&lines, "no tenants; add one with: alphaswarm tenants add")
}

fn line(book: &Book, tenant: &Listed<registry::Tenant>) -> TenantLine {
    let placement = book.placements.get(&tenant.record.id).cloned();
    TenantLine {
        tenant: tenant.clone(),
        placement,
    }
}

/// A tenant with what belongs to it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    line: TenantLine,
    links: Vec<Listed<Link>>,
    hosts: Vec<Listed<Host>>,
}

async fn show(registry: &Registry, id: &TenantId, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut book = registry
        .read(&[Kind::Tenant, Kind::Placement, Kind::Link, Kind::Host], output)
        .await?;
    let line = line(&book, book.tenant(id)?);
    book.links.retain(|link| link.record.tenant == *id);
    book.hosts.retain(|host| host.record.tenant == *id);
    let shown = Shown {
        line,
        links: book.links,
        hosts: book.hosts,
    };
    let mut fields: Vec<(&str, Field)> = TenantLine::COLUMNS
        .iter()
        .copied()
        .zip(shown.line.fields())
        .collect();
    for Listed { record: link, .. } in &shown.links {
        let text = format!(
            "{}/{}/{} ({})",
            link.provider,
            link.kind,
            link.external_id,
            link_state(link.state).text()
        );
        fields.push(("link", Field::new(text)));
    }
    fields.extend(
        shown
            .hosts
            .iter()
            .map(|host| ("host", Field::new(&host.record.host))),
    );
    output.record(&shown, &fields)
}

/// A command replaces all settings together, so the others are read first, and the write is refused if somebody changed
/// them in between.
async fn set(registry: &Registry, args: SetTenant, output: &mut Output<'_>) -> Result<(), Failure> {
    let book = registry.read(&[Kind::Tenant], output).await?;
    let listed = book.tenant(&args.tenant.tenant)?;
    let Tenant {
        id,
        state: _,
        name,
        requests_per_second,
        tier,
        region,
        apart,
        drain,
    } = listed.record.clone();
    let said = format!("tenant {id} has these settings");
    let settings = TenantSettings {
        id,
        name: args.name.unwrap_or(name),
        requests_per_second: args.requests_per_second.or(requests_per_second),
        tier: args.wishes.tier.or(tier),
        region: args.wishes.region.or(region),
        apart: args.wishes.apart.or(apart),
        drain: args.drain.unwrap_or(drain),
    };
    let write = WriteArgs {
        if_version: Some(args.write.if_version.unwrap_or(listed.version)),
        ..args.write
    };
    registry
        .write(&Command::SetTenant(settings), &write, &said, output)
        .await
}

async fn set_state(
    registry: &Registry,
    tenant: TenantId,
    state: TenantState,
    write: &WriteArgs,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let said = format!("tenant {tenant} is {}", tenant_state(state).text());
    registry
        .write(&Command::SetTenantState { tenant, state }, write, &said, output)
        .await
}

#[cfg(test)]
mod tests;
