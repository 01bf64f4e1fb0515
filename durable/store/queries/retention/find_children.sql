-- The keys of the children that those runs have begun, as JSON.
SELECT run_id::text, output::text
FROM durable.steps
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[])
  AND kind = 'child' AND status = 'completed'
