//! Rules of tenants and of what belongs to them: links, hosts, revocations.

use contract::{LinkKind, TenantId};

use super::{Effect, Facts, no_step};
use crate::command::{LinkId, Refused, TenantSettings};
use crate::key::Key;
use crate::model::{Host, Link, LinkState, Record, Revocation, Tenant, TenantState, Versioned};

pub(super) fn add(settings: &TenantSettings, facts: &Facts) -> Result<Effect, Refused> {
    match facts.records.get(&Key::Tenant(settings.id.to_string())) {
        None => Ok(Effect::Put {
            before: None,
            after: Record::Tenant(with_state(settings, TenantState::Pending)),
        }),
        Some(Versioned {
            record: Record::Tenant(tenant),
            version,
            ..
        }) if *tenant == with_state(settings, tenant.state) => Ok(Effect::Nothing(*version)),
        Some(_) => Err(Refused::Conflict {
            problem: format!("tenant {} exists with other settings", settings.id),
            next: "change its settings, or choose another id".to_owned(),
        }),
    }
}

pub(super) fn set(settings: &TenantSettings, facts: &Facts) -> Result<Effect, Refused> {
    let (tenant, version) = facts.tenant(&settings.id)?;
    let after = with_state(settings, tenant.state);
    if *tenant == after {
        return Ok(Effect::Nothing(version));
    }
    Ok(Effect::Put {
        before: Some(Record::Tenant(tenant.clone())),
        after: Record::Tenant(after),
    })
}

pub(super) fn set_state(id: &TenantId, state: TenantState, facts: &Facts) -> Result<Effect, Refused> {
    use TenantState::{Active, Pending, Suspended};
    let (tenant, version) = facts.tenant(id)?;
    match (tenant.state, state) {
        (now, then) if now == then => return Ok(Effect::Nothing(version)),
        (Pending, Active) | (Active, Suspended) | (Suspended, Active) => {}
        (from, to) => {
            let next = if from == Pending {
                "activate it first"
            } else {
                "suspend it instead"
            };
            return Err(no_step(Key::Tenant(id.to_string()), from, to, next));
        }
    }
    let after = Tenant {
        state,
        ..tenant.clone()
    };
    Ok(Effect::Put {
        before: Some(Record::Tenant(tenant.clone())),
        after: Record::Tenant(after),
    })
}

pub(super) fn add_link(link: &LinkId, tenant: &TenantId, facts: &Facts) -> Result<Effect, Refused> {
    facts.tenant(tenant)?;
    let key = link_key(link);
    let after = Link {
        provider: link.provider.clone(),
        kind: link.kind,
        external_id: plain_external_id(link),
        tenant: tenant.clone(),
        state: LinkState::Pending,
    };
    match facts.link(&key) {
        None => Ok(Effect::Put {
            before: None,
            after: Record::Link(after),
        }),
        Some((before, _)) if before.state == LinkState::Revoked => Ok(Effect::Put {
            before: Some(Record::Link(before.clone())),
            after: Record::Link(after),
        }),
        Some((before, version)) if before.tenant == *tenant => Ok(Effect::Nothing(version)),
        Some((before, _)) => Err(Refused::Conflict {
            problem: format!("{key} names tenant {}", before.tenant),
            next: "revoke that link first".to_owned(),
        }),
    }
}

pub(super) fn set_link_state(link: &LinkId, state: LinkState, facts: &Facts) -> Result<Effect, Refused> {
    use LinkState::{Active, Pending, Revoked};
    let key = link_key(link);
    let Some((before, version)) = facts.link(&key) else {
        return Err(Refused::NotFound {
            key: key.into(),
            next: "list the links, or add this one first",
        });
    };
    match (before.state, state) {
        (now, then) if now == then => return Ok(Effect::Nothing(version)),
        (Pending, Active | Revoked) | (Active, Revoked) => {}
        (from, to) => {
            let next = if from == Revoked {
                "add the link again"
            } else {
                "revoke it, and add it again"
            };
            return Err(no_step(key, from, to, next));
        }
    }
    let after = Link {
        state,
        ..before.clone()
    };
    Ok(Effect::Put {
        before: Some(Record::Link(before.clone())),
        after: Record::Link(after),
    })
}

pub(super) fn add_host(host: &str, tenant: &TenantId, facts: &Facts) -> Result<Effect, Refused> {
    facts.tenant(tenant)?;
    let after = Host {
        host: plain_host(host),
        tenant: tenant.clone(),
    };
    match facts.records.get(&Key::Host(after.host.clone())) {
        Some(Versioned {
            record: Record::Host(before),
            version,
            ..
        }) if *before == after => Ok(Effect::Nothing(*version)),
        Some(Versioned {
            record: Record::Host(before),
            ..
        }) => Err(Refused::Conflict {
            problem: format!("host {} belongs to tenant {}", before.host, before.tenant),
            next: "remove the host first".to_owned(),
        }),
        _ => Ok(Effect::Put {
            before: None,
            after: Record::Host(after),
        }),
    }
}

pub(super) fn remove_host(host: &str, facts: &Facts) -> Result<Effect, Refused> {
    let key = Key::Host(plain_host(host));
    match facts.records.get(&key) {
        Some(versioned) => Ok(Effect::Remove(versioned.record.clone())),
        None => Err(Refused::NotFound {
            key: key.into(),
            next: "list the hosts",
        }),
    }
}

/// A revocation only ever reaches further: taking it back is a command of its own.
pub(super) fn revoke(revocation: &Revocation, facts: &Facts) -> Result<Effect, Refused> {
    let after = Record::Revocation(revocation.clone());
    match facts.records.get(&after.key()) {
        Some(Versioned {
            record: Record::Revocation(before),
            version,
            ..
        }) if before.not_before >= revocation.not_before => Ok(Effect::Nothing(*version)),
        Some(before) => Ok(Effect::Put {
            before: Some(before.record.clone()),
            after,
        }),
        None => Ok(Effect::Put { before: None, after }),
    }
}

pub(super) fn lift(key: Key, facts: &Facts) -> Result<Effect, Refused> {
    match facts.records.get(&key) {
        Some(versioned) => Ok(Effect::Remove(versioned.record.clone())),
        None => Err(Refused::NotFound {
            key: key.into(),
            next: "list the revocations",
        }),
    }
}

/// As tokens carry it: directories and AUD tags are lower case there, whatever a portal shows.
pub(super) fn plain_external_id(link: &LinkId) -> String {
    match link.kind {
        LinkKind::Tid | LinkKind::Aud => link.external_id.to_ascii_lowercase(),
        _ => link.external_id.clone(),
    }
}

pub(super) fn link_key(link: &LinkId) -> Key {
    Key::link(&link.provider, link.kind, &plain_external_id(link))
}

/// Lower case, without the trailing dot of a fully qualified name.
pub(super) fn plain_host(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn with_state(settings: &TenantSettings, state: TenantState) -> Tenant {
    let TenantSettings {
        id,
        name,
        requests_per_second,
        tier,
        region,
        apart,
        drain,
    } = settings.clone();
    Tenant {
        id,
        state,
        name,
        requests_per_second,
        tier,
        region,
        apart,
        drain,
    }
}
