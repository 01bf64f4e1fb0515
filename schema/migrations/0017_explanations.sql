-- Why: to say why a run is not moving, it must be known whether the workers that have its workflow are full, which version
-- they have, and who has locked its row.
-- Locks: a short one on workers; the view is replaced. Workers of version 16 go on, and do not say what they offer.

ALTER TABLE durable.workers ADD COLUMN offers jsonb;

CREATE OR REPLACE VIEW durable.run_overview AS
    SELECT workflow_name_shard, run_id, workflow_name, version, status, priority, attempts, takeovers, strikes, set_asides,
           epoch, worker_id, awaits, next_wake_at, created_at, started_at, updated_at, completed_at, key, tags, deadline_at,
           schedule_id, scheduled_at, parent_shard, parent_run_id, awaits_runs, lone_strikes, isolation, died_with, chapter,
           generation, follows, xmax::text AS locked_by
    FROM durable.runs;

COMMENT ON COLUMN durable.workers.offers IS
    'By workflow, the version that it has and how many runs it executes at once; null: written before version 17.';
COMMENT ON COLUMN durable.run_overview.locked_by IS
    'The transaction that last locked or changed the row; it may have ended.';
