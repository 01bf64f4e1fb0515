-- Why: the id of a child was kept inside a payload and as the name of an event, and the cause of a cancel as the name
-- of a function. Each now has its own column, so that statements read columns and never the text of a payload.
-- Locks: short ones on steps, waits, events and workers; nothing is rewritten, and the checks are validated without
-- blocking. Rows that workers of version 4 write meanwhile are accepted: they fill none of the new columns.

ALTER TABLE durable.steps
    ALTER COLUMN fn DROP NOT NULL,
    ADD COLUMN child_shard  text,
    ADD COLUMN child_run_id uuid,
    ADD COLUMN cancel_cause text,
    ADD CONSTRAINT steps_columns CHECK (
        fn IS NOT NULL AND child_shard IS NULL AND child_run_id IS NULL AND cancel_cause IS NULL
        OR kind = 'child' AND fn IS NOT NULL AND child_shard IS NOT NULL AND child_run_id IS NOT NULL
           AND cancel_cause IS NULL
        OR kind = 'cancel' AND child_shard IS NULL AND child_run_id IS NULL
           AND cancel_cause IN ('request', 'deadline')) NOT VALID;
ALTER TABLE durable.steps VALIDATE CONSTRAINT steps_columns;

ALTER TABLE durable.waits
    ADD COLUMN child_run_id uuid,
    DROP CONSTRAINT waits_type,
    ADD CONSTRAINT waits_type CHECK (CASE wait_type
        WHEN 'sleep' THEN wake_at IS NOT NULL AND event_name IS NULL AND child_run_id IS NULL AND event_id IS NULL
                          AND NOT timed_out
        WHEN 'event' THEN event_name IS NOT NULL AND child_run_id IS NULL
        ELSE (event_name IS NULL) <> (child_run_id IS NULL) END) NOT VALID;
ALTER TABLE durable.waits VALIDATE CONSTRAINT waits_type;

ALTER TABLE durable.events
    ADD COLUMN child_status text,
    ADD CONSTRAINT events_child CHECK (
        child_status IS NULL OR kind = 'child' AND child_status IN ('completed', 'failed', 'cancelled')) NOT VALID;
ALTER TABLE durable.events VALIDATE CONSTRAINT events_child;

CREATE OR REPLACE VIEW durable.step_overview AS
    SELECT workflow_name_shard, run_id, step_key, kind, status, seq, carried, fn, attempts, started_at, completed_at,
           child_shard, child_run_id, cancel_cause
    FROM durable.steps;
CREATE OR REPLACE VIEW durable.wait_overview AS
    SELECT workflow_name_shard, run_id, wait_key, wait_type, event_name, wake_at, seq, carried, timed_out, event_id,
           created_at, satisfied_at, child_run_id
    FROM durable.waits;
CREATE OR REPLACE VIEW durable.event_overview AS
    SELECT workflow_name_shard, run_id, event_id, name, key, created_at, routed_at, consumed_by, kind, child_status
    FROM durable.events;

-- Liveness goes by the real clock, even if a test kit puts its own clock before it in the search path.
ALTER TABLE durable.workers ALTER COLUMN heartbeat_at SET DEFAULT pg_catalog.now();
