-- What a tenant wants of the cell that is chosen for it.

ALTER TABLE tenants ADD COLUMN tier TEXT;
ALTER TABLE tenants ADD COLUMN region TEXT;
-- A group whose members share no cell.
ALTER TABLE tenants ADD COLUMN apart TEXT;
CREATE INDEX tenants_kept_apart ON tenants (apart) WHERE apart IS NOT NULL;
