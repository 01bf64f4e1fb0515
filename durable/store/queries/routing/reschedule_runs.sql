-- Changes when these locked runs go on: a run that has not started, or is between attempts, at that time; tries of steps at
-- that time; and sleeps only if that was asked for. Tries and sleeps are moved while the run is paused, too, and when
-- something else has just queued it. A run that is set aside goes on at that time, whatever it waited for before. The last
-- request of several counts; its name is at: or in:, the microseconds since 1970 or since it was made, and :sleeps. Answers
-- for which runs there was nothing to change; a queued run that is to go on now is not one of them.
WITH asked AS MATERIALIZED (
    SELECT DISTINCT ON (event.run_id) event.run_id, event.name ~ ':sleeps$' AS is_with_sleeps,
           least(CASE WHEN event.name !~ '^(at|in):[0-9]{1,17}(:sleeps)?$' THEN event.created_at
                      WHEN event.name ~ '^at' THEN '1970-01-01Z'::timestamptz
                           + make_interval(secs => pg_catalog.split_part(event.name, ':', 2)::float8 / 1e6::float8)
                      ELSE event.created_at
                           + make_interval(secs => pg_catalog.split_part(event.name, ':', 2)::float8 / 1e6::float8) END,
                 '9800-01-01Z'::timestamptz) AS at
    FROM durable.events AS event
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = ANY (%(run_ids)s::uuid[])
      AND event.kind = 'reschedule' AND event.routed_at IS NULL
    ORDER BY event.run_id, event.created_at DESC, event.event_id DESC
), met AS (
    UPDATE durable.events AS event
    SET routed_at = now(), consumed_by = ''
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = ANY (%(run_ids)s::uuid[])
      AND event.kind = 'reschedule' AND event.routed_at IS NULL
), waiting AS MATERIALIZED (
    SELECT wait.run_id, wait.wait_key, wait.wake_at, asked.at,
           wait.wait_type = 'retry' OR wait.wait_type = 'sleep' AND asked.is_with_sleeps AS is_moved
    FROM durable.waits AS wait
    JOIN asked ON asked.run_id = wait.run_id
    JOIN durable.runs AS run ON run.workflow_name_shard = %(shard_value)s AND run.run_id = wait.run_id
    WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = ANY (%(run_ids)s::uuid[])
      AND wait.satisfied_at IS NULL
      AND run.run_id = ANY (%(run_ids)s::uuid[]) AND run.status IN ('queued', 'sleeping', 'waiting_event', 'paused')
      AND run.follows IS NULL AND coalesce(run.isolation, 'trial') = 'trial'
), moved AS (
    UPDATE durable.waits AS wait
    SET wake_at = waiting.at
    FROM waiting
    WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = waiting.run_id AND wait.wait_key = waiting.wait_key
      AND wait.run_id = ANY (%(run_ids)s::uuid[]) AND waiting.is_moved
), wakes AS MATERIALIZED (
    SELECT asked.run_id, asked.at, pg_catalog.count(waiting.wait_key) AS waits, coalesce(bool_or(waiting.is_moved), false) AS is_moved,
           min(CASE WHEN waiting.is_moved THEN waiting.at ELSE waiting.wake_at END) AS wake_at
    FROM asked
    LEFT JOIN waiting ON waiting.run_id = asked.run_id
    GROUP BY asked.run_id, asked.at
), changed AS (
    UPDATE durable.runs AS run
    SET status = CASE WHEN run.status = 'queued' AND run.epoch = 0 THEN 'sleeping' ELSE run.status END,
        next_wake_at = CASE
            WHEN run.epoch > 0 AND (run.status = 'queued' OR run.status = 'paused' AND run.next_wake_at IS NULL) THEN NULL
            ELSE least(CASE WHEN wakes.waits = 0 OR run.set_asides > 0 THEN wakes.at ELSE wakes.wake_at END,
                       run.deadline_at) END,
        updated_at = now()
    FROM wakes
    WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = wakes.run_id
      AND run.run_id = ANY (%(run_ids)s::uuid[]) AND run.follows IS NULL AND coalesce(run.isolation, 'trial') = 'trial'
      AND (wakes.is_moved
           OR run.status IN ('queued', 'paused') AND run.epoch = 0 AND wakes.at > now()
           OR run.status IN ('sleeping', 'paused') AND (wakes.waits = 0 OR run.set_asides > 0)
              AND run.next_wake_at IS NOT NULL)
    RETURNING run.run_id
)
SELECT asked.run_id::text
FROM asked
JOIN durable.runs AS run ON run.workflow_name_shard = %(shard_value)s AND run.run_id = asked.run_id
WHERE run.run_id = ANY (%(run_ids)s::uuid[]) AND asked.run_id NOT IN (SELECT run_id FROM changed)
  AND NOT (run.status = 'queued' AND asked.at <= now())
