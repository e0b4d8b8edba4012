-- The registry's first schema. Times are milliseconds since 1970 (columns *_ms) or seconds as tokens have them.
--
-- Every record carries the version that wrote it (v_epoch, v_number) and when. There are no CHECKs on states or ids and
-- no foreign keys: the rules are the program's, one set for all databases, and a row that breaks them must be nameable
-- and repairable, not impossible to read. Rowids are what full loads page by.

CREATE TABLE registry (
    one       INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    epoch     INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    -- Drawn anew by every write: tells two histories apart that reached the same number.
    lineage   INTEGER NOT NULL,
    -- 1 while a program writes. See the triggers below.
    applying  INTEGER NOT NULL
) STRICT;

CREATE TABLE changes (
    number     INTEGER NOT NULL PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    lineage    INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    request_id TEXT NOT NULL,
    action     TEXT NOT NULL,
    before     TEXT NOT NULL,
    after      TEXT NOT NULL,
    touched    TEXT NOT NULL
) STRICT;

INSERT INTO registry VALUES (1, 1, 0, random(), 0);
INSERT INTO changes
    SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
        'registry', '', 'create', '[]', '[]', '[]'
    FROM registry;

CREATE TABLE cells (
    row_number INTEGER NOT NULL PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    state     TEXT NOT NULL,
    tier      TEXT NOT NULL,
    region    TEXT NOT NULL,
    -- A JSON array of host:port.
    endpoints TEXT NOT NULL,
    tls       INTEGER NOT NULL DEFAULT 0,
    weight    INTEGER NOT NULL DEFAULT 100,
    capacity  INTEGER,
    runtime   TEXT,
    v_epoch   INTEGER NOT NULL DEFAULT 0,
    v_number  INTEGER NOT NULL DEFAULT 0,
    at_ms     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE tenants (
    row_number INTEGER NOT NULL PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    state     TEXT NOT NULL,
    name      TEXT NOT NULL,
    requests_per_second INTEGER,
    v_epoch   INTEGER NOT NULL DEFAULT 0,
    v_number  INTEGER NOT NULL DEFAULT 0,
    at_ms     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE links (
    row_number INTEGER NOT NULL PRIMARY KEY,
    provider  TEXT NOT NULL,
    kind      TEXT NOT NULL,
    external_id TEXT NOT NULL,
    tenant    TEXT NOT NULL,
    state     TEXT NOT NULL,
    v_epoch   INTEGER NOT NULL DEFAULT 0,
    v_number  INTEGER NOT NULL DEFAULT 0,
    at_ms     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (provider, kind, external_id)
) STRICT;
CREATE INDEX links_of_tenant ON links (tenant);

CREATE TABLE placements (
    row_number INTEGER NOT NULL PRIMARY KEY,
    tenant    TEXT NOT NULL UNIQUE,
    cell      TEXT NOT NULL,
    epoch     INTEGER NOT NULL,
    phase     TEXT NOT NULL,
    target    TEXT,
    previous  TEXT,
    flipped_at INTEGER,
    v_epoch   INTEGER NOT NULL DEFAULT 0,
    v_number  INTEGER NOT NULL DEFAULT 0,
    at_ms     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX placements_in_cell ON placements (cell);
CREATE INDEX placements_towards_cell ON placements (target) WHERE target IS NOT NULL;
CREATE INDEX placements_flipped_from_cell ON placements (previous) WHERE phase = 'flipped';

CREATE TABLE hosts (
    row_number INTEGER NOT NULL PRIMARY KEY,
    host      TEXT NOT NULL UNIQUE,
    tenant    TEXT NOT NULL,
    v_epoch   INTEGER NOT NULL DEFAULT 0,
    v_number  INTEGER NOT NULL DEFAULT 0,
    at_ms     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX hosts_of_tenant ON hosts (tenant);

CREATE TABLE revocations (
    row_number INTEGER NOT NULL PRIMARY KEY,
    provider  TEXT NOT NULL,
    -- Empty instead of NULL, so that the key is unique.
    subject   TEXT NOT NULL DEFAULT '',
    token_id  TEXT NOT NULL DEFAULT '',
    not_before INTEGER NOT NULL,
    v_epoch   INTEGER NOT NULL DEFAULT 0,
    v_number  INTEGER NOT NULL DEFAULT 0,
    at_ms     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (provider, subject, token_id)
) STRICT;

-- Signs of life of routers: no record, no version.
CREATE TABLE heartbeats (
    router    TEXT NOT NULL PRIMARY KEY,
    at_ms     INTEGER NOT NULL,
    body      TEXT NOT NULL
) STRICT;

-- A row written past every program (by hand, by a script) still gets a version and a change-log row, so that routers
-- see it, good or bad, as they see any other change. Programs set `applying` and write their own, richer row.

CREATE TRIGGER cells_insert_direct AFTER INSERT ON cells WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE cells SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'cell', 'key', NEW.id))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER cells_update_direct AFTER UPDATE ON cells WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE cells SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'cell', 'key', OLD.id),
                json_object('record', 'cell', 'key', NEW.id))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER cells_delete_direct AFTER DELETE ON cells WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'cell', 'key', OLD.id))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER tenants_insert_direct AFTER INSERT ON tenants WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE tenants SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'tenant', 'key', NEW.id))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER tenants_update_direct AFTER UPDATE ON tenants WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE tenants SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'tenant', 'key', OLD.id),
                json_object('record', 'tenant', 'key', NEW.id))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER tenants_delete_direct AFTER DELETE ON tenants WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'tenant', 'key', OLD.id))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER links_insert_direct AFTER INSERT ON links WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE links SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'link', 'key', json_object('provider', NEW.provider, 'kind', NEW.kind, 'external_id', NEW.external_id)))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER links_update_direct AFTER UPDATE ON links WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE links SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'link', 'key', json_object('provider', OLD.provider, 'kind', OLD.kind, 'external_id', OLD.external_id)),
                json_object('record', 'link', 'key', json_object('provider', NEW.provider, 'kind', NEW.kind, 'external_id', NEW.external_id)))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER links_delete_direct AFTER DELETE ON links WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'link', 'key', json_object('provider', OLD.provider, 'kind', OLD.kind, 'external_id', OLD.external_id)))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER placements_insert_direct AFTER INSERT ON placements WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE placements SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'placement', 'key', NEW.tenant))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER placements_update_direct AFTER UPDATE ON placements WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE placements SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'placement', 'key', OLD.tenant),
                json_object('record', 'placement', 'key', NEW.tenant))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER placements_delete_direct AFTER DELETE ON placements WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'placement', 'key', OLD.tenant))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER hosts_insert_direct AFTER INSERT ON hosts WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE hosts SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'host', 'key', NEW.host))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER hosts_update_direct AFTER UPDATE ON hosts WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE hosts SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'host', 'key', OLD.host),
                json_object('record', 'host', 'key', NEW.host))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER hosts_delete_direct AFTER DELETE ON hosts WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'host', 'key', OLD.host))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER revocations_insert_direct AFTER INSERT ON revocations WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE revocations SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'revocation', 'key', json_object('provider', NEW.provider, 'subject', NEW.subject, 'token_id', NEW.token_id)))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER revocations_update_direct AFTER UPDATE ON revocations WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    UPDATE revocations SET v_epoch = (SELECT epoch FROM registry), v_number = (SELECT number FROM registry),
        at_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) WHERE row_number = NEW.row_number;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'revocation', 'key', json_object('provider', OLD.provider, 'subject', OLD.subject, 'token_id', OLD.token_id)),
                json_object('record', 'revocation', 'key', json_object('provider', NEW.provider, 'subject', NEW.subject, 'token_id', NEW.token_id)))
        FROM registry;
    UPDATE registry SET applying = 0;
END;

CREATE TRIGGER revocations_delete_direct AFTER DELETE ON revocations WHEN (SELECT applying FROM registry) = 0
BEGIN
    UPDATE registry SET number = number + 1, lineage = random(), applying = 1;
    INSERT INTO changes
        SELECT number, epoch, lineage, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),
            'direct', '', 'direct', '[]', '[]', json_array(json_object('record', 'revocation', 'key', json_object('provider', OLD.provider, 'subject', OLD.subject, 'token_id', OLD.token_id)))
        FROM registry;
    UPDATE registry SET applying = 0;
END;
