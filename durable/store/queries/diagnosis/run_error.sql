-- What a run has failed with, or shows while it goes on. No error that the engine writes is longer.
SELECT CASE WHEN pg_catalog.octet_length(error::text) <= 1048576 THEN error::text END AS error
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = %(run_id)s::uuid
