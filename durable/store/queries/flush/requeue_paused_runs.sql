-- Like requeue_parked_runs, for runs that leave for their pause: what ends a pause may have been routed while the run was
-- still owned, when its worker no longer looked at it. Whoever claims the run takes it. What had come before the pause
-- ends none: a cancel that is held, or a resumption that the run has left for its next chapter.
UPDATE durable.runs AS run
SET status = 'queued', next_wake_at = NULL, updated_at = now()
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = ANY(%(run_ids)s::uuid[])
  AND run.status = 'paused'
  AND EXISTS (
    SELECT 1 FROM durable.events AS event
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = run.run_id
      AND event.run_id = ANY(%(run_ids)s::uuid[]) AND event.consumed_by IS NULL
      AND (event.kind = 'terminate'
           OR event.kind IN ('cancel', 'resume') AND NOT EXISTS (
                SELECT 1 FROM durable.events AS pause
                WHERE pause.workflow_name_shard = %(shard_value)s AND pause.run_id = event.run_id
                  AND pause.run_id = ANY(%(run_ids)s::uuid[]) AND pause.kind = 'pause'
                  AND pause.created_at >= event.created_at AND pause.routed_at >= event.routed_at))
  )
RETURNING run.run_id::text
