-- Seconds until the next run of this shard value wakes, and that moment, written in the same way in every session; null
-- if none sleeps. And the ways in which suspects that are due
-- are to be tried. For those, the oldest due runs are enough: there are more only while many wake at once, and then
-- suspects come to the front with time. A worker of version 9 may leave a trial in the row of a run that it parks. A run
-- that never wakes is left out, and one that was due from the beginning of time is claimed anyway: there is no distance
-- to either.
SELECT extract(epoch FROM min(next_wake_at) - now())::numeric AS wake_in,
       extract(epoch FROM min(next_wake_at))::text AS moment,
       ARRAY(SELECT DISTINCT due.isolation
             FROM (SELECT isolation
                   FROM durable.runs
                   WHERE workflow_name_shard = %(shard_value)s
                     AND status IN ('sleeping', 'waiting_event') AND next_wake_at <= now()
                   ORDER BY next_wake_at
                   LIMIT 100) AS due
             WHERE due.isolation <> 'trial') AS suspects
FROM durable.runs
WHERE workflow_name_shard = %(shard_value)s
  AND status IN ('sleeping', 'waiting_event') AND next_wake_at > '-infinity' AND next_wake_at < 'infinity'
  AND (next_wake_at > now() OR coalesce(isolation, 'trial') = 'trial')
  AND run_id <> ALL (%(left_to_others)s::uuid[])
