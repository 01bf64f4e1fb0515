-- No row is returned if there is no such run, or if it is executing or has ended, waits for another run with its key, or is
-- to be tried apart from others.
INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload)
SELECT run.workflow_name_shard, run.run_id, %(event_id)s::uuid, %(kind)s, %(name)s, %(payload)s::json
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
  AND run.status IN ('queued', 'sleeping', 'waiting_event', 'paused') AND run.follows IS NULL
  AND coalesce(run.isolation, 'trial') = 'trial'
ON CONFLICT DO NOTHING
RETURNING event_id::text
