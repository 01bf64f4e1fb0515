-- Runs in the step's own transaction, after its memo was stored there and has locked the run.
DELETE FROM durable.waits
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid AND wait_key = %(step_key)s
  AND wait_type = 'retry' AND satisfied_at IS NULL
