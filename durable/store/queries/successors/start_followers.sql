-- The run before them has ended. One that was cancelled or paused meanwhile stays so; only then may what follows it go on.
UPDATE durable.runs AS run
SET status = CASE WHEN run.status <> 'sleeping' THEN run.status
                  WHEN ours.wake_at > now() THEN 'sleeping'
                  ELSE 'queued' END,
    next_wake_at = CASE WHEN run.status IN ('sleeping', 'paused') AND ours.wake_at > now() THEN ours.wake_at END,
    deadline_at = greatest(ours.wake_at, now()) + make_interval(secs => ours.timeout),
    follows = NULL, updated_at = now()
FROM unnest(%(run_ids)s::uuid[], %(wakes)s::timestamptz[], %(timeouts)s::float8[]) AS ours (run_id, wake_at, timeout)
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = ours.run_id
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND run.follows IS NOT NULL
RETURNING run.run_id::text
