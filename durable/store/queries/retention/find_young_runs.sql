-- The runs that have not ended, or that ended less than this many seconds ago.
SELECT run_id::text
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[])
  AND (completed_at IS NULL OR completed_at >= now() - make_interval(secs => %(age)s))
