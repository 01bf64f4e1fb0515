-- What is to happen once the run has ended, also if that is so already. No row is returned if there is no such run, or if
-- the row is there already.
INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload)
SELECT run.workflow_name_shard, run.run_id, %(event_id)s::uuid, 'next', %(name)s, %(payload)s::json
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
ON CONFLICT DO NOTHING
RETURNING event_id::text
