-- Where a run with this id is kept, if it was begun under one of these shard values, and which shard counts there were.
SELECT shard_count, shard_counts, raising_to IS NOT NULL AS is_being_raised,
       (SELECT run.workflow_name_shard
        FROM durable.runs AS run
        WHERE run.workflow_name_shard = ANY(%(shard_values)s::text::text[]) AND run.run_id = %(run_id)s::uuid
        LIMIT 1) AS shard_value
FROM durable.settings
