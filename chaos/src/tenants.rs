//! Who lives in the scene: tenants of every provider, each with a part to play.

use contract::dev::DevProvider;
use contract::{LinkKind, ProviderId, TenantId};
use devkit::dev::{self, DEDICATED_CELL, SHARED_CELL};
use registry::command::{LinkId, TenantSettings};
use registry::{Command, LinkState, TenantState};

/// What happens to a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Nothing: it must never notice anything but its own cell's faults.
    Still,
    /// It moves between the two cells.
    Moves,
    /// It moves into the third cell and back.
    Nomad,
    /// It is suspended and resumed.
    Suspended,
    /// Its link is revoked and made again.
    Unlinked,
    /// Its one subject's tokens are revoked, and that is taken back.
    Revoked,
}

/// A tenant of the scene.
#[derive(Clone, Copy, Debug)]
pub struct Tenant {
    /// Its id.
    pub id: &'static str,
    /// Where its people sign in.
    pub provider: DevProvider,
    /// Where it is placed at first.
    pub cell: &'static str,
    /// What happens to it.
    pub part: Part,
}

/// The subject of all tokens of the [`Part::Revoked`] tenant.
pub const REVOKED_SUBJECT: &str = "auth0|5f7c8ec7c33c6c004bbafe82";

const fn tenant(id: &'static str, provider: DevProvider, cell: &'static str, part: Part) -> Tenant {
    Tenant {
        id,
        provider,
        cell,
        part,
    }
}

/// All of them. The dev stack has the first three already.
pub const TENANTS: [Tenant; 12] = [
    tenant("acme", DevProvider::Entra, SHARED_CELL, Part::Still),
    tenant("globex", DevProvider::Auth0, DEDICATED_CELL, Part::Still),
    tenant("initech", DevProvider::CloudflareAccess, SHARED_CELL, Part::Moves),
    tenant("still-1", DevProvider::Auth0, SHARED_CELL, Part::Still),
    tenant("still-2", DevProvider::Entra, DEDICATED_CELL, Part::Still),
    tenant("moved-1", DevProvider::Entra, SHARED_CELL, Part::Moves),
    tenant("moved-2", DevProvider::Auth0, DEDICATED_CELL, Part::Moves),
    tenant("moved-3", DevProvider::Entra, DEDICATED_CELL, Part::Moves),
    tenant("nomad", DevProvider::Entra, SHARED_CELL, Part::Nomad),
    tenant("suspended", DevProvider::Entra, DEDICATED_CELL, Part::Suspended),
    tenant("unlinked", DevProvider::Auth0, SHARED_CELL, Part::Unlinked),
    tenant("revoked", DevProvider::Auth0, DEDICATED_CELL, Part::Revoked),
];

/// The numbers of the tenants with this part.
pub fn with(part: Part) -> impl Iterator<Item = usize> {
    TENANTS
        .iter()
        .enumerate()
        .filter(move |(_, tenant)| tenant.part == part)
        .map(|(number, _)| number)
}

impl Tenant {
    /// Its id, as commands take it.
    pub fn tenant_id(&self) -> anyhow::Result<TenantId> {
        Ok(TenantId::parse(self.id)?)
    }

    /// The link by which its tokens name it.
    pub fn link(&self) -> anyhow::Result<LinkId> {
        Ok(LinkId {
            provider: ProviderId::parse(dev::provider_name(self.provider))?,
            kind: match self.provider {
                DevProvider::Entra => LinkKind::Tid,
                DevProvider::Auth0 => LinkKind::OrgId,
                DevProvider::CloudflareAccess => LinkKind::Aud,
            },
            external_id: dev::external_id(self.id, self.provider),
        })
    }

    /// The commands that add it, in order, up to its first placement.
    pub fn commands(&self) -> anyhow::Result<Vec<Command>> {
        let tenant = self.tenant_id()?;
        let settings = TenantSettings {
            id: tenant.clone(),
            name: self.id.to_owned(),
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
        ];
        commands.extend(self.relink()?);
        commands.push(Command::Place {
            tenant,
            cell: contract::CellId::parse(self.cell)?,
        });
        Ok(commands)
    }

    /// The commands that make its link, also after it was revoked.
    pub fn relink(&self) -> anyhow::Result<[Command; 2]> {
        let link = self.link()?;
        let add = Command::AddLink {
            link: link.clone(),
            tenant: self.tenant_id()?,
        };
        let state = LinkState::Active;
        Ok([add, Command::SetLinkState { link, state }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_played_and_the_dev_stacks_tenants_are_as_it_has_them() {
        for part in [
            Part::Still,
            Part::Moves,
            Part::Nomad,
            Part::Suspended,
            Part::Unlinked,
            Part::Revoked,
        ] {
            assert!(with(part).count() > 0, "{part:?}");
        }
        for (ours, theirs) in TENANTS.iter().zip(dev::TENANTS).take(3) {
            assert_eq!(
                (ours.id, ours.provider, ours.cell),
                (theirs.id, theirs.provider, theirs.cell)
            );
            assert_eq!(ours.link().unwrap().external_id, theirs.external_id);
        }
        for tenant in TENANTS {
            assert_eq!(tenant.commands().unwrap().len(), 5);
        }
    }
}
