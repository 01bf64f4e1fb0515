-- An earlier failure is not the outcome of a run that is being tried again.
SELECT run_id::text, status, output::text, CASE WHEN status IN ('failed', 'cancelled') THEN error::text END AS error
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY(%(run_ids)s::text::uuid[])
