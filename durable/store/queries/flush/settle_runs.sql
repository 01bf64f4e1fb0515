-- Runs that leave this worker in any other way than by a park. wake_in is in seconds. An attempt that has failed has
-- killed no worker, and its retry forgets memos: what was counted before it means nothing after it.
UPDATE durable.runs AS run
SET status = ours.status, output = ours.output::json,
    error = CASE WHEN ours.status <> 'completed' THEN coalesce(ours.error::json, run.error) END,
    attempts = run.attempts + ours.failed_attempts, set_asides = ours.set_asides, worker_id = NULL,
    isolation = NULL,
    started_at = CASE WHEN ours.failed_attempts = 0 OR ours.status NOT IN ('queued', 'sleeping') THEN run.started_at END,
    strikes = CASE WHEN ours.failed_attempts = 0 THEN run.strikes ELSE 0 END,
    lone_strikes = CASE WHEN ours.failed_attempts = 0 THEN run.lone_strikes ELSE 0 END,
    memos_at_takeover = CASE WHEN ours.failed_attempts = 0 THEN run.memos_at_takeover ELSE 0 END,
    next_wake_at = CASE WHEN ours.status = 'sleeping'
                        THEN least(now() + make_interval(secs => ours.wake_in), run.deadline_at) END,
    completed_at = CASE WHEN ours.status IN ('completed', 'failed', 'cancelled') THEN now() END,
    updated_at = now()
FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(statuses)s::text[], %(outputs)s::text[], %(errors)s::text[],
            %(failed_attempts)s::int[], %(set_asides)s::int[], %(wake_ins)s::float8[])
     AS ours (run_id, epoch, status, output, error, failed_attempts, set_asides, wake_in)
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = ours.run_id AND run.epoch = ours.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, false)
RETURNING run.run_id::text
