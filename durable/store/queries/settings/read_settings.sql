SELECT schema_version, shard_count
FROM durable.settings
