-- The first shard value after the given one under which anything is stored; null if there is none.
SELECT min(first.shard_value) AS shard_value
FROM (
    SELECT min(workflow_name_shard) AS shard_value FROM durable.runs WHERE workflow_name_shard > %(after)s
    UNION ALL
    SELECT min(workflow_name_shard) FROM durable.events WHERE workflow_name_shard > %(after)s
) AS first
