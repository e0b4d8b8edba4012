-- Answers to commands that came with an idempotency key, kept for a day, so that a repeated request gets the first
-- answer.

CREATE TABLE idempotency_keys (
    actor     TEXT NOT NULL,
    key       TEXT NOT NULL,
    -- A hash of the command and its condition: the key stands for nothing else.
    command   TEXT NOT NULL,
    v_epoch   INTEGER NOT NULL,
    v_number  INTEGER NOT NULL,
    changed   INTEGER NOT NULL,
    at_ms     INTEGER NOT NULL,
    PRIMARY KEY (actor, key)
) STRICT;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (at_ms);
