-- The epoch is raised here already, so that from now on the dead worker can write nothing, should it wake up. A living
-- worker gives up what it no longer holds.
-- Strikes count the takeovers with no memo recorded since the previous takeover.
WITH lost AS MATERIALIZED (
    SELECT run_id, strikes, memos_at_takeover
    FROM durable.runs
    WHERE workflow_name_shard = %(shard_value)s AND status = 'running' AND worker_id = %(owner)s
      AND run_id <> ALL(%(held)s::uuid[])
    ORDER BY run_id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), counted AS MATERIALIZED (
    SELECT lost.run_id, lost.strikes, lost.memos_at_takeover,
           (SELECT count(*) FROM durable.steps AS step
            WHERE step.workflow_name_shard = %(shard_value)s AND step.run_id = lost.run_id)
           + (SELECT count(*) FROM durable.waits AS wait
              WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = lost.run_id) AS memos
    FROM lost
), judged AS MATERIALIZED (
    SELECT run_id, memos, CASE WHEN memos > memos_at_takeover THEN 0 ELSE strikes END + %(strike)s::int AS strikes
    FROM counted
)
UPDATE durable.runs AS run
SET status = CASE WHEN judged.strikes >= %(max_strikes)s THEN 'failed' ELSE 'queued' END,
    error = CASE WHEN judged.strikes >= %(max_strikes)s THEN %(crash_loop)s::json ELSE run.error END,
    completed_at = CASE WHEN judged.strikes >= %(max_strikes)s THEN now() END,
    strikes = judged.strikes, memos_at_takeover = judged.memos, takeovers = run.takeovers + %(strike)s::int,
    epoch = run.epoch + 1, worker_id = NULL, updated_at = now()
FROM judged
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = judged.run_id
RETURNING run.run_id::text, run.status, run.parent_shard, run.parent_run_id::text
