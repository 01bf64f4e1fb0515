-- Owners of running runs that have no row in workers: it was removed by hand, or a claim coincided with the removal of
-- its own worker.
SELECT DISTINCT run.worker_id::text AS worker_id
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.status = 'running'
  AND NOT EXISTS (SELECT 1 FROM durable.workers AS worker WHERE worker.worker_id = run.worker_id)
