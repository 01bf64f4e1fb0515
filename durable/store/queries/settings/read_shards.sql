SELECT shard_count, shard_counts, raising_to IS NOT NULL AS is_being_raised
FROM durable.settings
