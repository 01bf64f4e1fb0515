-- Locked before anything is written, and skipped if somebody has locked them: nobody is waited for while locks are held.
SELECT run_id::text
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[]) AND follows IS NOT NULL
ORDER BY run_id
FOR NO KEY UPDATE SKIP LOCKED
