-- Why: runs can be paused and resumed.
-- Locks: short ones on runs and events; the rows of before meet the checks, which are not validated. Workers of the version
-- before neither pause nor resume a run, so replace all of them before applications request that.

ALTER TABLE durable.runs
    DROP CONSTRAINT runs_status,
    ADD CONSTRAINT runs_status CHECK (status IN
        ('queued', 'running', 'sleeping', 'waiting_event', 'paused', 'completed', 'failed', 'cancelled')) NOT VALID,
    DROP CONSTRAINT runs_wake,
    ADD CONSTRAINT runs_wake CHECK (CASE status
        WHEN 'sleeping' THEN next_wake_at IS NOT NULL OR follows IS NOT NULL
        WHEN 'waiting_event' THEN awaits IS NOT NULL
        WHEN 'paused' THEN true
        ELSE next_wake_at IS NULL END) NOT VALID,
    DROP CONSTRAINT runs_follows,
    ADD CONSTRAINT runs_follows CHECK (
        follows IS NULL
        OR key IS NOT NULL AND status IN ('sleeping', 'paused', 'cancelled') AND epoch = 0 AND next_wake_at IS NULL)
        NOT VALID;

ALTER TABLE durable.events
    DROP CONSTRAINT events_kind,
    ADD CONSTRAINT events_kind CHECK (kind IN
        ('event', 'cancel', 'terminate', 'pause', 'resume', 'retry', 'child', 'next', 'request')) NOT VALID;

COMMENT ON COLUMN durable.runs.status IS
    'queued: waiting to be claimed. running: claimed. sleeping, waiting_event: parked. paused: until it is resumed. The '
    'others are terminal.';
