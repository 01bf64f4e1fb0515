-- Runs in the step's own transaction, last before its commit. The lock keeps a takeover out until then.
WITH ours AS MATERIALIZED (
    SELECT run_id
    FROM durable.runs
    WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid AND epoch = %(epoch)s
      AND worker_id = %(worker_id)s
    FOR NO KEY UPDATE
)
INSERT INTO durable.steps
    (workflow_name_shard, run_id, step_key, kind, status, fn, attempts, started_at, input, output)
SELECT %(shard_value)s, ours.run_id, %(step_key)s, 'transaction', 'completed', %(fn)s, %(attempts)s,
       now(), %(input)s::json, %(output)s::json
FROM ours
RETURNING run_id::text
