-- Used after a connection was lost at a commit: the transaction may still be ending, and it holds this lock until it
-- has ended.
SELECT run_id::text
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid AND epoch = %(epoch)s
  AND worker_id = %(worker_id)s
FOR NO KEY UPDATE
