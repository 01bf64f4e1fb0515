-- Reads the run without a lock: a long application transaction must never hold up the engine. No row is returned if
-- there is no such run, if it has ended, or if the event is there already. A run whose retry was requested no longer
-- counts as ended, and a failed run keeps events for its retry.
INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, key, payload)
SELECT run.workflow_name_shard, run.run_id, %(event_id)s::uuid, %(kind)s, %(name)s, %(key)s, %(payload)s::json
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
  AND (run.status NOT IN ('completed', 'failed', 'cancelled')
       OR run.status = 'failed' AND %(kind)s = 'event'
       OR run.status IN ('failed', 'cancelled') AND EXISTS (
            SELECT FROM durable.events AS request
            WHERE request.workflow_name_shard = %(shard_value)s AND request.run_id = %(run_id)s::uuid
              AND request.kind = 'retry' AND request.routed_at IS NULL))
ON CONFLICT DO NOTHING
RETURNING event_id::text
