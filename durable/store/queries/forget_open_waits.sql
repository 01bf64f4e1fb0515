-- A run that ended or is tried anew waits for nothing any more.
DELETE FROM durable.waits AS wait
USING unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[]) AS mine (run_id, epoch)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = mine.run_id AND run.epoch = mine.epoch
  AND (run.worker_id IS NULL OR run.worker_id = %(worker_id)s)
WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = mine.run_id AND wait.satisfied_at IS NULL
