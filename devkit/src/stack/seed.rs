//! Fills the registry with the demo cells and the dev tenants, as an operator would: by commands, through the store.
//!
//! A registry that has all of them is left as it is (an operator may have moved or suspended a tenant), except for the
//! cells' addresses, which follow the ports.

use anyhow::Context as _;
use contract::{CellId, ProviderId, TenantId, port};
use registry::command::{CellSettings, LinkId, TenantSettings};
use registry::{
    Actor, CellState, Command, IfVersion, Key, LinkState, Open, Record, SqliteStore, Store as _, TenantState,
};

use crate::dev::{self, DevTenant};
use crate::ports::Ports;

/// Who the change log says it was.
const ACTOR: &str = "up";

/// Makes the registry if it is not there and seeds it for a stack on `ports`; without ports it stays as it is.
pub async fn seed(registry_url: &str, ports: Option<Ports>) -> anyhow::Result<()> {
    let store = SqliteStore::open(registry_url, Open::Create).await?;
    let Some(ports) = ports else { return Ok(()) };
    for n in 0..dev::CELLS.len() {
        seed_cell(&store, cell(n, ports)?).await?;
    }
    for tenant in &dev::TENANTS {
        // The placement is the last thing a tenant gets, and is never taken away.
        if store.find(&Key::Placement(tenant.id.to_owned())).await?.is_none() {
            seed_tenant(&store, tenant).await?;
        }
    }
    Ok(())
}

/// A demo cell as the registry knows it, for a stack on `ports`.
pub fn cell(n: usize, ports: Ports) -> anyhow::Result<CellSettings> {
    let missing = || format!("there is no demo cell {n}");
    let id = *dev::CELLS.get(n).with_context(missing)?;
    let listen = ports.addr(*port::DEMO_CELLS.get(n).with_context(missing)?);
    let runtime = ports.addr(*port::DEMO_RUNTIMES.get(n).with_context(missing)?);
    Ok(CellSettings {
        id: CellId::parse(id)?,
        tier: if id == dev::DEDICATED_CELL { "pro" } else { "std" }.to_owned(),
        region: "local".to_owned(),
        endpoints: vec![listen.to_string()],
        tls: false,
        weight: 100,
        capacity: None,
        runtime: Some(format!("http://{runtime}")),
    })
}

async fn seed_cell(store: &SqliteStore, wanted: CellSettings) -> anyhow::Result<()> {
    let known = store.find(&Key::Cell(wanted.id.to_string())).await?;
    match known.map(|known| known.record) {
        Some(Record::Cell(known)) if known.state == CellState::Retired => return Ok(()),
        Some(Record::Cell(known)) => {
            // What an operator chose stays.
            let moved = CellSettings {
                id: known.id,
                tier: known.tier,
                region: known.region,
                endpoints: wanted.endpoints,
                tls: wanted.tls,
                weight: known.weight,
                capacity: known.capacity,
                runtime: wanted.runtime,
            };
            apply(store, Command::SetCell(moved)).await?;
            // The seeding may have been cut off after the first command.
            if known.state != CellState::Provisioning {
                return Ok(());
            }
        }
        _ => apply(store, Command::AddCell(wanted.clone())).await?,
    }
    apply(
        store,
        Command::SetCellState {
            cell: wanted.id,
            state: CellState::Active,
        },
    )
    .await
}

async fn seed_tenant(store: &SqliteStore, dev: &DevTenant) -> anyhow::Result<()> {
    let tenant = TenantId::parse(dev.id)?;
    let link = LinkId {
        provider: ProviderId::parse(dev::provider_name(dev.provider))?,
        kind: dev.kind,
        external_id: dev.external_id.to_owned(),
    };
    let settings = TenantSettings {
        id: tenant.clone(),
        name: dev.name.to_owned(),
        requests_per_second: None,
    };
    let mut commands = vec![
        Command::AddTenant(settings),
        Command::SetTenantState {
            tenant: tenant.clone(),
            state: TenantState::Active,
        },
        Command::AddLink {
            link: link.clone(),
            tenant: tenant.clone(),
        },
        Command::AddHost {
            host: format!("{}.localhost", dev.id),
            tenant: tenant.clone(),
        },
    ];
    if dev.link_active {
        commands.push(Command::SetLinkState {
            link,
            state: LinkState::Active,
        });
    }
    commands.push(Command::Place {
        tenant,
        cell: CellId::parse(dev.cell)?,
    });
    for command in commands {
        apply(store, command).await?;
    }
    Ok(())
}

async fn apply(store: &SqliteStore, command: Command) -> anyhow::Result<()> {
    let name = command.name();
    store
        .apply(&command, &Actor::new(ACTOR), IfVersion::Any)
        .await
        .with_context(|| format!("cannot seed the registry ({name})"))?;
    Ok(())
}
