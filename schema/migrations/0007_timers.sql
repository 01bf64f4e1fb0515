-- Why: the timers of asyncio are waits of their own type.
-- Locks: waits, exclusively, for a moment; the checks are validated without blocking.
-- Old workers: they fail runs that arm timers, so migrate and deploy all workers before code that uses timers.

ALTER TABLE durable.waits
    DROP CONSTRAINT waits_kind,
    DROP CONSTRAINT waits_type,
    DROP CONSTRAINT waits_satisfied,
    ADD CONSTRAINT waits_kind CHECK (wait_type IN ('sleep', 'timer', 'event', 'child_result')) NOT VALID,
    ADD CONSTRAINT waits_type CHECK (CASE wait_type
        WHEN 'sleep' THEN wake_at IS NOT NULL AND event_name IS NULL AND child_run_id IS NULL AND event_id IS NULL
                          AND NOT timed_out
        WHEN 'timer' THEN wake_at IS NOT NULL AND event_name IS NULL AND child_run_id IS NULL AND event_id IS NULL
        WHEN 'event' THEN event_name IS NOT NULL AND child_run_id IS NULL
        ELSE (event_name IS NULL) <> (child_run_id IS NULL) END) NOT VALID,
    ADD CONSTRAINT waits_satisfied CHECK (satisfied_at IS NULL OR
        CASE WHEN wait_type IN ('sleep', 'timer') THEN true ELSE timed_out <> (event_id IS NOT NULL) END) NOT VALID;
ALTER TABLE durable.waits
    VALIDATE CONSTRAINT waits_kind, VALIDATE CONSTRAINT waits_type, VALIDATE CONSTRAINT waits_satisfied;

COMMENT ON COLUMN durable.runs.started_at IS
    'When its current attempt was first claimed; null before that. The clock of its asyncio loop begins here.';
