-- A run that has ended or is being retried no longer waits for anything.
DELETE FROM durable.waits AS wait
USING unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[]) AS mine (run_id, epoch)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = mine.run_id AND run.epoch = mine.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, true)
WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = mine.run_id
  AND wait.run_id = ANY (%(run_ids)s::uuid[]) AND wait.satisfied_at IS NULL
