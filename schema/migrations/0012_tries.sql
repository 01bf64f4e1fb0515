-- Why: the tries of steps belong to the run, so that restarts of workers do not add any.
-- Locks: waits, exclusively, for a moment; the checks are validated without blocking.
-- Old workers: they cannot execute a run while a step of it waits for its next try, so deploy all workers together.

ALTER TABLE durable.waits
    DROP CONSTRAINT waits_kind,
    DROP CONSTRAINT waits_type,
    ADD CONSTRAINT waits_kind CHECK (wait_type IN
        ('sleep', 'timer', 'event', 'child_result', 'retry', 'start')) NOT VALID,
    ADD CONSTRAINT waits_type CHECK (CASE wait_type
        WHEN 'sleep' THEN wake_at IS NOT NULL AND event_name IS NULL AND child_run_id IS NULL AND event_id IS NULL
                          AND NOT timed_out
        WHEN 'timer' THEN wake_at IS NOT NULL AND event_name IS NULL AND child_run_id IS NULL AND event_id IS NULL
        WHEN 'event' THEN event_name IS NOT NULL AND child_run_id IS NULL
        WHEN 'retry' THEN event_name IS NOT NULL AND child_run_id IS NULL AND wake_at IS NOT NULL AND satisfied_at IS NULL
        WHEN 'start' THEN event_name IS NOT NULL AND child_run_id IS NULL AND wake_at IS NULL AND satisfied_at IS NULL
        ELSE (event_name IS NULL) <> (child_run_id IS NULL) END) NOT VALID;
ALTER TABLE durable.waits
    VALIDATE CONSTRAINT waits_kind, VALIDATE CONSTRAINT waits_type;

COMMENT ON COLUMN durable.waits.wait_type IS
    'sleep, timer, event, child_result; retry: a step has failed and is tried again at wake_at; start: a step that may be '
    'called at most once may have been called.';
COMMENT ON COLUMN durable.waits.event_name IS
    'The event that an event wait waits for; the function of a step that is tried again.';
COMMENT ON COLUMN durable.waits.payload IS
    'A copy of the payload of the event, so that a replay reads no events; what is known of the tries of a step.';
