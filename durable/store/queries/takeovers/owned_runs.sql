-- Some runs of a worker: whether there are any, and which others they die with.
SELECT run_id::text
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND status = 'running' AND worker_id = %(owner)s
LIMIT %(limit)s
