-- Why: child runs; workers behind a transaction pooler, which can hold no session lock.
-- Locks: short ones on runs, steps, waits, events and workers; nothing is rewritten, and the checks are validated
-- without blocking.

ALTER TABLE durable.runs
    ADD COLUMN parent_shard  text,
    ADD COLUMN parent_run_id uuid,
    ADD COLUMN awaits_runs   uuid[],
    ADD CONSTRAINT runs_parent CHECK ((parent_shard IS NULL) = (parent_run_id IS NULL)) NOT VALID;
ALTER TABLE durable.runs VALIDATE CONSTRAINT runs_parent;

ALTER TABLE durable.steps
    DROP CONSTRAINT steps_kind,
    ADD CONSTRAINT steps_kind CHECK (kind IN
        ('execute', 'transaction', 'random_uuid7', 'random_uint64', 'random', 'now', 'cancel', 'child')) NOT VALID;
ALTER TABLE durable.steps VALIDATE CONSTRAINT steps_kind;

ALTER TABLE durable.waits
    DROP CONSTRAINT waits_wait_type_check,
    ADD CONSTRAINT waits_kind CHECK (wait_type IN ('sleep', 'event', 'child_result')) NOT VALID;
ALTER TABLE durable.waits VALIDATE CONSTRAINT waits_kind;

ALTER TABLE durable.events
    DROP CONSTRAINT events_kind,
    ADD CONSTRAINT events_kind CHECK (kind IN ('event', 'cancel', 'terminate', 'retry', 'child')) NOT VALID;
ALTER TABLE durable.events VALIDATE CONSTRAINT events_kind;

ALTER TABLE durable.workers ALTER COLUMN lock_key DROP NOT NULL;
