-- Runs whose time is to be changed, in whatever status they are.
SELECT run.run_id::text
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s
  AND run.run_id = ANY (ARRAY(SELECT DISTINCT run_id
                              FROM durable.events
                              WHERE workflow_name_shard = %(shard_value)s AND routed_at IS NULL AND kind = 'reschedule'
                              ORDER BY run_id
                              LIMIT %(seen)s))
ORDER BY run.run_id
LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED
