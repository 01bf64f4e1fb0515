-- A retry of the run: failed memos and a cancel are deleted, compensations and the calls that these have undone, and the beginnings and ends of children that did
-- not complete, and the answers to waits that led to the failure. These are timeouts that the error names, a timeout or
-- an event that did not fit its type if it was the last thing that the run saw, and every timeout after the first of
-- all that is deleted. Earlier timeouts, which the code has acted upon, stay. A timer of asyncio that ended anything but
-- a sleep counts as a failure, because no error names it; and all timers after the first failure are deleted, because
-- another attempt may arm others, which would get their numbers. What was recorded after the first of
-- these answers if it is called, but need not be called. The place of a beginning that was carried is no longer known;
-- in that case this applies to everything. Of a run that was only set aside, nothing has failed but its last answer.
WITH mine AS MATERIALIZED (
    SELECT run.run_id, ours.was_set_aside, run.error ->> 'type'::text AS error_type,
           ARRAY(SELECT name FROM pg_catalog.json_array_elements_text(
                     CASE WHEN pg_catalog.json_typeof(run.error -> 'waits'::text) = 'array' THEN run.error -> 'waits'::text ELSE '[]'::json END)
                 AS named (name)) AS named
    FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[], %(were_set_aside)s::boolean[])
         AS ours (run_id, epoch, was_set_aside)
    JOIN durable.runs AS run
      ON run.workflow_name_shard = %(shard_value)s AND run.run_id = ours.run_id AND run.epoch = ours.epoch
     AND run.run_id = ANY (%(run_ids)s::uuid[])
), last AS MATERIALIZED (
    SELECT seen.run_id, max(seen.seq) AS seq
    FROM (
        SELECT run_id, seq FROM durable.steps
        WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[])
        UNION ALL
        SELECT run_id, seq FROM durable.waits
        WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[])
    ) AS seen
    GROUP BY seen.run_id
), undone AS MATERIALIZED (
    SELECT undo.run_id, pg_catalog.left(undo.step_key, -5) AS step_key
    FROM durable.steps AS undo
    WHERE undo.workflow_name_shard = %(shard_value)s AND undo.run_id = ANY (%(run_ids)s::uuid[])
      AND undo.kind = 'undo' AND undo.status = 'completed'
), failed AS MATERIALIZED (
    SELECT memo.run_id, memo.step_key, CASE WHEN memo.carried THEN 0 ELSE memo.seq END AS seq,
           child.event_id AS child_id, memo.kind = 'child' AS is_child, memo.step_key || ':result' AS wait_key
    FROM mine
    JOIN durable.steps AS memo ON memo.workflow_name_shard = %(shard_value)s AND memo.run_id = mine.run_id
     AND memo.run_id = ANY (%(run_ids)s::uuid[])
    LEFT JOIN durable.events AS child
      ON child.workflow_name_shard = %(shard_value)s AND child.run_id = memo.run_id AND child.kind = 'child'
     AND child.run_id = ANY (%(run_ids)s::uuid[])
     AND child.event_id = memo.child_run_id AND child.child_status <> 'completed'
    LEFT JOIN undone ON undone.run_id = memo.run_id AND undone.step_key = memo.step_key
     AND memo.kind IN ('execute', 'transaction', 'child')
    WHERE NOT mine.was_set_aside
      AND (memo.status = 'failed' OR memo.kind IN ('cancel', 'undo') OR child.event_id IS NOT NULL OR undone.step_key IS NOT NULL)
), answered AS MATERIALIZED (
    SELECT wait.run_id, wait.wait_key, wait.wait_type, wait.timed_out, mine.was_set_aside, CASE WHEN wait.carried THEN 0 ELSE wait.seq END AS seq,
           wait.timed_out AND NOT mine.was_set_aside
               AND (wait.wait_type = 'timer' OR wait.wait_key = ANY (mine.named)
                    OR wait.seq = last.seq
                       AND coalesce(mine.error_type, '') NOT IN ('RunCancelled', 'RunTimeout', 'CrashLoop'))
           OR wait.wait_type IN ('event', 'request') AND wait.seq = last.seq
              AND (mine.error_type = 'DeserializationError'
                   OR wait.unfit AND mine.error_type IN ('NondeterminismError', 'RunCancelled')) AS is_cause
    FROM mine
    JOIN last ON last.run_id = mine.run_id
    JOIN durable.waits AS wait ON wait.workflow_name_shard = %(shard_value)s AND wait.run_id = mine.run_id
     AND wait.run_id = ANY (%(run_ids)s::uuid[])
    WHERE wait.satisfied_at IS NOT NULL
), ours AS MATERIALIZED (
    SELECT lost.run_id, min(lost.seq) AS first_failed
    FROM (SELECT run_id, seq FROM failed UNION ALL SELECT run_id, seq FROM answered WHERE is_cause) AS lost
    GROUP BY lost.run_id
), unanswered AS MATERIALIZED (
    SELECT answered.run_id, answered.wait_key
    FROM answered
    JOIN ours ON ours.run_id = answered.run_id
    WHERE answered.is_cause
       OR answered.timed_out AND NOT answered.was_set_aside AND ours.first_failed > 0 AND answered.seq > ours.first_failed
       OR answered.wait_type = 'timer' AND answered.seq > ours.first_failed
    UNION
    SELECT run_id, wait_key FROM failed WHERE is_child
), forgotten AS (
    DELETE FROM durable.steps AS step
    USING failed
    WHERE step.workflow_name_shard = %(shard_value)s AND step.run_id = failed.run_id AND step.step_key = failed.step_key
      AND step.run_id = ANY (%(run_ids)s::uuid[])
), reopened AS (
    DELETE FROM durable.waits AS wait
    USING unanswered
    WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = unanswered.run_id
      AND wait.wait_key = unanswered.wait_key AND wait.run_id = ANY (%(run_ids)s::uuid[])
), told AS (
    UPDATE durable.events AS event
    SET consumed_by = '', routed_at = coalesce(event.routed_at, now())
    FROM failed
    WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = failed.run_id
      AND event.event_id = failed.child_id AND event.consumed_by IS NULL
      AND event.run_id = ANY (%(run_ids)s::uuid[])
), waits AS (
    UPDATE durable.waits AS wait
    SET carried = true, seq = NULL
    FROM ours
    WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = ours.run_id
      AND wait.run_id = ANY (%(run_ids)s::uuid[]) AND wait.seq > ours.first_failed
      AND NOT EXISTS (
        SELECT FROM unanswered WHERE unanswered.run_id = wait.run_id AND unanswered.wait_key = wait.wait_key)
)
UPDATE durable.steps AS step
SET carried = true, seq = NULL
FROM ours
WHERE step.workflow_name_shard = %(shard_value)s AND step.run_id = ours.run_id
  AND step.run_id = ANY (%(run_ids)s::uuid[]) AND (step.seq > ours.first_failed OR step.seq IS NULL)
  AND NOT EXISTS (SELECT FROM failed WHERE failed.run_id = step.run_id AND failed.step_key = step.step_key)
