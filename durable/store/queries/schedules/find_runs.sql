-- Where runs with these ids are kept, whatever the shard count was when they were begun.
SELECT run_id::text, workflow_name_shard
FROM durable.runs
WHERE workflow_name_shard = ANY(%(shard_values)s::text::text[]) AND run_id = ANY(%(run_ids)s::text::uuid[])
