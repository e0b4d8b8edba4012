-- Answers to commands that came with an idempotency key, kept for a day, so that a repeated request gets the first
-- answer.

CREATE TABLE idempotency_keys (
    actor     text NOT NULL,
    key       text NOT NULL,
    -- A hash of the command and its condition: the key stands for nothing else.
    command   text NOT NULL,
    v_epoch   bigint NOT NULL,
    v_number  bigint NOT NULL,
    changed   boolean NOT NULL,
    at_ms     bigint NOT NULL,
    PRIMARY KEY (actor, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (at_ms);
