-- The open waits of a run, oldest first, and the shard values of the children that it waits for.
SELECT wait.wait_key AS key, wait.wait_type AS kind, wait.event_name AS name,
       (extract(epoch FROM CASE WHEN wait.wake_at IS NOT NULL
                            THEN least(greatest(wait.wake_at, '0002-01-02Z'), '9999-06-01Z') END) * 1e6)::bigint AS wake_at,
       (extract(epoch FROM least(greatest(wait.created_at, '0002-01-02Z'), '9999-06-01Z')) * 1e6)::bigint AS created_at,
       step.child_shard, wait.child_run_id::text
FROM durable.wait_overview AS wait
LEFT JOIN durable.step_overview AS step
  ON step.workflow_name_shard = %(shard_value)s AND step.run_id = %(run_id)s::uuid AND step.child_run_id = wait.child_run_id
WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = %(run_id)s::uuid AND wait.satisfied_at IS NULL
ORDER BY wait.created_at, wait.wait_key
LIMIT %(limit)s
