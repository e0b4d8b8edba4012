//! Laying base and delta out as a new base.

use super::packed::{self, LinkKey};
use super::{Aside, Builder, ImageError, PlacementView, Snapshot};
use crate::model::Record;

impl Snapshot {
    /// The same state with an empty delta. Costs the size of the registry: not for the path of a change.
    pub fn compacted(&self) -> Result<Self, ImageError> {
        let mut builder = Builder::default();
        let base = &self.base;
        for cell in self.cells() {
            builder.put(Record::Cell(cell.clone()))?;
        }
        for tenant in (0..base.tenant_count()).filter_map(|number| base.tenant(number)) {
            if self.tenants.contains_key(tenant.id) {
                continue;
            }
            if let Some(state) = tenant.state {
                builder.put_tenant_facts(tenant.id, state, tenant.requests_per_second)?;
            }
            if let Some(placement) = &tenant.placement {
                builder.put_placement_view(tenant.id, placement)?;
            }
        }
        for (id, entry) in &self.tenants {
            if let Some(state) = entry.state {
                builder.put_tenant_facts(id.as_str(), state, entry.requests_per_second)?;
            }
            if let Some(placement) = &entry.placement {
                builder.put_placement_view(id.as_str(), &PlacementView::of(placement))?;
            }
        }
        for link in (0..base.link_count()).filter_map(|number| base.link(number)) {
            let key = LinkKey::from_packed(link.provider, link.kind, link.form, link.packed);
            let key = key.ok_or(ImageError::Malformed)?;
            if !self.links.contains_key(key.as_bytes()) {
                let tenant = base.tenant_id(link.tenant).ok_or(ImageError::Malformed)?;
                builder.put_link_key(&key, link.provider, link.kind, link.state, tenant)?;
            }
        }
        for (bytes, entry) in &self.links {
            if let Some(link) = entry {
                let (provider, kind, form, id) = packed::split(bytes).ok_or(ImageError::Malformed)?;
                let key = LinkKey::from_packed(provider, kind, form, id).ok_or(ImageError::Malformed)?;
                builder.put_link_key(&key, provider, kind, link.state, link.tenant.as_str())?;
            }
        }
        for (host, tenant) in (0..base.host_count()).filter_map(|number| base.host(number)) {
            if !self.hosts.contains_key(host) {
                builder.put_host(host, base.tenant_id(tenant).ok_or(ImageError::Malformed)?)?;
            }
        }
        for (host, tenant) in &self.hosts {
            if let Some(tenant) = tenant {
                builder.put_host(host, tenant.as_str())?;
            }
        }
        for revocation in self.revoked.list() {
            builder.put_revocation(revocation);
        }
        for (key, aside) in &self.aside {
            if let Aside::Unreadable(reason) = aside {
                builder.set_aside(key.clone(), reason.clone());
            }
        }
        builder.finish(self.position)
    }
}
