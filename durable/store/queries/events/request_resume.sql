-- No row is returned if there is no such run, or if it is neither paused nor about to be: a request to pause it lies in its
-- inbox, or is known to the worker that executes it.
INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload)
SELECT run.workflow_name_shard, run.run_id, %(event_id)s::uuid, %(kind)s, %(name)s, %(payload)s::json
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
  AND (run.status = 'paused'
       OR run.status NOT IN ('completed', 'failed', 'cancelled') AND EXISTS (
            SELECT FROM durable.events AS request
            WHERE request.workflow_name_shard = %(shard_value)s AND request.run_id = %(run_id)s::uuid
              AND request.kind = 'pause' AND (request.routed_at IS NULL OR run.status IN ('running', 'queued'))))
ON CONFLICT DO NOTHING
RETURNING event_id::text
