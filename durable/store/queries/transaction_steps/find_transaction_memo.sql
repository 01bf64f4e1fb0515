-- After a connection was lost at a commit: whether it had gone through. A statement of its own, behind the lock: the
-- snapshot of one that waits for a lock is older than what it waits for.
SELECT output::text
FROM durable.steps
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid AND step_key = %(step_key)s
