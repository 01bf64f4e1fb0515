-- Where runs of these ids are kept, under whatever shard count they were begun.
SELECT run_id::text, workflow_name_shard
FROM durable.runs
WHERE workflow_name_shard = ANY(%(shard_values)s::text[]) AND run_id = ANY(%(run_ids)s::uuid[])
