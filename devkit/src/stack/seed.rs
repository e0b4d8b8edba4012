//! Fills the registry with the demo cells and the dev tenants, as an operator would: by commands, through the store.
//!
//! A registry that has all of them is left as it is (an operator may have moved or suspended a tenant), except for the
//! cells' addresses, which follow the ports.

use anyhow::Context as _;
use contract::{CellId, ProviderId, TenantId, port};
use registry::command::{CellSettings, LinkId, TenantSettings};
use registry::{
    Actor, AnyStore, CellState, Command, IfVersion, Key, LinkState, Open, Record, Store as _, TenantState,
};

use crate::dev::{self, DevTenant};
use crate::ports::Ports;

/// Who the change log says it was.
const ACTOR: &str = "up";

/// Makes the registry if it is not there and seeds it for a stack on `ports`; without ports it stays as it is.
pub async fn seed(registry_url: &str, ports: Option<Ports>) -> anyhow::Result<()> {
    let store = AnyStore::open(registry_url, Open::Create).await?;
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
        health_path: Some("/healthz".to_owned()),
    })
}

async fn seed_cell(store: &AnyStore, wanted: CellSettings) -> anyhow::Result<()> {
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
                health_path: known.health_path.or(wanted.health_path),
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

async fn seed_tenant(store: &AnyStore, dev: &DevTenant) -> anyhow::Result<()> {
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
        tier: None,
        region: None,
        apart: None,
        drain: registry::Drain::Refuse,
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

async fn apply(store: &AnyStore, command: Command) -> anyhow::Result<()> {
    let name = command.name();
    store
        .apply(&command, &Actor::new(ACTOR), IfVersion::Any)
        .await
        .with_context(|| format!("cannot seed the registry ({name})"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use registry::key::Kind;

    use super::*;

    async fn cells(store: &AnyStore) -> Vec<registry::Cell> {
        let records = store.list_all(Kind::Cell).await.unwrap();
        records
            .into_iter()
            .filter_map(|r| {
                if let Record::Cell(cell) = r.record {
                    Some(cell)
                } else {
                    None
                }
            })
            .collect()
    }

    #[tokio::test]
    async fn seeding_again_changes_addresses_and_nothing_an_operator_chose() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("registry.db").display());
        seed(&url, Some(Ports::default())).await.unwrap();
        let store = AnyStore::open(&url, Open::Write).await.unwrap();
        for (n, cell) in cells(&store).await.iter().enumerate() {
            assert_eq!((cell.id.as_str(), cell.state), (dev::CELLS[n], CellState::Active));
            assert_eq!(cell.endpoints, [format!("127.0.0.1:{}", port::DEMO_CELLS[n])]);
        }
        for tenant in dev::TENANTS {
            let placement = store
                .find(&Key::Placement(tenant.id.to_owned()))
                .await
                .unwrap()
                .unwrap();
            let Record::Placement(placement) = placement.record else {
                panic!("{placement:?}")
            };
            assert_eq!(placement.cell.as_str(), tenant.cell);
            let host = store
                .find(&Key::Host(format!("{}.localhost", tenant.id)))
                .await
                .unwrap()
                .unwrap();
            let Record::Host(host) = host.record else {
                panic!("{host:?}")
            };
            assert_eq!(host.tenant.as_str(), tenant.id);
            let provider = ProviderId::parse(dev::provider_name(tenant.provider)).unwrap();
            let link = store
                .find(&Key::link(&provider, tenant.kind, tenant.external_id))
                .await
                .unwrap()
                .unwrap();
            let Record::Link(link) = link.record else {
                panic!("{link:?}")
            };
            let expected = if tenant.link_active {
                LinkState::Active
            } else {
                LinkState::Pending
            };
            assert_eq!((link.tenant.as_str(), link.state), (tenant.id, expected));
        }

        let before = store.position().await.unwrap();
        seed(&url, Some(Ports::default())).await.unwrap();
        assert_eq!(
            store.position().await.unwrap(),
            before,
            "nothing to change, nothing changed"
        );

        let shared = CellId::parse(dev::SHARED_CELL).unwrap();
        let mut settings = cell(0, Ports::default()).unwrap();
        settings.weight = 7;
        apply(&store, Command::SetCell(settings)).await.unwrap();
        apply(
            &store,
            Command::SetCellState {
                cell: shared,
                state: CellState::Draining,
            },
        )
        .await
        .unwrap();
        let acme = TenantId::parse("acme").unwrap();
        apply(
            &store,
            Command::SetTenantState {
                tenant: acme,
                state: TenantState::Suspended,
            },
        )
        .await
        .unwrap();
        seed(&url, Some(Ports::new(34).unwrap())).await.unwrap();
        let cells = cells(&store).await;
        assert_eq!((cells[0].weight, cells[0].state), (7, CellState::Draining));
        assert_eq!(cells[0].endpoints, ["127.0.0.1:8135"]);
        assert_eq!(cells[1].runtime.as_deref(), Some("http://127.0.0.1:8236"));
        let Record::Tenant(acme) = store
            .find(&Key::Tenant("acme".to_owned()))
            .await
            .unwrap()
            .unwrap()
            .record
        else {
            panic!("acme is no tenant")
        };
        assert_eq!(acme.state, TenantState::Suspended);
    }
}
