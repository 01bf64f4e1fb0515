-- The runs that were begun last with these keys, as far as there are any under these shard values.
SELECT DISTINCT ON (run.key) run.key, run.workflow_name_shard, run.run_id::text
FROM durable.runs AS run
WHERE run.workflow_name_shard = ANY(%(shard_values)s::text::text[]) AND run.key = ANY(%(keys)s::text::text[])
ORDER BY run.key, run.generation DESC NULLS LAST
