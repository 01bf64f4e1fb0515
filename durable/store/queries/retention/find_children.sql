-- The children that these runs have begun.
SELECT run_id::text, child_shard, child_run_id::text
FROM durable.steps
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[]) AND child_run_id IS NOT NULL
