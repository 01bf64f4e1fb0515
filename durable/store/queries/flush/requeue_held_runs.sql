-- Like requeue_parked_runs, for a run whose cancel is held: the request that is held must not wake it.
UPDATE durable.runs AS run
SET status = 'queued', awaits = NULL, awaits_runs = NULL, updated_at = now()
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = ANY(%(run_ids)s::uuid[])
  AND run.status = 'waiting_event'
  AND EXISTS (
    SELECT 1 FROM durable.events AS event
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = run.run_id
      AND event.run_id = ANY(%(run_ids)s::uuid[]) AND event.consumed_by IS NULL
      AND (event.kind IN ('terminate', 'pause') OR event.kind = 'child' AND event.event_id = ANY(run.awaits_runs))
  )
RETURNING run.run_id::text
