-- Like requeue_parked_runs, for runs that have seen some of the events they wait for, and wait for more of them.
UPDATE durable.runs AS run
SET status = 'queued', awaits = NULL, awaits_runs = NULL, next_wake_at = NULL, updated_at = now()
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = ANY(%(run_ids)s::uuid[])
  AND run.status IN ('sleeping', 'waiting_event')
  AND EXISTS (
    SELECT 1 FROM durable.events AS event
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = run.run_id
      AND event.run_id = ANY(%(run_ids)s::uuid[]) AND event.consumed_by IS NULL
      AND event.event_id <> ALL(%(gathered)s::uuid[])
      AND (event.kind IN ('cancel', 'terminate', 'pause') OR event.kind = 'event' AND event.name = ANY(run.awaits)
           OR event.kind = 'request' AND pg_catalog.concat('request:', event.name) = ANY(run.awaits)
           OR event.kind = 'child' AND event.event_id = ANY(run.awaits_runs))
  )
RETURNING run.run_id::text
