-- What a tenant wants of the cell that is chosen for it.

ALTER TABLE tenants ADD COLUMN tier text;
ALTER TABLE tenants ADD COLUMN region text;
-- A group whose members share no cell.
ALTER TABLE tenants ADD COLUMN apart text;
CREATE INDEX tenants_kept_apart ON tenants (apart) WHERE apart IS NOT NULL;
