-- A retry of the run: failed memos and a cancel are deleted, and so are the beginnings and ends of children that did
-- not complete. What was recorded after the first of these answers if it is called, but need not be called. The place
-- of a beginning that was carried is no longer known; in that case this applies to everything.
WITH mine AS MATERIALIZED (
    SELECT run.run_id
    FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[]) AS ours (run_id, epoch)
    JOIN durable.runs AS run
      ON run.workflow_name_shard = %(shard_value)s AND run.run_id = ours.run_id AND run.epoch = ours.epoch
     AND run.run_id = ANY (%(run_ids)s::uuid[])
), failed AS MATERIALIZED (
    SELECT memo.run_id, memo.step_key, CASE WHEN memo.carried THEN 0 ELSE memo.seq END AS seq,
           child.event_id AS child_id, memo.step_key || ':result' AS wait_key
    FROM mine
    JOIN durable.steps AS memo ON memo.workflow_name_shard = %(shard_value)s AND memo.run_id = mine.run_id
     AND memo.run_id = ANY (%(run_ids)s::uuid[])
    LEFT JOIN durable.events AS child
      ON child.workflow_name_shard = %(shard_value)s AND child.run_id = memo.run_id AND child.kind = 'child'
     AND child.run_id = ANY (%(run_ids)s::uuid[])
     AND child.event_id = memo.child_run_id AND child.child_status <> 'completed'
    WHERE memo.status = 'failed' OR memo.kind = 'cancel' OR child.event_id IS NOT NULL
), ours AS MATERIALIZED (
    SELECT run_id, min(seq) AS first_failed
    FROM failed
    GROUP BY run_id
), forgotten AS (
    DELETE FROM durable.steps AS step
    USING failed
    WHERE step.workflow_name_shard = %(shard_value)s AND step.run_id = failed.run_id AND step.step_key = failed.step_key
      AND step.run_id = ANY (%(run_ids)s::uuid[])
), ends AS (
    DELETE FROM durable.waits AS wait
    USING failed
    WHERE wait.workflow_name_shard = %(shard_value)s AND wait.run_id = failed.run_id
      AND failed.child_id IS NOT NULL AND wait.wait_key = failed.wait_key
      AND wait.run_id = ANY (%(run_ids)s::uuid[])
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
        SELECT FROM failed
        WHERE failed.run_id = wait.run_id AND failed.child_id IS NOT NULL AND failed.wait_key = wait.wait_key)
)
UPDATE durable.steps AS step
SET carried = true, seq = NULL
FROM ours
WHERE step.workflow_name_shard = %(shard_value)s AND step.run_id = ours.run_id
  AND step.run_id = ANY (%(run_ids)s::uuid[]) AND (step.seq > ours.first_failed OR step.seq IS NULL)
  AND NOT EXISTS (SELECT FROM failed WHERE failed.run_id = step.run_id AND failed.step_key = step.step_key)
