-- Used after a connection was lost at a commit: whether the commit went through. This is a separate statement that
-- follows the lock, because the snapshot of a statement that waits for a lock is older than what it waits for.
SELECT output::text
FROM durable.steps
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid AND step_key = %(step_key)s
