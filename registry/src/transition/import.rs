//! Rules of imported records: a record as it shall be, state and all, instead of the steps that lead there.
//!
//! What is not there yet is taken in the state that the record names. What is there changes only as far as the steps of
//! its state machine reach, so that an import is no way around a drain, an acknowledgement or a move. What is as the
//! record says is left alone, which is why a file can be imported twice.

use contract::CellId;

use super::{Effect, Facts, cells, placements, tenants};
use crate::command::{LinkId, Refused};
use crate::model::{Cell, CellState, Host, Link, LinkState, Phase, Placement, Record, Tenant};
use crate::version::Version;

/// The record as the registry spells it: links and hosts may come as a portal or a person wrote them.
pub(crate) fn spelled(record: &Record) -> Record {
    match record {
        Record::Link(link) => Record::Link(Link {
            external_id: tenants::plain_external_id(&link_id(link)),
            ..link.clone()
        }),
        Record::Host(host) => Record::Host(Host {
            host: tenants::plain_host(&host.host),
            tenant: host.tenant.clone(),
        }),
        other => other.clone(),
    }
}

pub(super) fn import(record: &Record, facts: &Facts) -> Result<Effect, Refused> {
    match spelled(record) {
        Record::Cell(cell) => import_cell(cell, facts),
        Record::Tenant(tenant) => import_tenant(tenant, facts),
        Record::Link(link) => import_link(link, facts),
        Record::Placement(placement) => import_placement(placement, facts),
        Record::Host(host) => tenants::add_host(&host.host, &host.tenant, facts),
        Record::Revocation(revocation) => tenants::revoke(&revocation, facts),
    }
}

fn import_cell(cell: Cell, facts: &Facts) -> Result<Effect, Refused> {
    let Ok((before, version)) = facts.cell(&cell.id) else {
        // A router's Envoys learn of a cell after its commit; until then they could not send anything to it.
        let routers: Vec<String> = facts.live().map(|beat| beat.router.clone()).collect();
        if !routers.is_empty() && matches!(cell.state, CellState::Active | CellState::Draining) {
            return Err(Refused::Conflict {
                problem: format!(
                    "cell {} is new, and {} live routers do not know it yet",
                    cell.id,
                    routers.len()
                ),
                next: "import it as provisioning, activate it, and import the rest then".to_owned(),
            });
        }
        return Ok(new(Record::Cell(cell)));
    };
    if before.state == CellState::Retired && *before != cell {
        return Err(Refused::Conflict {
            problem: format!("cell {} is retired", cell.id),
            next: "import it under another id".to_owned(),
        });
    }
    cells::set_state(&cell.id, cell.state, facts)?;
    Ok(replaced(
        version,
        Record::Cell(before.clone()),
        Record::Cell(cell),
    ))
}

fn import_tenant(tenant: Tenant, facts: &Facts) -> Result<Effect, Refused> {
    let Ok((before, version)) = facts.tenant(&tenant.id) else {
        return Ok(new(Record::Tenant(tenant)));
    };
    tenants::set_state(&tenant.id, tenant.state, facts)?;
    Ok(replaced(
        version,
        Record::Tenant(before.clone()),
        Record::Tenant(tenant),
    ))
}

fn import_link(link: Link, facts: &Facts) -> Result<Effect, Refused> {
    facts.tenant(&link.tenant)?;
    let key = tenants::link_key(&link_id(&link));
    match facts.link(&key) {
        None => Ok(new(Record::Link(link))),
        Some((before, version)) if *before == link => Ok(Effect::Nothing(version)),
        // Names nobody: whoever it named, it may be linked anew.
        Some((before, _)) if before.state == LinkState::Revoked => Ok(Effect::Put {
            before: Some(Record::Link(before.clone())),
            after: Record::Link(link),
        }),
        Some((before, _)) if before.tenant != link.tenant => Err(Refused::Conflict {
            problem: format!("{key} names tenant {}", before.tenant),
            next: "revoke that link first".to_owned(),
        }),
        Some(_) => tenants::set_link_state(&link_id(&link), link.state, facts),
    }
}

fn import_placement(placement: Placement, facts: &Facts) -> Result<Effect, Refused> {
    facts.tenant(&placement.tenant)?;
    if let Some((before, versioned)) = facts.placement(&placement.tenant) {
        if *before == placement || stays(before, &placement) {
            return Ok(Effect::Nothing(versioned.version));
        }
        return Err(Refused::Conflict {
            problem: format!("tenant {} is placed in cell {}", before.tenant, before.cell),
            next: "move it instead, or leave its placement out of the file".to_owned(),
        });
    }
    // Where it comes from may be retired by now, but was once a cell.
    let named = [
        Some(&placement.cell),
        placement.target.as_ref(),
        placement.previous.as_ref(),
    ];
    for cell in named.into_iter().flatten() {
        facts.cell(cell)?;
    }
    // A file that brings a cell also says who lives in it, full or draining as it may be.
    let brought = |cell: &CellId| {
        facts
            .batch_began
            .is_some_and(|began| facts.cell(cell).is_ok_and(|(_, version)| version > began))
    };
    if brought(&placement.cell) && placement.target.as_ref().is_none_or(brought) {
        return Ok(new(Record::Placement(placement)));
    }
    if placement.phase != Phase::Settled {
        return Err(Refused::Conflict {
            problem: format!(
                "tenant {} is on its way between cells that are not in this file",
                placement.tenant
            ),
            next: "import its placement settled, and move it then".to_owned(),
        });
    }
    placements::takes(&placement.tenant, &placement.cell, facts)?;
    Ok(new(Record::Placement(placement)))
}

/// The file says only which cell, as a tenant's row does, and there it is.
fn stays(before: &Placement, placement: &Placement) -> bool {
    *placement == Placement::first(before.tenant.clone(), before.cell.clone())
}

fn link_id(link: &Link) -> LinkId {
    LinkId {
        provider: link.provider.clone(),
        kind: link.kind,
        external_id: link.external_id.clone(),
    }
}

fn new(after: Record) -> Effect {
    Effect::Put { before: None, after }
}

fn replaced(version: Version, before: Record, after: Record) -> Effect {
    if before == after {
        return Effect::Nothing(version);
    }
    Effect::Put {
        before: Some(before),
        after,
    }
}
