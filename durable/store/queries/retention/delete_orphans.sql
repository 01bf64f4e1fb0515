-- Events whose run was deleted while their transaction was open, or never existed. A run that was begun in such a
-- transaction, and that waits for the end of the deleted one, starts now; what was to be its delay and timeout is not
-- known here.
WITH orphans AS MATERIALIZED (
    SELECT event.run_id, event.event_id,
           CASE WHEN event.kind = 'next'
                     AND event.name ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
                THEN event.name::uuid END AS follower_id
    FROM durable.events AS event
    WHERE event.workflow_name_shard = %(shard_value)s AND (event.routed_at IS NULL OR event.consumed_by = '')
      AND NOT EXISTS (SELECT FROM durable.runs AS run
                      WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = event.run_id)
), freed AS (
    UPDATE durable.runs AS run
    SET status = CASE WHEN run.status = 'sleeping' THEN 'queued' ELSE run.status END, follows = NULL, updated_at = now()
    FROM orphans
    WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = orphans.follower_id
      AND run.run_id = ANY (ARRAY(SELECT follower_id FROM orphans)) AND run.follows = orphans.run_id
)
DELETE FROM durable.events AS event
USING orphans
WHERE event.workflow_name_shard = %(shard_value)s
  AND event.run_id = orphans.run_id AND event.event_id = orphans.event_id
