-- What becomes of a tenant's requests while its move drains: what the tenant's record wants, and what the move does.

ALTER TABLE tenants ADD COLUMN drain text NOT NULL DEFAULT 'refuse';
ALTER TABLE placements ADD COLUMN drain text NOT NULL DEFAULT 'refuse';
