-- What a tenant wants of the cell that is chosen for it.

ALTER TABLE tenants ADD COLUMN tier text;
ALTER TABLE tenants ADD COLUMN region text;
-- A group whose members share no cell.
ALTER TABLE tenants ADD COLUMN apart text;
CREATE INDEX tenants_kept_apart ON tenants (apart) WHERE apart IS NOT NULL;

-- Records that shall become true together, until somebody publishes them. No record, no version.
CREATE TABLE staged (
    one       integer NOT NULL PRIMARY KEY CHECK (one = 1),
    by_whom   text NOT NULL,
    at_ms     bigint NOT NULL,
    v_epoch   bigint NOT NULL,
    v_number  bigint NOT NULL,
    -- JSON lines.
    records   text NOT NULL
);
