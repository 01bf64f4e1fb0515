-- Why: roles that may see everything but payloads, and roles that may insert rows, but no row that nobody could read;
-- see roles.sql.
-- Locks: short ones on runs, schedules and workers; the checks are validated without blocking.

ALTER TABLE durable.runs
    ADD CONSTRAINT runs_moments CHECK (
        LEAST(scheduled_at, deadline_at, created_at) > '0002-01-02Z'
        AND GREATEST(scheduled_at, deadline_at, created_at) < '9999-06-01Z') NOT VALID;
ALTER TABLE durable.runs VALIDATE CONSTRAINT runs_moments;

ALTER TABLE durable.schedules
    ADD CONSTRAINT schedules_run CHECK (last_run !~ '_[0-9]{5,}:[^:]*$') NOT VALID,
    ADD CONSTRAINT schedules_timeout CHECK (run_timeout <= 3155760000) NOT VALID;
ALTER TABLE durable.schedules VALIDATE CONSTRAINT schedules_run, VALIDATE CONSTRAINT schedules_timeout;

ALTER TABLE durable.workers
    ADD CONSTRAINT workers_lease CHECK (lease <= 3155760000) NOT VALID;
ALTER TABLE durable.workers VALIDATE CONSTRAINT workers_lease;

CREATE VIEW durable.run_overview AS
    SELECT workflow_name_shard, run_id, workflow_name, version, status, priority, attempts, takeovers, strikes, set_asides,
           epoch, worker_id, awaits, next_wake_at, created_at, started_at, updated_at, completed_at, key, tags, deadline_at,
           schedule_id, scheduled_at, parent_shard, parent_run_id, awaits_runs
    FROM durable.runs;
CREATE VIEW durable.step_overview AS
    SELECT workflow_name_shard, run_id, step_key, kind, status, seq, carried, fn, attempts, started_at, completed_at
    FROM durable.steps;
CREATE VIEW durable.wait_overview AS
    SELECT workflow_name_shard, run_id, wait_key, wait_type, event_name, wake_at, seq, carried, timed_out, event_id,
           created_at, satisfied_at
    FROM durable.waits;
CREATE VIEW durable.event_overview AS
    SELECT workflow_name_shard, run_id, event_id, name, key, created_at, routed_at, consumed_by, kind
    FROM durable.events;
CREATE VIEW durable.schedule_overview AS
    SELECT schedule_id, workflow_name, version, expression, timezone, catch_up, overlap, jitter, run_timeout, starts_at,
           ends_at, anchor_at, paused, problem, next_tick_at, due_at, last_tick_at, last_run, buffered_tick_at, created_at,
           updated_at
    FROM durable.schedules;

COMMENT ON VIEW durable.run_overview IS
    'Runs without what they were given, returned or failed with.';
COMMENT ON VIEW durable.step_overview IS
    'Memos of steps without their payloads and errors.';
COMMENT ON VIEW durable.wait_overview IS
    'Waits without the payloads that ended them.';
COMMENT ON VIEW durable.event_overview IS
    'The inboxes without the payloads.';
COMMENT ON VIEW durable.schedule_overview IS
    'Schedules without the inputs of their runs.';
