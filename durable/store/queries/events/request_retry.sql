-- No row is returned if there is no such run, or if it has neither failed nor been cancelled or set aside, or if it
-- has ended and there is a newer run with its key.
INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload)
SELECT run.workflow_name_shard, run.run_id, %(event_id)s::uuid, %(kind)s, %(name)s, %(payload)s::json
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
  AND (run.status = 'sleeping' AND run.set_asides > 0
       OR run.status IN ('failed', 'cancelled') AND NOT EXISTS (
            SELECT FROM durable.runs AS newer
            WHERE newer.workflow_name_shard = %(shard_value)s AND newer.key = run.key
              AND newer.generation > coalesce(run.generation, 0)))
ON CONFLICT DO NOTHING
RETURNING event_id::text
