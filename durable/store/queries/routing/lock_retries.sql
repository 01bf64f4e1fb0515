-- Runs whose retry was requested, ended ones and those that are set aside. A run that was set aside and is being executed
-- right now keeps its request until it is known how that ends.
SELECT run.run_id::text
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s
  AND run.run_id = ANY (ARRAY(SELECT DISTINCT run_id
                              FROM durable.events
                              WHERE workflow_name_shard = %(shard_value)s AND routed_at IS NULL AND kind = 'retry'
                              ORDER BY run_id
                              LIMIT %(seen)s))
  AND NOT (run.status = 'running' AND run.set_asides > 0)
ORDER BY run.run_id
LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED
