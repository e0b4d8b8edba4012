//! A registry of many tenants, written straight into its database: through commands it would take minutes. Half of the
//! tenants are linked by an Entra directory, three tenths by an Auth0 organization, two tenths by a Cloudflare Access
//! application; 200 cells hold them.
//!
//! The statements are one version of the registry, with one line of the change log. Run them once, on a registry that
//! is empty.

/// The name of tenant `number`, as the statements make it.
#[must_use]
pub fn tenant(number: u64) -> String {
    format!("customer-{number:08}")
}

/// Statements for SQLite.
#[must_use]
pub fn sqlite(tenants: u64) -> String {
    let last = tenants.saturating_sub(1);
    format!(
        "BEGIN; UPDATE registry SET applying = 1, number = number + 1, lineage = random(); \
         INSERT INTO changes SELECT number, epoch, lineage, 0, 'bench', '', 'import', '[]', '[]', '[]' FROM registry; \
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 199) \
         INSERT INTO cells (id, state, tier, region, endpoints) \
             SELECT printf('cell-%d', i), 'active', 'std', 'local', '[\"127.0.0.1:8101\"]' FROM n; \
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last}) \
         INSERT INTO tenants (id, state, name) \
             SELECT printf('customer-%08d', i), 'active', printf('Customer %d', i) FROM n; \
         INSERT INTO placements (tenant, cell, epoch, phase) \
             SELECT id, printf('cell-%d', row_number % 200), 1, 'settled' FROM tenants; \
         INSERT INTO links (provider, kind, external_id, tenant, state) \
             SELECT CASE WHEN row_number % 10 < 5 THEN 'entra' WHEN row_number % 10 < 8 THEN 'auth0' ELSE 'access' END, \
                 CASE WHEN row_number % 10 < 5 THEN 'tid' WHEN row_number % 10 < 8 THEN 'org_id' ELSE 'aud' END, \
                 CASE WHEN row_number % 10 < 5 \
                     THEN printf('%08x-86f1-41af-91ab-2d7cd011db47', row_number * 2654435761 % 4294967296) \
                     WHEN row_number % 10 < 8 THEN printf('org_%016x', row_number) \
                     ELSE printf('%064x', row_number) END, id, 'active' FROM tenants; \
         UPDATE registry SET applying = 0; COMMIT"
    )
}

/// Statements for PostgreSQL.
#[must_use]
pub fn postgres(tenants: u64) -> String {
    let last = tenants.saturating_sub(1);
    format!(
        "BEGIN; SELECT set_config('alphaswarm.applying', 'on', true); \
         UPDATE registry SET number = number + 1, lineage = registry_lineage(); \
         INSERT INTO changes SELECT number, epoch, lineage, 0, 'bench', '', 'import', '[]', '[]', '[]' FROM registry; \
         INSERT INTO cells (id, state, tier, region, endpoints) \
             SELECT 'cell-' || i, 'active', 'std', 'local', '[\"127.0.0.1:8101\"]' FROM generate_series(0, 199) i; \
         INSERT INTO tenants (id, state, name) \
             SELECT format('customer-%s', lpad(i::text, 8, '0')), 'active', 'Customer ' || i \
             FROM generate_series(0, {last}) i; \
         INSERT INTO placements (tenant, cell, epoch, phase) \
             SELECT id, 'cell-' || row_number % 200, 1, 'settled' FROM tenants; \
         INSERT INTO links (provider, kind, external_id, tenant, state) \
             SELECT CASE WHEN row_number % 10 < 5 THEN 'entra' WHEN row_number % 10 < 8 THEN 'auth0' ELSE 'access' END, \
                 CASE WHEN row_number % 10 < 5 THEN 'tid' WHEN row_number % 10 < 8 THEN 'org_id' ELSE 'aud' END, \
                 CASE WHEN row_number % 10 < 5 \
                     THEN lpad(to_hex(row_number * 2654435761 % 4294967296), 8, '0') || '-86f1-41af-91ab-2d7cd011db47' \
                     WHEN row_number % 10 < 8 THEN 'org_' || lpad(to_hex(row_number), 16, '0') \
                     ELSE lpad(to_hex(row_number), 64, '0') END, id, 'active' FROM tenants; \
         COMMIT"
    )
}
