-- Why: a key can have several runs, one after the other, and is found by an index. A run that is begun in place of another
-- one waits for the end of that one, which is told by a row of its inbox.
-- Locks: short ones on runs and events. Writes to runs wait while the index over the runs with a key is built, which
-- reads the table once. Nothing is rewritten, and the rows of before meet the checks, which are not validated. Workers of
-- version 14 start no run that waits for the end of another one, so replace all of them before applications begin such
-- runs.

ALTER TABLE durable.runs
    ADD COLUMN generation integer CHECK (generation > 0),
    ADD COLUMN follows    uuid,
    ADD COLUMN begin_id   uuid,
    DROP CONSTRAINT runs_wake,
    ADD CONSTRAINT runs_wake CHECK (CASE status
        WHEN 'sleeping' THEN next_wake_at IS NOT NULL OR follows IS NOT NULL
        WHEN 'waiting_event' THEN awaits IS NOT NULL
        ELSE next_wake_at IS NULL END) NOT VALID,
    ADD CONSTRAINT runs_follows CHECK (
        follows IS NULL OR key IS NOT NULL AND status IN ('sleeping', 'cancelled') AND epoch = 0 AND next_wake_at IS NULL)
        NOT VALID;

CREATE INDEX runs_key ON durable.runs (workflow_name_shard, key, generation DESC NULLS LAST)
    WHERE key IS NOT NULL;

ALTER TABLE durable.events
    DROP CONSTRAINT events_kind,
    ADD CONSTRAINT events_kind CHECK (kind IN
        ('event', 'cancel', 'terminate', 'retry', 'child', 'next')) NOT VALID;

CREATE OR REPLACE VIEW durable.run_overview AS
    SELECT workflow_name_shard, run_id, workflow_name, version, status, priority, attempts, takeovers, strikes, set_asides,
           epoch, worker_id, awaits, next_wake_at, created_at, started_at, updated_at, completed_at, key, tags, deadline_at,
           schedule_id, scheduled_at, parent_shard, parent_run_id, awaits_runs, lone_strikes, isolation, died_with, chapter,
           generation, follows
    FROM durable.runs;

COMMENT ON COLUMN durable.runs.generation IS
    'How many runs with its workflow and key were begun before it; null for the first one.';
COMMENT ON COLUMN durable.runs.follows IS
    'The run with the same key that must end before this one starts; null: it need not wait, or no longer.';
COMMENT ON COLUMN durable.runs.begin_id IS
    'The call of begin that began it, if that must be known when the call is repeated after a lost connection.';
COMMENT ON COLUMN durable.events.kind IS
    'event: for the waits of the workflow. child: the child with that name and event_id has ended; the payload says how. '
    'next: once the run has ended, the run with that name starts, or if the event with that name is unread, another run '
    'with the same key begins. The others are requests to the engine; their payload is the reason.';
