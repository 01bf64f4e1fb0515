-- Seconds until the next run of this shard value wakes, and that moment, written in the same way in every session; null
-- if none sleeps.
SELECT extract(epoch FROM min(next_wake_at) - now())::float8 AS wake_in,
       extract(epoch FROM min(next_wake_at))::text AS moment
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s
  AND status IN ('sleeping', 'waiting_event') AND next_wake_at IS NOT NULL
  AND run_id <> ALL (%(left_to_others)s::uuid[])
