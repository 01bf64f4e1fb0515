-- How many runs of the same shard value are claimed before this one; above the limit they are not counted.
SELECT count(*)::int AS ahead
FROM (
    SELECT FROM durable.run_overview AS other
    JOIN durable.run_overview AS run
      ON run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
    WHERE other.workflow_name_shard = %(shard_value)s AND other.status = 'queued'
      AND (-other.priority, other.created_at, other.run_id) < (-run.priority, run.created_at, run.run_id)
    LIMIT %(limit)s
) AS others
