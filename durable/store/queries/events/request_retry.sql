-- No row is returned if there is no such run, or if it has neither failed nor been cancelled or set aside.
INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload)
SELECT run.workflow_name_shard, run.run_id, %(event_id)s::uuid, %(kind)s, %(name)s, %(payload)s::json
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
  AND (run.status IN ('failed', 'cancelled') OR run.status = 'sleeping' AND run.set_asides > 0)
ON CONFLICT DO NOTHING
RETURNING event_id::text
