-- Like claim_runs, for suspects that are due and are to be tried in that way. A death counts against one that is tried
-- alone until end_trial says otherwise.
WITH due AS MATERIALIZED (
    SELECT run_id
    FROM durable.runs
    WHERE workflow_name_shard = %(shard_value)s
      AND status IN ('sleeping', 'waiting_event') AND next_wake_at <= now() AND isolation = %(isolation)s
    ORDER BY next_wake_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE durable.runs AS run
SET status = 'running', epoch = run.epoch + 1, worker_id = %(worker_id)s, awaits = NULL, awaits_runs = NULL,
    next_wake_at = NULL, isolation = CASE WHEN %(isolation)s <> 'group' THEN 'trial' END,
    started_at = coalesce(run.started_at, now()), updated_at = now()
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = ANY (ARRAY(SELECT run_id FROM due))
RETURNING run.run_id::text, run.epoch, run.version, run.attempts, run.set_asides,
          CASE WHEN pg_catalog.pg_column_size(run.input) < 8000 OR pg_catalog.octet_length(run.input::text) <= 67108864
               THEN run.input::text END AS input,
          (extract(epoch FROM run.updated_at) * 1e6)::bigint AS claimed_at,
          extract(epoch FROM run.deadline_at - run.updated_at)::numeric AS deadline_in,
          (extract(epoch FROM run.scheduled_at) * 1e6)::bigint AS scheduled_at,
          run.parent_shard, run.parent_run_id::text, run.strikes,
          (extract(epoch FROM nullif(run.started_at, run.updated_at)) * 1e6)::bigint AS began_at,
          run.tags::text AS tags, run.headers::text AS headers, run.lone_strikes, run.chapter, run.key IS NOT NULL AS is_keyed
