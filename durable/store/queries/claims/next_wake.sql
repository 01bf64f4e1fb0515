-- Seconds until the next run of this shard value wakes; null if none sleeps. One that never wakes is left out, and one
-- that was due from the beginning of time is claimed anyway: there is no distance to either.
SELECT extract(epoch FROM min(next_wake_at) - now())::numeric AS wake_in
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s
  AND status IN ('sleeping', 'waiting_event') AND next_wake_at > '-infinity' AND next_wake_at < 'infinity'
  AND run_id <> ALL (%(left_to_others)s::uuid[])
