DELETE FROM durable.waits AS wait
USING unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(wait_keys)s::text[]) AS gone (run_id, epoch, wait_key)
JOIN durable.runs AS run
  ON run.workflow_name_shard = %(shard_value)s AND run.run_id = gone.run_id AND run.epoch = gone.epoch
  AND (run.worker_id IS NULL OR run.worker_id = %(worker_id)s)
WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = gone.run_id AND wait.wait_key = gone.wait_key
  AND wait.satisfied_at IS NULL
