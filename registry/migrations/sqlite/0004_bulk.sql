-- What a tenant wants of the cell that is chosen for it.

ALTER TABLE tenants ADD COLUMN tier TEXT;
ALTER TABLE tenants ADD COLUMN region TEXT;
-- A group whose members share no cell.
ALTER TABLE tenants ADD COLUMN apart TEXT;
CREATE INDEX tenants_kept_apart ON tenants (apart) WHERE apart IS NOT NULL;

-- Records that shall become true together, until somebody publishes them. No record, no version.
CREATE TABLE staged (
    one       INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    by_whom   TEXT NOT NULL,
    at_ms     INTEGER NOT NULL,
    v_epoch   INTEGER NOT NULL,
    v_number  INTEGER NOT NULL,
    -- JSON lines.
    records   TEXT NOT NULL
) STRICT;
