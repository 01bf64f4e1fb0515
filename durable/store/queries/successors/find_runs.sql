-- Which of these runs exist, and which of them wait for the end of which other one.
SELECT run_id::text, follows::text, (extract(epoch FROM created_at) * 1e6)::bigint AS created_at
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[])
