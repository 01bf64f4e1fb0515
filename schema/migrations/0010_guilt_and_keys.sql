-- Why: a run is condemned as a crash loop only for workers that died while it was being tried apart from others; the
-- answers to waits that a retry must forget are marked; a shard count is raised in phases, so that no key gets two runs
-- meanwhile; and a request and an event may have the same name and key.
-- Locks: short ones on settings, runs and waits, of which nothing is rewritten. Writes to events wait while the index
-- over the events with a key is built, which reads the table once. Workers and clients of version 6 go on working: they
-- fill none of the new columns.

ALTER TABLE durable.settings
    ADD COLUMN shard_counts integer[] NOT NULL DEFAULT '{1}',
    ADD COLUMN raising_to   integer;
-- Any lower count may have been the current one once.
UPDATE durable.settings SET shard_counts = ARRAY(SELECT pg_catalog.generate_series(1, shard_count));

ALTER TABLE durable.runs
    ADD COLUMN lone_strikes integer NOT NULL DEFAULT 0 CHECK (lone_strikes >= 0),
    ADD COLUMN isolation    text    CONSTRAINT runs_isolation CHECK (isolation IN ('group', 'alone', 'sole', 'trial')),
    ADD COLUMN died_with    text[];

ALTER TABLE durable.waits ADD COLUMN unfit boolean NOT NULL DEFAULT false;

CREATE UNIQUE INDEX events_key_of_kind ON durable.events (workflow_name_shard, run_id, kind, name, key)
    WHERE key IS NOT NULL;
DROP INDEX durable.events_key;
ALTER INDEX durable.events_key_of_kind RENAME TO events_key;

CREATE OR REPLACE VIEW durable.run_overview AS
    SELECT workflow_name_shard, run_id, workflow_name, version, status, priority, attempts, takeovers, strikes, set_asides,
           epoch, worker_id, awaits, next_wake_at, created_at, started_at, updated_at, completed_at, key, tags, deadline_at,
           schedule_id, scheduled_at, parent_shard, parent_run_id, awaits_runs, lone_strikes, isolation, died_with
    FROM durable.runs;
CREATE OR REPLACE VIEW durable.wait_overview AS
    SELECT workflow_name_shard, run_id, wait_key, wait_type, event_name, wake_at, seq, carried, timed_out, event_id,
           created_at, satisfied_at, child_run_id, unfit
    FROM durable.waits;

COMMENT ON COLUMN durable.settings.shard_counts IS
    'Every shard count that there ever was: runs are looked for under these.';
COMMENT ON COLUMN durable.settings.raising_to IS
    'While the shard count is being raised: the new count. Meanwhile, begins with a key take turns. Otherwise null.';
COMMENT ON COLUMN durable.runs.takeovers IS
    'The number of workers that died or gave up while holding it.';
COMMENT ON COLUMN durable.runs.strikes IS
    'The number of workers in a row that died while holding it, without a new memo in between; after two, it is tried '
    'apart from others.';
COMMENT ON COLUMN durable.runs.lone_strikes IS
    'How many of these strikes it is to blame for: it was on trial, or broke the engine by itself. Too many fail the run '
    'as a crash loop.';
COMMENT ON COLUMN durable.runs.isolation IS
    'group, alone, sole: it sleeps until it is tried again, and with how much company. trial: it is being tried. Null: '
    'it is not under suspicion.';
COMMENT ON COLUMN durable.runs.died_with IS
    'Keys of runs that were executing on the same worker when it last died in company; at most 10.';
COMMENT ON COLUMN durable.waits.unfit IS
    'Whether the event that ended it did not fit the type that the code declared; a retry of the run forgets such an '
    'answer if it is the last one.';
