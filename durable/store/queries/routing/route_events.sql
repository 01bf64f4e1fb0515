-- Turns committed events and requests into wakes and ends. The run's lock decides the race with a park that is under
-- way: whichever comes second sees the other. Locked runs are skipped, so that routing never waits while it holds a
-- lock; their events stay unrouted. A run that was never started, and any run that is not executing when it is
-- terminated, ends right here; and here a run is paused that is not executing. It keeps the time at which it wakes, if that
-- is all that wakes it. What is to happen after the end of a run is left alone once the run has ended.
WITH locked AS MATERIALIZED (
    -- One lock per run: if one were tried for each event, it might be free for the second but not for the first. An
    -- array, because a join scans the whole shard value if autovacuum saw the tables before their first rows were
    -- committed. Of a bounded number of runs, because anybody who may publish may also invent runs.
    SELECT run.run_id, run.status, run.awaits, run.awaits_runs, run.epoch
    FROM durable.runs AS run
    WHERE run.workflow_name_shard = %(shard_value)s
      AND run.run_id = ANY (ARRAY(SELECT DISTINCT run_id
                                  FROM durable.events
                                  WHERE workflow_name_shard = %(shard_value)s AND routed_at IS NULL AND kind NOT IN ('retry', 'reschedule')
                                  ORDER BY run_id
                                  LIMIT %(seen)s))
      AND (run.status <> 'running' OR run.worker_id = %(worker_id)s)
      AND run.run_id <> ALL (%(left_out)s::uuid[])
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
), arrived AS MATERIALIZED (
    SELECT event.run_id, event.event_id, event.kind, event.name, event.payload, event.created_at,
           locked.status, locked.awaits, locked.awaits_runs, locked.epoch
    FROM locked
    JOIN durable.events AS event ON event.workflow_name_shard = %(shard_value)s AND event.run_id = locked.run_id
    WHERE event.routed_at IS NULL AND event.kind NOT IN ('retry', 'reschedule')
      AND NOT (event.kind = 'next' AND locked.status IN ('completed', 'failed', 'cancelled'))
), routed AS (
    UPDATE durable.events AS event
    SET routed_at = now(),
        consumed_by = CASE WHEN arrived.kind IN ('pause', 'resume') AND arrived.status <> 'running' THEN ''
                           ELSE event.consumed_by END
    FROM arrived
    WHERE event.workflow_name_shard = %(shard_value)s
      AND event.run_id = arrived.run_id AND event.event_id = arrived.event_id
      AND event.run_id = ANY (ARRAY(SELECT run_id FROM arrived))
), verdicts AS MATERIALIZED (
    SELECT run_id, CASE
               WHEN bool_or(kind = 'terminate' OR kind = 'cancel' AND epoch = 0) THEN 'end'
               WHEN bool_or(kind = 'cancel') THEN 'wake'
               WHEN (pg_catalog.array_agg(kind ORDER BY created_at DESC, event_id DESC)
                     FILTER (WHERE kind IN ('pause', 'resume')))[1] = 'pause'
               -- A termination may be left by a worker that died before it obeyed; nothing else would ask for it.
               THEN CASE WHEN EXISTS (
                             SELECT FROM durable.events AS pending
                             WHERE pending.workflow_name_shard = %(shard_value)s AND pending.run_id = arrived.run_id
                               AND pending.run_id = ANY (ARRAY(SELECT run_id FROM arrived))
                               AND pending.kind = 'terminate' AND pending.consumed_by IS NULL)
                         THEN 'wake' ELSE 'pause' END
               WHEN status = 'paused' AND bool_or(kind = 'resume') THEN 'resume'
               WHEN bool_or(kind = 'event' AND name = ANY(awaits)
                            OR kind = 'request' AND pg_catalog.concat('request:', name) = ANY(awaits)
                            OR kind = 'child' AND event_id = ANY(awaits_runs)) THEN 'wake'
           END AS verdict,
           -- As JSON, and only if it can be made into text: no client writes \u0000, half a character, or that much,
           -- but plain SQL may.
           (pg_catalog.array_agg(
                CASE WHEN pg_catalog.json_typeof(payload) = 'string' AND pg_catalog.length(payload::text) <= 20000
                          AND pg_catalog.replace(payload::text, '\\', '') !~* '\\u(0000|d[89a-f])'
                     THEN payload END
                ORDER BY created_at)
            FILTER (WHERE kind IN ('cancel', 'terminate')))[1] AS reason
    FROM arrived
    WHERE status IN ('queued', 'sleeping', 'waiting_event', 'paused')
    GROUP BY run_id, status
), moved AS (
    UPDATE durable.runs AS run
    SET status = CASE WHEN verdicts.verdict = 'end' THEN 'cancelled'
                      WHEN verdicts.verdict = 'pause' THEN 'paused'
                      WHEN verdicts.verdict = 'resume' AND (run.next_wake_at IS NOT NULL OR run.follows IS NOT NULL)
                      THEN 'sleeping'
                      ELSE 'queued' END,
        error = CASE verdicts.verdict
            WHEN 'end' THEN pg_catalog.json_build_object(
                'type', 'RunCancelled', 'message', coalesce(verdicts.reason, '"no reason was given"'::json))
            ELSE run.error END,
        completed_at = CASE verdicts.verdict WHEN 'end' THEN now() END,
        awaits = NULL, awaits_runs = NULL, updated_at = now(),
        next_wake_at = CASE WHEN verdicts.verdict = 'pause' AND run.status = 'sleeping' OR verdicts.verdict = 'resume'
                            THEN run.next_wake_at END
    FROM verdicts
    WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = verdicts.run_id
      AND run.run_id = ANY (ARRAY(SELECT run_id FROM verdicts))
      AND (verdicts.verdict IN ('end', 'resume') OR verdicts.verdict = 'wake' AND run.status <> 'queued'
           OR verdicts.verdict = 'pause' AND run.status <> 'paused')
    RETURNING run.run_id, run.status, run.error, run.parent_shard, run.parent_run_id
), unawaited AS (
    DELETE FROM durable.waits AS wait
    USING verdicts
    WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = verdicts.run_id
      AND wait.run_id = ANY (ARRAY(SELECT run_id FROM verdicts))
      AND verdicts.verdict = 'end' AND wait.satisfied_at IS NULL
)
SELECT arrived.run_id::text, arrived.event_id::text, arrived.kind, arrived.name,
       CASE WHEN pg_catalog.pg_column_size(arrived.payload) < 8000
                 OR pg_catalog.octet_length(arrived.payload::text) <= 67108864
            THEN arrived.payload::text ELSE '' END AS payload,
       arrived.status = 'running' AS is_live, moved.status AS became,
       CASE WHEN moved.status = 'cancelled' THEN moved.error::text END AS error,
       moved.parent_shard, moved.parent_run_id::text
FROM arrived
LEFT JOIN moved ON moved.run_id = arrived.run_id
ORDER BY arrived.created_at, arrived.event_id
