-- Where a run with this id is kept, if it was begun under this shard count or a lower one, and the current shard count.
SELECT shard_count,
       (SELECT run.workflow_name_shard
        FROM durable.runs AS run
        WHERE run.workflow_name_shard = ANY(%(shard_values)s::text::text[]) AND run.run_id = %(run_id)s::uuid
        LIMIT 1) AS shard_value
FROM durable.settings
