-- Runs that have ended with something left to happen then, locked so that nobody retries them or acts on the same. One
-- that still has to wait for the end of another run is left out, because then that one may be executing.
SELECT run.run_id::text, run.workflow_name, run.key, coalesce(run.generation, 0) AS generation,
       run.generation IS NOT NULL AND run.begin_id IS NULL AS is_for_events,
       run.priority, run.tags::text, run.headers::text
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s
  AND run.run_id = ANY (ARRAY(SELECT DISTINCT run_id
                              FROM durable.events
                              WHERE workflow_name_shard = %(shard_value)s AND routed_at IS NULL AND kind = 'next'
                              ORDER BY run_id
                              LIMIT %(seen)s))
  AND run.status IN ('completed', 'failed', 'cancelled') AND run.follows IS NULL
  AND run.run_id <> ALL (%(left_out)s::uuid[])
ORDER BY run.run_id
LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED
